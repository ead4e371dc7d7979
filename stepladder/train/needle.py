"""The needle test: a fact hidden at some depth of a long text and asked for at the end (G. Kamradt 2023, "Needle in a haystack").

Other facts of the same form stand beside it, so that it has to be found by its name ("multi-key" in RULER, C.-P. Hsieh et al.,
arXiv 2404.06654). The answer counts when each of its tokens is the most probable one, as greedy decoding would have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.lookup import ANSWERS, Answer, drawn_answer, filler, question
from stepladder.models.renderer import Renderer
from stepladder.seeds import HELDOUT
from stepladder.stats.intervals import success_rate
from stepladder.train.documents import document_samples
from stepladder.train.parallel import gather
from stepladder.train.sample import Sample
from stepladder.train.scoring import Scorer
from stepladder.words import NAMES

#: Tokens of needle texts that are read at once, at most.
CHUNK_TOKENS = 8192


@dataclass(frozen=True)
class NeedleTest:
    """`count` texts for each of the `lengths` (tokens, the answer included) and each of the `depths` (0: the text begins with the
    fact, 1: it ends with it), with `others` more facts. The `answer` is a word or a number of five digits. None
    of the facts stands in a document of the corpus "lookup" that is for training."""

    lengths: tuple[int, ...] = (128, 256, 512, 1024)
    depths: tuple[float, ...] = (0.1, 0.5, 0.9)
    count: int = 20
    others: int = 3
    answer: Answer = "word"
    seed: int = 0

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if not self.lengths or min(self.lengths) < 1 or not self.depths or self.count < 1:
            raise ConfigError("needle: lengths and depths must name at least one each, above 0 tokens, and count must be 1 or more")
        if not all(0 <= depth <= 1 for depth in self.depths):
            raise ConfigError(f"needle.depths is {self.depths}; a depth is a share of the text, 0 to 1")
        if not 0 <= self.others < len(NAMES):
            raise ConfigError(f"needle.others is {self.others}; it must be 0 to {len(NAMES) - 1}")
        if self.answer not in ANSWERS:
            raise ConfigError(f"needle.answer is {self.answer!r}; it must be {' or '.join(ANSWERS)}")


@dataclass(frozen=True)
class NeedleScore:
    """Of the texts of one length and depth (None: of all depths), how many were answered rightly; Wilson's interval at 95 %."""

    length: int
    depth: float | None
    successes: int
    n: int
    rate: float
    low: float
    high: float


def needle_sample(renderer: Renderer, test: NeedleTest, length: int, depth: float, number: int) -> Sample:
    """Text `number` of this length and depth; its loss, and so what is asked of the model, is on the answer alone. Raises
    ConfigError for a length in which the facts have no room."""
    random = Random(f"needle-{test.seed}-{length}-{depth}-{number}")
    name, *others = random.sample(NAMES, 1 + test.others)
    answer = drawn_answer(random, name, test.answer, HELDOUT)
    needle, asked = f"{question(name)}{answer}.", f"\n{question(name)}"
    hidden = [f"{question(other)}{drawn_answer(random, other, test.answer, HELDOUT)}." for other in others]
    left = length - _tokens(renderer, " ".join([needle, *hidden]) + asked + answer + ".") - 2
    if left < 0:
        raise ConfigError(f"needle: {1 + test.others} facts have no room in {length} tokens; it takes {length - left}")
    body: list[str] = []
    while (cost := _tokens(renderer, " " + (sentence := filler(random)))) <= left:
        body.append(sentence)
        left -= cost
    for other in hidden:
        body.insert(random.randint(0, len(body)), other)
    body.insert(round(depth * len(body)), needle)
    pieces = [(" ".join(body) + asked, False), (answer, True), (".", False)]
    (sample,) = document_samples(renderer, pieces, context=length + 8, key=f"needle {length} {depth} {number}")
    return sample


def needle_scores(scorer: Scorer, renderer: Renderer, test: NeedleTest, rank: int = 0, world: int = 1) -> list[NeedleScore]:
    """A score for every length and depth, and one for every length. Every rank reads its part; all get the whole answer."""
    cells = [(length, depth) for length in test.lengths for depth in test.depths]
    right: dict[tuple[int, float], int] = {}
    for length, depth in cells:
        mine = [needle_sample(renderer, test, length, depth, number) for number in range(rank, test.count, world)]
        size = max(1, CHUNK_TOKENS // length)
        starts = range(0, -(-test.count // world), size)  # as many for every rank: it may be a part of one model that each has
        right[length, depth] = sum(gather(sum(_answered(scorer, mine[i : i + size]) for i in starts)))
    scores = [_score(length, depth, right[length, depth], test.count) for length, depth in cells]
    for length in test.lengths:
        scores.append(_score(length, None, sum(right[length, depth] for depth in test.depths), test.count * len(test.depths)))
    return scores


def _answered(scorer: Scorer, samples: Sequence[Sample]) -> int:
    guesses = scorer.likeliest(samples, 1)
    pairs = zip(guesses, samples, strict=True)
    return sum(bool((guess[:, 0] == sample.tokens[sample.trained]).all()) for guess, sample in pairs)


def _score(length: int, depth: float | None, successes: int, n: int) -> NeedleScore:
    rate = success_rate(successes, n)
    return NeedleScore(length, depth, successes, n, successes / n, rate.low, rate.high)


def _tokens(renderer: Renderer, text: str) -> int:
    return len(renderer.document((), [text])[0]) - 2
