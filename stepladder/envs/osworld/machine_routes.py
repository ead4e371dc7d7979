"""What each route of OSWorld's server does on a pocket desktop."""

from __future__ import annotations

import asyncio
import json
import math
import posixpath
import time
from collections.abc import Mapping
from typing import Any

import python_multipart  # noqa: F401 (Starlette wants it when the first form comes)
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.sandbox import HOME
from stepladder.envs.desktop.xserver import Window
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.getters import State, get
from stepladder.envs.osworld.machine import Executed
from stepladder.envs.osworld.pocket import PocketMachine
from stepladder.envs.osworld.recording import Recording
from stepladder.envs.osworld.served import ServedDesktop

#: The most seconds that a command, a Python program and a condition may take, as on OSWorld's machines, and a script.
_COMMAND_SECONDS, _PYTHON_SECONDS, _CONDITION_SECONDS, _SCRIPT_SECONDS = 120.0, 30.0, 120.0, 600.0
#: Seconds within which a file that is opened has a window.
OPEN_SECONDS = 60.0
#: The largest file that is taken, in bytes.
LARGEST_FILE = 64 << 20
Fields = Mapping[str, Any]


class Refusal(Exception):
    """An answer that is an error of the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotHere(Exception):
    """What a pocket desktop cannot do; the message says why."""


class Routes:
    """The routes for one desktop, each a coroutine from a request to an answer. They raise Refusal, NotHere, EnvironmentFailure."""

    def __init__(self, served: ServedDesktop) -> None:
        self._served = served
        self._recording: Recording | None = None

    @property
    def _machine(self) -> PocketMachine:
        return self._served.machine

    @property
    def _desktop(self) -> Desktop:
        return self._served.desktop

    # --------------------------------------------------------------------------------------------------------------- looking

    async def screenshot(self, _: Request) -> Response:
        return Response(await self._machine.screenshot(), media_type="image/png")

    async def accessibility(self, _: Request) -> Response:
        return JSONResponse({"AT": await self._machine.accessibility()})

    async def terminal(self, _: Request) -> Response:
        """The text of the terminal that has the keyboard, null where none has it."""
        nodes = (await self._desktop.tree())["nodes"]
        shown = next((node["text"] for node in nodes if node["role"] == "terminal" and "focused" in node["states"]), None)
        windows = await self._desktop.windows()
        if shown is None and windows and any("xterm" in name.lower() for name in windows[-1].classes):
            raise NotHere("the terminal of a pocket desktop is xterm, which tells nobody its text; look at the screenshot")
        return JSONResponse({"output": shown, "status": "success"})

    async def platform(self, _: Request) -> Response:
        return PlainTextResponse("Linux")

    async def cursor_position(self, _: Request) -> Response:
        return JSONResponse(list(await self._desktop.pointer()))

    async def screen_size(self, _: Request) -> Response:
        width, height = self._machine.size
        return JSONResponse({"width": width, "height": height})

    async def window_size(self, request: Request) -> Response:
        name = await _form_text(request, "app_class_name")
        for window in reversed(await self._desktop.windows()):
            if any(name.lower() == one.lower() for one in window.classes):
                return JSONResponse({"width": window.box[2], "height": window.box[3]})
        raise Refusal(400, f"there is no window of the class {name!r}")

    async def desktop_path(self, _: Request) -> Response:
        return JSONResponse({"desktop_path": f"{HOME}/Desktop"})

    async def wallpaper(self, _: Request) -> Response:
        raise NotHere("a pocket desktop has no wallpaper: it has no GNOME")

    # ------------------------------------------------------------------------------------------------------------- programs

    async def execute(self, request: Request) -> Response:
        return JSONResponse(_told(await self._run(await _fields(request))))

    async def execute_with_verification(self, request: Request) -> Response:
        fields = await _fields(request)
        condition, began = _mapping(fields, "verification"), time.monotonic()
        for name in condition:
            if name not in ("window_exists", "command_success"):
                raise Refusal(400, f"verification has no {name!r}; there are window_exists and command_success")
        longest = _seconds(fields, "max_wait_time", 10.0, _CONDITION_SECONDS)
        pause = max(0.05, _seconds(fields, "check_interval", 1.0, _CONDITION_SECONDS))
        ran = _told(await self._run(fields))
        while not await self._holds(condition):
            if time.monotonic() - began > longest:
                failed = {**ran, "status": "verification_failed", "verification": "failed", "wait_time": time.monotonic() - began}
                return JSONResponse({**failed, "message": f"{dict(condition)} did not hold within {longest:g} s"}, 500)
            await asyncio.sleep(pause)
        return JSONResponse({**ran, "verification": "passed", "wait_time": time.monotonic() - began})

    async def run_python(self, request: Request) -> Response:
        code = _text(await _fields(request), "code")
        ran = await self._machine.execute(["python3", "-c", code], False, _PYTHON_SECONDS)
        said = {"status": "error" if ran.returncode else "success", "message": ran.output + ran.error, "need_more": False}
        return JSONResponse({**said, "output": ran.output, "error": ran.error, "return_code": ran.returncode})

    async def run_bash_script(self, request: Request) -> Response:
        """Standard output and error come together, as OSWorld's server gives them."""
        fields = await _fields(request)
        script, folder = _text(fields, "script"), fields.get("working_dir") or HOME
        if not isinstance(folder, str):
            raise Refusal(400, "working_dir must be a string")
        seconds = _seconds(fields, "timeout", 100.0, _SCRIPT_SECONDS)
        around = 'cd -- "$1" || exit 1; exec 2>&1; exec bash -c "$2"'
        command = ["bash", "-c", around, "bash", self._inside(folder), script]
        ran = await self._machine.execute(command, False, seconds)
        status = "error" if ran.returncode else "success"
        return JSONResponse({"status": status, "output": ran.output, "error": ran.error, "returncode": ran.returncode})

    async def launch(self, request: Request) -> Response:
        fields = await _fields(request)
        command, shell = _command(fields)
        await self._machine.launch(command, shell)
        return PlainTextResponse(f"{command if isinstance(command, str) else ' '.join(command)} launched successfully")

    async def open_file(self, request: Request) -> Response:
        """A file is opened with the program for its kind, and anything else is taken for a program."""
        path = _text(await _fields(request), "path")
        if await self._is("-e", path):
            command = ["xdg-open", self._inside(path)]
        elif await self._is_program(path):
            command = [path]
        else:
            raise Refusal(404, f"there is no file or program {path!r}")
        before = {window.id for window in await self._desktop.windows()}
        await self._machine.launch(command, False)
        name, until = posixpath.basename(path).lower(), time.monotonic() + OPEN_SECONDS
        while (window := await self._opened(name, before if command[0] != "xdg-open" else None)) is None:
            if time.monotonic() > until:
                raise Refusal(500, f"no window of {posixpath.basename(path)!r} came within {OPEN_SECONDS:g} s")
            await asyncio.sleep(0.1)
        await self._desktop.activate(window)
        return PlainTextResponse("File opened and window activated successfully")

    # ---------------------------------------------------------------------------------------------------------------- files

    async def file(self, request: Request) -> Response:
        path = await _form_text(request, "file_path")
        content = await self._machine.read(path)
        if content is None:
            return JSONResponse({"error": f"there is no file {path} of at most {LARGEST_FILE} bytes"}, 404)
        return Response(content, media_type="application/octet-stream", headers={"Content-Disposition": "attachment"})

    async def upload(self, request: Request) -> Response:
        async with request.form(max_files=1, max_fields=8) as form:
            path, sent = form.get("file_path"), form.get("file_data")
            if not isinstance(path, str) or not path or not isinstance(sent, UploadFile):
                raise Refusal(400, "file_path (text) and file_data (a file) must be sent as a multipart form")
            content = await sent.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise Refusal(413, f"a file may have {LARGEST_FILE} bytes")
        await self._machine.write(path, content)
        return PlainTextResponse(f"File Uploaded: {len(content)} bytes")

    async def list_directory(self, request: Request) -> Response:
        path = _text(await _fields(request), "path")
        if not await self._is("-d", path):
            raise Refusal(400, f"there is no directory {path!r}")
        state = State(self._machine, FileCache(None, ""))
        tree = await get(state, {"type": "list_directory", "path": self._inside(path)})
        return JSONResponse({"directory_tree": tree})

    async def download_file(self, _: Request) -> Response:
        raise NotHere("a pocket desktop has no network, and this server fetches nothing for others; send the file to /setup/upload")

    # -------------------------------------------------------------------------------------------------------------- windows

    async def activate_window(self, request: Request) -> Response:
        name, strict, by_class = _window(await _fields(request))
        if not await self._machine.activate_window(name, strict, by_class):
            raise Refusal(404, f"there is no window {name!r}")
        return PlainTextResponse("Window activated successfully")

    async def close_window(self, request: Request) -> Response:
        name, strict, by_class = _window(await _fields(request))
        if not await self._machine.close_window(name, strict, by_class):
            raise Refusal(404, f"there is no window {name!r}")
        return PlainTextResponse("Window closed successfully")

    # ----------------------------------------------------------------------------------------------- recording, starting anew

    async def start_recording(self, _: Request) -> Response:
        if self._recording is not None:
            raise Refusal(400, "a recording is being made")
        self._recording = await Recording.start(self._machine)
        return JSONResponse({"status": "success", "message": "recording"})

    async def end_recording(self, _: Request) -> Response:
        recording, self._recording = self._recording, None
        if recording is None:
            raise Refusal(400, "no recording is being made")
        return Response(await recording.end(), media_type="video/mp4")

    async def revert(self, _: Request) -> Response:
        self._recording = None
        await self._served.revert()
        return JSONResponse({"status": "success"})

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _run(self, fields: Fields) -> Executed:
        command, shell = _command(fields)
        return await self._machine.execute(command, shell, _COMMAND_SECONDS)

    async def _holds(self, condition: Fields) -> bool:
        title, command = condition.get("window_exists"), condition.get("command_success")
        if title and not any(str(title).lower() in window.title.lower() for window in await self._desktop.windows()):
            return False
        return not command or (await self._machine.execute(str(command), True)).returncode == 0

    async def _is(self, test: str, path: str) -> bool:
        """Whether a test of the shell, such as "-d", holds for a path."""
        return (await self._machine.execute(["test", test, self._inside(path)], False)).returncode == 0

    async def _is_program(self, name: str) -> bool:
        ran = await self._machine.execute(["bash", "-c", 'command -v -- "$1"', "bash", name], False)
        return ran.returncode == 0

    async def _opened(self, name: str, before: set[int] | None) -> Window | None:
        """The window of a file has its name in its title; that of a program is one that was not there `before`."""
        for window in reversed(await self._desktop.windows()):
            if window.id not in before if before is not None else name in window.title.lower():
                return window
        return None

    def _inside(self, path: str) -> str:
        """A path as programs inside call it."""
        if path == "~" or path.startswith("~/"):
            path = HOME + path[1:]
        return self._desktop.inside(posixpath.join(HOME, path))


