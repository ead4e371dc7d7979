"""The widgets of the forms environment under mouse and keyboard."""

from __future__ import annotations

from typing import Any

from stepladder.drawing import Font
from stepladder.envs.forms.draw import regions
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.layout import THEMES
from stepladder.envs.forms.screen import Screen
from stepladder.envs.forms.widgets import (
    Button,
    CheckBox,
    Dialog,
    Link,
    ListBox,
    Menu,
    RadioGroup,
    Slider,
    Tabs,
    Text,
    Widget,
)

FONT = Font("DejaVuSans", 12)


def a_screen(*widgets: Widget, pages: int = 1) -> Screen:
    return Screen(160, 210, "test", list(widgets), pages=pages)


def click(screen: Screen, x: float, y: float, count: int = 1) -> str:
    texts = [text for n in range(1, count + 1) for text in (screen.press(x, y, n), screen.release())]
    return next((text for text in texts if text), "")


def field(**options: Any) -> TextField:
    return TextField("field", "Name", (20, 20, 100, 22), font=FONT, **options)


def test_button_disabled_until_filled() -> None:
    entry = field()
    button = Button("ok", "OK", (20, 60, 50, 22), final=True, requires=("field",), default=True)
    screen = a_screen(entry, button)
    assert "disabled" in click(screen, 30, 70)
    assert screen.presses == []
    click(screen, 30, 30)
    screen.type("Ann")
    assert click(screen, 30, 70) == ""
    assert screen.presses == ["ok"]


def test_button_needs_press_and_release_on_it() -> None:
    screen = a_screen(Button("ok", "OK", (20, 60, 50, 22), final=True))
    screen.press(30, 70)
    screen.move(120, 150)
    screen.release()
    assert screen.presses == []
    screen.press(30, 70)
    screen.release()
    assert screen.presses == ["ok"]


def test_keyboard_presses_buttons_and_links() -> None:
    screen = a_screen(Button("ok", "OK", (20, 60, 50, 22), final=True), Link("more", "More", (20, 90, 40, 15), final=True))
    assert screen.key("enter", frozenset()) != ""
    screen.key("tab", frozenset())
    screen.key("space", frozenset())
    screen.key("tab", frozenset())
    screen.key("enter", frozenset())
    screen.key("tab", frozenset({"shift"}))
    screen.key("enter", frozenset())
    assert screen.presses == ["ok", "more", "ok"]


def test_field_editing() -> None:
    entry = field()
    screen = a_screen(entry, Button("ok", "OK", (20, 60, 50, 22), final=True, default=True))
    click(screen, 30, 30)
    screen.type("hello world")
    screen.key("backspace", frozenset())
    assert entry.value == "hello worl"
    screen.key("backspace", frozenset({"ctrl"}))
    assert entry.value == "hello "
    screen.key("home", frozenset())
    screen.key("delete", frozenset())
    assert entry.value == "ello "
    screen.key("H", frozenset())
    assert entry.value == "Hello "
    screen.key("a", frozenset({"ctrl"}))
    screen.type("new")
    assert entry.value == "new"
    screen.key("left", frozenset({"shift"}))
    screen.key("x", frozenset({"ctrl"}))
    assert entry.value == "ne"
    screen.key("v", frozenset({"ctrl"}))
    screen.key("v", frozenset({"ctrl"}))
    assert entry.value == "neww"
    screen.type("\n")
    assert screen.presses == ["ok"]


def test_field_clicks_place_the_caret_and_select() -> None:
    entry = field(value="one two three")
    screen = a_screen(entry)
    x = entry.box[0] + 4 + entry.offset(5)
    click(screen, x, 30)
    assert (entry.caret, entry.anchor) == (5, 5)
    click(screen, x, 30, count=2)
    assert entry.value[slice(*entry.selection)] == "two"
    click(screen, x, 30, count=3)
    assert entry.value[slice(*entry.selection)] == "one two three"
    screen.press(entry.box[0] + 4, 30)
    screen.move(entry.box[0] + 4 + entry.offset(3), 30)
    screen.release()
    assert entry.value[slice(*entry.selection)] == "one"


def test_long_text_scrolls_with_the_caret() -> None:
    entry = field()
    screen = a_screen(entry)
    click(screen, 30, 30)
    screen.type("a long text that is wider than the field")
    assert entry.scrolled > 0
    screen.key("home", frozenset())
    assert entry.scrolled == 0


def test_tab_and_text_with_tabs_move_the_focus() -> None:
    first, second = field(), TextField("other", "Other", (20, 60, 100, 22), font=FONT)
    screen = a_screen(first, second)
    click(screen, 30, 30)
    screen.type("Ann\tpass")
    assert (first.value, second.value) == ("Ann", "pass")


def test_password_is_not_shown() -> None:
    entry = field(password=True)
    screen = a_screen(entry)
    click(screen, 30, 30)
    screen.type("secret")
    assert entry.shown == "••••••"
    screen.key("a", frozenset({"ctrl"}))
    assert screen.key("c", frozenset({"ctrl"})) != ""
    assert screen.clipboard == ""
    assert all("secret" not in region.text for region in regions(screen, THEMES[0]))


def test_label_focuses_its_field() -> None:
    entry = field()
    screen = a_screen(Text("label", "Name", (20, 2, 40, 14), label_for="field"), entry)
    click(screen, 25, 8)
    assert screen.focus == "field"


