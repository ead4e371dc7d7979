"""Whether two presentations are the same, in as much as the options of compare_pptx_files ask."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from pptx import Presentation
from pptx.enum.dml import MSO_FILL
from pptx.enum.shapes import MSO_SHAPE_TYPE
from pptx.enum.text import PP_ALIGN

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import both

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
#: What is looked at unless an option says otherwise.
EXAMINED = frozenset(
    [
        *("number_of_slides", "shape", "text", "indent", "font_name", "font_size", "font_bold", "font_italic", "color_rgb"),
        *("font_underline", "strike_through", "alignment", "run_count", "bullets", "background_color", "note"),
    ]
)
#: What is looked at only when an option says so.
ASKED_FOR = frozenset(
    [
        *("title_bottom_position", "table_bottom_position", "right_position", "top_position", "shape_for_shift_size"),
        *("image_size", "modify_height"),
    ]
)
#: What a public task names and OSWorld does not look at.
UNREAD = frozenset(["shape_lenient_height"])
#: Of the public tasks that ask for them: the title, and the slides (from 0), whose shapes are to be moved, how far at least (EMU).
_TITLE, _TABLE_SLIDE, _MOVED_SLIDE = "Product Comparison", 2, 1
_LOW, _RIGHT, _HIGH = 3_600_000, 4_320_000, 1_980_000
_MAY_SHIFT = "Elaborate on what you want to discuss."


def compare_pptx_files(result: Got | None, expected: Got, **options: Any) -> float:
    """1 when the presentations are the same in all that is examined: slides, shapes with their places, texts, fonts, bullets,
    alignment, backgrounds, notes; `examine_...` options switch each of these (see EXAMINED, ASKED_FOR). Lengths are the same when
    they differ by no more than the share `approximately_tolerance` (0.005)."""
    pair = both(result, expected, read_show)
    return 0.0 if pair is None else float(_Comparison(options).same(*pair))


def read_show(file: io.BytesIO) -> Any:
    """A presentation, as python-pptx reads it. Raises whatever that does, also for what it would only notice when it gets there."""
    content = file.getvalue()
    tried = Presentation(io.BytesIO(content))
    _Comparison({}).same(tried, tried)
    for slide in tried.slides:
        for shape in slide.shapes:
            _kind(shape), shape.left, shape.top, shape.width, shape.height
    for master in tried.slide_masters:
        for one in master.placeholders:
            _ = [line.font.color for line in one.text_frame.paragraphs] if one.has_text_frame else []
    return Presentation(io.BytesIO(content))


class _Comparison:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.tolerance = float(options.get("approximately_tolerance", 0.005))
        named = {name.removeprefix("examine_"): bool(value) for name, value in options.items() if name.startswith("examine_")}
        unknown = sorted(named.keys() - EXAMINED - ASKED_FOR - UNREAD)
        if unknown:
            raise ValueError(f"compare_pptx_files has no option examine_{unknown[0]}")
        self.examined = {name for name in EXAMINED | ASKED_FOR if named.get(name, name in EXAMINED)}

    def same(self, first: Any, second: Any) -> bool:
        if self.asks("number_of_slides") and len(first.slides) != len(second.slides):
            return False
        slides = zip(first.slides, second.slides, strict=False)
        return all(self._slides(place, *pair) for place, pair in enumerate(slides))

    def asks(self, name: str) -> bool:
        return name in self.examined

    def _slides(self, place: int, first: Any, second: Any) -> bool:
        bullets = [_bullets(slide) for slide in (first, second)]  # first: looking at a font changes what is in memory
        if self.asks("background_color") and _background(first) != _background(second):
            return False
        if self.asks("note") and _notes(first) != _notes(second):
            return False
        shapes, texts = [list(slide.shapes) for slide in (first, second)], [list(_with_text(slide)) for slide in (first, second)]
        if len(shapes[0]) != len(shapes[1]) or len(texts[0]) != len(texts[1]):
            return False
        if not all(self._shapes(place, one, other) for one, other in zip(*shapes, strict=True)):
            return False
        if self.asks("bullets") and not _same_bullets(*bullets) and any(_has_runs(one) for one in shapes[0]):
            return False
        return not self.asks("alignment") or all(self._aligned(one, other) for one, other in zip(*texts, strict=True))

    def _shapes(self, place: int, first: Any, second: Any) -> bool:
        if not all(check(self, place, first, second) for name, check in _PLACES.items() if self.asks(name)):
            return False
        if _kind(first) == MSO_SHAPE_TYPE.TABLE and not self._tables(first, second):
            return False
        return not (_has_text(first) and _has_text(second)) or self._texts(first, second)

    def box(self, first: Any, second: Any) -> bool:
        return all(self.near(getattr(first, side), getattr(second, side)) for side in ("left", "top", "width", "height"))

    def near(self, first: int | None, second: int | None) -> bool:
        if first == second:
            return True
        if not first or not second:
            return False
        return abs(first - second) / max(abs(first), abs(second)) <= self.tolerance

    # ---------------------------------------------------------------------------------------------------------------- texts

    def _texts(self, first: Any, second: Any) -> bool:
        if self.asks("text") and first.text.strip() != second.text.strip():
            return False
        paragraphs, others = first.text_frame.paragraphs, second.text_frame.paragraphs
        return len(paragraphs) == len(others) and all(
            self._paragraphs(one, other) for one, other in zip(paragraphs, others, strict=True)
        )

    def _paragraphs(self, first: Any, second: Any) -> bool:
        if self.asks("alignment") and _alignment(first) != _alignment(second):
            return False
        if self.asks("text") and first.text != second.text:
            return False
        if self.asks("indent") and first.level != second.level and max(first.level, second.level) > 1:
            return False  # the first level and the one below look the same where a paragraph goes on
        runs, others = _runs(first, second)
        if self.asks("run_count") and len(runs) != len(others):
            return False
        return all(self._fonts(one, other) for one, other in zip(runs, others, strict=False))

    def _fonts(self, first: Any, second: Any) -> bool:
        one, other = first.font, second.font
        if self.asks("font_name") and one.name != other.name:
            return False
        if self.asks("font_size") and one.size != other.size:
            return False
        if self.asks("font_bold") and bool(one.bold) != bool(other.bold):
            return False
        if self.asks("font_italic") and bool(one.italic) != bool(other.italic):
            return False
        if self.asks("strike_through") and _struck(one) != _struck(other):
            return False
        if self.asks("font_underline") and not _same_underline(one, other):
            return False
        return not self.asks("color_rgb") or _same_color(one, other)

    def _aligned(self, first: Any, second: Any) -> bool:
        """Texts of groups too, which are looked at nowhere else."""
        if self.asks("text") and first.text.strip() != second.text.strip():
            return False
        one, other = ([_alignment(line) for line in shape.text_frame.paragraphs] for shape in (first, second))
        return one == other

    def _tables(self, first: Any, second: Any) -> bool:
        """The looks of the cells, size by size: texts of tables are not compared."""
        if _kind(second) != MSO_SHAPE_TYPE.TABLE:
            return False
        rows, others = ([list(row.cells) for row in shape.table.rows] for shape in (first, second))
        if [len(row) for row in rows] != [len(row) for row in others]:
            return False
        cells = [pair for row, other in zip(rows, others, strict=True) for pair in zip(row, other, strict=True)]
        return all(self._cells(one.text_frame.paragraphs, other.text_frame.paragraphs) for one, other in cells)

    def _cells(self, first: Sequence[Any], second: Sequence[Any]) -> bool:
        if len(first) != len(second):
            return False
        for paragraph, other in zip(first, second, strict=True):
            runs, others = _runs(paragraph, other)
            if self.asks("run_count") and len(runs) != len(others):
                return False
            for one, two in zip((run.font for run in runs), (run.font for run in others), strict=False):
                if bool(one.bold) != bool(two.bold) or bool(one.italic) != bool(two.italic) or not _same_underline(one, two):
                    return False
                if self.asks("color_rgb") and not _same_color(one, two):
                    return False
        return True


# ------------------------------------------------------------------------------------------------------------------- places


def _shape(of: _Comparison, _: int, first: Any, second: Any) -> bool:
    """Shapes without any text are decoration, and may be anywhere."""
    empty = not _text(first).strip() and not _text(second).strip()
    return empty or of.box(first, second)


def _title_bottom(of: _Comparison, _: int, first: Any, second: Any) -> bool:
    if _has_text(first) and _has_text(second) and first.text == second.text:
        return first.text != _TITLE or (first.top > second.top and first.top >= _LOW)
    return of.box(first, second)


def _table_bottom(of: _Comparison, place: int, first: Any, second: Any) -> bool:
    if place == _TABLE_SLIDE and _kind(first) == _kind(second) == MSO_SHAPE_TYPE.TABLE:
        return bool(first.top > second.top and first.top >= _LOW)
    return of.box(first, second)


def _right(_: _Comparison, place: int, first: Any, second: Any) -> bool:
    if place != _MOVED_SLIDE or _has_text(first) or _has_text(second):
        return True
    return bool(first.left > second.left and first.left >= _RIGHT)


def _top(_: _Comparison, place: int, first: Any, second: Any) -> bool:
    if place != _MOVED_SLIDE or not _kind(first) == _kind(second) == MSO_SHAPE_TYPE.PICTURE:
        return True
    return bool(first.top < second.top and first.top <= _HIGH)


def _shift(of: _Comparison, _: int, first: Any, second: Any) -> bool:
    return of.box(first, second) or _text(first) == _text(second) == _MAY_SHIFT


def _image_size(of: _Comparison, _: int, first: Any, second: Any) -> bool:
    if _kind(first) == _kind(second) == MSO_SHAPE_TYPE.PICTURE:
        return of.near(first.width, second.width) and of.near(first.height, second.height)
    return of.box(first, second)


def _height(of: _Comparison, _: int, first: Any, second: Any) -> bool:
    plain = not _has_text(first) and not _has_text(second)
    if plain or _kind(first) == _kind(second) == MSO_SHAPE_TYPE.FREEFORM:
        return of.near(first.height, second.height)
    return of.box(first, second)


_PLACES: dict[str, Callable[[_Comparison, int, Any, Any], bool]] = {
    "title_bottom_position": _title_bottom,
    "table_bottom_position": _table_bottom,
    "right_position": _right,
    "top_position": _top,
    "shape_for_shift_size": _shift,
    "shape": _shape,
    "image_size": _image_size,
    "modify_height": _height,
}

# ------------------------------------------------------------------------------------------------------------------ reading


def _kind(shape: Any) -> Any:
    try:
        return shape.shape_type
    except NotImplementedError:  # what python-pptx has no name for
        return None


def _has_text(shape: Any) -> bool:
    return hasattr(shape, "text")


def _text(shape: Any) -> str:
    return getattr(shape, "text", "") or ""


def _with_text(slide: Any) -> Iterator[Any]:
    """Shapes with a text, those in groups too."""
    waiting = list(slide.shapes)
    while waiting:
        shape = waiting.pop(0)
        if _has_text(shape) and hasattr(shape, "text_frame"):
            yield shape
        waiting[:0] = list(getattr(shape, "shapes", ()))


def _has_runs(shape: Any) -> bool:
    return _has_text(shape) and any(paragraph.runs for paragraph in shape.text_frame.paragraphs)


def _runs(first: Any, second: Any) -> tuple[list[Any], list[Any]]:
    """The runs of two paragraphs; runs without a text do not count where both are empty."""
    if first.text.strip() or second.text.strip():
        return list(first.runs), list(second.runs)
    return [run for run in first.runs if run.text.strip()], [run for run in second.runs if run.text.strip()]


def _alignment(paragraph: Any) -> Any:
    return PP_ALIGN.LEFT if paragraph.alignment is None else paragraph.alignment


def _struck(font: Any) -> str:
    return str(font._element.get("strike", "noStrike"))


def _same_underline(first: Any, second: Any) -> bool:
    """None is what the layout says, which counts as none where the other one says so too."""
    one, other = first.underline, second.underline
    if one is None or other is None:
        return True not in (one, other)
    return bool(one == other)


def color_of(color: Any) -> Any:
    """A colour's red, green and blue; None for one of the theme, and for none."""
    return getattr(color, "rgb", None)


