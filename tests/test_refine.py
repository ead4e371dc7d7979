"""Refinement end to end on a page where about half of all replies succeed: what it leaves, what it refuses, that it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_rl import SIDES, checkpoint, click_anywhere
from typer.testing import CliRunner

from stepladder import cli
from stepladder.algos.grpo import Grpo
from stepladder.config import ConfigError
from stepladder.rollout.plateau import PlateauSettings, update_of
from stepladder.rollout.selection import deeds
from stepladder.run import read_metrics, read_phases
from stepladder.stages import refine, rl
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.refine import RefineConfig, training
from stepladder.stages.refine_schedule import ScheduleConfig
from stepladder.stages.refine_schedule import main as schedule
from stepladder.store import TrajectoryStore

#: Any run has reached this plateau after two updates.
ALWAYS = PlateauSettings(window=1, rise=2.0, entropy_low=1.0)
RL = replace(SIDES, seeds=3, updates=3, groups=2, group_size=4, validation=0, algo=Grpo(entropy=-5.0))


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Iterator[None]:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("refine") / "start")


@pytest.fixture(scope="module")
def run(start: Path) -> Path:
    rl.main(replace(RL, checkpoint=start, output=start.parent / "rl"), show=False)
    return start.parent / "rl"


def settings(run: Path, output: Path, **changes: object) -> RefineConfig:
    taught = training()
    config = RefineConfig(
        run=run,
        output=output,
        anyway=True,
        measured_on="training",
        seeds=3,
        trials=2,
        ranks=1,
        train=replace(taught, bf16=False, cloning_frozen=replace(taught.cloning_frozen, steps=2, score_every=2, batch=2)),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def refined(run: Path) -> refine.Refined:
    return refine.main(settings(run, run.parent / "refined"), show=False)


def test_it_imitates_distinct_successes_of_the_run(refined: refine.Refined, run: Path) -> None:
    output = run.parent / "refined"
    with TrajectoryStore(run / "rollouts-0.jsonl") as store:
        played = {one.id: one for one in store}
    with TrajectoryStore(output / "data" / "trajectories.jsonl") as store:
        drawn = [one for one in store if "-again-" not in one.id]
    assert refined.selection["kept"] == len(drawn) > 2
    assert all(played[one.id].success for one in drawn)
    ways = {(one.seed, deeds(one)) for one in played.values() if one.success}
    for seed in {one.seed for one in drawn}:
        assert len({deeds(one) for one in drawn if one.seed == seed}) == min(4, sum(start == seed for start, _ in ways))
    assert len({update_of(one) for one in drawn}) > 1, "more than one version of the policy"
    kept, others = refined.selection["kept"], sum(n for name, n in refined.selection.items() if name != "kept")
    assert kept + others == len(played)


def test_it_trains_the_language_model_alone_and_leaves_a_checkpoint(refined: refine.Refined, run: Path) -> None:
    before, after = (load_file(path / "model.safetensors") for path in (run / "checkpoint", refined.checkpoint))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("model.language_model") for name in changed)
    assert AgentOptions.of_checkpoint(refined.checkpoint) == AgentOptions.of_checkpoint(run / "checkpoint")
    assert not (refined.checkpoint / "perception_head.pt").exists(), "the run's checkpoint has none"


def test_the_report_tells_both_measurements_and_has_a_picture(refined: refine.Refined, run: Path) -> None:
    output = run.parent / "refined"
    told = json.loads((output / "report.json").read_text())
    assert [(one["name"], one["at"]) for one in told["validation"]] == [
        ("training seeds, greedy", "before"),
        ("training seeds, greedy", "after"),
        ("training seeds, sampled", "before"),
        ("training seeds, sampled", "after"),
    ]
    assert told["validation"][2]["n"] == 6
    assert f"entropy {refined.after.entropy:.4f}" in told["summary"]
    assert (output / "report.html").read_text().count("<svg") == 2
    assert list((output / "report_files").glob("*.svg"))
    rows = read_metrics(output, "refine")
    assert [row["entropy"] for row in rows] == [refined.before.entropy, refined.after.entropy]
    with TrajectoryStore(output / "after" / "sampled-0.jsonl") as store:
        assert len(store) == 6


def test_started_again_it_does_nothing_twice(refined: refine.Refined, run: Path) -> None:
    output = run.parent / "refined"
    phases = read_phases(output)
    weights = (refined.checkpoint / "model.safetensors").stat().st_mtime_ns
    again = refine.main(settings(run, output), show=False)
    assert (again.before, again.after, again.selection) == (refined.before, refined.after, refined.selection)
    assert read_phases(output) == phases
    assert (refined.checkpoint / "model.safetensors").stat().st_mtime_ns == weights


def test_it_can_start_where_the_run_began(run: Path, start: Path, tmp_path: Path) -> None:
    off = replace(
        training(), bf16=False, cloning_frozen=replace(training().cloning_frozen, steps=1, batch=1, lr=0.0, score_every=1)
    )
    found = refine.main(settings(run, tmp_path / "out", origin="beginning", train=off), show=False)
    before, after = (load_file(path / "model.safetensors") for path in (start, found.checkpoint))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_run_that_still_learns_is_refused_with_its_figures(run: Path, tmp_path: Path) -> None:
    config = settings(run, tmp_path / "out", anyway=False)
    with pytest.raises(ConfigError, match=r"has not reached a plateau. 3 updates were played, fewer than two windows of 10"):
        refine.main(config, show=False)
    never = PlateauSettings(window=1, rise=-2.0)
    with pytest.raises(ConfigError, match=r"success is 0\.\d+, in the window before 0\.\d+: it still rises.* or set anyway=true"):
        refine.main(replace(config, plateau=never), show=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_start": 0}, "per_start is 0; it must be at least 1"),
        ({"run": Path("nowhere")}, "run: nowhere is no run of `stepladder rl`"),
        ({"seeds": 10**6, "measured_on": "validation"}, "seeds: "),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        refine.main(replace(settings(run, tmp_path / "out"), **change), show=False)  # type: ignore[arg-type]


def test_a_schedule_goes_through_its_phases_and_goes_on(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learning = replace(RL, checkpoint=start, updates=6)
    config = ScheduleConfig(tmp_path / "out", 2, learning, replace(settings(Path(), Path()), plateau=ALWAYS))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(refine, "main", interrupted)
        with pytest.raises(KeyboardInterrupt):
            schedule(config, show=False)
    played = (tmp_path / "out" / "rl-1" / "rollouts-0.jsonl").read_bytes()
    final = schedule(config, show=False)
    assert (tmp_path / "out" / "rl-1" / "rollouts-0.jsonl").read_bytes() == played
    assert [name for name, state in read_phases(tmp_path / "out").items() if state["done"]] == ["rl 1", "refine 1", "rl 2"]
    for number in (1, 2):
        assert 2 <= len(read_metrics(tmp_path / "out" / f"rl-{number}", "rl")) < 6, "it ended at its plateau"
    second = json.loads((tmp_path / "out" / "rl-2" / "config.json").read_text())
    assert (second["checkpoint"], second["seed"]) == (str(tmp_path / "out" / "refine-1" / "checkpoint"), 1)
    assert all(
        torch.equal(value, load_file(final / "model.safetensors")[name])
        for name, value in load_file(tmp_path / "out" / "rl-2" / "checkpoint" / "model.safetensors").items()
    )
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "Phase 1" in told["summary"]
    assert "Refinement 1: before greedy" in told["summary"]
    assert "Phase 2" in told["summary"]
    assert [curve["series"].keys() for curve in told["curves"]] == [{"phase 1", "phase 2"}] * 2


def test_schedules_that_cannot_be(start: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="phases is 1; it must be at least 2"):
        schedule(ScheduleConfig(tmp_path, 1, replace(RL, checkpoint=start)), show=False)
    with pytest.raises(ConfigError, match=r"rl.decay is 0.5; it must be 0"):
        schedule(ScheduleConfig(tmp_path, 2, replace(RL, checkpoint=start, decay=0.5)), show=False)


def test_from_the_command_line(run: Path, tmp_path: Path) -> None:
    found = CliRunner().invoke(cli.app, ["refine", str(run), "--output", str(tmp_path / "out")])
    assert isinstance(found.exception, ConfigError)
    assert "has not reached a plateau" in str(found.exception)
    found = CliRunner().invoke(cli.app, ["refine", str(run), "--schedule"])
    assert "leave the run's directory and --anyway out" in str(found.exception)
    listed = CliRunner().invoke(cli.app, ["refine", "--schedule", "--algo", "dapo", "--settings"])
    assert "rl.algo.clip_high=0.28" in listed.output
    assert "refine.per_start=4" in listed.output
