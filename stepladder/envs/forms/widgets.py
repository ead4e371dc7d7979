"""The widgets of the forms environment: their state and how they answer the mouse and the keyboard. Drawing is in `draw`.

A widget never looks at its surroundings. It answers every event with a `Reaction`, and the screen carries out what that means.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import ClassVar

from stepladder.drawing import DEFAULT_FONT, Font, IntBox, text_width

ROWS_PER_NOTCH = 2


class Reaction(enum.Enum):
    """What a widget did with an event: nothing, changed itself, was activated (a button), or passed Enter on to the form."""

    NOTHING = enum.auto()
    CHANGED = enum.auto()
    PRESSED = enum.auto()
    ENTER = enum.auto()


@dataclass(slots=True)
class Widget:
    """What all widgets have. `page` and `tab` say where it is seen (-1 and "": always), `box` is the area that reacts."""

    id: str
    label: str = ""
    box: IntBox = (0, 0, 0, 0)
    enabled: bool = True
    page: int = -1
    tab: str = ""
    font: Font = DEFAULT_FONT

    role: ClassVar[str] = "text"
    focusable: ClassVar[bool] = False

    def look(self) -> tuple[object, ...]:
        """Everything about the state that can be seen."""
        return ()

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        """The button of the mouse goes down here, for the `count`-th time in a row; `extend` is the shift key."""
        return Reaction.NOTHING

    def pull(self, x: float, y: float) -> Reaction:
        """The pointer moves with the button held down since `press`."""
        return Reaction.NOTHING

    def release(self, inside: bool) -> Reaction:
        """The button goes up; `inside` says whether the pointer is still on the widget."""
        return Reaction.NOTHING

    def wheel(self, notches: float) -> Reaction:
        """Positive scrolls up."""
        return Reaction.NOTHING

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        """A named key such as "enter", "left" or "a"."""
        return Reaction.NOTHING


@dataclass(slots=True)
class Text(Widget):
    """Words on the screen. With `label_for`, a click goes to that widget, as with an HTML label."""

    label_for: str = ""
    heading: bool = False
    muted: bool = False


@dataclass(slots=True)
class Button(Widget):
    """A push button. `command` is what the screen does: "" nothing, "next", "back", "close", "open:<dialog id>".

    A `final` press counts towards the end of the task. The button is disabled until every widget named in `requires` is filled.
    """

    command: str = ""
    final: bool = False
    default: bool = False
    requires: tuple[str, ...] = ()
    cross: bool = False
    pressed_down: bool = False

    role: ClassVar[str] = "button"
    focusable: ClassVar[bool] = True

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.pressed_down)

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        self.pressed_down = True
        return Reaction.CHANGED

    def release(self, inside: bool) -> Reaction:
        was_down, self.pressed_down = self.pressed_down, False
        return Reaction.PRESSED if inside and was_down else Reaction.CHANGED

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        return Reaction.PRESSED if name in ("enter", "space") else Reaction.NOTHING


@dataclass(slots=True)
class Link(Button):
    """Clickable text, underlined and blue unless `plain`; behaves like a button."""

    plain: bool = False

    role: ClassVar[str] = "link"

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        return Reaction.PRESSED if name == "enter" else Reaction.NOTHING


@dataclass(slots=True)
class CheckBox(Widget):
    checked: bool = False

    role: ClassVar[str] = "checkbox"
    focusable: ClassVar[bool] = True

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.checked)

    def release(self, inside: bool) -> Reaction:
        if inside:
            self.checked = not self.checked
        return Reaction.CHANGED

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        if name == "space":
            self.checked = not self.checked
            return Reaction.CHANGED
        return Reaction.ENTER if name == "enter" else Reaction.NOTHING


@dataclass(slots=True)
class RadioGroup(Widget):
    """Round buttons of which one is chosen. They stand below each other, each `row_height` high; -1 is none."""

    options: tuple[str, ...] = ()
    selected: int = -1
    row_height: int = 18
    armed: int = -1

    role: ClassVar[str] = "radiogroup"
    focusable: ClassVar[bool] = True

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.selected)

    def row_box(self, index: int) -> IntBox:
        left, top, width, _ = self.box
        return left, top + index * self.row_height, width, self.row_height

    def _row_at(self, y: float) -> int:
        row = int((y - self.box[1]) // self.row_height)
        return row if 0 <= row < len(self.options) else -1

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        self.armed = self._row_at(y)
        return Reaction.CHANGED

    def pull(self, x: float, y: float) -> Reaction:
        if self._row_at(y) != self.armed:
            self.armed = -1
        return Reaction.CHANGED

    def release(self, inside: bool) -> Reaction:
        if inside and self.armed >= 0:
            self.selected = self.armed
        self.armed = -1
        return Reaction.CHANGED

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        if name == "enter":
            return Reaction.ENTER
        moves = {"up": -1, "left": -1, "down": 1, "right": 1}
        if name in moves:
            self.selected = (max(self.selected, 0 if moves[name] < 0 else -1) + moves[name]) % len(self.options)
            return Reaction.CHANGED
        if name == "space" and self.selected < 0:
            self.selected = 0
            return Reaction.CHANGED
        return Reaction.NOTHING


@dataclass(slots=True)
class ListBox(Widget):
    """Rows of which one can be selected; `rows` are seen at once, beginning with row `top`. A scroll bar stands at the right
    where there are more."""

    options: tuple[str, ...] = ()
    selected: int = -1
    rows: int = 4
    top: int = 0
    row_height: int = 16
    thumb_grip: float | None = None
    armed: int = -1

    role: ClassVar[str] = "listbox"
    focusable: ClassVar[bool] = True
    bar_width: ClassVar[int] = 10

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.selected, self.top)

    @property
    def last_top(self) -> int:
        return max(0, len(self.options) - self.rows)

    @property
    def visible_rows(self) -> range:
        return range(self.top, min(len(self.options), self.top + self.rows))

    def row_box(self, index: int) -> IntBox:
        """The place of row `index`, which must be one of `visible_rows`."""
        left, top, width, _ = self.box
        bar = self.bar_width if self.last_top else 0
        return left + 1, top + 1 + (index - self.top) * self.row_height, width - 2 - bar, self.row_height

    def bar_box(self) -> IntBox:
        left, top, width, height = self.box
        return left + width - 1 - self.bar_width, top + 1, self.bar_width, height - 2

    def thumb_box(self) -> IntBox:
        left, top, width, height = self.bar_box()
        size = max(10, round(height * self.rows / len(self.options)))
        return left, top + round((height - size) * self.top / max(1, self.last_top)), width, size

    def scroll_to(self, top: int) -> Reaction:
        before, self.top = self.top, min(max(0, top), self.last_top)
        return Reaction.CHANGED if self.top != before else Reaction.NOTHING

    def _row_at(self, y: float) -> int:
        row = self.top + int((y - self.box[1] - 1) // self.row_height)
        return row if row in self.visible_rows else -1

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        if self.last_top and x >= self.bar_box()[0]:
            _, top, _, size = self.thumb_box()
            if top <= y < top + size:
                self.thumb_grip = y - top
            else:
                self.scroll_to(self.top + (self.rows if y >= top + size else -self.rows))
            return Reaction.CHANGED
        self.armed = self._row_at(y)
        if self.armed >= 0:
            self.selected = self.armed
        return Reaction.CHANGED

    def pull(self, x: float, y: float) -> Reaction:
        if self.thumb_grip is None:
            return Reaction.NOTHING
        _, top, _, height = self.bar_box()
        room = max(1, height - self.thumb_box()[3])
        return self.scroll_to(round((y - self.thumb_grip - top) / room * self.last_top))

    def release(self, inside: bool) -> Reaction:
        self.thumb_grip, self.armed = None, -1
        return Reaction.CHANGED

    def wheel(self, notches: float) -> Reaction:
        rows = min(max(notches * ROWS_PER_NOTCH, -len(self.options)), len(self.options))
        return self.scroll_to(self.top - (math.floor(rows) if rows < 0 else math.ceil(rows)))

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        if name == "enter":
            return Reaction.ENTER
        last = len(self.options) - 1
        steps = {"up": -1, "down": 1, "pageup": -self.rows, "pagedown": self.rows, "home": -last, "end": last}
        if name not in steps:
            return Reaction.NOTHING
        self.selected = min(max(0, self.selected + steps[name]), last)
        self.reveal(self.selected)
        return Reaction.CHANGED

    def reveal(self, index: int) -> None:
        self.scroll_to(min(max(self.top, index - self.rows + 1), index))


@dataclass(slots=True)
class Menu(Widget):
    """A drop-down menu; `popup` is the open list. Its box is decided by the screen, which knows the room."""

    options: tuple[str, ...] = ()
    selected: int = 0
    popup: ListBox | None = None

    role: ClassVar[str] = "combobox"
    focusable: ClassVar[bool] = True

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.selected, self.popup is not None)

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        if name in ("space", "enter"):
            return Reaction.PRESSED
        moves = {"up": -1, "left": -1, "down": 1, "right": 1}
        if name in moves:
            self.selected = min(max(0, self.selected + moves[name]), len(self.options) - 1)
            return Reaction.CHANGED
        return Reaction.NOTHING

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        return Reaction.PRESSED


@dataclass(slots=True)
class Slider(Widget):
    """A horizontal track with a thumb; whole numbers from `minimum` to `maximum`. The number stands at the right."""

    minimum: int = 0
    maximum: int = 10
    value: int = 0
    dragging: bool = False

    role: ClassVar[str] = "slider"
    focusable: ClassVar[bool] = True
    thumb: ClassVar[int] = 10

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.value)

    @property
    def track(self) -> tuple[int, int]:
        """Left end and length of the way of the thumb's centre."""
        left, _, width, _ = self.box
        number = max(text_width(self.font, str(self.minimum)), text_width(self.font, str(self.maximum)))
        return left + self.thumb // 2, max(1, width - self.thumb - number - 6)

    def position(self, value: int) -> tuple[float, float]:
        """Where the centre of the thumb is for `value`."""
        start, length = self.track
        return start + length * (value - self.minimum) / (self.maximum - self.minimum), self.box[1] + self.box[3] / 2

    def _set(self, value: float) -> Reaction:
        before, self.value = self.value, min(max(self.minimum, round(value)), self.maximum)
        return Reaction.CHANGED if before != self.value else Reaction.NOTHING

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        self.dragging = True
        return self.pull(x, y)

    def pull(self, x: float, y: float) -> Reaction:
        start, length = self.track
        return self._set(self.minimum + (x - start) / length * (self.maximum - self.minimum)) if self.dragging else Reaction.NOTHING

    def release(self, inside: bool) -> Reaction:
        self.dragging = False
        return Reaction.CHANGED

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        if name == "enter":
            return Reaction.ENTER
        ends = {"home": self.minimum, "end": self.maximum}
        moves = {"left": -1, "down": -1, "right": 1, "up": 1}
        if name in ends:
            return self._set(ends[name])
        return self._set(self.value + moves[name]) if name in moves else Reaction.NOTHING


