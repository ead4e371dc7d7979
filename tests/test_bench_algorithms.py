"""What `bench/algorithms.py` makes of runs: curves at equal environment steps and at equal processor seconds."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
import algorithms
from algorithms import Point

from stepladder.algos import ALGORITHMS


def run(*success: float, steps: float = 100.0, seconds: float = 10.0) -> list[Point]:
    return [Point(steps * number, seconds * number, value) for number, value in enumerate(success, 1)]


def write(directory: Path, wall: list[float], processor: float | None) -> Path:
    directory.mkdir()
    with (directory / "metrics.jsonl").open("w") as file:
        for step, seconds in enumerate(wall):
            record = {
                "step": step,
                "phase": "rl",
                "time": float(step),
                "seconds": seconds,
                "reward": 0.1 * step,
                "steps": 2.5,
                "episodes": 4.0,
            }
            file.write(json.dumps(record) + "\n")
    if processor is not None:
        (directory / algorithms.PROCESSOR).write_text(json.dumps({"seconds": processor}))
    return directory


def test_a_run_is_read_with_the_processors_seconds(tmp_path: Path) -> None:
    """The clock says 40 seconds, of which the run had 20."""
    found = algorithms.points(write(tmp_path / "run", [0.0, 10.0, 40.0], 20.0))
    assert found == [Point(10.0, 5.0, pytest.approx(0.1)), Point(20.0, 20.0, pytest.approx(0.2))]
    assert algorithms.points(write(tmp_path / "unfinished", [0.0, 10.0], None)) == []


def test_success_is_that_of_the_last_quarter() -> None:
    found = run(0.0, 0.2, 0.4, 0.8)
    assert algorithms.success_at(found, 400, "steps") == pytest.approx(0.6)
    assert algorithms.success_at(found, 399, "steps") == pytest.approx(0.4), "an update counts when it is over"
    assert algorithms.success_at(found, 20, "seconds") == pytest.approx(0.2)
    assert math.isnan(algorithms.success_at(found, 50, "steps"))


def test_all_are_compared_at_what_every_run_has_reached() -> None:
    rows = algorithms.measure({"slow": [run(0.1, 0.2), run(0.1, 0.4)], "long": [run(0.1, 0.5, 1.0)], "missing": [[]]})
    assert [row["algorithm"] for row in rows] == ["long", "slow"]
    assert rows[0]["steps"] == {"at": 200, "mean": 0.5, "low": 0.5, "high": 0.5}
    assert (rows[1]["steps"]["mean"], rows[1]["steps"]["low"], rows[1]["steps"]["high"]) == pytest.approx((0.3, 0.2, 0.4))
    assert rows[1]["gain"] == pytest.approx(0.2)


def test_every_algorithm_has_a_row_and_a_picture(tmp_path: Path) -> None:
    arguments = algorithms.parse(["runs/demo/sft/checkpoint"])
    names = arguments.algorithms.split(",")
    assert set(names) == {*ALGORITHMS, *algorithms.VARIANTS} - set(algorithms.LEFT_OUT)
    for name in names:
        algorithms.settings(name, 0, tmp_path, tmp_path, arguments).algo.check()
    algorithms.draw({name: [run(0.1, 0.2), run(0.2, 0.3)] for name in names}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 20_000


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = algorithms.parse(["checkpoint", "--updates", "1"])
    config = algorithms.settings("grpo", 0, tmp_path, tmp_path, arguments)
    trained = []

    def train(given: object, show: bool) -> None:
        trained.append(given)
        (config.output / "checkpoint").mkdir(parents=True)

    monkeypatch.setattr(algorithms.rl, "main", train)
    algorithms.played(config)
    first = (config.output / algorithms.PROCESSOR).read_text()
    algorithms.played(config)
    assert len(trained) == 1
    assert (config.output / algorithms.PROCESSOR).read_text() == first
