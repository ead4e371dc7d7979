"""Demonstrators that drag: boxes, shapes, list entries, selections, corners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from stepladder.envs.browser.oracles.reading import match, ordinal
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, say
from stepladder.types import Action, Box

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def drag(start: tuple[float, float], end: tuple[float, float], why: str, what: str) -> Turn:
    action = Action("drag", x=int(start[0]), y=int(start[1]), x2=int(end[0]), y2=int(end[1]))
    return say(why, what), action


async def middle(screen: Screen, target: str) -> tuple[float, float]:
    left, top, width, height = await screen.box(target)
    return left + width / 2, top + height / 2


async def drag_box(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    small, large = "document.getElementById('draggableSmall')", "document.getElementById('draggableLarge')"
    for _ in range(4):
        inner, outer = await screen.box(small), await screen.box(large)
        if all(outer[k] + 2 < inner[k] and inner[k] + inner[k + 2] < outer[k] + outer[k + 2] - 2 for k in (0, 1)):
            break
        start, (x, y) = await screen.at(small), await middle(screen, small)
        center = await middle(screen, large)
        end = (start[0] + center[0] - x, start[1] + center[1] - y)
        yield drag(start, end, "The small box is not inside the large one.", "Drag the small box into the large box.")
    async for turn in screen.submit("The small box is inside the large one."):
        yield turn


async def drag_shape(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    word = match(r"(left|right|up|down)", instruction)[1]
    thing = "circle" if "circle" in instruction else "item"
    shape = "document.querySelector('#area svg > *')"
    moved = await screen.evaluate(
        f"((e) => {{ const m = e.getCTM(), s = e.ownerSVGElement.getCTM(); return [m.e - s.e, m.f - s.f]; }})({shape})"
    )
    dx, dy = DIRECTIONS[word]
    if moved[0] * dx + moved[1] * dy <= 2:
        x, y = await screen.at(shape)
        yield drag((x, y), (x + 25 * dx, y + 25 * dy), f"The {thing} must go {word}.", f"Drag the {thing} {word}.")
    async for turn in screen.submit(f"The {thing} was dragged {word}."):
        yield turn


async def entry_to_drag(screen: Screen, instruction: str) -> tuple[str, str, int, int]:
    """(name, where to, place now, place then) of the entry that the instruction names."""
    found = match(r"Drag (.+?) (to the .*|(?:up|down|left|right) by one.*)\.$", instruction)
    names = await screen.evaluate("all('#sortable li').map(text)")
    now = names.index(found[1])
    return found[1], found[2], now, place_index(found[2], now, 3 if len(names) == 9 else 1, len(names))


async def drag_items(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name, place, now, goal = await entry_to_drag(screen, instruction)
    start = await screen.at(f"all('#sortable li')[{now}].querySelector('div')")
    left, top, width, height = await screen.box(f"all('#sortable li')[{goal}]")
    # The list makes room once the pointer is on the far half of an entry.
    end = (left + width / 2, top + height * (0.8 if goal > now else 0.2))
    yield drag(start, end, f"{name} is asked for.", f"Drag {name} {place}.")


GAP = "[...document.querySelectorAll('#sortable li:not(.ui-sortable-helper)')].findIndex((e) => /placeholder/.test(e.className))"


async def drag_items_grid(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """The grid makes room for the entry on its way, so the button is released only once the gap is in the right place."""
    name, place, now, goal = await entry_to_drag(screen, instruction)
    x, y = await screen.at(f"all('#sortable li')[{now}].querySelector('div')")
    left, top, width, height = await screen.box(f"all('#sortable li')[{goal}]")
    yield say(f"{name} is asked for.", f"Press the mouse button on {name}."), Action("mouse_down", x=x, y=y)
    shares = ((0.5, 0.5), (0.2, 0.5), (0.8, 0.5), (0.5, 0.2), (0.5, 0.8), (0.1, 0.5), (0.9, 0.5))
    for attempt in range(14):
        share = shares[attempt % len(shares)]
        why = f"{name} must go {place}." if attempt == 0 else "The gap is not there yet."
        target = Action("move", x=int(left + width * share[0]), y=int(top + height * share[1]))
        yield say(why, f"Move {name} {place}."), target
        if await screen.evaluate(GAP) == goal:
            break
    yield say("The gap is in the right place.", "Release the mouse button."), Action("mouse_up")


def place_index(place: str, now: int, columns: int, count: int) -> int:
    """Where an entry must end: "to the top", "to the 3rd position", "down by one position", "to the center right", ..."""
    step = {"up": -columns, "down": columns, "left": -1, "right": 1}.get(place.split()[0])
    if step is not None:
        return now + step
    words = place.removeprefix("to the ").split()
    if words[-1] == "position":
        return ordinal(words[0]) - 1
    if columns == 1:
        return 0 if words[0] == "top" else count - 1
    row = {"top": 0, "center": 1, "bottom": 2}[words[0]]
    return 3 * row + {"left": 0, "center": 1, "right": 2}[words[-1]]


async def drag_sort_numbers(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    for _ in range(12):
        numbers = [int(value) for value in await screen.evaluate("all('#sortable li').map(text)")]
        wrong = next((i for i, value in enumerate(numbers) if value != sorted(numbers)[i]), None)
        if wrong is None:
            break
        number = sorted(numbers)[wrong]
        start = await screen.at(f"all('#sortable li')[{numbers.index(number)}].querySelector('div')")
        left, top, width, height = await screen.box(f"all('#sortable li')[{wrong}]")
        why = f"{number} is the {'lowest' if wrong == 0 else 'next'} number."
        yield drag(start, (left + width / 2, top + height * 0.2), why, f"Drag {number} to place {wrong + 1}.")
    async for turn in screen.submit("The numbers are in order."):
        yield turn


NAMES = {"rect": "rectangles", "circle": "circles", "polygon": "triangles"}


async def drag_shapes(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    wanted = match(r"Drag all (\w+)", instruction)[1]
    box = await screen.box("document.getElementById('shape-container')")
    async for turn in sort_shapes(screen, lambda name, color: box if wanted in (name, color) else None):
        yield turn


async def drag_shapes_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    wanted = match(r"Drag all (\w+)", instruction)[1]
    boxes = [await screen.box(f"document.querySelectorAll('#shape-container')[{index}]") for index in (0, 1)]
    async for turn in sort_shapes(screen, lambda name, color: boxes[0] if wanted in (name, color) else boxes[1]):
        yield turn


async def sort_shapes(screen: Screen, box_of: Callable[[str, str], Box | None]) -> AsyncIterator[Turn]:
    """Drag every shape into its box, each to a place of its own, then submit."""
    every = "document.querySelectorAll('#area_svg > *:not(#shape-container)')"
    shapes = await screen.evaluate(f"[...{every}].map((e) => [e.tagName, e.getAttribute('fill')])")
    filled: dict[Box, int] = {}
    for index, (tag, color) in enumerate(shapes):
        box = box_of(NAMES[tag], color)
        if box is None:
            continue
        target = f"{every}[{index}]"
        left, top, width, height = box
        number = filled.get(box, 0)
        filled[box] = number + 1
        end = (left + 12 + number % 3 * (width - 26) / 2, top + 13 + number // 3 * (height - 26))
        x, y = await middle(screen, target)
        if left < x < left + width - 10 and top < y < top + height - 10:
            continue
        shape = f"{color} {NAMES[tag].removesuffix('s')}"
        start = await screen.at(target)
        yield drag(
            start,
            (end[0] + start[0] - x, end[1] + start[1] - y),
            f"The {shape} belongs into this box.",
            f"Drag the {shape} into its box.",
        )
    async for turn in screen.submit("All shapes are where they belong."):
        yield turn


async def text_ends(screen: Screen, target: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Places just before the first and just after the last letter of an element's text."""
    rects = await screen.evaluate(
        f"((e) => {{ const r = document.createRange(); r.selectNodeContents(e); "
        f"return [...r.getClientRects()].map((b) => [b.left, b.top, b.right, b.bottom]); }})({target})"
    )
    if not rects:
        raise OracleError(f"{target} has no text")
    first, last = rects[0], rects[-1]
    return (max(first[0] - 1, 0), (first[1] + first[3]) / 2), (last[2] + 1, (last[1] + last[3]) / 2)


