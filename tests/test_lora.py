"""Adapters: nothing changes at the start, nothing else learns, and what is saved answers as the model with them did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from small_models import model_for, renderer
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.lora import LoraSettings, add_adapters, has_adapters, is_adapter, learned_state, load_learned, merged_state
from stepladder.train.documents import document_samples
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.mixtures import collate
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.trainer import Trainer

RENDERER = renderer()
SETTINGS = LoraSettings(rank=4, alpha=8.0)
TOKENS = torch.randint(10, 300, (2, 24), generator=torch.Generator().manual_seed(0))


def _adapted(settings: LoraSettings = SETTINGS) -> Qwen3VLForConditionalGeneration:
    model = model_for(RENDERER)
    add_adapters(model, settings, seed=1)
    return model


def _logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.eval()(input_ids=TOKENS).logits
    return logits


def _trainer(model: Qwen3VLForConditionalGeneration, kind: str = "adamw") -> Trainer:
    optimizer = OptimizerConfig(kind=kind, lr=1e-2, adam_lr=1e-2)  # type: ignore[arg-type]
    return Trainer(model, None, Schedule(20, 1, 0.0), optimizer, trainable=("model", "lm_head"), autocast=False)


def _batch() -> MicroBatch:
    samples = document_samples(RENDERER, [("click the button world hello previous", True)], (), context=64, key="one")
    return MicroBatch(collate(samples, RENDERER))


def _train(trainer: Trainer, updates: int) -> list[float]:
    return [trainer.step([_batch()])["ce"] for _ in range(updates)]


def test_the_model_begins_as_it_was() -> None:
    assert torch.equal(_logits(_adapted()), _logits(model_for(RENDERER)))
    assert not has_adapters(_adapted(LoraSettings(rank=0)))


def test_the_same_seed_gives_the_same_adapters_and_leaves_the_other_draws_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = learned_state(_adapted())
    assert torch.equal(torch.rand(3), expected)
    two = learned_state(_adapted())
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_adapters_learn_and_nothing_else(kind: str) -> None:
    model = _adapted()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = _trainer(model, kind)
    losses = _train(trainer, 12)
    assert losses[-1] < losses[0] - 0.3
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(is_adapter(name) for name in changed)
    layers = model.config.text_config.num_hidden_layers
    assert len(learned_state(model)) == 2 * len(SETTINGS.targets) * layers


def test_the_merged_weights_answer_alike_and_so_does_what_is_saved(tmp_path: Path) -> None:
    model = _adapted()
    _train(_trainer(model), 5)
    expected = _logits(model)
    plain = model_for(RENDERER)
    assert (expected - _logits(plain)).abs().max() > 1e-2
    plain.load_state_dict(merged_state(model))
    assert torch.allclose(_logits(plain), expected, atol=1e-5)
    save_checkpoint(tmp_path, model, RENDERER.processor)
    loaded, _ = load_checkpoint(tmp_path)
    assert not has_adapters(loaded)
    assert torch.allclose(_logits(loaded), expected, atol=1e-5)
    assert torch.allclose(_logits(model), expected)  # saving has not changed it


def test_the_adapters_alone_are_those_that_peft_loads(tmp_path: Path) -> None:
    model = _adapted()
    _train(_trainer(model), 5)
    save_checkpoint(tmp_path, model, RENDERER.processor)
    loaded = PeftModel.from_pretrained(model_for(RENDERER), str(tmp_path / "adapter"))
    assert torch.allclose(_logits(loaded), _logits(model), atol=1e-6)


def test_a_run_that_was_interrupted_ends_with_the_same_adapters() -> None:
    whole = _trainer(_adapted())
    _train(whole, 6)
    first = _trainer(_adapted())
    _train(first, 3)
    state = first.state()
    assert all(is_adapter(name) for name in state["model"])
    second = _trainer(_adapted())
    second.load_state(state)
    _train(second, 3)
    expected, found = learned_state(whole.model), learned_state(second.model)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_was_saved_of_another_model_is_refused() -> None:
    with pytest.raises(RuntimeError, match="those of another model"):
        load_learned(model_for(RENDERER), learned_state(_adapted()))
    with pytest.raises(RuntimeError, match="those of another model"):
        load_learned(_adapted(LoraSettings(rank=4, targets=("q_proj", "v_proj"))), learned_state(_adapted()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LoraSettings(rank=-1), r"lora\.rank is -1"),
        (LoraSettings(rank=2, alpha=0.0), r"lora\.alpha is 0\.0"),
        (LoraSettings(rank=2, targets=()), r"lora\.targets names no layer"),
        (LoraSettings(rank=2, targets=("q_proj", "query")), r"has no layer 'query'; there are down_proj, gate_proj"),
    ],
)
def test_settings_that_cannot_be(settings: LoraSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        add_adapters(model_for(RENDERER), settings, seed=0)
