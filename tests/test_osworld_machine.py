"""OSWorld's machine, both ways: a pocket desktop answers as OSWorld's do, and a machine that answers so is played on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.envs.acting import CannotDo
from stepladder.envs.desktop.look import Look
from stepladder.envs.osworld.commands import COMMANDS
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.envs.osworld.machine_server import make_app
from stepladder.envs.osworld.pyautogui_command import pyautogui_code, without_pyautogui
from stepladder.envs.osworld.remote import RemoteMachine
from stepladder.envs.osworld.remote_environment import RemoteEnvironment
from stepladder.envs.osworld.served import ServedDesktop, ServedSettings
from stepladder.envs.osworld.solutions import SOLUTIONS
from stepladder.envs.osworld.task_file import load_tasks, make_task
from stepladder.envs.osworld.xml_tree import read_tree
from stepladder.images import ImageStore, decode
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.keys import NAMED_KEYS
from stepladder.pyautogui.parts import LONGEST_WAIT, elementary
from stepladder.pyautogui.read import read_code
from stepladder.pyautogui.write import PREFIX, write_action
from stepladder.rollout.opening import check_options, open_environments
from stepladder.stages.serve_desktop import ServeDesktopConfig
from stepladder.types import Action, Task

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data" / "osworld"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the public task files are not here")
URL = "http://127.0.0.1:5000"
#: What a task says that needs nothing but a shell.
SHELL_TASK = {
    "id": "made-up",
    "instruction": "Write the word done into the file result on the desktop.",
    "config": [{"type": "execute", "parameters": {"command": "echo begun > ~/Desktop/result", "shell": True}}],
    "evaluator": {
        "func": "exact_match",
        "result": {"type": "vm_command_line", "command": "cat ~/Desktop/result", "shell": True},
        "expected": {"type": "rule", "rules": {"expected": "done\n"}},
    },
}
Client = httpx.AsyncClient


@contextlib.asynccontextmanager
async def served(token: str | None = None, size: tuple[int, int] = (1280, 720)) -> AsyncIterator[tuple[ServedDesktop, Client]]:
    """A desktop, and a client that reaches it as one over the network would."""
    desktop = ServedDesktop(ServedSettings(*size, applications=()))
    await desktop.start()
    try:
        async with Client(transport=transport_to(desktop, token), base_url=URL, timeout=60.0) as client:
            yield desktop, client
    finally:
        await desktop.close()


def transport_to(desktop: ServedDesktop, token: str | None = None) -> httpx.ASGITransport:
    return httpx.ASGITransport(make_app(desktop, token))


def drive(work: Callable[[ServedDesktop, Client], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        async with served(**options) as (desktop, client):
            return await work(desktop, client)

    return asyncio.run(run())


async def python(client: Client, code: str) -> httpx.Response:
    """As OSWorld's PythonController sends code."""
    payload = json.dumps({"command": ["python", "-c", PREFIX + code], "shell": False})
    return await client.post("/execute", headers={"Content-Type": "application/json"}, content=payload)


# ------------------------------------------------------------------------------------------------------- actions as pyautogui

numbers = st.integers(0, 1919) | st.floats(0, 1919, allow_nan=False)
keys = st.sampled_from(NAMED_KEYS) | st.characters(min_codepoint=33, max_codepoint=126).map(str.lower)
places = st.just((None, None)) | st.tuples(numbers, numbers)
plain = st.one_of(
    st.builds(
        lambda kind, place: Action(kind, *place),
        st.sampled_from(["click", "double_click", "triple_click", "right_click", "middle_click", "mouse_down", "mouse_up"]),
        places,
    ),
    st.builds(lambda place: Action("move", *place), st.tuples(numbers, numbers)),
    st.builds(lambda place: Action("drag", x2=place[0], y2=place[1]), st.tuples(numbers, numbers)),
    st.builds(
        lambda place, amount, name: Action("scroll", *place, amount=float(amount), name=name),
        places,
        st.integers(-100, 100),
        st.sampled_from(["", "horizontal"]),
    ),
    st.builds(lambda text: Action("type", text=text), st.text(max_size=60)),
    st.builds(lambda names: Action("key", keys=tuple(names)), st.lists(keys, min_size=1, max_size=4)),
    st.builds(lambda kind, key: Action(kind, keys=(key,)), st.sampled_from(["key_down", "key_up"]), keys),
    st.builds(lambda seconds: Action("wait", seconds=seconds), st.floats(0, LONGEST_WAIT)),
)


