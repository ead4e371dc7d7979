"""Painting of forms, and the boxes of what was painted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stepladder.drawing import (
    CHECK_MARK,
    CHEVRON,
    CROSS,
    Canvas,
    Colour,
    IntBox,
    Pixels,
    clip_words,
    intersect,
    line_height,
    place_words,
    rounded_mask,
    stroke_mask,
)
from stepladder.envs.forms.editing import PADDING, TextField
from stepladder.envs.forms.layout import MARK, MARK_GAP, Theme
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
from stepladder.types import Region

RING = 2
SHADOW: Colour = (60, 60, 60)


class Line(NamedTuple):
    """One line of text of a widget: where it begins, in what colour, what it is cut off by and what it belongs to."""

    text: str
    x: int
    y: int
    colour: Colour
    clip: IntBox
    target: IntBox | None
    kind: str


def kind_of(widget: Widget) -> str:
    """The word for this widget in `Region.kind`."""
    if isinstance(widget, TextField):
        return "password" if widget.password else "textbox"
    if isinstance(widget, Button) and widget.cross:
        return "close"
    names = {Link: "link", Button: "button", CheckBox: "checkbox", RadioGroup: "radio", ListBox: "option", Menu: "select"}
    return {**names, Slider: "slider", Tabs: "tab"}.get(type(widget), "text")


def lines_of(widget: Widget, theme: Theme) -> list[Line]:
    """All text that a widget shows."""
    x, y, w, h = widget.box
    middle = y + (h - line_height(widget.font)) // 2
    ink = theme.ink if widget.enabled else theme.muted
    kind = kind_of(widget)
    if isinstance(widget, Text):
        return [Line(widget.label, x, y, theme.muted if widget.muted else ink, widget.box, None, "")]
    if isinstance(widget, Link):
        return [Line(widget.label, x, middle, theme.ink if widget.plain else theme.link, widget.box, widget.box, kind)]
    if isinstance(widget, Button):
        face_ink = theme.primary_ink if widget.default else theme.face_ink
        colour = face_ink if widget.enabled else theme.muted
        return [] if widget.cross else [Line(widget.label, x + 8, middle, colour, widget.box, widget.box, kind)]
    if isinstance(widget, CheckBox):
        return [Line(widget.label, x + MARK + MARK_GAP, middle, ink, widget.box, widget.box, kind)]
    if isinstance(widget, TextField):
        clip = (x + PADDING, y, w - 2 * PADDING, h)
        if not widget.value:
            return [Line(widget.hint, x + PADDING, middle, theme.muted, clip, widget.box, kind)] if widget.hint else []
        colour = theme.field_ink if widget.enabled else theme.muted
        return [Line(widget.shown, x + PADDING - widget.scrolled, middle, colour, clip, widget.box, kind)]
    if isinstance(widget, Menu):
        clip = (x + PADDING, y, w - 20, h)
        return [Line(widget.options[widget.selected], x + 6, middle, theme.field_ink, clip, widget.box, kind)]
    if isinstance(widget, Slider):
        start, length = widget.track
        return [Line(str(widget.value), start + length + widget.thumb // 2 + 6, middle, ink, widget.box, widget.box, kind)]
    return [*_rows_of(widget, theme, ink)]


def _rows_of(widget: Widget, theme: Theme, ink: Colour) -> Iterator[Line]:
    line = line_height(widget.font)
    if isinstance(widget, RadioGroup):
        for index, option in enumerate(widget.options):
            box = widget.row_box(index)
            yield Line(option, box[0] + MARK + MARK_GAP, box[1] + (box[3] - line) // 2, ink, box, box, "radio")
    elif isinstance(widget, ListBox):
        for index in widget.visible_rows:
            box = widget.row_box(index)
            colour = theme.primary_ink if index == widget.selected else theme.field_ink
            yield Line(widget.options[index], box[0] + 4, box[1] + (box[3] - line) // 2, colour, box, box, "option")
    elif isinstance(widget, Tabs):
        for index, option in enumerate(widget.options):
            box = widget.tab_box(index)
            colour = theme.ink if index == widget.selected else theme.face_ink
            yield Line(option, box[0] + 6, box[1] + (box[3] - line) // 2, colour, box, box, "tab")


def draw_widget(canvas: Canvas, widget: Widget, theme: Theme, focused: bool, ring: bool = False) -> None:
    """Paint one widget; what lies around it stays as it is, but for the focus ring."""
    if isinstance(widget, TextField):
        _draw_field(canvas, widget, theme, focused)
        return
    if isinstance(widget, Link):
        left, top, width, height = widget.box
        if not widget.plain:
            canvas.fill((left, top + height - 2, width, 1), theme.link)
    elif isinstance(widget, Button):
        _draw_button(canvas, widget, theme)
    elif isinstance(widget, CheckBox):
        _draw_check_box(canvas, widget, theme)
    elif isinstance(widget, RadioGroup):
        _draw_radios(canvas, widget, theme)
    elif isinstance(widget, ListBox):
        draw_list(canvas, widget, theme)
    elif isinstance(widget, Menu):
        _draw_menu(canvas, widget, theme)
    elif isinstance(widget, Slider):
        _draw_slider(canvas, widget, theme)
    elif isinstance(widget, Tabs):
        _draw_tabs(canvas, widget, theme)
    for line in lines_of(widget, theme):
        canvas.text(line.x, line.y, line.text, widget.font, line.colour, line.clip)
    if focused and ring:
        left, top, width, height = widget.tab_box(widget.selected) if isinstance(widget, Tabs) else widget.box
        canvas.frame((left - RING, top - RING, width + 2 * RING, height + 2 * RING), theme.primary)


def _draw_button(canvas: Canvas, button: Button, theme: Theme) -> None:
    x, y, w, h = button.box
    if button.cross:
        canvas.panel(button.box, theme.face, theme.border, min(theme.radius, 3))
        for stroke in CROSS:
            canvas.paint(stroke_mask(w - 6, h - 6, stroke, 1.6), x + 3, y + 3, theme.face_ink)
        return
    face = theme.primary if button.default and button.enabled else theme.face
    if button.pressed_down:
        face = (face[0] * 4 // 5, face[1] * 4 // 5, face[2] * 4 // 5)
    border = theme.primary if button.default and button.enabled else theme.border
    canvas.panel(button.box, face, border if button.enabled else _between(theme.border, theme.background), theme.radius)


def _draw_check_box(canvas: Canvas, box: CheckBox, theme: Theme) -> None:
    x, y = box.box[0], box.box[1] + (box.box[3] - MARK) // 2
    if box.checked:
        canvas.panel((x, y, MARK, MARK), theme.primary, theme.primary, 2)
        canvas.paint(stroke_mask(MARK, MARK, CHECK_MARK, 2), x, y, theme.primary_ink)
    else:
        canvas.panel((x, y, MARK, MARK), theme.field, theme.border, 2)


def _draw_radios(canvas: Canvas, group: RadioGroup, theme: Theme) -> None:
    for index in range(len(group.options)):
        left, top, _, height = group.row_box(index)
        y = top + (height - MARK) // 2
        chosen = index == group.selected
        canvas.panel((left, y, MARK, MARK), theme.field, theme.primary if chosen else theme.border, MARK / 2)
        if chosen:
            canvas.paint(rounded_mask(7, 7, 3.5), left + 3, y + 3, theme.primary)


def draw_list(canvas: Canvas, box: ListBox, theme: Theme) -> None:
    canvas.panel(box.box, theme.field, theme.border)
    if box.selected in box.visible_rows:
        canvas.fill(box.row_box(box.selected), theme.primary)
    if box.last_top:
        canvas.fill(box.bar_box(), _between(theme.field, theme.border, 0.25))
        left, top, width, height = box.thumb_box()
        canvas.panel((left + 2, top, width - 4, height), theme.border, theme.border, 3)


def _draw_menu(canvas: Canvas, menu: Menu, theme: Theme) -> None:
    x, y, w, h = menu.box
    canvas.panel(menu.box, theme.field, theme.border, theme.radius)
    canvas.paint(stroke_mask(8, 6, CHEVRON, 1.6), x + w - 13, y + h // 2 - 2, theme.field_ink)


def _draw_slider(canvas: Canvas, slider: Slider, theme: Theme) -> None:
    start, length = slider.track
    x, y = slider.position(slider.value)
    middle, thumb = round(y), slider.thumb
    canvas.panel((start - 2, middle - 2, length + 4, 4), _between(theme.background, theme.border, 0.4), theme.border, 2)
    canvas.fill((start - 1, middle - 1, round(x) - start + 1, 2), theme.primary)
    canvas.paint(rounded_mask(thumb, thumb, thumb / 2), round(x) - thumb // 2, middle - thumb // 2, theme.primary)


def _draw_tabs(canvas: Canvas, tabs: Tabs, theme: Theme) -> None:
    for index in range(len(tabs.options)):
        left, top, width, height = tabs.tab_box(index)
        chosen = index == tabs.selected
        canvas.panel((left, top, width, height + 1), theme.background if chosen else theme.face, theme.border)
        if chosen:
            canvas.fill((left + 1, top, width - 2, 2), theme.primary)
            canvas.fill((left + 1, top + height - 1, width - 2, 3), theme.background)


def _draw_field(canvas: Canvas, entry: TextField, theme: Theme, focused: bool) -> None:
    x, y, w, h = entry.box
    face = theme.field if entry.enabled and not entry.read_only else _between(theme.field, theme.face)
    canvas.panel(entry.box, face, theme.primary if focused else theme.border, min(theme.radius, 3), 2 if focused else 1)
    inner = (x + PADDING - 1, y + 3, w - 2 * PADDING + 2, h - 6)
    start, end = entry.selection
    left = x + PADDING - entry.scrolled
    if focused and start != end:
        cut = intersect((left + entry.offset(start), y + 3, entry.offset(end) - entry.offset(start), h - 6), inner)
        canvas.fill(cut, theme.selection)
    for line in lines_of(entry, theme):
        canvas.text(line.x, line.y, line.text, entry.font, line.colour, line.clip)
    if focused:
        canvas.fill(intersect((left + entry.offset(entry.caret), y + 3, 1, h - 6), inner), theme.field_ink)


def _draw_dialog(canvas: Canvas, dialog: Dialog, theme: Theme, focus: str, ring: bool) -> None:
    x, y, w, h = dialog.box
    canvas.fill((x + 2, y + 2, w, h), SHADOW)
    canvas.panel(dialog.box, theme.background, theme.border)
    canvas.fill((x + 1, y + 1, w - 2, dialog.title_height), theme.title)
    font = dialog.widgets[0].font
    canvas.text(x + 7, y + 1 + (dialog.title_height - line_height(font)) // 2, dialog.label, font, theme.title_ink, dialog.box)
    for widget in dialog.widgets:
        draw_widget(canvas, widget, theme, widget.id == focus, ring)


def _between(first: Colour, second: Colour, share: float = 0.5) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Painter:
    """Draws a screen again and again; on the page only those widgets are painted anew whose look has changed."""

    def __init__(self, screen: Screen, theme: Theme, panel: IntBox | None) -> None:
        self.screen, self.theme, self.panel = screen, theme, panel
        self._page = Canvas(screen.width, screen.height, theme.background)
        self._looks: dict[str, tuple[object, ...]] = {}

    def paint(self) -> Pixels:
        """uint8[height, width, 3]; do not write into it."""
        ring = self.screen.keyboard_focus
        base, focus = self.screen.base(), self.screen.focus if not self.screen.open_dialogs else ""
        looks: dict[str, tuple[object, ...]] = {w.id: (w.look(), w.id == focus, ring and w.id == focus) for w in base}
        strips = [w.id for w in base if isinstance(w, Tabs)]  # a strip overlaps its panel, so it cannot be painted alone
        if looks.keys() != self._looks.keys() or any(self._looks[name] != looks[name] for name in strips):
            self._page = Canvas(self.screen.width, self.screen.height, self.theme.background)
            if self.panel is not None:
                self._page.frame(self.panel, self.theme.border)
            self._looks = {}
        for widget in base:
            if self._looks.get(widget.id) != looks[widget.id]:
                if widget.id in self._looks:
                    x, y, w, h = widget.box
                    self._page.fill((x - RING, y - RING, w + 2 * RING, h + 2 * RING), self.theme.background)
                draw_widget(self._page, widget, self.theme, widget.id == focus, ring)
        self._looks = looks
        menu, dialogs = self.screen.menu, self.screen.open_dialogs
        if menu is None and not dialogs:
            return self._page.pixels
        canvas = self._page.copy()
        for name in dialogs:
            canvas.dim(self.theme.dim)
            _draw_dialog(canvas, self.screen.dialogs[name], self.theme, self.screen.focus, ring)
        if menu is not None and menu.popup is not None:
            draw_widget(canvas, menu.popup, self.theme, False)
        return canvas.pixels


def regions(screen: Screen, theme: Theme) -> tuple[Region, ...]:
    """Every word and every widget that can be seen. Below a modal dialog only words are left, and they belong to nothing."""
    found: list[Region] = []
    popup = screen.menu.popup if screen.menu is not None else None
    layers: list[tuple[list[Widget], list[IntBox]]] = []
    boxes = [screen.dialogs[name].box for name in screen.open_dialogs]
    top = [popup.box] if popup is not None else []
    layers.append((screen.base(), boxes + top))
    for index, name in enumerate(screen.open_dialogs):
        layers.append((screen.dialogs[name].widgets, boxes[index + 1 :] + top))
    for index, (widgets, covers) in enumerate(layers):
        active = index == len(layers) - 1
        if index:
            found.extend(r for r in _title_regions(screen.dialogs[screen.open_dialogs[index - 1]]) if not _covered(r.box, covers))
        for widget in widgets:
            found.extend(r for r in widget_regions(widget, theme, active) if not _covered(r.box, covers))
    if popup is not None:
        found.extend(widget_regions(popup, theme, True))
    return tuple(found)


def _covered(box: tuple[float, float, float, float], covers: list[IntBox]) -> bool:
    left, top, width, height = (int(value) for value in box)
    return any(min(intersect((left, top, width, height), cover)[2:]) > 0 for cover in covers)


def _title_regions(dialog: Dialog) -> Iterator[Region]:
    font = dialog.widgets[0].font
    x, y = dialog.box[0] + 7, dialog.box[1] + 1 + (dialog.title_height - line_height(font)) // 2
    for word in place_words(x, y, dialog.label, font):
        yield Region(word.text, "word", word.box)


def states_of(widget: Widget, focused: bool) -> tuple[str, ...]:
    """The words for the state in `Element.states` and `Region.states`."""
    flags = {
        "focused": focused,
        "disabled": not widget.enabled,
        "checked": isinstance(widget, CheckBox) and widget.checked,
        "password": isinstance(widget, TextField) and widget.password,
        "expanded": isinstance(widget, Menu) and widget.popup is not None,
    }
    return tuple(name for name, flag in flags.items() if flag)


def widget_regions(widget: Widget, theme: Theme, active: bool) -> Iterator[Region]:
    """The words of a widget and, when it reacts, the widget or its parts."""
    for line in lines_of(widget, theme):
        for word in clip_words(place_words(line.x, line.y, line.text, widget.font), line.clip):
            if line.kind != "password":
                yield Region(word.text, "word", word.box, line.target if active else None, line.kind if active else "")
    if not active or isinstance(widget, Text):
        return
    kind, states = kind_of(widget), states_of(widget, False)
    if isinstance(widget, (RadioGroup, ListBox, Tabs)):
        rows = widget.visible_rows if isinstance(widget, ListBox) else range(len(widget.options))
        for index in rows:
            box = widget.tab_box(index) if isinstance(widget, Tabs) else widget.row_box(index)
            mark = (box[0], box[1] + (box[3] - MARK) // 2, MARK, MARK) if isinstance(widget, RadioGroup) else box
            state = "checked" if isinstance(widget, RadioGroup) else "selected"
            yield Region(widget.options[index], kind, mark, box, kind, (state,) if index == widget.selected else ())
        return
    box = widget.box
    if isinstance(widget, CheckBox):
        box = (box[0], box[1] + (box[3] - MARK) // 2, MARK, MARK)
    text = widget.label
    if isinstance(widget, TextField):
        text = "" if widget.password else widget.value
    elif isinstance(widget, Menu):
        text = widget.options[widget.selected]
    elif isinstance(widget, Slider):
        text = str(widget.value)
    elif isinstance(widget, Button) and widget.cross:
        text = "close"
    yield Region(text, kind, box, widget.box, kind, states)
