"""Objects in Ray actors, called from wherever their handles travel to."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError


class Lost(Exception):
    """The process that should have answered is gone, for now or for good."""


@dataclass(frozen=True)
class Life:
    """A process that an actor has, or has had: `name` is another one for each."""

    name: str
    process: int
    machine: str


class Host:
    """The actor: `build(*arguments)` makes the object whose asynchronous methods can be called."""

    def __init__(self, build: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._object = build(*arguments)
        self._life = Life(secrets.token_hex(8), os.getpid(), platform.node())

    async def call(self, method: str, *arguments: Any) -> Any:
        return await getattr(self._object, method)(*arguments)

    async def ping(self) -> Life:
        """Which process this is."""
        return self._life


@dataclass(frozen=True)
class Remote:
    """An object in an actor. Can be sent to other processes."""

    handle: Any

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the object's method gives; it raises what that raises. An `ObjectRef` among the arguments stands for its value.
        A cancelled call is cancelled there, too. Raises Lost."""
        return await _answer(self.handle.call.remote(method, *arguments))

    async def ping(self) -> Life:
        """See `Host.ping`. Raises Lost."""
        found: Life = await _answer(self.handle.ping.remote())
        return found


async def _answer(reference: Any) -> Any:
    try:
        return await reference
    except asyncio.CancelledError:
        ray.cancel(reference)
        raise
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except RayError as error:  # its process, its machine or its answer is gone
        raise Lost(str(error).strip().splitlines()[0]) from error
