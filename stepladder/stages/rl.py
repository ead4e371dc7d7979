"""Online multi-turn reinforcement learning, rungs 7 and 11.

    stepladder rl --algo gspo --checkpoint runs/demo/sft/checkpoint --set algo.updates=2 --set algo.clip_high=4e-4

One update: draw tasks, play a group of episodes from each start, keep the groups that tell something, credit every sampled token,
take one optimizer step. Files of a run:

    rollouts-<rank>.jsonl   every episode, written the moment it is over
    state.pt                weights, optimizer and curriculum every `save_every` updates; state.previous.pt those before;
                            a directory `state` where the weights are divided among ranks (`stages.rl_states`)
    best.pt                 the weights that did best on the validation seeds
    alarms.jsonl            signs that something else is learned than was meant (`stepladder.alarms`)
    checkpoint/             these weights, or the last ones, as a Hugging Face directory
    report.html, report.md, report.json   what came of it

A run that was killed goes on: it learns again from the episodes that it has since its last state, which gives the same weights,
and plays only what is missing.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from stepladder.config import to_dict
from stepladder.images import ImageStore
from stepladder.rollout.opening import check_options
from stepladder.run import Run
from stepladder.stages import training_report
from stepladder.stages.judging import FREE_CALLS, open_judge
from stepladder.stages.memory_check import check_checkpoint
from stepladder.stages.rl_asynchronous import AsynchronousLoop
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_learner import savings
from stepladder.stages.rl_loop import RankLoop
from stepladder.stages.rl_tasks import training_tasks
from stepladder.store import TrajectoryStore
from stepladder.tasks import task_set_hash
from stepladder.train.devices import device_of
from stepladder.train.memory import Setting
from stepladder.train.parallel import run_ranks

#: Settings that change how a run is done and not what comes out of it; so does `updates` where the learning rate does not decay.
MAY_CHANGE = (
    *(
        "output",
        "save_every",
        "rollback",
        "environments",
        "engine",
        "pool",
        "max_seconds",
        "track",
        "alarms",
        "activation_checkpointing",
        "check_memory",
        "device",
        "ray",
        "served",
    ),
    *(f"asynchronous.{name}" for name in ("staleness", "retries", "blacklist", "losses", "in_progress")),
    *FREE_CALLS,
)


def main(config: RlConfig, show: bool = True) -> Path:
    """Train, and return the exported checkpoint directory. Raises ConfigError, TaskError."""
    config.check()
    for kind in dict.fromkeys(task.env for task in training_tasks(config)):
        check_options(kind, config.options)
    with _open_run(config) as run:  # refuses other settings than those that it was started with
        done = run.phase(_phase(config)).done
    if not done:
        _check_memory(config)
        run_ranks(_train, config.ranks, config, show)
    training_report.finish(config.output, again=not done)
    return config.output / "checkpoint"


def _check_memory(config: RlConfig) -> None:
    if config.check_memory:
        check_checkpoint(
            config.checkpoint,
            device=device_of(config.device, config.ranks),
            optimizer=config.optimizer.kind,
            trained=config.train,
            lora=config.lora,
            setting=Setting(world=config.ranks, sharded=config.shard),
            savings=savings(config),
            copies=len({"reference", "teacher"} & {*config.algo.needs}) + _has_engine_of_its_own(config),
        )


def _has_engine_of_its_own(config: RlConfig) -> bool:
    """Whether weights beside those that learn are in this process, to be sampled from."""
    return config.asynchronous.on and not config.ray.on and not config.served.url


def _phase(config: RlConfig) -> str:
    """A run that is done goes on when more updates are asked for."""
    return f"rl, {config.updates} updates"


def _open_run(config: RlConfig) -> Run:
    tasks = training_tasks(config)
    settings = {**to_dict(config), "algorithm": config.algo.name, "task_set": task_set_hash(tasks)}
    may_change = MAY_CHANGE if config.decay else (*MAY_CHANGE, "updates")
    defaults = replace(RlConfig(), algo=type(config.algo)())
    return Run(
        config.output,
        settings,
        seeds={"rl": config.seed},
        may_change=may_change,
        trackers=config.track,
        defaults=defaults,
    )


def _train(rank: int, world: int, config: RlConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    try:
        with (
            run.phase(_phase(config)) if run is not None else nullcontext(),
            TrajectoryStore(config.output / f"rollouts-{rank}.jsonl", "a") as store,
            open_judge(config.judge, ImageStore(config.output / "images"), config.judge_api) as judge,
        ):
            loop = AsynchronousLoop if config.asynchronous.on else RankLoop
            asyncio.run(loop(rank, world, config, store, run, judge, show).work())
    finally:
        if run is not None:
            run.close()
