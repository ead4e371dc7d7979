"""The accessibility tree of a form."""

from __future__ import annotations

from stepladder.envs.forms.draw import states_of
from stepladder.envs.forms.goals import value_of
from stepladder.envs.forms.screen import Screen
from stepladder.envs.forms.widgets import ListBox, Menu, RadioGroup, Tabs, Text, Widget
from stepladder.types import Box, Element

_ITEMS = {
    RadioGroup: ("radio", "checked"),
    ListBox: ("option", "selected"),
    Tabs: ("tab", "selected"),
    Menu: ("option", "selected"),
}


def elements(screen: Screen) -> tuple[Element, ...]:
    """All that is shown, in document order, dialogs last."""
    found = [Element("document", screen.title, box=(0, 0, screen.width, screen.height))]
    for widget in screen.base():
        _add(found, widget, screen, 0)
    for name in screen.open_dialogs:
        dialog = screen.dialogs[name]
        found.append(Element("dialog", dialog.label, box=dialog.box, parent=0))
        parent = len(found) - 1
        for widget in dialog.widgets:
            _add(found, widget, screen, parent)
    return tuple(found)


def _add(found: list[Element], widget: Widget, screen: Screen, parent: int) -> None:
    value = "" if isinstance(widget, (RadioGroup, ListBox, Tabs, Text)) else value_of(widget)
    states = states_of(widget, widget.id == screen.focus)
    if "password" in states:
        value = "•" * len(value)
    if widget.role == "checkbox":
        value = ""
    found.append(Element(widget.role, widget.label, value, widget.box, states, parent))
    if isinstance(widget, (RadioGroup, ListBox, Tabs, Menu)):
        role, word = _ITEMS[type(widget)]
        here = len(found) - 1
        for index, option in enumerate(widget.options):
            chosen = (word,) if index == widget.selected else ()
            found.append(Element(role, option, box=_item_box(widget, index), states=chosen, parent=here))


def _item_box(widget: Widget, index: int) -> Box | None:
    """None for what is scrolled away or folded up."""
    if isinstance(widget, Menu):
        return _item_box(widget.popup, index) if widget.popup is not None else None
    if isinstance(widget, ListBox):
        return widget.row_box(index) if index in widget.visible_rows else None
    if isinstance(widget, Tabs):
        return widget.tab_box(index)
    assert isinstance(widget, RadioGroup)
    return widget.row_box(index)