def test_check_box() -> None:
    box = CheckBox("box", "News", (20, 20, 60, 17))
    screen = a_screen(box)
    click(screen, 60, 28)
    assert box.checked
    screen.key("space", frozenset())
    assert not box.checked
    screen.press(25, 25)
    screen.move(150, 150)
    screen.release()
    assert not box.checked


def test_radio_group() -> None:
    group = RadioGroup("radio", "Size", (20, 20, 80, 54), options=("S", "M", "L"))
    screen = a_screen(group)
    click(screen, 26, 20 + 18 + 9)
    assert group.options[group.selected] == "M"
    screen.key("down", frozenset())
    assert group.options[group.selected] == "L"
    screen.key("down", frozenset())
    assert group.options[group.selected] == "S"


def test_menu_opens_scrolls_and_closes() -> None:
    options = tuple(f"Option{n}" for n in range(30))
    menu = Menu("menu", "Pick", (20, 60, 90, 20), options=options)
    screen = a_screen(menu)
    click(screen, 30, 70)
    popup = menu.popup
    assert popup is not None
    assert popup.last_top > 0
    assert popup.box[1] + popup.box[3] <= 210
    screen.wheel(40, popup.box[1] + 5, -2)
    assert popup.top > 0
    row = popup.row_box(popup.top + 1)
    click(screen, row[0] + 5, row[1] + 5)
    assert menu.popup is None
    assert menu.selected > 1
    click(screen, 30, 70)
    screen.key("escape", frozenset())
    assert menu.popup is None
    click(screen, 30, 70)
    click(screen, 150, 5)
    assert menu.popup is None
    screen.focus = "menu"
    screen.key("enter", frozenset())
    screen.key("home", frozenset())
    screen.key("enter", frozenset())
    assert menu.selected == 0


def test_menu_closed_while_the_button_is_down() -> None:
    menu = Menu("menu", "Pick", (20, 60, 90, 20), options=("a", "b", "c"))
    screen = a_screen(menu)
    click(screen, 30, 70)
    assert menu.popup is not None
    row = menu.popup.row_box(1)
    screen.press(row[0] + 3, row[1] + 3)
    screen.key("escape", frozenset())
    screen.move(row[0] + 4, row[1] + 3)
    screen.release()
    assert menu.popup is None
    assert menu.selected == 0


def test_list_scrolls_by_wheel_bar_and_keys() -> None:
    box = ListBox("list", "Items", (20, 20, 100, 66), options=tuple("abcdefghijkl"), rows=4, row_height=16)
    screen = a_screen(box)
    assert screen.wheel(50, 40, -1) == ""
    assert box.top == 2
    assert screen.wheel(50, 40, 5) == ""
    assert box.top == 0
    assert screen.wheel(50, 40, 1) != ""
    left, top, width, height = box.thumb_box()
    screen.press(left + width / 2, top + height / 2)
    screen.move(left + width / 2, 200)
    screen.release()
    assert box.top == box.last_top
    click(screen, left + width / 2, box.bar_box()[1] + 2)
    assert box.top == box.last_top - 4
    row = box.row_box(box.top)
    click(screen, row[0] + 5, row[1] + 5)
    assert box.selected == box.top
    screen.key("end", frozenset())
    assert box.selected == 11
    assert 11 in box.visible_rows


def test_slider_by_drag_click_and_keys() -> None:
    slider = Slider("slider", "Volume", (20, 20, 120, 16), minimum=0, maximum=10, value=2)
    screen = a_screen(slider)
    screen.press(*slider.position(2))
    screen.move(*slider.position(9))
    screen.release()
    assert slider.value == 9
    click(screen, *slider.position(4))
    assert slider.value == 4
    screen.key("left", frozenset())
    assert slider.value == 3
    screen.key("end", frozenset())
    assert slider.value == 10
    assert screen.key("right", frozenset()) != ""


def test_tabs_show_their_own_widgets() -> None:
    tabs = Tabs("tabs", "tabs", (8, 8, 90, 20), options=("One", "Two"), ends=(45, 90))
    screen = a_screen(
        tabs, Button("a", "A", (20, 60, 40, 20), tab="One"), Button("b", "B", (20, 60, 40, 20), tab="Two", final=True)
    )
    assert [widget.id for widget in screen.base()] == ["tabs", "a"]
    click(screen, 60, 15)
    assert [widget.id for widget in screen.base()] == ["tabs", "b"]
    screen.key("right", frozenset())
    assert tabs.selected == 0


def test_dialog_blocks_the_rest() -> None:
    close = Button("close", "Close", (120, 60, 14, 14), cross=True, command="close")
    dialog = Dialog("dialog", "Hello", [Text("text", "Something", (30, 80, 60, 14)), close], (20, 55, 120, 80))
    below = Button("below", "Below", (20, 150, 50, 20), final=True)
    screen = a_screen(below)
    screen.dialogs["dialog"] = dialog
    screen.open_dialogs.append("dialog")
    click(screen, 30, 160)
    assert screen.presses == []
    screen.key("tab", frozenset())
    assert screen.focus == "close"
    found = regions(screen, THEMES[0])
    assert all(region.target is None for region in found if region.text == "Below")
    screen.key("escape", frozenset())
    assert screen.dialog is None
    click(screen, 30, 160)
    assert screen.presses == ["below"]
