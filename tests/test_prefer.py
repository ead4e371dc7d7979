"""Preference training end to end on a page where about half of all replies succeed, and what its pairs teach a careless policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adapters import changed_layers
from careless import KINDS, SEEDS, imitate
from killing import killed_at
from safetensors.torch import load_file
from test_rl import SIDES, checkpoint, click_anywhere
from trainers import first_trainer
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.models.lora import LoraSettings
from stepladder.run import read_metrics
from stepladder.seeds import train_seeds
from stepladder.stages import memory_check, preference_learner, rl
from stepladder.stages import prefer as stage
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.measure import Playing, measure
from stepladder.stages.prefer import PreferConfig
from stepladder.stages.preference_pairs import held_back, read_pairs
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.optimizer import OptimizerConfig


@pytest.fixture
def clicks() -> Iterator[None]:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve starts, eight episodes from each, by a policy that has learned nothing yet."""
    folder = tmp_path_factory.mktemp("prefer")
    build = AgentOptions.build
    click_anywhere()
    config = replace(
        SIDES,
        checkpoint=checkpoint(folder / "start"),
        output=folder / "rl",
        first=12,
        seeds=12,
        groups=12,
        group_size=8,
        validation=0,
        rounds=1,
    )
    rl.main(config, show=False)
    AgentOptions.build = build  # type: ignore[method-assign]
    return folder / "rl"


def settings(run: Path, output: Path, **changes: object) -> PreferConfig:
    config = PreferConfig(
        runs=(run,),
        checkpoint=run.parent / "start",
        output=output,
        ranks=1,
        bf16=False,
        batch=4,
        epochs=4,
        score_every=5,
        save_every=3,
        optimizer=OptimizerConfig(lr=1e-3, adam_lr=1e-3),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def preferred(run: Path) -> Path:
    stage.main(settings(run, run.parent / "preferred"), show=False)
    return run.parent / "preferred"


def test_pairs_are_those_of_the_episodes_with_their_pictures(preferred: Path, run: Path) -> None:
    with TrajectoryStore(run / "rollouts-0.jsonl") as store:
        played = {one.id: one for one in store}
    pairs, images = read_pairs(preferred), ImageStore(preferred / "images")
    assert len(pairs) > 8
    assert {held_back(pair) for pair in pairs} == {True, False}
    for pair in pairs:
        failure, source = played[pair.failure], played[pair.source]
        assert (failure.success, source.success) == (False, True)
        assert (failure.task.id, failure.seed) == (source.task.id, source.seed) == (pair.task, pair.seed)
        wrong, right = failure.steps[pair.step], source.steps[pair.source_step]
        assert wrong.prompt is not None
        assert wrong.completion is not None
        assert right.completion is not None
        assert pair.prompt.tokens is not None
        assert pair.prompt.tokens.tolist() == list(wrong.prompt.tokens)
        assert pair.rejected.tokens.tolist() == list(wrong.completion.tokens)  # type: ignore[union-attr, arg-type]
        assert pair.chosen.tokens.tolist() == list(right.completion.tokens)  # type: ignore[union-attr, arg-type]
        assert all(picture in images for picture in pair.prompt.images)


def test_adapters_alone_learn_where_they_are_asked_for(run: Path, tmp_path: Path) -> None:
    stage.main(settings(run, tmp_path, lora=LoraSettings(rank=2)), show=False)
    assert changed_layers(run.parent / "start", tmp_path / "checkpoint") == set(LoraSettings().targets)


def test_training_begins_at_the_reference_and_moves_away_from_what_failed(preferred: Path, run: Path) -> None:
    records = read_metrics(preferred, "prefer")
    first, last = records[1], records[-1]
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3), "before the first update the policy is the reference"
    assert first["margin"] == pytest.approx(0.0, abs=1e-3)
    assert last["margin"] > 0.1
    assert last["accuracy"] > first["accuracy"]
    assert last["loss"] < first["loss"]
    assert "held_out_loss" in records[0]
    assert "held_out_accuracy" in last
    before, after = (load_file(path / "model.safetensors") for path in (run.parent / "start", preferred / "checkpoint"))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("model.language_model") for name in changed)


