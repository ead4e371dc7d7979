"""Themes, the size of every widget, and rows of widgets placed below each other with a random spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from stepladder.drawing import Colour, Font, IntBox, bundled_fonts, line_height, text_width
from stepladder.envs.forms.editing import TextField
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

MARGIN = 8
COLUMN_GAP = 6
MARK = 13
MARK_GAP = 5
MINIMUM_GAP = 4
FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "STIXGeneral")


class DoesNotFit(Exception):
    """The widgets need more room than there is; the task tries other words."""


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours and shapes of a form."""

    name: str
    background: Colour = (255, 255, 255)
    ink: Colour = (0, 0, 0)
    muted: Colour = (117, 117, 117)
    face: Colour = (239, 239, 239)
    face_ink: Colour = (0, 0, 0)
    border: Colour = (118, 118, 118)
    primary: Colour = (0, 117, 255)
    primary_ink: Colour = (255, 255, 255)
    field: Colour = (255, 255, 255)
    field_ink: Colour = (0, 0, 0)
    link: Colour = (0, 0, 238)
    selection: Colour = (178, 215, 255)
    title: Colour = (233, 233, 233)
    title_ink: Colour = (51, 51, 51)
    radius: int = 3
    dim: float = 0.25


THEMES = (
    Theme("chromium"),
    Theme(
        "classic",
        background=(236, 233, 216),
        face=(225, 222, 205),
        title=(10, 36, 106),
        title_ink=(255, 255, 255),
        radius=0,
        dim=0.0,
    ),
    Theme("cards", (245, 247, 250), border=(176, 184, 196), primary=(37, 99, 235), radius=5, title=(226, 232, 240)),
    Theme(
        "forest",
        background=(240, 246, 240),
        face=(214, 232, 214),
        border=(110, 150, 110),
        primary=(34, 120, 60),
        title=(34, 120, 60),
        title_ink=(255, 255, 255),
        radius=4,
    ),
    Theme(
        "dark",
        background=(38, 42, 50),
        ink=(235, 235, 235),
        muted=(150, 155, 165),
        face=(66, 72, 84),
        face_ink=(240, 240, 240),
        border=(105, 112, 125),
        primary=(86, 156, 255),
        primary_ink=(10, 16, 28),
        field=(24, 27, 33),
        field_ink=(235, 235, 235),
        link=(120, 180, 255),
        selection=(40, 84, 160),
        title=(66, 72, 84),
        title_ink=(240, 240, 240),
        dim=0.45,
    ),
    Theme(
        "desktop",
        background=(246, 245, 244),
        face=(250, 249, 248),
        border=(205, 199, 194),
        primary=(53, 132, 228),
        radius=5,
        title=(222, 221, 218),
        title_ink=(46, 52, 54),
    ),
)


def random_font(random: Random) -> Font:
    """One of the fonts that are on every machine, at 10 to 13 pixels (serif letters are narrow and may be a little larger)."""
    face = random.choice([name for name in FACES if name in bundled_fonts()])
    sizes = (10, 11) if face == "DejaVuSans-Bold" else (10, 11, 12) if face.startswith("DejaVu") else (12, 13, 14)
    return Font(face, random.choice(sizes), random.random() < 0.5)


def _option_width(widget: Widget, options: Sequence[str]) -> int:
    return max(text_width(widget.font, option) for option in options)


def measure(widget: Widget, room: int) -> tuple[int, int]:
    """Width and height that a widget takes when it has at most `room` pixels beside it; stretching widgets take all of it."""
    line = line_height(widget.font)
    words = text_width(widget.font, widget.label)
    if isinstance(widget, Button) and widget.cross:
        return 14, 14
    if isinstance(widget, Link):
        return words, line
    if isinstance(widget, Button):
        return words + 16, line + 8
    if isinstance(widget, CheckBox):
        return MARK + MARK_GAP + words + 2, max(line, MARK) + 4
    if isinstance(widget, RadioGroup):
        widget.row_height = max(line, MARK) + 4
        return MARK + MARK_GAP + _option_width(widget, widget.options) + 2, widget.row_height * len(widget.options)
    if isinstance(widget, ListBox):
        widget.row_height = line + 2
        return min(room, max(80, _option_width(widget, widget.options) + 30)), widget.row_height * widget.rows + 2
    if isinstance(widget, Menu):
        return _option_width(widget, widget.options) + 26, line + 8
    if isinstance(widget, Slider):
        return min(room, 140), max(line, 16)
    if isinstance(widget, Tabs):
        edge, ends = 0, []
        for option in widget.options:
            edge += text_width(widget.font, option) + 12
            ends.append(edge)
        widget.ends = tuple(ends)
        return edge, line + 8
    if isinstance(widget, TextField):
        return min(room, 150), line + 8
    return words, line


