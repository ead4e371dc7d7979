"""Crashes, hangs and endless pages end as a failure in time; the next reset works; no process and no file is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Browser, browser_fixture

from stepladder.envs.browser.find import INSTALL, VARIABLE, ChromiumNotFound, find_chromium
from stepladder.envs.browser.host import BrowserContext, BrowserHost
from stepladder.envs.browser.page import Page
from stepladder.envs.browser.pages import PageEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import Action, Task

CLICK = "<button id=b style='position:absolute;left:0;top:0;width:100px;height:40px' onclick=\"{}\">Go</button>"


def page(html: str, **setup: object) -> Task:
    return Task("page", "Do it.", "page", {"html": html, **setup}, {"javascript": "true"})


def group_processes(group: int) -> list[int]:
    """Processes of a group that have not ended (a zombie has)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def command_line(process: int) -> bytes:
    """Empty for a process that has ended meanwhile."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def renderers(group: int) -> set[int]:
    return {one for one in group_processes(group) if b"--type=renderer" in command_line(one)}


def wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 5
    while group_processes(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert group_processes(group) == []


def directories() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob(f"stepladder-chromium-{os.getpid()}-*")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browser_fixture(deadline=2.0)


def host(browser: Browser) -> BrowserHost:
    return browser.environment._host


def works_again(browser: Browser) -> None:
    short, browser.environment.deadline = browser.environment.deadline, 30.0  # a busy machine may start a browser slowly
    browser.open("<p id=p>fine</p>")
    assert browser.evaluate("p.textContent") == "fine"
    browser.environment.deadline = short


def click_three_times(browser: Browser) -> None:
    for _ in range(3):
        browser.act("click", x=50, y=20)


@pytest.mark.parametrize(
    "loop",
    [
        "while (true) {}",
        "setInterval(() => { while (true) {} }, 1)",
        "const f = () => Promise.resolve().then(f); f()",
        "for (;;) document.body.append('x')",
    ],
)
def test_a_page_that_hangs_is_a_timeout_in_time(browser: Browser, loop: str) -> None:
    works_again(browser)
    browser.open(CLICK.format(loop))
    group, start = host(browser).pid, time.monotonic()
    assert group is not None
    with pytest.raises(EnvironmentTimeout, match="2 s"):
        click_three_times(browser)
    assert time.monotonic() - start < 20
    with pytest.raises(EnvironmentFailure, match="failed since"):
        browser.act("click", x=50, y=20)
    wait_until_gone(group)  # its only environment failed: the next reset starts a fresh browser
    works_again(browser)
    assert host(browser).pid != group


def test_a_page_that_hangs_while_it_loads(browser: Browser) -> None:
    with pytest.raises(EnvironmentTimeout):
        browser.open("<script>while (true) {}</script>")
    works_again(browser)


@pytest.mark.parametrize("js", ["location.reload()", "setTimeout(() => location.reload(), 0)", "onload = () => location.reload()"])
def test_a_page_that_reloads_for_ever_ends_in_time(browser: Browser, js: str) -> None:
    start = time.monotonic()
    try:
        browser.open(f"<p>x</p><script>{js}</script>")
        browser.act("click", x=5, y=5)
    except EnvironmentTimeout:
        pass  # either is right: an observation between two loads, or none in time
    assert time.monotonic() - start < 20
    works_again(browser)


def test_endless_dialogs_do_not_hold_up_grading(browser: Browser) -> None:
    browser.open(CLICK.format("while (true) alert(1)"))
    browser.act("click", x=50, y=20)
    with pytest.raises(EnvironmentTimeout):
        browser.run(browser.environment.evaluate())
    works_again(browser)


def test_a_huge_page_is_shown_or_times_out(browser: Browser) -> None:
    try:
        browser.open("<div id=d></div><script>d.innerHTML = '<p>word <b>bold</b></p>'.repeat(100000)</script>")
        assert browser.act("scroll", amount=-3).state_key
    except EnvironmentTimeout:
        pass  # two busy cores may not lay it out in 2 s
    works_again(browser)


def test_a_crashed_page_is_a_failure(browser: Browser) -> None:
    browser.open("<p>x</p>")
    page_object = browser.environment._current()
    page_object.connection.post("Page.crash", session=page_object.session)
    with pytest.raises(EnvironmentFailure, match="crashed"):
        browser.act("wait", seconds=1)
    works_again(browser)


def test_a_renderer_killed_from_outside_is_a_failure(browser: Browser) -> None:
    browser.open("<p>x</p>")
    group = host(browser).pid
    assert group is not None
    for process in renderers(group):
        os.kill(process, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure):
        browser.act("wait", seconds=1)
    works_again(browser)


def test_a_killed_browser_is_a_failure(browser: Browser) -> None:
    browser.open("<p>x</p>")
    before = directories()
    group = host(browser).pid
    assert group is not None
    for process in group_processes(group):  # a wrapper script may be the first of the group
        if (command := command_line(process)) and b"--type=" not in command:
            os.kill(process, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure):
        browser.act("click", x=5, y=5)
    works_again(browser)
    wait_until_gone(group)
    assert len(directories()) <= len(before)


@pytest.mark.parametrize("neighbours", [0, 1])
def test_a_browser_that_hangs_before_a_page_is_opened_is_replaced(neighbours: int) -> None:
    async def play() -> None:
        environment, *others = await PageEnvironment.create_many(ImageStore(), 1 + neighbours, per_browser=2, width=160, height=120)
        host = environment._host
        await host.start()
        group = host.pid
        assert group is not None
        environment.deadline = host.launch_timeout = 1.0
        os.killpg(group, signal.SIGSTOP)
        with pytest.raises(EnvironmentTimeout, match="reset"):
            await environment.reset(page("<p>x</p>"), 0)
        wait_until_gone(group)
        environment.deadline = host.launch_timeout = 60.0
        await environment.reset(page("<p id=p>fine</p>"), 0)
        assert await environment.evaluate_script("p.textContent") == "fine"
        assert (host.launches, len(host.contexts)) == (2, 1)
        for each in (environment, *others):
            await each.close()

    asyncio.run(play())


def test_an_opening_that_fails_leaves_no_context_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: BrowserContext, url: str = "") -> Page:
        raise EnvironmentFailure("on purpose")

    async def play() -> None:
        environment, other = await PageEnvironment.create_many(ImageStore(), 2, per_browser=2, width=160, height=120, deadline=60.0)
        await other.reset(page("<p id=p>well</p>"), 0)
        host = environment._host
        with monkeypatch.context() as patch:
            patch.setattr(BrowserContext, "new_page", fail)
            with pytest.raises(EnvironmentFailure, match="on purpose"):
                await environment.reset(page("<p>x</p>"), 0)
        assert len(host.contexts) == 1
        connection = await host.start()
        assert len((await connection.call("Target.getBrowserContexts"))["browserContextIds"]) == 1
        assert await other.evaluate_script("p.textContent") == "well"
        await environment.close()
        await other.close()

    asyncio.run(play())


@pytest.mark.parametrize("end", ["page", "context", "browser"])
def test_nobody_waits_for_a_page_that_has_gone(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    async def play() -> None:
        host = BrowserHost()
        context = await host.new_context(160, 120)
        arrive = BrowserContext.arrive

        def leave(self: BrowserContext, session: str, info: dict[str, Any]) -> None:
            if end == "page":
                arrive(self, session, info)
                self.depart(session)  # before `new_page` hears that it was made

        monkeypatch.setattr(BrowserContext, "arrive", leave)
        opening = asyncio.ensure_future(context.new_page())
        await asyncio.sleep(0.5)
        if end == "context":
            await context.close()
        elif end == "browser":
            host.kill()
        with pytest.raises(EnvironmentFailure, match=r"closed|ended"):
            await asyncio.wait_for(opening, 20)
        await host.close()

    asyncio.run(play())


def test_a_context_that_nobody_waits_for_any_more_is_closed() -> None:
    async def play() -> None:
        host = BrowserHost()
        connection = await host.start()
        opening = asyncio.ensure_future(host.new_context(160, 120))
        await asyncio.sleep(0)  # the call is sent
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await connection.call("Browser.getVersion")  # answered after what was asked before
        assert (await connection.call("Target.getBrowserContexts"))["browserContextIds"] == []
        await host.close()

    asyncio.run(play())


def test_one_hanging_page_leaves_its_neighbours_alone() -> None:
    async def play() -> None:
        sick, well = await PageEnvironment.create_many(ImageStore(), 2, per_browser=2, width=160, height=120, deadline=1.5)
        await sick.reset(page(CLICK.format("while (true) {}")), 0)
        await well.reset(page("<p id=p>well</p>"), 0)
        group = well._host.pid
        assert group is not None
        before = renderers(group)
        with pytest.raises(EnvironmentTimeout):
            await sick.step(Action("click", x=20, y=20))
        assert (await well.step(Action("click", x=5, y=5))).screenshot is not None
        assert await well.evaluate_script("p.textContent") == "well"
        deadline = time.monotonic() + 10
        while before <= renderers(group) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert not before <= renderers(group), "the process of the hanging page goes on"
        await sick.reset(page("<p id=p>cured</p>"), 0)
        assert await sick.evaluate_script("p.textContent") == "cured"
        assert well._host.pid == group
        await sick.close()
        await well.step(Action("click", x=5, y=5))
        await well.close()
        wait_until_gone(group)

    asyncio.run(play())


def test_pages_of_one_browser_play_at_the_same_time() -> None:
    async def play(environment: PageEnvironment, number: int) -> None:
        await environment.reset(
            page(f"<button id=b onclick='b.textContent += {number}' style='width:99px;height:50px'></button>"), 0
        )
        for _ in range(30):
            await environment.step(Action("click", x=20, y=20))
        assert await environment.evaluate_script("b.textContent") == str(number) * 30

    async def play_all() -> None:
        environments = await PageEnvironment.create_many(ImageStore(), 4, per_browser=4, width=160, height=120)
        assert len({id(environment._host) for environment in environments}) == 1
        await asyncio.gather(*(play(environment, number) for number, environment in enumerate(environments)))
        assert environments[0]._host.launches == 1
        for environment in environments:
            await environment.close()
        assert not environments[0]._host.alive

    asyncio.run(play_all())


def test_a_dialog_in_one_page_does_not_hold_up_another() -> None:
    async def play() -> None:
        first, second = await PageEnvironment.create_many(ImageStore(), 2, per_browser=2, width=160, height=120, deadline=5.0)
        await first.reset(page(CLICK.format("alert(1)")), 0)
        await second.reset(page("<p>x</p>"), 0)
        assert "alert" in (await first.step(Action("click", x=20, y=20))).text
        for _ in range(5):
            await second.step(Action("click", x=20, y=20))
        assert (await first.step(Action("key", keys=("enter",)))).text == ""
        await first.close()
        await second.close()

    asyncio.run(play())


def test_close_leaves_nothing_and_may_come_twice() -> None:
    before = directories()
    fresh = Browser()
    fresh.open("<p>x</p>")
    group = host(fresh).pid
    assert group is not None
    assert len(group_processes(group)) > 1
    assert len(directories()) == len(before) + 1
    fresh.run(fresh.environment.close())
    fresh.close()
    wait_until_gone(group)
    assert directories() == before


def test_a_given_host_outlives_its_environments() -> None:
    async def play() -> None:
        shared = BrowserHost()
        first = PageEnvironment(ImageStore(), host=shared, width=160, height=120)
        await first.reset(page("<p>x</p>"), 0)
        await first.close()
        assert shared.alive
        await shared.close()
        assert not shared.alive

    asyncio.run(play())


def test_many_episodes_leave_no_context_behind(browser: Browser) -> None:
    for _ in range(5):
        works_again(browser)
    assert len(host(browser).contexts) == 1
    group = host(browser).pid
    assert group is not None
    assert len(renderers(group)) <= 4


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(3)", "os.kill(os.getpid(), 9)"])
def test_a_python_that_ends_takes_its_browser_along(ending: str) -> None:
    script = f"""
