"""Drawing of screens in memory: fonts, cached bitmaps of words and shapes, and a canvas of uint8 pixels.

Words and shapes are rendered once by Pillow and afterwards only blended in with NumPy, which is what makes thousands of screens
a second possible. Boxes are (left, top, width, height) in whole pixels.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from stepladder.types import Box

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
IntBox = tuple[int, int, int, int]

_SUPERSAMPLING = 4
_FINE = 8
_SYSTEM_FONTS = Path("/usr/share/fonts")
_BUNDLED = re.compile(r"(DejaVu(Sans|SansMono|Serif)(-.*)?|STIXGeneral(Bol|Italic)?)\.ttf")


class Font(NamedTuple):
    """A font by the stem of its file ("DejaVuSans-Bold") and its size in pixels.

    `smooth` glyphs are not hinted and stand at quarters of a pixel, as in Chromium with --font-render-hinting=none; otherwise
    they are hinted and stand at whole pixels, as on most desktops.
    """

    name: str
    size: float
    smooth: bool = False


DEFAULT_FONT = Font("DejaVuSans", 12)


class Word(NamedTuple):
    """One word that was drawn: its text and its line box (advance wide, ascent + descent high), as a browser reports it."""

    text: str
    box: IntBox


class _Glyphs(NamedTuple):
    mask: Mask
    left: int
    top: int
    advance: float


@functools.cache
def bundled_fonts() -> dict[str, Path]:
    """The fonts that come with matplotlib and are therefore on every machine: DejaVu and STIX (Times-like)."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return {path.stem: path for path in sorted(folder.glob("*.ttf")) if _BUNDLED.fullmatch(path.name)}


@functools.cache
def system_fonts() -> dict[str, Path]:
    """Liberation fonts of this machine (what Chromium shows for Arial, Times and Courier on Debian); empty where there are none."""
    return {path.stem: path for path in sorted(_SYSTEM_FONTS.rglob("Liberation*.ttf"))}


@functools.lru_cache(maxsize=1024)
def _face(name: str, size: float) -> ImageFont.FreeTypeFont:
    path = bundled_fonts().get(name) or system_fonts().get(name)
    if path is None:
        raise ValueError(f"no font {name!r} here; there are {', '.join([*bundled_fonts(), *system_fonts()])}")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=1024)
def _metrics(font: Font) -> tuple[int, int, float]:
    """Ascent, descent and the width of a space."""
    if font.smooth:
        large = _face(font.name, font.size * _FINE)
        ascent, descent = large.getmetrics()
        return round(ascent / _FINE), round(descent / _FINE), large.getlength(" ") / _FINE
    face = _face(font.name, font.size)
    ascent, descent = face.getmetrics()
    return ascent, descent, face.getlength(" ")


