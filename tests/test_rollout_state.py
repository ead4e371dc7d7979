"""What rollouts remember: how often tasks succeeded, how many groups had a signal, past successes; and law 4 on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fakes import FakeEnvironment, WordAgent
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import picture, renderer

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.algos.grpo import Grpo
from stepladder.images import ImageStore
from stepladder.rollout.curriculum import Played
from stepladder.rollout.episode import run_episode
from stepladder.rollout.expansion import Expansion
from stepladder.rollout.replay import Replay
from stepladder.rollout.uncertain import UncertainTasks
from stepladder.store import TrajectoryStore
from stepladder.train.batch import collate
from stepladder.train.sample import from_step
from stepladder.types import Action, Completion, Group, Limits, Message, Observation, Prompt, Sampling, Step, Task, Trajectory

TASKS = [Task(name, "", "test") for name in ("new", "half", "solved", "hopeless")]
IMAGES = ImageStore()
RENDERER = renderer(IMAGES)


def member(reward: float | None, index: int, seed: int = 5, group: str = "g", name: str = "", task: Task = TASKS[0]) -> Trajectory:
    status = "env_error" if reward is None else "done"
    return Trajectory(name or f"{group}/{index}", task, (), None, status, reward, group=group, index=index, seed=seed)


def members(*rewards: float | None, seed: int = 5, group: str = "g") -> Group:
    return [member(reward, index, seed, group) for index, reward in enumerate(rewards)]


# ---------------------------------------------------------------- curriculum


def known(strength: float = 1.0, floor: float = 0.2) -> UncertainTasks:
    return UncertainTasks(TASKS, strength, floor, success={"half": 0.5, "solved": 1.0, "hopeless": 0.01})


def test_uncertain_tasks_weigh_most_and_none_weighs_nothing() -> None:
    assert [known().weight(task.id) for task in TASKS] == pytest.approx([1.0, 1.0, 0.2, 0.2])
    assert known().weight("new") == 1.0
    known_a_little = UncertainTasks(TASKS, success={"half": 0.1})
    assert known_a_little.weight("half") == pytest.approx(2 * (0.1 * 0.9) ** 0.5)
    assert [known(strength=2.0).weight(task.id) for task in TASKS] == pytest.approx([1.0, 1.0, 0.04, 0.04])
    assert [known(strength=0.0).weight(task.id) for task in TASKS] == [1.0] * 4


def test_tasks_are_drawn_in_proportion_to_their_weights() -> None:
    drawn = Counter(task.id for task in known().draw(Random(0), 24))
    assert drawn == {"new": 10, "half": 10, "solved": 2, "hopeless": 2}
    counts: Counter[str] = Counter()
    for seed in range(2000):
        few = known().draw(Random(seed), 2)
        assert len(few) == 2
        counts.update(task.id for task in few)
    # 2 * 1 / 2.4 places of 2, and so on
    assert counts["new"] / 4000 == pytest.approx(1 / 2.4, abs=0.03)
    assert counts["half"] / 4000 == pytest.approx(1 / 2.4, abs=0.03)
    assert counts["solved"] / 4000 == pytest.approx(0.2 / 2.4, abs=0.03)
    assert counts["hopeless"] > 0, "what seems hopeless is still looked at"


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.integers(0, 40),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_a_draw_has_as_many_places_as_asked_for_and_nobody_is_off_by_one(
    success: list[float], count: int, seed: int, strength: float
) -> None:
    tasks = [Task(str(i), "", "test") for i in range(len(success))]
    curriculum = UncertainTasks(tasks, strength, success={str(i): p for i, p in enumerate(success)})
    drawn = Counter(task.id for task in curriculum.draw(Random(seed), count))
    assert drawn.total() == count
    weights = [curriculum.weight(task.id) for task in tasks]
    for task, weight in zip(tasks, weights, strict=True):
        assert abs(drawn[task.id] - count * weight / sum(weights)) < 1 + 1e-9
    assert [task.id for task in curriculum.draw(Random(seed), count)] == [task.id for task in curriculum.draw(Random(seed), count)]


def test_success_is_a_moving_mean() -> None:
    one = UncertainTasks(TASKS, rate=0.5)
    one.update([Played("half", 0.25), Played("new", 1.0), Played("new", 0.0, 0.0)])
    assert one.success == {"new": 0.5, "half": 0.25}
    one.update([Played("half", 1.0, 0.3)])
    assert one.success["half"] == 0.625
    one.update([])
    assert one.success == {"new": 0.5, "half": 0.625}


def test_a_curriculum_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        UncertainTasks([])
    for wrong in ({"floor": 0.0}, {"rate": 0.0}, {"rate": 1.5}, {"strength": -1.0}):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
            UncertainTasks(TASKS, **wrong)


# ---------------------------------------------------------------- expansion


def test_more_groups_are_played_the_more_had_no_signal() -> None:
    expansion = Expansion(rate=0.5, most=4.0)
    assert expansion.groups(8) == 8
    expansion.update(flat=8, played=8)
    assert expansion.flat_share == 0.5
    assert expansion.groups(8) == 16
    expansion.update(flat=8, played=8)
    assert expansion.groups(8) == 32
    expansion.update(flat=16, played=16)
    assert expansion.groups(8) == 32, "not more than four times as many"
    expansion.update(flat=0, played=4)
    assert expansion.flat_share == pytest.approx(0.4375)
    assert expansion.groups(3) == 6
    expansion.update(flat=0, played=0)
    assert expansion.flat_share == pytest.approx(0.4375)
    assert Expansion(flat_share=1.0).groups(1) == 4


# ---------------------------------------------------------------- replay


def replay(*successes: tuple[str, int, str], capacity: int = 2, store: dict[str, Trajectory] | None = None) -> Replay:
    made = Replay(capacity, (store or {name: member(1.0, 7, seed, "old", name) for _, seed, name in successes}).__getitem__)
    for task, seed, name in successes:
        made.add(task, seed, name)
    return made


def test_a_past_success_takes_the_place_of_the_last_graded_member() -> None:
    """The cookbook appends it, and a group that is not of the usual size is then normalised with the whole batch."""
    group = members(0.0, 0.0, 0.0, None)
    filled = replay(("new", 5, "past")).fill(group, Random(0))
    assert len(filled) == len(group)
    assert [one.id for one in filled] == ["g/0", "g/1", "past", "g/3"]
    assert (filled[2].group, filled[2].index, filled[2].reward) == ("g", 2, 1.0)
    assert [one.id for one in group] == ["g/0", "g/1", "g/2", "g/3"], "the group that was played is as it was"


def test_statistics_stay_those_of_each_group() -> None:
    algorithm, other = Grpo(), members(1.0, 0.0, 0.0, seed=6, group="h")
    filled = replay(("new", 5, "past")).fill(members(0.0, 0.0, 0.0), Random(0))
    assert not algorithm.keep(members(0.0, 0.0, 0.0))
    assert algorithm.keep(filled)
    groups = [[replace(one, steps=(Step(Observation()),)) for one in group] for group in (filled, other)]
    values = [[credit[0].advantage for credit in group] for group in algorithm.credit(groups, {})]
    # 1 of 3: mean 1/3, deviation 1/sqrt(3), in either group
    low, high = -1 / 3**0.5, 2 / 3**0.5
    assert values[0] == pytest.approx([low, low, high], abs=1e-5)
    assert values[1] == pytest.approx([high, low, low], abs=1e-5)
    alone = algorithm.credit(groups[1:], {})
    assert values[1] == [credit[0].advantage for credit in alone[0]]


def test_a_group_that_needs_no_help_gets_none() -> None:
    memory = replay(("new", 5, "past"))
    for group in (
        members(0.0, 1.0, 0.0),
        members(None, None),
        members(0.0, 0.0, seed=6),
        members(0.0, 0.3, 0.0),
        [member(0.0, 0, task=TASKS[1]), member(0.0, 1, task=TASKS[1])],
    ):
        assert memory.fill(group, Random(0)) is group
    assert len(memory) == 1
    assert memory.fill(members(0.3, 0.3, 0.3), Random(0))[2].id == "past", "they fail alike: nothing tells them apart"


def test_an_environment_that_broke_is_no_failure_of_the_group() -> None:
    """Counted as 0 it would be a failure, and its place would be the one that is filled."""
    memory = replay(("new", 5, "past"))
    broken = members(None, None, None)
    assert memory.fill(broken, Random(0)) is broken
    beside = members(None, 1.0, None)
    assert memory.fill(beside, Random(0)) is beside
    assert not Grpo().keep(beside), "a success beside broken environments is compared with nobody"
    filled = memory.fill(members(0.0, None, None), Random(0))
    assert [one.id for one in filled] == ["past", "g/1", "g/2"]
    credits = Grpo(dr=True).credit([[replace(one, steps=(Step(Observation()),)) for one in members(1.0, None, 0.0)]], {})[0]
    assert [(credit[0].pg, credit[0].advantage) for credit in credits] == [(1.0, 0.5), (0.0, 0.0), (1.0, -0.5)]


def test_of_each_start_the_last_successes_are_remembered() -> None:
    memory = replay(("new", 5, "a"), ("new", 5, "b"), ("new", 5, "c"), ("new", 6, "d"), ("half", 5, "e"))
    assert len(memory) == 4
    assert {memory.fill(members(0.0, 0.0), Random(seed))[1].id for seed in range(20)} == {"b", "c"}
    assert memory.fill(members(0.0, 0.0, seed=6), Random(0))[1].id == "d"
    again = [memory.fill(members(0.0, 0.0), Random(3))[1].id for _ in range(5)]
    assert len(set(again)) == 1, "equal random numbers choose the same"
    with pytest.raises(ValueError, match="capacity is 0"):
        Replay(0, {}.__getitem__)


def split_reply() -> tuple[str, np.ndarray]:
    """A text and ids that spell it in another way than the tokenizer would."""
    text = "click the button"
    pieces = [RENDERER.single_token(letter) for letter in text]
    tokens = np.asarray([piece for piece in pieces if piece is not None] + [RENDERER.stop_ids[0]], dtype=np.int32)
    assert len(tokens) == len(text) + 1
    assert RENDERER.decode(tokens) == text
    assert len(RENDERER.reply(text)) < len(tokens), "the tokenizer itself would take fewer"
    return text, tokens


def test_a_replayed_reply_is_trained_on_as_it_was_sampled(tmp_path: Path) -> None:
    """To the bit, through the file: neither its ids nor its log-probabilities are made again, so that the loss can correct for the
    distance to the policy that sampled it."""
    text, tokens = split_reply()
    logprobs = np.random.default_rng(0).normal(-1, 0.3, len(tokens)).astype(np.float32)
    messages = (Message("user", (picture(IMAGES), "click hello")),)
    rendered = RENDERER.render(messages)
    assert rendered.tokens is not None
    prompt = replace(rendered, tokens=np.append(rendered.tokens, RENDERER.reply("world")[:1]).astype(np.int32))
    step = Step(
        Observation(picture(IMAGES)), Action("click", 3, 4), prompt=prompt, completion=Completion(text, tokens, logprobs, version=4)
    )
    with TrajectoryStore(tmp_path / "rollouts.jsonl", "a") as store:
        store.append(replace(member(1.0, 0, name="past"), steps=(step,)))
        memory = Replay(1, store.get)
        memory.add("new", 5, "past")
        replayed = memory.fill(members(0.0, 0.0), Random(0))[1]
    assert (replayed.group, replayed.index) == ("g", 1)
    assert replayed.steps[0].completion is not None
    assert replayed.steps[0].completion.version == 4, "the loss knows that older weights sampled it"
    sample = from_step(RENDERER, QwenVLAgent(system="none", grid=10), replayed.task, replayed.steps, 0)
    assert prompt.tokens is not None
    assert sample.tokens.tolist() == [*prompt.tokens.tolist(), *tokens.tolist()]
    assert sample.spans == prompt.image_spans
    assert sample.field("logprobs")[sample.turns == 0].tobytes() == logprobs.tobytes()
    assert np.isnan(sample.field("logprobs")[sample.turns < 0]).all()
    batch = collate([sample], RENDERER)
    assert batch.targets.tolist() == tokens.tolist()
    assert batch.field("logprobs").numpy().tobytes() == logprobs.tobytes()


# ---------------------------------------------------------------- waiting


class Loading(FakeEnvironment):
    """A page that is there only after some waiting; until then a click meets nothing."""

    def __init__(self, waits: int) -> None:
        super().__init__(goal=1)
        self.waits, self.left = waits, waits

    async def reset(self, task: Task, seed: int) -> Observation:
        self.left = self.waits
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        if action.kind == "wait":
            self.left = max(0, self.left - 1)
        elif self.left:
            return self._observe()
        return await super().step(action)

    def _observe(self) -> Observation:
        return Observation(picture(IMAGES, 100 + self.left), done=self.clicks >= self.goal)


class Watchful:
    """Waits until the screen is the one it knows, then clicks."""

    name, version = "watchful", 0

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        (screen,) = messages[-1].images
        self.seen.append(screen.sha256)
        return Prompt(messages), Completion("click" if screen == picture(IMAGES, 100) else "wait")


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 3))
def test_a_wait_looks_again(waits: int) -> None:
    """The cookbook shows the screen from before the wait, and what waits for a page waits for ever."""
    policy = Watchful()
    task = Task("fake", "", "fake", max_steps=6)
    trajectory = asyncio.run(run_episode(Loading(waits), WordAgent(), policy, task, 0, sampling=Sampling(), limits=Limits()))
    assert (trajectory.status, trajectory.reward) == ("done", 1.0)
    assert [step.action.kind for step in trajectory.steps if step.action] == ["wait"] * waits + ["click"]
    screens = screens_of(trajectory.steps)
    assert len(set(screens)) == waits + 1
    assert screens == policy.seen, "what was recorded is what was shown"


def screens_of(steps: Sequence[Step]) -> list[str]:
    return [step.observation.screenshot.sha256 for step in steps if step.observation.screenshot is not None]
