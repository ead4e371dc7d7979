"""Demonstrators for places that nothing marks and for lines: centres, angles, circles; colours and pie menus."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.reading import match, quoted
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote, say
from stepladder.types import Action

Point = tuple[float, float]

#: Where points can be set, in pixels of the screen: left, top, right, bottom.
BOARD = (5, 57, 148, 175)


async def middles(screen: Screen, selector: str) -> list[Point]:
    boxes = await screen.evaluate(
        f"[...document.querySelectorAll('{selector}')].map((e) => {{ const r = e.getBoundingClientRect(); "
        "return [(r.left + r.right) / 2, (r.top + r.bottom) / 2]; })"
    )
    return [(x, y) for x, y in boxes]


async def set_point(screen: Screen, place: Point, why: str, what: str) -> AsyncIterator[Turn]:
    """Click a place (a later click moves the point), then submit."""
    yield say(why, what), Action("click", x=round(place[0]), y=round(place[1]))
    async for turn in screen.submit("The point is set."):
        yield turn


def farthest(origin: Point, directions: list[Point]) -> Point:
    """The place on the board farthest from `origin` in one of the directions (unit vectors), at most 60 pixels away."""
    places = []
    for dx, dy in directions:
        for distance in range(60, 0, -1):
            x, y = origin[0] + dx * distance, origin[1] + dy * distance
            if BOARD[0] <= x <= BOARD[2] and BOARD[1] <= y <= BOARD[3]:
                places.append((distance, x, y))
                break
    if not places:
        raise OracleError(f"no place on the board next to {origin}")
    return max(places)[1:]


def unit(start: Point, end: Point) -> Point:
    length = math.dist(start, end)
    return (end[0] - start[0]) / length, (end[1] - start[1]) / length


async def circle_center(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    center = (await middles(screen, ".black-circle"))[0]
    async for turn in set_point(
        screen, center, "This place is equally far from the whole circle.", "Click the center of the circle."
    ):
        yield turn


async def find_midpoint(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    (x1, y1), (x2, y2) = await middles(screen, ".black-circle")
    place = ((x1 + x2) / 2, (y1 + y2) / 2)
    async for turn in set_point(
        screen, place, "This place is half way between the points.", "Click half way between the two points."
    ):
        yield turn


async def right_angle(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    black, blue = (await middles(screen, "#init-black"))[0], (await middles(screen, "#init-blue"))[0]
    dx, dy = unit(blue, black)
    place = farthest(blue, [(-dy, dx), (dy, -dx)])
    async for turn in set_point(
        screen, place, "From the blue point this is square to the line.", "Click square to the line at the blue point."
    ):
        yield turn


async def bisect_angle(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    corner = (await middles(screen, ".init-blue"))[0]
    first, second = (unit(corner, point) for point in await middles(screen, ".init-black"))
    place = farthest(corner, [unit((0, 0), (first[0] + second[0], first[1] + second[1]))])
    async for turn in set_point(screen, place, "This place is in the middle of the angle.", "Click in the middle of the angle."):
        yield turn


async def draw_line(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    kind = match(r"Draw a (horizontal|vertical) line", instruction)[1]
    x, y = (await middles(screen, "#circ"))[0]
    # The page looks at single positions of the mouse; half way along the drag one is exactly on the dot.
    dx, dy = (24, 0) if kind == "horizontal" else (0, 20)
    action = Action("drag", x=round(x) - dx, y=round(y) - dy, x2=round(x) + dx, y2=round(y) + dy)
    yield say("The line must run through the dot.", f"Draw a {kind} line through the dot."), action
    async for turn in screen.submit("The line is drawn."):
        yield turn


async def draw_circle(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    x, y = (await middles(screen, "#circ"))[0]
    around = [(x + 19 * math.cos(k * math.pi / 6), y + 19 * math.sin(k * math.pi / 6)) for k in range(13)]
    points = [(round(px), round(py)) for px, py in around]
    yield (
        say("The circle begins at the right of the point.", "Press the mouse button here."),
        Action("mouse_down", x=points[0][0], y=points[0][1]),
    )
    for px, py in points[1:]:
        yield say("The circle goes on around the point.", "Move the mouse along the circle."), Action("move", x=px, y=py)
    yield say("The circle is closed.", "Release the mouse button."), Action("mouse_up", x=points[-1][0], y=points[-1][1])
    async for turn in screen.submit("The circle is drawn."):
        yield turn


async def click_shades(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    color = match(r"shades of (\w+)", instruction)[1]
    shades = await screen.evaluate("all('#area span').map((e) => [e.dataset.color, e.className === 'selected'])")
    for index, (shade, selected) in enumerate(shades):
        if selected != (shade == color):
            why = f"This is a shade of {color}." if shade == color else f"This is selected, but not {color}."
            yield await screen.click(f"all('#area span')[{index}]", why, f"Click the {shade} box {index + 1}.")
    async for turn in screen.submit(f"All shades of {color} are selected."):
        yield turn


async def use_colorwheel(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """The field of the picker takes the colour as six hexadecimal digits."""
    if "following" in instruction:
        color = "getComputedStyle(document.querySelector('#query .cc')).backgroundColor"
        numbers = (await screen.evaluate(f"{color}.match(/\\d+/g).map(Number)"))[:3]
    else:
        name = match(r"Select (\w+) with", instruction)[1]
        numbers = await screen.evaluate(f"(({{r, g, b}}) => [r, g, b])(ui_utils.hexToRgb(ui_utils.colorNameToHex({quote(name)})))")
    async for turn in screen.fill("document.getElementById('col')", "".join(f"{value:02X}" for value in numbers), "color field"):
        yield turn
    if await screen.center("document.getElementById('subbtn')") is None:
        yield (
            say("The picker covers the button and closes when another place is clicked.", "Click beside the picker."),
            Action("click", x=80, y=200),
        )
    async for turn in screen.submit("The color is set."):
        yield turn


async def click_pie(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    title = f"[...document.querySelectorAll('#divWheel text')].find((e) => text(e) === {quote(name)})"
    for _ in range(6):
        if await screen.center(title) is not None:
            break
        if await screen.evaluate("[...document.querySelectorAll('#divWheel text')].some((e) => text(e) === '+')"):
            plus = "[...document.querySelectorAll('#divWheel text')].find((e) => text(e) === '+')"
            yield await screen.click(plus, "The menu is closed.", 'Click the "+" of the menu.')
        else:
            yield say("The menu is still opening.", "Wait a moment."), Action("wait", seconds=0.5)
    yield await screen.click(title, f'The menu is open and has "{name}".', f'Click "{name}".')


ORACLES: dict[str, Oracle] = {
    "circle-center": circle_center,
    "find-midpoint": find_midpoint,
    "right-angle": right_angle,
    "bisect-angle": bisect_angle,
    "draw-line": draw_line,
    "draw-circle": draw_circle,
    "click-shades": click_shades,
    "use-colorwheel": use_colorwheel,
    "use-colorwheel-2": use_colorwheel,
    "click-pie": click_pie,
    "click-pie-nodelay": click_pie,
}
