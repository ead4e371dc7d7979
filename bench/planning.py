"""What the simulation of `stepladder.planning` predicts for reinforcement learning on this machine, beside what it comes to.

    PYTHONPATH=bench python bench/planning.py [--environments 4,8,16] [--updates 10] [--modes synchronous,asynchronous]
                                              [--failure 0.01] [--json FILE]

A tiny Qwen3-VL with random weights, one thread, plays forms whose steps and resets take a drawn time
(`contestants/slow_forms.py`). First the engine is timed on its own, and a synchronous run with the first number of environments
gives the workload: steps, tokens, seconds of a step and failures from its stored episodes and counts, seconds of learning from its
metrics, and how much slower the engine is there than on its own. From these alone every setting is predicted; then it is run. A
measured figure is the mean over the updates after the first two, with the standard error of that mean; a predicted one is the mean
over seeds with its 95 % interval.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from contestants.slow_forms import SlowForms
from rich.console import Console
from rich.table import Table

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.codec import to_json
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.planning.distributions import Distribution
from stepladder.planning.measured import (
    TimedReplies,
    calibrated,
    measured_engine,
    measured_reply_seconds,
    measured_trainer,
    measured_workload,
)
from stepladder.planning.settings import EngineSpeed, LoopSettings, Pipeline
from stepladder.planning.simulation import predict
from stepladder.policies.engine import Engine
from stepladder.run import read_metrics
from stepladder.stages import rl
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import kept_prompts, load_policy
from stepladder.stages.rl_config import RlConfig
from stepladder.types import Action, Observation, Sampling

STEP, RESET = "lognormal:0.5,0.6", "lognormal:0.7,0.5"
TOKENS = 12
SIZES = SmallModel(hidden=48, layers=1, heads=2, key_value_heads=1, vision_hidden=32, vision_layers=1, vision_heads=2)
_log = logging.getLogger("planning")
#: Episodes of a group.
GROUP = 4
#: Updates in which a run still warms up.
WARM_UP = 2


class AnyReply(QwenVLAgent):
    """Takes any reply for a click somewhere, so that a model with random weights has episodes."""

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        place = zlib.crc32(text.encode("utf-8", "replace"))
        return "", Action("click", place % 160, place // 160 % 210)


def checkpoint(directory: Path) -> Path:
    """A tiny model with random weights."""
    tokenizer = build_tokenizer(["Click the button. Enter the text. Select the option."] * 5, 400)
    processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    save_checkpoint(directory, build_model(SIZES, tokenizer, 0), processor)
    AgentOptions(screenshots=1).save(directory)
    return directory


def configuration(start: Path, output: Path, environments: int, updates: int, options: Mapping[str, Any]) -> RlConfig:
    return RlConfig(
        checkpoint=start,
        output=output,
        tasks="env:contestants.slow_forms:SlowForms",
        options=options,
        ranks=1,
        updates=updates,
        groups=4,
        group_size=GROUP,
        max_tokens=TOKENS,
        environments=environments,
        validation=0,
        export="last",
        save_every=1000,
        evaluate_every=1000,
    )


def timed_replies(start: Path, rounds: int = 2) -> list[TimedReplies]:
    """The engine alone, on first screens of the forms: replies of two lengths, one to sixteen at once."""

    async def measure() -> list[TimedReplies]:
        images = ImageStore()
        model, renderer = load_policy(start, images)
        engine = Engine(model, renderer, **kept_prompts(16))
        agent = AgentOptions.of_checkpoint(start).build()
        environment = SlowForms(images, step_seconds="0", reset_seconds="0")
        (task,), found, seed = SlowForms.tasks(), [], 0
        for number in range(1 + rounds):
            for count in (1, 2, 4, 8, 16):
                for tokens in (4, 24):
                    prompts = []
                    for _ in range(count):
                        seed += 1
                        observation = await environment.reset(task, seed)
                        prompts.append(renderer.render(agent.prompt(environment.task, (), observation)))
                    began = time.perf_counter()
                    answers = await asyncio.gather(*(engine.generate(one, Sampling(1.0, 1.0, tokens)) for one in prompts))
                    seconds = time.perf_counter() - began
                    written = max(len(answer.tokens) for answer in answers if answer.tokens is not None)
                    length = statistics.mean(len(one.tokens) for one in prompts if one.tokens is not None)
                    if number:  # the first round warms up
                        found.append(TimedReplies(count, length, written, seconds))
        engine.close()
        return found

    return asyncio.run(measure())


def of_run(directory: Path) -> dict[str, tuple[float, float]]:
    """(mean, standard error) over the updates of a run after those that warm up."""
    updates = [one for one in read_metrics(directory, "rl") if one["step"] > WARM_UP]
    both = [one["play_seconds"] + one["learn_seconds"] for one in updates]
    rates = [one["kept"] * GROUP / seconds for one, seconds in zip(updates, both, strict=True)]
    values = {
        "play_seconds": [one["play_seconds"] for one in updates],
        "learn_seconds": [one["learn_seconds"] for one in updates],
        "update_seconds": both,
        "episodes_per_second": rates,
    }
    return {name: (statistics.mean(found), statistics.stdev(found) / math.sqrt(len(found))) for name, found in values.items()}


def predicted(pipeline: Pipeline, updates: int) -> dict[str, tuple[float, float, float]]:
    found = predict(pipeline, updates=max(updates, 30), warm_up=5, seeds=5)
    per_update = found.figures["updates_per_hour"]
    seconds = (3600 / per_update[0], 3600 / per_update[2], 3600 / max(1e-9, per_update[1]))
    names = ("play_seconds", "learn_seconds", "episodes_per_second")
    return {**{name: found.figures[name] for name in names}, "update_seconds": seconds}


def settings_of(modes: Sequence[str], config: RlConfig) -> dict[str, tuple[RlConfig, LoopSettings]]:
    """What is run and what is simulated in each mode."""
    loop = LoopSettings(environments=config.environments, groups=config.groups, group_size=config.group_size, rounds=config.rounds)
    found = {}
    for mode in modes:
        if mode == "synchronous":
            found[mode] = (config, loop)
        else:
            limits = replace(config.asynchronous, on=True)
            simulated = replace(loop, mode="asynchronous", staleness=limits.staleness, late=limits.late)
            found[mode] = (replace(config, asynchronous=limits), simulated)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", default="4,8,16")
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--modes", default="synchronous,asynchronous")
    parser.add_argument("--failure", type=float, default=0.01, help="Probability that a step breaks the environment.")
    parser.add_argument("--json", type=Path, help="Where to write everything.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    AgentOptions.build = lambda self: AnyReply(self.screenshots, self.thought, self.system, self.grid)  # type: ignore[method-assign]
    counts = [int(text) for text in options.environments.split(",")]
    slow = {"step_seconds": STEP, "reset_seconds": RESET, "failure": options.failure}
    with tempfile.TemporaryDirectory(prefix="stepladder-planning-") as name:
        folder = Path(name)
        start = checkpoint(folder / "start")
        timed = timed_replies(start)
        _log.info("the engine is timed")
        first = configuration(start, folder / "first", counts[0], options.updates, slow)
        rl.main(first, show=False)
        _log.info("the workload is known")
        metrics = read_metrics(first.output)
        workload = measured_workload([first.output / "rollouts-0.jsonl"], metrics, Distribution.parse(RESET))
        engine = measured_engine(timed, EngineSpeed(max_batch=64, prompts=64, in_progress="continue"))
        trainer = measured_trainer(metrics)
        loop = settings_of(["synchronous"], first)["synchronous"][1]
        waited = measured_reply_seconds([first.output / "rollouts-0.jsonl"])
        basis = calibrated(Pipeline(workload, engine, trainer, loop), waited)
        rows = []
        for count in counts:
            config = configuration(start, folder / "run", count, options.updates, slow)
            for mode, (run, loop) in settings_of(options.modes.split(","), config).items():
                run = replace(run, output=folder / f"{mode}-{count}")
                began = time.perf_counter()
                rl.main(run, show=False)
                took = time.perf_counter() - began
                foretold = predicted(replace(basis, loop=loop), options.updates)
                rows.append({"mode": mode, "environments": count, "measured": of_run(run.output), "predicted": foretold})
                _log.info("%s, %d environments, %.0f s: %s", mode, count, took, rows[-1])
    print_rows(rows)
    about = {
        "timed": [to_json(one) for one in timed],
        "engine": to_json(engine),
        "slower": {"replies took": waited, "factor": basis.engine.token_seconds / engine.token_seconds},
        "trainer": to_json(trainer),
        "workload": {name: str(getattr(workload, name)) for name in workload.__dataclass_fields__},
        "load": os.getloadavg(),
    }
    Console().print(about["engine"], about["slower"], about["trainer"], about["workload"])
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, **about}, indent=2) + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("mode", "environments", "figure", "predicted", "measured", "predicted / measured"):
        table.add_column(column, justify="left" if column in ("mode", "figure") else "right")
    for row in rows:
        for figure, (mean, low, high) in row["predicted"].items():
            measured, error = row["measured"][figure]
            cells = [row["mode"], str(row["environments"]), figure, f"{mean:.2f} ({low:.2f} to {high:.2f})"]
            table.add_row(*cells, f"{measured:.2f} ± {error:.2f}", f"{mean / measured:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
