"""Little Python programs with what they print. A program is a tree of a few kinds of statements, which is written as text and run
by an evaluator of its own: no text is ever evaluated as code.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import item, random_of
from stepladder.words import PLAIN_WORDS, vocabulary

Value = int | str | list[int]
_COMPARISONS = ("<", ">", "<=", ">=", "==")
#: Absolute values above this end the draft of a program: the next one is tried.
LARGEST = 9999


@dataclass(frozen=True)
class Name:
    """A variable."""

    name: str


@dataclass(frozen=True)
class Binary:
    """An operation on two whole numbers: + - * // % or a comparison."""

    symbol: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Length:
    """len() of a list or a text."""

    of: Name


@dataclass(frozen=True)
class Assign:
    """A variable gets a value."""

    name: str
    value: Expression


@dataclass(frozen=True)
class Print:
    """print() of one expression."""

    value: Expression


@dataclass(frozen=True)
class Append:
    """A number joins a list."""

    name: str
    value: Expression


@dataclass(frozen=True)
class For:
    """The body once for each number of a range, or of a list."""

    name: str
    over: range | Name
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class If:
    """One of two bodies; the second may be empty."""

    condition: Binary
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


Expression = int | str | tuple[int, ...] | Name | Binary | Length
Statement = Assign | Print | Append | For | If


class TooLarge(Exception):
    """A number of the program is beyond LARGEST."""


def program(seed: int, number: int, *, programs: int = 2) -> Document:
    """Document `number`: so many `programs`, each in a fence, and the lines that it prints. The metadata have the output of the
    last one. Raises ConfigError when `programs` is less than 1."""
    if programs < 1:
        raise ConfigError(f"programs is {programs}; it must be 1 or more")
    random = random_of("programs", seed, number)
    texts = []
    for _ in range(programs):
        code, output = item(lambda: _printing(random), number, key=lambda one: one[0])
        texts.append(f"What does this program print?\n```python\n{code}```\nOutput:\n{output}")
    return Document("\n".join(texts), source="programs", metadata={"output": output})


def _printing(random: Random) -> tuple[str, str]:
    """A program and its output, both ending with a line break."""
    while True:
        made = draft(random)
        try:
            lines = run(made)
        except TooLarge:
            continue
        return source(made), "".join(f"{line}\n" for line in lines)


def draft(random: Random) -> tuple[Statement, ...]:
    """A program of a few statements that prints at least one line."""
    return random.choice((_formula, _branch, _loop, _collect, _text))(random)


def _small(random: Random) -> int:
    return random.randint(0, 20)


def _formula(random: Random) -> tuple[Statement, ...]:
    names = random.sample("abcdefgh", 3)
    first, second = Assign(names[0], _small(random)), Assign(names[1], _small(random))
    term = Binary(random.choice("+-*"), Name(names[0]), Name(names[1]))
    if random.random() < 0.5:
        term = Binary(random.choice(("+", "-", "*", "//", "%")), term, random.randint(1, 9))
    return first, second, Assign(names[2], term), Print(Name(names[2]))


def _branch(random: Random) -> tuple[Statement, ...]:
    name = random.choice("nxyz")
    yes, no = random.sample(vocabulary("train", PLAIN_WORDS), 2)
    if random.random() < 0.4:
        condition = Binary("==", Binary("%", Name(name), random.randint(2, 5)), 0)
    else:
        condition = Binary(random.choice(("<", ">", "<=", ">=")), Name(name), _small(random))
    return Assign(name, _small(random)), If(condition, (Print(yes),), (Print(no),))


def _loop(random: Random) -> tuple[Statement, ...]:
    total, counter = random.choice(("total", "result", "count")), random.choice("ijk")
    start, size = random.randint(0, 3), random.randint(2, 5)
    begin = random.choice((0, 0, 1))
    change: Statement = Assign(total, Binary(random.choice("++*") if begin else "+", Name(total), Name(counter)))
    if random.random() < 0.4:
        change = If(Binary("==", Binary("%", Name(counter), 2), random.randint(0, 1)), (change,))
    shown: tuple[Statement, ...] = (Print(Name(total)),)
    body = (change, *shown) if random.random() < 0.3 else (change,)
    return Assign(total, begin), For(counter, range(start, start + size), body), *shown


