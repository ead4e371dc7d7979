"""Pipelines to begin with. What is measured, what is published and what is assumed stands beside every figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from stepladder.config import ConfigError
from stepladder.planning.distributions import Distribution, constant
from stepladder.planning.settings import EngineSpeed, LoopSettings, Pipeline, TrainerSpeed, Workload

_of = Distribution.parse
#: Engines that 1,000 environments are given, and GPUs of their trainer, in `osworld_8b`.
ENGINES, TRAINER_GPUS = 64, 192
#: Tokens a second of one GPU that takes an update of GRPO on an 8B model: measured, `bench/gpu.py`, one H200, replies to prompts of
#: their own, 9,530 tokens each.
GRPO_TOKENS = 3761
#: Prompt tokens a second of one GPU with an 8B model: measured, `bench/gpu.py`, one H200, 16 prompts of 9,530 tokens.
READ_TOKENS = 15_557


def osworld_8b(engines: int = ENGINES, trainer_gpus: int = TRAINER_GPUS, environments: int = 1000) -> Pipeline:
    """An 8B model such as Qwen3-VL-8B on desktops in virtual machines, as of OSWorld, with a GPU for every engine and more for the
    trainer, over which its work is assumed to spread without loss."""
    workload = Workload(
        # Assumed: 15 steps on average, of at most 30 (DART-GUI's limit).
        steps=_of("lognormal:15,0.6").at_most(30),
        # Four screenshots of 1920 x 1080 and the text: 9,530 tokens, counted by `bench/gpu.py`; nothing is read from a cache, since
        # the window of screenshots moves with every step. Replies: assumed.
        prompt_tokens=constant(9530),
        reply_tokens=_of("lognormal:200,0.5").at_most(1000),
        # OSWorld's runners of agents sleep 3 to 5 s after an action, besides the action and the screenshot. The spread is assumed.
        step_seconds=_of("lognormal:4,0.5"),
        # A runner sleeps 60 s after a reset and 20 s before an evaluation; the rest (a snapshot, files, the evaluator) is assumed.
        reset_seconds=_of("lognormal:90,0.4"),
        evaluate_seconds=_of("lognormal:25,0.2"),
        # Assumed: one step in 1,000 and one reset in 100 break the machine, and another one takes a minute to start.
        step_failure=0.001,
        reset_failure=0.01,
        hang=0.0002,
        step_deadline=60,
        reset_deadline=600,
        replace_seconds=60,
        # Assumed.
        flat=0.3,
    )
    engine = EngineSpeed(
        replicas=engines,
        # Keys and values of a prompt take 1.4 GB (36 layers x 8 heads x 128 x 2 x 2 bytes x 9,700 tokens), so that some 40 replies
        # fit beside the weights into 80 GB; reading them takes 0.6 ms a token at 2.4 TB/s, and the weights some 8 ms: assumed.
        max_batch=40,
        prompt_token_seconds=1 / READ_TOKENS,
        token_seconds=0.008,
        reply_token_seconds=0.0006,
        # Assumed, for 16 GB over a network to an eighth of the engines at a time.
        update_seconds=10,
        staggered=max(1, engines // 8),
    )
    trainer = TrainerSpeed(update_seconds=10, token_seconds=1 / GRPO_TOKENS / trainer_gpus)
    loop = LoopSettings(environments=environments, groups=64, group_size=8, staleness=2)
    return Pipeline(workload, engine, trainer, loop)


def dart_7b() -> Pipeline:
    """A small cluster after DART-GUI (arXiv 2509.23866): 7B, at most 30 steps, groups of 8, some 8 tasks an update. What is not
    published (machines, their latency, seconds of learning) is as in `osworld_8b`, for 80 environments, 8 engines and 8 GPUs
    that train; a prompt has 7,500 tokens, for 5 screenshots."""
    base = osworld_8b(engines=8, trainer_gpus=8, environments=80)
    workload = replace(base.workload, prompt_tokens=constant(7500), flat=0.2)
    return replace(base, workload=workload, loop=replace(base.loop, groups=8))


PRESETS: Mapping[str, Callable[[], Pipeline]] = {"osworld-8b": osworld_8b, "dart-7b": dart_7b}


def preset(name: str) -> Pipeline:
    """Raises ConfigError for a name that is not there."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()
