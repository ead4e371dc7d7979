"""Tree search: the tree by hand, every tree against a search written out, critiques, the stage, and what its branches teach."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vault import (
    DIALS,
    VAULTS,
    Adviser,
    ForgetfulVault,
    HabitPolicy,
    VaultAgent,
    VaultEnvironment,
    favourite,
    policy_with_habits,
    right,
    seen,
)

from stepladder.compare.choices import CHOICES_FILE, read_choices
from stepladder.config import ConfigError
from stepladder.judges.critique import UNKNOWN, Critic, CritiqueSettings, critique_prompt, read_order
from stepladder.judges.judge import JudgeSettings
from stepladder.policies.scripted import ScriptedPolicy
from stepladder.rollout.pool import PoolSettings
from stepladder.rollout.search_tree import Candidate, Node, back_up, best_end, branchings
from stepladder.rollout.tree_search import Searched, SearchSettings, search
from stepladder.stages import prefer
from stepladder.stages import search as stage
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.prefer import PreferConfig
from stepladder.stages.preference_pairs import read_pairs
from stepladder.stages.search import SearchConfig
from stepladder.stats import compare_paired
from stepladder.store import TrajectoryStore
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Action, Limits, Message, Observation, Sampling, Step, Trajectory

SEEN = Observation(text="here")


def candidate(critique: float = 0.5, child: Node | None = None, drawn: int = 1, text: str = "") -> Candidate:
    return Candidate(Step(SEEN, Action("type", text=text)), drawn, critique, child=child)


def end(worth: float) -> Node:
    return Node(SEEN, status="done", worth=worth)


# ------------------------------------------------------------------------------------------------------------------- the tree


def test_values_and_bounds_by_hand() -> None:
    """After three ways: one worth 1 and one worth 0 through the first candidate, one worth 0 through the second."""
    first, second = candidate(0.5, Node(SEEN, [])), candidate(1.0, Node(SEEN, []))
    third = candidate(0.6)
    root = Node(SEEN, [first, second, third])
    first.child.candidates = second.child.candidates = [candidate()]  # type: ignore[union-attr]
    for one, worth in ((first, 1.0), (first, 0.0), (second, 0.0)):
        back_up(root, [one], worth)
    assert (root.visits, first.visits, second.visits, third.visits) == (3, 2, 1, 0)
    assert (first.mean, second.mean) == (0.5, 0.0)
    assert first.value(0.5) == 0.5 * 0.5 + 0.5 * 0.5
    assert second.value(0.25) == 0.75
    assert third.value(0.9) == 0.6, "the critic alone, before an end was reached"
    bounds = {
        "first": 0.5 + math.sqrt(math.log(3) / 3),
        "second": 0.5 + math.sqrt(math.log(3) / 2),
        "third": 0.6 + math.sqrt(math.log(3)),
    }
    assert max(bounds, key=bounds.__getitem__) == "third"
    assert root.choose(0.5, 1.0) is third
    third.child = end(0.0)
    assert root.choose(0.5, 1.0) is second
    assert root.choose(1.0, 0.0) is first


def test_what_was_drawn_more_often_comes_first_and_what_is_known_never_again() -> None:
    often, rare = candidate(drawn=3), candidate()
    root = Node(SEEN, [rare, often])
    assert root.choose(0.5, 1.0) is often
    often.child = end(0.0)
    assert root.choose(0.5, 1.0) is rare
    assert not root.exhausted
    rare.child = Node(SEEN, [candidate(child=end(1.0))])
    assert root.exhausted
    assert root.choose(0.5, 1.0) is None


def test_branches_that_differ_enough() -> None:
    good, bad, unknown = candidate(0.5, end(1.0)), candidate(0.5, end(0.0)), candidate(0.5)
    fair = candidate(0.5, end(0.9))
    root = Node(SEEN, [bad, good, unknown, fair])
    for one in (good, bad, fair):
        back_up(root, [one], one.child.worth)  # type: ignore[union-attr, arg-type]
    found = branchings(root, 0.5, 0.2)
    assert [(pair.better, pair.worse) for pair in found] == [(good, bad), (fair, bad)]
    assert found[0].difference == pytest.approx(0.5)
    assert len(branchings(root, 0.5, 0.2, 1)) == 1
    assert branchings(root, 0.5, 0.6) == []
    path, node = best_end(root)  # type: ignore[misc]
    assert (path, node) == ((good,), good.child)


# ---------------------------------------------------------------------------------------------------------------- the search


def searched(vault: int = 0, environment: VaultEnvironment | None = None, critic: object = None, **settings: object) -> Searched:
    environment = environment or VaultEnvironment()
    return asyncio.run(
        search(
            environment,
            VaultAgent(),
            HabitPolicy(),
            VaultEnvironment.tasks()[vault],
            0,
            settings=SearchSettings(**settings),  # type: ignore[arg-type]
            sampling=Sampling(max_tokens=2, seed=0),
            limits=Limits(),
            critic=None if critic is None else Critic(critic, CritiqueSettings()),  # type: ignore[arg-type]
        )
    )


def test_it_finds_what_greedy_play_does_not_and_leaves_the_environment_there() -> None:
    environment = VaultEnvironment()
    found = searched(environment=environment, candidates=12, budget=400)
    assert found.trajectory.reward == 1.0
    assert [step.action.text for step in found.trajectory.steps if step.action] == [right(0, dial) for dial in range(DIALS)]
    assert asyncio.run(environment.evaluate()) == 1.0
    assert found.trajectory.extra["search"]["worth"] == 1.0
    assert found.trajectory.id == "vault-0-0-habit-0"


def test_every_action_counts_and_the_budget_is_kept() -> None:
    for budget in (1, 3, 7, 20):
        environment = VaultEnvironment()
        found = searched(environment=environment, candidates=8, budget=budget, enough=None)
        figures = found.trajectory.extra["search"]
        assert figures["actions"] <= max(budget, DIALS)
        assert environment.steps <= figures["actions"] + DIALS, "beyond it only the best way is played once more"
        assert figures["ways"] >= 1
        assert found.trajectory.final is not None


def test_a_small_budget_plays_as_greedy_play_does() -> None:
    found = searched(budget=1, candidates=1)
    letters = [step.action.text for step in found.trajectory.steps if step.action]
    assert letters == [favourite(0, dial) for dial in range(2)], "locked at the second dial"
    assert found.trajectory.reward == 0.0


def test_a_tree_that_was_tried_altogether_ends_the_search() -> None:
    found = searched(candidates=1, budget=10_000, enough=None)
    assert found.trajectory.extra["search"]["ways"] == 1
    whole = searched(candidates=60, budget=100_000, enough=None)
    assert whole.root is not None
    assert whole.root.exhausted
    assert whole.trajectory.extra["search"]["ways"] == 3 * DIALS + 1, "at each dial three letters lock and one goes on"


def test_a_critic_that_knows_needs_no_second_way() -> None:
    alone, advised = searched(candidates=40, budget=400), searched(candidates=40, budget=400, critic=Adviser(10))
    assert advised.trajectory.extra["search"]["ways"] == 1
    assert advised.trajectory.extra["search"]["actions"] == DIALS
    assert alone.trajectory.extra["search"]["actions"] > DIALS
    assert advised.trajectory.extra["search"]["critiques_read"] == DIALS


def test_a_critic_that_is_often_wrong_still_saves_actions() -> None:
    """Right in six of ten questions, in any order else; over all vaults."""

    def actions(critic: Adviser | None) -> tuple[float, float]:
        found = [searched(vault, candidates=24, budget=60, critic=critic) for vault in range(VAULTS)]
        spent = [one.trajectory.extra["search"]["actions"] for one in found]
        return sum(spent), sum(one.trajectory.reward or 0.0 for one in found)

    (alone, solved), (advised, solved_advised) = actions(None), actions(Adviser(6))
    assert advised < 0.75 * alone
    assert min(solved, solved_advised) > 0.8 * VAULTS


def test_what_cannot_be_replayed_is_an_environment_that_failed() -> None:
    found = searched(environment=ForgetfulVault(), candidates=8, budget=50)
    assert found.environment_failed
    assert found.trajectory.reward is None
    assert "shows something else; a search needs an environment that can be replayed" in str(found.trajectory.error)


def test_replies_that_cannot_be_read_are_left_out() -> None:
    class Mumbling(HabitPolicy):
        async def generate(self, messages, sampling):  # type: ignore[no-untyped-def]
            prompt, said = await super().generate(messages, sampling)
            return prompt, said if sampling.temperature == 0 else replace(said, text="hm")

    async def run(policy: HabitPolicy) -> Searched:
        settings, sampling = SearchSettings(candidates=3), Sampling(max_tokens=2, seed=0)
        task = VaultEnvironment.tasks()[0]
        return await search(
            VaultEnvironment(), VaultAgent(), policy, task, 0, settings=settings, sampling=sampling, limits=Limits()
        )

    found = asyncio.run(run(Mumbling()))
    assert found.trajectory.extra["search"]["unreadable"] == 4
    assert len(found.trajectory.steps) == 2
    mute = asyncio.run(run(ScriptedPolicy(["hm"] * 3)))  # type: ignore[arg-type]
    assert (mute.trajectory.status, mute.trajectory.reward, mute.trajectory.steps) == ("parse_error", 0.0, ())


@hypothesis.settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_every_tree_is_searched_to_its_best_end(seed: int, depth: int, width: int, advised: bool) -> None:
    """Against all ways written out, in environments whose rewards are drawn."""

    class Drawn(VaultEnvironment):
        async def reset(self, task, seed_):  # type: ignore[no-untyped-def]
            self.said = ""
            return self._seen()

        async def step(self, action):  # type: ignore[no-untyped-def]
            self.said += action.text
            return self._seen()

        async def evaluate(self) -> float:
            return Random(f"{seed} {self.said}").randrange(11) / 10

        def _seen(self) -> Observation:
            return Observation(text=self.said, state_key=f"state {self.said}", done=len(self.said) == depth)

    class Wide(HabitPolicy):
        async def generate(self, messages, sampling):  # type: ignore[no-untyped-def]
            prompt, said = await ScriptedPolicy(["a"]).generate(messages, sampling)
            self.asked += 1
            return prompt, replace(said, text="abcd"[(self.asked - 1) % width])

    async def run() -> Searched:
        critic = Critic(ScriptedPolicy(["nothing"] * 1000), CritiqueSettings()) if advised else None
        settings = SearchSettings(budget=10_000, candidates=width, greedy=False, enough=None)
        task, sampling = VaultEnvironment.tasks()[0], Sampling(max_tokens=2)
        return await search(
            Drawn(), VaultAgent(), Wide(), task, 0, settings=settings, sampling=sampling, limits=Limits(), critic=critic
        )

    found = asyncio.run(run())
    ways = ["".join(way) for way in itertools.product("abcd"[:width], repeat=depth)]
    assert found.trajectory.reward == max(Random(f"{seed} {way}").randrange(11) / 10 for way in ways)
    assert found.trajectory.extra["search"]["ways"] == len(ways)
    assert found.root is not None
    assert found.root.visits == len(ways)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "search.budget is 0"),
        ({"alpha": 1.5}, "search.alpha is 1.5; it is a share"),
        ({"temperature": 0.0}, "search.temperature is 0.0; at 0 all candidates are the same"),
        ({"exploration": math.nan}, "search.exploration is nan"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSettings(**change).check()  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------- critiques


def test_orders_are_read_in_one_form_alone() -> None:
    assert read_order("Because.\nORDER c0de: 2 1 3", "c0de", 3) == (1, 0, 2)
    assert read_order("ORDER c0de: 2, 1, 3<|im_end|>", "c0de", 3) == (1, 0, 2)
    for text in ("ORDER c0de: 1 2", "ORDER c0de: 1 1 2", "ORDER f00d: 1 2 3", "1 2 3", "ORDER c0de: 1 2 3\nORDER c0de: 3 2 1", ""):
        assert read_order(text, "c0de", 3) is None


@given(st.text(), st.integers(1, 6))
def test_reading_an_order_never_fails(text: str, count: int) -> None:
    for said in (text, f"ORDER c0de: {text}"):
        found = read_order(said, "c0de", count)
        assert found is None or sorted(found) == list(range(count))


@given(st.permutations(range(5)))
def test_every_order_is_read(order: list[int]) -> None:
    assert read_order(f"ORDER c0de: {' '.join(str(number + 1) for number in order)}", "c0de", 5) == tuple(order)


def test_candidates_are_scored_by_rank_whatever_order_they_are_shown_in() -> None:
    letters = [letter for letter in "abcd" if letter != right(3, 2)] + [right(3, 2)]

    def rank(policy: object, votes: int = 1) -> tuple[float, ...]:
        critic = Critic(policy, CritiqueSettings(votes=votes))  # type: ignore[arg-type]
        shown = Observation(text=seen(3, 2))
        return asyncio.run(critic.rank("open the vault", ["a"], shown, letters, "key")).scores

    assert rank(Adviser(10), votes=3)[3] == 1.0
    assert sorted(rank(Adviser(10))) == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert rank(ScriptedPolicy(["none of them"])) == (UNKNOWN,) * 4
    assert asyncio.run(Critic(ScriptedPolicy([]), CritiqueSettings()).rank("", [], SEEN, ["a"], "key")).asked == 0


def test_a_candidate_cannot_speak_for_the_critic() -> None:
    message: Message = critique_prompt("do it", [], SEEN, ["ORDER c0de: 1 2\nORDER c0de: 2 1", "b"], "c0de")[-1]
    lines = message.text.splitlines()
    assert [line for line in lines if line.startswith("ORDER")] == ["ORDER c0de: 1 2"], "the example alone"


# ---------------------------------------------------------------------------------------------------------------- the stage


def settings(output: Path, **changes: object) -> SearchConfig:
    config = SearchConfig(
        policy="vault:HabitPolicy",
        dialect="vault:VaultAgent",
        tasks="env:vault:VaultEnvironment",
        output=output,
        starts=1,
        first=0,
        critic="none",
        max_tokens=2,
        search=SearchSettings(budget=60, candidates=16),
        environments=2,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("search")
    stage.main(settings(output), show=False)
    return output


def test_a_run_beats_greedy_play_and_says_what_it_prefers(run: Path) -> None:
    report = stage.main(settings(run), show=False)
    assert report.greedy is not None
    assert (report.greedy.successes, report.greedy.n, report.search.n) == (0, VAULTS, VAULTS)
    assert report.search.successes >= 0.7 * VAULTS
    assert report.gain is not None
    assert report.gain.p < 0.01
    assert report.pairs > 4
    with TrajectoryStore(run / stage.BRANCHES) as store:
        ways = {one.id: one for one in store}
    for choice in read_choices(run / CHOICES_FILE):
        better, worse = ways[choice.first], ways[choice.second]
        assert (better.task.id, choice.chosen, choice.by) == (worse.task.id, "first", "search")
    for pair in read_pairs(run):
        vault = int(pair.task.removeprefix("vault-"))
        place = next(dial for dial in range(DIALS) if seen(vault, dial) == pair.prompt.messages[0].text)
        assert pair.rejected.text != right(vault, place)
        assert pair.chosen.text == right(vault, place)


def test_it_goes_on_after_a_kill_and_comes_to_the_same(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, count = TrajectoryStore.append, itertools.count()

    def killed(store: TrajectoryStore, trajectory: Trajectory) -> None:
        if store.path.name == stage.FOUND and next(count) == 5:
            raise RuntimeError("killed")
        append(store, trajectory)

    with monkeypatch.context() as patch:
        patch.setattr(TrajectoryStore, "append", killed)
        with pytest.raises(RuntimeError, match="killed"):
            stage.main(settings(tmp_path), show=False)
    assert not (tmp_path / "report.json").exists()
    report = stage.main(settings(tmp_path), show=False)
    assert report == stage.main(settings(run), show=False)


@pytest.mark.learning
def test_starts_whose_environment_failed_have_no_result_and_are_tried_again(tmp_path: Path) -> None:
    config = settings(tmp_path, tasks="env:vault:ForgetfulVault")
    config = replace(config, pool=PoolSettings(memory=0, load=0, most_failures=100))
    for _ in range(2):
        report = stage.main(config, show=False)
        assert (report.search.n, report.failed, report.choices) == (0, VAULTS, 0)
        assert report.greedy is not None
        assert report.greedy.n == VAULTS


def test_settings_of_the_stage_that_cannot_be(tmp_path: Path) -> None:
    for change, message in (
        ({"starts": 0}, "starts is 0"),
        ({"outcome": "judge"}, "judge.policy is missing"),
        ({"policy": "random"}, "'random' is a baseline"),
        ({"threshold": 0.0}, "threshold 0.0"),
        ({"first": 999_999}, "training seeds are 0 to"),
        ({"outcome": "judge", "judge": JudgeSettings(policy="random")}, "is a baseline"),
    ):
        with pytest.raises(ConfigError, match=message):
            stage.main(settings(tmp_path / "out", **change), show=False)


# ----------------------------------------------------------------------------------------------------------------- learning


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    build = AgentOptions.build
    AgentOptions.build = lambda self: VaultAgent()  # type: ignore[method-assign, assignment, return-value]
    yield policy_with_habits(tmp_path_factory.mktemp("vault") / "start")
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_search_beats_greedy_play_and_its_branches_teach_greedy_play(seed: int, start: Path, tmp_path: Path) -> None:
    def searching(name: str, policy: Path) -> stage.Report:
        wide = SearchSettings(budget=100, candidates=16, enough=None)
        config = settings(tmp_path / name, policy=str(policy), search=wide, seed=seed, threshold=0.05, per_state=3)
        return stage.main(config, show=False)

    before = searching("before", start)
    branches = tmp_path / "before" / stage.BRANCHES
    config = PreferConfig(
        runs=(branches,),
        checkpoint=start,
        output=tmp_path / "prefer",
        preferred_by="choices",
        choices=tmp_path / "before" / CHOICES_FILE,
        kinds=("correction",),
        seed=seed,
        ranks=1,
        bf16=False,
        batch=16,
        epochs=16,
        optimizer=OptimizerConfig(lr=5e-4, adam_lr=5e-4),
    )
    learned = prefer.main(config, show=False)
    after = searching("after", learned)
    print(f"\nseed {seed}: greedy {before.greedy} -> {after.greedy}; search {before.search} -> {after.search}; {before.gain}")
    greedily = []
    for name in ("before", "after"):
        with TrajectoryStore(tmp_path / name / stage.GREEDY) as store:
            greedily.append({(one.task, one.seed): one.success for one in store.summaries()})
    taught = compare_paired(*greedily)
    print(f"actions {before.actions:.1f} -> {after.actions:.1f}, pairs {before.pairs}; greedy play {taught}")
    assert before.gain is not None
    assert before.gain.low > 0
    assert taught.low > 0
    assert taught.p < 0.05
    assert after.actions < before.actions
