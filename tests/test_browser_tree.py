"""What is read from a page: the accessibility tree, words and widgets with boxes, the state key; and <select> lists that show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pages import Browser, browser_fixture

from stepladder.envs.browser.tree import MAX_ELEMENTS

FORM = """
<h1 style='margin:0'>Sign up</h1>
<label>Name <input id=name value=Ada></label><br>
<label><input type=checkbox id=box checked> Letters</label>
<input type=password value=secret id=secret>
<button disabled>Send</button>
<div style='height:2000px'></div><button>Far below</button>
<p style='display:none'>invisible</p>
"""

SELECT = """
<select id=s style='position:absolute;left:20px;top:30px;width:120px;height:22px'>
  <option>Apple</option><option>Banana</option><option disabled>Blueberry</option>
  <optgroup label=Rare><option value=c>Cherry</option><option>Cranberry</option></optgroup>
</select>
<script>
  window.seen = [];
  for (const type of ['input', 'change']) s.addEventListener(type, () => seen.push([type, s.value]));
</script>
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browser_fixture(tree=True)


def test_accessibility_tree(browser: Browser) -> None:
    tree = browser.open(FORM).tree
    assert tree is not None
    named = {(element.role, element.name): element for element in tree}
    assert named["textbox", "Name"].value == "Ada"
    assert named["checkbox", "Letters"].states == ("checked",)
    assert "disabled" in named["button", "Send"].states
    assert named["button", "Far below"].box is None
    assert next(element for element in tree if "password" in element.states).role == "textbox"
    assert all("invisible" not in element.name for element in tree)
    left, top, width, height = named["heading", "Sign up"].box or (0, 0, 0, 0)
    assert (left, top, width) == (0, 0, 320)
    assert 20 < height < 50
    for index, element in enumerate(tree):
        assert -1 <= element.parent < index
    browser.evaluate("document.querySelector('#name').focus()")
    focused = [element.name for element in browser.act("scroll", amount=-1).tree or () if "focused" in element.states]
    assert "Name" in focused


def test_boxes_follow_scrolling(browser: Browser) -> None:
    browser.open(FORM)
    tree = browser.act("scroll", x=5, y=150, amount=-100).tree or ()
    boxes = {element.name: element.box for element in tree if element.role == "button"}
    assert boxes["Send"] is None
    assert boxes["Far below"] is not None


def test_tree_of_a_huge_page_is_bounded(browser: Browser) -> None:
    shown = browser.open("<script>for (let i = 0; i < 5000; i++) document.write(`<button>${i}</button>`)</script>")
    assert len(shown.tree or ()) == MAX_ELEMENTS


def test_regions(browser: Browser) -> None:
    browser.open(FORM + "<a href=x style='position:fixed;left:200px;top:200px'>Read more</a>")
    regions = browser.run(browser.environment.regions())
    words = {region.text: region for region in regions if region.kind == "word"}
    assert {"Sign", "up", "Name", "Letters", "Read", "more"} <= set(words)
    assert "Far" not in words
    assert "invisible" not in words
    assert words["Sign"].target is None
    assert words["more"].target_kind == "link"
    assert words["more"].target is not None
    widgets = {region.kind: region for region in regions if region.kind != "word"}
    assert widgets["checkbox"].states == ("checked",)
    assert widgets["textbox"].text == "Ada"
    assert widgets["password"].text == ""
    assert widgets["password"].states == ("password",)
    for region in regions:
        left, top, width, height = region.box
        assert 0 <= left + width / 2 < 320
        assert 0 <= top + height / 2 < 240


def test_regions_leave_out_what_is_covered(browser: Browser) -> None:
    browser.open("<p>under</p><div style='position:fixed;inset:0;background:white'>over</div>")
    assert [region.text for region in browser.run(browser.environment.regions())] == ["over"]


def test_state_key_tells_states_apart_and_not_times(browser: Browser) -> None:
    page = (
        "<input id=i><input type=checkbox id=c><div id=d style='height:900px'></div><script>d.dataset.time = Math.random()</script>"
    )
    first = browser.open(page)
    assert browser.open(page).state_key == first.state_key
    keys = [first.state_key, browser.act("click", x=60, y=10).state_key, browser.act("type", text="a").state_key]
    keys.append(browser.act("scroll", amount=-2).state_key)
    assert len(set(keys)) == 4
    assert browser.act("scroll", amount=2).state_key == keys[2]
    assert browser.act("key", keys=("backspace",)).state_key == keys[1]


def test_a_page_cannot_break_our_scripts(browser: Browser) -> None:
    shown = browser.open(
        "<script>window.stepladder = null; Math.round = Array.prototype.push = Set.prototype.has = null;"
        "Element.prototype.getBoundingClientRect = () => { throw 1; }; window.requestAnimationFrame = null;</script><p>fine</p>"
    )
    assert shown.state_key
    assert [region.text for region in browser.run(browser.environment.regions())] == ["fine"]


