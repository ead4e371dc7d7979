"""Screenshots with the action drawn on them, and the action in words."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from stepladder.images import ImageStore, Pixels
from stepladder.types import Action, ImageRef, Step, Trajectory

_RING = (224, 49, 103, 255)
_HALO = (255, 255, 255, 235)
#: Overlays are drawn this much larger and then shrunk, for smooth edges.
_SMOOTH = 3
#: Pixels around the places of an action that its drawing may cover.
_MARGIN = 40
#: A frame is shown at most this wide, in CSS pixels, so that two stand side by side.
_WIDEST = 420


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a film strip: PNG bytes, size in CSS pixels, the action (or the outcome) and the thought in words."""

    png: bytes
    width: int
    height: int
    caption: str
    thought: str


def frames(trajectory: Trajectory, images: ImageStore, most: int = 12) -> Iterator[Frame]:
    """The screens of an episode in order, each with what was done on it, then the last screen with how it ended.

    Of an episode with more than `most` steps the first ones and the last are shown.
    """
    steps = list(enumerate(trajectory.steps, start=1))
    if len(steps) > most:
        steps = [*steps[: most - 1], steps[-1]]
    for number, step in steps:
        if step.observation.screenshot is not None:
            words = describe_actions(step)
            yield _frame(step.observation.screenshot, step.action, images, f"{number}. {words}", step.thought)
    if trajectory.final is not None and trajectory.final.screenshot is not None:
        yield _frame(trajectory.final.screenshot, None, images, outcome(trajectory), "")


def outcome(trajectory: Trajectory) -> str:
    """How an episode ended, in a few words."""
    if trajectory.reward is None:
        return f"not graded ({trajectory.status})"
    ended = {"done": "", "max_steps": ", out of steps", "gave_up": ", gave up", "parse_error": ", unreadable replies"}
    word = "success" if trajectory.success else "failure"
    return f"{word}, reward {trajectory.reward:g}{ended.get(trajectory.status, f', {trajectory.status}')}"


def describe_actions(step: Step) -> str:
    """What was done in a turn, or why nothing was."""
    if step.action is None:
        return f"no action: {step.error or 'empty reply'}"
    return ", then ".join(map(describe_action, step.actions))


def describe_action(action: Action) -> str:
    """ "click (52, 130)", "type “abc”", "press ctrl+a": short enough for a caption."""
    kind = action.kind.replace("_", " ")
    place = f" ({action.x:.0f}, {action.y:.0f})" if action.x is not None and action.y is not None else ""
    held = f" with {'+'.join(action.keys)}" if action.keys else ""
    if action.kind == "drag":
        end = f" to ({action.x2:.0f}, {action.y2:.0f})" if action.x2 is not None and action.y2 is not None else ""
        return f"drag{place}{end}{held}"
    if action.kind == "scroll":
        sideways = action.name == "horizontal"
        direction = ("right" if action.amount > 0 else "left") if sideways else ("up" if action.amount > 0 else "down")
        return f"scroll {direction} {abs(action.amount):g}{place}{held}"
    if action.kind == "type":
        return f"type “{_shorten(action.text)}”"
    if action.kind in ("key", "key_down", "key_up"):
        return f"{'press' if action.kind == 'key' else kind} {'+'.join(action.keys)}"
    if action.kind == "wait":
        return f"wait {action.seconds:g} s"
    if action.kind == "call":
        return f"call {action.name}"
    if action.kind in ("done", "fail"):
        return f"{kind} “{_shorten(action.text)}”" if action.text else kind
    return f"{kind}{place}{held}"


