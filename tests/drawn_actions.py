"""Drawn screens, actions and damaged replies for tests of dialects, and how close two actions are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from stepladder.agents.coordinates import Coordinates
from stepladder.interfaces import Agent, ParseError
from stepladder.keys import MODIFIERS, NAMED_KEYS
from stepladder.types import Action, ImageRef, Observation

sizes = st.integers(1, 4000)
symbols = st.characters(exclude_categories=("C", "Z")).filter(lambda c: c == c.lower() and len(c) == 1)
keys = st.lists(st.sampled_from(NAMED_KEYS) | symbols, min_size=1, max_size=3).map(tuple)
modifiers = st.lists(st.sampled_from(MODIFIERS), unique=True, max_size=2).map(tuple)
names = st.from_regex(r"[A-Za-z_][\w.-]{0,20}", fullmatch=True).filter(lambda name: name != "computer_use")
values = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=10)
arguments = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "action"),
    values | st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
)
#: Text that a model could think, without the marks of any dialect.
thoughts = st.text(alphabet=st.characters(exclude_characters="<", exclude_categories=("Cs",)))
_POINTED = ("click", "double_click", "triple_click", "right_click", "middle_click", "move", "mouse_down", "mouse_up")


def screen(width: int, height: int) -> Observation:
    return Observation(screenshot=ImageRef("0" * 64, width, height))


@st.composite
def screens(draw: st.DrawFn) -> Observation:
    return screen(draw(sizes), draw(sizes))


@st.composite
def resizable_screens(draw: st.DrawFn) -> Observation:
    """Screens that the processors of models take: no side 200 times the other."""
    width = draw(sizes)
    return screen(width, draw(st.integers(-(-width // 200), min(200 * width, 4000))))


@st.composite
def actions(draw: st.DrawFn, shown: Observation, kinds: tuple[str, ...]) -> Action:
    assert shown.screenshot is not None
    xs, ys = st.floats(0, shown.screenshot.width - 1), st.floats(0, shown.screenshot.height - 1)
    kind: Any = draw(st.sampled_from(kinds))
    point: dict[str, Any] = {"x": draw(xs), "y": draw(ys)}
    if kind != "move" and draw(st.booleans()):
        point = {}
    if kind in _POINTED:
        return Action(kind, **point, keys=draw(modifiers))
    if kind == "drag":
        return Action(kind, **point, x2=draw(xs), y2=draw(ys), keys=draw(modifiers))
    if kind == "scroll":
        amount = draw(st.integers(-5000, 5000)) / 100
        return Action(kind, **point, amount=amount, name=draw(st.sampled_from(["", "horizontal"])), keys=draw(modifiers))
    if kind in ("key", "key_down", "key_up"):
        return Action(kind, keys=draw(keys))
    if kind == "wait":
        return Action(kind, seconds=draw(st.floats(0, 30)))
    if kind == "call":
        return Action(kind, name=draw(names), args=draw(arguments))
    return Action(kind, text=draw(st.text()))


def close(first: Action, second: Action, shown: Observation, coordinates: Coordinates) -> bool:
    """Whether two actions are the same, their places to within the tolerance of the codec."""
    assert shown.screenshot is not None
    tolerance_x, tolerance_y = coordinates.tolerance(shown.screenshot.width, shown.screenshot.height)
    for a, b, tolerance in (
        (first.x, second.x, tolerance_x),
        (first.x2, second.x2, tolerance_x),
        (first.y, second.y, tolerance_y),
        (first.y2, second.y2, tolerance_y),
    ):
        if (a is None) != (b is None) or (a is not None and b is not None and abs(a - b) > tolerance + 1e-6):
            return False
    pointless = {"x": None, "y": None, "x2": None, "y2": None}
    return replace(first, **pointless) == replace(second, **pointless)  # type: ignore[arg-type]


@st.composite
def damaged(draw: st.DrawFn, text: str, fragments: list[str]) -> str:
    """`text` with up to four pieces cut out and replaced."""
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + 8)))
        text = text[:begin] + draw(st.sampled_from(fragments) | st.text(max_size=3)) + text[end:]
    return text


def read_or_refuse(agent: Agent, text: str, shown: Observation) -> tuple[Action, ...]:
    """The actions that are read, none when the text is refused with a place in it. Their places lie on the screen."""
    assert shown.screenshot is not None
    reader = getattr(agent, "parse_several", None)
    try:
        read = reader(text, shown)[1] if reader is not None else (agent.parse(text, shown)[1],)
    except ParseError as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017
        return ()
    assert read
    width, height = shown.screenshot.width, shown.screenshot.height
    for action in read:
        for place, size in ((action.x, width), (action.x2, width), (action.y, height), (action.y2, height)):
            assert place is None or 0 <= place <= size - 1
    return tuple(read)
