"""Nothing that Chromium would open in a window of its own opens: it would be on no screenshot and hold up every frame."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pages import Browser, browser_fixture

FIELD = "<input type={} autofocus style='position:absolute;left:20px;top:30px;width:200px;height:30px'>"
SELECT = "<select id=s autofocus style='position:absolute;left:20px;top:30px;width:120px'><option>A<option>B</select>"
BUTTON = "<button style='position:absolute;left:0;top:100px;width:90px;height:50px' onclick='{}'>x</button>"
KEYS = [
    ("space",),
    ("enter",),
    ("f4",),
    ("alt", "down"),
    ("alt", "up"),
    ("ctrl", "space"),
    ("ctrl", "enter"),
    ("shift", "space"),
    ("ctrl", "alt", "down"),
    ("super", "space"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browser_fixture()


@pytest.mark.parametrize("kind", ["date", "time", "month", "week", "datetime-local", "color", "file"])
def test_pickers_do_not_open(browser: Browser, kind: str) -> None:
    browser.open(f"<form onsubmit='return false'>{FIELD.format(kind)}</form>")
    for x in (30, 120, 210):
        browser.act("click", x=x, y=45)
    for keys in (*KEYS, ("tab",), *KEYS):
        browser.act("key", keys=keys)
    assert browser.act("move", x=5, y=5).screenshot is not None


@pytest.mark.parametrize("keys", KEYS)
def test_every_key_that_opens_a_select_opens_the_list_in_the_page(browser: Browser, keys: tuple[str, ...]) -> None:
    browser.open(SELECT)
    browser.act("key", keys=keys)
    assert [region.text for region in browser.run(browser.environment.regions()) if region.kind == "option"] == ["A", "B"]
    browser.act("key", keys=("down",))
    browser.act("key", keys=("enter",))
    assert browser.evaluate("s.value") == "B"


def test_dates_and_times_are_typed(browser: Browser) -> None:
    browser.open(FIELD.format("date"))
    browser.act("click", x=40, y=45)
    browser.act("type", text="03142026")
    assert browser.evaluate("document.querySelector('input').value") == "2026-03-14"
    browser.open(FIELD.format("time"))
    browser.act("click", x=40, y=45)
    browser.act("type", text="0930PM")
    assert browser.evaluate("document.querySelector('input').value") == "21:30"


def test_a_script_that_asks_for_a_select_gets_the_list(browser: Browser) -> None:
    browser.open(SELECT + BUTTON.format("s.showPicker()"))
    browser.act("click", x=20, y=120)
    browser.act("key", keys=("end",))
    browser.act("key", keys=("enter",))
    assert browser.evaluate("s.value") == "B"


@pytest.mark.parametrize(
    "js",
    [
        "document.querySelector(`input`).showPicker()",
        "document.body.requestPointerLock().catch(() => 0)",
        "document.body.requestFullscreen()",
        "print()",
        "Notification.requestPermission()",
        "navigator.geolocation.getCurrentPosition(() => 0)",
    ],
)
def test_what_a_script_asks_for_holds_nothing_up(browser: Browser, js: str) -> None:
    browser.open(FIELD.format("date") + BUTTON.format(js))
    browser.act("click", x=20, y=120)
    browser.act("click", x=200, y=200)
    assert browser.act("key", keys=("escape",)).screenshot is not None


def test_context_menus_and_suggestions_hold_nothing_up(browser: Browser) -> None:
    browser.open("<input list=l autofocus><datalist id=l><option>Alpha<option>Beta</datalist>")
    browser.act("type", text="A")
    browser.act("key", keys=("down",))
    browser.act("right_click", x=20, y=10)
    browser.act("key", keys=("menu",))
    assert browser.act("click", x=5, y=100).screenshot is not None
