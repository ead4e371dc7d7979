"""Evaluation: a task set, held-out seeds, a policy; then rates that can be believed, and a report.

    stepladder eval --set tasks=miniwob@demo --set policy=runs/demo/sft/checkpoint --set output=runs/eval

Every episode is kept the moment it is over. A run that was interrupted goes on with the episodes that are missing; episodes whose
environment failed are asked for again, and counted as missing with their reason for as long as they have no grade.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stepladder.agents.osworld_prompt import ObservationType
from stepladder.agents.setup import AgentSetup, Given
from stepladder.codec import to_json
from stepladder.config import ConfigError, to_dict
from stepladder.envs import environment_class
from stepladder.images import ImageStore
from stepladder.interchange.osworld_results import write_episode
from stepladder.interfaces import Environment, Policy
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.judges.judged_task import is_judged
from stepladder.policies.budget import BudgetSpent, Meter
from stepladder.policies.random import RandomPolicy
from stepladder.policies.scripted import GiveUpPolicy, IdlePolicy
from stepladder.progress import Progress
from stepladder.report import Report, Rung, choose_strips, write_report
from stepladder.results import Result, summarise
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.group import EpisodeJob, Play, play_many, policy_player
from stepladder.rollout.judging import judging
from stepladder.rollout.live import LiveScreens, watched
from stepladder.rollout.observing import observing, observing_options
from stepladder.rollout.opening import check_options
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.run import Run, describe_machine, read_phases, write_json
from stepladder.seeds import heldout_seeds
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.judging import check_judge, judge_settings, open_judge
from stepladder.stages.policies import (
    BASELINES,
    ApiOptions,
    agent_setup,
    check_policy,
    open_policy,
    policy_name,
    reply_tokens,
    weights_digest,
)
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.types import Limits, Sampling, Task, Trajectory

#: Seconds that the idle baseline waits, a step each, before its episode is graded.
IDLE_STEPS = 3
#: Settings that do not change what an episode is like.
FREE = (
    "output",
    "osworld_results",
    "track",
    "device",
    "environments",
    "strips",
    "baselines",
    "episodes",
    "trials",
    "pool",
    *(f"{api}.{name}" for api in ("api", "judge_api") for name in ApiOptions.FREE),
)


@dataclass(frozen=True)
class EvaluateConfig:
    """`policy` is one of those that `stepladder.stages.policies` lists; `baselines` are measured beside it, the oracle only where
    the tasks have one. Each task is played `trials` times on each of `episodes` held-out seeds, from `first` on. `environments`
    episodes run at a time; `pool` says how they are kept. `temperature` 0 is greedy. `options` go to the environment (such as
    {"height": 224}), `api` says how servers are called. `max_steps` bounds an episode (None: what its task says).

    `dialect` names the agent (`stepladder.agents.AGENTS`, or `package.module:Class`); by default the one that the policy speaks.
    `agent` are options of that agent; those of "qwen_vl" are otherwise what the checkpoint was trained with, or Qwen's own.
    `history` is the number of screenshots in a prompt, the current one included. `observe` is what the agent is shown:
    "screenshot", "screenshot_a11y_tree", "som" (marks on the screenshot), or for agents that can do without a screenshot
    "a11y_tree"; the environment is then asked for its tree. `max_tokens` bounds a reply; by default as long as the agent's
    replies may become. `osworld_results` is a directory into which every episode is also written as OSWorld writes them
    (`stepladder.interchange.osworld_results`). `judge` grades tasks that have no other check, and `judge_api` says how its server
    is called. `device` is that of a checkpoint: "cpu", "cuda", such as "cuda:1", or "auto", a GPU where there is one. `track` names
    trackers of the measurements (`stepladder.tracking`)."""

    tasks: str = "miniwob@demo"
    policy: str = "random"
    baselines: tuple[str, ...] = BASELINES
    episodes: int = 25
    first: int = 0
    output: Path = Path("runs/eval")
    environments: int = 16
    temperature: float = 0.0
    max_tokens: int | None = None
    max_steps: int | None = None
    history: int | None = None
    trials: int = 1
    dialect: str | None = None
    agent: Mapping[str, Given] = field(default_factory=dict)
    device: str = "auto"
    observe: str | None = None
    seed: int = 0
    strips: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)
    api: ApiOptions = field(default_factory=ApiOptions)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    judge_api: ApiOptions = field(default_factory=ApiOptions)
    osworld_results: Path | None = None
    track: tuple[str, ...] = ()


def _ignore(_: object) -> None:
    """Default of `on_counts` and `on_kept`."""


def oracle_player(limits: Limits, live: LiveScreens | None = None) -> Play:
    """Episodes that the environment's own demonstrator acts out, and which others can look on with `live`."""

    async def play(environment: Environment, job: EpisodeJob) -> Trajectory:
        identifier = f"{job.task.id}-{job.seed}-oracle-{job.index}"
        with watched(live, job.task, job.seed, identifier, "oracle") as watch:
            trajectory, _ = await run_demonstration(environment, job.task, job.seed, limits=limits, watch=watch)
        return replace(trajectory, id=identifier, index=job.index)

    return play


