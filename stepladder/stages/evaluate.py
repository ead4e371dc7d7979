"""Evaluation: a task set, held-out seeds, a policy; then rates that can be believed, and a report.

    stepladder eval --set tasks=miniwob@demo --set policy=runs/demo/sft/checkpoint --set output=runs/eval

Every episode is kept the moment it is over. A run that was interrupted goes on with the episodes that are missing; episodes whose
environment failed are asked for again, and counted as missing with their reason for as long as they have no grade.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stepladder.agents import agent_class
from stepladder.codec import to_json
from stepladder.config import ConfigError, to_dict
from stepladder.envs import environment_class
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment, Policy
from stepladder.plugins import load
from stepladder.policies import policy_class
from stepladder.policies.random import RandomPolicy
from stepladder.policies.scripted import IdlePolicy
from stepladder.progress import Progress
from stepladder.report import Report, Rung, choose_strips, write_report
from stepladder.results import Result, summarise
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.episode import run_episode
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.opening import check_options
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.run import Run, describe_machine, read_phases, write_json
from stepladder.seeds import heldout_seeds
from stepladder.stages.agent_options import QWEN, AgentOptions
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.types import Completion, Limits, Message, Prompt, Sampling, Task, Trajectory

Play = Callable[[Environment, EpisodeJob], Awaitable[Trajectory]]
BASELINES = ("random", "idle", "oracle")
#: Seconds that the idle baseline waits, a step each, before its episode is graded.
IDLE_STEPS = 3
#: Loads a checkpoint directory; named here and not imported, so that baselines run where PyTorch is not installed.
LOCAL_POLICY = "stepladder.stages.local_policy:open_checkpoint"
#: Names of other files in the directory of a run; with those of the baselines no checkpoint's results are called so.
TAKEN = ("config", "environment", "metrics", "phases", "report", "run")
#: Longest reply in tokens of a dialect that is not Stepladder's own.
OTHER_REPLY_TOKENS = 256


@dataclass(frozen=True)
class EvaluateConfig:
    """`policy` is a baseline ("random", "idle", "oracle"), a checkpoint directory, or a class of one's own as
    `package.module:Class`, which is constructed with the agent alone; `baselines` are measured beside it, the oracle only where the
    tasks have one. Each task is played once on each of `episodes` held-out seeds, from `first` on. `environments` episodes run at
    a time; `pool` says how they are kept. `temperature` 0 is greedy. `options` go to the environment (such as {"height": 224}).

    `dialect` names the agent (`stepladder.agents.AGENTS`, or `package.module:Class`, which is constructed without arguments).
    `agent` are the options of "qwen_vl", all of them; by default those that the checkpoint was trained with, or Qwen's own.
    `max_tokens` bounds a reply; by default as long as the agent's replies may become."""

    tasks: str = "miniwob@demo"
    policy: str = "random"
    baselines: tuple[str, ...] = BASELINES
    episodes: int = 25
    first: int = 0
    output: Path = Path("runs/eval")
    environments: int = 16
    temperature: float = 0.0
    max_tokens: int | None = None
    dialect: str = "qwen_vl"
    agent: AgentOptions | None = None
    seed: int = 0
    strips: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)


def _ignore(counts: Mapping[str, int]) -> None:
    """Default of `on_counts`."""


def policy_player(agent: Agent, policy: Policy, sampling: Sampling, limits: Limits) -> Play:
    """Episodes in which `policy` acts."""

    async def play(environment: Environment, job: EpisodeJob) -> Trajectory:
        return await run_episode(
            environment, agent, policy, job.task, job.seed, sampling=sampling, limits=limits, group=job.group, index=job.index
        )

    return play


def oracle_player(limits: Limits) -> Play:
    """Episodes that the environment's own demonstrator acts out."""

    async def play(environment: Environment, job: EpisodeJob) -> Trajectory:
        trajectory, _ = await run_demonstration(environment, job.task, job.seed, limits=limits)
        return replace(trajectory, id=f"{job.task.id}-{job.seed}-oracle-{job.index}", index=job.index)

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
    pool: PoolSettings | None = None,
    retries: int = 2,
    show: bool = True,
    on_counts: Callable[[Mapping[str, int]], None] = _ignore,
) -> Result:
    """Play every (task, seed) that has no graded episode in `store` yet, append each to it, and sum up all of them.

    `options` go to the environments, of which `environments` are open at a time for each kind that the tasks name, kept as `pool`
    says; `on_counts` is told in the end what has happened to them (`EnvironmentPool.counts`). Raises ConfigError when the store
    holds episodes of another policy, and for an unknown environment option.
    """
    jobs = pending_jobs(tasks, seeds, store, policy)
    asked = {(task.id, seed) for task in tasks for seed in seeds}
    outcomes = {(s.task, s.seed): s.success for s in store.summaries() if s.reward is not None and (s.task, s.seed) in asked}
    before = len(outcomes)
    started = time.monotonic()
    with Progress(f"evaluate {policy}", len(asked), show=show) as progress:

        def keep(trajectory: Trajectory) -> None:
            store.append(trajectory)
            outcomes[trajectory.task.id, trajectory.seed] = trajectory.success
            speed = (len(outcomes) - before) / (time.monotonic() - started)
            figures = {"success %": 100 * sum(outcomes.values()) / len(outcomes), "episodes/s": speed}
            progress.update(len(outcomes), len(asked), figures)

        for kind in dict.fromkeys(job.task.env for job in jobs):
            of_kind = [job for job in jobs if job.task.env == kind]
            lent = EnvironmentPool.of(kind, images, min(environments, len(of_kind)), options, pool)
            async with lent:
                await play_many(of_kind, lent, play, failed=_environment_failed, retries=retries, on_result=keep)
            on_counts({f"{kind}/{name}": count for name, count in sorted(lent.counts.items())})
    return result_of(store, tasks, seeds, policy=policy, seconds=time.monotonic() - started)


