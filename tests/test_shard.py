"""A model that is divided among ranks learns what one that is whole learns, and its states are read by any number of ranks."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from small_models import model_for, renderer
from torch import Tensor
from torch.distributed.checkpoint import FileSystemWriter

from stepladder.algos.objective import PolicyObjective
from stepladder.models import forward
from stepladder.models.lora import LoraSettings, add_adapters
from stepladder.train.batch import collate
from stepladder.train.checkpoints import Checkpoints, StateNotWritten
from stepladder.train.documents import document_samples
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.parallel import run_ranks
from stepladder.train.shard import clip_norm, is_sharded, shard, squared_norm, whole_tensor
from stepladder.train.trainer import Trainer

RENDERER = renderer()
UPDATES = 20
WORDS = ["click", "the", "button", "user", "assistant", "system", "hello", "world", "previous", "actions", "step"]


def micro_batches(update: int) -> list[MicroBatch]:
    """Four of one update, several documents of different lengths packed into each."""
    batches = []
    for number in range(4):
        draw = torch.Generator().manual_seed(100 * update + number)
        lengths = torch.randint(3, 14, (5,), generator=draw).tolist()
        texts = [" ".join(WORDS[i] for i in torch.randint(0, len(WORDS), (length,), generator=draw)) for length in lengths]
        samples = [sample for text in texts for sample in document_samples(RENDERER, [(text, True)], context=64, key=text)]
        batches.append(MicroBatch(collate(samples, RENDERER, 64)))
    return batches


def build(world: int, case: str) -> Trainer:
    model = model_for(RENDERER)
    if case == "lora":
        add_adapters(model, LoraSettings(rank=2, alpha=4.0), seed=3)
    kind = "muon" if case == "muon" else "adamw"
    optimizer = OptimizerConfig(kind=kind, lr=3e-3, adam_lr=3e-3, max_grad_norm=0.5)  # type: ignore[arg-type]
    sharded = shard(model) if world > 1 else None
    return Trainer(
        model, None, Schedule(UPDATES, 2, 0.3), optimizer, trainable=("model", "lm_head"), autocast=False, sharded=sharded
    )


def train(trainer: Trainer, rank: int, world: int, updates: range) -> list[dict[str, float]]:
    found = []
    for update in updates:
        given = micro_batches(update)
        # unequal shares: the first rank has three of four
        found.append(trainer.step(given if world == 1 else given[:3] if rank == 0 else given[3:]))
    return found


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: whole_tensor(parameter.detach()).clone() for name, parameter in trainer.named_parameters()}


def states(trainer: Trainer, directory: Path, keep: int = 2) -> Checkpoints:
    return Checkpoints(directory, {"model": trainer.model}, trainer.optimizers, keep)


def _whole_run(rank: int, world: int, case: str, directory: Path) -> None:
    trainer = build(world, case)
    whole = forward.MOST_LOGITS
    if case == "pieces":  # about as many as a micro-batch has: some have more, and some fewer
        forward.MOST_LOGITS = 48 * trainer.model.lm_head.out_features
    try:
        _learn_and_keep(trainer, rank, world, directory)
    finally:
        forward.MOST_LOGITS = whole


def _learn_and_keep(trainer: Trainer, rank: int, world: int, directory: Path) -> None:
    if world > 1:
        for name, parameter in trainer.model.named_parameters():
            inside = name.startswith(("model.language_model.layers", "model.language_model.embed", "lm_head"))
            assert is_sharded(parameter) == (inside and "norm" not in name), name
    found = train(trainer, rank, world, range(UPDATES))
    everything = weights(trainer)
    if rank == 0:
        torch.save({"found": found, "weights": everything}, directory / f"{world}.pt")


def assert_alike(one: dict[str, Any], two: dict[str, Any]) -> None:
    for first, second in zip(one["found"], two["found"], strict=True):
        assert second["ce"] == pytest.approx(first["ce"], abs=1e-5)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)
    assert one["weights"].keys() == two["weights"].keys()
    for name, value in one["weights"].items():
        assert torch.allclose(two["weights"][name], value, atol=1e-5), name


@pytest.mark.parametrize("case", ["full", *(pytest.param(case, marks=pytest.mark.learning) for case in ("lora", "muon", "pieces"))])
def test_two_ranks_with_half_of_the_weights_each_learn_what_one_learns(case: str, tmp_path: Path) -> None:
    for world in (1, 2):
        run_ranks(_whole_run, world, case, tmp_path)
    one, two = (torch.load(tmp_path / f"{world}.pt") for world in (1, 2))
    assert one["found"][-1]["ce"] < one["found"][0]["ce"] - 0.1
    assert_alike(one, two)


def _learn_from_one_of_two(rank: int, world: int, directory: Path) -> None:
    """Policy gradients from a micro-batch, and one whose tokens count in no loss: a rank of its own has that one where there are
    two ranks."""
    made = build(world, "full")
    trainer = Trainer(
        made.model,
        None,
        Schedule(UPDATES, 2, 0.3),
        OptimizerConfig(kind="adamw", lr=3e-3, adam_lr=3e-3),
        trainable=("model", "lm_head"),
        autocast=False,
        objective=PolicyObjective(),
        sharded=made.sharded,
    )
    given = micro_batches(0)[:2]
    for number, micro_batch in enumerate(given):
        fields = micro_batch.batch.token_fields
        fields["w_ce"], fields["w_pg"] = torch.zeros_like(fields["w_ce"]), torch.full_like(fields["w_ce"], 1.0 - number)
        fields["advantages"] = torch.arange(len(fields["w_ce"])) % 3 - 0.5
    found = [trainer.step(given if world == 1 else given[rank : rank + 1]) for _ in range(3)]
    everything = weights(trainer)
    if rank == 0:
        torch.save({"found": [{"ce": 0.0, **each} for each in found], "weights": everything}, directory / f"{world}.pt")


def test_a_rank_whose_micro_batch_teaches_nothing_takes_part(tmp_path: Path) -> None:
    """The other one would wait for its backward pass for ever."""
    for world in (1, 2):
        run_ranks(_learn_from_one_of_two, world, tmp_path)
    one, two = (torch.load(tmp_path / f"{world}.pt") for world in (1, 2))
    assert one["found"][-1]["grad_norm"] > 0
    assert_alike(one, two)


def _learn_rounded(rank: int, world: int, directory: Path) -> None:
    """In bfloat16, with float32 weights beside them."""
    made = build(1, "full")
    sharded = shard(made.model, compute_dtype=torch.bfloat16) if world > 1 else None
    optimizer = OptimizerConfig(kind="adamw", lr=3e-3, adam_lr=3e-3, max_grad_norm=0.5)
    schedule = Schedule(UPDATES, 2, 0.3)
    trainer = Trainer(made.model, None, schedule, optimizer, trainable=("model", "lm_head"), autocast=True, sharded=sharded)
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    found = train(trainer, rank, world, range(UPDATES))
    everything = weights(trainer)
    if rank == 0:
        torch.save({"found": found, "weights": everything}, directory / f"{world}.pt")


def test_weights_that_are_gathered_in_half_learn_what_autocast_learns(tmp_path: Path) -> None:
    for world in (1, 2):
        run_ranks(_learn_rounded, world, tmp_path)
    one, two = (torch.load(tmp_path / f"{world}.pt") for world in (1, 2))
    assert one["found"][-1]["ce"] < one["found"][0]["ce"] - 0.1
    for first, second in zip(one["found"], two["found"], strict=True):
        assert second["ce"] == pytest.approx(first["ce"], rel=5e-3)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=5e-2)
    assert all(value.dtype == torch.float32 for value in two["weights"].values())


def _first_half(rank: int, world: int, case: str, directory: Path) -> None:
    trainer = build(world, case)
    kept = states(trainer, directory / "states")
    for update in range(UPDATES // 2):
        train(trainer, rank, world, range(update, update + 1))
        if update in (3, 6, 9):
            rest = {"step": trainer.step_count, "decay_from": trainer.schedule.decay_from}
            kept.save(update, rest, keeps=3)
    kept.finish()


def _second_half(rank: int, world: int, case: str, directory: Path) -> None:
    trainer = build(world, case)
    rest = states(trainer, directory / "states").load()
    assert rest is not None
    trainer.step_count, trainer.schedule.decay_from = rest["step"], rest["decay_from"]
    found = train(trainer, rank, world, range(trainer.step_count, UPDATES))
    everything = weights(trainer)
    if rank == 0:
        torch.save({"found": found, "weights": everything}, directory / "resumed.pt")


@pytest.mark.parametrize(
    ("case", "worlds"),
    [
        ("full", (2, 1)),
        pytest.param("lora", (2, 1), marks=pytest.mark.learning),
        pytest.param("full", (1, 2), marks=pytest.mark.learning),
        pytest.param("lora", (1, 2), marks=pytest.mark.learning),
    ],
)
def test_a_state_of_two_ranks_goes_on_with_one_and_the_other_way_round(case: str, worlds: tuple[int, int], tmp_path: Path) -> None:
    run_ranks(_whole_run, 1, case, tmp_path)
    run_ranks(_first_half, worlds[0], case, tmp_path)
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == [
        "update-00000003",
        "update-00000006",
        "update-00000009",
    ]
    run_ranks(_second_half, worlds[1], case, tmp_path)
    whole, resumed = torch.load(tmp_path / "1.pt"), torch.load(tmp_path / "resumed.pt")
    assert_alike({**whole, "found": whole["found"][UPDATES // 2 :]}, resumed)


def test_a_state_that_was_begun_is_none_and_a_torn_one_gives_way_to_the_one_before(tmp_path: Path) -> None:
    trainer = build(1, "full")
    kept = states(trainer, tmp_path, keep=3)
    assert kept.load() is None
    for update in (1, 2):
        train(trainer, 0, 1, range(update, update + 1))
        kept.save(update, {"step": update})
    expected = weights(trainer)
    train(trainer, 0, 1, range(3, 4))
    torn = kept.save(3, {"step": 3})
    kept.finish()
    (tmp_path / "update-00000004.partial").mkdir()
    for path in torn.glob("*.distcp"):
        path.write_bytes(path.read_bytes()[:100])
    again = build(1, "full")
    assert states(again, tmp_path).load() == {"step": 2}
    assert all(torch.equal(value, expected[name]) for name, value in weights(again).items())


def test_a_state_before_the_first_update_changes_nothing(tmp_path: Path) -> None:
    """Not even the count of steps by which Adam corrects its means."""
    one, two = build(1, "full"), build(1, "full")
    kept = states(two, tmp_path)
    kept.save(0, {"step": 0})
    kept.finish()
    assert train(one, 0, 1, range(3)) == train(two, 0, 1, range(3))
    assert all(torch.equal(value, weights(two)[name]) for name, value in weights(one).items())
    assert kept.load() == {"step": 0}
    two.load_progress({"step": 0, "decay_from": None})
    train(two, 0, 1, range(3))
    assert all(torch.equal(value, weights(two)[name]) for name, value in weights(one).items())


def test_the_same_update_can_be_saved_twice_and_what_stands_beside_can_be_torn(tmp_path: Path) -> None:
    trainer = build(1, "full")
    kept = states(trainer, tmp_path)
    for update, mark in ((1, 1), (2, 2), (2, 3)):
        saved = kept.save(update, {"step": mark})
    kept.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update-00000001", "update-00000002"]
    assert kept.load() == {"step": 3}
    (saved / "rest.pt").write_bytes(b"torn")
    assert kept.load() == {"step": 1}


def test_where_no_state_can_be_read_nothing_begins_anew(tmp_path: Path) -> None:
    kept = states(build(1, "full"), tmp_path)
    saved = kept.save(1, {"step": 1})
    kept.finish()
    for path in saved.glob("*.distcp"):
        path.write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"none of the saved states can be read \(update-00000001"):
        kept.load()


class Gate:
    """Holds back what writes a state, in a process where it is installed, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened, self.error = Event(), Event(), ""
        write = FileSystemWriter.write_data

        def slowly(writer: FileSystemWriter, *arguments: Any) -> Any:
            self.reached.set()
            assert self.opened.wait(60)
            if self.error:
                raise OSError(self.error)
            return write(writer, *arguments)

        monkeypatch.setattr(FileSystemWriter, "write_data", slowly)


