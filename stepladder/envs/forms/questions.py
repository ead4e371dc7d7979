"""What forms are made of: the maker that draws words, fonts and widgets from a seed, and the questions that a form can ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from stepladder.drawing import DEFAULT_FONT, Font, IntBox
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.goals import Goal, Want
from stepladder.envs.forms.layout import (
    MARGIN,
    THEMES,
    Row,
    Theme,
    align_columns,
    columns,
    stack,
)
from stepladder.envs.forms.screen import Screen
from stepladder.envs.forms.widgets import (
    Button,
    CheckBox,
    ListBox,
    Menu,
    RadioGroup,
    Slider,
    Text,
    Widget,
)
from stepladder.words import NAMES, PLAIN_WORDS, UI_WORDS, WordPart, letters, vocabulary

SUBMIT_LABELS = ("Submit", "OK", "Save", "Send", "Apply", "Done", "Continue")


@dataclass(slots=True)
class Form:
    """One task made concrete."""

    screen: Screen
    theme: Theme
    instruction: str
    goal: Goal
    panel: IntBox | None = None


@dataclass(slots=True)
class Question:
    """Part of a form: its rows, the value asked for, and the words that ask for it."""

    rows: list[Row]
    want: Want
    phrase: str


@dataclass(slots=True)
class Maker:
    """Everything that the task kinds draw from. No label is used twice in one form, in whatever capitals."""

    random: Random
    width: int
    height: int
    words: WordPart
    theme: Theme = THEMES[0]
    font: Font = DEFAULT_FONT
    used: set[str] = field(default_factory=set)
    count: int = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    def word(self, source: tuple[str, ...] = UI_WORDS) -> str:
        choices = vocabulary(self.words, source)
        while (word := self.random.choice(choices)).lower() in self.used:
            pass
        self.used.add(word.lower())
        return word

    def label(self) -> str:
        """One word, now and then two."""
        return self.word() if self.random.random() < 0.8 else f"{self.word()} {self.word(PLAIN_WORDS)}"

    def entry(self) -> str:
        """Something to type."""
        share = self.random.random()
        if share < 0.35:
            return self.random.choice(vocabulary(self.words, NAMES))
        if share < 0.6:
            return self.random.choice(vocabulary(self.words, PLAIN_WORDS))
        return letters(self.random, self.words)

    def options(self, count: int) -> tuple[str, ...]:
        source = self.random.choice((UI_WORDS, PLAIN_WORDS, NAMES))
        return tuple(self.word(source) for _ in range(count))

    def text(self, label: str, label_for: str = "") -> Text:
        return Text(self.name("text"), label, font=self.font, label_for=label_for)

    def button(self, label: str, final: bool = True, command: str = "", default: bool = False) -> Button:
        return Button(self.name("button"), label, font=self.font, final=final, command=command, default=default)

    def submit(self, label: str = "") -> Button:
        label = label or self.random.choice([word for word in SUBMIT_LABELS if word.lower() not in self.used])
        self.used.add(label.lower())
        return self.button(label, default=True)

    def area(self, top: int = MARGIN, bottom: int = MARGIN) -> IntBox:
        return MARGIN, top, self.width - 2 * MARGIN, self.height - top - bottom

    def form(self, rows: Sequence[Row], instruction: str, wants: Sequence[Want], presses: Sequence[Widget]) -> Form:
        """A one-page form of these rows."""
        stack(rows, self.area(), self.random)
        align_columns(rows)
        screen = Screen(self.width, self.height, self.label(), [widget for row in rows for widget in row])
        return Form(screen, self.theme, instruction, Goal(tuple(wants), tuple(button.id for button in presses)))

    def one_of(self, *phrases: str) -> str:
        return self.random.choice(phrases)


def ask_field(make: Maker, label: str = "", password: bool = False) -> Question:
    label = label or make.label()
    entry = TextField(make.name("field"), label, font=make.font, password=password)
    value = make.entry()
    rows = columns([[make.text(label, entry.id), entry]], make.area()[2])
    phrase = make.one_of(
        f'type "{value}" into the "{label}" field', f'enter "{value}" as "{label}"', f'fill "{label}" with "{value}"'
    )
    return Question(rows, Want(entry.id, value), phrase)


def ask_check_box(make: Maker) -> Question:
    box = CheckBox(make.name("check"), make.label(), font=make.font, checked=make.random.random() < 0.3)
    value, verb = ("off", "uncheck") if box.checked else ("on", "check")
    return Question([[box]], Want(box.id, value), f'{verb} "{box.label}"')


def ask_radio(make: Maker, count: int = 3) -> Question:
    title = make.word()
    group = RadioGroup(make.name("radio"), title, font=make.font, options=make.options(count))
    if make.random.random() < 0.3:
        group.selected = make.random.randrange(count)
    value = make.random.choice([o for i, o in enumerate(group.options) if i != group.selected])
    return Question(
        [[make.text(title)], [group]], Want(group.id, value), make.one_of(f'choose "{value}"', f'set "{title}" to "{value}"')
    )


def ask_menu(make: Maker, count: int = 5) -> Question:
    label = make.word()
    menu = Menu(make.name("menu"), label, font=make.font, options=make.options(count))
    value = make.random.choice(menu.options[1:])
    rows = columns([[make.text(label, menu.id), menu]], make.area()[2])
    return Question(
        rows, Want(menu.id, value), make.one_of(f'select "{value}" in the "{label}" menu', f'set "{label}" to "{value}"')
    )


def ask_list(make: Maker, count: int, rows: int) -> Question:
    label = make.word()
    box = ListBox(make.name("list"), label, font=make.font, options=make.options(count), rows=rows)
    value = make.random.choice(box.options)
    return Question(
        [[make.text(label)], [box]], Want(box.id, value), make.one_of(f'select "{value}" in the list', f'pick "{value}"')
    )


def ask_slider(make: Maker) -> Question:
    label = make.word()
    minimum = make.random.choice((0, 0, 1, -5))
    maximum = minimum + make.random.choice((5, 10, 10, 20))
    first, value = make.random.sample(range(minimum, maximum + 1), 2)
    slider = Slider(make.name("slider"), label, font=make.font, minimum=minimum, maximum=maximum, value=first)
    return Question([[make.text(label)], [slider]], Want(slider.id, str(value)), f'set the "{label}" slider to {value}')


def sentence(phrases: Sequence[str], button: str) -> str:
    """One instruction of several phrases."""
    text = ", ".join([*phrases, f'press "{button}"']) if len(phrases) > 1 else f'{phrases[0]} and press "{button}"'
    return text[0].upper() + text[1:] + "."
