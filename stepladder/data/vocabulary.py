"""What a small tokenizer and the perception head are made from: the words on the training screens and in the instructions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from stepladder.data.demonstrations import Demonstrations

#: Pieces of a tool call that never change; each becomes one token (see `models.tokenizer`).
CALL_FRAGMENTS = (
    '<tool_call>\n{"name": "computer_use", "arguments": {"action": "',
    '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [',
    '<tool_call>\n{"name": "computer_use", "arguments": {"action": "type", "text": "',
    '", "coordinate": [',
    '", "text": "',
    "0, ",  # coordinates that are rounded to tens end like this
    "0]}}\n</tool_call>",
    "]}}\n</tool_call>",
    '"}}\n</tool_call>',
    "left_click",
    "answer",
    "\nPrevious actions:\nStep ",
)
#: A word must be seen this often on screens, or in instructions, to become a token of its own.
SCREEN_COUNT, INSTRUCTION_COUNT = 8, 6


def screen_words(demonstrations: Demonstrations) -> list[str]:
    """Words that stand on the training screens often enough to be classes of the perception head, most frequent first."""
    return _frequent(demonstrations.words())


def label_words(demonstrations: Demonstrations) -> list[str]:
    """Those of `screen_words` that stand on buttons, links, tabs and the like: what an agent is told to click."""
    return _frequent(demonstrations.labels())


def _frequent(texts: Counter[str]) -> list[str]:
    counted: Counter[str] = Counter()
    for text, count in texts.items():
        counted[strip_punctuation(text)] += count
    return [word for word, count in counted.most_common() if count >= SCREEN_COUNT and re.fullmatch(r"[A-Za-z]{2,}", word)]


def tokenizer_corpus(demonstrations: Demonstrations, words: Iterable[str]) -> list[str]:
    """Text to train the tokenizer on: the words, the instructions, the names of roles and actions, letters spelled one by one, and
    where there is no screen what is said instead.

    Instructions that carry random strings (passwords) are left out, or their syllables would fill the vocabulary.
    """
    counted: Counter[str] = Counter()
    for instruction in demonstrations.instructions:
        counted.update(re.findall(r" ?[A-Za-z]+", instruction))
    frequent = [word for word, count in counted.items() if count >= INSTRUCTION_COUNT]
    plain = sorted({i for i in demonstrations.instructions if not re.search(r"password|username", i)})
    letters = " ".join("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return [
        *(word for word in [*words, *frequent] for _ in range(3)),
        *plain[:3000],
        *demonstrations.texts()[:3000],
        *["system\nuser\nassistant\nleft_click type key scroll wait terminate answer yes no"] * 20,
        *[letters] * 20,
    ]


def strip_punctuation(word: str) -> str:
    """The word without quotation marks, full stops and brackets around it."""
    return re.sub(r"^[^\w#@+\-=]+|[^\w=+]+$", "", word)
