"""A workload, an engine's speed and a trainer's as a run has shown them: from stored episodes, metrics and timed replies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.planning.distributions import Distribution, constant
from stepladder.planning.settings import EngineSpeed, Pipeline, TrainerSpeed, Workload
from stepladder.planning.simulation import simulate
from stepladder.store import TrajectoryStore


def measured_workload(
    stores: Sequence[Path],
    metrics: Sequence[Mapping[str, Any]] = (),
    reset_seconds: Distribution | None = None,
    evaluate_seconds: Distribution | None = None,
) -> Workload:
    """What the episodes in `stores` were like; `metrics` are those of phases "rl" and "environments" of their run
    (`stepladder.run.read_metrics`).

    Steps, tokens and the environment's seconds are the samples themselves. Of failures, a store keeps those episodes alone that
    were given up; the pool's counts in `metrics` tell of the others. Where they broke is not known, so that all count as steps
    that broke. The share of groups without a signal is that of the metrics, or 0. A store does not tell how long resets and
    evaluations took: unless given, a reset is like a step and an evaluation takes no time. Raises UserError for stores without a
    turn that an environment carried out."""
    steps, prompts, replies, seconds = [], [], [], []
    finished = 0
    for path in stores:
        with TrajectoryStore(path) as store:
            for trajectory in store:
                turns = [turn for turn in trajectory.steps if turn.completion is not None]
                if trajectory.environment_failed or not turns:
                    continue
                finished += 1
                steps.append(float(len(turns)))
                for turn in turns:
                    if turn.prompt is not None and turn.prompt.tokens is not None:
                        prompts.append(float(len(turn.prompt.tokens)))
                    if turn.completion is not None and turn.completion.tokens is not None:
                        replies.append(float(len(turn.completion.tokens)))
                    # A reply that could not be read costs the environment nothing.
                    seconds.append(float(turn.seconds.get("environment", 0.0)))
    if not any(seconds) or not prompts or not replies:
        names = ", ".join(map(str, stores)) or "no store"
        raise UserError(f"{names}: no episode has turns with tokens and with the seconds of its environment")
    counts: Mapping[str, Any] = next((one for one in reversed(metrics) if one.get("phase") == "environments"), {})
    broken = float(counts.get("repeated", 0.0)) + float(counts.get("given_up", 0.0))
    turns_in_all = sum(steps) + broken
    step_seconds = Distribution.measured(seconds)
    return Workload(
        steps=Distribution.measured(steps),
        prompt_tokens=Distribution.measured(prompts),
        reply_tokens=Distribution.measured(replies),
        step_seconds=step_seconds,
        reset_seconds=step_seconds if reset_seconds is None else reset_seconds,
        evaluate_seconds=constant(0) if evaluate_seconds is None else evaluate_seconds,
        step_failure=broken / turns_in_all,
        flat=flat_share(metrics),
    )


def flat_share(metrics: Sequence[Mapping[str, Any]]) -> float:
    """The share of groups without a signal over the updates of a run; 0 where it does not tell."""
    updates = _updates(metrics)
    flat, kept = (sum(float(one.get(name, 0.0)) for one in updates) for name in ("flat", "kept"))
    return min(flat / (flat + kept), 1 - 1 / (flat + kept)) if flat else 0.0


def _updates(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in metrics if one.get("phase") == "rl" and one.get("step", 0) > 0 and "learn_seconds" in one]


def measured_trainer(metrics: Sequence[Mapping[str, Any]]) -> TrainerSpeed:
    """The trainer of a run, from `learn_seconds` of its updates but the first, which warms up: a fixed part and one for each turn
    where these are told apart, all fixed otherwise. Raises UserError for fewer than two updates."""
    updates = _updates(metrics)[1:]
    if not updates:
        raise UserError("the metrics hold no two updates with learn_seconds")
    seconds = np.array([float(one["learn_seconds"]) for one in updates])
    turns = np.array([float(one["steps"]) * float(one["episodes"]) * _learned_share(one) for one in updates])
    if len(updates) >= 5 and turns.std() > 0.1 * turns.mean():
        (fixed, each), _ = nnls(np.stack([np.ones_like(turns), turns], axis=1), seconds)
        return TrainerSpeed(update_seconds=float(fixed), step_seconds=float(each))
    return TrainerSpeed(update_seconds=float(seconds.mean()))


def _learned_share(update: Mapping[str, Any]) -> float:
    kept, flat = float(update.get("kept", 1.0)), float(update.get("flat", 0.0))
    return kept / (kept + flat) if kept + flat else 0.0


@dataclass(frozen=True)
class TimedReplies:
    """`count` replies of `tokens` tokens each to prompts of `prompt_tokens` tokens, asked for at once and all written after
    `seconds`."""

    count: int
    prompt_tokens: float
    tokens: int
    seconds: float


def measured_engine(timed: Sequence[TimedReplies], engine: EngineSpeed | None = None) -> EngineSpeed:
    """The speeds with which `timed` batches take as long as they took, by non-negative least squares of the relative errors; all
    else is as in `engine`. Replies of at least two lengths and two counts are needed to tell the parts apart.

    Raises ConfigError."""
    engine = engine or EngineSpeed()
    if len({one.count for one in timed}) < 2 or len({one.tokens for one in timed}) < 2:
        raise ConfigError("timed replies: at least two counts and two lengths of replies are needed to tell the speeds apart")
    rows, seconds = [], []
    for one in timed:
        if one.count > engine.max_batch:
            raise ConfigError(f"timed replies: {one.count} at once are more than max_batch, {engine.max_batch}")
        passes = math.ceil(one.count / engine.prompts)
        # The first token comes out of the pass over the prompt.
        rows.append([passes, one.count * one.prompt_tokens, one.tokens, one.tokens * one.count])
        seconds.append(one.seconds)
    matrix, measured = np.array(rows, dtype=float), np.array(seconds, dtype=float)
    scale = matrix.max(axis=0)
    found, _ = nnls(matrix / scale / measured[:, None], np.ones_like(measured))
    each_pass, prompt, token, reply = (float(value) for value in found / scale)
    return replace(engine, pass_seconds=each_pass, prompt_token_seconds=prompt, token_seconds=token, reply_token_seconds=reply)


def measured_reply_seconds(stores: Sequence[Path]) -> float:
    """The mean time that the policy of stored episodes took for a turn. Raises UserError where it is not told."""
    seconds = []
    for path in stores:
        with TrajectoryStore(path) as store:
            seconds += [turn.seconds["policy"] for one in store for turn in one.steps if "policy" in turn.seconds]
    if not seconds:
        raise UserError(f"{', '.join(map(str, stores)) or 'no store'}: no turn tells how long its policy took")
    return math.fsum(seconds) / len(seconds)


def calibrated(pipeline: Pipeline, reply_seconds: float, updates: int = 20, rounds: int = 12) -> Pipeline:
    """The pipeline with an engine so much slower or quicker at everything that replies take `reply_seconds` on average, as they
    did in a run with these settings. That takes in what the engine's speeds leave out: prompts that are remembered, pictures,
    other work on the machine. Found by bisection, of 1/64 to 64 times the time; raises UserError where none of these will do."""
    low, high = 1 / 64, 64.0

    def seconds(factor: float) -> float:
        slower = replace(pipeline, engine=pipeline.engine.slower(factor))
        return simulate(slower, updates, warm_up=2).reply_seconds

    if not seconds(low) <= reply_seconds <= seconds(high):
        raise UserError(
            f"replies took {reply_seconds:.3g} s; the engine of the pipeline would have to be over 64 times slower or quicker"
        )
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if seconds(middle) < reply_seconds else (low, middle)
    return replace(pipeline, engine=pipeline.engine.slower(math.sqrt(low * high)))
