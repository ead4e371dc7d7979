"""What stands beside a document's text in training: where it is from, how good it is, or its own words as targets.

Every function gives pieces (text, has loss): tokens of pieces that have a loss are learned, the others are only shown. Markers
such as `<|good|>` should be single tokens; `markers` lists those that a setting needs.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.denoising import DENOISERS, SENTINELS, denoised, mode_marker, sentinel
from stepladder.corpora.document import Document

Pieces = tuple[tuple[str, bool], ...]

GOOD, BAD = "<|good|>", "<|bad|>"
#: Entries of a document's metadata that tell where it is from, the first that is there.
ADDRESSES = ("url", "URL", "address")


@dataclass(frozen=True)
class Conditioning:
    """Which of the methods apply; with the defaults none does, and a document is its text.

    `metadata` puts "URL: <host>" before the text until the last `cooldown` of the training (T. Gao et al., MeCo, arXiv 2501.01956,
    sections 2 and 3: 10 %, no loss on the prefix). `reward_tokens` puts `<|good|>` before documents with a score of `threshold` and
    more, `<|bad|>` before others, and nothing before a share `unconditioned` and before those without a score (T. Korbak et al.,
    arXiv 2302.08582, conditional training); sample with `<|good|>` later. `denoising` is the share of documents whose spans are
    hidden, by one of `denoisers` each (Y. Tay et al., UL2, arXiv 2205.05131, section 3.1), in parts of `denoising_words` words.
    """

    metadata: bool = False
    cooldown: float = 0.1
    reward_tokens: bool = False
    threshold: float = 0.5
    unconditioned: float = 0.01
    denoising: float = 0.0
    denoisers: tuple[str, ...] = ("R", "S", "X")
    denoising_words: int = 200

    def check(self) -> None:
        """Raises ConfigError for settings that cannot be."""
        for name in ("cooldown", "unconditioned", "denoising"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share}; it must be a share from 0 to 1")
        unknown = [name for name in self.denoisers if name not in DENOISERS]
        if unknown or not self.denoisers:
            raise ConfigError(f"denoisers is {', '.join(self.denoisers) or 'empty'}; there are {', '.join(DENOISERS)}")
        if not 8 <= self.denoising_words <= 6 * SENTINELS:
            raise ConfigError(f"denoising_words is {self.denoising_words}; it must be 8 to {6 * SENTINELS}")


def pieces(document: Document, settings: Conditioning, progress: float, random: Random) -> Pieces:
    """The document as training sees it at this progress, 0 at the first update to 1 after the last. What is a matter of chance is
    drawn from `random`, always as often, so that the same `random` gives the same pieces."""
    draw_condition, draw_denoise, seed = random.random(), random.random(), random.getrandbits(32)
    found: Pieces = ()
    if settings.metadata and progress < 1 - settings.cooldown:
        found += metadata_prefix(document)
    if settings.reward_tokens and draw_condition >= settings.unconditioned:
        found += reward_token(document, settings.threshold)
    if draw_denoise < settings.denoising:
        return found + denoised(document.text, settings.denoisers, settings.denoising_words, Random(seed))
    return (*found, (document.text, True))


def metadata_prefix(document: Document) -> Pieces:
    """ "URL: <host>" and an empty line, or "source: <name>" where no address is known; nothing where no source is known either."""
    for name in ADDRESSES:
        if document.metadata.get(name):
            return ((f"URL: {host(document.metadata[name])}\n\n", False),)
    return ((f"source: {document.source}\n\n", False),) if document.source else ()


def host(address: str) -> str:
    """The host of an address: "en.wikipedia.org" of "https://en.wikipedia.org/wiki/Ladder"; what is no address stays as it is."""
    try:
        found = urllib.parse.urlsplit(address if "://" in address else f"//{address.lstrip('/')}").hostname
    except ValueError:  # brackets that are no IPv6 address
        found = None
    return found or address.strip()


def reward_token(document: Document, threshold: float) -> Pieces:
    """`<|good|>` or `<|bad|>`; nothing for a document without a score."""
    if document.score is None:
        return ()
    return ((GOOD if document.score >= threshold else BAD, False),)


def markers(settings: Conditioning) -> tuple[str, ...]:
    """The markers that can stand in pieces under these settings: make each of them one token."""
    found: tuple[str, ...] = (GOOD, BAD) if settings.reward_tokens else ()
    if settings.denoising:
        found += (*map(mode_marker, settings.denoisers), *map(sentinel, range(SENTINELS)))
    return found