import asyncio, os
from stepladder.envs.browser.host import BrowserHost
async def main():
    host = BrowserHost()
    await host.start()
    print(host.pid, host.directory, flush=True)
    {ending}
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    group, directory = done.stdout.split()
    wait_until_gone(int(group))
    if "kill" in ending:  # nobody could remove its files then; the next browser does
        asyncio.run(_start_and_close())
    assert not Path(directory).exists()


async def _start_and_close() -> None:
    started = BrowserHost()
    await started.start()
    await started.close()


def test_a_browser_that_does_not_start_says_why(tmp_path: Path) -> None:
    script = tmp_path / "chromium-broken"
    script.write_text("#!/bin/sh\necho 'error while loading shared libraries: libnss3.so' >&2\nexit 127\n")
    script.chmod(0o755)
    with pytest.raises(EnvironmentFailure, match=r"libnss3\.so"):
        asyncio.run(BrowserHost(str(script)).start())
    assert directories() == set() or len(directories()) == 1


def test_find_chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "my-chromium"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert find_chromium(binary) == binary
    monkeypatch.setenv(VARIABLE, str(binary))
    assert find_chromium() == binary
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(ChromiumNotFound, match=VARIABLE):
        find_chromium()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    cache = tmp_path / "cache"
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(cache))
    with pytest.raises(ChromiumNotFound, match="apt-get install chromium-headless-shell") as raised:
        find_chromium()
    assert INSTALL in str(raised.value)
    for revision in ("chromium_headless_shell-999", "chromium_headless_shell-1187"):
        downloaded = cache / revision / "chrome-linux" / "headless_shell"
        downloaded.parent.mkdir(parents=True)
        downloaded.write_text("#!/bin/sh\n")
        downloaded.chmod(0o755)
    assert find_chromium() == cache / "chromium_headless_shell-1187" / "chrome-linux" / "headless_shell"
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    assert find_chromium() == tmp_path / "chromium"
