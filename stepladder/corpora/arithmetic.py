"""Arithmetic with worked answers: documents whose every line is true by construction, and whose answers can be checked."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import item, random_of
from stepladder.words import NAMES, PLAIN_WORDS, vocabulary

#: How an answer is marked: as a person would write it, and as verifiers of boxed answers read it.
FORMS = {"plain": "Answer: {}", "boxed": "Answer: \\boxed{{{}}}"}


@dataclass(frozen=True)
class Problem:
    """A question, the lines that work it out, and its answer: a whole number, a word, or several numbers separated by commas."""

    question: str
    work: tuple[str, ...]
    answer: str


def arithmetic(seed: int, number: int, *, problems: int = 4, digits: int = 2, worked: float = 0.7, form: str = "plain") -> Document:
    """Document `number`: so many `problems` with numbers of at most `digits` digits.

    `worked` is the share of problems whose answer is worked out before it is given; `form` is a name of `FORMS`. The metadata have
    the answer of the last problem. Raises ConfigError for settings that cannot be.
    """
    if problems < 1 or not 1 <= digits <= 9 or form not in FORMS:
        raise ConfigError(f"problems is {problems}, digits {digits}, form {form!r}; 1 or more, 1 to 9, one of {', '.join(FORMS)}")
    random = random_of("arithmetic", seed, number)
    texts = []
    for _ in range(problems):
        found = item(lambda: problem(random, digits), number, key=lambda one: one.question)
        work = found.work if random.random() < worked else ()
        texts.append("\n".join((f"Question: {found.question}", *work, FORMS[form].format(found.answer))))
    return Document("\n\n".join(texts) + "\n", source="arithmetic", metadata={"answer": found.answer})


def problem(random: Random, digits: int) -> Problem:
    """A problem of a kind drawn by chance, whose numbers have at most `digits` digits."""
    return random.choice(_KINDS)(random, digits)


def _number(random: Random, digits: int, least: int = 0) -> int:
    """Short numbers are as frequent as long ones."""
    highest = 10 ** random.randint(1, digits) - 1
    return random.randint(least, max(least, highest))


def _sum(random: Random, digits: int) -> Problem:
    first, second = _number(random, digits), _number(random, digits)
    return Problem(f"What is {first} + {second}?", _added(first, second), str(first + second))


def _added(first: int, second: int) -> tuple[str, ...]:
    """Addition column by column from the right, as it is written in school."""
    if first < 10 and second < 10:
        return ()
    lines, carry = [], 0
    for place in range(max(len(str(first)), len(str(second)))):
        one, other = first // 10**place % 10, second // 10**place % 10
        total = one + other + carry
        with_carry = f" + {carry}" if carry else ""
        carry, digit = divmod(total, 10)
        lines.append(f"{one} + {other}{with_carry} = {total}, write {digit}" + (f", carry {carry}" if carry else ""))
    if carry:
        lines.append(f"write {carry}")
    return tuple(lines)


def _difference(random: Random, digits: int) -> Problem:
    first, second = _number(random, digits), _number(random, digits)
    if first < second and random.random() < 0.7:
        first, second = second, first
    work: tuple[str, ...] = () if first >= second else (f"{first} is less than {second}, so it is -({second} - {first})",)
    ten = second // 10 * 10
    if first >= second >= 10 and second > ten:
        work = (f"{first} - {ten} = {first - ten}", f"{first - ten} - {second - ten} = {first - second}")
    return Problem(f"What is {first} - {second}?", work, str(first - second))


def _product(random: Random, digits: int) -> Problem:
    first, second = _number(random, digits), _number(random, 1)
    parts = [int(digit) * 10**place for place, digit in enumerate(reversed(str(first))) if digit != "0"][::-1]
    work: tuple[str, ...] = ()
    if len(parts) > 1:
        products = [part * second for part in parts]
        work = (
            " + ".join(f"{part} * {second}" for part in parts) + " = " + " + ".join(map(str, products)) + f" = {sum(products)}",
        )
    return Problem(f"What is {first} * {second}?", work, str(first * second))


def _division(random: Random, digits: int) -> Problem:
    first, second = _number(random, digits), random.randint(1, 9)
    quotient, rest = divmod(first, second)
    work = (f"{second} * {quotient} = {second * quotient}", f"{first} - {second * quotient} = {rest}")
    question = f"What is {first} divided by {second}, and what is left?"
    return Problem(question, work, f"{quotient}, {rest}")


def _comparison(random: Random, digits: int) -> Problem:
    numbers = [_number(random, digits) for _ in range(random.randint(2, 4))]
    word, chosen = random.choice((("largest", max(numbers)), ("smallest", min(numbers))))
    return Problem(f"Which is the {word} of {', '.join(map(str, numbers))}?", (), str(chosen))


def _ordered(random: Random, digits: int) -> Problem:
    numbers = [_number(random, digits) for _ in range(random.randint(3, 5))]
    down = random.random() < 0.5
    way = "from large to small" if down else "from small to large"
    answer = ", ".join(map(str, sorted(numbers, reverse=down)))
    return Problem(f"Sort {', '.join(map(str, numbers))} {way}.", (), answer)


def _sequence(random: Random, digits: int) -> Problem:
    first, step = _number(random, digits), random.randint(1, 9)
    shown = [first + step * place for place in range(4)]
    work = (f"{shown[1]} - {shown[0]} = {step}", f"{shown[3]} + {step} = {shown[3] + step}")
    return Problem(f"What comes next: {', '.join(map(str, shown))}?", work, str(shown[3] + step))


def _two_steps(random: Random, digits: int) -> Problem:
    first, second, third = _number(random, digits), _number(random, 1), _number(random, 1)
    symbol = random.choice("+-")
    apply = _APPLY[symbol]
    if random.random() < 0.5:
        inner = second * third
        work = (f"{second} * {third} = {inner}", f"{first} {symbol} {inner} = {apply(first, inner)}")
        return Problem(f"What is {first} {symbol} {second} * {third}?", work, str(apply(first, inner)))
    inner = apply(first, second)
    shown = f"({inner})" if inner < 0 else str(inner)
    work = (f"{first} {symbol} {second} = {inner}", f"{shown} * {third} = {inner * third}")
    return Problem(f"What is ({first} {symbol} {second}) * {third}?", work, str(inner * third))


def _shopping(random: Random, digits: int) -> Problem:
    """A story whose numbers have to be found in it."""
    who, thing = random.choice(vocabulary("train", NAMES)), random.choice(vocabulary("train", PLAIN_WORDS))
    count, price, had = random.randint(2, 9), random.randint(1, 9), _number(random, digits)
    cost = count * price
    question = f"{who} has {had} coins and puts {count} {thing} cards at {price} coins each into the cart. "
    if cost > had:
        question += "How many coins are missing?"
        work = (f"{count} * {price} = {cost}", f"{cost} - {had} = {cost - had}")
    else:
        question += "How many coins are left?"
        work = (f"{count} * {price} = {cost}", f"{had} - {cost} = {had - cost}")
    return Problem(question, work, str(abs(had - cost)))


_APPLY: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub}
_KINDS: tuple[Callable[[Random, int], Problem], ...] = (
    *(_sum, _sum, _sum, _difference, _difference, _product, _product),
    *(_division, _comparison, _ordered, _sequence, _two_steps, _shopping),
)