def _told(ran: Executed) -> dict[str, Any]:
    return {"status": "success", "output": ran.output, "error": ran.error, "returncode": ran.returncode}


async def _fields(request: Request) -> Fields:
    """The JSON object that was sent. Raises Refusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "this route wants JSON, with the header Content-Type: application/json")
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal(400, "the body must be a JSON object")
    return found


async def _form_text(request: Request, name: str) -> str:
    async with request.form(max_files=0, max_fields=8) as form:
        found = form.get(name)
    if not isinstance(found, str) or not found:
        raise Refusal(400, f"{name} must be sent as a field of a form")
    return found


def _text(fields: Fields, name: str) -> str:
    found = fields.get(name)
    if not isinstance(found, str) or not found:
        raise Refusal(400, f"{name} must be a string that is not empty")
    return found


def _mapping(fields: Fields, name: str) -> Fields:
    found = fields.get(name) or {}
    if not isinstance(found, dict):
        raise Refusal(400, f"{name} must be an object")
    return found


def _seconds(fields: Fields, name: str, otherwise: float, most: float) -> float:
    found = fields.get(name, otherwise)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found) or not 0 <= found <= most:
        raise Refusal(400, f"{name} must be a number of seconds from 0 to {most:g}")
    return float(found)


def _command(fields: Fields) -> tuple[str | list[str], bool]:
    command, shell = fields.get("command"), fields.get("shell", False)
    if isinstance(command, list) and command and all(isinstance(word, (str, int, float)) for word in command):
        return [str(word) for word in command], bool(shell)
    if not isinstance(command, str) or not command.strip():
        raise Refusal(400, "command must be a string, or a list of words")
    return command, bool(shell)


def _window(fields: Fields) -> tuple[str, bool, bool]:
    return _text(fields, "window_name"), bool(fields.get("strict", False)), bool(fields.get("by_class", False))