def _collect(random: Random) -> tuple[Statement, ...]:
    numbers = tuple(_small(random) for _ in range(random.randint(2, 5)))
    name, other = random.sample(("items", "values", "numbers", "found"), 2)
    kept: Statement = Append(other, Binary(random.choice("+*"), Name("x"), random.randint(1, 5)))
    if random.random() < 0.5:
        kept = If(Binary(random.choice("<>"), Name("x"), _small(random)), (Append(other, Name("x")),))
    shown = Print(Name(other)) if random.random() < 0.6 else Print(Length(Name(other)))
    return Assign(name, numbers), Assign(other, ()), For("x", Name(name), (kept,)), shown


def _text(random: Random) -> tuple[Statement, ...]:
    word = random.choice(vocabulary("train", PLAIN_WORDS))
    if random.random() < 0.5:
        return Assign("word", word), Print(Length(Name("word")))
    return Assign("word", word), For(random.choice("ijk"), range(random.randint(2, 3)), (Print(Name("word")),))


def source(statements: tuple[Statement, ...], depth: int = 0) -> str:
    """The program as Python text, every line ending with a line break."""
    return "".join(line for statement in statements for line in _lines(statement, "    " * depth, depth))


def _lines(statement: Statement, indent: str, depth: int) -> list[str]:
    match statement:
        case Assign(name, value):
            return [f"{indent}{name} = {_written(value)}\n"]
        case Print(value):
            return [f"{indent}print({_written(value)})\n"]
        case Append(name, value):
            return [f"{indent}{name}.append({_written(value)})\n"]
        case For(name, over, body):
            span = (
                over.name
                if isinstance(over, Name)
                else f"range({over.start}, {over.stop})"
                if over.start
                else f"range({over.stop})"
            )
            return [f"{indent}for {name} in {span}:\n", source(body, depth + 1)]
        case If(condition, then, otherwise):
            found = [f"{indent}if {_written(condition)}:\n", source(then, depth + 1)]
            return [*found, f"{indent}else:\n", source(otherwise, depth + 1)] if otherwise else found


def _span(over: range | Name) -> str:
    if isinstance(over, Name):
        return over.name
    return f"range({over.start}, {over.stop})" if over.start else f"range({over.stop})"


def _written(value: Expression, inside: bool = False) -> str:
    match value:
        case Name(name):
            return name
        case Length(of):
            return f"len({of.name})"
        case Binary(symbol, left, right):
            compares = symbol in _COMPARISONS  # which bind less tightly than what stands in them
            text = f"{_written(left, not compares)} {symbol} {_written(right, not compares)}"
            return f"({text})" if inside else text
        case tuple():
            return f"[{', '.join(map(str, value))}]"
        case str():
            return f'"{value}"'
    return str(value)


def run(statements: tuple[Statement, ...]) -> list[str]:
    """The lines that the program prints."""
    variables: dict[str, Value] = {}
    lines: list[str] = []
    _run(statements, variables, lines)
    return lines


def _run(statements: tuple[Statement, ...], variables: dict[str, Value], lines: list[str]) -> None:
    for statement in statements:
        match statement:
            case Assign(name, value):
                variables[name] = _value(value, variables)
            case Print(value):
                lines.append(str(_value(value, variables)))
            case Append(name, value):
                numbers = variables[name]
                assert isinstance(numbers, list)
                numbers.append(_number(value, variables))
            case For(name, over, body):
                span = variables[over.name] if isinstance(over, Name) else over
                assert isinstance(span, (list, range))
                for number in list(span):
                    variables[name] = number
                    _run(body, variables, lines)
            case If(condition, then, otherwise):
                _run(then if _number(condition, variables) else otherwise, variables, lines)


def _value(expression: Expression, variables: dict[str, Value]) -> Value:
    match expression:
        case Name(name):
            return variables[name]
        case Length(of):
            found = variables[of.name]
            assert isinstance(found, (list, str))
            return len(found)
        case Binary(symbol, left, right):
            return _applied(symbol, _number(left, variables), _number(right, variables))
        case tuple():
            return list(expression)
    return expression


def _number(expression: Expression, variables: dict[str, Value]) -> int:
    found = _value(expression, variables)
    assert isinstance(found, int)
    return found


def _applied(symbol: str, left: int, right: int) -> int:
    found = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "//": lambda: left // right,
        "%": lambda: left % right,
        "<": lambda: left < right,
        ">": lambda: left > right,
        "<=": lambda: left <= right,
        ">=": lambda: left >= right,
        "==": lambda: left == right,
    }[symbol]()
    if abs(found) > LARGEST:
        raise TooLarge
    return int(found)