async def evaluate(
    tasks: Sequence[Task],
    seeds: Sequence[int],
    play: Play,
    store: TrajectoryStore,
    images: ImageStore,
    *,
    policy: str,
    environments: int = 16,
    options: Mapping[str, Any] | None = None,
    observe: ObservationType = "screenshot",
    pool: PoolSettings | None = None,
    retries: int = 2,
    trials: int = 1,
    show: bool = True,
    on_counts: Callable[[Mapping[str, int]], None] = _ignore,
    on_kept: Callable[[Trajectory], None] = _ignore,
) -> Result:
    """Play every (task, seed) that has not `trials` graded episodes in `store` yet, append each to it, and sum up all of them.

    `options` go to the environments, of which `environments` are open at a time for each kind that the tasks name, kept as `pool`
    says and shown as `observe` says; `on_counts` is told in the end what has happened to them (`EnvironmentPool.counts`), and
    `on_kept` of every episode when it is over. Raises ConfigError when the store holds episodes of another policy, and for an
    unknown environment option.
    """
    jobs = pending_jobs(tasks, seeds, store, policy, trials)
    asked = {(task.id, seed) for task in tasks for seed in seeds}
    outcomes = [one.success for one in store.summaries() if one.reward is not None and (one.task, one.seed) in asked]
    total = len(asked) * trials
    before = done = total - len(jobs)
    started = time.monotonic()
    watched = observing(play, observe, images)
    with Progress(f"evaluate {policy}", total, show=show) as progress:

        def keep(trajectory: Trajectory) -> None:
            nonlocal done
            store.append(trajectory)
            on_kept(trajectory)
            outcomes.append(trajectory.success)
            done += 1
            speed = (done - before) / (time.monotonic() - started)
            progress.update(done, total, {"success %": 100 * sum(outcomes) / len(outcomes), "episodes/s": speed})

        for kind in dict.fromkeys(job.task.env for job in jobs):
            of_kind = [job for job in jobs if job.task.env == kind]
            shown = observing_options(kind, options or {}, observe)
            lent = EnvironmentPool.of(kind, images, min(environments, len(of_kind)), shown, pool)
            async with lent:
                await play_many(of_kind, lent, watched, failed=_environment_failed, retries=retries, on_result=keep)
            on_counts({f"{kind}/{name}": count for name, count in sorted(lent.counts.items())})
    return result_of(store, tasks, seeds, policy=policy, seconds=time.monotonic() - started, trials=trials)


def result_of(
    store: TrajectoryStore, tasks: Sequence[Task], seeds: Sequence[int], *, policy: str, seconds: float, trials: int = 1
) -> Result:
    """What the episodes in `store` amount to for these tasks and seeds; others in it do not count."""
    asked = {(task.id, seed) for task in tasks for seed in seeds}
    return summarise(
        (item for item in store if (item.task.id, item.seed) in asked),
        tasks,
        seeds,
        policy=policy,
        task_set=task_set_hash(list(tasks)),
        seconds=seconds,
        trials=trials,
    )


def pending_jobs(
    tasks: Sequence[Task], seeds: Sequence[int], store: TrajectoryStore, policy: str, trials: int = 1
) -> list[EpisodeJob]:
    """What is missing of `trials` graded episodes for each (task, seed). Raises ConfigError when the store holds another policy's
    episodes."""
    attempts: Counter[tuple[str, int]] = Counter()
    graded: Counter[tuple[str, int]] = Counter()
    for summary in store.summaries():
        if summary.policy != policy:
            raise ConfigError(f"{store.path} holds episodes of policy {summary.policy!r}; evaluate {policy!r} into another store")
        attempts[summary.task, summary.seed] += 1
        graded[summary.task, summary.seed] += summary.reward is not None
    return [
        EpisodeJob(task, seed, index=attempts[task.id, seed] + more)
        for task in tasks
        for seed in seeds
        for more in range(trials - graded[task.id, seed])
    ]


