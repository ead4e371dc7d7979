"""What a form task asks for, and how a demonstrator does it from any state of the form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stepladder.drawing import IntBox
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.screen import Screen
from stepladder.envs.forms.widgets import (
    ROWS_PER_NOTCH,
    Button,
    CheckBox,
    Link,
    ListBox,
    Menu,
    RadioGroup,
    Slider,
    Widget,
)
from stepladder.types import Action

Move = tuple[str, Action]


@dataclass(frozen=True, slots=True)
class Want:
    """A widget (by id) and the value it must have: text of a field, option, number of a slider, "on" or "off" of a check box."""

    widget: str
    value: str


@dataclass(frozen=True, slots=True)
class Goal:
    """The end of a task: these values, and these final buttons pressed in this order. The episode is over after as many final
    presses as `presses` has."""

    wants: tuple[Want, ...]
    presses: tuple[str, ...]

    def over(self, screen: Screen) -> bool:
        return len(screen.presses) >= len(self.presses)

    def reached(self, screen: Screen) -> bool:
        return tuple(screen.presses) == self.presses and not list(self.unmet(screen))

    def unmet(self, screen: Screen) -> Iterator[Want]:
        return (want for want in self.wants if value_of(screen.find(want.widget)) != want.value)


def value_of(widget: Widget) -> str:
    """What a widget holds, as `Want.value` says it."""
    if isinstance(widget, TextField):
        return widget.value
    if isinstance(widget, CheckBox):
        return "on" if widget.checked else "off"
    if isinstance(widget, (RadioGroup, ListBox, Menu)):
        return widget.options[widget.selected] if widget.selected >= 0 else ""
    if isinstance(widget, Slider):
        return str(widget.value)
    return ""


def center(box: IntBox) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _click(box: IntBox, kind: str = "click") -> Action:
    x, y = center(box)
    return Action("triple_click", x, y) if kind == "triple_click" else Action("click", x, y)


def say(thought: str, what: str, action: Action) -> Move:
    return f"{thought}\nAction: {what}", action


def next_move(screen: Screen, goal: Goal) -> Move | None:
    """The next step towards the goal from any state; None when there is nothing left to do.

    Wrong values are put right, so that a demonstration may begin after mistakes.
    """
    if goal.over(screen):
        return None
    want = _next_want(screen, goal)
    menu = screen.menu
    if menu is not None and (want is None or want.widget != menu.id):
        return say(
            f'The list of the "{menu.label}" menu is open but not needed.', "Close the list.", Action("key", keys=("escape",))
        )
    widget = screen.find(want.widget) if want is not None else screen.find(goal.presses[len(screen.presses)])
    way = _way_to(screen, widget)
    if way is not None:
        return way
    if want is None:
        return press_button(widget)
    if isinstance(widget, TextField):
        return _fill(screen, widget, want.value)
    return _set(screen, widget, want.value)


def _next_want(screen: Screen, goal: Goal) -> Want | None:
    """The first value that is wrong, those that can be reached without leaving the page before the others."""
    unmet = list(goal.unmet(screen))
    here = {widget.id for widget in screen.front()}
    return next((want for want in unmet if want.widget in here), unmet[0] if unmet else None)


def press_button(widget: Widget, why: str = "") -> Move:
    what = "the close button" if isinstance(widget, Button) and widget.cross else f'the "{widget.label}" {_noun(widget)}'
    return say(why or "Everything is as asked, so it can be confirmed.", f"Click {what}.", _click(widget.box))


def _noun(widget: Widget) -> str:
    return "link" if isinstance(widget, Link) else "button"


def _way_to(screen: Screen, widget: Widget) -> Move | None:
    """One step towards seeing a widget: through dialogs, pages and tabs; None when it is in front already."""
    dialog = screen.dialog
    if any(widget is other for other in screen.front()):
        return None
    if dialog is not None:
        buttons = [w for w in dialog.widgets if isinstance(w, Button) and w.command == "close" and not w.final]
        return press_button(buttons[0], f'The dialog "{dialog.label}" is in the way.')
    owner = next((d for d in screen.dialogs.values() if any(widget is other for other in d.widgets)), None)
    if owner is not None:
        opener = next(w for w in screen.widgets if isinstance(w, Button) and w.command == f"open:{owner.id}")
        return _way_to(screen, opener) or press_button(opener, "Everything is filled in, so it can be sent.")
    if widget.page not in (-1, screen.page):
        command = "next" if widget.page > screen.page else "back"
        button = next(w for w in screen.base() if isinstance(w, Button) and w.command == command)
        return press_button(button, f"What is asked for stands on {'a later' if command == 'next' else 'an earlier'} page.")
    tabs = screen.tabs
    assert tabs is not None
    index = tabs.options.index(widget.tab)
    return say(f'What is asked for is on the "{widget.tab}" tab.', f'Click the "{widget.tab}" tab.', _click(tabs.tab_box(index)))


def _fill(screen: Screen, entry: TextField, value: str) -> Move:
    name = f'the "{entry.label}" field'
    focused = screen.focus == entry.id
    if entry.value and not (focused and entry.selection == (0, len(entry.value))):
        if focused:
            return say("The field holds a wrong text.", f"Select all text in {name}.", Action("key", keys=("ctrl", "a")))
        return say("The field holds a wrong text.", f"Select the text in {name}.", _click(entry.box, "triple_click"))
    if not focused:
        return say(f'"{value}" belongs into this field.', f"Click {name}.", _click(entry.box))
    if not value:
        return say("The field must be empty.", f"Delete the text in {name}.", Action("key", keys=("backspace",)))
    return say(f'"{value}" belongs into this field.', f'Type "{value}" into {name}.', Action("type", text=value))


def _set(screen: Screen, widget: Widget, value: str) -> Move:
    if isinstance(widget, CheckBox):
        verb = "Check" if value == "on" else "Uncheck"
        return say(f'"{widget.label}" is not as asked.', f'{verb} "{widget.label}".', _click(widget.box))
    if isinstance(widget, RadioGroup):
        row = widget.row_box(widget.options.index(value))
        return say(f'"{value}" is asked for.', f'Choose "{value}".', _click(row))
    if isinstance(widget, ListBox):
        return _pick(widget, value)
    if isinstance(widget, Menu):
        if widget.popup is None:
            return say(f'"{value}" must be chosen in the menu.', f'Open the "{widget.label}" menu.', _click(widget.box))
        return _pick(widget.popup, value)
    if isinstance(widget, Slider):
        x, y = widget.position(widget.value)
        to_x, to_y = widget.position(int(value))
        what = f'Drag the "{widget.label}" slider to {value}.'
        return say(f"The slider is at {widget.value} and must be at {value}.", what, Action("drag", x, y, to_x, to_y))
    raise ValueError(f"a {widget.role} has no value that could be set")


def _pick(box: ListBox, value: str) -> Move:
    index = box.options.index(value)
    if index in box.visible_rows:
        return say(f'"{value}" is in the list.', f'Click "{value}".', _click(box.row_box(index)))
    rows = index - box.rows + 1 - box.top if index > box.top else index - box.top
    notches = -math.copysign(math.ceil(abs(rows) / ROWS_PER_NOTCH), rows)
    x, y = center(box.box)
    where = "down" if rows > 0 else "up"
    return say(f'"{value}" cannot be seen in the list yet.', f"Scroll {where} in the list.", Action("scroll", x, y, amount=notches))
