"""Dialogs, new tabs, browser shortcuts, and what a page may not do: downloads and navigation outside its allow-list."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import Browser, browser_fixture

from stepladder.envs.browser.dialogs import DialogState
from stepladder.envs.browser.page import Dialog
from stepladder.images import decode, encode_png
from stepladder.types import Task

BUTTON = "<button id=b style='position:absolute;left:0;top:0;width:100px;height:40px' onclick=\"{}\">Go</button><p id=p>none</p>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browser_fixture(tree=True)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            if self.path == "/file":
                self.send_header("Content-Disposition", "attachment; filename=report.pdf")
            self.send_header("Content-Type", "text/html")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(f"<title>served</title><h1>page {self.path}</h1>".encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}", asked
    running.shutdown()
    running.server_close()


def press(browser: Browser, name: str) -> object:
    """Click a button of the dialog that is open, where the accessibility tree says it is."""
    state = browser.environment._dialog
    assert state is not None
    left, top, width, height = state.boxes(320, 240)[name]
    return browser.act("click", x=left + width / 2, y=top + height / 2)


def test_alert_is_shown_and_answered(browser: Browser) -> None:
    before = browser.open(BUTTON.format("alert('Saved the file.'); p.textContent = 'on'"))
    shown = browser.act("click", x=50, y=20)
    assert shown.text == "alert dialog: Saved the file."
    assert shown.state_key != before.state_key
    assert not np.array_equal(browser.pixels(shown), browser.pixels(before))
    assert [(element.role, element.name) for element in shown.tree or ()] == [("alertdialog", "Saved the file."), ("button", "OK")]
    after = press(browser, "OK")
    assert after.text == ""
    assert browser.evaluate("p.textContent") == "on"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"kind": "key", "keys": ("enter",)}, "true"),
        ({"kind": "key", "keys": ("escape",)}, "false"),
        ("OK", "true"),
        ("Cancel", "false"),
    ],
)
def test_confirm(browser: Browser, answer: object, expected: str) -> None:
    browser.open(BUTTON.format("p.textContent = confirm('Sure?')"))
    assert browser.act("click", x=50, y=20).text == "confirm dialog: Sure?"
    if isinstance(answer, str):
        press(browser, answer)
    else:
        browser.act(**answer)
    assert browser.evaluate("p.textContent") == expected


def test_prompt_takes_typed_text(browser: Browser) -> None:
    browser.open(BUTTON.format("p.textContent = prompt('Name?', 'Ada')"))
    assert browser.act("click", x=50, y=20).text == "prompt dialog: Name? (answer: 'Ada')"
    assert browser.act("type", text="Grace H").text.endswith("(answer: 'Grace H')")
    browser.act("key", keys=("backspace",))
    browser.act("type", text="Höpper\n")
    assert browser.evaluate("p.textContent") == "Grace Höpper"
    browser.act("click", x=50, y=20)
    browser.act("key", keys=("escape",))
    assert browser.evaluate("p.textContent") == ""
    browser.act("click", x=50, y=20)
    browser.act("key", keys=("enter",))
    assert browser.evaluate("p.textContent") == "Ada"


def test_no_button_or_key_stays_down_after_a_drag_that_opens_a_dialog(browser: Browser) -> None:
    browser.open("<div id=d style='height:200px'></div><script>window.log = []; let first = true;"
        "for (const kind of ['mouseup', 'keyup', 'mousemove']) addEventListener(kind, (e) => log.push([e.type, e.buttons || 0]));"
        "d.onmousemove = (e) => { if (e.buttons && first) { first = false; alert('moved'); } }</script>")  # fmt: skip
    assert "moved" in browser.act("drag", x=10, y=10, x2=200, y2=150, keys=("shift",)).text
    browser.act("key", keys=("enter",))
    browser.act("move", x=100, y=100)
    log = browser.evaluate("log")
    assert log[-1] == ["mousemove", 0]
    assert [kind for kind, _ in log if kind != "mousemove"] == ["mouseup", "keyup"]


def test_a_dialog_keeps_everything_else_away(browser: Browser) -> None:
    browser.open(BUTTON.format("alert(1); alert(2)"))
    first = browser.act("click", x=50, y=20)
    blocked = browser.act("scroll", amount=3)
    assert "waits for its alert dialog" in blocked.text
    assert blocked.text.startswith(first.text)
    assert browser.act("key", keys=("enter",)).text == "alert dialog: 2"
    assert browser.act("key", keys=("enter",)).text == ""


def test_dialog_while_the_page_loads(browser: Browser) -> None:
    assert browser.open("<script>alert('Welcome')</script><p>content</p>").text == "alert dialog: Welcome"
    assert browser.act("key", keys=("enter",)).text == ""
    assert browser.evaluate("document.querySelector('p').textContent") == "content"


def test_grading_dismisses_dialogs(browser: Browser) -> None:
    browser.open(BUTTON.format("p.textContent = confirm('?')"), check={"javascript": "p.textContent === 'false'"})
    browser.act("click", x=50, y=20)
    assert browser.run(browser.environment.evaluate()) == 1.0


def test_beforeunload_asks(browser: Browser) -> None:
    browser.open("<input id=i><script>onbeforeunload = (event) => { event.preventDefault(); return ''; }</script>")
    browser.act("click", x=20, y=10)
    browser.act("type", text="x")
    assert browser.act("key", keys=("f5",)).text.startswith("beforeunload dialog")
    browser.act("key", keys=("escape",))
    assert browser.evaluate("i.value") == "x"
    browser.act("key", keys=("f5",))
    browser.act("key", keys=("enter",))
    assert browser.evaluate("i.value") == ""


@pytest.mark.parametrize("kind", ["alert", "confirm", "prompt", "beforeunload"])
@pytest.mark.parametrize("size", [(120, 90), (160, 210), (1280, 720)])
def test_dialogs_fit_on_any_screen(kind: str, size: tuple[int, int]) -> None:
    width, height = size
    state = DialogState.of(Dialog(kind, "A long message with many words and one " + "verylongword" * 20, "suggestion" * 9))
    for name, (left, top, box_width, box_height) in state.boxes(width, height).items():
        assert 0 <= left < left + box_width <= width, name
        assert 0 <= top < top + box_height <= height, name
    for under in (None, encode_png(np.zeros((height, width, 3), np.uint8))):
        assert decode(state.draw(under, width, height)).shape == (height, width, 3)


@pytest.mark.parametrize("opening", ["window.open('', '_blank').document.write('<title>second</title><h1>two</h1>')", "l.click()"])
def test_new_tab_is_followed_and_closing_it_returns(browser: Browser, opening: str) -> None:
    browser.open(BUTTON.format(opening) + "<a id=l target=_blank href='/page#again'>x</a>")
    opened = browser.act("click", x=50, y=20)
    assert "new tab" in opened.text
    if "l.click" not in opening:
        assert browser.evaluate("document.title") == "second"
        assert (opened.screenshot.width, opened.screenshot.height) == (320, 240)
    closed = browser.act("key", keys=("ctrl", "w"))
    assert "closed" in closed.text
    assert browser.evaluate("p.textContent") == "none"
    assert "last tab" in browser.act("key", keys=("ctrl", "w")).text


def test_new_tab_that_may_not_load_stays_empty(browser: Browser) -> None:
    browser.open("<a target=_blank style='display:block;height:50px' href='http://example.org/'>x</a>")
    opened = browser.act("click", x=5, y=20)
    assert "example.org/ was refused" in opened.text
    assert (browser.pixels(opened) == 255).all()
    assert "closed" in browser.act("key", keys=("ctrl", "w")).text


def test_pop_up_that_closes_itself(browser: Browser) -> None:
    browser.open(
        BUTTON.format(
            "w = window.open(''); w.document.write('<button onclick=window.close() style=width:90px;height:50px>X</button>')"
        )
    )
    browser.act("click", x=50, y=20)
    browser.act("click", x=30, y=30)
    assert browser.evaluate("p.textContent") == "none"


def test_tabs_by_keyboard(browser: Browser) -> None:
    browser.open("<title>first</title>")
    assert browser.act("key", keys=("ctrl", "t")).url == "about:blank"
    browser.act("key", keys=("ctrl", "tab"))
    assert browser.evaluate("document.title") == "first"
    browser.act("key", keys=("ctrl", "shift", "tab"))
    assert browser.evaluate("document.title") == ""


def test_history_and_reload(browser: Browser) -> None:
    browser.open("<p id=p style='margin:0'>start</p><script>p.onclick = () => { history.pushState({}, '', '/second'); }</script>")
    browser.act("click", x=5, y=5)
    assert browser.evaluate("location.pathname") == "/second"
    browser.act("key", keys=("alt", "left"))
    assert browser.evaluate("location.pathname") == "/page"
    browser.evaluate("p.textContent = 'changed'")
    browser.act("key", keys=("ctrl", "r"))
    assert browser.evaluate("p.textContent") == "start"
    assert (
        "history" in browser.act("key", keys=("alt", "right"), text="").text or browser.evaluate("location.pathname") == "/second"
    )


def test_nothing_outside_is_reached(browser: Browser, server: tuple[str, list[str]]) -> None:
    address, asked = server
    asked.clear()
    socket = address.replace("http", "ws")
    browser.open(
        BUTTON.format(f"location = '{address}/away'")
        + f"<img src='{address}/image'><iframe src='{address}/frame'></iframe><script>window.failed = 0;"
        f"fetch('{address}/data').catch(() => failed++); const s = new WebSocket('{socket}/socket'); s.onerror = () => failed++;"
        f"navigator.sendBeacon('{address}/beacon');"
        f"new Worker(URL.createObjectURL(new Blob([`fetch('{address}/worker')`])));</script>"
    )
    after = browser.act("click", x=50, y=20)
    assert f"navigation to {address}/away was refused" in after.text
    assert browser.evaluate("p.textContent") == "none"
    browser.act("wait", seconds=0.3)
    assert browser.evaluate("failed") == 2
    assert asked == []


def test_a_host_that_the_task_allows_is_reached(browser: Browser, server: tuple[str, list[str]]) -> None:
    address, asked = server
    asked.clear()
    task = Task("web", "Look.", "page", {"url": f"{address}/start", "network": ["127.0.0.1"]}, {"javascript": "true"})
    shown = browser.run(browser.environment.reset(task, 0))
    assert shown.url == f"{address}/start"
    assert browser.evaluate("document.title") == "served"
    other = address.replace("127.0.0.1", "localhost")
    browser.evaluate(f"location = '{other}/elsewhere'")
    assert "was refused" in browser.act("wait", seconds=0.1).text
    assert "/elsewhere" not in asked


def test_downloads_are_refused_and_told(browser: Browser, server: tuple[str, list[str]]) -> None:
    address, _ = server
    browser.open(BUTTON.format("a.click()") + "<a id=a download='notes.txt' href='data:text/plain,hello'>x</a>")
    assert browser.act("click", x=50, y=20).text == "the download of notes.txt was refused"
    task = Task("web", "Look.", "page", {"url": f"{address}/start"} | {"network": ["127.0.0.1"]}, {"javascript": "true"})
    browser.run(browser.environment.reset(task, 0))
    browser.evaluate("location = '/file'")
    assert browser.act("wait", seconds=0.2).text == "the download of report.pdf was refused"
    assert browser.evaluate("document.title") == "served"


def test_files_of_the_task_and_no_others(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "secret.html").write_text("secret")
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "page.html").write_text("<title>one</title><a id=a href=next.html>n</a><a id=s href=../secret.html>s</a>")
    (folder / "next.html").write_text("<title>two</title><a id=s href=../secret.html>s</a>")
    browser.run(browser.environment.reset(Task("f", "x", "page", {"file": str(folder / "page.html")}, {"javascript": "true"}), 0))
    browser.evaluate("a.click()")
    browser.act("wait", seconds=0.1)
    assert browser.evaluate("document.title") == "two"
    browser.evaluate("s.click()")
    assert "secret.html was refused" in browser.act("wait", seconds=0.1).text
    assert browser.evaluate("document.title") == "two"


def test_episodes_share_nothing(browser: Browser) -> None:
    page = (
        "<p id=p></p><script>p.textContent = localStorage.x + document.cookie; localStorage.x = 1; document.cookie = 'a=1'</script>"
    )
    browser.open(page)
    browser.open(page)
    assert browser.evaluate("p.textContent") == "undefined"
