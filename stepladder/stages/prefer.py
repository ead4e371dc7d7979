"""Preference optimisation, rungs 6 and 12: DPO, IPO, KTO or SimPO on replies of which one is better than the other.

    stepladder prefer runs/rl --checkpoint runs/rl/checkpoint --output runs/prefer
    stepladder prefer --checkpoint runs/sft/checkpoint --set rounds=3 --set play.tasks=forms --output runs/prefer

Pairs of replies are made from episodes (`stepladder.compare.forks`: the steps at which successes and failures part, EvoCUA, arXiv
2601.15876), and the policy learns to prefer one of each, held near the checkpoint that it starts from. The episodes are stored
ones, or in rounds each time fresh ones of the newest weights. Files of a run:

    pairs.jsonl, images/   the pairs with their origin, for `stepladder pairs`
    replies.jsonl          in their place, for KTO, replies that are good or bad by themselves
    choices.jsonl          what a judge has chosen
    state.pt               weights and optimizer every `save_every` updates
    checkpoint/            what came of it
    round-<number>/        of each round the same, and in play/ its episodes

A run that was killed goes on from its last state.
"""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from stepladder.compare.choices import CHOICES_FILE, pairs_of_choices, read_choices
from stepladder.compare.forks import Forks, find_pairs
from stepladder.compare.replies import of_episodes
from stepladder.config import ConfigError, to_dict
from stepladder.rollout.opening import check_options
from stepladder.run import Run
from stepladder.seeds import train_seeds
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.choosing import judged_choices
from stepladder.stages.imitation import link
from stepladder.stages.judging import FREE_CALLS
from stepladder.stages.measure import SAMPLED, measure
from stepladder.stages.memory_check import check_checkpoint
from stepladder.stages.prefer_config import PreferConfig
from stepladder.stages.preference_learner import SAVINGS, PreferenceLearner
from stepladder.stages.preference_pairs import TooFewPairs, episodes_of, write_pairs, write_replies
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.train.devices import device_of
from stepladder.train.memory import Setting
from stepladder.train.parallel import run_ranks

MAY_CHANGE = ("output", "save_every", "track", "activation_checkpointing", "check_memory", "device", *FREE_CALLS)
#: Of a run in rounds: how many there are changes how far it goes and not what a round comes to.
ROUNDS_MAY_CHANGE = (*MAY_CHANGE, "rounds", "play.environments", "play.pool")


def main(config: PreferConfig, show: bool = True) -> Path:
    """Make the pairs, train, and return the exported checkpoint directory. Raises ConfigError, also where there is no pair."""
    config.check()
    return _in_rounds(config, show) if config.rounds else _once(config, show)


def _once(config: PreferConfig, show: bool) -> Path:
    with _open_run(config) as run:
        if config.preferred_by == "judge":
            with run.phase("choices") as phase:
                if not phase.done:
                    choices, comparisons = config.output / CHOICES_FILE, config.comparisons
                    made = judged_choices(choices, config.runs, config.judge, config.judge_api, comparisons, config.seed, show)
                    phase.result["choices"] = made
        with run.phase("pairs") as phase:
            if not phase.done:
                count, left_out = _write(config)
                phase.result |= {"replies" if config.unpaired else "pairs": count, "left_out": dict(left_out)}
        done = run.phase("train").done
    if not done:
        _check_memory(config)
        run_ranks(_train, config.ranks, config, show)
    return config.output / "checkpoint"


def _check_memory(config: PreferConfig) -> None:
    if config.check_memory:
        check_checkpoint(
            config.checkpoint,
            device=device_of(config.device, config.ranks),
            optimizer=config.optimizer.kind,
            trained=config.train,
            lora=config.lora,
            setting=Setting(world=config.ranks, sharded=config.shard),
            savings=SAVINGS,
        )


