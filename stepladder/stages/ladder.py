"""The whole ladder, from random weights to an agent that learns from its own clicks: twelve rungs, each measured on the same sets.

    stepladder ladder --output runs/ladder

Files of a run:

    collect/, thoughts/, answers/   demonstrations on pages, the same with thoughts, questions with worked answers
    1-pretrain/ ... 12-refinement/   the runs of the stages
    measures/<rung>/           what was found after every rung
    report.html (.md, .json), ladder.svg

A run that was killed goes on where it was, within a rung too. Rungs are left out by `--set without=core,continued`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from stepladder.config import to_dict
from stepladder.run import Run
from stepladder.stages import collect, flywheel, ladder_report, prefer, pretrain, reason, refine, rl, sft
from stepladder.stages.ladder_config import ACTS, PRETRAINING, THINKING, LadderConfig, Rung, RungName
from stepladder.stages.ladder_measures import Measurer
from stepladder.stages.pretrain_config import PHASES, PretrainConfig
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash

MAY_CHANGE = ("output", "last", "track")


def main(config: LadderConfig, show: bool = True) -> Path:
    """Climb what is left; the path of report.html. Raises ConfigError."""
    config.check()
    console = Console(stderr=True, quiet=not show)
    settings = {
        **to_dict(config),
        "task_set": task_set_hash(load_tasks(config.tasks)),
        "question_set": task_set_hash(load_tasks(config.questions)),
    }
    with Run(config.output, settings, seeds={"ladder": config.seed}, may_change=MAY_CHANGE, trackers=config.track) as run:

        def phase(name: str, title: str, work: Callable[[], None]) -> None:
            with run.phase(name) as record:
                if record.done:
                    console.print(f"[dim]{title}: done before, {record.seconds:.0f} s[/dim]")
                    return
                console.print(f"[bold]{title}[/bold]")
                work()
            console.print(f"  {record.seconds:.0f} s")

        climb = Climb(config, show)
        phase("collect", "Demonstrations on pages, and worked answers", climb.collect)
        for rung in config.rungs:
            if rung not in PRETRAINING:
                phase(rung.name, f"Rung {rung.number}: {rung.title}", partial(climb.rung, rung))
            elif rung is next(one for one in config.rungs if one in PRETRAINING):
                phase("pretrain", "Rungs 1 to 4: pre-training", climb.pretrain)
            phase(f"measure {rung.name}", f"{rung.title}, measured", partial(climb.measure, rung))
        report = ladder_report.write(config, climb.measurer, run)
        console.print(f"[bold]Report[/bold]\n  {report}")
        return report


@dataclass(frozen=True)
class Climb:
    """The stages of one ladder, each with its data and its place."""

    config: LadderConfig
    show: bool

    @property
    def demonstrations(self) -> Path:
        return self.config.output / "collect"

    @property
    def answers(self) -> Path:
        return self.config.output / "answers"

    @property
    def thoughts(self) -> Path:
        return self.config.output / "thoughts"

    @property
    def measurer(self) -> Measurer:
        config = self.config
        return Measurer(
            config.output / "measures",
            self._pretraining(),
            tuple(dict.fromkeys(source for name in PHASES for source in getattr(config.pretrain, name).sources)),
            self.demonstrations,
            config.tasks,
            config.questions,
            {"thought": THINKING.thought},
            {"thought": config.thoughts.agent.thought, "level": config.thoughts.agent.level},
            config.options,
            config.cloning.ignore_above,
            config.measure,
        )

    def collect(self) -> None:
        """Demonstrations of the web tasks, the same with thoughts, and those of the questions."""
        config = self.config
        pages = collect.CollectConfig(
            tasks=config.tasks,
            output=self.demonstrations,
            episodes=config.demonstrations,
            visits=config.visits,
            workers=config.ranks,
            options=config.options,
        )
        collect.main(pages, self.show)
        answers = collect.CollectConfig(
            tasks=config.questions, output=self.answers, episodes=config.answers, mistakes=0.0, workers=config.ranks
        )
        collect.main(answers, self.show)
        reason.main(replace(config.reason, demonstrations=self.demonstrations, output=self.thoughts), self.show)

    def pretrain(self) -> None:
        """Rungs 1 to 4, without those that are left out."""
        pretrain.main(self._pretraining(), self.show)

    def rung(self, rung: Rung) -> None:
        """One of the rungs 5 to 12."""
        stages: Mapping[RungName, Callable[[Path], None]] = {
            "instruction": self._instruction,
            "preference": self._preference,
            "reasoning": self._reasoning,
            "perception": self._perception,
            "cloning": self._cloning,
            "thoughts": self._thoughts,
            "online": self._online,
            "refinement": self._refinement,
        }
        stages[rung.name](self._place(rung))

    def measure(self, rung: Rung) -> None:
        """Everything that is measured, of what the rung has left."""
        thinking = self._place(rung) / "thinking" / "checkpoint" if rung.name == "thoughts" else None
        self.measurer.measure(rung.name, self.checkpoint(rung), acts=rung.number >= ACTS, thinking=thinking, show=self.show)

    def checkpoint(self, rung: Rung) -> Path:
        """Where a rung leaves the model."""
        if rung in PRETRAINING:
            return self.config.output / "1-pretrain" / rung.name
        ends = {"thoughts": "flywheel/checkpoint"}
        return self._place(rung) / ends.get(rung.name, "checkpoint")

    def _start(self, name: RungName) -> Path | None:
        """The checkpoint of the rung before; None for the first of all, which makes the model."""
        place = [rung.name for rung in self.config.rungs].index(name)
        return self.checkpoint(self.config.rungs[place - 1]) if place else None

    def _before(self, name: RungName) -> Path:
        """The checkpoint of the rung before one that cannot be the first."""
        start = self._start(name)
        assert start is not None, "LadderConfig.check"
        return start

    def _place(self, rung: Rung) -> Path:
        return self.config.output / f"{rung.number}-{rung.name}"

    def _pretraining(self) -> PretrainConfig:
        config, climbed = self.config, {rung.name for rung in self.config.rungs}
        settings = replace(
            config.pretrain,
            output=config.output / "1-pretrain",
            demonstrations=self.thoughts,
            seed=config.seed,
            ranks=config.ranks,
            track=config.track or config.pretrain.track,
        )
        left_out = {rung.name: replace(getattr(settings, rung.name), steps=0) for rung in PRETRAINING if rung.name not in climbed}
        return replace(settings, **left_out)

    def _common(self, given: Any, place: Path) -> dict[str, Any]:
        config = self.config
        return {"output": place, "seed": config.seed, "ranks": config.ranks, "track": config.track or given.track}

    def _trained(self, given: sft.SftConfig, place: Path, start: Path | None, demonstrations: Path) -> None:
        sft.main(replace(given, checkpoint=start, demonstrations=demonstrations, **self._common(given, place)), self.show)

    def _instruction(self, place: Path) -> None:
        self._trained(self.config.instruction, place, self._start("instruction"), self.answers)

    def _preference(self, place: Path) -> None:
        given = self.config.preference
        play = replace(given.play, tasks=self.config.questions, max_tokens=self.config.measure.question_tokens)
        start = self._before("preference")
        prefer.main(replace(given, checkpoint=start, play=play, **self._common(given, place)), self.show)

    def _reasoning(self, place: Path) -> None:
        given, start = self.config.reasoning, self._before("reasoning")
        tokens = self.config.measure.question_tokens
        settings = replace(given, checkpoint=start, tasks=self.config.questions, max_tokens=tokens, **self._common(given, place))
        rl.main(settings, self.show)

    def _perception(self, place: Path) -> None:
        # With the thoughts, which it does not learn: where it is the first rung, its tokenizer is to know their words.
        self._trained(self.config.perception, place, self._start("perception"), self.thoughts)

    def _cloning(self, place: Path) -> None:
        self._trained(self.config.cloning, place, self._start("cloning"), self.demonstrations)

    def _thoughts(self, place: Path) -> None:
        config, given = self.config, self.config.flywheel
        thinking = place / "thinking"
        self._trained(config.thoughts, thinking, self._start("thoughts"), self.thoughts)
        # From here on it acts without writing its thoughts: they cost it several times as many tokens. They are measured beside.
        config.thoughts.bare.save(thinking / "checkpoint")
        settings = replace(
            given,
            checkpoint=thinking / "checkpoint",
            demonstrations=self.thoughts,
            tasks=config.tasks,
            max_tokens=config.measure.page_tokens,
            options=config.options,
            train=replace(given.train, weights=config.cloning.weights),
            **self._common(given, place / "flywheel"),
        )
        flywheel.main(settings, self.show)

    def _online(self, place: Path) -> None:
        config, given = self.config, self.config.online
        settings = replace(
            given,
            checkpoint=self._before("online"),
            tasks=config.tasks,
            max_tokens=config.measure.page_tokens,
            options=config.options,
            **self._common(given, place),
        )
        rl.main(settings, self.show)

    def _refinement(self, place: Path) -> None:
        config, given = self.config, self.config.refinement
        played = self._place(next(rung for rung in config.rungs if rung.name == "online"))
        if _any_success(played):
            refine.main(replace(given, run=played, **self._common(given, place)), self.show)
            return
        # There is nothing to imitate, and the rung leaves the model as it is.
        shutil.copytree(self._before("refinement"), place / "checkpoint", dirs_exist_ok=True)


def _any_success(run: Path) -> bool:
    for path in sorted(run.glob("rollouts-*.jsonl")):
        with TrajectoryStore(path) as store:
            if any(summary.success for summary in store.summaries()):
                return True
    return False
