"""Questions about a screen: counting, reading, comparing. The answer stands on the screen and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from stepladder.drawing import Canvas
from stepladder.envs.forms.draw import draw_widget, widget_regions
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.layout import MARGIN, THEMES, DoesNotFit, Row, random_font, stack
from stepladder.envs.forms.widgets import Button, CheckBox, Text, Widget
from stepladder.envs.reasoning.arithmetic import NUMBER
from stepladder.envs.reasoning.problem import Maker, Problem
from stepladder.words import NAMES, PLAIN_WORDS, UI_WORDS

WORD, WORDS = "Answer with the word.", "Answer with all of them, separated by commas."
#: The words of labels: one word each, and none that a list would be cut at.
_LABELS = tuple(word for word in UI_WORDS if len(word) <= 9)
#: A question: its text, how to answer, what is right, a thought, the answer, and the rows of widgets that show it.
Shown = tuple[str, str, dict[str, object], str, str, list[Row]]


def maker(ask: Callable[[Random], Shown], width: int, height: int) -> Maker:
    """From random numbers to a question about a screen of `width` x `height` pixels; None where the screen is too small for it."""

    def make(random: Random) -> Problem | None:
        question, form, check, thought, answer, rows = ask(random)
        theme, font = random.choice(THEMES), random_font(random)
        widgets = [widget for row in rows for widget in row]
        for number, widget in enumerate(widgets):
            widget.id, widget.font = f"w{number}", font
        try:
            stack(rows, (MARGIN, MARGIN, width - 2 * MARGIN, height - 2 * MARGIN), random)
        except DoesNotFit:
            return None
        canvas = Canvas(width, height, theme.background)
        for widget in widgets:
            draw_widget(canvas, widget, theme, False)
        regions = tuple(region for widget in widgets for region in widget_regions(widget, theme, True))
        return Problem(question, form, check, thought, answer, canvas.pixels, regions)

    return make


def _word(answer: str) -> dict[str, object]:
    return {"verifier": "exact", "answer": answer}


def _number(answer: int, **more: object) -> dict[str, object]:
    return {"verifier": "numeric", "answer": str(answer), **more}


def _labels(random: Random, count: int) -> list[str]:
    return random.sample(_LABELS, count)


def count_widgets(random: Random) -> Shown:
    """How many buttons, or check boxes, among other things."""
    wanted, other = random.randrange(1, 6), random.randrange(0, 3)
    labels = _labels(random, wanted + other)
    counted, name = random.choice(((Button, "buttons"), (CheckBox, "check boxes")))
    rest = CheckBox if counted is Button else Button
    widgets: list[Widget] = [counted("", label) for label in labels[:wanted]]
    widgets += [rest("", label) for label in labels[wanted:]]
    random.shuffle(widgets)
    found = ", ".join(widget.label for widget in widgets if isinstance(widget, counted))
    rows: list[Row] = [[widget] for widget in widgets]
    return f"How many {name} are on the screen?", NUMBER, _number(wanted), f"The {name}: {found}.", str(wanted), rows


def count_checked(random: Random) -> Shown:
    """How many boxes are checked."""
    labels = _labels(random, random.randrange(3, 7))
    boxes = [CheckBox("", label, checked=random.random() < 0.5) for label in labels]
    checked = sum(box.checked for box in boxes)
    thought = " ".join(f"{box.label}: {'checked' if box.checked else 'not checked'}." for box in boxes)
    rows: list[Row] = [[box] for box in boxes]
    return "How many of the boxes are checked?", NUMBER, _number(checked), thought, str(checked), rows


def which_checked(random: Random) -> Shown:
    """Which boxes are checked: an answer that is a set."""
    labels = _labels(random, random.randrange(3, 7))
    chosen = set(random.sample(labels, random.randrange(1, len(labels))))
    boxes = [CheckBox("", label, checked=label in chosen) for label in labels]
    right = [label for label in labels if label in chosen]
    thought = " ".join(f"{box.label}: {'checked' if box.checked else 'not checked'}." for box in boxes)
    rows: list[Row] = [[box] for box in boxes]
    return "Which of the boxes are checked?", WORDS, {"verifier": "set", "answer": right}, thought, ", ".join(right), rows


def read_field(random: Random) -> Shown:
    """What stands in one of several fields."""
    labels = _labels(random, random.randrange(2, 4))
    values = random.sample(PLAIN_WORDS, len(labels))
    rows: list[Row] = [[Text("", label), TextField("", label, value=value)] for label, value in zip(labels, values, strict=True)]
    asked = random.randrange(len(labels))
    thought = f"The field {labels[asked]} says {values[asked]}."
    return f'What stands in the field "{labels[asked]}"?', WORD, _word(values[asked]), thought, values[asked], rows


def read_order(random: Random) -> Shown:
    """Which label stands where in a column."""
    labels = _labels(random, random.randrange(3, 6))
    place, name = random.choice(((0, "first"), (1, "second"), (len(labels) - 1, "last")))
    thought = f"From the top: {', '.join(labels)}."
    rows: list[Row] = [[Button("", label)] for label in labels]
    question = f"What is written on the {name} button from the top?"
    return question, WORD, _word(labels[place]), thought, labels[place], rows


def _prices(random: Random) -> tuple[list[str], list[int], list[Row]]:
    names = random.sample(PLAIN_WORDS, random.randrange(3, 6))
    prices = random.sample(range(2, 100), len(names))
    rows: list[Row] = [[Text("", f"{name} ${price}")] for name, price in zip(names, prices, strict=True)]
    return names, prices, rows


def read_price(random: Random) -> Shown:
    """What one thing of several costs."""
    names, prices, rows = _prices(random)
    asked = random.randrange(len(names))
    price = prices[asked]
    question = f"What does {names[asked]} cost, in dollars?"
    return question, NUMBER, _number(price, unit="$"), f"{names[asked]} is ${price}.", str(price), rows


def compare_prices(random: Random) -> Shown:
    """What costs most, or least."""
    names, prices, rows = _prices(random)
    word, choose = random.choice((("most", max), ("least", min)))
    right = names[prices.index(choose(prices))]
    thought = f"The prices are {', '.join(map(str, prices))}. The {'greatest' if word == 'most' else 'least'} is {choose(prices)}."
    return f"Which of the things on the screen costs the {word}?", WORD, _word(right), thought, right, rows


def compare_people(random: Random) -> Shown:
    """How much more one has than another: two readings and a difference."""
    names = random.sample(NAMES, random.randrange(2, 5))
    scores = random.sample(range(5, 100), len(names))
    rows: list[Row] = [[Text("", f"{name}: {score}")] for name, score in zip(names, scores, strict=True)]
    (less, low), (more, high) = sorted(random.sample(list(zip(names, scores, strict=True)), 2), key=lambda one: one[1])
    thought = f"{more} has {high}, {less} has {low}. {high} - {low} = {high - low}."
    return f"How much more than {less} does {more} have?", NUMBER, _number(high - low), thought, str(high - low), rows