def _write(config: PreferConfig) -> tuple[int, Counter[str]]:
    """Write what is learned from. (How many pairs or replies, why others are none.)"""
    episodes = episodes_of(config.runs)
    if config.unpaired:
        judged, left_out = of_episodes(episodes)
        write_replies(config.runs, config.output, judged, left_out)
        return len(judged), left_out
    agent = AgentOptions.of_checkpoint(config.checkpoint).build()
    found: Forks
    if config.preferred_by == "task":
        found = find_pairs(episodes, agent, config.kinds, config.per_failure)
    else:
        path = config.choices if config.preferred_by == "choices" else config.output / CHOICES_FILE
        assert path is not None
        choices = read_choices(path) if path.exists() else []
        found = pairs_of_choices(choices, episodes, agent, config.kinds)
    write_pairs(config.runs, config.output, found)
    return len(found.pairs), found.left_out


# -------------------------------------------------------------------------------------------------------------------- rounds


def _in_rounds(config: PreferConfig, show: bool) -> Path:
    """Play, prefer, learn, and again. A round that has no pair is the last: the policy always succeeds, or never."""
    console = Console(stderr=True, quiet=not show)
    tasks = load_tasks(config.play.tasks, split="train")
    for kind in dict.fromkeys(task.env for task in tasks):
        check_options(kind, config.play.options)
    newest = config.checkpoint
    with _open_run(config, task_set_hash(tasks)) as run:
        for number in range(config.rounds):
            directory = config.output / f"round-{number}"
            seeds = train_seeds(config.play.starts, config.play.first + number * config.play.starts)
            with run.phase(f"round {number}: play"):
                playing = config.play.playing(config.seed + number, config.ranks, config.device)
                played = measure(directory / "play", newest, [(task, seed) for task in tasks for seed in seeds], playing)
            rate = played.sampled
            run.log(number, "rounds", success=rate.rate or 0.0, low=rate.low, high=rate.high, n=rate.n)
            console.print(
                f"  round {number}: {rate.rate:.3f} ({rate.low:.3f} to {rate.high:.3f}, n = {rate.n}) before it", markup=False
            )
            with run.phase(f"round {number}: learn") as phase:
                if not phase.done:
                    try:
                        _once(_of_round(config, number, newest), show)
                    except TooFewPairs as error:
                        phase.result["ended"] = str(error)
            if "ended" in phase.result:
                console.print(f"  round {number} is the last: {phase.result['ended']}", markup=False)
                break
            newest = directory / "checkpoint"
    return _exported(newest, config.output / "checkpoint")


def _of_round(config: PreferConfig, number: int, newest: Path) -> PreferConfig:
    """What one round learns. Raises ConfigError where people have not chosen yet."""
    directory = config.output / f"round-{number}"
    stores, choices = tuple(sorted((directory / "play").glob(f"{SAMPLED}-*.jsonl"))), None
    if config.preferred_by == "choices":
        choices = directory / CHOICES_FILE
        if not choices.exists():
            names = " ".join(map(str, stores))
            raise ConfigError(
                f"choices: {choices} is not there yet; write it, as with `stepladder choose {names} --output {choices}`"
            )
    seed = config.seed + number
    return replace(config, runs=stores, checkpoint=newest, output=directory, seed=seed, rounds=0, choices=choices)


def _exported(checkpoint: Path, final: Path) -> Path:
    """The last round's checkpoint under the run's own name, whole or not at all."""
    partial = final.with_name(f"{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial, copy_function=link)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    return final


# ------------------------------------------------------------------------------------------------------------------ training


def _open_run(config: PreferConfig, task_set: str | None = None) -> Run:
    settings = to_dict(config) if task_set is None else {**to_dict(config), "task_set": task_set}
    return Run(
        config.output,
        settings,
        seeds={"prefer": config.seed},
        may_change=MAY_CHANGE if task_set is None else ROUNDS_MAY_CHANGE,
        trackers=config.track,
        defaults=PreferConfig(),
    )


def _train(rank: int, world: int, config: PreferConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    try:
        with run.phase("train") if run is not None else nullcontext():
            learner = PreferenceLearner(rank, world, config)
            learner.train(run, show)
            learner.export()
    finally:
        if run is not None:
            run.close()