def _environment_failed(trajectory: Trajectory) -> bool:
    return trajectory.environment_failed


def baseline_player(name: str, seed: int = 0, max_steps: int | None = None, live: LiveScreens | None = None) -> Play:
    """The player of a trivial baseline. Random clicks are those of `seed`, whatever else runs, at most `max_steps` where that is
    given. With `live` others can look on. Raises ConfigError."""
    if name == "oracle":
        return oracle_player(Limits(), live)
    agent = AgentOptions(grid=1).build()
    if name == "random":
        return policy_player(agent, RandomPolicy(agent), Sampling(seed=seed), Limits(max_steps=max_steps), live=live)
    if name == "idle":
        return policy_player(agent, IdlePolicy(agent), Sampling(), Limits(max_steps=IDLE_STEPS), live=live)
    if name == "give_up":
        return policy_player(agent, GiveUpPolicy(agent), Sampling(), Limits(max_steps=1), live=live)
    raise ConfigError(f"there is no baseline {name!r}; there are {', '.join(BASELINES)}")


def main(config: EvaluateConfig, show: bool = True) -> Result:
    """Evaluate, write `<policy>.json` for each policy and the report (report.html and its companions) into `config.output`.

    The result of `config.policy`. Raises UserError; BudgetSpent after the report of what was played until then is written.
    """
    _check(config)
    tasks = load_tasks(config.tasks, split="heldout", judged=config.judge.policy is not None)
    setup = _setup(config)
    setup.build()  # what the agent refuses is no setting of a run
    for kind in dict.fromkeys(task.env for task in tasks):
        check_options(kind, config.options)
        observing_options(kind, config.options, setup.observe)
    can_demonstrate = all(hasattr(environment_class(task.env), "solve") and not is_judged(task) for task in tasks)
    if config.policy == "oracle" and not can_demonstrate:
        raise ConfigError(f"policy: the tasks of {config.tasks} have no oracle: a judge grades them, or there is no solve()")
    seeds = {"first": config.first, "sampling": config.seed}
    with Run(config.output, _resolved(config, setup, tasks), seeds, may_change=FREE, trackers=config.track) as run:
        images = ImageStore(config.output / "images")
        names = [name for name in dict.fromkeys([*config.baselines, config.policy]) if name != "oracle" or can_demonstrate]
        results: dict[str, Result] = {}
        spent: BudgetSpent | None = None
        for name in names:  # the policy is the last one, and baselines spend nothing
            results[name], spent = _evaluate_one(config, name, setup, tasks, run, images, show)
        _report(config, results, images)
    if spent is not None:
        raise spent
    return results[config.policy]