def test_training_goes_on_while_a_state_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, trainer = Gate(monkeypatch), build(1, "full")
    kept = states(trainer, tmp_path)
    train(trainer, 0, 1, range(1))
    expected = weights(trainer)
    final = kept.save(1, {"step": 1})
    assert gate.reached.wait(60)
    train(trainer, 0, 1, range(1, 4))
    assert not final.exists(), "it has no name before all of it is there"
    gate.opened.set()
    kept.finish()
    assert final.exists()
    again = build(1, "full")
    assert states(again, tmp_path).load() == {"step": 1}
    assert all(torch.equal(value, expected[name]) for name, value in weights(again).items()), "what was saved is what it was then"
    assert not any(torch.equal(value, expected[name]) for name, value in weights(trainer).items() if "layers" in name)


def test_one_state_is_written_at_a_time_and_what_went_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, trainer = Gate(monkeypatch), build(1, "full")
    kept = states(trainer, tmp_path)
    kept.save(1, {"step": 1})
    assert gate.reached.wait(60)
    second = Thread(target=kept.save, args=(2, {"step": 2}))
    second.start()
    second.join(0.5)
    assert second.is_alive(), "it waits for the first"
    gate.opened.set()
    second.join(60)
    kept.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update-00000001", "update-00000002"]
    gate.error = "no space left on device"
    kept.save(3, {"step": 3})
    with pytest.raises(StateNotWritten, match=r"update-00000003 could not be written \(.*no space left on device.*making room"):
        kept.save(4, {"step": 4})
    assert not list(tmp_path.glob("*.partial")), "what was begun takes no room"
    gate.error = ""
    kept.save(5, {"step": 5})
    kept.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update-00000002", "update-00000005"], (
        "what was begun is cleared away"
    )


