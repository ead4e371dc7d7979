"""Documents in which something is told once and asked for at the end: what a longer context is for, in small.

The code of Ada is meadow. A yellow boat stands near the tower. ... The code of Emil is 40213. ...
The code of Emil is 40213. The code of Ada is meadow.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import item, random_of
from stepladder.words import NAMES, PLAIN_WORDS

Answer = Literal["word", "number"]
ANSWERS: tuple[Answer, ...] = ("word", "number")
#: Sentences between the facts. Their words are drawn, and none of them is a name.
FILLER = (
    "A {} stands near the {}.",
    "The {} is behind the {}.",
    "We saw a {} and a {} today.",
    "Nobody knows why the {} has a {}.",
    "In the evening the {} looks like a {}.",
    "There is a {} on top of the {}.",
    "Take the {}, then the {}.",
    "Every {} needs a {}.",
)


def lookup(seed: int, number: int, *, sentences: int = 12, facts: int = 4, answer: str = "any") -> Document:
    """A document of 1 to `sentences` other sentences with 1 to `facts` facts among them, all of which are told again at the end, in
    another order. `answer` is "word", "number", or "any" for both. A fact that a held-out document has is in no document for
    training. Raises ConfigError for settings that cannot be."""
    if sentences < 1 or not 1 <= facts <= len(NAMES):
        raise ConfigError(
            f"lookup has sentences={sentences}, facts={facts}; there must be one sentence, and 1 to {len(NAMES)} facts"
        )
    if answer not in ("any", *ANSWERS):
        raise ConfigError(f"lookup has answer={answer!r}; it must be any, {' or '.join(ANSWERS)}")
    random = random_of("lookup", seed, number)
    told = [question(name) + drawn_answer(random, name, answer, number) + "." for name in drawn_names(random, facts)]
    body = [filler(random) for _ in range(random.randint(1, sentences))]
    for fact in told:
        body.insert(random.randint(0, len(body)), fact)
    return Document(" ".join(body) + "\n" + " ".join(random.sample(told, len(told))), source="lookup")


def question(name: str) -> str:
    """What a fact begins with, and what is asked at the end; the answer follows it, with the space before it."""
    return f"The code of {name} is"


def drawn_names(random: Random, most: int) -> list[str]:
    """Of 1 to `most` different people."""
    return random.sample(NAMES, random.randint(1, most))


def drawn_answer(random: Random, name: str, answer: str, number: int) -> str:
    """What is to be found again, with a space before it: a word, or a number of five digits. Which of them are held out depends on
    the name; the part is that of document `number`."""
    kind = random.choice(ANSWERS) if answer == "any" else answer
    if kind == "word":
        return item(lambda: f" {random.choice(PLAIN_WORDS)}", number, lambda found: question(name) + found)
    return item(lambda: " " + "".join(random.choices("0123456789", k=5)), number, lambda found: question(name) + found)


def filler(random: Random) -> str:
    """A sentence that has nothing to do with any fact."""
    return random.choice(FILLER).format(*random.sample(PLAIN_WORDS, 2))