@functools.lru_cache(maxsize=65536)
def _glyph(font: Font, letter: str, quarters: int) -> _Glyphs:
    """One letter, its origin `quarters` of a pixel to the right of a whole pixel; `top` counts from the baseline."""
    scale = _FINE if font.smooth else 1
    face = _face(font.name, font.size * scale)
    left, top, right, bottom = (int(edge) for edge in face.getbbox(letter, anchor="ls"))
    shift = quarters * scale // 4
    x0, y0 = (left + shift) // scale, top // scale
    width, height = -(-(right + shift) // scale) - x0, -(-bottom // scale) - y0
    picture = Image.new("L", (max(1, width) * scale, max(1, height) * scale))
    ImageDraw.Draw(picture).text((shift - x0 * scale, -y0 * scale), letter, fill=255, font=face, anchor="ls")
    if scale > 1:
        picture = picture.reduce(scale)
    return _Glyphs(np.asarray(picture), x0, y0, face.getlength(letter) / scale)


@functools.lru_cache(maxsize=32768)
def _glyphs(font: Font, text: str) -> _Glyphs:
    """A word put together from its letters, which is many times as fast as rendering it anew; `top` counts from the line's top."""
    pen, placed = 0.0, []
    for letter in text:
        quarters = round(pen * 4) if font.smooth else round(pen) * 4
        glyph = _glyph(font, letter, quarters % 4)
        placed.append((quarters // 4 + glyph.left, glyph))
        pen += glyph.advance
    left, top = min(x for x, _ in placed), min(glyph.top for _, glyph in placed)
    right = max(x + glyph.mask.shape[1] for x, glyph in placed)
    bottom = max(glyph.top + glyph.mask.shape[0] for _, glyph in placed)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    for x, glyph in placed:
        height, width = glyph.mask.shape
        place = mask[glyph.top - top : glyph.top - top + height, x - left : x - left + width]
        np.maximum(place, glyph.mask, out=place)
    return _Glyphs(mask, left, top + _metrics(font)[0], pen)


def line_height(font: Font) -> int:
    """Ascent plus descent, in pixels."""
    ascent, descent, _ = _metrics(font)
    return ascent + descent


def text_width(font: Font, text: str) -> int:
    """Width of one line of text as `Canvas.text` draws it, trailing spaces included, in pixels."""
    space = _metrics(font)[2]
    return round(sum(space if part == " " else _glyphs(font, part).advance for part in _parts(text)))


def _parts(text: str) -> Iterator[str]:
    return (part for part in re.split("([ \t])", text.replace("\t", " ")) if part)


@functools.lru_cache(maxsize=4096)
def rounded_mask(width: int, height: int, radius: float) -> Mask:
    """Coverage (0..255) of a filled rectangle with round corners; radius width / 2 is a disc."""
    scale = _SUPERSAMPLING
    picture = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(picture).rounded_rectangle((0, 0, width * scale - 1, height * scale - 1), radius * scale, fill=255)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


@functools.lru_cache(maxsize=256)
def stroke_mask(width: int, height: int, points: tuple[tuple[float, float], ...], thickness: float) -> Mask:
    """Coverage of an open line through `points`, which are given as fractions of the width and height."""
    scale = _SUPERSAMPLING
    picture = Image.new("L", (width * scale, height * scale))
    corners = [(x * width * scale, y * height * scale) for x, y in points]
    ImageDraw.Draw(picture).line(corners, fill=255, width=round(thickness * scale), joint="curve")
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


CHECK_MARK = ((0.18, 0.52), (0.42, 0.76), (0.84, 0.24))
CHEVRON = ((0.1, 0.3), (0.5, 0.72), (0.9, 0.3))
CROSS = (((0.15, 0.15), (0.85, 0.85)), ((0.15, 0.85), (0.85, 0.15)))


@functools.lru_cache(maxsize=4096)
def _row(colour: Colour, width: int) -> Pixels:
    """One row of a colour: assigning rows is many times as fast as assigning a colour to an area."""
    return np.tile(np.asarray(colour, np.uint8), (width, 1))


class Canvas:
    """Pixels uint8[height, width, 3] that can be drawn on. Everything is cut off at the edge and at `clip`."""

    def __init__(self, width: int, height: int, background: Colour) -> None:
        self.width, self.height = width, height
        self.pixels: Pixels = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = _row(background, width)

    def copy(self) -> Canvas:
        other = Canvas.__new__(Canvas)
        other.width, other.height, other.pixels = self.width, self.height, self.pixels.copy()
        return other

    def fill(self, box: IntBox, colour: Colour) -> None:
        x0, y0, x1, y1 = self._cut(box, None)
        self.pixels[y0:y1, x0:x1] = _row(colour, x1 - x0)

    def frame(self, box: IntBox, colour: Colour, thickness: int = 1) -> None:
        """The border of a box, inside it."""
        x, y, w, h = box
        self.fill((x, y, w, thickness), colour)
        self.fill((x, y + h - thickness, w, thickness), colour)
        self.fill((x, y, thickness, h), colour)
        self.fill((x + w - thickness, y, thickness, h), colour)

    def panel(self, box: IntBox, face: Colour, border: Colour, radius: float = 0, thickness: int = 1) -> None:
        """A filled and bordered box, with round corners where `radius` > 0."""
        x, y, w, h = box
        if radius <= 0:
            self.fill(box, border)
            self.fill((x + thickness, y + thickness, w - 2 * thickness, h - 2 * thickness), face)
            return
        self.paint(rounded_mask(w, h, radius), x, y, border)
        inner = rounded_mask(max(1, w - 2 * thickness), max(1, h - 2 * thickness), max(0.0, radius - thickness))
        self.paint(inner, x + thickness, y + thickness, face)

    def paint(self, mask: Mask, x: int, y: int, colour: Colour, clip: IntBox | None = None) -> None:
        """Blend `colour` in with the coverage `mask`, whose top left corner comes to (x, y)."""
        height, width = mask.shape
        x0, y0, x1, y1 = self._cut((x, y, width, height), clip)
        if x0 >= x1 or y0 >= y1:
            return
        if (x1 - x0, y1 - y0) != (width, height):
            mask = mask[y0 - y : y1 - y, x0 - x : x1 - x]
        place = self.pixels[y0:y1, x0:x1]
        coverage = mask[:, :, None].astype(np.uint16)
        mixed = place * (255 - coverage) + coverage * np.asarray(colour, np.uint16) + 127
        place[:] = (mixed + 1 + (mixed >> 8)) >> 8  # division by 255, exact in 16 bits

    def text(self, x: int, y: int, text: str, font: Font, colour: Colour, clip: IntBox | None = None) -> list[Word]:
        """Draw one line whose box starts at (x, y); the words that can be seen at least half, with their boxes cut to `clip`."""
        words = place_words(x, y, text, font)
        for word in words:
            glyphs = _glyphs(font, word.text)
            self.paint(glyphs.mask, word.box[0] + glyphs.left, y + glyphs.top, colour, clip)
        return words if clip is None else clip_words(words, clip)

    def dim(self, share: float) -> None:
        """Darken everything, as behind a modal dialog; 0 changes nothing, 1 is black."""
        self.pixels[:] = np.round(np.arange(256) * (1 - share)).astype(np.uint8)[self.pixels]

    def _cut(self, box: IntBox, clip: IntBox | None) -> IntBox:
        x, y, w, h = box
        x0, y0, x1, y1 = max(0, x), max(0, y), min(self.width, x + w), min(self.height, y + h)
        if clip is not None:
            x0, y0, x1, y1 = max(x0, clip[0]), max(y0, clip[1]), min(x1, clip[0] + clip[2]), min(y1, clip[1] + clip[3])
        return x0, y0, max(x0, x1), max(y0, y1)


def place_words(x: int, y: int, text: str, font: Font) -> list[Word]:
    """Where the words of a line come to lie when its box starts at (x, y)."""
    height, space, at, words = line_height(font), _metrics(font)[2], float(x), []
    for part in _parts(text):
        if part == " ":
            at += space
            continue
        advance = _glyphs(font, part).advance
        words.append(Word(part, (round(at), y, max(1, round(advance)), height)))
        at += advance
    return words


def clip_words(words: list[Word], clip: IntBox) -> list[Word]:
    """The words that are seen whole, or of which most is seen in each direction; their boxes are cut to what is seen."""
    seen = []
    for word in words:
        cut = intersect(word.box, clip)
        if cut[2] >= 0.9 * word.box[2] and cut[3] >= 0.7 * word.box[3]:
            seen.append(Word(word.text, cut))
    return seen


def intersect(first: IntBox, second: IntBox) -> IntBox:
    """The common part of two boxes; width and height are 0 where there is none."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    return left, top, max(0, right - left), max(0, bottom - top)


class FlatPngEncoder:
    """PNG for a sequence of screens, which are mostly flat and change little from one to the next.

    Rows are unfiltered and compressed at the quickest level in bands that do not refer to each other, so that a band that has
    not changed since the last picture is used again. Several times as fast as Pillow's encoder at level 1.
    """

    band = 15

    def __init__(self) -> None:
        self._raw: list[bytes] = []
        self._compressed: list[bytes] = []

    def encode(self, pixels: Pixels) -> bytes:
        """The PNG file of uint8[height, width, 3]. Decoding it gives the same pixels, whatever was encoded before."""
        height, width, _ = pixels.shape
        rows = np.zeros((height, 1 + 3 * width), np.uint8)
        rows[:, 1:] = pixels.reshape(height, -1)
        raw = [rows[top : top + self.band].tobytes() for top in range(0, height, self.band)]
        same = len(raw) == len(self._raw)
        self._compressed = [self._compressed[i] if same and band == self._raw[i] else _deflate(band) for i, band in enumerate(raw)]
        self._raw = raw
        stream = b"\x78\x01" + b"".join(self._compressed) + b"\x03\x00" + struct.pack(">I", zlib.adler32(rows.data))
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def number_boxes(pixels: Pixels, boxes: Sequence[tuple[int, Box]], size: float = DEFAULT_FONT.size) -> Pixels:
    """A copy of uint8[height, width, 3] with a red frame around every box and its number, in letters of `size` pixels, at the box's
    lower left corner. Boxes are (left, top, width, height) in pixels."""
    image = Image.fromarray(pixels).convert("RGB")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(str(bundled_fonts()[DEFAULT_FONT.name]), round(size))
    for _, (left, top, width, height) in boxes:
        draw.rectangle((left, top, left + width, top + height), outline=(255, 0, 0))
    for number, (left, top, _, height) in boxes:  # above all frames
        _, label_top, label_right, _ = draw.textbbox((0, 0), str(number), font=font, anchor="lb")
        # A label that would leave the screen stands at its edge.
        place = (min(max(left, 0), image.width - label_right), min(max(top + height, -label_top), image.height))
        draw.rectangle(draw.textbbox(place, str(number), font=font, anchor="lb"), fill=(0, 0, 0))
        draw.text(place, str(number), fill=(255, 255, 255), font=font, anchor="lb")
    return np.asarray(image)


def frame_box(pixels: Pixels, box: Box, margin: float = 2.0) -> Pixels:
    """A copy of uint8[height, width, 3] with a red frame `margin` pixels around a box (left, top, width, height)."""
    image = Image.fromarray(pixels).convert("RGB")
    left, top, width, height = box
    corners = (left - margin, top - margin, left + width + margin, top + height + margin)
    ImageDraw.Draw(image).rectangle(corners, outline=(255, 0, 0))
    return np.asarray(image)


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
