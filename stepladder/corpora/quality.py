"""Quality filters: named rules of thumb, each of which says what it objects to.

The rules are those of J. Rae et al. (Gopher, arXiv 2112.11446, appendix A.1.1), with limits that can be set.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from dataclasses import dataclass, fields

from stepladder.config import ConfigError
from stepladder.corpora.document import Document

_ORDINARY = frozenset(string.punctuation + "“”‘’–—…¿¡«»。、，！？：；（）")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class QualityRules:
    """Limits of the rules; a document that breaks one is left out, and the rule's name says why. None switches a rule off.

    `shortest`, `longest`          characters of the text; a document with pictures may be as short as it likes
    `symbols`                      highest share of characters that are no letters, digits, spaces or ordinary punctuation, and of
                                   the signs # ~ | { } < > \\ ^ = + * _ which ordinary sentences have few of
    `repeated_lines`               highest share of lines that stand above already
    `repeated_words`               highest share of words in runs of `run` words that come twice or more
    `word_length`                  lowest and highest mean length of a word
    `language`                     lowest share of words that look like words of a language: with a letter, of at most 20 letters
    `function_words`               lowest number of words such as "the" and "of", for English alone
    """

    shortest: int | None = 50
    longest: int | None = 1_000_000
    symbols: float | None = 0.1
    repeated_lines: float | None = 0.3
    repeated_words: float | None = 0.2
    run: int = 10
    word_length: tuple[float, float] | None = (2.0, 12.0)
    language: float | None = 0.7
    function_words: int | None = None

    def check(self) -> None:
        """Raises ConfigError for limits that cannot be."""
        for name in ("symbols", "repeated_lines", "repeated_words", "language"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share}; it must be a share from 0 to 1, or None")
        if self.run < 1:
            raise ConfigError(f"run is {self.run}; it must be 1 word or more")
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise ConfigError(f"shortest is {self.shortest} and longest {self.longest}; no text can be both")


#: The names that `objection` gives.
RULES = tuple(spec.name for spec in fields(QualityRules) if spec.name != "run")
_FUNCTION_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))  # Gopher's list
_SIGNS = frozenset("#~|{}<>\\^=+*_")


def objection(document: Document, rules: QualityRules) -> str | None:
    """The name of the first rule that the document breaks, None for a document that breaks none."""
    text = document.text
    if rules.shortest is not None and len(text) < rules.shortest and not document.images:
        return "shortest"
    if rules.longest is not None and len(text) > rules.longest:
        return "longest"
    if rules.symbols is not None and symbol_share(text) > rules.symbols:
        return "symbols"
    if rules.repeated_lines is not None and repeated_line_share(text) > rules.repeated_lines:
        return "repeated_lines"
    words = text.split()
    if rules.repeated_words is not None and repeated_word_share(words, rules.run) > rules.repeated_words:
        return "repeated_words"
    if not words:
        return None
    if rules.word_length is not None:
        lowest, highest = rules.word_length
        if not lowest <= sum(map(len, words)) / len(words) <= highest:
            return "word_length"
    if rules.language is not None and language_share(words) < rules.language:
        return "language"
    if rules.function_words is not None and sum(word.lower() in _FUNCTION_WORDS for word in words) < rules.function_words:
        return "function_words"
    return None


def symbol_share(text: str) -> float:
    """The share of characters that are rare in sentences; see `QualityRules.symbols`."""
    counts = Counter(text)
    rare = sum(
        count
        for one, count in counts.items()
        if one in _SIGNS or not (one.isalnum() or one.isspace() or one in _ORDINARY or _is_mark(one))
    )
    return rare / len(text) if text else 0.0


def _is_mark(character: str) -> bool:
    """Signs that are written onto a letter, as vowels are in Hindi."""
    return unicodedata.category(character).startswith("M")


def repeated_line_share(text: str) -> float:
    """The share of lines, empty ones not counted, that stand above already."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def repeated_word_share(words: list[str], run: int) -> float:
    """The share of words that stand in a run of `run` words which comes twice or more."""
    runs = Counter(zip(*(words[start:] for start in range(run)), strict=False))
    covered, last = 0, 0
    for place in range(len(words) - run + 1):
        if runs[tuple(words[place : place + run])] > 1:
            covered += place + run - max(place, last)
            last = place + run
    return covered / len(words) if words else 0.0


def language_share(words: list[str]) -> float:
    """The share of words that have a letter and at most 20 characters, or are a number of at most four digits."""
    like = sum((len(word) <= 20 and _LETTER.search(word) is not None) or (word.isdigit() and len(word) <= 4) for word in words)
    return like / len(words) if words else 0.0
