"""What is taken from a run for the simulation is what the run was."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import TASKS, episode

from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.planning.distributions import constant
from stepladder.planning.measured import (
    TimedReplies,
    calibrated,
    measured_engine,
    measured_reply_seconds,
    measured_trainer,
    measured_workload,
)
from stepladder.planning.settings import EngineSpeed, LoopSettings, Pipeline, TrainerSpeed, Workload
from stepladder.planning.simulation import simulate
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, Prompt, Step, Trajectory


def turn(step: Step, prompt: int, reply: int, seconds: float) -> Step:
    tokens = np.zeros(prompt, np.int32), np.zeros(reply, np.int32)
    return replace(
        step,
        prompt=Prompt((), tokens[0]),
        completion=Completion("", tokens[1], np.zeros(reply, np.float32)),
        seconds={"policy": 2 * seconds, "environment": seconds},
    )


def stored(path: Path, *episodes: Trajectory) -> Path:
    with TrajectoryStore(path, "a") as store:
        for one in episodes:
            store.append(one)
    return path


@pytest.fixture
def run(tmp_path: Path) -> list[Path]:
    """Three episodes of 1, 2 and 3 steps in two files, and one whose environment failed."""
    images = ImageStore()
    episodes = []
    for steps in (1, 2, 3):
        one = episode(images, TASKS[0], steps, True, steps=steps)
        episodes.append(replace(one, steps=tuple(turn(step, 100 * steps, 10, 0.5 * steps) for step in one.steps)))
    broken = replace(episode(images, TASKS[0], 9, None, steps=2))
    return [stored(tmp_path / "a.jsonl", *episodes[:2]), stored(tmp_path / "b.jsonl", episodes[2], broken)]


def update(step: int, **values: Any) -> dict[str, Any]:
    return {"phase": "rl", "step": step, "episodes": 8.0, "steps": 3.0, "kept": 3.0, "flat": 1.0, "learn_seconds": 2.0, **values}


def test_a_workload_is_what_was_stored(run: Sequence[Path]) -> None:
    metrics = [update(1), update(2, flat=2.0), {"phase": "environments", "step": 2, "repeated": 2, "given_up": 1}]
    found = measured_workload(run, metrics)
    assert found.steps.values == (1, 2, 3)
    assert found.prompt_tokens.values == (100, 200, 200, 300, 300, 300)
    assert found.reply_tokens.values == (10,) * 6
    assert found.step_seconds.values == (0.5, 1, 1, 1.5, 1.5, 1.5)
    assert found.reset_seconds == found.step_seconds
    assert found.evaluate_seconds.mean == 0
    assert found.step_failure == pytest.approx(3 / 9)
    assert found.flat == pytest.approx(3 / 9)
    assert measured_reply_seconds(run) == pytest.approx(2 * 7 / 6)
    assert measured_workload(run, reset_seconds=constant(9)).reset_seconds.mean == 9
    simulate(Pipeline(found), updates=1, warm_up=0)


def test_a_store_without_measurements_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.jsonl", episode(ImageStore(), TASKS[0], 0, True))
    with pytest.raises(UserError, match=r"a\.jsonl: no episode has turns"):
        measured_workload([path])
    with pytest.raises(UserError, match="how long its policy took"):
        measured_reply_seconds([path])


def test_a_trainer_is_what_its_updates_took() -> None:
    assert measured_trainer([update(1, learn_seconds=99.0), update(2), update(3)]) == TrainerSpeed(2.0)
    growing = [update(n, steps=float(n), learn_seconds=1 + 0.5 * 6 * n) for n in range(1, 9)]  # 8 episodes, 3 of 4 groups kept
    found = measured_trainer(growing)
    assert (found.update_seconds, found.step_seconds) == pytest.approx((1, 0.5))
    with pytest.raises(UserError, match="no two updates"):
        measured_trainer([update(1)])


def test_the_speeds_of_an_engine_come_back() -> None:
    true = EngineSpeed(prompts=8, pass_seconds=0.05, prompt_token_seconds=0.001, token_seconds=0.02, reply_token_seconds=0.003)
    timed = []
    for count in (1, 2, 8, 16):
        for tokens in (4, 32):
            for prompt in (50, 200):
                reading = -(-count // 8) * 0.05 + count * prompt * 0.001
                timed.append(TimedReplies(count, prompt, tokens, reading + tokens * (0.02 + count * 0.003)))
    found = measured_engine(timed, EngineSpeed(prompts=8))
    for name in ("pass_seconds", "prompt_token_seconds", "token_seconds", "reply_token_seconds"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-6), name
    with pytest.raises(ConfigError, match="two counts and two lengths"):
        measured_engine(timed[:1])
    with pytest.raises(ConfigError, match="more than max_batch, 4"):
        measured_engine(timed, EngineSpeed(max_batch=4))


def test_an_engine_is_calibrated_to_how_long_replies_took() -> None:
    loop = LoopSettings(environments=6, groups=2, group_size=3)
    true = Pipeline(Workload(), EngineSpeed(prompt_token_seconds=0.001, token_seconds=0.05, reply_token_seconds=0.01), loop=loop)
    guessed = replace(true, engine=true.engine.slower(0.2))
    took = simulate(true, 20, warm_up=2).reply_seconds
    assert calibrated(guessed, took).engine.token_seconds == pytest.approx(0.05, rel=0.02)
    with pytest.raises(UserError, match="64 times slower or quicker"):
        calibrated(guessed, 1e6)


def test_the_function_of_the_documentation_takes_a_run(run: Sequence[Path]) -> None:
    page = Path(__file__).parent.parent / "docs/planning-a-cluster.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    directory = run[0].parent
    stored(directory / "rollouts-0.jsonl", *TrajectoryStore(run[0]))
    metrics = [update(1, time=1.0), update(2, time=2.0)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in metrics))
    names: dict[str, Any] = {}
    exec(code, names)
    found = names["pipeline_of"](directory, EngineSpeed(prompt_token_seconds=0.001), LoopSettings(environments=2, groups=2))
    assert found.trainer == TrainerSpeed(2.0)
    assert names["predict"](found, 2, 1, 2)["reply_seconds"] == pytest.approx(2 * 2.5 / 3, rel=0.25)
