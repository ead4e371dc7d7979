"""The settings of pre-training and of its four phases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.config import ConfigError
from stepladder.corpora.conditioning import Conditioning
from stepladder.models.rope import RopeKind
from stepladder.models.small import SmallModel
from stepladder.train.averaging import Averaging
from stepladder.train.devices import AUTOMATIC, check_device
from stepladder.train.needle import NeedleTest
from stepladder.train.optimizer import OptimizerConfig
from stepladder.train.precision import bfloat16_is_fast

PhaseName = Literal["core", "continued", "lengthening", "annealing"]
#: Corpora that the default settings say something of.
DEFAULTS = ("lookup", "long_lookup", "captions")
PHASES: tuple[PhaseName, ...] = ("core", "continued", "lengthening", "annealing")


@dataclass(frozen=True)
class PretrainPhase:
    """One phase of `steps` updates (0 leaves it out), each of about `tokens` tokens over all ranks, in rows of `context` tokens.

    Documents are drawn from corpora by `weights`, which change linearly to `end_weights` (empty: they stay). With `mixing` bandit
    the losses of the corpora decide instead, after `mixing_warmup` updates (`corpora.bandit`). A document longer than the context
    is cut, and at most `windows` neighbouring parts of it are learned from at a time (0: all). The learning rate rises to `lr` over
    the first `warmup` updates and falls over the last share `decay` of all, to `floor` of it. Each rank computes its part in
    `accumulate` pieces, which changes memory and no result. `contrastive` weighs the loss by which pictures and texts find each
    other. `conditioning` puts its source or its quality before a document, or hides spans of it (`corpora.conditioning`)."""

    steps: int = 0
    tokens: int = 4096
    lr: float = 3e-3
    warmup: int = 20
    decay: float = 0.0
    floor: float = 0.05
    context: int = 256
    weights: Mapping[str, float] = field(default_factory=dict)
    end_weights: Mapping[str, float] = field(default_factory=dict)
    mixing: Literal["schedule", "bandit"] = "schedule"
    mixing_warmup: int = 20
    windows: int = 4
    accumulate: int = 1
    contrastive: float = 0.0
    conditioning: Conditioning = field(default_factory=Conditioning)

    @property
    def sources(self) -> tuple[str, ...]:
        """The corpora that it draws from."""
        return tuple(dict.fromkeys([*self.weights, *self.end_weights]))

    def check(self, name: str) -> None:
        """Raises ConfigError for what cannot be; `name` is that of the phase."""
        for setting, least in (("tokens", 1), ("context", 16), ("accumulate", 1), ("warmup", 0), ("windows", 0)):
            if getattr(self, setting) < least:
                raise ConfigError(f"{name}.{setting} is {getattr(self, setting)}; it must be at least {least}")
        for setting in ("decay", "floor"):
            if not 0 <= getattr(self, setting) <= 1:
                raise ConfigError(f"{name}.{setting} is {getattr(self, setting)}; it is a share, 0 to 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"{name}.lr is {self.lr}; it must be above 0")
        if not self.weights:
            raise ConfigError(f"{name}.weights names no corpus; write such as {name}.weights={{'interface': 1}}")
        self.conditioning.check()


@dataclass(frozen=True)
class LengtheningPhase(PretrainPhase):
    """A phase whose context grows. The rotary positions are remapped by `rope` (linear: position interpolation, ntk, yarn; see
    `models.rope`), in as many stages of equal length as there are `stages` (their contexts in tokens; empty: one, to `context`).
    `original` is the context that the model was trained with (None: of a new model that of the phases before, of a checkpoint what
    its configuration says)."""

    rope: RopeKind = "yarn"
    stages: tuple[int, ...] = ()
    original: int | None = None

    @property
    def contexts(self) -> tuple[int, ...]:
        """The context of each stage, in tokens."""
        return self.stages or (self.context,)

    def check(self, name: str) -> None:
        """Raises ConfigError for what cannot be."""
        super().check(name)
        if list(self.contexts) != sorted(set(self.contexts)) or self.contexts[-1] != self.context:
            raise ConfigError(f"{name}.stages is {self.stages}; contexts must grow, and the last be {name}.context={self.context}")
        if 0 < self.steps < len(self.contexts):
            raise ConfigError(f"{name}.steps is {self.steps}; {len(self.contexts)} stages need at least as many")


@dataclass(frozen=True)
class AnnealingPhase(PretrainPhase):
    """A phase in which the learning rate falls to nothing; what it leaves is the mean that `averaging` says."""

    averaging: Averaging = field(default_factory=Averaging)


def _core() -> PretrainPhase:
    return PretrainPhase(
        steps=400,
        weights={"interface": 2, "arithmetic": 1, "programs": 0.5, "policies": 0.5, "captions": 1, "lookup": 2},
    )


def _continued() -> PretrainPhase:
    screens = {"interface": 1, "arithmetic": 2, "captions": 1, "screen_questions": 2, "policies": 0.5, "programs": 0.5, "lookup": 1}
    return PretrainPhase(steps=120, warmup=5, weights=_core().weights, end_weights=screens)


def _lengthening() -> LengtheningPhase:
    weights = {"long_lookup": 4, **_continued().end_weights}
    return LengtheningPhase(steps=80, warmup=5, lr=2e-3, context=1024, stages=(512, 1024), weights=weights)


def _annealing() -> AnnealingPhase:
    return AnnealingPhase(
        steps=80, warmup=0, lr=2e-3, decay=1.0, floor=0.0, context=1024, weights={"long_lookup": 1, **_continued().end_weights}
    )


@dataclass(frozen=True)
class PretrainConfig:
    """`checkpoint` is a Hugging Face directory to start from (None: a small model, `model`, with random weights and a tokenizer of
    `vocabulary` entries that is made from `tokenizer_documents` documents of each corpus). `demonstrations` is a directory that
    `stepladder collect` wrote: its words become tokens of a new tokenizer, as `stepladder sft` would make them.

    A corpus is named by the weights of the phases. What it is, `corpora` says: a generated corpus (`stepladder.corpora`), a
    `package.module:function`, a directory that `stepladder corpus` wrote, or any other file or folder of texts, which is read as it
    is; a name that is not there is the generated corpus of that name. `options` are those of each, for files its columns
    (`stepladder.corpora.open_corpus`). `held_out` documents of each are never learned from, and their perplexity is measured every
    `score_every` updates; `needle` is the test before and after lengthening. Parameters whose names begin with one of `train`
    learn, by `optimizer`, whose `lr` is that of each phase. `activation_checkpointing` is that of `train.trainer`; `shard` divides
    the language model among the ranks (`train.shard`); `check_memory` refuses what will not fit into memory
    (`stages.memory_check`); `device` is that of `train.devices`."""

    output: Path = Path("runs/pretrain")
    checkpoint: Path | None = None
    demonstrations: Path | None = None
    seed: int = 0
    ranks: int = 2
    device: str = AUTOMATIC
    bf16: bool = field(default_factory=bfloat16_is_fast)
    activation_checkpointing: bool = False
    shard: bool = False
    check_memory: bool = True
    save_every: int = 100
    score_every: int = 100
    held_out: int = 48
    vocabulary: int = 4000
    tokenizer_documents: int = 1000
    train: tuple[str, ...] = ("model", "lm_head", "heads")
    track: tuple[str, ...] = ()
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    corpora: Mapping[str, str] = field(default_factory=lambda: {"long_lookup": "lookup"})
    options: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "lookup": {"sentences": 8, "facts": 8},
            "long_lookup": {"sentences": 80, "facts": 16},
            "captions": {"screens": 1000},
        }
    )
    model: SmallModel = field(default_factory=SmallModel)
    needle: NeedleTest = field(default_factory=NeedleTest)
    core: PretrainPhase = field(default_factory=_core)
    continued: PretrainPhase = field(default_factory=_continued)
    lengthening: LengtheningPhase = field(default_factory=_lengthening)
    annealing: AnnealingPhase = field(default_factory=_annealing)

    def phases(self) -> Iterator[tuple[PhaseName, PretrainPhase]]:
        """The phases that are not left out, in their order."""
        for name in PHASES:
            phase: PretrainPhase = getattr(self, name)
            if phase.steps:
                yield name, phase

    @property
    def sources(self) -> tuple[str, ...]:
        """Every corpus that some phase draws from."""
        return tuple(dict.fromkeys(source for _, phase in self.phases() for source in phase.sources))

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("ranks", "save_every", "score_every", "held_out", "tokenizer_documents"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.vocabulary < 300:
            raise ConfigError(f"vocabulary is {self.vocabulary}; bytes and special tokens alone are nearly 300")
        if not any(True for _ in self.phases()):
            raise ConfigError(
                "core.steps, continued.steps, lengthening.steps and annealing.steps are all 0; there is nothing to do"
            )
        for name, phase in self.phases():
            phase.check(name)
        for name in {*self.corpora, *self.options} - set(self.sources):
            if name in DEFAULTS:
                continue
            raise ConfigError(f"{name!r} is in corpora or options, and in no phase's weights; there are {', '.join(self.sources)}")
        for path, name in ((self.checkpoint, "checkpoint"), (self.demonstrations, "demonstrations")):
            if path is not None and not path.is_dir():
                raise ConfigError(f"{name}: {path} is no directory")
        self.needle.check()
        self._check_shard()
        check_device(self.device, self.ranks)

    def _check_shard(self) -> None:
        if not self.shard:
            return
        if self.ranks < 2:
            raise ConfigError(f"shard divides the language model among ranks, and ranks is {self.ranks}")
        for name, phase in self.phases():
            for setting, value, usual in (("contrastive", phase.contrastive, 0), ("mixing", phase.mixing, "schedule")):
                if value != usual:
                    raise ConfigError(f"shard: {name}.{setting}={value} needs whole weights; say {name}.{setting}={usual}")
            if isinstance(phase, AnnealingPhase) and phase.averaging.kind != "none":
                raise ConfigError(f"shard: {name}.averaging takes whole weights; say {name}.averaging.kind=none")
