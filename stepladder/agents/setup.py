"""Agents as a user asks for them: a dialect by name, options as they are written, and what is shown beside the screenshot.

Options are the arguments of the agent's class. One that is written as a text, as on the command line, becomes what its annotation
says; an unknown or ill-typed one is an error that names it, the agent, and what there is.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from stepladder.agents import agent_class
from stepladder.agents.osworld_prompt import ObservationType
from stepladder.agents.with_tree import TreeAgent
from stepladder.config import ConfigError, parse_entry, parse_value
from stepladder.interfaces import Agent

#: An option as a user gives it: as a text, or as the value itself.
Given = str | Any
#: What agents show that have no way of their own to show the tree (`TreeAgent`), and the option of `TreeAgent` that they then have.
_SHOWN = {"screenshot_a11y_tree": "a11y_tree", "som": "som"}
_TREE_OPTIONS = ("tree_characters",)
#: The option of agents that show the tree themselves, and that of how many screenshots are shown.
_OBSERVATION, _SCREENSHOTS = "observation_type", "screenshots"
#: Values that are read as they would be written; others are taken as they are.
_WRITTEN = (str, int, float, bool)


@dataclass(frozen=True)
class AgentSetup:
    """An agent that can be built. `options` are all that `dialect` takes, the defaults filled in; `observe` is what it is shown."""

    dialect: str
    options: Mapping[str, Any]
    observe: ObservationType = "screenshot"

    @property
    def needs_tree(self) -> bool:
        """Whether the environment must give its accessibility tree."""
        return self.observe != "screenshot"

    def build(self) -> Agent:
        """Raises ConfigError for options that the agent refuses."""
        kind = agent_class(self.dialect)
        try:
            if self.needs_tree and self.options.get(_OBSERVATION) != self.observe:
                return TreeAgent(self.dialect, _SHOWN[self.observe], **self.options)  # type: ignore[arg-type]
            agent: Agent = kind(**self.options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"agent {self.dialect!r}: {error}") from error
        return agent


def set_up(
    dialect: str,
    given: Mapping[str, Given] | None = None,
    *,
    observe: str | None = None,
    history: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    where: str = "agent",
) -> AgentSetup:
    """The agent `dialect` (`stepladder.agents.AGENTS` or `package.module:Class`) with the options `given`.

    `observe` is what it is shown, in OSWorld's words; by default the screenshot, or what its own option says. `history` is the
    number of screenshots. `defaults` take the place of the class's own. `where` is what messages call the group of options.
    Raises PluginError for an agent that is not there, and ConfigError.
    """
    known = _parameters(dialect)
    given = dict(given or {})
    for name, option, value in (("observe", _OBSERVATION, observe), ("history", _SCREENSHOTS, history)):
        if value is not None and option in given:
            raise ConfigError(f"{name} and {where}.{option} say the same thing; give one of them")
    if history is not None:
        if _SCREENSHOTS not in known and not _takes_anything(known):
            raise ConfigError(f"history: the agent {dialect!r} has no option for how many screenshots it shows; leave it out")
        given[_SCREENSHOTS] = history
    observed = _observed(dialect, known, observe)
    if _OBSERVATION in known:
        given |= {} if observe is None else {_OBSERVATION: observe}
    elif observed != "screenshot":
        known |= {name: parameter for name, parameter in _parameters(TreeAgent).items() if name in _TREE_OPTIONS}
    own = {name: parameter.default for name, parameter in known.items() if parameter.default is not parameter.empty}
    read = {name: _read(name, value, known, dialect, where) for name, value in given.items()}
    options = {**own, **(defaults or {}), **read}
    missing = [name for name, one in known.items() if one.kind is not one.VAR_KEYWORD and name not in options]
    if missing:
        raise ConfigError(f"{where}.{missing[0]}: the agent {dialect!r} needs this option; give it")
    return AgentSetup(dialect, options, typing.cast(ObservationType, options.get(_OBSERVATION, observed)))


def _observed(dialect: str, known: Mapping[str, inspect.Parameter], observe: str | None) -> str:
    """What is shown where the agent has no say of its own. Raises ConfigError for what it cannot be shown."""
    allowed = get_args(ObservationType)
    if observe is not None and observe not in allowed:
        raise ConfigError(f"observe is {observe!r}; it must be one of {', '.join(allowed)}")
    if observe is None or _OBSERVATION in known or observe == "screenshot" or observe in _SHOWN:
        return observe or "screenshot"
    raise ConfigError(
        f"observe is {observe!r}; the agent {dialect!r} needs a screenshot: screenshot, {', '.join(_SHOWN)}. "
        f"{observe} alone is for agents with the option {_OBSERVATION}, such as osworld_pyautogui"
    )


def _parameters(dialect: str | type[Any]) -> dict[str, inspect.Parameter]:
    """The options of an agent's class, their annotations resolved."""
    kind = agent_class(dialect) if isinstance(dialect, str) else dialect
    try:
        hints = typing.get_type_hints(kind.__init__ if isinstance(kind, type) else kind)
    except (NameError, TypeError):  # annotations for a type checker alone
        hints = {}
    found = inspect.signature(kind).parameters
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in found.items()
        if parameter.kind is not parameter.VAR_POSITIONAL
    }


def _takes_anything(known: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())


def _read(name: str, value: Given, known: Mapping[str, inspect.Parameter], dialect: str, where: str) -> Any:
    """The value of an option. Raises ConfigError."""
    called = f"{where}.{name} of {dialect!r}"
    parameter = known.get(name)
    if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
        if not _takes_anything(known):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise ConfigError(f"{where}.{name}: the agent {dialect!r} has no option {name!r}; {hint}")
        return parse_entry(Any, value, called) if isinstance(value, str) else value
    hint = parameter.annotation
    if hint is Any:
        return parse_entry(Any, value, called) if isinstance(value, str) else value
    if value is None:
        if not _allows_none(hint):
            raise ConfigError(f"{called} is None; a value is needed here")
        return None
    return parse_value(hint, str(value), called) if isinstance(value, _WRITTEN) else value


def _allows_none(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in get_args(hint)