@given(plain)
def test_an_action_is_read_back_as_it_was_written(action: Action) -> None:
    assert read_code(PREFIX + write_action(action, real=False)) == [action]


@given(plain.filter(lambda action: action.kind != "type"), st.lists(keys, min_size=1, max_size=2))
def test_keys_that_are_held_go_down_before_and_up_after(action: Action, held: list[str]) -> None:
    if action.kind not in ("click", "scroll", "drag", "move"):
        return
    together = replace(action, keys=tuple(held))
    down, up = ([Action(kind, keys=(key,)) for key in held] for kind in ("key_down", "key_up"))
    assert elementary(together) == [*down, action, *reversed(up)]
    assert read_code(write_action(together, real=False)) == elementary(together)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\n\t"), max_size=40))
def test_real_pyautogui_gets_every_smaller_than_as_a_combination(text: str) -> None:
    found = read_code(write_action(Action("type", text=text)))
    said = ["<" if action.kind == "key" else action.text for action in found]
    assert all("<" not in action.text for action in found)
    assert "".join(said) == text


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Action("type", text="é"), "has no key for 'é'"),
        (Action("key", keys=("ñ",)), "has none for 'ñ'"),
        (Action("click", x=float("nan"), y=1.0), "no place"),
        (Action("click", x=1.0), "both coordinates"),
        (Action("drag", x=1.0, y=1.0), "where it ends"),
        (Action("drag", x=1.0, x2=1.0, y2=1.0), "both coordinates"),
        (Action("move"), "needs a place"),
        (Action("key"), "at least one key"),
        (Action("key", keys=("nonsense",)), "there is no key 'nonsense'"),
        (Action("call", name="x"), "cannot carry out 'call'"),
        (Action("scroll", amount=float("inf")), "cannot scroll by inf"),
        (Action("wait", seconds=61.0), "must lie in 0..60"),
        (Action("wait", seconds=float("nan")), "must lie in 0..60"),
    ],
)
def test_what_pyautogui_cannot_do_is_refused(action: Action, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_action(action)


def test_what_osworlds_controllers_write_is_read() -> None:
    """`execute_action` of its PythonController, for every kind of action of the space computer_13."""
    for code, wanted in (
        ("pyautogui.moveTo(5, 6, 0.7351, pyautogui.easeInOutQuad)", Action("move", 5.0, 6.0)),
        ("pyautogui.click(button='right', x=1, y=2)", Action("right_click", 1.0, 2.0)),
        ("pyautogui.click(x=1, y=2, clicks=3)", Action("triple_click", 1.0, 2.0)),
        ("pyautogui.mouseDown(button='left')", Action("mouse_down")),
        ("pyautogui.rightClick()", Action("right_click")),
        ("pyautogui.dragTo(3, 4, duration=1.0, button='left', mouseDownUp=True)", Action("drag", x2=3.0, y2=4.0)),
        ("pyautogui.vscroll(-2)", Action("scroll", amount=-2.0)),
        ("pyautogui.hotkey('ctrl', 'winleft')", Action("key", keys=("ctrl", "super"))),
        ("pyautogui.press('apps')", Action("key", keys=("menu",))),
    ):
        assert pyautogui_code(["python", "-c", PREFIX + code]) == [wanted]


def test_python_that_only_imports_pyautogui_is_run_without_it() -> None:
    command = ["python", "-c", PREFIX + "import os; print(os.getcwd())"]
    assert pyautogui_code(command) is None
    assert without_pyautogui(command) == ["python3", "-c", "import time\nimport os\nprint(os.getcwd())"]
    assert without_pyautogui("ls") == "ls"


# -------------------------------------------------------------------------------------------------------------- the server


def test_the_server_is_driven_as_osworlds_python_controller_drives_it() -> None:
    async def work(desktop: ServedDesktop, client: Client) -> None:
        assert (await client.post("/screen_size")).json() == {"width": 1280, "height": 720}
        assert (await client.get("/platform")).text == "Linux"
        shown = await client.get("/screenshot")
        assert shown.headers["content-type"] == "image/png"
        assert decode(shown.content).shape == (720, 1280, 3)
        moved = await python(client, "pyautogui.moveTo(30, 40, 0.5, pyautogui.easeInQuad)")
        assert moved.json() == {"status": "success", "output": "", "error": "", "returncode": 0}
        assert (await client.get("/cursor_position")).json() == [30, 40]
        named = await python(client, "import platform; print(platform.system())")
        assert named.json()["output"].strip() == "Linux"
        off = (await python(client, "pyautogui.click(9999, 1)")).json()
        assert off["returncode"] == 1
        assert "outside the screen of 1280 x 720" in off["error"]
        broken = (await python(client, "pyautogui.click(")).json()
        assert broken["returncode"] == 1
        assert "SyntaxError" in broken["error"]
        loop = await python(client, "\nfor i in range(2): pyautogui.press('a')")
        assert loop.json()["returncode"] == 0
        endless = await python(client, "\nwhile True: pyautogui.press('a')")
        assert endless.status_code == 501
        assert "line 2: only calls and plain values are read, not while" in endless.json()["message"]
        assert (await client.get("/accessibility")).json()["AT"].startswith("<desktop-frame")
        assert (await client.get("/terminal")).json() == {"output": None, "status": "success"}
        ran = (await client.post("/run_bash_script", json={"script": "echo a\necho b >&2\npwd", "working_dir": "/tmp"})).json()
        assert ran == {"status": "success", "output": "a\nb\n/tmp\n", "error": "", "returncode": 0}
        ran = (await client.post("/run_python", json={"code": "print(1 + 1)"})).json()
        assert (ran["status"], ran["output"], ran["return_code"], ran["need_more"]) == ("success", "2\n", 0, False)
        assert (await client.post("/execute", json={"command": "no-such-program x", "shell": False})).status_code == 500

    drive(work)


def test_the_server_is_driven_as_osworlds_setup_controller_drives_it() -> None:
    async def work(desktop: ServedDesktop, client: Client) -> None:
        form = {"file_path": "/home/user/Desktop/note.txt"}
        sent = await client.post("/setup/upload", data=form, files={"file_data": ("note.txt", b"content")})
        assert (sent.status_code, sent.text) == (200, "File Uploaded: 7 bytes")
        assert (await client.post("/file", data=form)).content == b"content"
        missing = await client.post("/file", data={"file_path": "/home/user/none"})
        assert missing.status_code == 404
        assert "/home/user/none" in missing.json()["error"]
        tree = (await client.post("/list_directory", json={"path": "/home/user/Desktop"})).json()["directory_tree"]
        assert {"type": "file", "name": "note.txt"} in tree["children"]
        assert (await client.post("/list_directory", json={"path": "/none"})).status_code == 400
        assert (await client.post("/desktop_path")).json() == {"desktop_path": "/home/user/Desktop"}
        launched = await client.post("/setup/launch", json={"command": ["mousepad", "/home/user/Desktop/note.txt"], "shell": False})
        assert launched.text == "mousepad /home/user/Desktop/note.txt launched successfully"
        checked = {"window_exists": "note.txt", "command_success": "test -f ~/Desktop/note.txt"}
        asked = {"command": ["true"], "shell": False, "verification": checked, "max_wait_time": 20, "check_interval": 0.1}
        verified = (await client.post("/setup/execute_with_verification", json=asked)).json()
        assert (verified["status"], verified["verification"]) == ("success", "passed")
        asked |= {"verification": {"window_exists": "another"}, "max_wait_time": 0.2}
        failed = await client.post("/execute_with_verification", json=asked)
        assert (failed.status_code, failed.json()["status"]) == (500, "verification_failed")
        assert (await client.post("/window_size", data={"app_class_name": "Mousepad"})).json()["width"] > 100
        assert (await client.post("/window_size", data={"app_class_name": "none"})).status_code == 400
        window = {"window_name": "note.txt", "strict": False, "by_class": False}
        assert (await client.post("/setup/activate_window", json=window)).status_code == 200
        assert (await client.post("/setup/close_window", json=window)).status_code == 200
        assert (await client.post("/setup/activate_window", json={**window, "window_name": "none"})).status_code == 404
        opened = await client.post("/setup/open_file", json={"path": "mousepad"})
        assert opened.text == "File opened and window activated successfully"
        assert (await client.post("/setup/open_file", json={"path": "/none"})).status_code == 404

    drive(work)


@pytest.mark.parametrize(
    ("route", "said"),
    [("/wallpaper", "no wallpaper"), ("/setup/change_wallpaper", "no wallpaper"), ("/setup/download_file", "has no network")],
)
def test_what_cannot_be_done_is_said_and_never_a_silent_success(route: str, said: str) -> None:
    async def work(_: ServedDesktop, client: Client) -> None:
        answer = await client.post(route, json={"path": "/x", "url": "http://example.org/x"})
        assert answer.status_code == 501
        assert said in answer.json()["message"]

    drive(work)


def test_a_terminal_without_a_readable_text_is_said() -> None:
    async def work(desktop: ServedDesktop, client: Client) -> None:
        assert (await client.post("/setup/open_file", json={"path": "xterm"})).status_code == 200
        answer = await client.get("/terminal")
        assert answer.status_code == 501
        assert "xterm" in answer.json()["message"]

    drive(work)


FFMPEG = """exec python3 -c '
import signal, sys, time
def end(*_):
    open(sys.argv[-1], "w").write("filmed")
    sys.exit(255)
signal.signal(signal.SIGINT, end)
time.sleep(60)
' "$@"
"""


def test_a_film_is_made_by_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "ffmpeg", FFMPEG)

    async def work(desktop: ServedDesktop, client: Client) -> None:
        assert (await client.post("/end_recording")).status_code == 400
        assert (await client.post("/start_recording")).status_code == 200
        assert (await client.post("/start_recording")).status_code == 400
        film = await client.post("/end_recording")
        assert (film.headers["content-type"], film.content) == ("video/mp4", b"filmed")

    drive(work)


