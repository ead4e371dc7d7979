"""Processes: which there are, what they do, running one to its end, ending all."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any


def end_all() -> None:
    """Kill what is left of the session, and wait until it is gone."""
    until = time.monotonic() + 2.0
    while (left := descendants(os.getpid())) and time.monotonic() < until:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.005)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return


def descendants(pid: int) -> list[int]:
    found, left = [], [pid]
    while left:
        for thread in _names(f"/proc/{left[0]}/task"):
            try:
                with open(f"/proc/{left[0]}/task/{thread}/children", "rb") as file:
                    left += [int(child) for child in file.read().split()]
            except OSError:
                continue
        found.append(left.pop(0))
    return found[1:]


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


@dataclass(frozen=True)
class ThreadState:
    """Of one thread: R wants the processor, T was stopped."""

    name: str
    state: str
    session: int


def states(pid: int) -> list[ThreadState]:
    """Its threads; none of a process that is gone."""
    found = []
    for thread in _names(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                head, _, rest = file.read().rpartition(b")")
        except OSError:
            continue
        fields = rest.split()
        found.append(ThreadState(head.partition(b"(")[2].decode(errors="replace"), fields[0].decode(), int(fields[3])))
    return found


def communicate(process: subprocess.Popen[bytes], given: bytes, limit: int, until: float) -> tuple[tuple[bytes, bytes], bool, bool]:
    """What a program wrote to its two outputs, at most `limit` bytes of each are kept; whether more was written; whether it was not
    over in time."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: PT018
    kept, cut = (bytearray(), bytearray()), False
    with selectors.DefaultSelector() as selector:
        for place, pipe in enumerate((process.stdout, process.stderr)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, place)
        os.set_blocking(process.stdin.fileno(), False)
        if given:
            selector.register(process.stdin, selectors.EVENT_WRITE, None)
        else:
            process.stdin.close()
        while any(key.data is not None for key in selector.get_map().values()):
            left = until - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                if key.data is None:
                    given = _feed(process.stdin, given)
                    if not given:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                    continue
                room = limit - len(kept[key.data])
                kept[key.data].extend(chunk[: max(0, room)])
                cut = cut or len(chunk) > room
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return (bytes(kept[0]), bytes(kept[1])), cut, True
    return (bytes(kept[0]), bytes(kept[1])), cut, False


def _feed(pipe: Any, given: bytes) -> bytes:
    """Write what the pipe takes; what is left."""
    try:
        return given[os.write(pipe.fileno(), given[: 1 << 16]) :]
    except BlockingIOError:
        return given
    except BrokenPipeError:
        return b""
