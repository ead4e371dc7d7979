"""Programs of a model, each run once in a process of its own that has next to nothing.

isolation      what the program cannot do
"bubblewrap"   see or change any file but those of /usr, reach the network or another process, stay when its time is over; it
               belongs to nobody in namespaces of its own, and all that is said below of limits holds as well
"limits"       open a file or a socket, start a process: the kernel's limits of its own process alone (a Python without `site` and
               without the user's settings). NOT shut off: it can send signals to processes of the same user (of "nobody", if we are
               root), and a mistake in the kernel or in Python is not caught by a second wall
"auto"         bubblewrap where it is installed, else limits, with a warning

In both, processor time, time, memory and output are limited, and no program is told what it should answer. A sandbox that does not
start is EnvironmentFailure; whatever the program does wrong is `Outcome.error`.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import pwd
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from stepladder.interfaces import EnvironmentFailure

Isolation = Literal["auto", "bubblewrap", "limits"]
Form = Literal["expression", "function"]
_logger = logging.getLogger(__name__)
_HARNESS = Path(__file__).with_name("harness.py")
_READY = b"ready\n"


@dataclass(frozen=True)
class ProgramLimits:
    """What a program may use: `cpu` whole seconds of processor time, `seconds` of time, bytes of `memory` and of `output`. The time
    is much longer than the processor time, so that a verdict does not depend on what else the machine does. Starting the sandbox
    may take `start` seconds, which are no part of the program's."""

    cpu: int = 1
    seconds: float = 30.0
    memory: int = 512 << 20
    output: int = 64 << 10
    start: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """`results` of the calls in order, each (True, value) or (False, error); empty where there are none, and `error` says why."""

    results: tuple[tuple[bool, Any], ...] = ()
    error: str = ""


def run_program(
    program: str,
    calls: Sequence[Sequence[Any]],
    *,
    form: Form = "function",
    name: str = "f",
    parameters: Sequence[str] = (),
    limits: ProgramLimits | None = None,
    isolation: Isolation = "auto",
) -> Outcome:
    """What the function `name` of `program`, or with the form "expression" the function of `parameters` that `program` is, gives
    for each of `calls` (lists of arguments that JSON can say). Raises EnvironmentFailure when the sandbox does not start."""
    limits = limits or ProgramLimits()
    request = {"program": program, "form": form, "name": name, "parameters": list(parameters), "calls": [list(c) for c in calls]}
    body = json.dumps({**request, "cpu": limits.cpu, "memory": limits.memory}).encode()
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(body)
        stdin.seek(0)
        process = _start(_chosen(isolation), stdin, stderr)
        try:
            assert process.stdout is not None
            answer, over = _read(process.stdout, limits)
        finally:
            _end(process)
        if not answer.startswith(_READY):
            stderr.seek(0)
            said = stderr.read(2000).decode(errors="replace").strip()
            raise EnvironmentFailure(
                f"the sandbox for programs does not start: {over or said or 'it ended without a word'}. Where user namespaces are "
                "forbidden, allow them or use isolation='limits'"
            )
    return Outcome(error=over) if over else _outcome(answer[len(_READY) :], len(calls))


def _outcome(answer: bytes, calls: int) -> Outcome:
    """The program had a hand in every byte of it."""
    try:
        results = json.loads(answer)
        read = tuple((kind == "value", value) for kind, value in results)
    except (ValueError, TypeError, RecursionError):
        return Outcome(error="the program ended before it gave its results: it used up its processor time or memory, or left")
    if len(read) != calls:
        return Outcome(error=str(read[0][1]) if read else "the program gave no results")
    return Outcome(read)


def _read(stdout: IO[bytes], limits: ProgramLimits) -> tuple[bytes, str]:
    """(what was written, "" or why reading stopped before its end)."""
    answer, deadline = b"", time.monotonic() + limits.start
    ready = False
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                allowed = limits.seconds if ready else limits.start
                return answer, f"it took longer than {allowed:g} s"
            chunk = os.read(stdout.fileno(), 65536)
            if not chunk:
                return answer, ""
            answer += chunk
            if not ready and answer.startswith(_READY):
                ready, deadline = True, time.monotonic() + limits.seconds
            if len(answer) > limits.output + len(_READY):
                return answer, f"its results are longer than {limits.output} bytes"


def _start(isolation: Isolation, stdin: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [_python(), "-I", "-S", "-c", _harness()]
    if isolation == "bubblewrap":
        command = [*_bubblewrap(), "--", *command]
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            start_new_session=True,
            **_unprivileged(),
        )
    except OSError as error:
        raise EnvironmentFailure(f"the sandbox for programs does not start: {error}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # bubblewrap takes all that is inside with it
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _chosen(isolation: Isolation) -> Isolation:
    if isolation != "auto":
        return isolation
    if shutil.which("bwrap") is not None:
        return "bubblewrap"
    _warn()
    return "limits"


@functools.cache
def _warn() -> None:
    _logger.warning(
        "bubblewrap is not installed: programs of the model run with the kernel's limits alone; they can send signals to processes "
        "of the same user. `apt-get install bubblewrap` shuts them off"
    )


def _bubblewrap() -> list[str]:
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    command += ["--uid", "1000", "--gid", "1000", "--hostname", "program", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib32", "lib64"):
        if os.path.islink(f"/{name}"):
            command += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            command += ["--ro-bind", f"/{name}", f"/{name}"]
    return [*command, "--dev", "/dev", "--remount-ro", "/", "--chdir", "/"]


@functools.cache
def _harness() -> str:
    return _HARNESS.read_text()


@functools.cache
def _python() -> str:
    """A Python that any user can start and that lies below /usr, where the sandbox sees it. Raises EnvironmentFailure."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(path, os.X_OK):
            return path
    if sys.base_prefix.startswith("/usr"):
        return sys.executable
    raise EnvironmentFailure("programs need a Python below /usr: apt-get install python3-minimal")


def _unprivileged() -> dict[str, Any]:
    """Arguments of Popen that make the process one of the user "nobody", when we are root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