def result_of(store: TrajectoryStore, tasks: Sequence[Task], seeds: Sequence[int], *, policy: str, seconds: float) -> Result:
    """What the episodes in `store` amount to for these tasks and seeds; others in it do not count."""
    asked = {(task.id, seed) for task in tasks for seed in seeds}
    return summarise(
        (item for item in store if (item.task.id, item.seed) in asked),
        tasks,
        seeds,
        policy=policy,
        task_set=task_set_hash(list(tasks)),
        seconds=seconds,
    )


def pending_jobs(tasks: Sequence[Task], seeds: Sequence[int], store: TrajectoryStore, policy: str) -> list[EpisodeJob]:
    """The (task, seed) pairs without a graded episode in the store. Raises ConfigError when it holds another policy's episodes."""
    attempts: Counter[tuple[str, int]] = Counter()
    graded = set()
    for summary in store.summaries():
        if summary.policy != policy:
            raise ConfigError(f"{store.path} holds episodes of policy {summary.policy!r}; evaluate {policy!r} into another store")
        attempts[summary.task, summary.seed] += 1
        if summary.reward is not None:
            graded.add((summary.task, summary.seed))
    pairs = [(task, seed) for task in tasks for seed in seeds if (task.id, seed) not in graded]
    return [EpisodeJob(task, seed, index=attempts[task.id, seed]) for task, seed in pairs]


def _environment_failed(trajectory: Trajectory) -> bool:
    return trajectory.environment_failed


def baseline_player(name: str, seed: int = 0) -> Play:
    """The player of a trivial baseline. Random clicks are those of `seed`, whatever else runs. Raises ConfigError."""
    if name == "oracle":
        return oracle_player(Limits())
    agent = AgentOptions(grid=1).build()
    if name == "random":
        return policy_player(agent, RandomPolicy(agent), Sampling(seed=seed), Limits())
    if name == "idle":
        return policy_player(agent, IdlePolicy(agent), Sampling(), Limits(max_steps=IDLE_STEPS))
    raise ConfigError(f"there is no baseline {name!r}; there are {', '.join(BASELINES)}")


def main(config: EvaluateConfig, show: bool = True) -> Result:
    """Evaluate, write `<policy>.json` for each policy and the report (report.html and its companions) into `config.output`.

    The result of `config.policy`. Raises UserError.
    """
    _check(config)
    tasks = load_tasks(config.tasks, split="heldout")
    for kind in dict.fromkeys(task.env for task in tasks):
        check_options(kind, config.options)
    can_demonstrate = all(hasattr(environment_class(task.env), "solve") for task in tasks)
    if config.policy == "oracle" and not can_demonstrate:
        raise ConfigError(f"policy: the tasks of {config.tasks} have no oracle, for their environment has no method solve()")
    free = ("output", "environments", "strips", "baselines", "episodes", "pool")
    with Run(config.output, _resolved(config, tasks), {"first": config.first, "sampling": config.seed}, may_change=free) as run:
        images = ImageStore(config.output / "images")
        names = [name for name in dict.fromkeys([*config.baselines, config.policy]) if name != "oracle" or can_demonstrate]
        results = {name: _evaluate_one(config, name, tasks, run, images, show) for name in names}
        _report(config, results, images)
    return results[config.policy]


def policy_name(policy: str) -> str:
    """What episodes of a policy are called, and the files they are in: a baseline by its name, a class of one's own by its dotted
    path, a checkpoint by the name of its directory, with "checkpoint-" before it where that name means something else."""
    if policy in BASELINES:
        return policy
    if _is_class(policy):
        return policy.replace(":", ".")
    name = Path(policy).resolve().name
    return f"checkpoint-{name}" if name.lower() in ("", *BASELINES, *TAKEN) else name


