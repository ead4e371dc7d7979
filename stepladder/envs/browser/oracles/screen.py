"""What a demonstrator sees and says: questions to the page, and turns (thought, action) at pixel coordinates.

A demonstrator reads the page with JavaScript expressions that change nothing; whatever it does, it does by input events. The
expressions may use these helpers: `all(selector)` (visible elements), `named(selector, text)` (the first of them with exactly
this text), `text(element)`, `visible(element)`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from stepladder.envs.browser.actions import NOTCH
from stepladder.types import Action, ActionKind

Turn = tuple[str, Action]
Oracle = Callable[["Screen", str], AsyncIterator[Turn]]

MAX_SCROLLS = 40

HELPERS = r"""
const visible = (e) => { if (!e) return false; const r = e.getBoundingClientRect(), s = getComputedStyle(e);
  return r.width > 0 && r.height > 0 && s.visibility !== 'hidden' && s.display !== 'none'; };
const text = (e) => (e.textContent || e.value || '').replace(/\s+/g, ' ').trim();
const all = (selector) => [...document.querySelectorAll(selector)].filter(visible);
const named = (selector, name) => all(selector).find((e) => text(e) === name);
"""

#: The point to click: the centre of the largest visible part, or the nearest point to it that no other element covers.
POINT = r"""
const point = (e) => {
  if (!visible(e)) return null;
  const ours = (x, y) => { const hit = document.elementFromPoint(x, y); return hit && (hit === e || e.contains(hit)); };
  const parts = [...e.getClientRects()].map((r) => [Math.max(r.left, 0), Math.max(r.top, 0),
    Math.min(r.right, innerWidth), Math.min(r.bottom, innerHeight)]).filter((p) => p[2] - p[0] >= 1 && p[3] - p[1] >= 1);
  parts.sort((p, q) => (q[2] - q[0]) * (q[3] - q[1]) - (p[2] - p[0]) * (p[3] - p[1]));
  for (const [left, top, right, bottom] of parts) {
    const x = (left + right) / 2, y = (top + bottom) / 2, grid = [];
    if (ours(Math.floor(x), Math.floor(y))) return [Math.floor(x), Math.floor(y)];
    for (let i = 0; i <= 12; i += 1) for (let j = 0; j <= 12; j += 1)
      grid.push([left + (right - left) * (i + 0.5) / 13, top + (bottom - top) * (j + 0.5) / 13]);
    grid.sort((p, q) => Math.hypot(p[0] - x, p[1] - y) - Math.hypot(q[0] - x, q[1] - y));
    for (const [px, py] of grid) if (ours(Math.floor(px), Math.floor(py))) return [Math.floor(px), Math.floor(py)];
  }
  return null;
};
"""

#: How far the scrolling ancestor must move to show the element: [distance in pixels, x and y of a point inside that ancestor].
OUTSIDE = r"""
const outside = (e) => {
  const r = e.getBoundingClientRect();
  for (let box = e.parentElement; box; box = box.parentElement) {
    const root = box === document.documentElement || box === document.body, style = getComputedStyle(box);
    if (!root && !(/auto|scroll/.test(style.overflowY) && box.scrollHeight > box.clientHeight)) continue;
    const frame = root ? {left: 0, top: 0, right: innerWidth, bottom: innerHeight} : box.getBoundingClientRect();
    const distance = (r.top + r.bottom) / 2 - (frame.top + frame.bottom) / 2;
    if (root || r.top < frame.top || r.bottom > frame.bottom)
      return [distance, (Math.max(frame.left, 0) + Math.min(frame.right, innerWidth)) / 2,
        (Math.max(frame.top, root ? 60 : 0) + Math.min(frame.bottom, innerHeight)) / 2];
  }
  return [0, 80, 130];
};
"""


#: [the point to click or null, else how far to scroll for it]; [null, null] where there is no element.
LOOK = "const look = (e) => { const place = point(e); return [place, place || !e ? null : outside(e)]; };"


class OracleError(Exception):
    """The page is not what the demonstrator expects; the message names the element."""


class Page(Protocol):
    async def evaluate_script(self, js: str) -> Any: ...


def quote(text: str) -> str:
    """A JavaScript string literal."""
    return json.dumps(text)


def say(why: str, what: str) -> str:
    """A thought: one sentence of reason and the line "Action: ..." ."""
    return f"{why}\nAction: {what}"


def press(*keys: str, why: str, what: str = "") -> Turn:
    return say(why, what or f"Press {'+'.join(keys)}."), Action("key", keys=keys)


def type_text(text: str, why: str, what: str = "") -> Turn:
    return say(why, what or f'Type "{text}".'), Action("type", text=text)


def wait(seconds: float, why: str) -> Turn:
    return say(why, f"Wait {seconds:g} second{'' if seconds == 1 else 's'}."), Action("wait", seconds=seconds)


@dataclass(frozen=True, slots=True)
class Look:
    """Where a click hits an element (pixels), or how to scroll to it as `OUTSIDE` says; neither where there is no such element."""

    point: tuple[int, int] | None
    move: tuple[float, float, float] | None

    @classmethod
    def of(cls, answer: list[Any]) -> Look:
        """From what `look(element)` gives on the page."""
        point, move = answer
        return cls((point[0], point[1]) if point else None, (move[0], move[1], move[2]) if move else None)


class Screen:
    """Questions about the page shown by an environment, and turns aimed at its elements."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def evaluate(self, js: str) -> Any:
        """The JSON value of an expression that may use the helpers above."""
        return await self._page.evaluate_script(f"(() => {{{HELPERS} return ({js}); }})()")

    async def center(self, target: str) -> tuple[int, int] | None:
        """Pixel of the element `target` (a JavaScript expression) that a click will hit; None when it has none."""
        found = await self._page.evaluate_script(f"(() => {{{HELPERS}{POINT} return point({target}); }})()")
        return (found[0], found[1]) if found else None

    async def at(self, target: str) -> tuple[int, int]:
        """`center`, or OracleError."""
        found = await self.center(target)
        if found is None:
            raise OracleError(f"nothing to click for {target} (missing, hidden, covered or off the screen)")
        return found

    async def box(self, target: str) -> tuple[float, float, float, float]:
        """(left, top, width, height) of the element in pixels. Raises OracleError."""
        measure = "const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height];"
        found = await self.evaluate(f"((e) => {{ if (!e) return null; {measure} }})({target})")
        if found is None:
            raise OracleError(f"no element for {target}")
        return (found[0], found[1], found[2], found[3])

    async def click(self, target: str, why: str, what: str, kind: ActionKind = "click", keys: tuple[str, ...] = ()) -> Turn:
        """The turn that clicks the element `target`. Raises OracleError when no point of it can be hit."""
        x, y = await self.at(target)
        return say(why, what), Action(kind, x=x, y=y, keys=keys)

    async def reveal(self, target: str, what: str) -> AsyncIterator[Turn]:
        """Scroll turns until a click can hit the element; none when it can already. Raises OracleError."""
        for _ in range(MAX_SCROLLS):
            seen = await self._look(target)
            if seen.point is not None:
                return
            yield _scroll(seen, target, what)
        raise OracleError(f"cannot scroll to {target}")

    async def reach(self, target: str, why: str, what: str, thing: str, seen: Look | None = None) -> AsyncIterator[Turn]:
        """Scroll to the element where necessary, then click it. `seen` is a look at it that the caller has had already."""
        for _ in range(MAX_SCROLLS):
            seen = seen or await self._look(target)
            if seen.point is not None:
                yield say(why, what), Action("click", x=seen.point[0], y=seen.point[1])
                return
            yield _scroll(seen, target, thing)
            seen = None
        raise OracleError(f"cannot scroll to {target}")

    async def fill(self, field: str, content: str, name: str) -> AsyncIterator[Turn]:
        """Make a text field hold exactly `content`: click it, select what it holds, type."""
        value, focused, seen = await self._ask(f"((e) => [e.value, document.activeElement === e, look(e)])({field})")
        if value == content:
            return
        if not focused:
            why, what = f"The text belongs into the {name}.", f"Click the {name}."
            async for turn in self.reach(field, why, what, name, Look.of(seen)):
                yield turn
        if value:
            yield press("ctrl", "a", why=f"The {name} holds wrong text.", what="Select all text in the field.")
        yield type_text(content, f"The {name} is selected and must hold this text.")

    async def submit(self, why: str = "Everything is as asked.", name: str = "") -> AsyncIterator[Turn]:
        """Click the button that ends the form; `name` when it is not obvious."""
        button = "all('button, input[type=submit]').find((e) => /^(submit|login|ok|search|okay)$/i.test(text(e)))"
        if name:
            button = f"named('button, input[type=submit]', {quote(name)})"
        label, seen = await self._ask(f"((e) => [e ? text(e) : '', look(e)])({button})")
        async for turn in self.reach(button, why, f'Click the "{label}" button.', f'"{label}" button', Look.of(seen)):
            yield turn

    async def _look(self, target: str) -> Look:
        return Look.of(await self._ask(f"look({target})"))

    async def _ask(self, js: str) -> Any:
        """As `evaluate`; the expression may use `look(element)` as well."""
        return await self._page.evaluate_script(f"(() => {{{HELPERS}{POINT}{OUTSIDE}{LOOK} return ({js}); }})()")


def _scroll(seen: Look, target: str, what: str) -> Turn:
    """The turn that brings an element nearer which no click can hit. Raises OracleError when scrolling does not help."""
    if seen.move is None or not seen.move[0]:
        raise OracleError(f"cannot scroll to {target}")
    distance, x, y = seen.move
    amount = -round(distance / NOTCH, 2) or (-0.1 if distance > 0 else 0.1)
    direction = "down" if amount < 0 else "up"
    thought = say(f"The {what} is further {direction}.", f"Scroll {direction}.")
    return thought, Action("scroll", x=int(x), y=int(y), amount=amount)
