"""Demonstrators for pages that change by themselves. Time passes only with actions, so none of them is a race."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.reading import match
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote, say, wait
from stepladder.types import Action


async def button_delay(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    seconds = int(match(r"wait (\d) second", instruction)[1])
    begin = await screen.evaluate("Date.now()")
    yield await screen.click("named('button', 'ONE')", "This button comes first.", 'Click the "ONE" button.')
    passed = (await screen.evaluate("Date.now()") - begin) / 1000
    if passed < seconds:
        yield wait(seconds - passed, f"{seconds} seconds must pass between the buttons.")
    yield await screen.click("named('button', 'TWO')", "The time has passed.", 'Click the "TWO" button.')


async def chase_circle(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    for _ in range(60):
        left, top, width, height = await screen.box("document.getElementById('circ')")
        yield say("The circle has moved.", "Point at the circle."), Action("move", x=int(left + width / 2), y=int(top + height / 2))


async def moving_items(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    for _ in range(60):
        places = await screen.evaluate(
            "all('.item').map((e) => e.getBoundingClientRect()).map((r) => [(r.left + r.right) / 2, (r.top + r.bottom) / 2])"
            ".filter(([x, y]) => x > 4 && x < 152 && y > 54 && y < 200)"
        )
        if places:
            yield say("A circle is on the screen.", "Click a circle."), Action("click", x=int(places[0][0]), y=int(places[0][1]))
        else:
            yield wait(0.3, "No circle is on the screen.")


async def simon_says(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    sequence: list[str] = []
    lit, quiet = "", 0
    while quiet < 6 or not sequence:
        if quiet > 20:
            raise OracleError("no button lights up")
        yield wait(0.2, "The order is still being shown." if sequence else "The order has not been shown yet.")
        now = await screen.evaluate("((e) => e ? e.id : '')(document.querySelector('#area button.push'))")
        quiet = 0 if now else quiet + 1
        if now and not lit:
            sequence.append(now)
        lit = now
    colors = {"button-1": "blue", "button-2": "red", "button-3": "green", "button-4": "yellow"}
    for number, button in enumerate(sequence, 1):
        yield await screen.click(
            f"document.getElementById({quote(button)})", f"It was number {number}.", f"Click the {colors[button]} button."
        )


async def stock_market(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    limit = float(match(r"less than \$([\d.]+?)0?\.$", instruction)[1])
    for _ in range(100):
        price = await screen.evaluate("text(document.getElementById('stock-price'))")
        if price and float(price.strip("$")) <= limit:
            yield await screen.click("document.getElementById('buy')", f"{price} is low enough.", 'Click the "Buy" button.')
        else:
            yield wait(0.1, f"{price or 'No price'} is not low enough.")


ORACLES: dict[str, Oracle] = {
    "button-delay": button_delay,
    "chase-circle": chase_circle,
    "moving-items": moving_items,
    "simon-says": simon_says,
    "stock-market": stock_market,
}
