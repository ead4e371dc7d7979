"""Demonstrators for games and puzzles: numbers, cards, noughts and crosses, orders, tickets."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable

from stepladder.envs.browser.oracles.reading import match
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote, say
from stepladder.types import Action


async def ascending_numbers(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """After the first click the numbers are hidden, so their places are remembered."""
    texts = await screen.evaluate("[...document.querySelectorAll('#area_svg text')].map((e) => parseInt(text(e)))")
    places = {
        number: await screen.at(f"document.querySelectorAll('#area_svg text')[{index}]") for index, number in enumerate(texts)
    }
    for number, (x, y) in sorted(places.items()):
        why = "The smallest number comes first." if number == 1 else f"{number - 1} is done and {number} comes next."
        yield say(why, f"Click the number {number}."), Action("click", x=x, y=y)


async def guess_number(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    low, high = 0, 9
    for _ in range(8):
        feedback = await screen.evaluate("text(all('#feedback div')[0])")
        bound = re.search(r"(lower|higher) than (\d+)", feedback)
        if bound:
            low, high = (low, int(bound[2]) - 1) if bound[1] == "lower" else (int(bound[2]) + 1, high)
        async for turn in screen.fill("document.getElementById('tt')", str((low + high) // 2), "number field"):
            yield turn
        async for turn in screen.submit(f"The number is between {low} and {high}."):
            yield turn


async def generate_number(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    bound = re.search(r"(less|greater) than (\d+)", instruction)
    good: Callable[[int], bool]
    if bound:
        limit = int(bound[2])
        good = (lambda number: number < limit) if bound[1] == "less" else (lambda number: number > limit)
    else:
        rest = 1 if "odd number" in instruction else 0
        good = lambda number: number % 2 == rest  # noqa: E731
    for _ in range(60):
        shown = await screen.evaluate("text(document.getElementById('display-number'))")
        if shown != "-" and good(int(shown)):
            break
        why = "There is no number yet." if shown == "-" else f"{shown} is not such a number."
        yield await screen.click("document.getElementById('generate')", why, 'Click the "Generate" button.')
    async for turn in screen.submit("The number is as asked."):
        yield turn


async def find_greatest(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    values: list[int] = []
    for index in range(3):
        card = f"all('.card')[{index}]"
        if await screen.evaluate(f"{card}.classList.contains('hidden')"):
            yield await screen.click(card, "This card has not been looked at.", f"Click card {index + 1}.")
        values.append(int(await screen.evaluate(f"text({card})")))
    best = values.index(max(values))
    if best != 2:
        yield await screen.click(f"all('.card')[{best}]", f"{values[best]} is the greatest number.", f"Click card {best + 1}.")
    async for turn in screen.submit("The card with the greatest number is open."):
        yield turn


async def hot_cold(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """Each signal tells how far away the place is, so that the places left get fewer."""
    bands = {"HOT": (0, 5), "WARM": (5, 10), "COLD": (10, 40), "ICE COLD": (40, 1000)}
    left, top, width, height = await screen.box("document.getElementById('touch-area')")
    places = [
        (x, y)
        for x in range(5, 155)
        for y in range(55, 170)
        if left + 1 <= x < left + width - 1 and top + 1 <= y < top + height - 1
    ]
    for _ in range(40):
        center = (sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places))
        x, y = min(places, key=lambda place: (place[0] - center[0]) ** 2 + (place[1] - center[1]) ** 2)
        yield say(f"There are {len(places)} places left.", "Point at a place among them."), Action("move", x=x, y=y)
        signal = await screen.evaluate("text(document.getElementById('display'))")
        if signal == "HOT":
            yield say("It is hot here.", "Click here."), Action("click", x=x, y=y)
            return
        near, far = bands[signal]
        places = [one for one in places if near - 1 <= ((one[0] - x) ** 2 + (one[1] - y) ** 2) ** 0.5 <= far + 1 and one != (x, y)]
        if not places:
            break
    raise OracleError("the hot place is nowhere")


#: The page does not count the middle column, so it is no line here either.
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def winner(board: tuple[str, ...]) -> str:
    """ "x", "o" or "" for nobody."""
    return next((board[a] for a, b, c in LINES if board[a] and board[a] == board[b] == board[c]), "")


@functools.cache
def chance(board: tuple[str, ...], mine: bool) -> float:
    """Share of games that x wins when x plays its best and o at random."""
    if winner(board) or "" not in board:
        return float(winner(board) == "x")
    piece = "x" if mine else "o"
    values = [chance((*board[:i], piece, *board[i + 1 :]), not mine) for i, field in enumerate(board) if not field]
    return max(values) if mine else sum(values) / len(values)


async def tic_tac_toe(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """Plays to win, not to draw; against a lucky opponent it does not."""
    names = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
    for _ in range(5):
        marks = await screen.evaluate("all('.ttt-row span').map((e) => ({'mark-x': 'x', 'mark-o': 'o'}[e.className] || ''))")
        board = tuple(marks)
        free = [index for index, field in enumerate(board) if not field]
        if not free:
            raise OracleError("the board is full")
        best = max(free, key=lambda index: chance((*board[:index], "x", *board[index + 1 :]), False))
        yield await screen.click(
            f"document.getElementById('ttt-{best}')", "This field promises most.", f"Click the {names[best]} field."
        )


async def order_food(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    menu = await screen.evaluate(
        "[...document.querySelectorAll('.food-item')].map((e) => [text(e.querySelector('.item-name')), "
        "[...e.querySelectorAll('img')].map((image) => image.alt), parseInt(e.dataset.quantity)])"
    )
    by_kind = re.search(r"Order (\d+) items that are (.+)", instruction)
    if by_kind:
        first = next(name for name, kinds, _ in menu if by_kind[2] in kinds)
        wanted = {first: int(by_kind[1])}
    else:
        wanted = dict.fromkeys((name.strip() for name in match(r"each item: (.*)", instruction)[1].split(", ")), 1)
    for name, _, quantity in menu:
        item = f"[...document.querySelectorAll('.food-item')].find((e) => text(e.querySelector('.item-name')) === {quote(name)})"
        missing = wanted.get(name, 0) - quantity
        sign, selector = ("+", ".add") if missing > 0 else ("-", ".remove")
        for _ in range(abs(missing)):
            why = f"{'More' if missing > 0 else 'Less'} of this is wanted."
            async for turn in screen.reach(f"{item}.querySelector('{selector}')", why, f'Click "{sign}" at {name}.', name):
                yield turn
    async for turn in screen.reach(
        "all('#submit-order button')[0]", "The order is complete.", 'Click the "Order!" button.', "button"
    ):
        yield turn


async def buy_ticket(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    kind = match(r"with the (\w+)", instruction)[1]
    shown = await screen.evaluate(
        "all('.flight').map((e) => [text(e.querySelector('.time-duration')), text(e.querySelector('.buy-ticket'))])"
    )
    durations = [60 * int(match(r"(\d+)h", time)[1]) + int(match(r"(\d+)m", time)[1]) for time, _ in shown]
    prices = [int(match(r"\$(\d+)", price)[1]) for _, price in shown]
    values = prices if kind in ("cheapest", "most") else durations
    best = values.index(min(values) if kind in ("cheapest", "shortest") else max(values))
    button = f"all('.flight')[{best}].querySelector('.buy-ticket')"
    async for turn in screen.reach(button, "This ticket is the one asked for.", f'Click the "{shown[best][1]}" button.', "ticket"):
        yield turn


ORACLES: dict[str, Oracle] = {
    "ascending-numbers": ascending_numbers,
    "guess-number": guess_number,
    "generate-number": generate_number,
    "find-greatest": find_greatest,
    "hot-cold": hot_cold,
    "tic-tac-toe": tic_tac_toe,
    "order-food": order_food,
    "buy-ticket": buy_ticket,
}
