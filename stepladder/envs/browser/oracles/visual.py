"""Demonstrators for tasks about sums, shapes, colours and counting."""

from __future__ import annotations

import cmath
from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.entering import answer
from stepladder.envs.browser.oracles.reading import arithmetic, match, solve_for_x
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote

#: The drawn shapes in order: kind, colour, size class, character or name.
SHAPES = """[...document.querySelectorAll('#area_svg > *')].map((e) => {
  const tag = e.tagName, colour = e.getAttribute('fill');
  if (tag === 'text') return [/\\d/.test(text(e)) ? 'digit' : 'letter', colour, parseFloat(e.getAttribute('font-size')), text(e)];
  const name = {rect: 'rectangle', circle: 'circle', polygon: 'triangle'}[tag];
  return ['shape', colour, Math.max(e.getBBox().width, e.getBBox().height), name];
})"""
COLORS = ("red", "green", "blue", "aqua", "black", "magenta", "yellow")


def fits(shape: tuple[str, str, float, str], description: str) -> bool:
    """Whether a shape is meant by words such as "large red digit", "small item", "magenta e", "triangle"."""
    kind, color, size, name = shape
    words = description.split()
    if words and words[0] in ("large", "small") and words.pop(0) != ("large" if size > 15 else "small"):
        return False
    if words and words[0] in COLORS and words.pop(0) != color:
        return False
    return words in ([], ["item"], [name], [kind])


async def drawn_shapes(screen: Screen) -> list[tuple[str, str, float, str]]:
    return [(kind, color, size, name) for kind, color, size, name in await screen.evaluate(SHAPES)]


async def click_shape(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    description = match(r"Click on an? (.*)", instruction)[1]
    for index, shape in enumerate(await drawn_shapes(screen)):
        target = f"document.querySelectorAll('#area_svg > *')[{index}]"
        if fits(shape, description) and await screen.center(target) is not None:
            yield await screen.click(target, f"This one is a {description}.", f"Click the {description}.")
            return
    raise OracleError(f"no shape is a {description}")


async def count_shape(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    description = match(r"How many (.*)s are there", instruction)[1]
    count = sum(fits(shape, description) for shape in await drawn_shapes(screen))
    button = f"named('#count-buttons button', '{count}')"
    yield await screen.click(button, f"There are {count} of them.", f'Click the "{count}" button.')


async def identify_shape(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    kind, _, _, name = (await drawn_shapes(screen))[0]
    label = "Number" if kind == "digit" else name.capitalize() if kind == "shape" else "Letter"
    yield await screen.click(
        f"named('#area-buttons button', {quote(label)})", f"It is a {label.lower()}.", f'Click the "{label}" button.'
    )


#: How far the outline on the canvas is from its centre, in pixels, for each of 360 directions.
OUTLINE = """((canvas) => {
  const context = canvas.getContext('2d'), [x, y] = [canvas.width / 2, canvas.height / 2];
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [...Array(360).keys()].map((degree) => {
    const angle = degree * Math.PI / 180;
    let radius = 40;
    for (; radius > 10; radius -= 0.5) {
      const [px, py] = [Math.round(x + radius * Math.cos(angle)), Math.round(y + radius * Math.sin(angle))];
      if (data[4 * (py * canvas.width + px) + 3] > 100) break;
    }
    return radius;
  });
})(document.getElementById('c'))"""


def corners(radii: list[float]) -> int:
    """Number of corners, 3 to 7, of a regular polygon: how often its outline goes out and in on the way round, which is its
    strongest frequency."""
    turns = [cmath.exp(-2j * cmath.pi * degree / len(radii)) for degree in range(len(radii))]
    return max(range(3, 8), key=lambda count: abs(sum(radius * turn**count for radius, turn in zip(radii, turns, strict=True))))


async def count_sides(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    sides = corners(await screen.evaluate(OUTLINE))
    yield await screen.click(f"named('#form button', '{sides}')", f"The shape has {sides} corners.", f'Click the "{sides}" button.')


async def simple_arithmetic(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    sum_ = await screen.evaluate("text(document.getElementById('math-problem'))")
    async for turn in answer(screen, str(arithmetic(sum_.rstrip("= "))), "#math-answer"):
        yield turn


async def simple_algebra(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    equation = await screen.evaluate("text(document.getElementById('math-problem'))")
    async for turn in answer(screen, str(solve_for_x(equation)), "#math-answer"):
        yield turn


async def visual_addition(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    count = await screen.evaluate("all('.addition-block').length")
    async for turn in answer(screen, str(count), "#math-answer"):
        yield turn


async def number_checkboxes(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """The example is a picture; which boxes it shows is what the page itself goes by (`PATTERNS`)."""
    digit = int(match(r'number "(\d)"', instruction)[1])
    wanted = [value == 1 for row in await screen.evaluate(f"PATTERNS[{digit}]") for value in row]
    boxes = "document.querySelectorAll('#checkboxes input')"
    state = await screen.evaluate(f"[...{boxes}].map((e) => e.checked)")
    for index, (now, then) in enumerate(zip(state, wanted, strict=True)):
        if now != then:
            place = f"in row {index // 4 + 1}, column {index % 4 + 1}"
            why = f"The example {'has' if then else 'has no'} tick here."
            yield await screen.click(f"{boxes}[{index}]", why, f"{'Tick' if then else 'Untick'} the checkbox {place}.")
    async for turn in screen.submit(f"The boxes show {digit}."):
        yield turn


ORACLES: dict[str, Oracle] = {
    "click-shape": click_shape,
    "count-shape": count_shape,
    "count-sides": count_sides,
    "identify-shape": identify_shape,
    "simple-arithmetic": simple_arithmetic,
    "simple-algebra": simple_algebra,
    "visual-addition": visual_addition,
    "number-checkboxes": number_checkboxes,
}
