"""The settings of preference optimisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from stepladder.algos.preference import Curve
from stepladder.compare.forks import PairKind
from stepladder.config import ConfigError
from stepladder.judges.judge import JudgeSettings
from stepladder.models.lora import LoraSettings
from stepladder.rollout.pool import PoolSettings
from stepladder.seeds import train_seeds
from stepladder.stages.judging import check_judge
from stepladder.stages.measure import Playing
from stepladder.stages.policies import ApiOptions
from stepladder.stages.preference_pairs import stores_of
from stepladder.train.devices import AUTOMATIC, check_device
from stepladder.train.optimizer import OptimizerConfig
from stepladder.train.precision import bfloat16_is_fast

Loss = Literal["dpo", "ipo", "kto", "simpo"]
Source = Literal["task", "choices", "judge"]


@dataclass(frozen=True)
class IpoSettings:
    """`average` divides the log-probability of a reply by its number of tokens; see `algos.preference_variants.ipo_loss`."""

    average: bool = True


@dataclass(frozen=True)
class SimpoSettings:
    """`beta` takes the place of the stage's own, `gamma` is the margin; see `algos.preference_variants.simpo_loss`."""

    beta: float = 2.0
    gamma: float = 1.0


@dataclass(frozen=True)
class KtoSettings:
    """Weights of good and of bad replies; see `algos.kto.kto_loss`. With `unpaired` every sampled reply of a graded episode is
    learned from, good where the episode succeeded; without, the replies of the pairs."""

    good_weight: float = 1.0
    bad_weight: float = 1.0
    unpaired: bool = False


@dataclass(frozen=True)
class PlaySettings:
    """What a round plays: `attempts` episodes at `temperature`, and a greedy one, from each of `starts` training seeds of every
    task, from `first` on and others in every round. The other settings are those of `stages.measure.Playing`."""

    tasks: str = "miniwob@demo"
    starts: int = 40
    attempts: int = 8
    first: int = 30_000
    temperature: float = 1.0
    max_tokens: int | None = None
    max_steps: int | None = None
    environments: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)

    def check(self, rounds: int) -> None:
        """Raises ConfigError for what cannot be in so many rounds."""
        for name in ("starts", "attempts", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"play.{name} is {getattr(self, name)}; it must be at least 1")
        if not self.temperature > 0:
            raise ConfigError(f"play.temperature is {self.temperature}; at 0 all attempts from a start are the same")
        try:
            train_seeds(rounds * self.starts, self.first)
        except ValueError as error:
            raise ConfigError(f"play.first, with {rounds} rounds of {self.starts} starts: {error}") from error

    def playing(self, seed: int, ranks: int, device: str = AUTOMATIC) -> Playing:
        """How the episodes are played."""
        return Playing(
            trials=self.attempts,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            max_steps=self.max_steps,
            seed=seed,
            ranks=ranks,
            environments=self.environments,
            options=self.options,
            pool=self.pool,
            device=device,
        )