def test_a_run_that_was_killed_ends_with_the_same_weights(
    preferred: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_at(monkeypatch, stage.PreferenceLearner, 5):
        stage.main(settings(run, tmp_path), show=False)
    assert not (tmp_path / "checkpoint").exists()
    final = stage.main(settings(run, tmp_path), show=False)
    expected = load_file(preferred / "checkpoint" / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in load_file(final / "model.safetensors").items())
    assert stage.main(settings(run, tmp_path), show=False) == final, "a run that is done does nothing"


def test_two_ranks_take_the_step_of_one(run: Path, tmp_path: Path) -> None:
    one, two = (
        stage.main(settings(run, tmp_path / str(ranks), ranks=ranks, epochs=2, batch=6, decay=0.0), show=False) for ranks in (1, 2)
    )
    figures = [read_metrics(path.parent, "prefer") for path in (one, two)]
    assert len(figures[0]) > 3
    assert figures[0][-1]["margin"] > 0.01
    for first, second in zip(*figures, strict=True):  # what later updates see depends on the steps before them
        assert first.keys() == second.keys()
        for name in ("loss", "margin", "accuracy", "held_out_loss"):
            assert first.get(name, 0.0) == pytest.approx(second.get(name, 0.0), rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "beta is 0.0; it must be above 0"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5"),
        ({"imitation": -1.0}, "imitation is -1.0; it must be at least 0"),
        ({"imitation": 1.0, "loss": "kto"}, "imitation is 1.0; it is for losses on pairs"),
        ({"kinds": ("hope",)}, "kinds is .*; it must name 'correction', 'reflection' or both"),
        ({"batch": 1, "ranks": 2}, "batch is 1; 2 ranks need at least a pair each"),
        ({"shard": True}, "shard divides the language model among ranks, and ranks is 1"),
        ({"checkpoint": Path("nowhere")}, "checkpoint: nowhere is no directory"),
        ({"runs": (Path("nowhere"),)}, "runs: nowhere holds no episodes"),
        ({"kinds": ("reflection",)}, "there is no pair in .*: .* times it ended with its mistake"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        stage.main(replace(settings(run, tmp_path / "out"), **change), show=False)  # type: ignore[arg-type]


def test_pairs_are_shown_and_what_is_no_pair_is_named(preferred: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["pairs", str(preferred), "--limit", "1"])
    assert shown.exit_code == 0, shown.output
    pairs = read_pairs(preferred)
    for text in (f"{len(pairs)} pairs ({len(pairs)} of correction)", "preferred", "rejected", pairs[0].task):
        assert text in shown.output
    with pytest.raises(UserError, match=r"pairs.jsonl does not exist; `stepladder prefer` makes it"):
        read_pairs(tmp_path)
    lines = (preferred / "pairs.jsonl").read_text().splitlines()
    record = json.loads(lines[1])
    del record["chosen"]
    (tmp_path / "pairs.jsonl").write_text(f"{lines[0]}\n{json.dumps(record)}\n")
    with pytest.raises(UserError, match=r"pairs.jsonl, line 2 is no pair: .*chosen"):
        read_pairs(tmp_path)


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imitate(tmp_path_factory.mktemp("careless"), careless=True)


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_pairs_from_forks_teach_a_careless_policy(seed: int, careless: Path, tmp_path: Path) -> None:
    starts = [
        (task, seed)
        for task in load_tasks("forms:" + ",".join(KINDS), split="train")
        for seed in train_seeds(len(SEEDS), SEEDS.start)
    ]
    playing = Playing(trials=48, max_tokens=40, seed=seed, ranks=1, environments=64, options={"height": 224})
    before = measure(tmp_path / "before", careless, starts, playing)
    config = PreferConfig(
        runs=(tmp_path / "before" / "sampled-0.jsonl",),
        checkpoint=careless,
        output=tmp_path / "prefer",
        seed=seed,
        ranks=1,
        bf16=False,
        per_failure=4,
        epochs=20,
        batch=16,
        optimizer=OptimizerConfig(lr=5e-4, adam_lr=5e-4),
    )
    after = measure(tmp_path / "after", stage.main(config, show=False), starts, replace(playing, seed=100 + seed))
    print(f"\nseed {seed}: {before.sampled} -> {after.sampled}, pairs {len(read_pairs(tmp_path / 'prefer'))}")
    assert before.sampled.rate is not None
    assert before.sampled.rate < 0.4
    assert after.sampled.rate is not None
    assert after.sampled.rate > before.sampled.rate + 0.2


def test_activation_checkpointing_reaches_the_trainer(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (False, True):
        config = settings(run, tmp_path / str(wanted), activation_checkpointing=wanted)
        made = first_trainer(monkeypatch, lambda config=config: stage.main(config, show=False))
        assert made.activation_checkpointing == wanted


def test_what_will_not_fit_is_refused_before_it_begins(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(run, tmp_path / "prefer")
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 1e5)
    with pytest.raises(ConfigError, match=r"will not fit: needs about .* are free; try "):
        stage.main(config, show=False)
    assert not (config.output / "checkpoint").exists()


def test_all_that_learns_is_on_the_device(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(run, tmp_path / "prefer")
    monkeypatch.setattr(preference_learner, "device_of", lambda device: torch.device("meta"))
    made = first_trainer(monkeypatch, lambda: stage.main(config, show=False))
    assert {parameter.device.type for _, parameter in made.named_parameters()} == {"meta"}


@pytest.mark.learning
def test_a_model_divided_among_ranks_learns_what_a_whole_one_learns(run: Path, tmp_path: Path) -> None:
    optimizer = OptimizerConfig(kind="adamw", lr=1e-3)
    one, two = (
        stage.main(settings(run, tmp_path / str(shard), ranks=2, batch=6, optimizer=optimizer, shard=shard), show=False)
        for shard in (False, True)
    )
    figures = [read_metrics(path.parent, "prefer") for path in (one, two)]
    assert figures[0][-1]["margin"] > 0.01
    for first, second in zip(*figures, strict=True):
        for name in {"loss", "margin", "held_out_loss"} & first.keys():
            assert second[name] == pytest.approx(first[name], rel=1e-3, abs=1e-4), name
    expected = load_file(one / "model.safetensors")
    assert all(torch.allclose(value, expected[name], atol=1e-4) for name, value in load_file(two / "model.safetensors").items())
    assert list((tmp_path / "True" / "state").glob("update-*[0-9]"))