def test_an_ffmpeg_that_cannot_begin_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "ffmpeg", "exit 1")

    async def work(_: ServedDesktop, client: Client) -> None:
        answer = await client.post("/start_recording")
        assert answer.status_code == 500
        assert "ffmpeg has ended" in answer.json()["message"]

    drive(work)


@pytest.mark.skipif(shutil.which("ffmpeg") is not None, reason="ffmpeg is installed")
def test_a_film_is_lacking_without_ffmpeg() -> None:
    async def work(_: ServedDesktop, client: Client) -> None:
        answer = await client.post("/start_recording")
        assert answer.status_code == 501
        assert "program ffmpeg" in answer.json()["message"]

    drive(work)


def test_wrong_requests_are_named() -> None:
    async def work(_: ServedDesktop, client: Client) -> None:
        for route, request, status, said in (
            ("/execute", {"content": "{}"}, 415, "application/json"),
            ("/execute", {"json": {}}, 400, "command must be"),
            ("/execute", {"json": {"command": []}}, 400, "command must be"),
            ("/execute", {"json": {"command": "echo 'x"}}, 500, "cannot be split"),
            ("/execute", {"json": [1]}, 400, "must be a JSON object"),
            ("/file", {}, 400, "file_path must be"),
            ("/setup/upload", {"data": {"file_path": "/x"}}, 400, "file_data"),
            ("/execute_with_verification", {"json": {"command": "true", "verification": {"other": 1}}}, 400, "no 'other'"),
            ("/run_bash_script", {"json": {"script": "true", "timeout": 1e9}}, 400, "timeout must be"),
            ("/setup/activate_window", {"json": {"window_name": 5}}, 400, "window_name must be"),
        ):
            answer = await client.post(route, **request)  # type: ignore[arg-type]
            assert answer.status_code == status, (route, request, answer.text)
            assert said in answer.json()["message"]
        assert (await client.get("/screenshot", headers={"Host": "evil.example"})).status_code == 403
        for origin in ("https://evil.example", "http://127.0.0.1:8000", "null"):
            form, sent = {"file_path": "/home/user/x"}, {"file_data": ("x", b"x")}
            page = await client.post("/setup/upload", data=form, files=sent, headers={"Origin": origin})
            assert page.status_code == 403
            assert "web pages" in page.json()["message"]
            assert (await client.post("/revert", headers={"Origin": origin})).status_code == 403
        assert (await client.post("/file", data={"file_path": "/home/user/x"})).status_code == 404
        assert (await client.post("/screen_size", headers={"Content-Length": str(1 << 40)})).status_code == 413

        async def chunks() -> AsyncIterator[bytes]:
            yield b"{}"

        assert (await client.post("/execute", content=chunks())).status_code == 411

    drive(work)


