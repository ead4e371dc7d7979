"""Metrics of single things in presentations: size, backgrounds, transitions, numbers of pages."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from pptx.enum.dml import MSO_FILL
from pptx.enum.shapes import MSO_SHAPE_TYPE
from pptx.util import Inches

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.presentations import color_of, read_show
from stepladder.envs.osworld.metrics.reading import both, left

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_PRESENTATION = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
#: How far, of 255, one part of a colour stands out from the others.
_STANDS_OUT = 50


def check_slide_orientation_Portrait(result: Got | None) -> float:
    found = left(result, read_show)
    return float(found is not None and found.slide_width < found.slide_height)


def check_image_stretch_and_center(result: Got | None, expected: Got) -> float:
    """The first image of the first slide, as the other presentation has it, fills the slide, within half an inch."""
    pair = both(result, expected, read_show)
    if pair is None or not pair[0].slides:
        return 0.0
    wanted = next((shape for shape in pair[1].slides[0].shapes if _picture(shape) and _content(shape)), None)
    if wanted is None:
        raise ValueError(f"the first slide of {expected.name!r} to compare with has no image")
    found = [one for one in pair[0].slides[0].shapes if _picture(one) and _content(one) == _content(wanted)]
    if not found:
        return 0.0
    image, width, height, near = found[-1], pair[1].slide_width, pair[1].slide_height, Inches(0.5)
    return float(
        abs(image.width - width) <= near
        and abs(image.height - height) <= near
        and abs(image.left - (width - image.width) / 2) <= near
        and abs(image.top - (height - image.height) / 2) <= near
    )


def check_strikethrough(result: Got | None, rules: Mapping[str, Sequence[int]]) -> float:
    """The first run of each paragraph of these shapes of these slides is struck through; all are counted from 0."""
    found = left(result, read_show)
    if found is None:
        return 0.0
    try:
        paragraphs = [
            found.slides[slide].shapes[shape].text_frame.paragraphs[paragraph]
            for slide in rules["slide_index_s"]
            for shape in rules["shape_index_s"]
            for paragraph in rules["paragraph_index_s"]
        ]
        return float(all(one.runs[0].font._element.get("strike", "noStrike") != "noStrike" for one in paragraphs))
    except (IndexError, AttributeError):  # no such slide, shape, text or paragraph any more
        return 0.0


def evaluate_presentation_fill_to_rgb_distance(result: Got | None, rules: Mapping[str, Any]) -> float:
    """1 less the mean distance of the slides' backgrounds from a colour, as a share of that of black and white. A slide without
    a plain colour, or with the colour from before (`original_rgb`), is as far as can be."""
    found = left(result, read_show)
    if found is None or not found.slides:
        return 0.0
    return 1 - sum(_distance(slide, rules["rgb"], rules.get("original_rgb")) for slide in found.slides) / len(found.slides)


def _distance(slide: Any, wanted: Sequence[int], before: Sequence[int] | None) -> float:
    fill = slide.background.fill
    if fill.type == MSO_FILL.BACKGROUND:
        fill = slide.slide_layout.slide_master.background.fill
    color = color_of(fill.fore_color) if fill.type == MSO_FILL.SOLID else None
    if color is None or (before is not None and tuple(color) == tuple(before)):
        return 1.0
    return math.dist(color, wanted) / math.dist((0, 0, 0), (255, 255, 255))


def check_transition(result: Got | None, rules: Mapping[str, Any]) -> float:
    """The transition to a slide, counted from 0."""
    root = left(result, lambda file: _part(file, f"ppt/slides/slide{rules['slide_idx'] + 1}.xml"))
    transition = None if root is None else root.find(f".//{_PRESENTATION}transition")
    return float(transition is not None and transition.find(f".//{_PRESENTATION}{rules['transition_type']}") is not None)


def check_page_number_colors(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Whether the slide master's number of the page is red, green, blue or black, more or less. Where its own shape has no
    colour, that of the last text that is not black counts."""
    if rules["color"] not in _COLORS:
        raise ValueError(f"the colour {rules['color']!r} is not known; known: {', '.join(_COLORS)}")
    root = left(result, lambda file: _part(file, "ppt/slideMasters/slideMaster1.xml"))
    found = None if root is None else _number_color(root)
    return float(found is not None and _COLORS[rules["color"]](*bytes.fromhex(found)))


def check_slide_numbers_color(result: Got | None) -> float:
    """Whether a slide shows a number, and the slide master's numbers are pure red."""
    found = left(result, read_show)
    if found is None or not any(getattr(shape, "text", "").isdigit() for slide in found.slides for shape in slide.shapes):
        return 0.0
    for master in found.slide_masters:
        for one in master.placeholders:
            if one.has_text_frame and one.text == "<number>":
                return float(color_of(one.text_frame.paragraphs[0].font.color) == (255, 0, 0))
    return 0.0


_COLORS = {
    "red": lambda red, green, blue: red > max(green, blue) + _STANDS_OUT,
    "green": lambda red, green, blue: green > max(red, blue) + _STANDS_OUT,
    "blue": lambda red, green, blue: blue > max(red, green) + _STANDS_OUT,
    "black": lambda red, green, blue: max(red, green, blue) < _STANDS_OUT,
}


def _number_color(master: ElementTree.Element) -> str | None:
    for shape in master.iter(f"{_PRESENTATION}sp"):
        place = shape.find(f".//{_PRESENTATION}ph")
        if place is not None and place.get("type") == "sldNum":
            own = _fills(shape)
            if own:
                return own[-1]
    for fills in (_fills(*master.iter(f"{_DRAWING}rPr")), _fills(master)):
        colored = [one for one in fills if one != "000000"]
        if colored:
            return colored[-1]
    black = _fills(master)
    return black[-1] if black else None


def _fills(*roots: ElementTree.Element) -> list[str]:
    """The plain colours below elements, in six hexadecimal digits."""
    fills = [fill for root in roots for fill in root.iter(f"{_DRAWING}solidFill")]
    values = [color.get("val", "") for fill in fills for color in fill.iter(f"{_DRAWING}srgbClr")]
    return [one for one in values if len(one) == 6 and all(sign in "0123456789abcdefABCDEF" for sign in one)]


def _part(file: io.BytesIO, name: str) -> ElementTree.Element:
    with zipfile.ZipFile(file) as archive:
        return ElementTree.fromstring(archive.read(name))


def _content(shape: Any) -> bytes | None:
    """The file of a picture; None for one that is only linked, or lost."""
    try:
        content: bytes = shape.image.blob
    except (AttributeError, KeyError, ValueError):
        return None
    return content


def _picture(shape: Any) -> bool:
    try:
        return bool(shape.shape_type == MSO_SHAPE_TYPE.PICTURE)
    except NotImplementedError:  # what python-pptx has no name for
        return False