def _is_class(policy: str) -> bool:
    return ":" in policy and not Path(policy).is_dir()


def _check(config: EvaluateConfig) -> None:
    """Raises ConfigError, and PluginError for a class that is not there."""
    unknown = [name for name in config.baselines if name not in BASELINES]
    if unknown:
        raise ConfigError(f"baselines: {unknown[0]!r} is none; there are {', '.join(BASELINES)}")
    for name, least in (("episodes", 1), ("environments", 1), ("first", 0), ("strips", 0)):
        if getattr(config, name) < least:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be at least {least}")
    if config.dialect != "qwen_vl":
        agent_class(config.dialect)
        if config.agent is not None:
            raise ConfigError(f"agent: these are options of the dialect 'qwen_vl' and not of {config.dialect!r}; leave them out")
    if _is_class(config.policy):
        policy_class(config.policy)
    elif config.policy not in BASELINES and not Path(config.policy).is_dir():
        raise ConfigError(
            f"policy: {config.policy!r} is neither a checkpoint directory nor one of {', '.join(BASELINES)} "
            "nor a class as package.module:Class"
        )


def _resolved(config: EvaluateConfig, tasks: Sequence[Task]) -> dict[str, Any]:
    """The configuration with everything that decides about the results: what was left open is filled in."""
    options = _agent_options(config)
    return {
        **to_dict(config),
        "agent": to_dict(options) if options is not None else None,
        "max_tokens": _reply_tokens(config),
        "task_set": task_set_hash(list(tasks)),
        "weights": _weights_digest(config.policy),
    }


def _agent_options(config: EvaluateConfig) -> AgentOptions | None:
    """The options of the agent, None for a dialect of one's own."""
    if config.dialect != "qwen_vl":
        return None
    if config.agent is not None:
        return config.agent
    return AgentOptions.of_checkpoint(Path(config.policy)) if Path(config.policy).is_dir() else QWEN


def _reply_tokens(config: EvaluateConfig) -> int:
    if config.max_tokens is not None:
        return config.max_tokens
    options = _agent_options(config)
    return options.reply_tokens if options is not None else OTHER_REPLY_TOKENS


class _Called:
    """A policy under the name of its store."""

    def __init__(self, policy: Policy, name: str) -> None:
        self.name = name
        self._policy = policy

    @property
    def version(self) -> int:
        return self._policy.version

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        return await self._policy.generate(messages, sampling)


@contextmanager
def _player(config: EvaluateConfig, name: str, images: ImageStore) -> Iterator[Play]:
    if name in BASELINES:
        yield baseline_player(name, config.seed)
        return
    options = _agent_options(config)
    agent = options.build() if options is not None else agent_class(config.dialect)()
    sampling = Sampling(config.temperature, 1.0, _reply_tokens(config), seed=config.seed)
    if _is_class(name):
        yield policy_player(agent, _Called(policy_class(name)(agent), policy_name(name)), sampling, Limits())
        return
    open_checkpoint = load(LOCAL_POLICY, {}, "policy")
    with open_checkpoint(Path(name), images, policy_name(name), agent) as (policy, _):
        yield policy_player(agent, policy, sampling, Limits())


def _evaluate_one(config: EvaluateConfig, name: str, tasks: Sequence[Task], run: Run, images: ImageStore, show: bool) -> Result:
    """Play what is missing. What is told comes from the store alone, so that it does not matter where an earlier run ended."""
    called = policy_name(name)
    seeds = heldout_seeds(config.episodes, config.first)
    with TrajectoryStore(config.output / f"{called}.jsonl", "a") as store:
        if pending_jobs(tasks, seeds, store, called):
            with run.phase(f"{called}, {config.episodes} episodes of each task"), _player(config, name, images) as play:
                asyncio.run(
                    evaluate(
                        tasks,
                        seeds,
                        play,
                        store,
                        images,
                        policy=called,
                        environments=config.environments,
                        options=config.options,
                        pool=config.pool,
                        show=show,
                        on_counts=lambda counts: run.log(0, f"environments of {called}", **counts),
                    )
                )
        found = result_of(store, tasks, seeds, policy=called, seconds=_seconds(run, called))
    write_json(config.output / f"{called}.json", to_json(found))
    return found


def _seconds(run: Run, called: str) -> float:
    """Running time spent on the episodes of one policy, over all restarts and all numbers of episodes."""
    phases = read_phases(run.directory)
    return sum(state["seconds"] for name, state in phases.items() if name.rpartition(", ")[0] == called)


def _weights_digest(policy: str) -> str | None:
    """SHA-256 over the weight files of a checkpoint, so that a directory of results never mixes two models."""
    if policy in BASELINES or _is_class(policy):
        return None
    digest = hashlib.sha256()
    for path in sorted(Path(policy).glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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