@dataclass(slots=True)
class Tabs(Widget):
    """The strip of a tabbed panel. `ends[i]` is the right edge of tab i, relative to the strip."""

    options: tuple[str, ...] = ()
    selected: int = 0
    ends: tuple[int, ...] = ()

    role: ClassVar[str] = "tablist"
    focusable: ClassVar[bool] = True

    def look(self) -> tuple[object, ...]:
        return (self.selected,)

    def tab_box(self, index: int) -> IntBox:
        left, top, _, height = self.box
        start = self.ends[index - 1] if index else 0
        return left + start, top, self.ends[index] - start, height

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        for index, end in enumerate(self.ends):
            if x < self.box[0] + end:
                self.selected = index
                return Reaction.CHANGED
        return Reaction.NOTHING

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        moves = {"left": -1, "right": 1}
        if name in moves:
            self.selected = (self.selected + moves[name]) % len(self.options)
            return Reaction.CHANGED
        return Reaction.NOTHING


@dataclass(slots=True)
class Dialog:
    """A modal window: while it is open, nothing below it reacts. `label` is its title, `widgets` lie inside `box`."""

    id: str
    label: str
    widgets: list[Widget] = field(default_factory=list)
    box: IntBox = (0, 0, 0, 0)
    title_height: int = 18
