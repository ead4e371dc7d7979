"""Arithmetic in several levels. The thoughts are written digit by digit, as a small model can learn them, and without
spaces, which would be a third of their tokens."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

from stepladder.envs.reasoning.problem import Problem
from stepladder.words import NAMES

NUMBER, NUMBERS = "Answer with a number.", "Answer with all of them, separated by commas."
#: The sign of a multiplication in questions and thoughts, which every small vocabulary has.
TIMES = "x"
_THINGS = ("apples", "books", "coins", "letters", "pens", "stamps")


def _numeric(question: str, thought: str, answer: int | Fraction, **check: Any) -> Problem:
    return Problem(question, NUMBER, {"verifier": "numeric", "answer": str(answer), **check}, thought, str(answer))


def _with_digits(random: Random, digits: int) -> int:
    """A number of exactly so many digits; of one digit also 0."""
    return random.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def add_in_columns(first: int, second: int) -> str:
    """The columns of an addition from the right, with what is carried: 7+8=15. 3+5+1=9."""
    lines, carry = [], 0
    columns = max(len(str(first)), len(str(second)))
    for place in range(columns):
        one, other = first // 10**place % 10, second // 10**place % 10
        total = one + other + carry
        lines.append(f"{one}+{other}{'+1' if carry else ''}={total}.")
        carry = total // 10
    return " ".join(lines)


def subtract_in_columns(first: int, second: int) -> str:
    """The columns of a subtraction from the right, with what is borrowed: "12-7=5. 5-3-1=1."; `first` is not less."""
    lines, borrowed = [], 0
    for place in range(len(str(first))):
        one, other = first // 10**place % 10, second // 10**place % 10
        lent = one - other - borrowed < 0
        result = one - other - borrowed + 10 * lent
        lines.append(f"{one + 10 * lent}-{other}{'-1' if borrowed else ''}={result}.")
        borrowed = int(lent)
    return " ".join(lines)


def addition(random: Random, digits: int) -> Problem:
    """Two numbers of so many digits."""
    first, second = _with_digits(random, digits), _with_digits(random, digits)
    return _numeric(f"What is {first} + {second}?", add_in_columns(first, second), first + second)


def subtraction(random: Random, digits: int) -> Problem:
    """Two numbers of so many digits, the greater one first."""
    second, first = sorted((_with_digits(random, digits), _with_digits(random, digits)))
    return _numeric(f"What is {first} - {second}?", subtract_in_columns(first, second), first - second)


def multiplication(random: Random, digits: int) -> Problem:
    """A number of so many digits times one of a single digit."""
    first, second = _with_digits(random, digits), random.randrange(2, 10)
    parts = [int(digit) * 10 ** (digits - 1 - place) for place, digit in enumerate(str(first).zfill(digits))]
    lines = [f"{part}{TIMES}{second}={part * second}." for part in parts]
    total = parts[0] * second
    for part in parts[1:]:
        lines.append(f"{total}+{part * second}={total + part * second}.")
        total += part * second
    return _numeric(f"What is {first} {TIMES} {second}?", " ".join(lines), first * second)


def division(random: Random) -> Problem:
    """A division without a rest."""
    divisor, quotient = random.randrange(2, 13), random.randrange(2, 100)
    product = divisor * quotient
    thought = f"{divisor}{TIMES}{quotient}={product}."
    return _numeric(f"What is {product} / {divisor}?", thought, quotient)


def sum_and_product(random: Random) -> Problem:
    """Products come before sums."""
    first, second, third = random.randrange(2, 100), random.randrange(2, 13), random.randrange(2, 13)
    product = second * third
    thought = f"{second}{TIMES}{third}={product}. {first}+{product}={first + product}."
    return _numeric(f"What is {first} + {second} {TIMES} {third}?", thought, first + product)


def percentage(random: Random) -> Problem:
    """A share of a whole number, perhaps with a decimal point."""
    percent, whole = 5 * random.randrange(1, 20), 10 * random.randrange(1, 60)
    result = Fraction(percent * whole, 100)
    shown = str(result) if result.denominator == 1 else f"{float(result):g}"
    thought = f"{percent}{TIMES}{whole}={percent * whole}. {percent * whole}/100={shown}."
    question = f"What is {percent}% of {whole}?"
    return Problem(question, NUMBER, {"verifier": "numeric", "answer": shown}, thought, shown)


def sum_of_fractions(random: Random) -> Problem:
    """Two fractions below one; the sum may be given in any way."""
    below = [random.randrange(2, 10), random.randrange(2, 10)]
    above = [random.randrange(1, below[0]), random.randrange(1, below[1])]
    common = below[0] * below[1]
    first, second = above[0] * below[1], above[1] * below[0]
    result = Fraction(first + second, common)
    question = f"What is {above[0]}/{below[0]} + {above[1]}/{below[1]}?"
    thought = f"{first}/{common}+{second}/{common}={first + second}/{common}."
    if result != 1 and str(result) != f"{first + second}/{common}":
        thought += f" {first + second}/{common}={result}."
    return _numeric(question, thought, result)


def story(random: Random) -> Problem:
    """A sum or a difference in words."""
    name, thing = random.choice(NAMES), random.choice(_THINGS)
    had, more = random.randrange(20, 100), random.randrange(2, 20)
    if random.random() < 0.5:
        question = f"{name} has {had} {thing} and gets {more} more. How many {thing} does {name} have now?"
        thought, result = f"{had}+{more}={had + more}.", had + more
    else:
        question = f"{name} has {had} {thing} and gives {more} away. How many {thing} are left?"
        thought, result = f"{had}-{more}={had - more}.", had - more
    return _numeric(question, thought, result, unit=thing)


def even_numbers(random: Random) -> Problem | None:
    """Which numbers of a list are even: an answer that is a set."""
    numbers = random.sample(range(10, 100), 5)
    even = [number for number in numbers if number % 2 == 0]
    if not even:
        return None
    question = f"Which of these numbers are even: {', '.join(map(str, numbers))}?"
    thought = " ".join(f"{number} is {'odd' if number % 2 else 'even'}." for number in numbers)
    return Problem(question, NUMBERS, {"verifier": "set", "answer": even}, thought, ", ".join(map(str, even)))


def divisors(random: Random) -> Problem:
    """All divisors of a number: an answer that is a set."""
    number = random.randrange(4, 100)
    found = [one for one in range(1, number + 1) if number % one == 0]
    pairs = [f"{one}{TIMES}{number // one}={number}." for one in found if one * one <= number]
    return Problem(
        f"Which numbers divide {number}?",
        NUMBERS,
        {"verifier": "set", "answer": found},
        " ".join(pairs),
        ", ".join(map(str, found)),
    )
