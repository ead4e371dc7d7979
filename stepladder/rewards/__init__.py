"""Rewards by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from stepladder.config import ConfigError
from stepladder.interfaces import Reward
from stepladder.plugins import load

REWARDS = {
    "outcome": "stepladder.rewards.outcome:OutcomeReward",
    "shaped": "stepladder.rewards.shaped:ShapedReward",
    "format": "stepladder.rewards.format:FormatReward",
    "length": "stepladder.rewards.length:LengthReward",
    "verifiable": "stepladder.rewards.verifiable:VerifiableReward",
    "judge": "stepladder.rewards.judge:JudgeReward",
    "model": "stepladder.rewards.model:ModelReward",
    "weighted": "stepladder.rewards.combine:WeightedReward",
}


def reward_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: type[Any] = load(name, REWARDS, "reward")
    return found


def build_reward(name: str, /, **options: Any) -> Reward:
    """The reward `name` made with `options`. Raises PluginError for the name and ConfigError for an option (law 10)."""
    kind = reward_class(name)
    parameters = inspect.signature(kind).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            if option not in parameters:
                near = difflib.get_close_matches(option, parameters, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(parameters) or 'none'}"
                raise ConfigError(f"reward {name!r} has no option {option!r}; {hint}")
    for parameter in parameters.values():
        needed = parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if needed and parameter.name not in options:
            raise ConfigError(f"reward {name!r} needs the option {parameter.name!r}")
    try:
        built: Reward = kind(**options)
    except ConfigError as error:
        raise ConfigError(f"reward {name!r}: {error}") from error
    return built
