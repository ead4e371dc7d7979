"""Search while playing, and what it teaches (Agent Q, arXiv 2408.07199): best-first tree search, and choices between its
branches.

    stepladder search --policy runs/sft/checkpoint --tasks forms --output runs/search
    stepladder prefer runs/search/branches.jsonl --checkpoint runs/sft/checkpoint --set preferred_by=choices \\
        --set choices=runs/search/choices.jsonl --set kinds=correction

Files of a run:

    trajectories.jsonl   of every start the best way that was found
    greedy.jsonl         the same starts played once without a search
    branches.jsonl       ways through candidates that were compared
    choices.jsonl        of two such ways that part in one state the better one, where their values differ enough
    pairs.jsonl          the pairs of replies that follow from the choices, for `stepladder pairs`
    images/, report.json

Started again, it goes on with the starts that have no result yet.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from stepladder.agents.setup import AgentSetup, Given
from stepladder.compare.choices import CHOICES_FILE, Choice, append_choice, pairs_of_choices, read_choices
from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment, Policy
from stepladder.judges.critique import Critic, CritiqueSettings
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.policies.budget import Meter
from stepladder.progress import Progress
from stepladder.rollout.group import EpisodeJob, play_many, policy_player
from stepladder.rollout.opening import check_options
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.rollout.search_tree import Branching, Candidate, best_end, branchings
from stepladder.rollout.tree_search import SEARCH, Searched, SearchSettings, search
from stepladder.run import Run, write_json
from stepladder.seeds import heldout_seeds, train_seeds
from stepladder.stages.judging import FREE_CALLS, check_judge, open_judge
from stepladder.stages.policies import ApiOptions, agent_setup, check_policy, open_policy, reply_tokens, weights_digest
from stepladder.stages.preference_pairs import PAIRS_FILE, TooFewPairs, write_pairs
from stepladder.stats import Comparison, Rate, compare_paired, success_rate
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.types import Limits, Sampling, Trajectory

FOUND, GREEDY, BRANCHES = "trajectories.jsonl", "greedy.jsonl", "branches.jsonl"
#: Who criticises: the policy that plays, or nobody; anything else names another policy.
SELF, NOBODY = "self", "none"
#: Who chose, in the file of choices.
CHOSE = "search"
#: Settings that change how the work is done and not what comes of it.
MAY_CHANGE = ("output", "environments", "pool", "track", *FREE_CALLS, *(f"api.{name}" for name in ApiOptions.FREE))


@dataclass(frozen=True)
class SearchConfig:
    """`policy` plays, one of those that `stages.policies` lists, through the agent `dialect` with the options `agent` (by default
    the one that it speaks). Every task is searched from `starts` seeds, from `first` on, of `split`: "train", or "heldout" for a
    measurement.

    `critic` ranks candidates: "self" is the policy itself, "none" nobody, anything else another policy. `outcome` says what an
    end is worth: the "task" whose check is asked, or the "judge". With `compare` the same starts are played greedily, too. Two
    ways that part in one state are a choice where their values differ by `threshold`, at most `per_state` choices in a state (0:
    none are written)."""

    policy: str = "runs/sft/checkpoint"
    tasks: str = "miniwob@demo"
    output: Path = Path("runs/search")
    seed: int = 0
    split: Literal["train", "heldout"] = "train"
    starts: int = 20
    first: int = 40_000
    search: SearchSettings = field(default_factory=SearchSettings)
    critic: str = SELF
    critique: CritiqueSettings = field(default_factory=CritiqueSettings)
    outcome: Literal["task", "judge"] = "task"
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    judge_api: ApiOptions = field(default_factory=ApiOptions)
    compare: bool = True
    threshold: float = 0.2
    per_state: int = 1
    dialect: str | None = None
    agent: Mapping[str, Given] = field(default_factory=dict)
    max_tokens: int | None = None
    max_steps: int | None = None
    environments: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)
    api: ApiOptions = field(default_factory=ApiOptions)
    track: tuple[str, ...] = ()

    @property
    def seeds(self) -> range:
        """The seeds that every task is searched from. Raises ValueError."""
        return heldout_seeds(self.starts, self.first) if self.split == "heldout" else train_seeds(self.starts, self.first)

    def check(self) -> None:
        """Raises ConfigError, and PluginError for a class that is not there."""
        for name in ("starts", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("max_steps", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        if self.split not in ("train", "heldout"):
            raise ConfigError(f"split is {self.split!r}; it must be train or heldout")
        if self.outcome not in ("task", "judge"):
            raise ConfigError(f"outcome is {self.outcome!r}; it must be task or judge")
        if self.per_state < 0 or not self.threshold > 0:
            raise ConfigError(f"per_state is {self.per_state}, threshold {self.threshold}; they must be at least 0 and above 0")
        try:
            _ = self.seeds
        except ValueError as error:
            raise ConfigError(f"first, with {self.starts} starts: {error}") from error
        self.search.check()
        self.critique.check()
        self.api.meter()
        for policy in (self.policy, *(() if self.critic in (SELF, NOBODY) else (self.critic,))):
            if check_policy(policy).kind == "baseline":
                raise ConfigError(f"policy: {policy!r} is a baseline, and no policy that can be asked")
        check_judge(self.judge, self.judge_api, "outcome is 'judge'" if self.outcome == "judge" else "")


@dataclass(frozen=True)
class Report:
    """Success of the search and, where it was played, of greedy play from the same starts; `gain` compares the two. `failed`
    starts have no result because their environment failed. `choices` and `pairs` are how many there are."""

    search: Rate
    greedy: Rate | None
    gain: Comparison | None
    failed: int
    actions: float
    choices: int
    pairs: int


def main(config: SearchConfig, show: bool = True) -> Report:
    """Search what was not searched yet, and write the report. Raises ConfigError, TaskError, and what calls of servers raise."""
    config.check()
    tasks = load_tasks(config.tasks, split=config.split)
    for kind in dict.fromkeys(task.env for task in tasks):
        check_options(kind, config.options)
    setup = agent_setup(config.policy, config.dialect, config.agent)
    settings = {
        **to_dict(config),
        "dialect": setup.dialect,
        "agent": dict(setup.options),
        "task_set": task_set_hash(tasks),
        "weights": weights_digest(config.policy),
    }
    jobs = [EpisodeJob(task, seed, "search") for task in tasks for seed in config.seeds]
    with Run(config.output, settings, {"search": config.seed}, may_change=MAY_CHANGE, trackers=config.track) as run:
        images = ImageStore(config.output / "images")
        if _missing(config, jobs):
            with run.phase("search"), _opened(config, setup, images) as players:
                asyncio.run(_play_all(config, players, jobs, images, show))
        report = _report(config, setup.build(), jobs)
        write_json(config.output / "report.json", {**to_dict(report), "task_set": settings["task_set"], "starts": len(jobs)})
        run.log(0, "search", **{name: value for name, value in _figures(report).items() if value is not None})
    return report


def _missing(config: SearchConfig, jobs: Sequence[EpisodeJob]) -> bool:
    """Whether some start has no result yet; one whose environment failed has none."""
    path = config.output / FOUND
    if not path.exists():
        return True
    with TrajectoryStore(path) as store:
        return any(job.identifier not in store for job in jobs)


@dataclass(frozen=True)
class _Players:
    agent: Agent
    policy: Policy
    sampling: Sampling
    limits: Limits
    critic: Critic | None
    judge: Judge | None

    async def close(self) -> None:
        """Close connections in the event loop that used them."""
        for one in (self.policy, None if self.critic is None else self.critic.policy):
            close = getattr(one, "close", None)
            if close is not None:
                await close()
        if self.judge is not None:
            await self.judge.close()

    async def worth(self, played: Trajectory) -> float | None:
        """What the judge says of an end."""
        assert self.judge is not None
        success = (await self.judge.judge(played)).success
        return None if success is None else float(success)


@contextmanager
def _opened(config: SearchConfig, setup: AgentSetup, images: ImageStore) -> Iterator[_Players]:
    agent, meter = setup.build(), config.api.meter()
    tokens = config.max_tokens if config.max_tokens is not None else reply_tokens(config.policy, setup)
    sampling, limits = Sampling(0.0, 1.0, tokens, seed=config.seed), Limits(max_steps=config.max_steps)
    with (
        open_policy(config.policy, images, agent, config.api, meter) as (policy, _),
        _critic(config, policy, images, meter) as critic,
        open_judge(config.judge if config.outcome == "judge" else JudgeSettings(), images, config.judge_api) as judge,
    ):
        yield _Players(agent, policy, sampling, limits, critic, judge)


@contextmanager
def _critic(config: SearchConfig, policy: Policy, images: ImageStore, meter: Meter) -> Iterator[Critic | None]:
    if config.critic == NOBODY:
        yield None
    elif config.critic == SELF:
        yield Critic(policy, config.critique)
    else:
        with open_policy(config.critic, images, api=config.api, meter=meter) as (other, _):
            yield Critic(other, config.critique)


# ------------------------------------------------------------------------------------------------------------------- playing


async def _play_all(config: SearchConfig, players: _Players, jobs: Sequence[EpisodeJob], images: ImageStore, show: bool) -> None:
    """Play what the stores lack, each written when it is over; choices come before the result that says they are complete."""
    stores = {name: TrajectoryStore(config.output / name, "a") for name in (FOUND, GREEDY, BRANCHES)}
    try:
        for kind in dict.fromkeys(job.task.env for job in jobs):
            of_kind = [job for job in jobs if job.task.env == kind]
            pool = EnvironmentPool.of(kind, images, min(config.environments, len(of_kind)), config.options, config.pool)
            async with pool:
                if config.compare:
                    await _greedily(players, [replace(job, group="greedy") for job in of_kind], pool, stores[GREEDY])
                await _search(config, players, of_kind, pool, stores, show)
    finally:
        for store in stores.values():
            store.close()
        await players.close()


async def _greedily(players: _Players, jobs: Sequence[EpisodeJob], pool: EnvironmentPool, store: TrajectoryStore) -> None:
    play = policy_player(players.agent, players.policy, players.sampling, players.limits)
    missing = [job for job in jobs if job.identifier not in store]
    await play_many(missing, pool, play, failed=lambda one: one.environment_failed, on_result=store.append)


async def _search(
    config: SearchConfig,
    players: _Players,
    jobs: Sequence[EpisodeJob],
    pool: EnvironmentPool,
    stores: Mapping[str, TrajectoryStore],
    show: bool,
) -> None:
    found = stores[FOUND]
    missing = [job for job in jobs if job.identifier not in found]
    with Progress("search", len(missing), show=show) as progress:
        done = successes = 0

        async def play(environment: Environment, job: EpisodeJob) -> Searched:
            return await search(
                environment,
                players.agent,
                players.policy,
                job.task,
                job.seed,
                settings=config.search,
                sampling=players.sampling,
                limits=players.limits,
                critic=players.critic,
                worth=players.worth if players.judge is not None else None,
                group=job.group,
                index=job.index,
            )

        def keep(result: Searched) -> None:
            nonlocal done, successes
            if result.environment_failed:
                progress.note(f"{result.trajectory.id} has no result: {result.trajectory.error}")
                return
            _keep_choices(config, result, stores[BRANCHES])
            found.append(result.trajectory)
            done, successes = done + 1, successes + result.trajectory.success
            progress.update(done, len(missing), {"success %": 100 * successes / done})

        await play_many(missing, pool, play, failed=lambda one: one.environment_failed, on_result=keep)


# ------------------------------------------------------------------------------------------------------------------- choices


def _keep_choices(config: SearchConfig, result: Searched, store: TrajectoryStore) -> None:
    """Write what the tree prefers. A search that is repeated after a kill finds its ways in the store."""
    if result.root is None or not config.per_state:
        return
    for branching in branchings(result.root, config.search.alpha, config.threshold, config.per_state):
        if _parts(branching):
            better, worse = (_way(result, branching, one) for one in (branching.better, branching.worse))
            for way in (better, worse):
                if way.id not in store:
                    store.append(way)
            append_choice(config.output / CHOICES_FILE, Choice(better.id, worse.id, "first", CHOSE))


def _parts(branching: Branching) -> bool:
    """Whether the two lead to different states: of two ways into the same one, what came later decided."""
    reached = [one.child for one in (branching.better, branching.worse) if one.child is not None]
    keys = {node.observation.state_key or (node.observation.screenshot, node.observation.text) for node in reached}
    return len(keys) == 2 or any(node.status is not None for node in reached)


def _way(result: Searched, branching: Branching, candidate: Candidate) -> Trajectory:
    """The best way through a candidate as an episode, called by what is said on it."""
    assert candidate.child is not None
    best = best_end(candidate.child)
    assert best is not None, "a candidate that was tried leads to an end"
    below, end = best
    steps = tuple(one.step for one in (*branching.path, candidate, *below))
    said = repr([(step.actions, None if step.completion is None else step.completion.text) for step in steps])
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    assert end.status is not None
    played = result.trajectory
    way = replace(played, id=f"{played.id}-{digest}", steps=steps, final=end.observation, status=end.status)
    return replace(way, reward=end.reward, parts={}, extra={})


# -------------------------------------------------------------------------------------------------------------------- report


def _report(config: SearchConfig, agent: Agent, jobs: Sequence[EpisodeJob]) -> Report:
    found = _of(config.output / FOUND, {job.identifier for job in jobs})
    graded = {(one.task.id, one.seed): one.success for one in found}
    greedily = _of(config.output / GREEDY, {replace(job, group="greedy").identifier for job in jobs}) if config.compare else []
    plain = {(one.task.id, one.seed): one.success for one in greedily if not one.environment_failed}
    actions = [float(one.extra[SEARCH]["actions"]) for one in found if SEARCH in one.extra]
    choices, pairs = _write_pairs(config, agent)
    return Report(
        success_rate(sum(graded.values()), len(graded)),
        success_rate(sum(plain.values()), len(plain)) if plain else None,
        compare_paired(plain, graded) if plain.keys() & graded.keys() else None,
        len(jobs) - len(graded),
        sum(actions) / max(1, len(actions)),
        choices,
        pairs,
    )


def _write_pairs(config: SearchConfig, agent: Agent) -> tuple[int, int]:
    """(choices, pairs of replies that follow from them)."""
    path, branches = config.output / CHOICES_FILE, config.output / BRANCHES
    if not path.exists():
        return 0, 0
    choices = list(dict.fromkeys(read_choices(path)))
    with TrajectoryStore(branches) as store:
        forks = pairs_of_choices(choices, store, agent, ("correction",))
    try:
        write_pairs((branches,), config.output, forks)
    except TooFewPairs:
        (config.output / PAIRS_FILE).unlink(missing_ok=True)
    return len(choices), len(forks.pairs)


def _of(path: Path, identifiers: set[str]) -> list[Trajectory]:
    with TrajectoryStore(path) as store:
        return [store.get(one) for one in store.ids() if one in identifiers]


def _figures(report: Report) -> dict[str, float | None]:
    return {
        "success": report.search.rate,
        "low": report.search.low,
        "high": report.search.high,
        "n": report.search.n,
        "greedy": None if report.greedy is None else report.greedy.rate,
        "actions": report.actions,
        "choices": report.choices,
        "pairs": report.pairs,
    }
