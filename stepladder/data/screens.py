"""Synthetic screens: words and widgets of web pages at known places, for learning to read and to point.

Words, fonts and sizes each have a part that training never shows. Most of what is drawn looks like a plain web page (Arial, white
and grey) and says words that the caller names, each at most once a screen, so that all of it can be asked for; the rest varies.
With `grid` the text begins at multiples of so many pixels: learning to read goes from 16 over 4 to 1, because the phase of text
against the patches of a vision model is the hard part.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, get_args

from stepladder.drawing import (
    CHECK_MARK,
    CHEVRON,
    CROSS,
    Canvas,
    Colour,
    Font,
    IntBox,
    Pixels,
    bundled_fonts,
    line_height,
    rounded_mask,
    stroke_mask,
    system_fonts,
    text_width,
)
from stepladder.types import Box, Region
from stepladder.words import VOCABULARY, WordPart, letters, share_of, vocabulary

Split = Literal["train", "heldout_words", "heldout_fonts", "heldout_sizes"]

SIZES: tuple[float, ...] = (9, 10, 11, 12, 13, 40 / 3, 14, 15, 16, 18, 20)
MARK = 13
MARK_GAP = 4
PLACES = 30
STRING_SHARE = 0.3
SMOOTH_SHARE = 0.7
#: Of words, fonts and palettes: the share that is as on the pages that the words were taken from.
PLAIN_SHARE = 0.9
#: What Chromium shows for Arial on Debian; taken often because most pages that agents meet look like this.
ARIAL = ("LiberationSans-Regular", "LiberationSans-Bold")
PLAIN_SIZES = (10, 40 / 3)
WEB_BLUE: Colour = (0, 117, 255)
WEB_GREY: Colour = (118, 118, 118)

_Kind = Literal["word", "button", "link", "textbox", "password", "checkbox", "radio", "select", "tab", "slider", "close"]
_WEIGHTS: dict[_Kind, float] = {
    "word": 4,
    "button": 4,
    "link": 2,
    "textbox": 1.5,
    "password": 0.4,
    "checkbox": 1.5,
    "radio": 1.2,
    "select": 0.7,
    "tab": 0.6,
    "slider": 0.3,
    "close": 0.2,
}


@functools.cache
def fonts(part: WordPart = "all") -> tuple[str, ...]:
    """Names of the fonts of this machine that belong to a part. Regular Arial and DejaVu are always for training."""
    names = [*bundled_fonts(), *system_fonts()]
    always = {*ARIAL, "DejaVuSans"}
    return tuple(n for n in names if part == "all" or (n not in always and share_of(f"font:{n}", 4)) == (part == "heldout"))


@functools.cache
def sizes(part: WordPart = "all") -> tuple[float, ...]:
    """Font sizes in pixels that belong to a part."""
    return tuple(s for s in SIZES if part == "all" or share_of(f"font-size:{s:.2f}", 5) == (part == "heldout"))


@dataclass(slots=True)
class _Palette:
    background: Colour
    ink: Colour
    face: Colour
    face_ink: Colour
    border: Colour
    field: Colour
    link: Colour
    accent: Colour
    radius: int


WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
_PALETTES = (
    _Palette(WHITE, BLACK, (239, 239, 239), BLACK, WEB_GREY, WHITE, (0, 0, 238), WEB_BLUE, 3),
    _Palette(WHITE, (34, 34, 34), WEB_BLUE, WHITE, WEB_BLUE, WHITE, (17, 85, 204), WEB_BLUE, 4),
    _Palette((246, 246, 246), (69, 69, 69), (246, 246, 246), (69, 69, 69), (197, 197, 197), WHITE, (0, 0, 238), (0, 127, 255), 3),
    _Palette((212, 224, 240), (20, 30, 50), (70, 130, 220), WHITE, (50, 90, 160), WHITE, (20, 60, 160), (30, 80, 180), 2),
    _Palette((236, 233, 216), BLACK, (225, 222, 205), BLACK, (130, 130, 120), WHITE, (0, 0, 200), (10, 36, 106), 0),
    _Palette(
        (45, 52, 64), (235, 235, 235), (80, 90, 108), WHITE, (120, 130, 145), (28, 32, 40), (120, 180, 255), (86, 156, 255), 4
    ),
    _Palette((240, 246, 240), (20, 40, 20), (90, 170, 90), BLACK, (60, 120, 60), WHITE, (0, 100, 60), (34, 120, 60), 5),
)


@dataclass(frozen=True, slots=True)
class Alteration:
    """One thing that is different on a screen: widget `number`, in the order of drawing, is gone or, if not `gone`, in another
    state: checked or not, enabled or not, another tab selected, another text in a field. Words, links, menus, sliders and crosses
    have no other state."""

    number: int
    gone: bool = False


@dataclass(slots=True)
class _Page:
    random: Random
    canvas: Canvas
    palette: _Palette
    words: WordPart
    fonts: tuple[str, ...]
    sizes: tuple[float, ...]
    grid: int
    known: Sequence[str] = ()
    top: int = 0
    said: set[str] = field(default_factory=set)
    taken: list[IntBox] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    #: The widget that is being drawn is in another state than its random numbers say (`Alteration`).
    other: bool = False

    def font(self) -> Font:
        plain = [size for size in PLAIN_SIZES if size in self.sizes]
        if ARIAL[0] in self.fonts and plain and self.random.random() < PLAIN_SHARE:
            return Font(ARIAL[self.random.random() < 0.1], self.random.choice(plain), smooth=True)
        return Font(self.random.choice(self.fonts), self.random.choice(self.sizes), self.random.random() < SMOOTH_SHARE)

    def text(self) -> str:
        """A known word, a word of the vocabulary or a random string; two words only where the text is not tied to a grid."""
        count = 2 if self.grid == 1 and self.random.random() < 0.15 else 1
        return " ".join(self.word() for _ in range(count))

    def word(self) -> str:
        seen = self.known if self.words == "heldout" else ()
        while (word := self._word()) in self.said or word in seen:
            pass
        self.said.add(word)
        return word

    def _word(self) -> str:
        known = self.words == "train" and len(self.known) > len(self.said)
        if known and self.random.random() < PLAIN_SHARE:
            return self.random.choice(self.known)
        if self.random.random() < STRING_SHARE:
            return letters(self.random, self.words)
        word = self.random.choice(vocabulary(self.words, VOCABULARY))
        shape = self.random.random()
        return word.lower() if shape < 0.2 else word.upper() if shape < 0.25 and len(word) < 9 else word

    def place(self, left: int, top: int, width: int, height: int) -> tuple[int, int] | None:
        """Where text may begin so that a box of this size, whose corner is (left, top) before the text, touches nothing else."""
        room_x, room_y = self.canvas.width - width, self.canvas.height - height - self.top
        if room_x < 0 or room_y < 0:
            return None
        for _ in range(PLACES):
            x = (self.random.randint(0, room_x) + left) // self.grid * self.grid
            y = (self.top + self.random.randint(0, room_y) + top) // self.grid * self.grid
            box = (x - left, y - top, width, height)
            if box[0] >= 0 and box[1] >= self.top and not any(_near(box, other) for other in self.taken):
                self.taken.append(box)
                return x, y
        return None

    def write(self, x: int, y: int, text: str, font: Font, colour: Colour, target: Box | None, kind: str) -> None:
        for word in self.canvas.text(x, y, text, font, colour):
            self.regions.append(Region(word.text, "word", word.box, target, kind))


def _near(first: IntBox, second: IntBox, gap: int = 2) -> bool:
    return (
        first[0] < second[0] + second[2] + gap
        and second[0] < first[0] + first[2] + gap
        and first[1] < second[1] + second[3] + gap
        and second[1] < first[1] + first[3] + gap
    )


def screen(
    random: Random,
    split: Split = "train",
    grid: int = 1,
    width: int = 160,
    height: int = 210,
    count: tuple[int, int] = (6, 12),
    known: Sequence[str] = (),
    top: int = 0,
    altered: Alteration | None = None,
) -> tuple[Pixels, tuple[Region, ...]]:
    """One screen: pixels uint8[height, width, 3] and the exact boxes of its words and widgets.

    In `split` "heldout_words" all words are held out, in "heldout_fonts" all fonts, in "heldout_sizes" all sizes; what is not
    named is as in training. `count` bounds the number of widgets tried; the screen may have room for fewer. `known` are words to be
    drawn most often (never in "heldout_words"); the uppermost `top` pixels stay empty. With `altered` the screen is the one of
    equal arguments but for that; a number that no widget has alters nothing.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(get_args(Split))}")
    if grid < 1:
        raise ValueError(f"grid is {grid}; it must be at least 1 pixel")
    palette = _PALETTES[0] if random.random() < PLAIN_SHARE else random.choice(_PALETTES)
    page = _Page(
        random,
        Canvas(width, height, palette.background),
        palette,
        "heldout" if split == "heldout_words" else "train",
        fonts("heldout" if split == "heldout_fonts" else "train"),
        sizes("heldout" if split == "heldout_sizes" else "train"),
        grid,
        known,
        top,
    )
    kinds = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=random.randint(*count))
    one_font = page.font() if random.random() < 0.3 else None
    for number, kind in enumerate(kinds):
        here = altered if altered is not None and altered.number == number else None
        page.other = here is not None and not here.gone
        before = (page.canvas.pixels.copy(), len(page.regions)) if here is not None and here.gone else None
        _DRAW[kind](page, one_font or page.font(), kind)
        if before is not None:
            page.canvas.pixels[:] = before[0]
            del page.regions[before[1] :]
    return page.canvas.pixels, tuple(page.regions)