def test_a_token_is_asked_for_before_anything_else() -> None:
    async def work(_: ServedDesktop, client: Client) -> None:
        assert (await client.get("/screenshot")).status_code == 401
        assert (await client.post("/execute", json={"command": "true"})).status_code == 401
        assert (await client.get("/screenshot", headers={"Authorization": "Bearer secret"})).status_code == 200
        page = {"Authorization": "Bearer secret", "Origin": "https://example.org"}
        assert (await client.get("/screenshot", headers=page)).status_code == 200, "who has the token may be a page"

    drive(work, token="secret")


def test_a_fresh_desktop_takes_the_place_of_one_that_has_ended() -> None:
    async def work(desktop: ServedDesktop, client: Client) -> None:
        form = {"file_path": "/home/user/left-behind"}
        await client.post("/setup/upload", data=form, files={"file_data": ("x", b"x")})
        desktop.desktop.sandbox.kill()
        await asyncio.sleep(0.3)
        answer = await client.get("/screenshot")
        assert answer.status_code == 500
        assert "ended" in answer.json()["message"]
        assert (await client.post("/revert")).status_code == 200
        assert (await client.get("/screenshot")).status_code == 200
        assert (await client.post("/file", data=form)).status_code == 404

    drive(work)


# --------------------------------------------------------------------------------------------------------- a machine elsewhere


