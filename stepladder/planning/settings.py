"""What is simulated: the work, the engines, the trainer, and the loop that ties them together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from stepladder.config import ConfigError
from stepladder.planning.distributions import Distribution, constant

#: When an engine that is given new weights does so: after the replies in progress, or between two of their tokens.
InProgress = Literal["finish", "continue"]
#: What becomes of episodes that are not over when a synchronous update has enough groups.
Unfinished = Literal["drop", "carry"]
#: What becomes of groups that are older than the limit of staleness.
Late = Literal["drop", "use"]
Mode = Literal["synchronous", "asynchronous"]


def _check(of: Any, part: str, least: dict[str, float], shares: tuple[str, ...] = ()) -> None:
    for name, bound in least.items():
        if not getattr(of, name) >= bound:
            raise ConfigError(f"{part}: {name} is {getattr(of, name)}; it must be at least {bound:g}")
    for name in shares:
        if not 0 <= getattr(of, name) <= 1:
            raise ConfigError(f"{part}: {name} is {getattr(of, name)}; it is a share, 0 to 1")


@dataclass(frozen=True)
class Workload:
    """One episode, and how its environment fails.

    `steps` is the number of turns, `prompt_tokens` and `reply_tokens` are tokens of one turn's prompt and reply, `cached` is the
    share of a prompt that the engine has read before and need not read again. `step_seconds`, `reset_seconds` and
    `evaluate_seconds` are the environment's own time.

    A step breaks the environment with probability `step_failure`, a reset with `reset_failure`; with probability `hang` a call of
    either kind takes `step_deadline` or `reset_deadline` seconds instead and then counts as broken. The episode is then thrown away
    and played again from its start, up to `retries` times, once a fresh environment is there, after `replace_seconds`. `flat` is
    the share of groups whose members all fare alike, from which nothing can be learned."""

    steps: Distribution = field(default_factory=lambda: constant(10))
    prompt_tokens: Distribution = field(default_factory=lambda: constant(1000))
    reply_tokens: Distribution = field(default_factory=lambda: constant(50))
    cached: float = 0.0
    step_seconds: Distribution = field(default_factory=lambda: constant(1))
    reset_seconds: Distribution = field(default_factory=lambda: constant(1))
    evaluate_seconds: Distribution = field(default_factory=lambda: constant(0))
    step_failure: float = 0.0
    reset_failure: float = 0.0
    hang: float = 0.0
    step_deadline: float = 60.0
    reset_deadline: float = 600.0
    replace_seconds: float = 0.0
    retries: int = 2
    flat: float = 0.0

    def __post_init__(self) -> None:
        least = dict.fromkeys(("step_deadline", "reset_deadline", "replace_seconds", "retries"), 0.0)
        _check(self, "workload", least, ("cached", "step_failure", "reset_failure", "hang", "flat"))
        if self.flat == 1:
            raise ConfigError("workload: flat is 1; where no group has a signal nothing is learned")


@dataclass(frozen=True)
class EngineSpeed:
    """`replicas` engines that write up to `max_batch` replies at a time each; a request goes to the one with the fewest.

    To read prompts takes `pass_seconds` and `prompt_token_seconds` for each token; up to `prompts` waiting prompts are read in one
    pass, during which no token is written. To write one token of each of n replies takes `token_seconds + n *
    reply_token_seconds`, so that an engine writes n / (token_seconds + n * reply_token_seconds) tokens a second, which saturates at
    1 / reply_token_seconds.

    New weights take a replica `update_seconds`. With `in_progress` "finish" it first writes the replies that it has begun, with
    "continue" these go on afterwards. So many replicas as `staggered` says are updated at a time, while the others and the trainer
    go on; with 0 all are at once, while the trainer waits."""

    replicas: int = 1
    max_batch: int = 64
    pass_seconds: float = 0.0
    prompts: int = 1
    prompt_token_seconds: float = 0.0
    token_seconds: float = 0.02
    reply_token_seconds: float = 0.0
    update_seconds: float = 0.0
    in_progress: InProgress = "continue"
    staggered: int = 0

    def __post_init__(self) -> None:
        times = ("pass_seconds", "prompt_token_seconds", "token_seconds", "reply_token_seconds", "update_seconds")
        _check(self, "engine", {"replicas": 1, "max_batch": 1, "prompts": 1, "staggered": 0, **dict.fromkeys(times, 0.0)})

    def slower(self, factor: float) -> EngineSpeed:
        """One that takes `factor` times as long to read and to write."""
        return replace(
            self,
            pass_seconds=self.pass_seconds * factor,
            prompt_token_seconds=self.prompt_token_seconds * factor,
            token_seconds=self.token_seconds * factor,
            reply_token_seconds=self.reply_token_seconds * factor,
        )


@dataclass(frozen=True)
class TrainerSpeed:
    """An update takes `update_seconds`, `step_seconds` for each turn learned from and `token_seconds` for each token of their
    prompts and replies."""

    update_seconds: float = 1.0
    step_seconds: float = 0.0
    token_seconds: float = 0.0

    def __post_init__(self) -> None:
        _check(self, "trainer", dict.fromkeys(("update_seconds", "step_seconds", "token_seconds"), 0.0))


@dataclass(frozen=True)
class LoopSettings:
    """How `environments` are kept at work so that every update learns from `groups` groups of `group_size` episodes.

    "synchronous": an update's groups are begun together; those without a signal are made good in up to `rounds` rounds, more of
    them being begun at once where many had none lately (`expand`). Then all episodes stop, and the trainer learns.
    `oversample` times as many groups are begun, and when enough are over, unfinished episodes are dropped, or stand still until the
    next update and go on there ("carry").

    "asynchronous", as `stepladder.rollout.asynchronous`: an environment that is free begins the next episode, as long as fewer than
    `staleness` x `groups` groups, and those that the trainer waits for, are begun and not taken. The trainer takes groups that are
    over, the first ones begun before others, until it has `groups` with a signal or `rounds` are over. A group that is then more
    than `staleness` versions old is thrown away or learned from all the same (`late`). A group is begun with `extra_members` more
    than it needs; when it has enough, the others are broken off."""

    mode: Mode = "synchronous"
    environments: int = 8
    groups: int = 8
    group_size: int = 8
    rounds: int = 2
    expand: bool = True
    oversample: float = 1.0
    unfinished: Unfinished = "drop"
    staleness: int = 2
    late: Late = "drop"
    extra_members: int = 0

    def __post_init__(self) -> None:
        counts = ("environments", "groups", "group_size", "rounds", "oversample")
        _check(self, "loop", {**dict.fromkeys(counts, 1.0), "staleness": 0, "extra_members": 0})
        for name, kind in (("mode", Mode), ("unfinished", Unfinished), ("late", Late)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"loop: {name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}")


@dataclass(frozen=True)
class Pipeline:
    """Everything that a prediction depends on."""

    workload: Workload = field(default_factory=Workload)
    engine: EngineSpeed = field(default_factory=EngineSpeed)
    trainer: TrainerSpeed = field(default_factory=TrainerSpeed)
    loop: LoopSettings = field(default_factory=LoopSettings)