def _draw_word(page: _Page, font: Font, kind: str) -> None:
    text = page.text()
    place = page.place(0, 0, text_width(font, text), line_height(font))
    if place is not None:
        page.write(*place, text, font, page.palette.ink, None, "")


def _draw_link(page: _Page, font: Font, kind: str) -> None:
    text = page.text()
    width, height = text_width(font, text), line_height(font)
    place = page.place(0, 0, width, height)
    if place is None:
        return
    box = (*place, width, height)
    page.canvas.fill((place[0], place[1] + height - 2, width, 1), page.palette.link)
    page.write(*place, text, font, page.palette.link, box, "link")
    page.regions.append(Region(text, "link", box, box, "link"))


def _draw_button(page: _Page, font: Font, kind: str) -> None:
    text, side, above = page.text(), page.random.randint(5, 12), page.random.randint(2, 6)
    place = page.place(side, above, text_width(font, text) + 2 * side, line_height(font) + 2 * above)
    if place is None:
        return
    box = page.taken[-1]
    palette = page.palette
    disabled = (page.random.random() < 0.08) != page.other
    page.canvas.panel(box, palette.face, palette.border, palette.radius)
    ink = _between(palette.face_ink, palette.face, 0.6) if disabled else palette.face_ink
    page.write(*place, text, font, ink, box, "button")
    page.regions.append(Region(text, "button", box, box, "button", ("disabled",) if disabled else ()))