@contextlib.asynccontextmanager
async def playing(desktop: ServedDesktop, url: str = URL, **options: Any) -> AsyncIterator[RemoteEnvironment]:
    environment = RemoteEnvironment(ImageStore(), machine=url, transport=transport_to(desktop), **options)
    try:
        yield environment
    finally:
        await environment.close()


@pytest.fixture
def url() -> str:
    """An address that no other test, of whatever process, has a lock on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_task_that_needs_a_shell_alone_is_played_over_http(url: str) -> None:
    task = make_task(SHELL_TASK, "os", "made-up.json")

    async def work(desktop: ServedDesktop, _: Client) -> None:
        async with playing(desktop, url, tree=True) as environment:
            shown = await environment.reset(task, 0)
            assert shown.screenshot is not None
            assert (shown.screenshot.width, shown.screenshot.height) == (1280, 720)
            assert await environment.evaluate() == 0.0
            off = await environment.step(Action("click", 5000.0, 5.0))
            assert "outside the screen of 1280 x 720" in off.text
            await environment.step(Action("key", keys=("ctrl", "alt", "t")))
            await desktop.desktop.wait_for_window(lambda window: "xterm" in window.title.lower())
            await environment.step(Action("type", text="echo done > Desktop/result # <é>\n"))
            await environment.step(Action("wait", seconds=0.5))
            assert (await environment.step(Action("done"))).done
            assert await environment.evaluate() == 1.0
            await environment.reset(task, 0)
            await environment.step(Action("fail"))
            assert await environment.evaluate() == 0.0

    drive(work)


@shared
@pytest.mark.parametrize("name", ["os/e0df059f", "vlc/8ba5ae7a"])
def test_a_real_task_is_solved_over_http_from_setup_to_grading(name: str, url: str) -> None:
    task = next(one for one in load_tasks(SHARED) if one.id.startswith(f"osworld/{name}"))

    async def work(desktop: ServedDesktop, _: Client) -> tuple[float, float]:
        async with playing(desktop, url) as environment:
            await environment.reset(task, 0)
            await environment.step(Action("done"))
            idle = await environment.evaluate()
            await desktop.revert()
            await environment.reset(task, 0)
            async for _thought, action in SOLUTIONS[str(task.setup["id"])[:8]](Look(desktop.desktop)):
                await environment.step(action)
            return idle, await environment.evaluate()

    assert drive(work, size=(1920, 1080)) == (0.0, 1.0)


def test_what_cannot_be_done_is_given_up_and_other_solutions_are_not_known(url: str) -> None:
    task = make_task({"id": "i", "instruction": "y", "evaluator": {"func": "infeasible"}}, "os", "i.json")

    async def work(desktop: ServedDesktop, _: Client) -> float:
        async with playing(desktop, url) as environment:
            await environment.reset(task, 0)
            async for _thought, action in environment.solve():
                await environment.step(action)
            return await environment.evaluate()

    assert drive(work) == 1.0


def test_a_machine_is_reverted_before_every_reset(url: str, tmp_path: Path) -> None:
    task, log = make_task(SHELL_TASK, "os", "made-up.json"), tmp_path / "log"

    async def work(desktop: ServedDesktop, _: Client) -> None:
        async with playing(desktop, url, revert=["sh", "-c", f"echo $0 >> {log}"]) as environment:
            await environment.reset(task, 0)
            await environment.reset(task, 0)
        async with playing(desktop, url, revert=["sh", "-c", "echo no snapshot; exit 3"]) as environment:
            with pytest.raises(EnvironmentFailure, match=r"revert: .* ended with status 3: no snapshot"):
                await environment.reset(task, 0)
        async with playing(desktop, url, revert=["no-such-command"]) as environment:
            with pytest.raises(EnvironmentFailure, match="no-such-command does not start"):
                await environment.reset(task, 0)

    drive(work)
    assert log.read_text().split() == [url, url]


def test_a_machine_that_keeps_its_state_is_warned_of_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    task = make_task(SHELL_TASK, "os", "made-up.json")

    async def work(desktop: ServedDesktop, _: Client) -> None:
        async with playing(desktop, url) as environment:
            await environment.reset(task, 0)
            await environment.reset(task, 0)

    drive(work)
    assert len([record for record in caplog.records if "is not reverted" in record.message]) == 1


def test_what_a_task_needs_of_us_is_asked_for_and_what_the_machine_has_is_its_own_matter(url: str) -> None:
    lacking = {**SHELL_TASK, "evaluator": {"func": "no_such_metric", "result": {"type": "rule", "rules": {}}}}
    own = {**SHELL_TASK, "config": [{"type": "execute", "parameters": {"command": "systemctl --version || true", "shell": True}}]}

    async def work(desktop: ServedDesktop, _: Client) -> None:
        async with playing(desktop, url) as environment:
            with pytest.raises(EnvironmentFailure, match="metric no_such_metric"):
                await environment.reset(make_task(lacking, "os", "x.json"), 0)
            await environment.reset(make_task(own, "os", "x.json"), 0)

    drive(work)


def machine(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> RemoteMachine:
    """A machine that answers as a function says."""
    return RemoteMachine(URL, transport=httpx.MockTransport(answer), **options)


def test_pyautogui_gets_what_osworlds_controllers_would_send_it() -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/screen_size":
            return httpx.Response(200, json={"width": 100, "height": 100})
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"status": "success", "output": "", "error": "", "returncode": 0})

    async def run() -> None:
        there = machine(answer)
        await there.connect()
        await there.act(Action("click", 5.0, 6.0, keys=("ctrl",)))
        await there.act(Action("type", text="a<b"))
        with pytest.raises(CannotDo, match="has no key for 'é'"):
            await there.act(Action("type", text="é"))
        await there.close()

    asyncio.run(run())
    codes = [
        "pyautogui.keyDown('ctrl'); pyautogui.click(5, 6); pyautogui.keyUp('ctrl')",
        "pyautogui.typewrite('a'); pyautogui.hotkey('shift', ','); pyautogui.typewrite('b')",
    ]
    assert sent == [{"command": ["python", "-c", PREFIX + code], "shell": False} for code in codes]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(500, json={"status": "error", "message": "it broke"}), r"127.0.0.1:5000/execute answers 500: it broke"),
        (httpx.Response(200, text="<html>"), r"127.0.0.1:5000/execute answers with what is no JSON"),
        (httpx.Response(200, json={"output": "x"}), r"127.0.0.1:5000/execute answers .* no result of a command"),
    ],
)
def test_a_machine_that_fails_is_named_with_its_route(answer: httpx.Response, said: str) -> None:
    async def run() -> None:
        with pytest.raises(EnvironmentFailure, match=said):
            await machine(lambda _: answer).execute("true", True)

    asyncio.run(run())


def test_a_machine_that_is_silent_is_a_timeout() -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(30)
        raise AssertionError

    async def run() -> None:
        there = RemoteMachine(URL, transport=httpx.MockTransport(silent), deadline=0.2)
        with pytest.raises(EnvironmentTimeout, match=r"/screen_size did not answer within 0.2 s"):
            await there.connect()

    asyncio.run(run())


def test_nobody_at_the_address_is_a_failure_that_names_it(url: str) -> None:
    async def run() -> None:
        with pytest.raises(EnvironmentFailure, match=f"{url}/screen_size cannot be reached"):
            await RemoteMachine(url).connect()

    asyncio.run(run())


def test_the_tree_that_a_machine_answers_becomes_elements() -> None:
    async def work(desktop: ServedDesktop, client: Client) -> None:
        await client.post("/setup/open_file", json={"path": "mousepad"})
        await asyncio.sleep(1.0)
        found = read_tree((await client.get("/accessibility")).json()["AT"])
        assert any(element.role == "menu" and element.name == "File" and element.box for element in found)

    drive(work)
    with pytest.raises(EnvironmentFailure, match="is no XML"):
        read_tree("<desktop-frame")


# ------------------------------------------------------------------------------------------------------------------ options


def test_environments_share_machines_and_never_one(url: str) -> None:
    task = make_task(SHELL_TASK, "os", "made-up.json")

    async def work(desktop: ServedDesktop, _: Client) -> None:
        async with playing(desktop, url) as first, playing(desktop, url, reset_deadline=0.5) as second:
            await first.reset(task, 0)
            with pytest.raises(EnvironmentTimeout):
                await second.reset(task, 0)

    drive(work)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"machine": "virtualbox"}, "machine is 'virtualbox'"),
        ({"machine": URL, "width": 800}, "no option 'width' for machine"),
        ({"revert": ["x"]}, "no option 'revert' for machine 'pocket'"),
        ({"machine": f"{URL},ftp://x"}, "'ftp://x' is no address"),
        ({"machine": URL, "revert": "x"}, "revert is 'x'"),
        ({"machine": "desktop_env"}, "pip install desktop-env"),
        ({"mashine": URL}, "did you mean 'machine'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        asyncio.run(open_environments("osworld", ImageStore(), 1, options))


def test_the_option_machine_chooses_the_kind_of_environment() -> None:
    images = ImageStore()
    check_options("osworld", {"machine": URL, "revert": ["x"]})
    pocket = asyncio.run(open_environments("osworld", images, 2, {"width": 800, "height": 600}))
    assert [type(one) for one in pocket] == [OSWorldEnvironment] * 2
    elsewhere = asyncio.run(open_environments("osworld", images, 2, {"machine": f"{URL}, {URL[:-1]}1/"}))
    assert [type(one) for one in elsewhere] == [RemoteEnvironment] * 2
    with pytest.raises(ConfigError, match="3 environments need as many machines, and 1 is named"):
        asyncio.run(open_environments("osworld", images, 3, {"machine": URL}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (ServeDesktopConfig(host="0.0.0.0", token="none"), "whoever comes could run commands"),
        (ServeDesktopConfig(size="big"), "size is 'big'"),
        (ServeDesktopConfig(size="5x5"), "is not possible"),
        (ServeDesktopConfig(count=0), "count is 0"),
        (ServeDesktopConfig(port=65535, count=3), "port is 65535"),
    ],
)
def test_wrong_settings_of_the_server_are_named(config: ServeDesktopConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.check()


# ------------------------------------------------------------------------------------------------------- the command, desktop_env


@pytest.fixture
def command(tmp_path: Path) -> Iterator[list[str]]:
    """Addresses of two desktops that `stepladder serve-desktop` serves."""
    for _ in range(20):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                break
    program = [sys.executable, "-c", "import sys; from stepladder.cli import main; main()", "serve-desktop"]
    arguments = ["--port", str(port), "--count", "2", "--token", "none", "--size", "1280x720"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*program, *arguments], cwd=ROOT, stdout=log, stderr=log)
    urls = [f"http://127.0.0.1:{port + place}" for place in range(2)]
    try:
        until = time.monotonic() + 120
        for url in urls:
            while time.monotonic() < until and server.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(f"{url}/screenshot", timeout=5.0)
                    break
                time.sleep(0.2)
        assert server.poll() is None, (tmp_path / "log").read_text()
        yield urls
    finally:
        server.terminate()
        server.wait(30)


def test_desktops_of_the_command_are_played_on_and_reverted(command: list[str]) -> None:
    task = make_task(SHELL_TASK, "os", "made-up.json")
    post = "import httpx, sys; httpx.post(sys.argv[1], timeout=60).raise_for_status()"
    revert = ["sh", "-c", f'{sys.executable} -c "{post}" "$0/revert"']

    async def play(environment: Any) -> tuple[float, float]:
        try:
            await environment.reset(task, 0)
            idle = await environment.evaluate()
            await environment.machine.execute("echo done > ~/Desktop/result; touch ~/left", True)
            solved = await environment.evaluate()
            await environment.reset(task, 0)
            assert await environment.machine.read("/home/user/left") is None
            return idle, solved
        finally:
            await environment.close()

    async def run() -> Any:
        options = {"machine": ",".join(command), "revert": revert}
        environments = await open_environments("osworld", ImageStore(), 2, options)
        return await asyncio.gather(*map(play, environments))

    assert asyncio.run(run()) == [(0.0, 1.0)] * 2


STAND_IN = '''
import time
class DesktopEnv:
    """The documented interface, with no machine behind it."""
    made = []
    def __init__(self, provider_name="vmware", action_space="computer_13", require_a11y_tree=True, headless=False):
        assert action_space == "pyautogui"
        self.calls, self.picture, self.closed = [], open(PICTURE, "rb").read(), False
        DesktopEnv.made.append(self)
    def shown(self):
        return {"screenshot": self.picture, "accessibility_tree": None, "terminal": None, "instruction": self.task["instruction"]}
    def reset(self, task_config=None, seed=None, options=None):
        self.task = task_config
        return self.shown()
    def step(self, action, pause=2):
        self.calls.append((action, pause))
        if "hang" in action:
            time.sleep(1.5)
        if "crash" in action:
            raise KeyError("command")
        if "blind" in action:
            self.picture = None
        return self.shown(), 0, action in ("DONE", "FAIL"), {}
    def evaluate(self):
        return 1 if self.task["evaluator"]["func"] == "infeasible" and self.calls[-1][0] == "FAIL" else 0.25
    def render(self, mode="rgb_array"):
        return self.picture
    def close(self):
        self.closed = True
'''


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package `desktop_env` that can be imported."""
    images = ImageStore()
    (tmp_path / "picture.png").write_bytes(images.get(images.put_pixels(decode_blank())))
    (tmp_path / "desktop_env").mkdir()
    (tmp_path / "desktop_env" / "__init__.py").touch()
    code = STAND_IN.replace("PICTURE", repr(str(tmp_path / "picture.png")))
    (tmp_path / "desktop_env" / "desktop_env.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("desktop_env", "desktop_env.desktop_env"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import desktop_env.desktop_env as package  # type: ignore[import-not-found]

    yield package.DesktopEnv
    for name in ("desktop_env", "desktop_env.desktop_env"):
        sys.modules.pop(name, None)


def decode_blank() -> Any:
    import numpy as np

    return np.zeros((60, 80, 3), np.uint8)


def with_desktop_env(task: Task, work: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        arguments = {"machine": "desktop_env", "desktop_env": {"provider_name": "docker"}, "pause": 0.5, **options}
        (environment,) = await open_environments("osworld", ImageStore(), 1, arguments)
        try:
            await environment.reset(task, 0)
            return await work(environment)
        finally:
            await environment.close()

    return asyncio.run(run())


def test_desktop_env_is_told_the_task_and_pyautogui_lines(stand_in: Any) -> None:
    async def work(environment: Any) -> tuple[float, bool]:
        shown = await environment.step(Action("click", 3.0, 4.0))
        assert (shown.screenshot.width, shown.screenshot.height, shown.done) == (80, 60, False)
        refused = await environment.step(Action("type", text="é"))
        assert "has no key for" in refused.text
        done = await environment.step(Action("done"))
        return await environment.evaluate(), done.done

    assert with_desktop_env(make_task(SHELL_TASK, "os", "x.json"), work) == (0.25, True)
    (made,) = stand_in.made
    assert made.task == SHELL_TASK
    assert made.calls == [("pyautogui.click(3, 4)", 0.5), ("WAIT", 0.0), ("DONE", 0.0)]
    assert made.closed


def test_desktop_env_gets_fail_for_what_is_given_up(stand_in: Any) -> None:
    async def work(environment: Any) -> float:
        async for _thought, action in environment.solve():
            await environment.step(action)
        return float(await environment.evaluate())

    task = make_task({"id": "i", "instruction": "y", "evaluator": {"func": "infeasible"}}, "os", "i.json")
    assert with_desktop_env(task, work) == 1.0


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("hang", EnvironmentTimeout, "step: desktop_env was not done within 0.5 s"),
        ("crash", EnvironmentFailure, "step: desktop_env: KeyError: 'command'"),
        ("blind", EnvironmentFailure, "gives no observation"),
    ],
)
def test_a_failing_desktop_env_is_no_score(stand_in: Any, text: str, kind: type[Exception], said: str) -> None:
    async def work(environment: Any) -> None:
        with pytest.raises(kind, match=said):
            await environment.step(Action("type", text=text))
        with pytest.raises(EnvironmentFailure, match="was not reset, or it failed"):
            await environment.evaluate()

    with_desktop_env(make_task(SHELL_TASK, "os", "x.json"), work, deadline=0.5)
    until = time.monotonic() + 10
    while not all(one.closed for one in stand_in.made) and time.monotonic() < until:
        time.sleep(0.05)
    assert [one.closed for one in stand_in.made] == [True]