def draw_action(pixels: Pixels, action: Action | None) -> Image.Image:
    """The screenshot, enlarged to twice its size when it is small, with a ring where the pointer acted.

    Two rings mark a double click, a line a drag, an arrow the direction of scrolling.
    """
    height, width = pixels.shape[:2]
    scale = 2.0 if width <= 320 else min(1.0, 800 / width)
    size = (round(width * scale), round(height * scale))
    resampling = Image.Resampling.NEAREST if scale == 2.0 else Image.Resampling.LANCZOS
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").resize(size, resampling)
    if action is None or action.x is None or action.y is None:
        return picture
    start = _near(action.x * scale, action.y * scale, size)
    end = _near(*_end(action, start, scale), size)
    left, top = (math.floor(min(a, b)) - _MARGIN for a, b in zip(start, end, strict=True))
    width, height = (math.ceil(max(a, b)) + _MARGIN - low for a, b, low in zip(start, end, (left, top), strict=True))
    overlay = Image.new("RGBA", (width * _SMOOTH, height * _SMOOTH), (0, 0, 0, 0))
    begin, tip = (((x - left) * _SMOOTH, (y - top) * _SMOOTH) for x, y in (start, end))
    _draw(ImageDraw.Draw(overlay), action.kind, begin, tip)
    smooth = overlay.resize((width, height), Image.Resampling.LANCZOS)
    picture.paste(smooth, (left, top), smooth)
    return picture


def film_strip(shown: Sequence[Frame]) -> bytes:
    """Frames side by side as one PNG (for Markdown, where nothing can be laid out). Raises ValueError when there are none."""
    pictures = [Image.open(io.BytesIO(frame.png)) for frame in shown]
    gap = 12
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    strip = Image.new("RGBA", (width, max(picture.height for picture in pictures)), (0, 0, 0, 0))
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + gap
    return _png(strip)


def _frame(ref: ImageRef, action: Action | None, images: ImageStore, caption: str, thought: str) -> Frame:
    picture = draw_action(images.load(ref), action)
    shown = min(1.0, ref.width / picture.width, _WIDEST / picture.width)
    return Frame(_png(picture), round(picture.width * shown), round(picture.height * shown), caption, thought)


def _near(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """A point at most _MARGIN outside the picture: nobody can see it farther away."""
    return min(max(x, -_MARGIN), size[0] + _MARGIN), min(max(y, -_MARGIN), size[1] + _MARGIN)


def _end(action: Action, start: tuple[float, float], scale: float) -> tuple[float, float]:
    """Where an arrow from `start` ends; `start` itself for an action that has none."""
    x, y = start
    if action.kind == "drag" and action.x2 is not None and action.y2 is not None:
        return action.x2 * scale, action.y2 * scale
    if action.kind == "scroll":
        length = 28.0 if action.amount > 0 else -28.0
        return (x + length, y) if action.name == "horizontal" else (x, y - length)
    return start


def _draw(draw: ImageDraw.ImageDraw, kind: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    unit = 2.0 * _SMOOTH
    _arrow(draw, start, end, unit)
    for radius in (5.0, 9.0) if kind in ("double_click", "triple_click") else (7.0,):
        _ring(draw, *start, radius * unit, unit)
    x, y = start
    draw.ellipse((x - unit, y - unit, x + unit, y + unit), fill=_RING)


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, unit: float) -> None:
    for grow, width, colour in ((1.0, 3.6, _HALO), (0.2, 2.0, _RING)):
        outer = radius + grow * unit
        draw.ellipse((x - outer, y - outer, x + outer, y + outer), outline=colour, width=round(width * unit))


def _arrow(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], unit: float) -> None:
    direction = np.array(end) - np.array(start)
    length = float(np.hypot(*direction))
    if length == 0:
        return
    along = direction / length * unit
    across = np.array([-along[1], along[0]])
    for width, colour, grow in ((3.6, _HALO, 1.4), (1.8, _RING, 1.0)):
        draw.line([start, end], fill=colour, width=round(width * unit))
        head = [np.array(end) + along * 2, np.array(end) - along * 5 + across * 4, np.array(end) - along * 5 - across * 4]
        middle = np.mean(head, axis=0)
        draw.polygon([tuple(middle + (corner - middle) * grow) for corner in head], fill=colour)


def _shorten(text: str, most: int = 40) -> str:
    text = text.replace("\n", "⏎")
    return text if len(text) <= most else text[: most - 1] + "…"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