def _draw_field(page: _Page, font: Font, kind: str) -> None:
    """A text field, empty or filled, perhaps with the caret; a password field shows dots."""
    room, line = page.random.randint(50, 120), line_height(font)
    text = page.text() if page.random.random() < 0.6 else ""
    shown = "•" * min(len(text), 10) if kind == "password" else text
    room = max(room, text_width(font, shown) + 2)
    if page.place(4, 4, room + 8, line + 8) is None:
        return
    box = page.taken[-1]
    focused = page.random.random() < 0.25
    if page.other and kind != "password":
        text = shown = "" if text else _unsaid_word(page, font, room)
    border = (0, 0, 0) if focused and page.palette is _PALETTES[0] else page.palette.accent if focused else page.palette.border
    page.canvas.panel(box, page.palette.field, border, min(page.palette.radius, 3), 2 if focused else 1)
    x, y = box[0] + 4, box[1] + 4
    ink = (0, 0, 0) if sum(page.palette.field) > 400 else page.palette.ink
    if kind == "password":
        page.canvas.text(x, y, shown, font, ink)
    else:
        page.write(x, y, text, font, ink, box, kind)
    if focused:
        page.canvas.fill((x + text_width(font, shown), y, 1, line), ink)
    states = (("focused",) if focused else ()) + (("password",) if kind == "password" else ())
    page.regions.append(Region("" if kind == "password" else text, kind, box, box, kind, states))


def _unsaid_word(page: _Page, font: Font, room: int) -> str:
    """A word that the screen does not say yet and that fits, chosen without one of the screen's random numbers."""
    words = [w for w in vocabulary(page.words, VOCABULARY) if w not in page.said and text_width(font, w) <= room - 2]
    return Random(f"{page.taken[-1]}").choice(words)


