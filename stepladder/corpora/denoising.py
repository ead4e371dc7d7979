"""Span denoising in text space (Y. Tay et al., UL2, arXiv 2205.05131, section 3.1): spans of words are hidden behind markers and
told after the text.

    <|R|>Press <|span_0|>to save <|span_1|>file.<|span_0|>the button <|span_1|>your <|span_2|>

The text with its markers has no loss, what follows has. `restored` puts both together again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

#: Markers of spans; a part of a text never has more spans.
SENTINELS = 100
_WORD = re.compile(r"\S+\s*|\s+")
_MARKER = re.compile(r"<\|span_(\d+)\|>")
_MODE = re.compile(r"<\|[A-Z]\|>")


@dataclass(frozen=True)
class Spans:
    """What is hidden: a share `rate` of the words in spans of `mean` words on average; `mean` None is one span at the end."""

    mean: float | None
    rate: float


#: The denoisers of the paper's table 1, one of whose settings is drawn each time: regular, sequential, extreme. Lengths are words.
DENOISERS: dict[str, tuple[Spans, ...]] = {
    "R": (Spans(3, 0.15), Spans(8, 0.15)),
    "S": (Spans(None, 0.25),),
    "X": (Spans(3, 0.5), Spans(8, 0.5), Spans(64, 0.15), Spans(64, 0.5)),
}


def mode_marker(denoiser: str) -> str:
    """What stands before a text that is denoised in this way."""
    return f"<|{denoiser}|>"


def sentinel(number: int) -> str:
    """What stands for span `number`."""
    return f"<|span_{number}|>"


def denoised(text: str, denoisers: Sequence[str], longest: int, random: Random) -> tuple[tuple[str, bool], ...]:
    """Pieces (text, has loss) of a text: for every `longest` words of it, what is left of them and then what was hidden.

    `longest` is at most 6 * SENTINELS. A text that has such markers itself, and one of less than two words, stays as it is.
    """
    words = _WORD.findall(text)
    if len(words) < 2 or _MARKER.search(text) or _MODE.search(text):
        return ((text, True),)
    found: list[tuple[str, bool]] = []
    for start in range(0, len(words), longest):
        part = words[start : start + longest]
        denoiser = random.choice(denoisers)
        hidden = hidden_words(len(part), random.choice(DENOISERS[denoiser]), random)
        if not hidden:  # one word is left over
            found.append(("".join(part), True))
            continue
        shown, told = [mode_marker(denoiser)], []
        last = 0
        for number, (first, end) in enumerate(hidden):
            shown += [*part[last:first], sentinel(number)]
            told += [sentinel(number), *part[first:end]]
            last = end
        shown += part[last:]
        found += [("".join(shown), False), ("".join([*told, sentinel(len(hidden))]), True)]
    return tuple(found)


def hidden_words(count: int, spans: Spans, random: Random) -> list[tuple[int, int]]:
    """The spans (first, end) to be hidden of `count` words, in their order and never side by side; at least one word is hidden and
    at least one stays, where there are two."""
    if count < 2:
        return []
    noise = min(count - 1, max(1, round(count * spans.rate)))
    if spans.mean is None:
        return [(count - noise, count)]
    number = min(SENTINELS - 1, noise, count - noise, max(1, round(noise / spans.mean)))
    lengths, gaps = _parts(noise, number, random), _parts(count - noise, number, random)
    found, place = [], 0
    for gap, length in zip(gaps, lengths, strict=True):
        found.append((place + gap, place + gap + length))
        place += gap + length
    return found


def _parts(total: int, number: int, random: Random) -> list[int]:
    """`number` whole numbers above 0 with this sum, every choice of them as likely."""
    cuts = [0, *sorted(random.sample(range(1, total), number - 1)), total]
    return [end - first for first, end in pairwise(cuts)]


def restored(pieces: Sequence[tuple[str, bool]]) -> str:
    """The text behind what `denoised` gave."""
    found, shown = [], ""
    for text, has_loss in pieces:
        if not has_loss:
            shown = _MODE.sub("", text, count=1)
            continue
        if not shown:
            found.append(text)
            continue
        parts = _MARKER.split(text)  # "", number, span, number, span, ..., "" after the last marker
        hidden = dict(zip(parts[1::2], parts[2::2], strict=True))
        found.append(_MARKER.sub(lambda marker, hidden=hidden: hidden[marker[1]], shown))  # type: ignore[misc]
        shown = ""
    return "".join(found)
