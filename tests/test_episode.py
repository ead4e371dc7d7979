"""The episode loop: every way an episode can end, and what may not happen on the way (law 4)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from fakes import BUTTON, FakeEnvironment, SentenceAgent, WordAgent, pool_of

from stepladder.agents.replies import write_reply
from stepladder.codec import from_json, to_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import ContextFull
from stepladder.policies import policy_class
from stepladder.policies.random import RandomPolicy
from stepladder.policies.scripted import GiveUpPolicy, IdlePolicy, ScriptedPolicy
from stepladder.report.frames import describe_actions
from stepladder.rollout.demonstrate import empty_place, run_demonstration
from stepladder.rollout.episode import run_episode
from stepladder.rollout.group import EpisodeJob, group_jobs, play_many, run_many
from stepladder.rollout.opening import open_environments
from stepladder.types import Action, Completion, ImageRef, Limits, Message, Observation, Prompt, Sampling, Task, Trajectory

TASK = Task("fake", "", "fakes:FakeEnvironment", max_steps=5)
QUICK = Limits(step_deadline=0.05)


class CountingPolicy:
    """Repeats `replies`; each is three tokens long. Remembers what it was asked."""

    name = "counting"
    version = 3

    def __init__(self, replies: Sequence[str], full_at: int | None = None) -> None:
        self.replies = replies
        self.full_at = full_at
        self.asked: list[tuple[tuple[Message, ...], Sampling]] = []

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        if len(self.asked) == self.full_at:
            raise ContextFull("1000 tokens do not fit 512")
        reply = self.replies[len(self.asked) % len(self.replies)]
        self.asked.append((messages, sampling))
        await asyncio.sleep(0)
        return Prompt(messages), Completion(reply, tokens=np.zeros(3, np.int32), logprobs=np.zeros(3, np.float32), version=3)


def play(
    environment: FakeEnvironment, replies: Sequence[str], limits: Limits = QUICK, sampling: Sampling | None = None
) -> Trajectory:
    policy = CountingPolicy(replies)
    return asyncio.run(run_episode(environment, WordAgent(), policy, TASK, 7, sampling=sampling or Sampling(), limits=limits))


def test_a_solved_episode() -> None:
    trajectory = play(FakeEnvironment(), ["wait", "click", "click"])
    assert (trajectory.status, trajectory.reward, trajectory.error) == ("done", 1.0, None)
    assert trajectory.id == "fake-7-counting-0"
    assert (trajectory.agent, trajectory.policy, trajectory.seed) == ("words", "counting", 7)
    assert trajectory.task.instruction == "click 2 times (seed 7)"
    assert [step.action.kind for step in trajectory.steps if step.action] == ["wait", "click", "click"]
    assert [step.observation.screenshot.sha256[-1] for step in trajectory.steps if step.observation.screenshot] == ["0", "0", "1"]
    assert trajectory.final is not None
    assert trajectory.final.done
    assert all(step.prompt is not None and step.completion is not None for step in trajectory.steps)
    assert all(set(step.seconds) == {"policy", "environment"} for step in trajectory.steps)
    again = from_json(Trajectory, to_json(trajectory))
    assert again.steps[1].action == trajectory.steps[1].action


def test_the_agent_says_it_is_done_or_gives_up() -> None:
    environment = FakeEnvironment()
    assert (play(environment, ["done"]).status, environment.actions[-1].kind) == ("done", "done")
    trajectory = play(environment, ["click", "fail"])
    assert (trajectory.status, trajectory.reward, environment.actions[-1].kind) == ("gave_up", 0.0, "fail")


def test_the_limit_of_steps() -> None:
    trajectory = play(FakeEnvironment(), ["wait"])
    assert (trajectory.status, len(trajectory.steps), trajectory.reward) == ("max_steps", 5, 0.0)
    assert len(play(FakeEnvironment(), ["wait"], Limits(max_steps=2)).steps) == 2


def test_the_limit_of_tokens() -> None:
    policy = CountingPolicy(["wait"])
    limits = Limits(max_tokens=8)
    trajectory = asyncio.run(
        run_episode(FakeEnvironment(), WordAgent(), policy, TASK, 0, sampling=Sampling(max_tokens=4), limits=limits)
    )
    assert (trajectory.status, len(trajectory.steps), trajectory.reward) == ("max_tokens", 3, 0.0)
    assert [sampling.max_tokens for _, sampling in policy.asked] == [4, 4, 2]


def test_malformed_replies_are_recorded_and_shown() -> None:
    environment = FakeEnvironment()
    policy = CountingPolicy(["hm", "eval('click')", "click", "hm", "click"])
    trajectory = asyncio.run(run_episode(environment, WordAgent(), policy, TASK, 0, sampling=Sampling(), limits=QUICK))
    assert (trajectory.status, trajectory.reward) == ("done", 1.0)
    assert [step.error is not None for step in trajectory.steps] == [True, True, False, True, False]
    assert trajectory.steps[0].action is None
    assert len(environment.actions) == 2
    assert "'hm' is no action" in policy.asked[1][0][0].text


def test_too_many_malformed_replies_in_a_row() -> None:
    trajectory = play(FakeEnvironment(), ["hm"], Limits(max_parse_errors=2))
    assert (trajectory.status, len(trajectory.steps), trajectory.reward) == ("parse_error", 2, 0.0)


def test_a_full_context() -> None:
    policy = CountingPolicy(["click"], full_at=1)
    trajectory = asyncio.run(run_episode(FakeEnvironment(), WordAgent(), policy, TASK, 0, sampling=Sampling(), limits=QUICK))
    assert (trajectory.status, len(trajectory.steps), trajectory.reward) == ("context_full", 1, 0.0)


@pytest.mark.parametrize("place", ["reset", "step", "evaluate"])
@pytest.mark.parametrize(
    ("fault", "status", "message"), [("crash", "env_error", "gone"), ("bug", "env_error", "KeyError"), ("hang", "timeout", "0.1 s")]
)
def test_a_failed_environment_is_a_status_without_a_reward(place: str, fault: str, status: str, message: str) -> None:
    trajectory = play(FakeEnvironment(faults={place: fault}), ["click"], Limits(step_deadline=0.1))
    assert (trajectory.status, trajectory.reward, trajectory.environment_failed) == (status, None, True)
    assert message in (trajectory.error or "")
    assert len(trajectory.steps) == {"reset": 0, "step": 1, "evaluate": 2}[place]


def test_the_deadline_of_the_episode() -> None:
    trajectory = play(FakeEnvironment(faults={"step": "hang"}), ["click"], Limits(deadline=0.1))
    assert trajectory.status == "timeout"


def test_cancellation_passes_through() -> None:
    async def main() -> None:
        environment = FakeEnvironment(faults={"step": "hang"})
        policy = CountingPolicy(["click"])
        running = asyncio.create_task(
            run_episode(environment, WordAgent(), policy, TASK, 0, sampling=Sampling(), limits=Limits(deadline=60))
        )
        while not policy.asked:
            await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_a_broken_policy_is_not_the_environments_fault() -> None:
    with pytest.raises(IndexError, match="1 replies"):
        asyncio.run(
            run_episode(FakeEnvironment(), WordAgent(), ScriptedPolicy(["wait"]), TASK, 0, sampling=Sampling(), limits=QUICK)
        )


def test_sampling_seeds_differ_by_step_and_member() -> None:
    def seeds(index: int) -> list[int | None]:
        policy = CountingPolicy(["wait"])
        episode = run_episode(FakeEnvironment(), WordAgent(), policy, TASK, 0, sampling=Sampling(seed=1), limits=QUICK, index=index)
        asyncio.run(episode)
        assert all(sampling.stop == ("!",) for _, sampling in policy.asked)
        return [sampling.seed for _, sampling in policy.asked]

    assert len({*seeds(0), *seeds(1)}) == 10
    assert seeds(0) == seeds(0)


def test_several_actions_in_one_reply_are_one_step() -> None:
    environment = FakeEnvironment(goal=3)
    policy = CountingPolicy(["click wait", "click click wait"])
    episode = run_episode(environment, SentenceAgent(), policy, TASK, 0, sampling=Sampling(), limits=QUICK)
    trajectory = asyncio.run(episode)
    assert (trajectory.status, trajectory.reward, len(trajectory.steps)) == ("done", 1.0, 2)
    assert [[action.kind for action in step.actions] for step in trajectory.steps] == [["click", "wait"], ["click", "click"]]
    assert [action.kind for action in environment.actions] == ["click", "wait", "click", "click"]
    assert from_json(Trajectory, to_json(trajectory)).steps[1].more == trajectory.steps[1].more
    assert describe_actions(trajectory.steps[0]) == "click, then wait 0 s"
    said = write_reply(SentenceAgent(), "", trajectory.steps[0].actions, trajectory.steps[0].observation)
    assert said == "click wait"
    with pytest.raises(ValueError, match="one action, and not 2"):
        write_reply(WordAgent(), "", trajectory.steps[0].actions, trajectory.steps[0].observation)


def test_one_unreadable_word_among_several_is_a_parse_error() -> None:
    environment = FakeEnvironment()
    episode = run_episode(environment, SentenceAgent(), CountingPolicy(["click jump"]), TASK, 0, sampling=Sampling(), limits=QUICK)
    assert asyncio.run(episode).status == "parse_error"
    assert environment.actions == [], "nothing of a reply is done unless all of it can be read"


def many(
    environments: Sequence[FakeEnvironment], jobs: list[EpisodeJob], replacements: Sequence[FakeEnvironment] = (), retries: int = 2
) -> tuple[list[Trajectory], list[Trajectory], dict[str, int]]:
    seen: list[Trajectory] = []
    policy = CountingPolicy(["click"])

    async def play() -> tuple[list[Trajectory], dict[str, int]]:
        async with pool_of(environments, replacements) as pool:
            results = await run_many(
                jobs,
                pool,
                WordAgent(),
                policy,
                sampling=Sampling(),
                limits=QUICK,
                retries=retries,
                on_trajectory=seen.append,
            )
        return results, dict(pool.counts)

    results, counts = asyncio.run(play())
    assert all(environment.closed for environment in (*environments, *replacements))
    return results, seen, counts


def test_many_episodes_in_the_order_of_the_jobs() -> None:
    jobs = group_jobs([(TASK, 0), (TASK, 1)], 3)
    environments = [FakeEnvironment() for _ in range(4)]
    results, seen, counts = many(environments, jobs)
    assert [(t.group, t.index) for t in results] == [(job.group, job.index) for job in jobs]
    assert len({t.id for t in seen}) == len(seen) == 6
    assert all(t.reward == 1.0 for t in results)
    assert sum(environment.resets for environment in environments) == counts["lent"] == counts["returned"] == 6


def test_failed_episodes_are_repeated_on_a_fresh_environment() -> None:
    broken, second = FakeEnvironment(faults={"step": "crash"}), FakeEnvironment(faults={"step": "crash"}, times=1)
    whole = FakeEnvironment()
    results, seen, counts = many([broken], [EpisodeJob(TASK, 0), EpisodeJob(TASK, 1)], [second, whole])
    assert [t.status for t in results] == [t.status for t in seen] == ["done", "done"]
    assert [environment.resets for environment in (broken, second, whole)] == [1, 1, 2]
    assert (counts["quarantined"], counts["repeated"], counts["opened"]) == (2, 2, 3)
    assert "given_up" not in counts


def test_a_lasting_failure_is_reported_once() -> None:
    failing = [FakeEnvironment(faults={"evaluate": "crash"}) for _ in range(2)]
    results, seen, counts = many(failing[:1], [EpisodeJob(TASK, 0)], failing[1:], retries=1)
    assert [t.status for t in results] == ["env_error"]
    assert seen == results
    assert results[0].reward is None
    assert (counts["repeated"], counts["given_up"]) == (1, 1)


def test_an_error_of_the_caller_cancels_the_rest() -> None:
    async def main() -> None:
        environments = [FakeEnvironment(), FakeEnvironment(faults={"step": "hang"})]

        def complain(trajectory: Trajectory) -> None:
            raise OSError("disk full")

        async with pool_of(environments) as pool:
            await run_many(
                [EpisodeJob(TASK, seed) for seed in range(2)],
                pool,
                WordAgent(),
                CountingPolicy(["click"]),
                sampling=Sampling(),
                limits=Limits(),
                on_trajectory=complain,
            )

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(asyncio.wait_for(main(), 10))


def test_no_job() -> None:
    results, seen, _ = many([FakeEnvironment()], [])
    assert results == seen == []


def test_opening_environments() -> None:
    images = ImageStore()
    opened = asyncio.run(open_environments("fakes:FakeEnvironment", images, 2, {"goal": 3}))
    assert [type(environment).__name__ for environment in opened] == ["FakeEnvironment"] * 2
    assert opened[0].goal == 3  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="environment 'fakes:FakeEnvironment' has no option 'gaol'; did you mean 'goal'"):
        asyncio.run(open_environments("fakes:FakeEnvironment", images, 1, {"gaol": 3}))
    with pytest.raises(ConfigError, match=r"options .* of environment 'forms': a form needs at least"):
        asyncio.run(open_environments("forms", images, 1, {"height": 20}))
    with pytest.raises(ValueError, match="'miniwob'"):
        asyncio.run(open_environments("miniwo", images, 1))
    with pytest.raises(ValueError, match="at least one"):
        asyncio.run(open_environments("fakes:FakeEnvironment", images, 0))


MESSAGES = (Message("user", (ImageRef("0" * 64, 100, 80), 'Type "hello" now.')),)


def test_policies_that_do_not_look() -> None:
    async def ask(policy: IdlePolicy | GiveUpPolicy) -> str:
        return (await policy.generate(MESSAGES, Sampling()))[1].text

    assert asyncio.run(ask(policy_class("idle")(WordAgent()))) == "wait"
    assert asyncio.run(ask(policy_class("give_up")(WordAgent()))) == "fail"
    with pytest.raises(ValueError, match="'random'"):
        policy_class("randm")


def test_random_clicks_and_words() -> None:
    agent = policy_class("stepladder.agents.qwen_vl:QwenVLAgent")(system="none")
    observation = FakeEnvironment()._observe()

    async def sample(policy: RandomPolicy, seed: int | None) -> tuple[float | None, str]:
        _, completion = await policy.generate(MESSAGES, Sampling(seed=seed))
        action = agent.parse(completion.text, observation)[1]
        return action.x, action.text

    clicks = [asyncio.run(sample(RandomPolicy(agent), seed))[0] for seed in range(50)]
    assert all(x is not None and 0 <= x <= 99 for x in clicks)
    assert len(set(clicks)) > 30
    assert asyncio.run(sample(RandomPolicy(agent), 3)) == asyncio.run(sample(RandomPolicy(agent, seed=9), 3))
    words = {asyncio.run(sample(RandomPolicy(agent, typing=1.0), seed))[1] for seed in range(50)}
    assert words == {"Type", "hello", "now"}
    with pytest.raises(ValueError, match="typing"):
        RandomPolicy(agent, typing=2)


def test_random_answers_where_nothing_is_shown() -> None:
    agent = policy_class("stepladder.agents.qwen_vl:QwenVLAgent")(system="none")

    def said(text: str, seed: int) -> tuple[str, str]:
        _, completion = asyncio.run(RandomPolicy(agent).generate((Message("user", (text,)),), Sampling(seed=seed)))
        action = agent.parse(completion.text, Observation(text=text))[1]
        return action.kind, action.text

    assert {said("15 + 80?", seed) for seed in range(50)} == {("done", "15"), ("done", "+"), ("done", "80")}
    assert said("", 0) == ("done", "")


def test_a_demonstration() -> None:
    trajectory, regions = asyncio.run(run_demonstration(FakeEnvironment(), TASK, 5, limits=QUICK, regions=True))
    assert (trajectory.id, trajectory.status, trajectory.reward) == ("fake-5-oracle-0", "done", 1.0)
    assert [step.thought for step in trajectory.steps] == ["Action: Click (0).", "Action: Click (1)."]
    assert regions == [(BUTTON,), (BUTTON,)]
    assert "mistakes" not in trajectory.parts


def test_a_demonstration_after_a_mistake() -> None:
    environment = FakeEnvironment()
    trajectory, regions = asyncio.run(run_demonstration(environment, TASK, 5, limits=QUICK, mistakes=Random(0)))
    assert (trajectory.id, trajectory.reward, trajectory.parts) == ("fake-5-recovery-0", 1.0, {"mistakes": 1.0})
    assert (len(trajectory.steps), trajectory.steps[0].thought, regions) == (3, "", [])


def test_an_environment_may_know_its_own_mistakes() -> None:
    class Careless(FakeEnvironment):
        async def mistake(self, random: Random) -> tuple[str, Action]:
            return "", Action("scroll", amount=-1)

    trajectory, _ = asyncio.run(run_demonstration(Careless(), TASK, 5, limits=QUICK, mistakes=Random(0)))
    assert trajectory.steps[0].action == Action("scroll", amount=-1)
    assert (trajectory.reward, trajectory.parts) == (1.0, {"mistakes": 1.0})


def test_empty_places_lie_outside_every_region() -> None:
    screen = ImageRef("0" * 64, 100, 80)
    places = [empty_place(screen, (BUTTON,), Random(seed)) for seed in range(100)]
    left, top, width, height = BUTTON.box
    for place in places:
        assert place is not None
        assert not (left <= place[0] <= left + width and top <= place[1] <= top + height)
        assert 0 <= place[0] <= 99
        assert 0 <= place[1] <= 79
    whole = BUTTON.__class__("", "button", (0.0, 0.0, 100.0, 80.0))
    assert empty_place(screen, (whole,), Random(0)) is None


@pytest.mark.parametrize("fault", ["crash", "hang"])
def test_a_demonstration_that_fails(fault: str) -> None:
    trajectory, _ = asyncio.run(run_demonstration(FakeEnvironment(faults={"solve": fault}), TASK, 5, limits=QUICK))
    assert trajectory.status == ("env_error" if fault == "crash" else "timeout")
    assert trajectory.reward is None


def test_demonstrations_are_bounded_and_need_a_demonstrator() -> None:
    trajectory, _ = asyncio.run(run_demonstration(FakeEnvironment(goal=9), TASK, 5, limits=QUICK))
    assert (trajectory.status, len(trajectory.steps), trajectory.reward) == ("max_steps", 5, 0.0)
    with pytest.raises(TypeError, match="solve"):
        asyncio.run(run_demonstration(object(), TASK, 5, limits=QUICK))  # type: ignore[arg-type]


async def _play_by_turns(tasks: list[str], environments: int) -> list[list[str]]:
    """The tasks that each environment was given, one after another, when all episodes take equally long."""
    given: dict[FakeEnvironment, list[str]] = {FakeEnvironment(): [] for _ in range(environments)}

    async def play(environment: Any, job: EpisodeJob) -> int:
        given[environment].append(job.task.id)
        await asyncio.sleep(0)
        return 0

    jobs = [EpisodeJob(Task(task, "", "fake"), seed) for seed, task in enumerate(tasks)]
    async with pool_of(list(given)) as pool:
        await play_many(jobs, pool, play, failed=lambda _: False)
    return list(given.values())


@pytest.mark.parametrize("environments", [1, 2, 3])
def test_an_environment_goes_on_with_the_task_it_has_loaded(environments: int) -> None:
    given = asyncio.run(_play_by_turns(["a", "b", "c"] * 6, environments))
    assert sorted(task for each in given for task in each) == sorted(["a", "b", "c"] * 6)
    changes = sum(one != other for each in given for one, other in itertools.pairwise(each))
    assert changes <= 2, "played in turn it would be more than ten"
    assert max(map(len, given)) - min(map(len, given)) <= 1, "nobody waits while there is work"


def test_at_the_end_several_environments_share_a_task() -> None:
    given = asyncio.run(_play_by_turns(["a"] * 10 + ["b"] * 2, 2))
    assert [len(each) for each in given] == [6, 6]