@dataclass(frozen=True)
class PreferConfig:
    """`runs` are directories with episodes (`rollouts-*.jsonl` or `trajectories.jsonl`, and `images/`), or stores (.jsonl) beside
    `images/`. With `rounds` above 0 they are not read: every round plays fresh episodes with the newest weights, as `play` says,
    makes pairs of them, and learns, held near the weights that it began with.

    What is better is said by the tasks' own checks (`preferred_by` "task"), by the file `choices` ("choices"; of rounds each has
    its own, `round-<number>/choices.jsonl`), or by `judge`, which compares `comparisons` pairs of episodes of each start. `kinds`
    of pairs are made, with "task" from each failure with the `per_failure` successes that part from it last.

    `checkpoint` is where training starts and the reference. `loss` is learned: DPO, in the `curve` "sigmoid" or "hinge", IPO, SimPO
    or KTO, with the settings under their names. `beta` holds the policy near the reference, `label_smoothing` is the share of pairs
    that are taken to be labelled the wrong way round (DPO and SimPO), `imitation` weighs the likelihood of the preferred reply
    beside a loss on pairs (`algos.preference_variants.with_imitation`). An update learns from `batch` pairs, or replies of KTO,
    over all `ranks`, in pieces of `micro_batch` replies; every pair comes up `epochs` times. Parameters whose names begin with one
    of `train` learn; with `lora` adapters in their place. `activation_checkpointing` is that of `train.trainer`; `shard` divides
    the language model among the ranks (`train.shard`); `check_memory` refuses what will not fit into memory
    (`stages.memory_check`). `device` is that of `train.devices`. The learning rate rises over the first `warmup` updates and falls
    over the last share `decay` of all. One start in ten is held back, whose pairs are scored every `score_every` updates."""

    runs: tuple[Path, ...] = (Path("runs/rl"),)
    checkpoint: Path = Path("runs/rl/checkpoint")
    output: Path = Path("runs/prefer")
    seed: int = 0
    rounds: int = 0
    play: PlaySettings = field(default_factory=PlaySettings)
    preferred_by: Source = "task"
    choices: Path | None = None
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    judge_api: ApiOptions = field(default_factory=ApiOptions)
    comparisons: int = 4
    kinds: tuple[PairKind, ...] = ("correction", "reflection")
    per_failure: int = 1
    loss: Loss = "dpo"
    curve: Curve = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    imitation: float = 0.0
    ipo: IpoSettings = field(default_factory=IpoSettings)
    simpo: SimpoSettings = field(default_factory=SimpoSettings)
    kto: KtoSettings = field(default_factory=KtoSettings)
    epochs: int = 2
    batch: int = 32
    micro_batch: int = 32
    ranks: int = 2
    device: str = AUTOMATIC
    bf16: bool = field(default_factory=bfloat16_is_fast)
    train: tuple[str, ...] = ("model.language_model",)
    lora: LoraSettings = field(default_factory=LoraSettings)
    activation_checkpointing: bool = False
    shard: bool = False
    check_memory: bool = True
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4, adam_lr=1e-4))
    warmup: int = 5
    decay: float = 0.3
    score_every: int = 10
    save_every: int = 20
    track: tuple[str, ...] = ()

    @property
    def unpaired(self) -> bool:
        """Whether it learns from single replies of whole episodes."""
        return self.loss == "kto" and self.kto.unpaired

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        self.lora.check()
        check_device(self.device, self.ranks)
        if self.shard and self.ranks < 2:
            raise ConfigError(f"shard divides the language model among ranks, and ranks is {self.ranks}")
        for name in ("per_failure", "comparisons", "epochs", "batch", "micro_batch", "ranks", "score_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch < self.ranks:
            raise ConfigError(f"batch is {self.batch}; {self.ranks} ranks need at least a pair each")
        if not self.kinds or not set(self.kinds) <= {"correction", "reflection"}:
            raise ConfigError(f"kinds is {self.kinds!r}; it must name 'correction', 'reflection' or both")
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}; it is a share of the updates, 0 to 1")
        self._check_loss()
        if not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory")
        self._check_source()

    def _check_loss(self) -> None:
        for name, kind in (("loss", Loss), ("curve", Curve), ("preferred_by", Source)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}")
        for name, value in (("beta", self.beta), ("simpo.beta", self.simpo.beta)):
            if not math.isfinite(value) or value <= 0:
                raise ConfigError(f"{name} is {value}; it must be above 0")
        for name, value in (
            *(("simpo.gamma", self.simpo.gamma), ("kto.good_weight", self.kto.good_weight)),
            *(("kto.bad_weight", self.kto.bad_weight), ("rounds", self.rounds), ("imitation", self.imitation)),
        ):
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"{name} is {value}; it must be at least 0")
        if not self.kto.good_weight + self.kto.bad_weight > 0:
            raise ConfigError("kto.good_weight and kto.bad_weight are both 0; nothing would be learned")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it must be at least 0 and below 0.5")
        if self.label_smoothing and self.loss not in ("dpo", "simpo"):
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; {self.loss} has none, so leave it at 0")
        if self.imitation and self.loss == "kto":
            raise ConfigError(f"imitation is {self.imitation}; it is for losses on pairs, so leave it at 0 with kto")

    def _check_source(self) -> None:
        if self.unpaired and self.preferred_by != "task":
            raise ConfigError("kto.unpaired learns from the tasks' own checks; set preferred_by=task, or kto.unpaired=false")
        check_judge(self.judge, self.judge_api, "preferred_by is 'judge'" if self.preferred_by == "judge" else "")
        if self.rounds:
            self.play.check(self.rounds)
            return
        for path in self.runs:
            if not stores_of(path):
                raise ConfigError(f"runs: {path} holds no episodes; give a run's directory or a store (.jsonl)")
        if self.preferred_by == "choices" and (self.choices is None or not self.choices.is_file()):
            raise ConfigError(f"choices: {self.choices} is no file; `stepladder choose` writes one")
