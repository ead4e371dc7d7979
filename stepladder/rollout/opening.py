"""Opening environments, alone or several in one process that they share, and closing them."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.config import ConfigError
from stepladder.envs import environment_class
from stepladder.images import ImageStore
from stepladder.interfaces import Environment

_logger = logging.getLogger(__name__)


async def open_environments(
    name: str, images: ImageStore, count: int, options: Mapping[str, Any] | None = None
) -> list[Environment]:
    """`count` environments of the kind `name` (`stepladder.envs.ENVIRONMENTS` or `package.module:Class`).

    A class with `create_many(images, count, **options)` is asked once, so that its environments can share a browser; any other
    is constructed with (images, **options). Raises PluginError for an unknown name and ConfigError for an option that is unknown
    or that the class refuses.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one environment is needed")
    options = dict(options or {})
    check_options(name, options)
    kind = environment_class(name)
    create_many = getattr(kind, "create_many", None)
    try:
        if create_many is not None:
            return list(await create_many(images, count, **options))
        return [kind(images, **options) for _ in range(count)]
    except ValueError as error:
        raise ConfigError(f"options {options} of environment {name!r}: {error}") from error


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises ConfigError that names the nearest option for one that environment `name` does not have (law 10)."""
    known = known_options(name)
    for option in options:
        if known is not None and option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"environment {name!r} has no option {option!r}; {hint}")


def known_options(name: str) -> set[str] | None:
    """The options that environment `name` has; None where it takes whatever it is given. Raises PluginError."""
    kind = environment_class(name)
    parameters = list(inspect.signature(kind).parameters.values())[1:]  # the first one is the image store
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    known = {parameter.name for parameter in parameters}
    if hasattr(kind, "create_many"):
        own = inspect.signature(kind.create_many).parameters.values()
        known |= {parameter.name for parameter in own if parameter.kind is parameter.KEYWORD_ONLY}
    return known


async def close_environments(environments: Sequence[Environment], deadline: float = 30.0) -> None:
    """Close all of them. One that fails to close in time, or at all, is logged and does not keep the others open."""
    await asyncio.gather(*(_close(environment, deadline) for environment in environments))


async def _close(environment: Environment, deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline):
            await environment.close()
    except Exception:
        _logger.warning("closing %s failed", type(environment).__name__, exc_info=True)