def _check(config: EvaluateConfig) -> None:
    """Raises ConfigError, and PluginError for a class that is not there."""
    unknown = [name for name in config.baselines if name not in BASELINES]
    if unknown:
        raise ConfigError(f"baselines: {unknown[0]!r} is none; there are {', '.join(BASELINES)}")
    for name, least in (("episodes", 1), ("environments", 1), ("trials", 1), ("first", 0), ("strips", 0)):
        if getattr(config, name) < least:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be at least {least}")
    for name in ("max_steps", "max_tokens", "history"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    check_policy(config.policy)
    check_judge(config.judge, config.judge_api)
    config.api.meter()


def _setup(config: EvaluateConfig) -> AgentSetup:
    return agent_setup(config.policy, config.dialect, config.agent, config.history, config.observe)


def _resolved(config: EvaluateConfig, setup: AgentSetup, tasks: Sequence[Task]) -> dict[str, Any]:
    """The configuration with everything that decides about the results: what was left open is filled in."""
    asked = {name: value for name, value in to_dict(config).items() if name not in ("judge", "judge_api")}
    return {
        **asked,
        **judge_settings(config.judge, config.judge_api),
        "dialect": setup.dialect,
        "agent": dict(setup.options),
        "max_tokens": _reply_tokens(config, setup),
        "task_set": task_set_hash(list(tasks)),
        "weights": weights_digest(config.policy),
    }


def _reply_tokens(config: EvaluateConfig, setup: AgentSetup) -> int:
    return config.max_tokens if config.max_tokens is not None else reply_tokens(config.policy, setup)


@contextmanager
def _player(
    config: EvaluateConfig, name: str, setup: AgentSetup, images: ImageStore, meter: Meter
) -> Iterator[tuple[Play, Policy | None]]:
    """Who plays, and the policy that is asked where there is one."""
    live = LiveScreens(config.output, policy_name(name))
    if name in BASELINES:
        yield baseline_player(name, config.seed, config.max_steps, live), None
        return
    agent = setup.build()
    sampling = Sampling(config.temperature, 1.0, _reply_tokens(config, setup), seed=config.seed)
    with open_policy(name, images, agent, config.api, meter, config.device) as (policy, _):
        yield policy_player(agent, policy, sampling, Limits(max_steps=config.max_steps), live=live), policy


def _evaluate_one(
    config: EvaluateConfig, name: str, setup: AgentSetup, tasks: Sequence[Task], run: Run, images: ImageStore, show: bool
) -> tuple[Result, BudgetSpent | None]:
    """Play what is missing, as far as the budget goes. What is told comes from the store alone, so that it does not matter where an
    earlier run ended."""
    called = policy_name(name)
    seeds = heldout_seeds(config.episodes, config.first)
    spent = None
    with TrajectoryStore(config.output / f"{called}.jsonl", "a") as store:
        missing = pending_jobs(tasks, seeds, store, called, config.trials)
        if missing:
            meter = config.api.meter()
            phase = run.phase(f"{called}, {config.episodes} episodes of each task")
            with (
                phase,
                open_judge(config.judge, images, config.judge_api) as judge,
                _player(config, name, setup, images, meter) as (play, policy),
            ):
                played = evaluate(
                    tasks,
                    seeds,
                    play if judge is None else judging(play, judge, always=False),
                    store,
                    images,
                    policy=called,
                    environments=config.environments,
                    options=config.options,
                    observe="screenshot" if name in BASELINES else setup.observe,
                    pool=config.pool,
                    trials=config.trials,
                    show=show,
                    on_counts=lambda counts: run.log(0, f"environments of {called}", **counts),
                    on_kept=partial(_write_osworld, config.osworld_results, images),
                )
                try:
                    asyncio.run(_closing(played, policy, judge))
                except BudgetSpent as error:
                    spent = error
                finally:
                    if meter.used:
                        run.log(0, f"calls of {called}", **meter.used)
        found = result_of(store, tasks, seeds, policy=called, seconds=_seconds(run, called), trials=config.trials)
    if missing and found.rate is not None:  # a repeated start, which plays nothing, adds nothing to the metrics
        run.log(found.n, f"success of {called}", success=found.rate, low=found.low, high=found.high, n=found.n)
    write_json(config.output / f"{called}.json", to_json(found))
    return found, spent


def _write_osworld(results: Path | None, images: ImageStore, trajectory: Trajectory) -> None:
    """An episode that has just ended, as a task directory of OSWorld, with the times at which it was played."""
    if results is not None:
        write_episode(results, trajectory, images, time.time() - sum(sum(step.seconds.values()) for step in trajectory.steps))


async def _closing(played: Awaitable[Result], policy: Policy | None, judge: Judge | None) -> None:
    """Await it, then close the connections of both, which belong to this event loop."""
    try:
        await played
    finally:
        for one in (policy, judge):
            close = getattr(one, "close", None)
            if close is not None:
                await close()


def _seconds(run: Run, called: str) -> float:
    """Running time spent on the episodes of one policy, over all restarts and all numbers of episodes."""
    phases = read_phases(run.directory)
    return sum(state["seconds"] for name, state in phases.items() if name.rpartition(", ")[0] == called)


def _report(config: EvaluateConfig, results: Mapping[str, Result], images: ImageStore) -> None:
    with TrajectoryStore(config.output / f"{policy_name(config.policy)}.jsonl") as store:
        strips = choose_strips(store, config.strips, config.strips)
    machine = describe_machine()
    write_report(
        config.output,
        Report(
            title=f"{policy_name(config.policy)} on {config.tasks}",
            summary="Success rates on seeds that training never uses.",
            rungs=(Rung(policy_name(config.policy), results[config.policy]),),
            baselines={name: result for name, result in results.items() if name != config.policy},
            seconds=sum(result.seconds for result in results.values()),
            phases={f"evaluate {policy_name(name)}": result.seconds for name, result in results.items()},
            strips=strips,
            about=about(machine),
            images=images,
        ),
    )


def about(machine: Mapping[str, Any]) -> dict[str, str]:
    """`describe_machine` as small print of a report."""
    git, computer = machine["git"], machine["machine"]
    return {
        "machine": f"{computer['processor']}, {computer['cores']} cores, {computer['memory_gib']} GiB",
        "versions": ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        "commit": f"{git['commit'][:12]}{' with local changes' if git['dirty'] else ''}" if git else "unknown",
        "written": machine["time"],
    }
