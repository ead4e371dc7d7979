"""Documents for pre-training from a policy document of one's own: its rules said again, asked for and applied (CAP-CPT, arXiv
2510.11588).

The paper has a model sort what a document specifies into facts, behaviour and conditions, and write texts for each sort. Here the
sorting goes by words and the texts are made from patterns, so that the same file always gives the same corpus:

    fact        every other sentence            said again, asked for, with its words left out one at a time
    behaviour   must, never, always, only ...   and as what is right and what is wrong
    condition   if, when, before, unless ...    and as the condition asked for, and what follows from it
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import random_of

Sort = Literal["fact", "behaviour", "condition"]
_CONDITION = re.compile(r"\b(if|when|whenever|unless|before|after|until|while|in case|otherwise)\b", re.IGNORECASE)
_BEHAVIOUR = re.compile(
    r"\b(must|must not|never|always|only|may not|do not|don't|should|shall|cannot|has to|have to|are to|is to)\b", re.IGNORECASE
)
#: What begins a line of a list, and a heading.
_BULLET, _HEADING = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+"), re.compile(r"^\s*#+\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_LEADING_CONDITION = re.compile(
    r"^(if|when|whenever|unless|before|after|until|while|in case)\b(?P<condition>[^,]+),\s*(?P<then>.+)$", re.I
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence of a policy document; `heading` is that above it."""

    text: str
    sort: Sort
    heading: str = ""


def read_rules(text: str) -> list[Rule]:
    """The sentences of a document in Markdown or plain text, each line of a list by itself, neighbouring lines of a paragraph
    together. Headings are no rules."""
    rules, heading, paragraph = list[Rule](), "", list[str]()

    def finish() -> None:
        for sentence in _SENTENCE_END.split(" ".join(paragraph)):
            if re.search(r"\w", sentence):
                rules.append(Rule(sentence.strip(), sort_of(sentence), heading))
        paragraph.clear()

    for line in text.splitlines():
        if not line.strip() or _HEADING.match(line) or _BULLET.match(line):
            finish()
        if _HEADING.match(line):
            heading = _HEADING.sub("", line).strip()
        elif line.strip():
            paragraph.append(_BULLET.sub("", line).strip())
    finish()
    return rules


def sort_of(sentence: str) -> Sort:
    """By its words: a condition may also say what must be."""
    if _CONDITION.search(sentence):
        return "condition"
    return "behaviour" if _BEHAVIOUR.search(sentence) else "fact"


def rule_text(seed: int, number: int, *, path: str, name: str = "these rules") -> Document:
    """Document `number` about the rules in the file `path`, which are called `name`: the whole of them, or one rule in one of the
    forms that its sort has. Raises ConfigError for a file that is not there or says nothing."""
    whole, rules = _read(Path(path))
    random = random_of("rules", seed, number)
    if random.random() < 0.1:
        return Document(whole, source="rules", metadata={"form": "whole"})
    rule = random.choice(rules)
    forms = rule_forms(rule, name)
    form = random.choice(list(forms))
    return Document(random.choice(forms[form]), source="rules", metadata={"form": form, "sort": rule.sort})


def rule_forms(rule: Rule, name: str) -> dict[str, list[str]]:
    """Every text about a rule, by the form that it has."""
    where = f" about {rule.heading}" if rule.heading else ""
    forms = {
        "said": [rule.text, f"According to {name}: {rule.text}", f"{name.capitalize()} say{where}: {rule.text}"],
        "asked": [
            f"Question: What do {name} say{where}?\nAnswer: {rule.text}",
            f"Question: Is this one of {name}? {rule.text}\nAnswer: Yes.",
        ],
        "left_out": _left_out(rule.text, name),
    }
    if rule.sort != "fact":
        forms["judged"] = [
            f"Right is who keeps to this rule: {rule.text}\nWrong is who breaks it.",
            f"Question: May one act against this? {rule.text}\nAnswer: No, {name} forbid it.",
        ]
    found = _LEADING_CONDITION.match(rule.text)
    if rule.sort == "condition" and found is not None:
        word, condition, then = found[1], found["condition"].strip(), found["then"].strip()
        then = then[0].upper() + then[1:]
        forms["applied"] = [
            f"Question: What holds {word.lower()} {condition}?\nAnswer: {then}",
            f"{then} This holds {word.lower()} {condition}.",
        ]
    return forms


def _left_out(text: str, name: str) -> list[str]:
    """The rule with one of its words left out, and that word."""
    words = text.split()
    places = [place for place, word in enumerate(words) if re.search(r"\w", word)]
    made = []
    for place in places:
        word = words[place].strip(".,;:")
        gap = words[place].replace(word, "____", 1)
        made.append(f"Complete this rule of {name}: {' '.join([*words[:place], gap, *words[place + 1 :]])}\nAnswer: {word}")
    return made


@functools.lru_cache(maxsize=16)
def _read(path: Path) -> tuple[str, tuple[Rule, ...]]:
    if not path.is_file():
        raise ConfigError(f"path: {path} is no file; give the policy document whose rules are to be learned")
    whole = path.read_text(encoding="utf-8")
    rules = read_rules(whole)
    if not rules:
        raise ConfigError(f"path: {path} holds no rule; write sentences, or a list with one rule a line")
    return whole, tuple(rules)
