"""Tasks in the calculator galculator, in its basic mode. What it came to is read off its display.

A key pressed again while its button still shows the press before is lost, so a text typed at once comes out wrong: one key at a
time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

from stepladder.envs.desktop.actions import Move, click, done, press
from stepladder.envs.desktop.desk.case import Case, Check, DeskTask, Opened, Solve
from stepladder.envs.desktop.desk.checks import moves
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

_OPENED = (Opened("galculator"),)
_EQUALS = press("enter", why="Ask for the result.")
#: Results of held-out seeds have this remainder by 7, those of training seeds another.
_HELD_OUT, _MODULUS = 3, 7


def shows(result: int) -> Check:
    """The display shows this number."""

    async def check(look: Look) -> bool:
        shown = [node["text"].strip() for node in await look.nodes() if node["role"] == "text"]
        return str(result) in shown

    return check


def _numbers(random: Random, part: WordPart, low: int, high: int, count: int) -> list[int]:
    """Numbers whose sum says which part they belong to."""
    while True:
        drawn = [random.randint(low, high) for _ in range(count)]
        if (sum(drawn) % _MODULUS == _HELD_OUT) == (part == "heldout"):
            return drawn


def _keys(text: str) -> Solve:
    """Press the keys one after another, then ask for the result."""
    return moves(*(press(character, why=f"Press {character!r}.") for character in text), _EQUALS)


def _product(random: Random, part: WordPart) -> Case:
    a, b = _numbers(random, part, 12, 99, 2)
    return Case(f"Let the calculator work out {a} times {b}.", shows(a * b), _keys(f"{a}*{b}"), {}, _OPENED)


def _sum(random: Random, part: WordPart) -> Case:
    numbers = _numbers(random, part, 10, 99, 4)
    text = "+".join(map(str, numbers))
    instruction = f"Let the calculator add up {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}."
    return Case(instruction, shows(sum(numbers)), _keys(text), {}, _OPENED)


def _brackets(random: Random, part: WordPart) -> Case:
    a, b, c = _numbers(random, part, 11, 49, 3)
    instruction = f"Let the calculator work out ({a} + {b}) * {c}."
    return Case(instruction, shows((a + b) * c), _keys(f"({a}+{b})*{c}"), {}, _OPENED)


def _root(random: Random, part: WordPart) -> Case:
    a, b = _numbers(random, part, 11, 60, 2)
    number = (a + b) ** 2

    async def solve(look: Look) -> AsyncIterator[Move]:
        for digit in str(number):
            yield press(digit, why=f"Press {digit!r}.")
        yield click(await look.place("toggle button", "sqrt"), "Take the square root.")
        yield done()

    return Case(f"Let the calculator find the square root of {number}.", shows(a + b), solve, {}, _OPENED)


TASKS = (
    DeskTask("calculator-product", _product, ("galculator",), max_steps=20),
    DeskTask("calculator-sum", _sum, ("galculator",), max_steps=20),
    DeskTask("calculator-brackets", _brackets, ("galculator",), max_steps=20),
    DeskTask("calculator-root", _root, ("galculator",), max_steps=20),
)
