"""What an update takes is known before it: the estimate beside what PyTorch's allocator gives out, and what is said where it is too
much."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_models import picture, renderer
from torch import Tensor
from transformers import Qwen3VLConfig

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.lora import LoraSettings, add_adapters
from stepladder.models.small import SmallModel, build_model
from stepladder.models.vision import use_batched_vision
from stepladder.stages import memory_check
from stepladder.stages.memory_check import FirstUpdate, Plan, Savings, cheaper, check_checkpoint, parameters_of
from stepladder.train.batch import collate
from stepladder.train.documents import document_samples
from stepladder.train.memory import Parameters, Setting, Shape, estimate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.trainer import Trainer

#: The published configuration of Qwen3-VL-8B-Instruct, as far as sizes go.
EIGHT = Qwen3VLConfig(
    text_config={
        **{"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": False},
    },
    vision_config={
        **{"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16},
        **{"out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24], "num_position_embeddings": 2304},
    },
    tie_word_embeddings=False,
)
WHOLE = ("model.language_model", "lm_head")
MIB = 2**20


def peak(work: Callable[[], object]) -> int:
    """The most bytes that `work` has at a time beyond what there was before it."""
    gc.collect()  # tensors of other tests that are let go meanwhile would be counted
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    now = most = 0
    assert profile.profiler is not None
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def trainer(hidden: int = 96, layers: int = 3, rank: int = 0, vocabulary: int = 0, **options: object) -> tuple[Trainer, ImageStore]:
    images = ImageStore()
    sizes = SmallModel(hidden=hidden, layers=layers, heads=4, key_value_heads=2, vision_hidden=128, screen=224)
    model = build_model(sizes, renderer().processor.tokenizer)
    if vocabulary:
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    use_batched_vision(model)
    use_attention(model)
    add_adapters(model, LoraSettings(rank=rank), 0)
    settings: dict[str, object] = {"autocast": False, "optimizer": OptimizerConfig(kind="adamw"), "trainable": ("model", "lm_head")}
    return Trainer(model, None, Schedule(10), **(settings | options)), images  # type: ignore[arg-type]


def micro_batch(images: ImageStore, rows: int, tokens: int, pictures: int) -> MicroBatch:
    render = renderer(images)
    samples = []
    for number in range(rows):
        shown = [picture(images, number * 10 + i, 224, 224) for i in range(pictures)]
        samples += document_samples(render, [("click " * tokens, True)], shown, context=4000, key=str(number))
    return MicroBatch(collate(samples, render))


def bytes_of(tensors: list[object]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))


CASES: list[tuple[dict[str, object], tuple[int, int, int]]] = [
    ({}, (4, 100, 1)),
    ({"activation_checkpointing": True}, (4, 100, 1)),
    ({"rank": 4}, (4, 100, 1)),
    ({"rank": 4, "activation_checkpointing": True}, (4, 120, 0)),
    ({"trainable": WHOLE}, (3, 80, 2)),
    ({"optimizer": OptimizerConfig(kind="muon"), "hidden": 128}, (2, 200, 1)),
    ({"hidden": 64, "layers": 2, "vocabulary": 8000}, (8, 120, 0)),
    ({"hidden": 64, "layers": 2, "autocast": True}, (1, 60, 1)),
    ({"hidden": 64, "layers": 2, "autocast": True, "activation_checkpointing": True}, (1, 60, 1)),
]


@pytest.mark.parametrize(("options", "sizes"), CASES)
def test_an_update_takes_what_was_estimated(options: dict[str, object], sizes: tuple[int, int, int]) -> None:
    trained, images = trainer(**options)  # type: ignore[arg-type]
    given = micro_batch(images, *sizes)
    trained.step([given])  # the optimizer has its states
    parameters = Parameters.of(trained.named_parameters(), trained.optimizer.kind)
    setting = Setting(trained.autocast, trained.activation_checkpointing, fused=not trained.autocast)
    found = estimate(trained.model.config, parameters, setting, Shape.of(given.batch))
    own = [parameter for _, parameter in trained.named_parameters()]
    states = [value for one in trained.optimizers for state in one.state.values() for value in state.values()]
    assert found.weights == bytes_of([*own])
    assert found.gradients == bytes_of([parameter.grad for parameter in own])
    assert found.optimizer == pytest.approx(bytes_of(states), rel=0.01)
    for parameter in own:
        parameter.grad = None
    before = bytes_of([*own, *states, *vars(given.batch).values()])
    taken = before + peak(lambda: trained.step([given, given]))
    assert 0.97 * taken < found.total < 1.2 * taken, f"estimated {found.total / MIB:.1f} MiB, taken {taken / MIB:.1f}"


def test_the_weights_of_a_published_model_are_counted_without_loading_it() -> None:
    """8.77e9 parameters; each layer has 4 matrices of attention and 3 of the multilayer perceptron, which are divided, and norms,
    which stand whole."""
    found = parameters_of(EIGHT, "adamw", WHOLE, LoraSettings())
    layer = 4096 * (4096 + 1024 + 1024 + 4096 + 3 * 12288)
    assert found.weights.divided == 4 * (36 * layer + 2 * 151936 * 4096)
    assert (found.weights.divided + found.weights.whole) / 4 == pytest.approx(8.767e9, rel=1e-4)
    assert found.optimizer.divided == 2 * found.gradients.divided == 2 * found.weights.divided
    assert parameters_of(EIGHT, "muon", WHOLE, LoraSettings()).optimizer.divided == 4 * (36 * layer + 4 * 151936 * 4096)
    adapted = parameters_of(EIGHT, "adamw", WHOLE, LoraSettings(rank=16))
    inputs_and_outputs = (4096 + 4096) * 2 + (4096 + 1024) * 2 + 3 * (4096 + 12288)
    assert adapted.gradients.divided == 4 * 36 * 16 * inputs_and_outputs
    assert found.adapted(EIGHT, 16) == adapted
    eighth = estimate(EIGHT, found, Setting(world=8, sharded=True))
    assert eighth.gradients == pytest.approx(found.gradients.divided / 8 + found.gradients.whole, rel=1e-4)


def test_what_helps_is_suggested_and_nothing_else() -> None:
    parameters = parameters_of(EIGHT, "adamw", WHOLE, LoraSettings())
    shape = Shape(rows=4, length=2048, trained=512, patches=4 * 1200, picture=1200)
    plan = Plan(parameters, Setting(autocast=True, fused=True), shape)
    named = dict(cheaper(EIGHT, plan, 80e9, Savings(halved="micro_batch=2")))
    assert list(named) == [
        "activation_checkpointing=true",
        "micro_batch=2",
        "lora.rank=16 with optimizer.kind=adamw",
        "shard=true with ranks=16, each with as much memory",
        "all of these",
    ]
    now = plan.estimate(EIGHT).total
    assert all(cost.total < now for cost in named.values())
    assert named["all of these"].total == min(cost.total for cost in named.values())
    sparing = Setting(autocast=True, fused=True, checkpointing=True, world=2, sharded=True)
    adapted = Plan(parameters.adapted(EIGHT, 16), sparing, shape)
    assert cheaper(EIGHT, adapted, 80e9, Savings()) == []
    small = Plan(parameters.adapted(EIGHT, 16), Setting(autocast=True), Shape(rows=1, length=16, trained=4))
    assert "activation_checkpointing=true" in dict(cheaper(EIGHT, small, 80e9, Savings(shard=""))), "copies of the weights"


def test_what_does_not_fit_is_refused_before_the_first_update(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, images = trainer(rank=4)
    given = micro_batch(images, 4, 100, 1)
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 15.0 * MIB)
    with pytest.raises(ConfigError, match=r"^will not fit: needs about \d\d MiB \(weights 7 .*; try activation_checkpointing=true"):
        FirstUpdate(True, Savings(shard=""))(trained, [given])
    FirstUpdate(False, Savings())(trained, [given])
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: None)
    FirstUpdate(True, Savings())(trained, [given])  # where the system does not tell, nothing is refused


def test_what_is_in_memory_already_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, images = trainer()
    given = micro_batch(images, 2, 40, 1)
    trained.step([given])
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 40.0 * MIB)
    FirstUpdate(True, Savings())(trained, [given])
    assert "memory: an update needs about" in capsys.readouterr().err
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 4000.0 * MIB)
    FirstUpdate(True, Savings())(trained, [given])
    assert capsys.readouterr().err == "", "nothing is said where there is plenty"


def test_a_checkpoint_that_does_not_fit_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, _ = trainer()
    save_checkpoint(tmp_path, trained.model, renderer().processor)
    asked: list[int] = []

    def free(device: torch.device, ranks: int) -> float:
        asked.append(ranks)
        return 36.0 * MIB

    def check(copies: int) -> None:
        check_checkpoint(
            tmp_path,
            device=torch.device("cpu"),
            optimizer="adamw",
            trained=("model",),
            lora=LoraSettings(),
            setting=Setting(world=2),
            savings=Savings(),
            copies=copies,
        )

    monkeypatch.setattr(memory_check, "free_memory", free)
    check(0)
    with pytest.raises(ConfigError, match=r"optimizer 14 MiB, other models 7 MiB\) on each of 2 ranks, 36 MiB are free; try lora"):
        check(1)
    assert asked == [2, 2]