def _killed_while_writing(rank: int, world: int, directory: Path) -> None:
    trainer = build(world, "full")
    kept = states(trainer, directory / "states")
    train(trainer, rank, world, range(1))
    kept.save(1, {**trainer.progress()})
    kept.finish()
    train(trainer, rank, world, range(1, 2))
    if rank == 1:
        FileSystemWriter.write_data = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    kept.save(2, {**trainer.progress()})
    kept.finish()


def test_a_rank_that_is_killed_while_it_writes_leaves_the_last_whole_state(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"[Cc]onnection|failed"):
        run_ranks(_killed_while_writing, 2, tmp_path)
    assert not (tmp_path / "states" / "update-00000002").exists(), "half of it is no state"
    trainer = build(1, "full")
    rest = states(trainer, tmp_path / "states").load()
    assert rest is not None
    assert rest["step"] == 1
    alone = build(1, "full")
    train(alone, 0, 1, range(1))
    assert all(torch.allclose(value, weights(alone)[name], atol=1e-5) for name, value in weights(trainer).items())


def _norms(rank: int, world: int, directory: Path) -> None:
    model = model_for(RENDERER)
    whole = model_for(RENDERER)
    shard(model)
    for divided, plain in zip(model.parameters(), whole.parameters(), strict=True):
        divided.grad, plain.grad = divided.detach().clone(), plain.detach().clone()
    norm = squared_norm([p.grad for p in model.parameters() if p.grad is not None]).sqrt()
    expected = torch.nn.utils.clip_grad_norm_(whole.parameters(), 1.5)
    assert float(norm) == pytest.approx(float(expected), rel=1e-6)
    assert float(clip_norm(model.parameters(), 1.5)) == pytest.approx(float(expected), rel=1e-6)
    for divided, plain in zip(model.parameters(), whole.parameters(), strict=True):
        assert divided.grad is not None
        assert torch.allclose(whole_tensor(divided.grad), plain.grad, rtol=1e-5)  # type: ignore[arg-type]
    (directory / f"{rank}.done").touch()


@pytest.mark.learning
def test_norms_count_the_parts_of_all_ranks(tmp_path: Path) -> None:
    run_ranks(_norms, 2, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_ranks_nothing_is_divided() -> None:
    with pytest.raises(RuntimeError, match="there is no process group"):
        shard(model_for(RENDERER))