async def highlight_text(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    paragraph = "document.querySelector('#randomText')"
    name = "paragraph"
    if "paragraph and" in instruction:
        number = ordinal(instruction)
        paragraph, name = (
            f"document.querySelectorAll('#randomText p')[{number - 1}]",
            f"{match(r'[0-9](?:st|nd|rd)', instruction)[0]} paragraph",
        )
    wanted = await screen.evaluate(f"{paragraph}.textContent.replace(/\\s/g, '')")
    if await screen.evaluate("getSelection().toString().replace(/\\s/g, '')") != wanted:
        start, end = await text_ends(screen, paragraph)
        yield drag(start, end, f"The {name} is not selected yet.", f"Drag over the {name}.")
    async for turn in screen.submit("The text is selected."):
        yield turn


async def resize_textarea(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    dimension, direction = match(r"the (width|height) is (larger|smaller)", instruction).groups()
    edge = "right" if dimension == "width" else "lower"
    x, y = await screen.at(f"document.querySelector('.ui-resizable-{'e' if dimension == 'width' else 's'}')")
    distance = 12 if direction == "larger" else -12
    end = (x + distance, y) if dimension == "width" else (x, y + distance)
    yield drag((x, y), end, f"The {dimension} must be {direction}.", f"Drag the {edge} edge of the text area.")
    async for turn in screen.submit(f"The {dimension} is {direction} now."):
        yield turn


TIMES = {"8AM and 12PM": (16, 24), "12PM and 4PM": (24, 32), "4PM and 8PM": (32, 40)}


async def daily_calendar(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    found = match(r'Create a ([\d.]+) (hour|min)s? event named "(\w+)", between (.*)\.$', instruction)
    length = int(float(found[1]) * 2) if found[2] == "hour" else int(found[1]) // 30
    low, high = TIMES[found[4]]
    spans = "((e) => { const r = e.getBoundingClientRect(); return [r.top, r.bottom]; })"
    slots = await screen.evaluate(f"[...document.querySelectorAll('.half-hour')].map({spans})")
    events = await screen.evaluate(f"[...document.querySelectorAll('.event')].map({spans})")
    taken = [any(start < bottom - 2 and end > top + 2 for start, end in events) for top, bottom in slots]
    first = next((i for i in range(low, high - length + 1) if not any(taken[i : i + length])), None)
    if first is None:
        raise OracleError(f"no free time for {instruction!r}")
    if not await screen.evaluate("!!document.getElementById('create-event')"):
        start, end = (f"document.getElementById('hh-{index}')" for index in (first, first + length - 1))
        for target in (end, start):
            async for turn in screen.reveal(target, "time of the event"):
                yield turn
        (x, y), (x2, y2) = await screen.at(start), await screen.at(end)
        yield drag((x, y), (x2, y2 + 4), "This time is free and within the hours.", "Drag over the time of the event.")
    async for turn in screen.fill("document.getElementById('event-name')", found[3], "name field"):
        yield turn
    async for turn in screen.reach(
        "document.querySelector('#controls .create')", "The event has its name.", 'Click the "Create" button.', "button"
    ):
        yield turn


ORACLES: dict[str, Oracle] = {
    "drag-box": drag_box,
    "drag-circle": drag_shape,
    "drag-single-shape": drag_shape,
    "drag-items": drag_items,
    "drag-items-grid": drag_items_grid,
    "drag-sort-numbers": drag_sort_numbers,
    "drag-shapes": drag_shapes,
    "drag-shapes-2": drag_shapes_2,
    "highlight-text": highlight_text,
    "highlight-text-2": highlight_text,
    "resize-textarea": resize_textarea,
    "daily-calendar": daily_calendar,
}
