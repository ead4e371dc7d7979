"""Setup steps of the browser's tabs and of files that are sent; machines that do not answer are left alone for a while."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from stepladder.envs.osworld import browser_tabs, machines
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.coverage import lacks
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.envs.osworld.getters import State, get
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Executed
from stepladder.envs.osworld.remote_environment import RemoteEnvironment
from stepladder.envs.osworld.steps import Setup
from stepladder.envs.osworld.task_file import make_task
from stepladder.images import ImageStore, encode_png
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import Action, Task

chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed: make desktop")


def step(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"type": kind, "parameters": parameters}


def task(*config: dict[str, Any], evaluator: dict[str, Any] | None = None) -> Task:
    content = {"id": "t", "instruction": "y", "config": list(config), "evaluator": evaluator or {"func": "infeasible"}}
    return make_task(content, "os", "f.json")


# --------------------------------------------------------------------------------------------------------------- the browser


@chromium
def test_tabs_are_opened_in_the_place_of_the_first_one_and_closed() -> None:
    pages = [f"file:///home/user/{name}.html?q=1%202#x" for name in ("one", "two", "three")]
    launch = step("launch", command=["google-chrome", "--remote-debugging-port=1337"])
    start = task(launch, step("chrome_open_tabs", urls_to_open=pages))

    async def run() -> None:
        environment = OSWorldEnvironment(ImageStore(), width=1280, height=720)
        try:
            await environment.reset(start, 0)
            assert environment._episode is not None
            machine = environment._episode.machine
            state = State(machine, FileCache(None, "t"))

            async def addresses() -> list[str]:
                return sorted(tab["url"] for tab in await get(state, {"type": "open_tabs_info"}))

            assert await addresses() == sorted(pages)
            await Setup(machine, state.cache).run([step("chrome_close_tabs", urls_to_close=[pages[1], "https://example.org"])])
            await asyncio.sleep(0.5)
            assert await addresses() == sorted([pages[0], pages[2]])
        finally:
            await environment.close()

    asyncio.run(run())


class Told:
    """A machine in memory whose commands all come to the same."""

    size, password = (640, 480), ""

    def __init__(self, ran: Executed) -> None:
        self.ran = ran
        self.files: dict[str, bytes] = {}

    async def execute(self, command: Any, shell: bool, seconds: float = 120.0) -> Executed:
        return self.ran

    async def write(self, path: str, content: bytes) -> None:
        self.files[path] = content


@pytest.mark.parametrize(
    ("ran", "said"),
    [
        (Executed("", "Traceback\nno browser listens at the ports 1337,9222\n", 1), "cannot be changed: no browser listens"),
        (Executed("<html>", "", 0), "as nobody can read: '<html>'"),
        (Executed("[1]", "", 0), "as nobody can read"),
    ],
)
def test_a_browser_that_does_not_answer_is_a_failure(ran: Executed, said: str) -> None:
    with pytest.raises(EnvironmentFailure, match=said):
        asyncio.run(browser_tabs.close_tabs(Told(ran), ["https://example.org"]))  # type: ignore[arg-type]


def test_a_browser_that_does_not_listen_is_said_by_the_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_tabs, "SECONDS", 0.5)

    async def run() -> None:
        environment = OSWorldEnvironment(ImageStore(), width=640, height=480)
        try:
            with pytest.raises(EnvironmentFailure, match="no browser listens at the ports 1337,9222"):
                await environment.reset(task(step("chrome_open_tabs", urls_to_open=["chrome://version"])), 0)
        finally:
            await environment.close()

    asyncio.run(run())


def test_pages_of_others_need_a_network_and_those_of_the_machine_do_not() -> None:
    assert lacks(task(step("chrome_open_tabs", urls_to_open=["chrome://version", "https://example.org"])), None) == ["a network"]
    assert lacks(task(step("chrome_open_tabs", urls_to_open=["www.example.org"])), None) == ["a network"]
    own = ["chrome://version", "file:///home/user/a.html", "http://localhost:8000/x", "http://127.0.0.1/"]
    assert lacks(task(step("chrome_open_tabs", urls_to_open=own), step("chrome_close_tabs", urls_to_close=own)), None) == []


# --------------------------------------------------------------------------------------------------------------------- files


def test_files_that_are_sent_come_from_the_cache_alone(tmp_path: Path) -> None:
    secret, sent = tmp_path / "secret", {"local_path": str(tmp_path / "secret"), "path": "/home/user/got"}
    secret.write_bytes(b"secret")
    machine, cache = Told(Executed("", "", 0)), FileCache(tmp_path / "cache", "t")
    asked = task(step("upload_file", files=[sent]))
    assert lacks(asked, tmp_path / "cache") == [f"file {secret}"]
    with pytest.raises(Lacks, match=f"file {secret}"):
        asyncio.run(Setup(machine, cache).run(asked.setup["config"]))  # type: ignore[arg-type]
    (tmp_path / "cache" / "t").mkdir(parents=True)
    (tmp_path / "cache" / "t" / "secret").write_bytes(b"of the cache")
    assert lacks(asked, tmp_path / "cache") == []
    asyncio.run(Setup(machine, cache).run(asked.setup["config"]))  # type: ignore[arg-type]
    assert machine.files == {"/home/user/got": b"of the cache"}


def test_programs_that_sudo_runs_are_found_behind_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name if name == "ls" else None)
    found = lacks(task(step("execute", command="sudo -u user -S ls; sudo --user=user no-such-program -u x", shell=True)), None)
    assert found == ["program no-such-program"]


def test_the_text_of_a_terminal_needs_one_that_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = task(evaluator={"func": "exact_match", "result": {"type": "vm_terminal_output"}})
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert lacks(asked, None) == []
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert lacks(asked, None) == ["program gnome-terminal"]


@pytest.mark.skipif(shutil.which("gnome-terminal") is None, reason="GNOME's terminal is not installed: make osworld")
def test_the_text_of_gnomes_terminal_is_read() -> None:
    async def run() -> str | None:
        environment = OSWorldEnvironment(ImageStore(), width=1280, height=720)
        try:
            await environment.reset(task(step("launch", command=["gnome-terminal", "--", "sh", "-c", "echo told; sleep 60"])), 0)
            assert environment._episode is not None
            found: str | None = await get(State(environment._episode.machine, FileCache(None, "t")), {"type": "vm_terminal_output"})
            return found
        finally:
            await environment.close()

    assert asyncio.run(run()) == "told"


# ------------------------------------------------------------------------------------------------------ machines that fail

SCREEN = encode_png(np.zeros((100, 100, 3), np.uint8))
PLAIN = task()


class Machines(httpx.AsyncBaseTransport):
    """Machines by their addresses; `dead` are those that nobody reaches, `ill` those that answer 500."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.ill: set[str] = set()
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = f"http://{request.url.host}:{request.url.port}"
        self.asked.append(url)
        if url in self.dead:
            raise httpx.ConnectError("nobody is there", request=request)
        if url in self.ill:
            return httpx.Response(500, json={"message": "it broke"})
        if request.url.path == "/screen_size":
            return httpx.Response(200, json={"width": 100, "height": 100})
        return httpx.Response(200, content=SCREEN)


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two addresses that no other test has a lock on."""
    monkeypatch.setattr(machines, "_failures", {})
    monkeypatch.setattr(machines, "FIRST_REST", 0.6)
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        yield [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (first, second)]


def playing(urls: list[str], there: Machines, work: Callable[[Callable[[], RemoteEnvironment]], Any]) -> Any:
    """`work` with a way to make environments, which are closed in the end."""
    made: list[RemoteEnvironment] = []

    def make() -> RemoteEnvironment:
        made.append(RemoteEnvironment(ImageStore(), machine=",".join(urls), transport=there, quiet=0.0, reset_deadline=5.0))
        return made[-1]

    async def run() -> Any:
        try:
            return await work(make)
        finally:
            for environment in made:
                await environment.close()

    return asyncio.run(run())


@pytest.mark.parametrize("how", ["dead", "ill"])
def test_a_machine_that_failed_is_left_alone_by_whoever_comes_next(urls: list[str], how: str) -> None:
    there = Machines()
    setattr(there, how, {urls[0]})

    async def work(make: Callable[[], RemoteEnvironment]) -> None:
        failures = 0
        for _ in range(6):
            environment = make()  # as a pool replaces one that failed
            try:
                await environment.reset(PLAIN, 0)
            except EnvironmentFailure:
                failures += 1
            await environment.close()
        assert failures == 1

    playing(urls, there, work)


def test_the_same_environment_takes_another_machine_after_a_failure(urls: list[str]) -> None:
    there = Machines()

    async def work(make: Callable[[], RemoteEnvironment]) -> None:
        environment = make()
        await environment.reset(PLAIN, 0)
        first = environment.machine.url
        there.dead = {first}
        with pytest.raises(EnvironmentFailure, match="cannot be reached"):
            await environment.step(Action("done"))
        await environment.reset(PLAIN, 0)
        assert environment.machine.url != first

    playing(urls, there, work)


def test_a_machine_is_left_alone_longer_each_time_and_taken_again_once_it_answers(urls: list[str]) -> None:
    there, rests = Machines(), list[float]()
    there.dead = {urls[0]}

    async def work(make: Callable[[], RemoteEnvironment]) -> None:
        environment = make()
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(EnvironmentFailure, match="cannot be reached"):
                await environment.reset(PLAIN, 0)
            rests.append(time.monotonic() - began)
        there.dead = set()
        await environment.reset(PLAIN, 0)
        assert not machines.rests(urls[0])

    playing(urls[:1], there, work)
    assert rests[0] < 0.5 <= rests[1] < rests[2]
    assert rests[2] >= 1.1


def test_a_machine_that_rests_is_asked_whether_it_is_well(urls: list[str]) -> None:
    there = Machines()

    async def work(make: Callable[[], RemoteEnvironment]) -> None:
        environment = make()
        await environment.check()
        assert there.asked == [], "it has taken no machine"
        await environment.reset(PLAIN, 0)
        await environment.check()
        url = environment.machine.url
        there.ill = {url}
        with pytest.raises(EnvironmentFailure, match="answers 500: it broke"):
            await environment.check()
        assert machines.rests(url)

    playing(urls, there, work)


def test_a_task_that_lacks_something_is_no_fault_of_the_machine(urls: list[str]) -> None:
    async def work(make: Callable[[], RemoteEnvironment]) -> None:
        with pytest.raises(Lacks):
            await make().reset(task(evaluator={"func": "no_such_metric", "result": None}), 0)
        assert not any(map(machines.rests, urls))

    playing(urls, Machines(), work)


def test_who_waits_in_vain_is_told_so(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "FIRST_REST", 50.0)
    machines.failed(urls[0])

    async def work(make: Callable[[], RemoteEnvironment]) -> None:
        environment = make()
        environment.reset_deadline = 0.3
        with pytest.raises(EnvironmentTimeout, match=r"no machine was free and well within 0.3 s"):
            await environment.reset(PLAIN, 0)

    playing(urls[:1], Machines(), work)
