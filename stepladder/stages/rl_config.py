"""The settings of online reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.alarms import AlarmSettings
from stepladder.algos.algorithm import Algorithm
from stepladder.algos.grpo import Grpo
from stepladder.algos.sdpo import Sdpo
from stepladder.config import ConfigError
from stepladder.distributed.settings import RaySettings
from stepladder.judges.judge import JudgeSettings
from stepladder.judges.self_judging import SelfJudging
from stepladder.models.lora import LoraSettings
from stepladder.policies.served_settings import ServedEngineSettings
from stepladder.rollout.asynchronous import AsynchronousSettings
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.rollout.dynamic import DynamicSettings
from stepladder.rollout.policy_aware import PolicyAware
from stepladder.rollout.pool import PoolSettings
from stepladder.seeds import train_seeds, validation_seeds
from stepladder.stages.judging import check_judge
from stepladder.stages.local_policy import EngineSettings
from stepladder.stages.policies import ApiOptions
from stepladder.stages.reward_scores import RewardModelSettings
from stepladder.train.devices import AUTOMATIC, check_device
from stepladder.train.optimizer import OptimizerConfig
from stepladder.train.precision import bfloat16_is_fast


@dataclass(frozen=True)
class RlConfig:
    """`checkpoint` is a Hugging Face directory to start from, `algo` what to do with its episodes.

    An update plays groups of `group_size` episodes from equal starts, on `seeds` training seeds of each task from `first` on, until
    `groups` of them have a signal, at most `rounds` times; with `expand`, more are asked for at once when many had none lately,
    where episodes are not asynchronous. The first `probe` members of a group are played before the others, and where all of them
    succeed they stay the only ones (0: every group is played whole): what always succeeds is not worth a group (SPEED, arXiv
    2506.09016, leaves out hopeless ones too). `solved_in` is a directory of `stepladder eval`: only tasks of which the policy
    evaluated there has solved an episode are played. `dynamic` makes groups smaller and episodes shorter by the history of each
    task, `curriculum` says which tasks are drawn. In a group whose members all fail alike the last one is replaced by one of the
    `replay` last successes from the same start (0: never), with `replay_probability` only by one whose tokens have a mean
    probability in (low, high] now. `rewards` weighs reward plug-ins, such as {'outcome': 1.0, 'format': 0.1}; every term of theirs
    is logged, and `algo.reward` may name any of them or "reward", the weighted sum. `reward_options` are the plug-ins' own. `judge`
    grades tasks that have no other check, and gives the term "judge" where `rewards` name it; `judge_api` says how its server is
    called. `reward_model` gives the term "model" where `rewards` name it. `self_judging` makes questions about its own verified
    episodes part of every update, so that the checkpoint learns to judge, too. `aware` shows part of every group a policy document.

    Episodes are sampled at `temperature` with replies of at most `max_tokens` (None: what the agent needs), at most `max_steps`
    long (None: what the task allows). `ranks` processes play `environments` episodes each at a time, kept as `pool` says, and
    train together.

    Parameters whose names begin with one of `train` learn, with `lora` adapters in their place, in pieces of `micro_batch` samples,
    which take less memory and more time with `activation_checkpointing` (`train.trainer`). `shard` divides the language model among
    the ranks (`train.shard`), where episodes are asynchronous ones: whoever plays has weights of its own. `check_memory` refuses
    what will not fit into memory (`stages.memory_check`); `device` is that of `train.devices`. The learning rate rises over the
    first `warmup` updates and falls over the last share `decay` of all, whose number then cannot change any more. `teacher` is a
    checkpoint, for algorithms that want one.

    Every `evaluate_every` updates `validation` episodes of each task are played greedily, on training seeds that are kept apart
    for it; `export` says whether the best weights become the checkpoint or the last ones, which few episodes of validation
    cannot tell apart. After `patience` evaluations without a better one (0: never) the run ends. It also ends after
    `max_seconds` of running time, so that what it comes to then depends on the machine. `track` names trackers of the
    measurements (`stepladder.tracking`). With `asynchronous.on` episodes are played while it learns, `environments` at a time in
    each process that plays; `ray` says which processes these are, `engine` bounds the memory of what samples, and `served` is a
    server that samples in its place. `alarms` says what is watched for while it trains; nothing that is learned depends on it. An
    update whose gradient is not finite is left out; after `rollback` in a row (0: never) the weights are those of the last saved
    state again."""

    checkpoint: Path = Path("runs/demo/sft/checkpoint")
    tasks: str = "miniwob@demo"
    output: Path = Path("runs/rl")
    algo: Algorithm = field(default_factory=Grpo)
    seed: int = 0
    ranks: int = 2
    device: str = AUTOMATIC
    bf16: bool = field(default_factory=bfloat16_is_fast)
    updates: int = 100
    groups: int = 8
    group_size: int = 8
    rounds: int = 2
    expand: bool = True
    probe: int = 0
    solved_in: Path | None = None
    dynamic: DynamicSettings = field(default_factory=DynamicSettings)
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)
    replay: int = 0
    replay_probability: tuple[float, float] | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    reward_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    judge_api: ApiOptions = field(default_factory=ApiOptions)
    reward_model: RewardModelSettings = field(default_factory=RewardModelSettings)
    self_judging: SelfJudging = field(default_factory=SelfJudging)
    aware: PolicyAware = field(default_factory=PolicyAware)
    first: int = 20_000
    seeds: int = 1000
    temperature: float = 1.0
    max_tokens: int | None = None
    max_steps: int | None = None
    environments: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)
    train: tuple[str, ...] = ("model.language_model",)
    lora: LoraSettings = field(default_factory=LoraSettings)
    shard: bool = False
    activation_checkpointing: bool = False
    check_memory: bool = True
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, adam_lr=3e-4))
    warmup: int = 5
    decay: float = 0.0
    micro_batch: int = 32
    teacher: Path | None = None
    evaluate_every: int = 10
    validation: int = 5
    patience: int = 0
    export: Literal["best", "last"] = "best"
    save_every: int = 10
    rollback: int = 3
    max_seconds: float | None = None
    asynchronous: AsynchronousSettings = field(default_factory=AsynchronousSettings)
    ray: RaySettings = field(default_factory=RaySettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    served: ServedEngineSettings = field(default_factory=ServedEngineSettings)
    track: tuple[str, ...] = ()
    alarms: AlarmSettings = field(default_factory=AlarmSettings)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name, least in (
            *(("updates", 1), ("groups", 1), ("group_size", 1), ("rounds", 1), ("environments", 1), ("ranks", 1)),
            *(("micro_batch", 1), ("evaluate_every", 1), ("save_every", 1), ("seeds", self.ranks), ("replay", 0), ("patience", 0)),
            ("rollback", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 <= self.probe < self.group_size:
            raise ConfigError(f"probe is {self.probe}; it must be at least 0 and less than group_size, {self.group_size}")
        self.aware.check()
        self.lora.check()
        check_device(self.device, self.ranks)
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}; it is a share of the updates, 0 to 1")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}; exploration needs one above 0")
        if not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory; make one with `stepladder sft`")
        try:
            self.algo.check()
            train_seeds(self.seeds, self.first)
            validation_seeds(self.validation)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if self.algo.reward != "task" and not self.rewards:
            raise ConfigError(f"algo.reward is {self.algo.reward!r}; without `rewards` there is no other term than 'task'")
        if "teacher" in self.algo.needs and self.teacher is None:
            raise ConfigError(f"algo: {self.algo.name} needs a teacher; set teacher to a checkpoint directory")
        if self.teacher is not None and not self.teacher.is_dir():
            raise ConfigError(f"teacher: {self.teacher} is no directory")
        check_judge(self.judge, self.judge_api, "rewards name 'judge', which is its opinion" if "judge" in self.rewards else "")
        self.reward_model.check(self.rewards)
        self.self_judging.check()
        if self.replay_probability is not None and not 0 <= self.replay_probability[0] < self.replay_probability[1] <= 1:
            low, high = self.replay_probability
            raise ConfigError(f"replay_probability is {low}, {high}; it must be two numbers from 0 to 1, the lower one first")
        self.curriculum.check(self.group_size)
        self.dynamic.check(self.group_size)
        self.alarms.check()
        self.asynchronous.check()
        self.ray.check()
        self.engine.check()
        if self.ray.on and not self.asynchronous.on:
            raise ConfigError("ray.address: episodes that are played elsewhere are asynchronous ones; set asynchronous.on=true too")
        if self.served.url:
            self._check_served()
        if self.asynchronous.on:
            self._check_asynchronous()
        if self.shard:
            self._check_shard()

    def _check_served(self) -> None:
        """Raises ConfigError for a server that cannot be used so."""
        try:
            self.served.check()
        except ConfigError as error:
            raise ConfigError(f"served.{error}") from error
        if not self.asynchronous.on:
            raise ConfigError("served.url: a server samples for asynchronous rollouts; set asynchronous.on=true too")
        if (self.served.update == "lora") != bool(self.lora.rank):
            raise ConfigError(
                f"served.update is {self.served.update!r} and lora.rank {self.lora.rank}; adapters are updated as 'lora'"
            )

    @property
    def divisible(self) -> bool:
        """Whether the model can be divided among ranks."""
        return self.asynchronous.on and not self._undivided()

    def _check_shard(self) -> None:
        """Raises ConfigError where the model cannot be divided among ranks."""
        if self.ranks < 2:
            raise ConfigError(f"shard divides the language model among ranks, and ranks is {self.ranks}")
        if not self.asynchronous.on:
            raise ConfigError(
                "shard: who plays needs whole weights, which only asynchronous rollouts have; set asynchronous.on=true"
            )
        if self._undivided():
            raise ConfigError(f"shard: {self._undivided()}, of whose weights a rank has a part; set shard=false")

    def _undivided(self) -> str:
        """What needs the model whole, empty where nothing does."""
        if "values" in self.algo.needs:
            return f"algo: {self.algo.name} has a critic on the model"
        if self.algo.reference_refresh or isinstance(self.algo, Sdpo):
            return f"algo: {self.algo.name} copies the model into another one"
        if self.replay_probability is not None:
            return "replay_probability asks the model, on one rank alone"
        return ""

    def _check_asynchronous(self) -> None:
        """Raises ConfigError for what asynchronous rollouts cannot do."""
        if self.probe:
            raise ConfigError(f"probe is {self.probe}; asynchronous rollouts play groups whole: set probe=0")
        if self.replay and self.ranks > 1:
            raise ConfigError(
                "replay: past successes are with rank 0, asynchronous rollouts have no other store: set ranks=1 or replay=0"
            )
        if self.served.url and self.ray.on:
            raise ConfigError("served.url: a server is asked by this process alone: set ray.address=off")
        if self.ray.on and self.aware.document is not None:
            raise ConfigError(
                "aware.document: processes that play elsewhere do not know how prompts are tokenized: set ray.address=off"
            )
