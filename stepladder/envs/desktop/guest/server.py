"""The first program inside a desktop's sandbox: starts the session and does what it is told, one JSON object a line.

    python3 -m stepladder.envs.desktop.guest.server '{"width": 1280, "height": 720, ...}'

Requests come on standard input as {"id": 1, "do": "spawn", ...}, answers go to standard output as {"id": 1, ...} or
{"id": 1, "error": "..."}. A part of the session that ends is told as {"ended": "the X server", "status": -9, "log": "..."}. When
standard input closes, everything ends.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from stepladder.envs.desktop.guest.processes import communicate, descendants, end_all, states

_ATSPI = "stepladder.envs.desktop.guest.atspi"
#: Seconds within which each part of the session must be there.
START_SECONDS = 20.0
#: Signals that a program gets for its own mistakes.
CRASHES = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
#: The largest file that is given out, in bytes.
LARGEST_FILE = 64 << 20


class Server:
    """The session's processes and the requests about it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.output = threading.Lock()
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.tree: Any = None
        self.tree_lock = threading.Lock()
        #: Held while a program is being started; `children` are those whose end somebody here waits for.
        self.starting = threading.Lock()
        self.children: set[int] = set()
        #: Session ids of this program and its parts, and of the applications that nobody inside is to end.
        self.sessions = {os.getsid(0)}

    def say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self.output:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    # ------------------------------------------------------------------------------------------------------------- session

    def start(self) -> None:
        """The X server, the bus, the window manager. The display's number is the X server's own choice where none is given."""
        settings = self.settings
        display = settings["display"]
        told, tells = os.pipe()
        self.part(
            "the X server",
            [
                *("Xvfb", *([f":{display}"] if display is not None else []), "-displayfd", str(tells)),
                *("-screen", "0", f"{settings['width']}x{settings['height']}x24", "-fbdir", settings["frames"]),
                *("-nolisten", "tcp", "-nolisten", "local", "-noreset", "-ac", "-dpi", "96"),
            ],
            pass_fds=(tells,),
        )
        bus_told, bus_tells = os.pipe()
        address = f"unix:path={os.environ['XDG_RUNTIME_DIR']}/bus"
        self.part(
            "the message bus",
            ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}", f"--print-address={bus_tells}"],
            pass_fds=(bus_tells,),
        )
        os.close(tells)
        os.close(bus_tells)
        if settings["home"] is not None:  # while the server starts; before anything writes there
            shutil.copytree(settings["home"], os.environ["HOME"], symlinks=True, dirs_exist_ok=True)
        number = self.line(told, "the X server")
        os.environ["DISPLAY"] = f":{number}"
        self.line(bus_told, "the message bus")
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = address
        self.part("the window manager", ["openbox", "--sm-disable", "--config-file", settings["window_manager"]])
        # Loaded while nobody waits: the first tree is read when an application is to be ready.
        threading.Thread(target=importlib.import_module, args=(_ATSPI,), daemon=True).start()
        self.say({"ready": {"display": int(number), "python": list(sys.version_info[:3])}})

    def part(self, name: str, command: list[str], pass_fds: tuple[int, ...] = ()) -> None:
        with self.log("session") as log:
            process = self.popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=pass_fds)
        self.parts[name] = process
        threading.Thread(target=self.watch, args=(name, process), daemon=True).start()

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program whose end is waited for with `wait`."""
        with self.starting:
            process = subprocess.Popen(command, **options)
            self.children.add(process.pid)
        return process

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait()
        finally:
            self.children.discard(process.pid)

    def reap(self) -> None:
        """Wait for the end of programs that others started and left to us."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                time.sleep(0.05)
                continue
            with self.starting:
                ours = ended is not None and ended.si_pid in self.children
            if ended is not None and not ours:
                try:
                    os.waitpid(ended.si_pid, os.WNOHANG)
                except ChildProcessError:
                    continue
            else:
                time.sleep(0.002)  # who started it is about to take note

    def watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        status = self.wait(process)
        self.say({"ended": name, "status": status, "log": self.tail("session", 600)})

    def line(self, descriptor: int, name: str) -> str:
        """The line that a part writes when it is ready."""
        text, until = "", time.monotonic() + START_SECONDS
        while not text.endswith("\n") and select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            chunk = os.read(descriptor, 4096).decode()
            if not chunk:
                break
            text += chunk
        os.close(descriptor)
        if not text.endswith("\n"):
            raise RuntimeError(f"{name} was not ready within {START_SECONDS:g} s: {self.tail('session')}")
        return text.strip()

    def log(self, name: str) -> Any:
        return open(Path(self.settings["logs"]) / f"{name}.log", "ab")

    def tail(self, name: str, size: int = 2000) -> str:
        path = Path(self.settings["logs"]) / f"{name}.log"
        return path.read_bytes()[-size:].decode(errors="replace").strip() if path.exists() else ""

    # ------------------------------------------------------------------------------------------------------------ requests

    def serve(self) -> None:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            try:
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()
            except RuntimeError as error:  # no thread is to be had: the sandbox is full of processes
                self.say({"id": request["id"], "error": str(error)})

    def answer(self, request: dict[str, Any]) -> None:
        try:
            result = getattr(self, f"do_{request['do']}")(request)
        except Exception as error:
            self.say({"id": request["id"], "error": f"{type(error).__name__}: {error}"})
        else:
            self.say({"id": request["id"], **result})

    def do_spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start a program and leave it running; its output goes to a log of its own."""
        with self.log(request["log"]) as log:
            process = self.popen(
                request["argv"],
                cwd=request.get("cwd"),
                env={**os.environ, **request.get("env", {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        may_be_ended = request.get("may_be_ended", False)
        if not may_be_ended:  # who may end a program may stop it, too
            self.sessions.add(process.pid)
        arguments = (request["argv"][0], process, may_be_ended)
        threading.Thread(target=self.watch_application, args=arguments, daemon=True).start()
        return {"pid": process.pid}

    def watch_application(self, name: str, process: subprocess.Popen[bytes], may_be_ended: bool) -> None:
        """A program that ends by itself is no crash, one that a signal ends is; a shell around it adds 128 to the signal. One that
        may be ended by others crashes by the signals of its own mistakes alone."""
        status = self.wait(process)
        number = -status if status < 0 else status - 128 if 128 < status <= 192 else 0
        if number and (not may_be_ended or number in CRASHES):
            self.say({"crashed": name, "status": status})

    def do_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a program to its end, or to its time limit, when it and what it started is killed."""
        process = self.popen(
            request["argv"],
            cwd=request.get("cwd"),
            env={**os.environ, **request.get("env", {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        until = time.monotonic() + request["timeout"]
        timed_out = True
        try:
            kept, cut, timed_out = communicate(process, base64.b64decode(request.get("input", "")), request["limit"], until)
        finally:
            if timed_out:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            self.wait(process)
        output, errors = (base64.b64encode(one).decode() for one in kept)
        return {"returncode": process.returncode, "timed_out": timed_out, "output": output, "errors": errors, "cut": cut}

    def do_read(self, request: dict[str, Any]) -> dict[str, Any]:
        """The content of a file, or null where there is no plain file that can be read, or one that is too large."""
        path = Path(request["path"])
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                return {"content": None}
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except OSError:
            return {"content": None}
        # Whoever works inside can make a file as large as this: it is no failure of the machine.
        return {"content": None if len(content) > LARGEST_FILE else base64.b64encode(content).decode()}

    def do_write(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write a file whole, with the directories above it."""
        path = Path(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(request["content"]))
        if request.get("mode") is not None:
            path.chmod(request["mode"])
        return {}

    def do_list(self, request: dict[str, Any]) -> dict[str, Any]:
        """Names in a directory, those of directories with a slash; null where there is none that can be read."""
        try:
            with os.scandir(request["path"]) as entries:
                return {"names": sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)}
        except OSError:
            return {"names": None}

    def do_log(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"text": self.tail(request["name"])}

    def do_tree(self, request: dict[str, Any]) -> dict[str, Any]:
        """The accessibility tree of everything that is on the screen."""
        with self.tree_lock:
            if self.tree is None:
                atspi = importlib.import_module(_ATSPI)
                self.tree = atspi.Tree(os.environ["DBUS_SESSION_BUS_ADDRESS"])
            try:
                found: dict[str, Any] = self.tree.read(**request["limits"])
            except BaseException:
                self.tree = None  # a connection that failed is not used again
                raise
        return found

    def do_vnc(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let viewers in at a socket in the file system: each gets an x11vnc of its own."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(request["path"])
        listener.listen()
        secret = Path(os.environ["XDG_RUNTIME_DIR"]) / "vnc-password"
        secret.write_text(f"{request['password']}\n")
        command = ["x11vnc", "-inetd", "-passwdfile", str(secret), "-noshm", "-shared", "-nopw", "-norc", "-quiet"]
        if not request["control"]:
            command.append("-viewonly")
        if shutil.which(command[0]) is None:
            raise FileNotFoundError("x11vnc is not installed: apt-get install x11vnc")

        def accept() -> None:
            while True:
                viewer, _ = listener.accept()
                with viewer, self.log("vnc") as log:
                    process = self.popen(command, stdin=viewer, stdout=viewer, stderr=log, start_new_session=True)
                threading.Thread(target=self.wait, args=(process,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return {}

    def do_state(self, request: dict[str, Any]) -> dict[str, Any]:
        """Whether nothing but this program wants the processor, at the moment of looking; names of applications and
        parts of the session that stand still because somebody stopped them (not of jobs of a shell, which a terminal's keys stop);
        free bytes in the home."""
        found = [one for pid in descendants(os.getpid()) for one in states(pid)]
        room = os.statvfs(os.environ["HOME"])
        return {
            "idle": not any(one.state == "R" for one in found),
            "stopped": sorted({one.name for one in found if one.state in "Tt" and one.session in self.sessions}),
            "free": room.f_bavail * room.f_frsize,
        }


def _take_charge() -> None:
    """Programs whose own parent ended become ours, so that all of the session hang below this program. And no other program may
    look into this one: through its open files an agent could answer in its place."""
    import ctypes

    library = ctypes.CDLL(None)
    library.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    library.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when the machine runs out of memory, a desktop goes first


def _overhear(*_: object) -> None:
    """A signal that changes nothing."""


def main() -> None:
    server = Server(json.loads(sys.argv[1]))
    began = time.monotonic()
    # Programs inside may send signals; who started the sandbox ends it otherwise, or without isolation by SIGTERM. A signal that is
    # ignored stays ignored by the programs that are started, one with a handler does not.
    signal.signal(signal.SIGINT, _overhear)
    signal.signal(signal.SIGTERM, _overhear if server.settings["isolated"] else _end)
    _take_charge()
    threading.Thread(target=server.reap, daemon=True).start()
    try:
        server.start()
        server.serve()
    except Exception as error:
        server.say({"failed": f"{error} (after {time.monotonic() - began:.1f} s)"})
    finally:
        end_all()


def _end(*_: object) -> None:
    end_all()
    os._exit(0)


if __name__ == "__main__":
    main()
