"""Questions whether something is there, what it says, and how many there are of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from stepladder.data.perception_descriptions import NOUNS, descriptions
from stepladder.data.perception_question import NOTHING, Asked, Question, told
from stepladder.data.shown_elements import Shown, shown
from stepladder.words import VOCABULARY, held_out, vocabulary

#: Kinds that are known by what stands on them, with what they look like: a link may be drawn as a button is.
LOOKS = {"button": "button", "link": "button", "tab": "button", "checkbox": "checkbox", "radio": "radio"}
#: Kinds that have a content of their own.
FILLED = ("textbox", "textarea", "select", "combobox", "spinbutton")
#: Kinds that are counted by state, each with the word for it.
COUNTED = {"checkbox": "checked", "radio": "selected"}


def existence(asked: Asked, random: Random) -> Iterator[Question]:
    """As many questions with the answer "yes" as with "no". Half of what is not there is a label of something else on the screen,
    the rest a word of the vocabulary, held out where a word on the screen is."""
    elements = shown(asked.image, asked.regions)
    words = {word.casefold() for region in asked.regions for word in region.text.split()}
    labels = {(e.kind, e.text): e for e in elements if e.kind in LOOKS and e.text and e.sayable}
    said: set[str] = set()
    for kind, text in labels:
        others = [other for other in LOOKS if not any(LOOKS[other] == look for look in _looks_of(text, elements))]
        if random.random() < 0.5 and others:
            absent = _is_there(random.choice(others), text)
        else:
            part = "heldout" if held_out(random.choice(text.split())) else "train"
            unseen = [word for word in vocabulary(part, VOCABULARY) if word.casefold() not in words]
            absent = _is_there(kind, random.choice(unseen))
        if absent not in said:
            said.add(absent)
            yield told("existence", _is_there(kind, text), "yes")
            yield told("existence", absent, "no")


def _looks_of(text: str, elements: Sequence[Shown]) -> set[str]:
    """The looks of all elements with a text, capitals aside."""
    return {LOOKS[e.kind] for e in elements if e.kind in LOOKS and e.text.casefold() == text.casefold()}


def _is_there(kind: str, text: str) -> str:
    noun = NOUNS[kind]
    return f'Is there a{"n" if noun[0] in "aeiou" else ""} {noun} "{text}" on the screen?'


def values(asked: Asked) -> Iterator[Question]:
    """What a described field or menu says, and how many checkboxes are checked."""
    for one in descriptions(asked):
        element, gives_away = one.element, one.text.startswith("the empty ")
        empty = not element.text and element.kind in ("textbox", "textarea")
        if element.kind in FILLED and element.sayable and (element.text or empty) and not gives_away:
            yield told("value", f"What does {one.text} say?", element.text or NOTHING)
    elements = shown(asked.image, asked.regions)
    kinds = Counter(element.kind for element in elements)
    for kind, word in COUNTED.items():
        if kinds[kind] > 1:
            count = sum(element.kind == kind and bool({"checked", "selected"} & set(element.states)) for element in elements)
            plural = {"checkbox": "checkboxes", "radio": "radio buttons"}[kind]
            yield told("value", f"How many {plural} are {word}?", str(count))
