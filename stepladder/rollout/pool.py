"""Opening environments, alone or several in one process that they share, and opening a fresh one in the place of a broken one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from stepladder.envs import environment_class
from stepladder.images import ImageStore
from stepladder.interfaces import Environment

_logger = logging.getLogger(__name__)
OpenEnvironment = Callable[[], Awaitable[Environment]]


async def open_environments(
    name: str, images: ImageStore, count: int, options: Mapping[str, Any] | None = None
) -> list[Environment]:
    """`count` environments of the kind `name` (`stepladder.envs.ENVIRONMENTS` or `package.module:Class`).

    A class with `create_many(images, count, **options)` is asked once, so that its environments can share a browser; any other
    is constructed with (images, **options). Raises ValueError for an unknown name and TypeError for an unknown option.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one environment is needed")
    kind = environment_class(name)
    options = dict(options or {})
    create_many = getattr(kind, "create_many", None)
    if create_many is not None:
        return list(await create_many(images, count, **options))
    return [kind(images, **options) for _ in range(count)]


def opener(name: str, images: ImageStore, options: Mapping[str, Any] | None = None) -> OpenEnvironment:
    """A function that opens one more environment of the same kind: what `run_many` takes as `fresh`."""

    async def open_one() -> Environment:
        return (await open_environments(name, images, 1, options))[0]

    return open_one


async def close_environments(environments: Sequence[Environment], deadline: float = 30.0) -> None:
    """Close all of them. One that fails to close in time, or at all, is logged and does not keep the others open."""
    await asyncio.gather(*(_close(environment, deadline) for environment in environments))


async def _close(environment: Environment, deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline):
            await environment.close()
    except Exception:
        _logger.warning("closing %s failed", type(environment).__name__, exc_info=True)
