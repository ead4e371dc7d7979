"""What reads files that an agent left, in a process of its own: such a file may take any time and memory, and the event loop, with
every other episode on it, goes on meanwhile."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import signal
import sys
from contextlib import suppress
from typing import Any

from stepladder.envs.osworld.lacking import Lacks
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout

#: Seconds of a processor, and bytes of memory, that the work may take: far more than any task's own files need.
PROCESSOR_SECONDS, MEMORY = 60, 4 << 30
#: Seconds within which it must be done: a machine that is slower than that is at fault, and not the file.
SECONDS = 150.0


class TooMuch(Exception):
    """The work took more of the processor or of memory than it may; the message says which. It is what was read that is too much,
    not a machine that is slow."""


async def apart(work: str, *arguments: Any) -> Any:
    """What the function `work` (package.module:name) makes of the arguments: numbers, texts, bytes, and lists of them.

    Raises TooMuch, Lacks and EnvironmentFailure as the function does (anything else that it raises is an EnvironmentFailure too),
    EnvironmentTimeout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "stepladder.envs.osworld.worker", str(PROCESSOR_SECONDS), str(MEMORY), work),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(SECONDS):
            said, errors = await process.communicate(pickle.dumps(arguments))
    except TimeoutError:
        raise EnvironmentTimeout(f"{work} was not done within {SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == -signal.SIGXCPU:
        raise TooMuch(f"{work} took more than {PROCESSOR_SECONDS} s of a processor")
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip()[-500:]
        raise EnvironmentFailure(f"{work} ended with status {process.returncode}: {last or 'no reason given'}")
    return _result(work, json.loads(said))


def _result(work: str, said: dict[str, Any]) -> Any:
    if "lacks" in said:
        raise Lacks(*said["lacks"])
    if "failed" in said:
        raise EnvironmentFailure(said["failed"])
    if "memory" in said:
        raise TooMuch(f"{work} took more than {MEMORY} bytes of memory")
    return base64.b64decode(said["bytes"]) if "bytes" in said else said["result"]
