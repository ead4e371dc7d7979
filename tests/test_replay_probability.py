"""Which past successes are learned again: those that the present policy neither has left behind nor knows by heart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import test_rl
from hypothesis import given
from hypothesis import strategies as st

from stepladder.algos.grpo import Grpo
from stepladder.config import ConfigError, override
from stepladder.images import ImageStore
from stepladder.rollout.perplexity import geometric_mean, worth_learning
from stepladder.rollout.replay import Replay
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_learner import Learner
from stepladder.types import Group, Task, Trajectory

TASK = Task("task", "", "test")


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    test_rl.click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


def floats(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def member(name: str, reward: float, index: int = 0) -> Trajectory:
    return Trajectory(name, TASK, (), None, "done", reward, group="g", index=index, seed=1)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12), st.integers(1, 4))
def test_the_mean_is_over_tokens_however_they_are_split_into_replies(probabilities: list[float], replies: int) -> None:
    expected = math.prod(probabilities) ** (1 / len(probabilities))
    split = [floats(*(math.log(one) for one in probabilities[number::replies])) for number in range(replies)]
    assert geometric_mean(split) == pytest.approx(expected, rel=1e-5)


def test_the_lower_bound_is_outside_and_the_upper_one_inside() -> None:
    bounds = (0.5, 0.95)
    assert [worth_learning(one, bounds) for one in (0.5, 0.51, 0.95, 0.96)] == [False, True, True, False]
    assert math.isnan(geometric_mean([]))
    assert not worth_learning(math.nan, bounds), "an episode without a sampled token"


def test_only_a_success_that_is_wanted_takes_a_place() -> None:
    known = {name: member(name, 1.0) for name in "abc"}
    replay = Replay(3, known.__getitem__)
    for name in known:
        replay.add("task", 1, name)
    group: Group = [member("x", 0.0, 0), member("y", 0.0, 1)]
    taken = {replay.fill(group, Random(seed), lambda one: one.id in "bc")[1].id for seed in range(30)}
    assert taken == {"b", "c"}
    assert replay.fill(group, Random(0), lambda _: False) is group
    assert {replay.fill(group, Random(seed))[1].id for seed in range(30)} == set("abc")


@pytest.mark.parametrize("text", ["0.9,0.5", "-0.1,0.5", "0.5,1.5"])
def test_bounds_that_cannot_be_are_named(text: str, tmp_path: Path) -> None:
    config = override(RlConfig(checkpoint=tmp_path), [f"replay_probability={text}"])
    with pytest.raises(ConfigError, match=r"replay_probability is .*; it must be two numbers from 0 to 1"):
        config.check()


@pytest.mark.learning
def test_in_a_run_the_present_weights_say_how_probable_a_success_is(tmp_path: Path) -> None:
    """Of the first update the recorded log-probabilities are those of the starting weights, and so must be what they say anew."""
    start = test_rl.checkpoint(tmp_path / "start")
    config = replace(test_rl.FORMS, checkpoint=start, algo=Grpo(), rewards={}, bf16=False, validation=0)
    main(replace(config, output=tmp_path / "all", replay_probability=(0.0, 1.0)), show=False)
    main(replace(config, output=tmp_path / "none", updates=2, replay_probability=(0.999, 1.0)), show=False)
    assert sum(record["replayed"] for record in test_rl.figures(tmp_path / "all")) > 0
    assert sum(record["replayed"] for record in test_rl.figures(tmp_path / "none")) == 0, "nothing is that probable"
    learner = Learner(config, AgentOptions().build(), ImageStore(tmp_path / "all" / "images"))
    first = [one for one in test_rl.episodes(tmp_path / "all") if one.group.startswith("0.")]
    assert first
    for episode in first[:6]:
        completions = [step.completion for step in episode.steps]
        recorded = geometric_mean(one.logprobs for one in completions if one is not None and one.logprobs is not None)
        assert learner.probability(episode) == pytest.approx(recorded, rel=1e-3)