def _same_color(first: Any, second: Any) -> bool:
    """Colours of the theme are not compared."""
    one, other = color_of(first.color), color_of(second.color)
    return one is None or other is None or one == other


def _background(slide: Any) -> Any:
    """The colour of a slide's background, its master's when it has none of its own; None when it is no plain colour."""
    for held in (slide, slide.slide_layout.slide_master):
        fill = held.background.fill
        if fill.type == MSO_FILL.SOLID:
            return color_of(fill.fore_color)
        if fill.type != MSO_FILL.BACKGROUND:
            return None
    return None


def _notes(slide: Any) -> str:
    frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    return "" if frame is None else frame.text.strip()


def _bullets(slide: Any) -> list[tuple[str, str, str]]:
    """(level, sign, text) of the paragraphs of a slide that have a text; the sign is empty where there is no bullet."""
    found = []
    for paragraph in ElementTree.fromstring(slide.part.blob).iter(f"{_DRAWING}p"):
        text = "".join(one.text or "" for one in paragraph.iter(f"{_DRAWING}t"))
        properties = paragraph.find(f"{_DRAWING}pPr")
        bullet = None if properties is None else properties.find(f"{_DRAWING}buChar")
        if text.strip():
            sign = "" if bullet is None else bullet.get("char", "")
            found.append(("0" if properties is None else properties.get("lvl", "0"), sign, text))
    return found


def _same_bullets(first: Sequence[tuple[str, str, str]], second: Sequence[tuple[str, str, str]]) -> bool:
    """The same texts with the same signs, at the same levels where there is one."""
    return len(first) == len(second) and all(
        text == other_text and sign == other_sign and (level == other_level or not sign)
        for (level, sign, text), (other_level, other_sign, other_text) in zip(first, second, strict=True)
    )