Row = list[Widget]


def stack(rows: Sequence[Row], area: IntBox, random: Random | None = None) -> int:
    """Place rows below each other inside `area` and give every widget its box; the lower edge of the last row.

    The room that is left is spread between and beside the rows at random, or left at the end without `random`.
    Raises DoesNotFit.
    """
    left, top, width, height = area
    sizes = [_row_sizes(row, width) for row in rows]
    used = sum(max(size[1] for size in row) for row in sizes) + MINIMUM_GAP * (len(rows) - 1)
    if used > height:
        raise DoesNotFit(f"{len(rows)} rows need {used} of {height} pixels")
    slack = height - used
    y = top
    for row, row_sizes in zip(rows, sizes, strict=True):
        if random is not None:
            extra = random.randint(0, min(slack, 40 if row is rows[0] else 14))
            y, slack = y + extra, slack - extra
        row_height = max(size[1] for size in row_sizes)
        spare = width - sum(size[0] for size in row_sizes) - COLUMN_GAP * (len(row) - 1)
        x = left + (random.randint(0, spare) if random is not None and len(row) == 1 and not isinstance(row[0], Text) else 0)
        for widget, (w, h) in zip(row, row_sizes, strict=True):
            widget.box = (x, y + (row_height - h) // 2, w, h)
            x += w + COLUMN_GAP
        y += row_height + MINIMUM_GAP
    return y - MINIMUM_GAP


def _row_sizes(row: Row, width: int) -> list[tuple[int, int]]:
    sizes, room = [], width
    for index, widget in enumerate(row):
        later = sum(measure(other, 40)[0] + COLUMN_GAP for other in row[index + 1 :])
        size = measure(widget, room - later)
        if size[0] > room - later or size[0] < 1:
            raise DoesNotFit(f"{widget.label or widget.id!r} is {size[0]} pixels wide, {room - later} are left")
        sizes.append(size)
        room -= size[0] + COLUMN_GAP
    return sizes


def columns(names: Sequence[Row], width: int) -> list[Row]:
    """Rows of (label, field), with all fields beginning at the same place, or label above field when labels are wide."""
    widest = max(text_width(row[0].font, row[0].label) for row in names)
    if widest > 0.42 * width:
        return [[widget] for row in names for widget in row]
    return [list(row) for row in names]


def align_columns(rows: Sequence[Row]) -> None:
    """Let the second widget of two-widget rows begin at one x, the stretching ones ending where they ended."""
    pairs = [row for row in rows if len(row) == 2]
    if not pairs:
        return
    start = max(row[1].box[0] for row in pairs)
    for _, widget in pairs:
        left, top, width, height = widget.box
        stretches = isinstance(widget, (TextField, Slider))
        widget.box = (start, top, width - (start - left) if stretches else width, height)


def wrap(text: str, font: Font, width: int) -> list[str]:
    """Lines of at most `width` pixels. Raises DoesNotFit when one word is wider."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(font, longer) <= width:
            lines[-1] = longer
        elif text_width(font, word) <= width:
            lines.append(word)
        else:
            raise DoesNotFit(f"the word {word!r} is wider than {width} pixels")
    return lines


def place_dialog(
    dialog: Dialog, message: str, buttons: Row, cross: Button | None, font: Font, screen: tuple[int, int], random: Random
) -> None:
    """Give a dialog its box, somewhere on a screen of (width, height), and its widgets their places. Raises DoesNotFit."""
    width = min(screen[0] - 2 * MARGIN, random.randint(130, 170))
    dialog.title_height = line_height(font) + 6
    texts: list[Row] = [[Text(f"{dialog.id}-line-{i}", line, font=font)] for i, line in enumerate(wrap(message, font, width - 16))]
    height = dialog.title_height + 16 + sum(measure(row[0], width)[1] + MINIMUM_GAP for row in texts)
    height += max(measure(button, width)[1] for button in buttons)
    if height > screen[1] - 8 or text_width(font, dialog.label) > width - 30:
        raise DoesNotFit(f"the dialog {dialog.label!r} needs {height} pixels")
    left, top = random.randint(4, screen[0] - width - 4), random.randint(4, screen[1] - height - 4)
    dialog.box = (left, top, width, height)
    stack([*texts, buttons], (left + 8, top + dialog.title_height + 6, width - 16, height - dialog.title_height - 12))
    shift = random.choice((0, 1, 2)) * (left + width - 8 - (buttons[-1].box[0] + buttons[-1].box[2])) // 2
    for button in buttons:
        button.box = (button.box[0] + shift, *button.box[1:])
    if cross is not None:
        cross.box = (left + width - 17, top + (dialog.title_height - 14) // 2, 14, 14)
    dialog.widgets = [*(row[0] for row in texts), *buttons, *([cross] if cross is not None else [])]
