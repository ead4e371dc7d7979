"""The state of one form: pages, tabs, dialogs, focus and the pointer, and how mouse and keyboard reach the widgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stepladder.drawing import IntBox
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.widgets import (
    Button,
    CheckBox,
    Dialog,
    ListBox,
    Menu,
    RadioGroup,
    Reaction,
    Tabs,
    Text,
    Widget,
)

POPUP_ROW = 4


def inside(box: IntBox, x: float, y: float) -> bool:
    return box[0] <= x < box[0] + box[2] and box[1] <= y < box[1] + box[3]


def is_filled(widget: Widget) -> bool:
    """Whether a required widget has been answered."""
    if isinstance(widget, TextField):
        return bool(widget.value)
    if isinstance(widget, CheckBox):
        return widget.checked
    if isinstance(widget, (RadioGroup, ListBox, Menu)):
        return widget.selected >= 0
    return True


@dataclass(slots=True)
class Screen:
    """A form and everything that can happen to it. Every method says what went wrong, or "" when nothing did.

    `keyboard_focus` says that the focus came by the keyboard; only then a ring is drawn, as browsers do.
    """

    width: int
    height: int
    title: str
    widgets: list[Widget]
    pages: int = 1
    dialogs: dict[str, Dialog] = field(default_factory=dict)
    open_dialogs: list[str] = field(default_factory=list)
    page: int = 0
    focus: str = ""
    keyboard_focus: bool = False
    presses: list[str] = field(default_factory=list)
    clipboard: str = ""
    pointer: tuple[float, float] = (0.0, 0.0)
    held: Widget | None = None

    def __post_init__(self) -> None:
        self.refresh()

    @property
    def dialog(self) -> Dialog | None:
        """The dialog in front, which takes all events."""
        return self.dialogs[self.open_dialogs[-1]] if self.open_dialogs else None

    @property
    def tabs(self) -> Tabs | None:
        return next((widget for widget in self.widgets if isinstance(widget, Tabs)), None)

    @property
    def menu(self) -> Menu | None:
        """The menu whose list is open."""
        return next((w for w in self.front() if isinstance(w, Menu) and w.popup is not None), None)

    def base(self) -> list[Widget]:
        """The widgets of the page and the tab that are shown, dialogs left out."""
        tabs = self.tabs
        tab = tabs.options[tabs.selected] if tabs else ""
        return [w for w in self.widgets if w.page in (-1, self.page) and w.tab in ("", tab)]

    def front(self) -> list[Widget]:
        """The widgets that react: those of the dialog in front, otherwise those of the page."""
        return self.dialog.widgets if self.dialog else self.base()

    def everything(self) -> Iterator[Widget]:
        yield from self.widgets
        for dialog in self.dialogs.values():
            yield from dialog.widgets

    def find(self, name: str) -> Widget:
        """Raises KeyError when there is no widget of this id."""
        for widget in self.everything():
            if widget.id == name:
                return widget
        raise KeyError(f"no widget {name!r} on {self.title!r}")

    def at(self, x: float, y: float) -> Widget | None:
        """The widget that a press at this place reaches; for a label, the widget that it belongs to."""
        menu = self.menu
        if menu is not None and menu.popup is not None and inside(menu.popup.box, x, y):
            return menu.popup
        for widget in reversed(self.front()):
            if inside(widget.box, x, y):
                if isinstance(widget, Text) and widget.label_for:
                    return self.find(widget.label_for)
                return widget
        return None

    def move(self, x: float, y: float) -> str:
        self.pointer = (x, y)
        if self.held is not None:
            self._react(self.held, self.held.pull(x, y))
        return ""

    def press(self, x: float, y: float, count: int = 1, extend: bool = False) -> str:
        """The left button goes down."""
        self.release()
        self.pointer = (x, y)
        widget, menu = self.at(x, y), self.menu
        if menu is not None and widget is not menu.popup:
            menu.popup = None
            if widget is menu:
                return ""
        if widget is None or isinstance(widget, Text):
            self.focus = ""
            return ""
        if not widget.enabled:
            return f"The {widget.role} {widget.label!r} is disabled."
        popup = menu is not None and widget is menu.popup
        if widget.focusable and not popup:
            self.focus, self.keyboard_focus = widget.id, False
        if inside(widget.box, x, y) or isinstance(widget, (Button, CheckBox)):
            self.held = widget
            self._react(widget, widget.press(x, y, count, extend))
        elif isinstance(widget, TextField):
            widget.select_all()
        return ""

    def release(self) -> str:
        """The left button goes up where the pointer is."""
        if self.held is None:
            return ""
        widget, self.held = self.held, None
        menu = self.menu
        chosen = widget.armed if isinstance(widget, ListBox) and menu is not None and widget is menu.popup else -1
        self._react(widget, widget.release(self.at(*self.pointer) is widget))
        if menu is not None and chosen >= 0:
            menu.selected, menu.popup = chosen, None
            self.refresh()
        return ""

    def wheel(self, x: float, y: float, notches: float) -> str:
        self.pointer = (x, y)
        widget = self.at(x, y)
        if widget is None or self._react(widget, widget.wheel(notches)) is Reaction.NOTHING:
            return "Nothing to scroll here, or it is at its end."
        return ""

    def type(self, text: str) -> str:
        """Text from the keyboard; tab moves the focus and a line break is Enter."""
        for index, part in enumerate(text.replace("\r\n", "\n").replace("\t", "\n\t").split("\n")):
            if index:
                self.key("tab" if part.startswith("\t") else "enter", frozenset())
                part = part.removeprefix("\t")
            widget = self.focused
            if part and isinstance(widget, TextField):
                self._react(widget, widget.insert(part))
            elif part:
                return "No text field has the focus: nothing was typed."
        return ""

    @property
    def focused(self) -> Widget | None:
        return next((w for w in self.front() if w.id == self.focus and w.enabled), None)

    def key(self, name: str, modifiers: frozenset[str]) -> str:
        """One key press. Single characters without ctrl, alt or meta are typed."""
        menu = self.menu
        if menu is not None and menu.popup is not None:
            return self._popup_key(menu, menu.popup, name)
        if name == "tab":
            return self._move_focus(-1 if "shift" in modifiers else 1)
        if name == "escape":
            return self._escape()
        widget = self.focused
        if isinstance(widget, TextField):
            if name in ("c", "x", "v") and "ctrl" in modifiers:
                return self._clipboard_key(widget, name)
            if not modifiers & {"ctrl", "alt", "meta"} and (name == "space" or len(name) == 1):
                letter = " " if name == "space" else name.upper() if "shift" in modifiers else name
                self._react(widget, widget.insert(letter))
                return ""
        if widget is None:
            return self._submit() if name == "enter" and self.dialog is not None else "Nothing has the focus: the key did nothing."
        reaction = self._react(widget, widget.key(name, modifiers))
        return "The key did nothing here." if reaction is Reaction.NOTHING else ""

    def refresh(self) -> None:
        """Enable and disable buttons by what they require."""
        for widget in self.everything():
            if isinstance(widget, Button) and widget.requires:
                widget.enabled = all(is_filled(self.find(name)) for name in widget.requires)

    def _react(self, widget: Widget, reaction: Reaction) -> Reaction:
        self.refresh()
        if reaction is Reaction.PRESSED and isinstance(widget, Button):
            self._run(widget)
        elif reaction is Reaction.PRESSED and isinstance(widget, Menu):
            self._open_menu(widget)
        elif reaction is Reaction.ENTER:
            self._submit()
        return reaction

    def _run(self, button: Button) -> None:
        if button.final:
            self.presses.append(button.id)
        command, _, argument = button.command.partition(":")
        if command in ("next", "back"):
            self.page = min(max(0, self.page + (1 if command == "next" else -1)), self.pages - 1)
            self.focus = ""
        elif command == "open":
            self.open_dialogs.append(argument)
            self.focus = ""
        elif command == "close" and self.open_dialogs:
            self.open_dialogs.pop()
            self.focus = ""

    def _open_menu(self, menu: Menu) -> None:
        """Below the menu when there is room, otherwise above, otherwise where most rows fit."""
        left, top, width, height = menu.box
        row = height - POPUP_ROW
        below, above = self.height - 1 - (top + height), top - 1
        wanted = len(menu.options) * row + 2
        down = wanted <= below or below >= above
        rows = max(1, min(len(menu.options), ((below if down else above) - 2) // row))
        size = rows * row + 2
        box = (left, top + height if down else top - size, width, size)
        menu.popup = ListBox(
            f"{menu.id}-list",
            menu.label,
            box,
            font=menu.font,
            options=menu.options,
            selected=menu.selected,
            rows=rows,
            row_height=row,
        )
        menu.popup.reveal(max(0, menu.selected))

    def _popup_key(self, menu: Menu, popup: ListBox, name: str) -> str:
        if name in ("enter", "space", "tab"):
            menu.selected, menu.popup = popup.selected, None
        elif name == "escape":
            menu.popup = None
        else:
            popup.key(name, frozenset())
        self.refresh()
        return ""

    def _move_focus(self, direction: int) -> str:
        order = [w for w in self.front() if w.focusable and w.enabled]
        if not order:
            return "Nothing here can take the focus."
        here = next((i for i, w in enumerate(order) if w.id == self.focus), -1 if direction > 0 else 0)
        widget = order[(here + direction) % len(order)]
        self.focus, self.keyboard_focus = widget.id, True
        if isinstance(widget, TextField):
            widget.select_all()
        return ""

    def _escape(self) -> str:
        close = next((w for w in self.front() if isinstance(w, Button) and w.cross), None) if self.dialog else None
        if close is None:
            return "There is nothing to escape from."
        self._run(close)
        return ""

    def _submit(self) -> str:
        """Enter in a form: as if its default button had been pressed."""
        button = next((w for w in self.front() if isinstance(w, Button) and w.default), None)
        if button is None or not button.enabled:
            return "Enter did nothing: the form has no button to press by default."
        self._run(button)
        return ""

    def _clipboard_key(self, widget: TextField, name: str) -> str:
        start, end = widget.selection
        if name == "v":
            self._react(widget, widget.insert(self.clipboard))
            return "" if self.clipboard else "The clipboard is empty."
        if start == end or widget.password:
            return "Nothing is selected that could be copied."
        self.clipboard = widget.value[start:end]
        if name == "x":
            self._react(widget, widget.insert(""))
        return ""

    def state(self) -> tuple[object, ...]:
        """Everything that decides how the form goes on, the place of the pointer left out."""
        contents = tuple((w.id, w.look()) for w in self.everything())
        held = self.held.id if self.held is not None else ""
        popup = self.menu.popup.look() if self.menu is not None and self.menu.popup is not None else ()
        return (
            self.page,
            tuple(self.open_dialogs),
            self.focus,
            self.keyboard_focus,
            tuple(self.presses),
            held,
            self.clipboard,
            contents,
            popup,
        )
