"""Machines that somebody else has started, by their addresses: which of them is free, and which has just failed."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from stepladder.envs.desktop.provided import cache_directory
from stepladder.locks import ExclusiveLock, Locked

#: Seconds that a machine is left alone after its first failure; every further one in a row doubles them, up to the longest.
FIRST_REST, LONGEST_REST = 2.0, 60.0
_LOOK = 0.2
_turns = itertools.count()
_logger = logging.getLogger(__name__)


@dataclass
class _Failures:
    """Of one address: failures in a row, and until when it is left alone."""

    count: int
    until: float


#: What this process knows of addresses that failed: who takes the place of an environment is to know it, too.
_failures: dict[str, _Failures] = {}


def failed(url: str) -> None:
    """Note that the machine did not answer; it is left alone for a while, longer each time."""
    count = _failures[url].count + 1 if url in _failures else 1
    rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(count - 1, 16))
    _failures[url] = _Failures(count, time.monotonic() + rest)
    _logger.warning("%s does not answer (%d in a row); it is left alone for %g s", url, count, rest)


def answered(url: str) -> None:
    """Note that the machine is well."""
    _failures.pop(url, None)


def rests(url: str) -> bool:
    """Whether the machine is left alone at the moment."""
    return url in _failures and _failures[url].until > time.monotonic()


async def take(urls: Sequence[str]) -> tuple[str, ExclusiveLock]:
    """A machine that no other environment of this computer has, and that has not just failed, with the lock that keeps it. Waits
    for one as long as there is none."""
    told, first = False, next(_turns)
    folder = cache_directory() / "machines"
    folder.mkdir(exist_ok=True)
    while True:
        for place in range(len(urls)):
            url = urls[(first + place) % len(urls)]
            if rests(url):
                continue
            with suppress(Locked):
                name = f"{hashlib.sha256(url.encode()).hexdigest()[:20]}.lock"
                return url, ExclusiveLock(folder / name, f"the machine {url}")
        if not told:
            _logger.warning("every machine is in use or has just failed, and one is waited for: %s", ", ".join(urls))
            told = True
        await asyncio.sleep(_LOOK)
