"""Every Action kind does to a real page what a person's hand would do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from pages import Browser, browser_fixture

from stepladder.envs.browser.host import BrowserHost
from stepladder.envs.browser.pages import PageEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import ACTION_KINDS, Action, Task

LOG = """<script>
  window.log = [];
  const note = ({type, button, detail, ctrlKey, shiftKey, clientX, clientY}) =>
    log.push([type, button, detail, ctrlKey, shiftKey, clientX, clientY]);
</script>"""
PAD = (
    "<div id=pad style='width:320px;height:240px;background:white'></div>"
    + LOG
    + """<script>
  for (const type of ['mousedown', 'mouseup', 'click', 'dblclick', 'auxclick', 'contextmenu', 'mousemove', 'wheel'])
    pad.addEventListener(type, note);
</script>"""
)


#: Frames on request, ordinary frames in the same browser, and a full Chromium where there is one.
WAYS = {"begin-frame": {}, "ordinary": {"begin_frames": False}}
if shutil.which("chromium"):
    WAYS["chromium"] = {"chromium": "chromium"}


@pytest.fixture(scope="module", params=WAYS)
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    yield from browser_fixture(host=BrowserHost(**WAYS[request.param]))


def events(browser: Browser, *types: str) -> list[list]:
    return [event for event in browser.evaluate("log") if event[0] in types]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("click", [["click", 0, 1]]),
        ("double_click", [["click", 0, 1], ["click", 0, 2], ["dblclick", 0, 2]]),
        ("triple_click", [["click", 0, 1], ["click", 0, 2], ["dblclick", 0, 2], ["click", 0, 3]]),
        ("right_click", [["contextmenu", 2, 0], ["auxclick", 2, 1]]),
        ("middle_click", [["auxclick", 1, 1]]),
    ],
)
def test_clicks_reach_the_page_with_button_count_and_place(browser: Browser, kind: str, expected: list) -> None:
    browser.open(PAD)
    browser.act(kind, x=30, y=40)
    found = events(browser, "click", "dblclick", "auxclick", "contextmenu")
    assert sorted(event[:3] for event in found) == sorted(expected)
    assert all(event[5:] == [30, 40] for event in found)


def test_keys_of_a_click_are_held_and_let_go(browser: Browser) -> None:
    browser.open(PAD)
    browser.act("click", x=30, y=40, keys=("ctrl", "shift"))
    browser.act("click", x=30, y=40)
    held, free = events(browser, "click")
    assert held[3:5] == [True, True]
    assert free[3:5] == [False, False]


def test_click_without_a_place_is_where_the_pointer_is(browser: Browser) -> None:
    browser.open(PAD)
    browser.act("move", x=70, y=80)
    browser.act("click")
    assert events(browser, "mousemove")[-1][5:] == [70, 80]
    assert events(browser, "click")[-1][5:] == [70, 80]


def test_move_shows_hover_in_the_screenshot(browser: Browser) -> None:
    first = browser.open(
        "<style>#a{margin:20px;width:100px;height:100px;background:red} #a:hover{background:blue}</style><div id=a></div>"
    )
    assert tuple(browser.pixels(first)[50, 50]) == (255, 0, 0)
    assert tuple(browser.pixels(browser.act("move", x=50, y=50))[50, 50]) == (0, 0, 255)


def test_button_held_over_several_actions(browser: Browser) -> None:
    browser.open(PAD)
    browser.act("mouse_down", x=10, y=10)
    browser.act("move", x=60, y=60)
    browser.act("mouse_up", x=90, y=90)
    kinds = [event[0] for event in events(browser, "mousedown", "mousemove", "mouseup")]
    assert kinds[kinds.index("mousedown") :][0] == "mousedown"
    assert kinds[-1] == "mouseup"
    assert events(browser, "mouseup")[0][5:] == [90, 90]


def test_drag_selects_text(browser: Browser) -> None:
    browser.open("<p style='margin:0;font:20px monospace'>hello world</p>")
    browser.act("drag", x=0, y=12, x2=60, y2=12)
    assert browser.evaluate("getSelection().toString()") == "hello"


def test_drag_moves_along_the_way(browser: Browser) -> None:
    browser.open("<input type=range id=r min=0 max=100 value=0 style='position:absolute;left:0;top:0;width:200px;margin:0'>")
    browser.act("drag", x=8, y=8, x2=192, y2=8)
    assert browser.evaluate("r.value") == "100"


def test_html_drag_and_drop(browser: Browser) -> None:
    browser.open(
        "<div id=a draggable=true style='width:60px;height:60px;background:red'></div>"
        "<div id=b style='position:absolute;left:200px;top:100px;width:80px;height:80px;background:silver'></div>"
        "<script>window.seen = [];"
        "a.ondragstart = (event) => { event.dataTransfer.setData('text/plain', 'cargo'); seen.push('start'); };"
        "b.ondragover = (event) => event.preventDefault();"
        "b.ondrop = (event) => { event.preventDefault(); seen.push(event.dataTransfer.getData('text/plain')); b.append(a); };"
        "a.ondragend = () => seen.push('end');</script>"
    )
    browser.act("drag", x=30, y=30, x2=240, y2=140)
    assert browser.evaluate("seen") == ["start", "cargo", "end"]
    assert browser.evaluate("b.contains(a)") is True


def test_scroll_is_in_notches_up_and_sideways(browser: Browser) -> None:
    browser.open("<div style='width:3000px;height:3000px'></div>")
    browser.act("scroll", x=100, y=100, amount=-4)
    assert browser.evaluate("scrollY") == 4 * 53
    browser.act("scroll", amount=1)
    assert browser.evaluate("scrollY") == 3 * 53
    browser.act("scroll", amount=2, name="horizontal")
    assert browser.evaluate("[scrollX, scrollY]") == [2 * 53, 3 * 53]


def test_scroll_is_in_the_screenshot(browser: Browser) -> None:
    browser.open("<div style='height:1000px;background:linear-gradient(red 200px, blue 200px)'></div>")
    assert tuple(browser.pixels(browser.act("scroll", x=50, y=50, amount=-20))[100, 100]) == (0, 0, 255)


def test_type_fires_key_events_and_inserts_any_unicode(browser: Browser) -> None:
    browser.open("<input id=i style='width:300px'><script>window.keys = ''; i.onkeydown = (event) => keys += event.key;</script>")
    browser.act("click", x=50, y=10)
    browser.act("type", text="Az 9!~ äß — 中文 😀 é")
    assert browser.evaluate("i.value") == "Az 9!~ äß — 中文 😀 é"
    assert browser.evaluate("keys").startswith("Az 9!~")


def test_type_newline_is_enter_and_tab_moves_on(browser: Browser) -> None:
    browser.open("<form onsubmit='done = a.value + b.value; return false'><input id=a><input id=b><input type=submit></form>")
    browser.act("click", x=50, y=10)
    browser.act("type", text="one\ttwo\n")
    assert browser.evaluate("done") == "onetwo"


def test_long_text_keeps_its_lines(browser: Browser) -> None:
    text = "\n".join(f"line {number} äöü" for number in range(200))
    browser.open("<textarea id=t style='width:300px;height:200px'></textarea>")
    browser.act("click", x=50, y=50)
    browser.act("type", text=text)
    assert browser.evaluate("t.value") == text


def test_key_combinations_edit_text(browser: Browser) -> None:
    browser.open("<textarea id=t>first second</textarea>")
    browser.act("click", x=50, y=10)
    browser.act("key", keys=("ctrl", "a"))
    browser.act("key", keys=("ctrl", "x"))
    assert browser.evaluate("t.value") == ""
    browser.act("key", keys=("ctrl", "v"))
    browser.act("key", keys=("ctrl", "v"))
    assert browser.evaluate("t.value") == "first secondfirst second"
    browser.act("key", keys=("ctrl", "z"))
    assert browser.evaluate("t.value") == "first second"
    browser.act("key", keys=("home",))
    browser.act("key", keys=("shift", "end"))
    browser.act("key", keys=("backspace",))
    assert browser.evaluate("t.value") == ""
    browser.act("key", keys=("shift", "a"))
    browser.act("key", keys=("a",))
    assert browser.evaluate("t.value") == "Aa"


COPY = """<textarea id=t autofocus>{}</textarea>
<button style='position:absolute;left:0;top:100px;width:99px;height:40px'
  onclick='t.select(); document.execCommand("copy")'>Copy</button>"""


def test_the_clipboard_belongs_to_the_episode(browser: Browser) -> None:
    browser.open(COPY.format("secret"))
    browser.act("key", keys=("ctrl", "a"))
    browser.act("key", keys=("ctrl", "c"))
    browser.open(COPY.format(""))
    browser.act("key", keys=("ctrl", "v"))
    assert browser.evaluate("t.value") == ""


def test_the_clipboard_of_neighbours(browser: Browser) -> None:
    other = PageEnvironment(ImageStore(), host=browser.environment._host, width=320, height=240)
    html = f"<!doctype html>{COPY.format('theirs')}"
    browser.run(other.reset(Task("page", "Do it.", "page", {"html": html}, {}), 0))
    browser.open(COPY.format("mine"))
    browser.act("click", x=20, y=110)  # the page copies by script
    for keys in (("ctrl", "a"), ("ctrl", "x")):
        browser.run(other.step(Action("key", keys=keys)))
    browser.act("click", x=20, y=10)
    browser.act("key", keys=("end",))
    browser.act("key_down", keys=("ctrl",))
    browser.act("key", keys=("v",))
    browser.act("key_up", keys=("ctrl",))
    assert browser.evaluate("t.value") == "minemine"
    browser.run(other.step(Action("key", keys=("shift", "insert"))))
    assert browser.run(other.evaluate_script("t.value")) == "theirs"
    browser.run(other.close())


def test_what_was_copied_is_not_read_again_after_a_neighbour_copied(browser: Browser) -> None:
    other = PageEnvironment(ImageStore(), host=browser.environment._host, width=320, height=240, deadline=60.0)
    html = f"<!doctype html>{COPY.format('theirs')}"
    browser.run(other.reset(Task("page", "Do it.", "page", {"html": html}, {}), 0))
    browser.run(other.step(Action("key", keys=("ctrl", "a"))))
    browser.open(COPY.format("mine"))
    browser.act("key", keys=("ctrl", "a"))
    browser.run(browser.environment._act(Action("key", keys=("ctrl", "c"))))
    browser.run(other.step(Action("key", keys=("ctrl", "c"))))
    browser.run(browser.environment._observe())
    browser.act("key", keys=("end",))
    browser.act("key", keys=("ctrl", "v"))
    assert browser.evaluate("t.value") == "minemine"
    browser.run(other.close())


def test_keys_held_over_several_actions(browser: Browser) -> None:
    browser.open(PAD)
    browser.act("key_down", keys=("shift",))
    browser.act("click", x=5, y=5)
    browser.act("key_up", keys=("shift",))
    browser.act("click", x=5, y=5)
    assert [event[4] for event in events(browser, "click")] == [True, False]


def test_wait_lets_timers_run(browser: Browser) -> None:
    browser.open("<p id=p>before</p><script>setTimeout(() => { p.textContent = 'after'; }, 200)</script>")
    browser.act("wait", seconds=0.4)
    assert browser.evaluate("p.textContent") == "after"


def test_done_and_fail_change_nothing_and_keep_the_answer(browser: Browser) -> None:
    first = browser.open("<p>x</p>", check={"javascript": "answer === '42'"})
    after = browser.act("done", text="42")
    assert after.state_key == first.state_key
    assert browser.run(browser.environment.evaluate()) == 1.0
    browser.act("fail", text="impossible")
    assert browser.run(browser.environment.evaluate()) == 0.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "click", "x": 320, "y": 10}, "not on the screen"),
        ({"kind": "click", "x": -1, "y": 10}, "not on the screen"),
        ({"kind": "click", "x": float("nan"), "y": 1}, "not on the screen"),
        ({"kind": "click", "x": float("inf"), "y": 1}, "not on the screen"),
        ({"kind": "click", "x": 5}, "both coordinates"),
        ({"kind": "drag", "x": 5, "y": 5}, "where it ends"),
        ({"kind": "scroll", "amount": float("nan")}, "cannot scroll"),
        ({"kind": "key"}, "at least one key"),
        ({"kind": "key", "keys": ("ctlr", "a")}, "did you mean 'ctrl'"),
        ({"kind": "call", "name": "search"}, "no function 'search'"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_so(browser: Browser, fields: dict, said: str) -> None:
    first = browser.open("<input autofocus><p>text</p>")
    after = browser.run(browser.environment.step(Action(**fields)))
    assert said in after.text
    assert after.state_key == first.state_key
    assert np.array_equal(browser.pixels(after), browser.pixels(first))
    assert browser.act("move", x=5, y=5).text == ""


def test_every_kind_is_accepted(browser: Browser) -> None:
    browser.open("<p>text</p>")
    for kind in ACTION_KINDS:
        browser.run(browser.environment.step(Action(kind, seconds=0.01, text="a", keys=("a",), x=3, y=3, x2=9, y2=9)))


def test_step_before_reset_is_a_failure() -> None:
    fresh = Browser()
    with pytest.raises(EnvironmentFailure, match="not reset"):
        fresh.act("click", x=1, y=1)
    fresh.close()
