"""One process tree, shut off from the machine: bubblewrap with namespaces of its own, or nothing at all where that is forbidden.

Inside, the user is "user" (uid 1000) in /home/user; home, /tmp, /run/user/1000, /dev/shm and the X server's frame files are memory
file systems that end with the sandbox, so nothing of an episode can be left behind. Programs of the machine (/usr) are there to
read. Processes, memory of one process and every file system are limited. Started by root, the sandbox belongs to the user "nobody"
outside: it has no right that anybody lacks, and the limit of processes holds.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from stepladder.envs.desktop.guest.processes import descendants
from stepladder.envs.desktop.leftovers import BareRoot
from stepladder.interfaces import EnvironmentFailure

Isolation = Literal["bubblewrap", "none"]
HOME = "/home/user"
RUNTIME = "/run/user/1000"
FRAMES = "/run/frames"
LOGS = "/run/logs"
#: Where read-only files of the host appear.
PROVIDED = "/opt/stepladder"
UID = 1000
#: Files inside, in the place of the machine's: its users are none of a program's business, and uid 1000 has another name there.
FILES = {
    "/etc/passwd": f"""\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
user:x:{UID}:{UID}:User:{HOME}:/bin/bash
""",
    "/etc/group": f"root:x:0:\ntty:x:5:\nnogroup:x:65534:\nuser:x:{UID}:\n",
}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SandboxLimits:
    """What one desktop may use. `processes` counts threads too, `memory` is the data of one process, `disk` is for the home and
    for /tmp each, all but the first in bytes."""

    processes: int = 1024
    memory: int = 4 << 30
    disk: int = 1 << 30

    def __post_init__(self) -> None:
        for name, least in (("processes", 32), ("memory", 64 << 20), ("disk", 1 << 20)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass
class Sandbox:
    """How a sandbox is set up, and once `start` was called, the process in it.

    provided   read-only directories: name below /opt/stepladder -> directory of the host, which any user must be able to read
    network    whether programs inside reach the network; without it there is only a loopback of its own
    """

    isolation: Isolation = "bubblewrap"
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    provided: Mapping[str, Path] = field(default_factory=dict)
    network: bool = False
    process: subprocess.Popen[bytes] | None = None
    _inner: int | None = None
    #: Without isolation, what is the root inside.
    _bare: BareRoot | None = None
    _ended: bool = False

    def __post_init__(self) -> None:
        if self.isolation == "none":
            self._bare = BareRoot()

    def path(self, inside: str) -> str:
        """Where a path of the sandbox lies outside; only what no program inside can have replaced by a link may be opened there."""
        if self._bare is not None:
            return f"{self._bare.path}{inside}"
        return f"/proc/{self._inner}/root{inside}"

    def inside(self, path: str) -> str:
        """What programs in the sandbox call a path of the usual layout, such as /home/user/x."""
        return path if self._bare is None else f"{self._bare.path}{path}"

    def display_socket(self, number: int) -> str:
        """Where the X server listens, seen from outside."""
        listens = f"/tmp/.X11-unix/X{number}"
        if self._bare is None:
            return self.path(listens)
        self._bare.remember(Path(listens))
        return listens

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Run `command` inside, its standard input and output as pipes. Raises EnvironmentFailure that says what is missing."""
        if self.process is not None:
            raise RuntimeError("this sandbox was started before")
        process = (
            self._start_bare(command, environment) if self.isolation == "none" else self._start_sandboxed(command, environment)
        )
        if self._ended:  # it was given up while it was being started, in another thread
            self.release()
            raise EnvironmentFailure("the desktop was closed")
        return process

    def _start_sandboxed(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if shutil.which("bwrap") is None:
            raise EnvironmentFailure("bubblewrap is not installed: apt-get install bubblewrap (or isolation='none')")
        with ExitStack() as held:
            stderr = held.enter_context(tempfile.TemporaryFile())
            files = {name: held.enter_context(_holding(content)) for name, content in FILES.items()}
            self._inner = self._start_isolated([*self._bubblewrap(environment, files), *command], stderr, files.values())
            if self._inner is None:
                self.release()
                stderr.seek(0)
                said = stderr.read(2000).decode(errors="replace").strip()
                raise EnvironmentFailure(
                    f"bubblewrap does not start: {said or 'no reason given'}. Where user namespaces are forbidden (some "
                    "containers, Ubuntu 24.04 without an AppArmor profile), allow them or use isolation='none'"
                )
        assert self.process is not None
        return self.process

    def _start_isolated(self, command: Sequence[str], stderr: IO[bytes], descriptors: Iterable[int]) -> int | None:
        """The pid of the first process inside, None when there is none."""
        told, tells = os.pipe()
        try:
            self.process = subprocess.Popen(
                ["bwrap", "--info-fd", str(tells), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=(tells, *descriptors),
                start_new_session=True,
                **_unprivileged(),
            )
        finally:
            os.close(tells)
        try:
            return _child_of(told)
        finally:
            os.close(told)

    def kill(self) -> None:
        """End everything inside, at once. May be called twice, and from any thread."""
        self._ended = True
        process = self.process
        if process is None or process.poll() is not None:
            return
        if self.isolation == "none":
            with suppress(OSError, subprocess.TimeoutExpired):
                os.kill(process.pid, signal.SIGTERM)  # asks the first program to end all others, which it is the parent of
                process.wait(3.0)
            _kill_tree(process.pid)
        else:
            # The first process inside takes all others with it, and bubblewrap itself ends when it ends.
            for pid in (self._inner, process.pid):
                if pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        process.wait()

    def release(self) -> None:
        """Close the pipes and remove what is left on disk, after `kill`."""
        self.kill()
        process, self.process = self.process, None
        for pipe in (process.stdin, process.stdout) if process is not None else ():
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if self._bare is not None:
            self._bare.remove()

    def processes(self) -> list[int]:
        """Pids, as seen from outside, of everything that runs inside."""
        return [] if self.process is None else [self.process.pid, *descendants(self.process.pid)]

    def _bubblewrap(self, environment: Mapping[str, str], files: Mapping[str, int]) -> list[str]:
        """Its command line; the contents of `files` are read from these descriptors."""
        disk = str(self.limits.disk)
        command = ["--die-with-parent", "--as-pid-1", "--new-session", "--hostname", "desktop", "--clearenv"]
        command += ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        command += [] if self.network else ["--unshare-net"]
        command += ["--uid", str(UID), "--gid", str(UID), "--cap-drop", "ALL"]
        command += ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]
        for name, descriptor in files.items():
            command += ["--perms", "0444", "--ro-bind-data", str(descriptor), name]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink(f"/{name}"):
                command += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
            elif os.path.isdir(f"/{name}"):
                command += ["--ro-bind", f"/{name}", f"/{name}"]
        for path in ("/var/lib/dbus", "/var/cache/fontconfig"):
            command += ["--ro-bind-try", path, path]
        command += ["--proc", "/proc", "--dev", "/dev"]
        for path in ("/dev/shm", "/tmp", "/var/tmp", HOME):
            command += ["--size", disk, "--tmpfs", path]
        command += ["--perms", "1777", "--dir", "/tmp/.X11-unix"]
        for path in (RUNTIME, FRAMES, LOGS):
            command += ["--perms", "0700", "--size", str(64 << 20), "--tmpfs", path]
        for name, source in self.provided.items():
            command += ["--ro-bind", str(source), f"{PROVIDED}/{name}"]
        # Or programs could put others in the place of /bin, and of the directories around what is provided.
        command += ["--remount-ro", "/"]
        for name, value in environment.items():
            command += ["--setenv", name, value]
        command += ["--chdir", HOME, "--"]
        return [*command, "prlimit", f"--nproc={self.limits.processes}", f"--data={self.limits.memory}", "--core=0", "--"]

    def _start_bare(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        _logger.warning(
            "this desktop is not isolated (isolation='none'): programs in it can read and write all that you can, "
            "and reach the network"
        )
        for path in (HOME, RUNTIME, FRAMES, LOGS, "/tmp"):
            Path(self.path(path)).mkdir(parents=True, mode=0o700)
        for name, source in self.provided.items():
            link = Path(self.path(f"{PROVIDED}/{name}"))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source.resolve())
        self.process = subprocess.Popen(
            ["prlimit", f"--data={self.limits.memory}", "--core=0", "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            cwd=self.path(HOME),
            start_new_session=True,
        )
        return self.process


@contextmanager
def _holding(content: str) -> Iterator[int]:
    """The descriptor of a file without a name, to be read from its start."""
    with tempfile.TemporaryFile() as file:
        file.write(content.encode())
        file.seek(0)
        yield file.fileno()


def guest_python() -> str:
    """A Python that is there inside the sandbox. Raises EnvironmentFailure when the machine has none below /usr."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(path, os.X_OK):
            return path
    if sys.base_prefix.startswith("/usr"):
        return sys.executable
    raise EnvironmentFailure("a desktop needs a Python below /usr: apt-get install python3-minimal")


def _unprivileged() -> dict[str, Any]:
    """Arguments of Popen that make the process one of the user "nobody", when we are root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _child_of(descriptor: int) -> int | None:
    """The pid that bubblewrap tells of its first process inside; None when it ended without one."""
    said = b""
    while chunk := os.read(descriptor, 4096):
        said += chunk
        with suppress(ValueError):
            return int(json.loads(said)["child-pid"])
    return None


def _kill_tree(pid: int) -> None:
    """Kill a process and all below it; those that are born meanwhile are found in the next round."""
    for _ in range(100):
        found = [pid, *descendants(pid)]
        for one in reversed(found):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        if len(found) == 1:
            return
        time.sleep(0.005)
