"""The ladder: what may be left out, how rungs are compared, and a climb in miniature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.config import ConfigError, override
from stepladder.stages import ladder
from stepladder.stages.ladder_config import RUNGS, LadderConfig
from stepladder.stages.ladder_measures import Figure, change

#: Two updates or so of everything.
SMALL = {
    "tasks": "miniwob:click-button,enter-text",
    "questions": "reasoning:add-1-digit",
    "ranks": 1,
    "demonstrations": 40,
    "visits": 4,
    "answers": 40,
    "pretrain.core.steps": 3,
    "pretrain.continued.steps": 2,
    "pretrain.lengthening.steps": 2,
    "pretrain.annealing.steps": 2,
    "pretrain.tokenizer_documents": 60,
    "pretrain.held_out": 6,
    "pretrain.needle.count": 2,
    "pretrain.options": {"long_lookup": {"sentences": 80, "facts": 8}, "captions": {"screens": 20}},
    "instruction.cloning_frozen.steps": 2,
    "instruction.cloning_frozen.batch": 8,
    "preference.play.starts": 2,
    "preference.play.attempts": 2,
    "reasoning.updates": 1,
    "reasoning.groups": 2,
    "reasoning.group_size": 2,
    "perception.perception.steps": 2,
    "perception.screens": 4,
    "cloning.copying.steps": 2,
    "cloning.cloning_frozen.steps": 2,
    "cloning.cloning.steps": 2,
    "cloning.screens": 4,
    "thoughts.cloning.steps": 2,
    "thoughts.screens": 4,
    "flywheel.starts": 2,
    "flywheel.validation": 1,
    "flywheel.train.cloning.steps": 2,
    "flywheel.train.screens": 4,
    "online.updates": 1,
    "online.groups": 2,
    "online.group_size": 2,
    "refinement.seeds": 1,
    "refinement.trials": 1,
    "refinement.train.cloning_frozen.steps": 2,
    "measure.documents": 3,
    "measure.question_episodes": 3,
    "measure.screens": 2,
    "measure.episodes": 2,
    "measure.needle.count": 2,
}


def test_rungs_are_twelve_and_some_can_be_left_out() -> None:
    assert [rung.number for rung in RUNGS] == list(range(1, 13))
    short = LadderConfig(without=tuple(rung.name for rung in RUNGS[:7]))
    short.check()
    assert [rung.name for rung in short.rungs] == ["perception", "cloning", "thoughts", "online", "refinement"]
    assert LadderConfig(last="cloning").rungs[-1].name == "cloning"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"without": ("climbing",)}, "'climbing' is no rung; there are core, "),
        ({"last": "core"}, "the four rungs of pre-training are one run"),
        ({"without": ("online",)}, "refinement learns from what was played in online"),
        ({"without": ("instruction",)}, "go on from answers that instruction has taught"),
        ({"without": tuple(rung.name for rung in RUNGS[:9])}, "thoughts goes on from a model"),
        ({"without": tuple(rung.name for rung in RUNGS)}, "leaves no rung"),
        ({"demonstrations": 0}, "demonstrations is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_climbed_is_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(LadderConfig(), **settings).check()  # type: ignore[arg-type]


def test_a_rung_is_better_where_the_interval_leaves_0_out() -> None:
    def pages(right: int) -> Figure:
        outcomes = {f"task {number}": (float(number < right),) for number in range(40)}
        return Figure(right / 40, 0.0, 1.0, 40, outcomes)

    found = change("pages", pages(10), pages(30))
    assert found.difference == pytest.approx(0.5)
    assert (found.better, found.worse) == (True, False)
    assert found.p < 0.001
    assert not change("pages", pages(10), pages(11)).better
    assert change("pages", pages(30), pages(10)).worse


def test_less_perplexity_is_better_and_compared_document_by_document() -> None:
    def text(nats: float) -> Figure:
        outcomes = {f"document {number}": (nats + 0.1 * number,) * 5 for number in range(12)}
        return Figure(1.0, 1.0, 1.0, 12, outcomes)

    found = change("perplexity", text(2.0), text(1.5))
    assert found.difference == pytest.approx(-0.5)
    assert (found.better, found.worse) == (True, False)
    assert change("perplexity", text(1.5), text(2.0)).worse


def test_sums_alone_are_compared_as_two_rates() -> None:
    found = change("perception", Figure(0.2, 0, 1, 100), Figure(0.6, 0, 1, 100))
    assert 0.25 < found.low < 0.4 < found.high < 0.55
    assert found.better
    assert not change("perception", Figure(0.2, 0, 1, 10), Figure(0.3, 0, 1, 10)).better


@pytest.mark.learning
def test_all_rungs_are_climbed_and_measured(tmp_path: Path) -> None:
    config = override(replace(LadderConfig(), output=tmp_path / "ladder"), [f"{name}={value}" for name, value in SMALL.items()])
    report = ladder.main(config, show=False)
    rows = json.loads((config.output / "ladder.json").read_text())
    assert [row["rung"] for row in rows] == list(range(1, 13))
    for row in rows:
        assert {"perplexity", "needle", "questions", "perception", "pages"} <= set(row["figures"])
        assert row["figures"][row["measure"]]["n"] > 0
        assert row["seconds"] > 0
    assert {"thinking", "acting"} <= set(rows[9]["figures"])
    page = report.read_text()
    for rung in RUNGS:
        assert f"{rung.number} {rung.title}" in page
    assert (config.output / "ladder.png").stat().st_size > 10_000
    assert ladder.main(config, show=False) == report  # nothing is done again


@pytest.mark.learning
def test_what_is_climbed_without_the_lower_rungs_is_measured_on_the_same_sets(tmp_path: Path) -> None:
    given = replace(LadderConfig(), output=tmp_path, without=tuple(rung.name for rung in RUNGS[:7]), last="perception")
    config = override(given, [f"{name}={value}" for name, value in SMALL.items()])
    ladder.main(config, show=False)
    (row,) = json.loads((tmp_path / "ladder.json").read_text())
    assert row["name"] == "perception"
    assert set(row["figures"]["perplexity"]["parts"]) == {
        "interface",
        "arithmetic",
        "programs",
        "policies",
        "captions",
        "lookup",
    } | {
        "screen_questions",
        "long_lookup",
    }