def open_list(browser: Browser) -> None:
    browser.open(SELECT)
    browser.act("click", x=60, y=40)


def test_rows_of_an_open_list_are_regions(browser: Browser) -> None:
    open_list(browser)
    rows = [region for region in browser.run(browser.environment.regions()) if region.kind == "option"]
    assert [row.text for row in rows] == ["Apple", "Banana", "Blueberry", "Cherry", "Cranberry"]
    assert [row.text for row in rows if row.states == ("disabled",)] == ["Blueberry"]
    left, top, width, height = rows[3].box
    browser.act("click", x=left + width / 2, y=top + height / 2)
    assert browser.evaluate("s.value") == "c"
    assert all(region.kind != "option" for region in browser.run(browser.environment.regions()))


def test_select_list_is_in_the_screenshot_and_a_click_chooses(browser: Browser) -> None:
    closed = browser.pixels(browser.open(SELECT))
    opened = browser.pixels(browser.act("click", x=60, y=40))
    below = np.s_[55:110, 20:140]
    assert not np.array_equal(opened[below], closed[below])
    after = browser.act("click", x=40, y=80)  # the second row
    assert browser.evaluate("[s.value, seen]") == ["Banana", [["input", "Banana"], ["change", "Banana"]]]
    assert np.array_equal(browser.pixels(after)[below], closed[below])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["down", "enter"], "Banana"),
        (["down", "down", "enter"], "c"),  # the disabled option is passed over
        (["end", "enter"], "Cranberry"),
        (["end", "home", "enter"], "Apple"),
        (["end", "up", "enter"], "c"),
        (["c", "enter"], "c"),
        (["c", "r", "enter"], "Cranberry"),
        (["c", "c", "enter"], "Cranberry"),
        (["end", "escape"], "Apple"),
        (["end", "tab"], "Cranberry"),
    ],
)
def test_select_list_by_keyboard(browser: Browser, keys: list[str], expected: str) -> None:
    open_list(browser)
    for key in keys:
        browser.act("key", keys=(key,))
    assert browser.evaluate("s.value") == expected


def test_a_closed_select_takes_keys_as_usual(browser: Browser) -> None:
    browser.open(SELECT)
    browser.evaluate("s.focus()")
    browser.act("key", keys=("down",))
    assert browser.evaluate("s.value") == "Banana"
    browser.act("type", text="cr")
    assert browser.evaluate("s.value") == "Cranberry"
    browser.act("key", keys=("space",))
    browser.act("key", keys=("home",))
    browser.act("key", keys=("enter",))
    assert browser.evaluate("s.value") == "Apple"


def test_select_list_closes_without_a_choice(browser: Browser) -> None:
    closed = browser.pixels(browser.open(SELECT + "<script>window.clicks = 0; addEventListener('click', () => clicks++)</script>"))
    for close in ({"kind": "click", "x": 300, "y": 200}, {"kind": "click", "x": 60, "y": 40}, {"kind": "key", "keys": ("escape",)}):
        browser.act("click", x=60, y=40)
        after = browser.act(**close)
        below = np.s_[60:110, 20:140]
        assert np.array_equal(browser.pixels(after)[below], closed[below]), close
    assert browser.evaluate("[s.value, seen]") == ["Apple", []]


def test_a_disabled_option_cannot_be_chosen(browser: Browser) -> None:
    open_list(browser)
    browser.act("click", x=40, y=98)
    assert browser.evaluate("s.value") == "Apple"


def test_a_long_list_scrolls_and_stays_on_the_screen(browser: Browser) -> None:
    options = "".join(f"<option>item {number}</option>" for number in range(100))
    browser.open(f"<select id=s style='position:absolute;left:250px;top:180px'>{options}</select>")
    browser.act("click", x=270, y=190)
    browser.act("scroll", x=270, y=100, amount=-30)
    browser.act("click", x=270, y=100)
    chosen = browser.evaluate("s.selectedIndex")
    assert chosen > 20


def test_multiple_and_large_selects_are_left_alone(browser: Browser) -> None:
    browser.open("<select id=s multiple style='height:100px'><option>a</option><option>b</option></select>")
    browser.act("click", x=10, y=28)
    assert browser.evaluate("s.value") == "b"


def test_select_inside_a_transformed_element(browser: Browser) -> None:
    browser.open("<div style='transform:scale(1)'>" + SELECT + "</div><script>s.onmousedown = () => window.pressed = 1</script>")
    browser.act("click", x=60, y=40)
    browser.act("click", x=40, y=80)
    assert browser.evaluate("s.value") == "Banana"
