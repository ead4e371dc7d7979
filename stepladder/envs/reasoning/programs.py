"""Little programs: an expression or a function to be written, tried out on arguments that the question does not show."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from stepladder.envs.reasoning.problem import Problem
from stepladder.words import PLAIN_WORDS

EXPRESSION, FUNCTION = "Answer with the expression alone.", "Answer with the program alone."
#: So many calls try a program out.
CALLS = 12


class Recipe(NamedTuple):
    """What a program is asked to give, as a phrase; the body that gives it; a thought; and what gives it here."""

    phrase: str
    body: str
    thought: str
    right: Callable[..., Any]


def _numbers(random: Random) -> list[int]:
    return [random.randrange(-20, 21) for _ in range(random.randrange(1, 8))]


def _text(random: Random) -> str:
    return " ".join(random.choices(PLAIN_WORDS, k=random.randrange(1, 4)))


def _checked(
    question: str, form: str, recipe: Recipe, program: str, calls: list[list[Any]], check: dict[str, Any]
) -> Problem | None:
    """The problem, or None where the calls would not tell the program from a constant."""
    results = [recipe.right(*call) for call in calls]
    if len({repr(result) for result in results}) < 3:
        return None
    return Problem(question, form, {"verifier": "code", "calls": calls, "results": results, **check}, recipe.thought, program)


def expression(random: Random) -> Problem | None:
    """An expression of x and whole numbers."""
    a, b = random.randrange(2, 20), random.randrange(1, 50)
    recipes = (
        Recipe(f"{a} times x plus {b}", f"{a} * x + {b}", f"{a} times x is {a} * x. Then add {b}.", lambda x: a * x + b),
        Recipe(f"{a} times x minus {b}", f"{a} * x - {b}", f"{a} times x is {a} * x. Then subtract {b}.", lambda x: a * x - b),
        Recipe(f"x plus {b}, times {a}", f"(x + {b}) * {a}", f"First x + {b}. Then times {a}.", lambda x: (x + b) * a),
        Recipe(f"the square of x plus {b}", f"x * x + {b}", f"The square is x * x. Then add {b}.", lambda x: x * x + b),
        Recipe(f"{b} minus x", f"{b} - x", f"From {b} take x.", lambda x: b - x),
        Recipe(f"the rest of x divided by {a}", f"x % {a}", f"The rest is x % {a}.", lambda x: x % a),
    )
    recipe = random.choice(recipes)
    calls: list[list[Any]] = [[number] for number in random.sample(range(-50, 100), CALLS)]
    question = f"Write a Python expression of x: {recipe.phrase}."
    return _checked(question, EXPRESSION, recipe, recipe.body, calls, {"form": "expression", "parameters": ["x"]})


def text_function(random: Random) -> Problem | None:
    """A function of one text."""
    letter, count = random.choice("aeiost"), random.randrange(2, 6)
    recipes = (
        Recipe("text backwards", "text[::-1]", "A step of -1 goes backwards.", lambda text: text[::-1]),
        Recipe("text in capitals", "text.upper()", "upper() gives capitals.", lambda text: text.upper()),
        Recipe("the number of words in text", "len(text.split())", "split() gives the words.", lambda text: len(text.split())),
        Recipe(f"how often {letter!r} is in text", f"text.count({letter!r})", "count() counts.", lambda text: text.count(letter)),
        Recipe(f"the first {count} letters of text", f"text[:{count}]", f"Up to {count}.", lambda text: text[:count]),
        Recipe(
            f"the last {count} letters of text", f"text[-{count}:]", f"From {count} before the end.", lambda text: text[-count:]
        ),
        Recipe(
            "the longest word in text", "max(text.split(), key=len)", "max() by length.", lambda text: max(text.split(), key=len)
        ),
        Recipe("text without spaces", "text.replace(' ', '')", "Replace spaces by nothing.", lambda text: text.replace(" ", "")),
    )
    return _function(random, "text", recipes, [[_text(random)] for _ in range(CALLS)])


def list_function(random: Random) -> Problem | None:
    """A function of one list of whole numbers."""
    limit = random.randrange(-10, 11)
    recipes = (
        Recipe("the sum of numbers", "sum(numbers)", "sum() adds.", sum),
        Recipe("the greatest of numbers", "max(numbers)", "max() is the greatest.", max),
        Recipe(
            "the greatest minus the least of numbers",
            "max(numbers) - min(numbers)",
            "max() minus min().",
            lambda numbers: max(numbers) - min(numbers),
        ),
        Recipe(
            "the even ones of numbers, in order",
            "[n for n in numbers if n % 2 == 0]",
            "Keep n if n % 2 == 0.",
            lambda numbers: [n for n in numbers if n % 2 == 0],
        ),
        Recipe(
            f"how many of numbers are greater than {limit}",
            f"len([n for n in numbers if n > {limit}])",
            f"Keep n if n > {limit}, then count.",
            lambda numbers: sum(n > limit for n in numbers),
        ),
        Recipe("numbers, sorted, the greatest first", "sorted(numbers)[::-1]", "Sort, then reverse.", lambda n: sorted(n)[::-1]),
        Recipe(
            "the square of each of numbers", "[n * n for n in numbers]", "n * n for each.", lambda numbers: [n * n for n in numbers]
        ),
        Recipe("numbers backwards", "numbers[::-1]", "A step of -1 goes backwards.", lambda numbers: numbers[::-1]),
    )
    return _function(random, "numbers", recipes, [[_numbers(random)] for _ in range(CALLS)])


def two_numbers(random: Random) -> Problem | None:
    """A function of two whole numbers."""
    factor = random.randrange(2, 10)
    recipes = (
        Recipe("the greater of a and b", "max(a, b)", "max() is the greater.", max),
        Recipe("the lesser of a and b", "min(a, b)", "min() is the lesser.", min),
        Recipe("how far a and b are apart", "abs(a - b)", "abs() has no sign.", lambda a, b: abs(a - b)),
        Recipe(f"{factor} times a minus b", f"{factor} * a - b", f"{factor} * a, then minus b.", lambda a, b: factor * a - b),
        Recipe(f"a plus {factor} times b", f"a + {factor} * b", f"{factor} * b, then plus a.", lambda a, b: a + factor * b),
    )
    calls: list[list[Any]] = [[random.randrange(-30, 31), random.randrange(-30, 31)] for _ in range(CALLS)]
    return _function(random, "a, b", recipes, calls)


def _function(random: Random, parameters: str, recipes: tuple[Recipe, ...], calls: list[list[Any]]) -> Problem | None:
    """The function has a name of its own, so that there are enough questions to hold some out."""
    recipe, name = random.choice(recipes), random.choice(PLAIN_WORDS)
    question = f"Write a Python function {name}({parameters}) that returns {recipe.phrase}."
    program = f"def {name}({parameters}):\n    return {recipe.body}"
    return _checked(question, FUNCTION, recipe, program, calls, {"form": "function", "name": name})
