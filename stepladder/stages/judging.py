"""Opening the judge that a stage's settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.policies.budget import Meter
from stepladder.stages.policies import ApiOptions, check_policy, open_policy

#: Settings of a run with a judge that do not change what it says.
FREE_CALLS = tuple(f"judge_api.{name}" for name in ApiOptions.FREE)


def check_judge(settings: JudgeSettings, api: ApiOptions, wanted: str = "") -> None:
    """Raises ConfigError, and PluginError for a class that is not there. `wanted` says what cannot be done without a judge."""
    settings.check()
    if settings.policy is None:
        if wanted:
            raise ConfigError(f"judge.policy is missing: {wanted}")
        return
    if check_policy(settings.policy).kind == "baseline":
        raise ConfigError(f"judge.policy: {settings.policy!r} is a baseline, and no policy that can be asked")
    api.meter()


def judge_settings(settings: JudgeSettings, api: ApiOptions) -> dict[str, Any]:
    """What a run that may have a judge writes down of it: nothing where there is none, as before there were judges."""
    return {} if settings.policy is None else {"judge": to_dict(settings), "judge_api": to_dict(api)}


@contextmanager
def open_judge(
    settings: JudgeSettings, images: ImageStore, api: ApiOptions | None = None, meter: Meter | None = None
) -> Iterator[Judge | None]:
    """The judge, None where nobody is named. See `open_policy` for `api`, `meter` and what it raises."""
    if settings.policy is None:
        yield None
        return
    with open_policy(settings.policy, images, api=api, meter=meter) as (policy, _):
        yield Judge(policy, settings)