def _draw_mark(page: _Page, font: Font, kind: str) -> None:
    """A check box or a radio button with its label."""
    text, line = page.text(), line_height(font)
    height, left = max(line, MARK), MARK + MARK_GAP
    place = page.place(left, (height - line) // 2, left + text_width(font, text), height)
    if place is None:
        return
    target = page.taken[-1]
    x, y = target[0], target[1] + (height - MARK) // 2
    checked, palette = (page.random.random() < 0.5) != page.other, page.palette
    if kind == "radio":
        page.canvas.panel((x, y, MARK, MARK), palette.field, palette.accent if checked else palette.border, MARK / 2)
        if checked:
            page.canvas.paint(rounded_mask(7, 7, 3.5), x + 3, y + 3, palette.accent)
    elif checked:
        page.canvas.panel((x, y, MARK, MARK), palette.accent, palette.accent, 2)
        page.canvas.paint(stroke_mask(MARK, MARK, CHECK_MARK, 2), x, y, (255, 255, 255))
    else:
        page.canvas.panel((x, y, MARK, MARK), palette.field, palette.border, 2)
    page.write(*place, text, font, palette.ink, target, kind)
    page.regions.append(Region(text, kind, (x, y, MARK, MARK), target, kind, ("checked",) if checked else ()))


def _draw_select(page: _Page, font: Font, kind: str) -> None:
    text = page.text()
    place = page.place(5, 3, text_width(font, text) + 24, line_height(font) + 6)
    if place is None:
        return
    box, palette = page.taken[-1], page.palette
    ink = (0, 0, 0) if sum(palette.field) > 400 else palette.ink
    page.canvas.panel(box, palette.field, palette.border, min(palette.radius, 3))
    page.canvas.paint(stroke_mask(8, 6, CHEVRON, 1.6), box[0] + box[2] - 13, box[1] + box[3] // 2 - 3, ink)
    page.write(*place, text, font, ink, box, kind)
    page.regions.append(Region(text, kind, box, box, kind))


def _draw_tabs(page: _Page, font: Font, kind: str) -> None:
    """A strip of two or three tabs, of which one is selected."""
    texts = [page.word() for _ in range(page.random.randint(2, 3))]
    widths = [-(-(text_width(font, text) + 14) // page.grid) * page.grid for text in texts]
    line = line_height(font)
    place = page.place(7, 4, sum(widths), line + 8)
    if place is None:
        return
    selected, x, palette = page.random.randrange(len(texts)), place[0] - 7, page.palette
    selected = (selected + page.other) % len(texts)
    for index, (text, width) in enumerate(zip(texts, widths, strict=True)):
        box = (x, place[1] - 4, width, line + 8)
        chosen = index == selected
        page.canvas.panel(box, palette.background if chosen else palette.face, palette.border)
        if chosen:
            page.canvas.fill((x + 1, box[1] + box[3] - 1, width - 2, 1), palette.background)
        page.write(x + 7, place[1], text, font, palette.ink if chosen else palette.face_ink, box, kind)
        page.regions.append(Region(text, kind, box, box, kind, ("selected",) if chosen else ()))
        x += width


def _draw_slider(page: _Page, font: Font, kind: str) -> None:
    length = page.random.randint(50, 110)
    if page.place(0, 0, length, 16) is None:
        return
    left, top, _, _ = page.taken[-1]
    at = page.random.randint(0, length - 12)
    page.canvas.panel(
        (left, top + 6, length, 4), _between(page.palette.background, page.palette.border, 0.3), page.palette.border, 2
    )
    page.canvas.fill((left + 1, top + 7, at + 2, 2), page.palette.accent)
    page.canvas.paint(rounded_mask(12, 12, 6), left + at, top + 2, page.palette.accent)
    page.regions.append(Region(str(round(100 * at / (length - 12))), kind, (left, top, length, 16), (left, top, length, 16), kind))


def _draw_close(page: _Page, font: Font, kind: str) -> None:
    """The cross in the corner of a dialog or a tab."""
    size = page.random.randint(13, 19)
    if page.place(0, 0, size, size) is None:
        return
    box = page.taken[-1]
    page.canvas.panel(box, page.palette.face, page.palette.border, min(page.palette.radius, 3))
    for stroke in CROSS:
        page.canvas.paint(stroke_mask(size - 6, size - 6, stroke, 1.6), box[0] + 3, box[1] + 3, page.palette.face_ink)
    page.regions.append(Region("close", kind, box, box, kind))


def _between(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


_DRAW = {
    "word": _draw_word,
    "button": _draw_button,
    "link": _draw_link,
    "textbox": _draw_field,
    "password": _draw_field,
    "checkbox": _draw_mark,
    "radio": _draw_mark,
    "select": _draw_select,
    "tab": _draw_tabs,
    "slider": _draw_slider,
    "close": _draw_close,
}
