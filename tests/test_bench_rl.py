"""The training bench: what is compared with what, what counts as equal work, what is printed; and small updates of our own."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from small_models import model_for, picture, renderer

from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, Message, Observation, Step, Task, Trajectory

BENCH = Path(__file__).parent.parent / "bench"


def opened(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of bench/ as a module."""
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location(f"{name}_bench", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, f"{name}_bench", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield opened("rl", monkeypatch)
    torch.set_num_threads(threads)


def made_up_figures(bench: ModuleType, part: Any, seconds: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Figures in which every clock shows the same."""
    return {row.name: dict.fromkeys(bench.CLOCKS, seconds[row.name]) for row in part.rows if row.name in seconds}


DEFAULT = "+ prompts once (default)"


@pytest.mark.parametrize(("ours", "answer"), [(2.0, "yes"), (2.6, "no")])
def test_ratios_are_taken_round_by_round_against_the_quicker_row_of_equal_work(bench: ModuleType, ours: float, answer: str) -> None:
    part = bench.PARTS[0]
    seconds = {
        "TRL, transformers' vision tower": [2.0, 2.0, 2.0],  # however quick: never the one that a goal is about
        "TRL": [8.0, 9.0, 10.0],
        "TRL in 4 pieces": [4.0, 5.0, 6.0],
        "TRL, bfloat16": [3.0, 3.0, 3.0],
        "+ packed rows": [4.0, 4.0, 4.0],
        DEFAULT: [1.0, ours, 4.0],
        "  bfloat16": [1.5, 1.5, 1.5],
        "  bfloat16, vision frozen": [1.0, 1.0, 1.0],
    }
    figures = made_up_figures(bench, part, seconds)
    against = bench.ratios(part, figures)
    assert against[DEFAULT] == {"against": "TRL in 4 pieces"} | {clock: [4.0, 5.0 / ours, 1.5] for clock in bench.CLOCKS}
    assert against[bench.AS_IT_COMES] == {"against": "TRL, transformers' vision tower"} | {
        clock: [2.0, 2.0 / ours, 0.5] for clock in bench.CLOCKS
    }
    assert against["  bfloat16"]["against"] == "TRL, bfloat16"
    assert "  bfloat16, vision frozen" not in against
    gains = bench.gains(part, figures)
    assert gains[DEFAULT]["compute"] == [4.0, 4.0 / ours, 1.0]
    assert "+ packed rows" not in gains
    result = {
        "units": [64, 64, 64],
        "figures": figures,
        "ratios": against,
        "gains": gains,
        "agreement": [],
        "missing": ["[who] is missing"],
    }
    text = io.StringIO()
    bench.show(part, result, 1, Console(file=text, width=200))
    assert f"at least 2x TRL's samples a second: {answer}" in text.getvalue()
    assert "[who] is missing" in text.getvalue()
    assert bench.spread([4.0, 5.0, 6.0], 1) == "5.0 (4.0 to 6.0)"


def test_without_trl_no_goal_is_judged(bench: ModuleType) -> None:
    part = bench.PARTS[0]
    figures = made_up_figures(bench, part, {DEFAULT: [1.0]})
    assert bench.ratios(part, figures) == {}
    assert bench.reached(part, {}) is None


def test_unequal_work_stops_the_benchmark(bench: ModuleType) -> None:
    part = bench.PARTS[0]
    about = {name: {"threads": 1, "trained": 7} for name in ("TRL", DEFAULT, "  bfloat16")}
    first = {
        "TRL": bench.Reading(1.0, 1.0, 1.0, 0.0, 3.0),
        DEFAULT: bench.Reading(1.0, 1.0, 1.0, 1e-4, 3.0001),
        "  bfloat16": bench.Reading(1.0, 1.0, 1.0, 0.0, 3.1),  # compared with nobody
    }
    agreement = bench.check(part, first, about)
    assert [(same["rows"], same["bf16"]) for same in agreement] == [(["TRL", DEFAULT], False), (["  bfloat16"], True)]
    for reading, match in ((bench.Reading(1.0, 1.0, 1.0, 0.0, 3.1), "first loss and norm"), (first[DEFAULT], "trained parameters")):
        other = about | {DEFAULT: {"threads": 1, "trained": 7 + (match == "trained parameters")}}
        with pytest.raises(SystemExit, match=match):
            bench.check(part, first | {DEFAULT: reading}, other)
    with pytest.raises(SystemExit, match="not on one thread: TRL"):
        bench.check(part, first, about | {"TRL": {"threads": 2, "trained": 7}})


def test_options(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.options([]).parts == ("grpo", "sft_shared", "sft", "generation")
    assert bench.options(["--parts", "sft,grpo", "--rounds", "1"]).parts == ("sft", "grpo")
    for wrong, told in ((["--parts", "ppo"], "there is no part 'ppo'"), (["--rounds", "0"], "at least 1 is needed")):
        with pytest.raises(SystemExit):
            bench.options(wrong)
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, *(pytest.param(one, marks=pytest.mark.learning) for one in (1, 2))])
def test_our_rows_do_the_same_work(bench: ModuleType, tmp_path: Path, number: int) -> None:
    sizes = bench.Sizes(groups=1, members=2, samples=2, questions=2)
    workload = bench.make(tmp_path, 3, sizes)
    part = bench.PARTS[number]
    result = bench.compare(part, workload, rounds=1, updates=1, trl=None)
    float32 = result["agreement"][0]
    assert float32["rows"] == [row.name for row in part.ours if row.setting.equal_work == (False, False)]
    assert float32["loss_difference"] < 1e-4
    assert float32["norm_difference"] < 1e-4
    assert float32["norm"] > 0.01
    assert all(len(values) == 1 and values[0] > 0 for clocks in result["figures"].values() for values in clocks.values())
    assert "--trl PYTHON" in result["missing"][0]


def test_an_interpreter_without_trl_is_named(bench: ModuleType, tmp_path: Path) -> None:
    workload = bench.make(tmp_path, 2, bench.Sizes(groups=1, members=2, samples=2, questions=2))
    (tmp_path / "trl.py").write_text("raise ModuleNotFoundError(\"No module named 'trl'\", name='trl')\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with pytest.raises(RuntimeError, match="No module named 'trl'"):
        bench.Trl("TRL", workload, "grpo", bench.Setting(), python)


def test_the_engine_is_asked_what_a_demonstration_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened("engine", monkeypatch)
    render = renderer(ImageStore(tmp_path / "rl" / "images"))
    save_checkpoint(tmp_path / "rl" / "checkpoint", model_for(render), render.processor)
    with pytest.raises(SystemExit, match="no group of 8 episodes"):
        engine.Bench(1, tmp_path).recorded(tmp_path)
    assert render.images is not None
    screen = picture(render.images)
    prompt = render.render((Message("user", (screen, "hello")),))
    reply = Completion("", tokens=np.arange(6, dtype=np.int32))
    steps = [Step(Observation(screen), prompt=prompt, completion=reply)] * 2
    task = Task("hello", "hello", "forms")
    for update in (9, 10):
        with TrajectoryStore(tmp_path / "rl" / f"rollouts-{update % 2}.jsonl", "a") as store:
            for index in range(engine.MEMBERS):
                turns = tuple(steps[: 1 + index % 2]) if update == 10 else ()
                group = f"{update}.0/hello-1"
                store.append(Trajectory(f"{group}-{index}", task, turns, None, "done", 1.0, group=group, index=index, seed=1))
    bench = engine.Bench(1, tmp_path)
    play = bench.recorded(tmp_path)
    assert [len(prompts) for prompts in play.turns] == [8, 4], "the last update's, turn by turn"
    assert (play.tokens, play.replies) == (6, 12)
    assert len({image for prompts in play.apart for prompt in prompts for image in prompt.images}) == 12
    bench.measure(play, rounds=1)
