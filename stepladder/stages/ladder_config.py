"""The settings of the ladder: what each rung does with the small model, and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stepladder.algos.dapo import Dapo
from stepladder.config import ConfigError
from stepladder.stages import flywheel, sft
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.demo import SCREEN, TASK_WEIGHTS, flywheel_settings, rl_settings
from stepladder.stages.ladder_measures import MeasureName, MeasureSettings
from stepladder.stages.prefer_config import PlaySettings, PreferConfig
from stepladder.stages.pretrain_config import PretrainConfig
from stepladder.stages.reason_config import ReasonConfig
from stepladder.stages.refine import RefineConfig
from stepladder.stages.rl_config import RlConfig
from stepladder.train.averaging import Averaging
from stepladder.train.optimizer import OptimizerConfig

RungName = Literal[
    "core",
    "continued",
    "lengthening",
    "annealing",
    "instruction",
    "preference",
    "reasoning",
    "perception",
    "cloning",
    "thoughts",
    "online",
    "refinement",
]


class Rung(NamedTuple):
    """A rung by its number, what it is called, and the measure that it is there to raise."""

    number: int
    name: RungName
    title: str
    measure: MeasureName


RUNGS = (
    Rung(1, "core", "core pre-training", "perplexity"),
    Rung(2, "continued", "continued pre-training, the mixture shifted", "perplexity"),
    Rung(3, "lengthening", "a longer context", "needle"),
    Rung(4, "annealing", "annealing and averaging", "perplexity"),
    Rung(5, "instruction", "supervised fine-tuning on worked answers", "questions"),
    Rung(6, "preference", "preference optimisation on its own answers", "questions"),
    Rung(7, "reasoning", "reinforcement learning on answers that are checked", "questions"),
    Rung(8, "perception", "perception of screens", "perception"),
    Rung(9, "cloning", "behaviour cloning", "pages"),
    Rung(10, "thoughts", "thoughts before actions, and the data flywheel", "pages"),
    Rung(11, "online", "online reinforcement learning on pages", "pages"),
    Rung(12, "refinement", "refinement on its own successes", "pages"),
)
#: Those that are one run of `stepladder pretrain`.
PRETRAINING = RUNGS[:4]
#: The rung from which on the model acts on pages.
ACTS = 9
#: How questions are answered: the reasons are written, then the answer.
THINKING = AgentOptions(thought="full")
#: How an agent on pages is asked for a thought. Where nothing is asked it acts as behaviour cloning has taught it.
ASKED = replace(THINKING, level="thought")


def _off() -> sft.PhaseConfig:
    return sft.PhaseConfig(steps=0, batch=1, lr=1e-3)


def _pretrain() -> PretrainConfig:
    default = PretrainConfig()
    return replace(
        default,
        core=replace(default.core, steps=150),
        continued=replace(default.continued, steps=50),
        lengthening=replace(default.lengthening, steps=40),
        annealing=replace(default.annealing, steps=30, averaging=Averaging("last", count=3, every=3)),
        needle=replace(default.needle, lengths=(256, 1024), count=10),
        held_out=24,
        score_every=75,
    )


def _instruction() -> sft.SftConfig:
    # Few updates, after which it answers in the right form and half of the time rightly: the next rungs are to have room.
    answers = sft.PhaseConfig(steps=80, batch=48, lr=3e-3, goal=2.0, score_every=40, warmup=20, decay=0.3)
    return sft.SftConfig(
        questions=0,
        screens=1,
        ignore_above=0.0,
        agent=THINKING,
        copying=_off(),
        perception=_off(),
        cloning_frozen=answers,
        cloning=_off(),
    )


def _preference() -> PreferConfig:
    return PreferConfig(
        rounds=1,
        play=PlaySettings(starts=60, attempts=8, environments=32, temperature=0.7),
        kinds=("correction",),
        epochs=1,
        optimizer=OptimizerConfig(lr=2e-4, adam_lr=2e-4),
    )


def _reasoning() -> RlConfig:
    return RlConfig(
        algo=Dapo(reward="verifiable"),
        rewards={"verifiable": 1.0},
        updates=80,
        groups=16,
        group_size=8,
        rounds=1,
        seeds=3000,
        temperature=0.7,
        environments=64,
        optimizer=OptimizerConfig(lr=3e-4, adam_lr=2e-4),
        warmup=3,
        decay=0.5,
        validation=0,
        export="last",
    )


def _perception() -> sft.SftConfig:
    default = sft.SftConfig(weights=TASK_WEIGHTS)
    # The vision tower first, on its own; then the language model learns to say what the tower sees.
    answers = sft.PhaseConfig(steps=60, batch=32, visits=20, practice=12, lr=2e-3, warmup=10, pointing=0.3, score_every=60)
    seeing = replace(default.perception, steps=300, score_every=100)
    return replace(default, copying=_off(), perception=seeing, cloning_frozen=answers, cloning=_off())


def _cloning() -> sft.SftConfig:
    default = sft.SftConfig(weights=TASK_WEIGHTS)
    return replace(
        default,
        copying=replace(default.copying, steps=100, score_every=50),
        perception=_off(),
        cloning_frozen=replace(default.cloning_frozen, steps=60, score_every=60),
        cloning=replace(default.cloning, steps=210, score_every=105),
    )


def _thoughts() -> sft.SftConfig:
    default = _cloning()
    return replace(
        default,
        agent=ASKED,
        thought_dropout=0.6,
        copying=_off(),
        cloning_frozen=_off(),
        cloning=replace(default.cloning, steps=60, lr=8e-4, score_every=60),
    )


def _online() -> RlConfig:
    return replace(rl_settings(), updates=4, validation=0, save_every=2)


def _refinement() -> RefineConfig:
    default = RefineConfig(anyway=True, seeds=2, trials=2)
    imitation = replace(default.train.cloning_frozen, steps=40, score_every=20)
    return replace(default, train=replace(default.train, cloning_frozen=imitation))


@dataclass(frozen=True)
class LadderConfig:
    """`tasks` are web tasks, of which scripts act out `demonstrations` training seeds each and look at `visits` more. `questions`
    are those of `stepladder.envs.reasoning`, of which `answers` training seeds each are worked out. `options` go to the environment
    of the web tasks. `without` names rungs that are left out; the model is made by the first that is not. The ladder ends with
    `last`. `seed` is that of weights, data and sampling, `ranks` the processes of every stage.

    The settings of the stages are their own, except for what this one says: checkpoint, tasks, data, output, seed and ranks."""

    output: Path = Path("runs/ladder")
    tasks: str = "miniwob@demo"
    questions: str = "reasoning:add-2-digits"
    seed: int = 0
    ranks: int = 2
    without: tuple[RungName, ...] = ()
    last: RungName = "refinement"
    demonstrations: int = 50
    visits: int = 150
    answers: int = 400
    options: Mapping[str, Any] = field(default_factory=lambda: dict(SCREEN))
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    pretrain: PretrainConfig = field(default_factory=_pretrain)
    instruction: sft.SftConfig = field(default_factory=_instruction)
    preference: PreferConfig = field(default_factory=_preference)
    reasoning: RlConfig = field(default_factory=_reasoning)
    perception: sft.SftConfig = field(default_factory=_perception)
    cloning: sft.SftConfig = field(default_factory=_cloning)
    reason: ReasonConfig = field(default_factory=ReasonConfig)
    thoughts: sft.SftConfig = field(default_factory=_thoughts)
    flywheel: flywheel.FlywheelConfig = field(default_factory=flywheel_settings)
    online: RlConfig = field(default_factory=_online)
    refinement: RefineConfig = field(default_factory=_refinement)
    track: tuple[str, ...] = ()

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Those that are climbed, in order."""
        end = next(rung.number for rung in RUNGS if rung.name == self.last)
        return tuple(rung for rung in RUNGS if rung.number <= end and rung.name not in self.without)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        names: list[str] = [rung.name for rung in RUNGS]
        unknown = [name for name in (*self.without, self.last) if name not in names]
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is no rung; there are {', '.join(names)}")
        if self.last in [rung.name for rung in PRETRAINING[:-1]]:
            raise ConfigError(
                f"last is {self.last!r}; the four rungs of pre-training are one run, so the first to end with is annealing"
            )
        if not self.rungs:
            raise ConfigError("without leaves no rung to be climbed")
        climbed = {rung.name for rung in self.rungs}
        if self.rungs[0].name in ("preference", "reasoning", "thoughts", "online", "refinement"):
            raise ConfigError(f"without: {self.rungs[0].name} goes on from a model, and no rung before it is left")
        if "refinement" in climbed and "online" not in climbed:
            raise ConfigError("without: refinement learns from what was played in online, which is left out")
        if climbed & {"preference", "reasoning"} and "instruction" not in climbed:
            raise ConfigError("without: preference and reasoning go on from answers that instruction has taught, which is left out")
        for name in ("ranks", "demonstrations", "answers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        self.measure.check()
