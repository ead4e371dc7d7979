"""Mixtures and what stands beside a text: draws that can be resumed, weights that shift, the bandit, conditioning, denoising."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.corpora import CORPORA as CORPORA_TABLE
from stepladder.corpora.bandit import DomainBandit
from stepladder.corpora.conditioning import BAD, GOOD, Conditioning, host, markers, metadata_prefix, pieces
from stepladder.corpora.corpus import Corpus, GeneratedCorpus, LoadedCorpus
from stepladder.corpora.denoising import DENOISERS, SENTINELS, Spans, denoised, hidden_words, restored, sentinel
from stepladder.corpora.document import Document
from stepladder.corpora.mixture import Mixture, Schedule
from stepladder.images import ImageStore

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)


def numbered(name: str) -> Corpus:
    return GeneratedCorpus(lambda seed, number: Document(f"{seed} {number}", source=name), name)


CORPORA = {name: numbered(name) for name in ("web", "code", "screens")}


# ------------------------------------------------------------------------------------------------------------------- schedules


def test_weights_change_linearly_between_points() -> None:
    schedule = Schedule({0.2: {"web": 3, "code": 1}, 0.6: {"code": 1}, 1.0: {"screens": 5}})
    assert schedule.names == ("web", "code", "screens")
    for progress, weights in [
        (0, (0.75, 0.25, 0)),
        (0.2, (0.75, 0.25, 0)),
        (0.4, (0.375, 0.625, 0)),
        (0.6, (0, 1, 0)),
        (0.9, (0, 0.25, 0.75)),
    ]:
        assert tuple(schedule.weights(progress).values()) == pytest.approx(weights)
    assert tuple(schedule.weights(1.0).values()) == (0, 0, 1)
    assert Schedule.shift({"web": 1}, {"code": 1}).weights(0.25) == pytest.approx({"web": 0.75, "code": 0.25})
    assert Schedule.constant({"web": 2, "code": 2}).weights(0.7) == {"web": 0.5, "code": 0.5}


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.floats(0, 1), st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 1e6), min_size=1), min_size=1),
    st.floats(0, 1),
)
def test_weights_are_shares(points: dict[float, dict[str, float]], progress: float) -> None:
    weights = Schedule(points).weights(progress)
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0


@pytest.mark.parametrize("points", [{}, {2.0: {"a": 1}}, {0.5: {"a": -1}}, {0.5: {"a": 0}}, {0.5: {}}, {0.0: {"a": math.nan}}])
def test_schedules_that_cannot_be(points: dict[float, dict[str, float]]) -> None:
    with pytest.raises(ConfigError):
        Schedule(points)


# -------------------------------------------------------------------------------------------------------------------- mixtures


def test_draws_are_a_function_of_seed_and_step() -> None:
    """In whatever order the updates are asked for, and by a mixture that begins in the middle."""
    schedule = Schedule.shift({"web": 1}, {"code": 1, "screens": 1})

    def mixture(seed: int = 3) -> Mixture:
        return Mixture(CORPORA, schedule, seed=seed, steps=20)

    drawn = [mixture().draw(step, 8) for step in range(20)]
    one = mixture()
    assert [one.draw(step, 8) for step in range(20)] == drawn
    order = list(range(20))
    Random(0).shuffle(order)
    assert [one.draw(step, 8) for step in order] == [drawn[step] for step in order]
    assert mixture(4).draw(0, 8) != drawn[0]
    assert {document.source for document in drawn[0]} == {"web"}
    assert Counter(document.source for document in drawn[19])["web"] <= 3


def test_every_corpus_is_gone_through_in_order() -> None:
    mixture = Mixture(CORPORA, Schedule.constant({"web": 2, "code": 1}), seed=0, steps=300)
    documents = [document for step in range(300) for document in mixture.draw(step, 10)]
    for name in ("web", "code"):
        texts = [document.text for document in documents if document.source == name]
        assert texts == [f"0 {number}" for number in range(len(texts))]
    share = sum(document.source == "web" for document in documents) / 3000
    assert abs(share - 2 / 3) < 4 * math.sqrt(2 / 9 / 3000)


def test_a_small_corpus_comes_once_an_epoch(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    corpus = LoadedCorpus(tmp_path, ImageStore(), share=0)
    mixture = Mixture({"mine": corpus}, Schedule.constant({"mine": 1}), seed=1, steps=6)
    texts = [document.text for step in range(6) for document in mixture.draw(step, 4)]
    assert sorted(texts[:12]) == sorted(texts[12:]) == sorted({f"text {number}" for number in range(12)})
    assert texts[:12] != texts[12:]


def test_mixtures_that_cannot_be() -> None:
    schedule = Schedule.constant({"web": 1, "prose": 1})
    with pytest.raises(ConfigError, match="'prose', which is no corpus here; there are web, code, screens"):
        Mixture(CORPORA, schedule, seed=0, steps=1)
    schedule = Schedule.constant({"web": 1, "code": 1})
    with pytest.raises(ConfigError, match="the bandit is about web, the schedule about web, code"):
        Mixture(CORPORA, schedule, seed=0, steps=1, bandit=DomainBandit(["web"]))
    with pytest.raises(ConfigError, match="steps is 0"):
        Mixture(CORPORA, schedule, seed=0, steps=0)
    with pytest.raises(ConfigError, match="has a bandit and this one none"):
        Mixture(CORPORA, schedule, seed=0, steps=1).load_state({"bandit": {}, "drawn": {}})


# ------------------------------------------------------------------------------------------------------------------ the bandit


def test_the_bandit_follows_the_paper() -> None:
    """Two updates by hand, with Algorithm 1 of arXiv 2312.02406."""
    bandit = DomainBandit(["a", "b", "c"], smoothing=0.9)
    assert bandit.probabilities({}) == pytest.approx(dict.fromkeys("abc", 1 / 3))
    bandit.update({"a": 3.0}, bandit.probabilities({}))
    first = 0.1 * 3.0 / (1 / 3)
    assert bandit.rewards == pytest.approx({"a": first, "b": 0, "c": 0})
    assert bandit.probabilities({}) == pytest.approx(dict.fromkeys("abc", 1 / 3))  # eps_1 is still 1/3
    for _ in range(3):
        bandit.update({}, {})
    exploration, before = math.sqrt(math.log(3) / (3 * 4)), 1 / 3  # t = 4; eps_3 = min(1/3, 0.35)
    favoured = math.exp(before * first)
    expected = (1 - 3 * exploration) * favoured / (favoured + 2) + exploration
    assert bandit.probabilities({})["a"] == pytest.approx(expected)
    bandit.update({"b": 2.0}, {"b": 0.25})
    assert bandit.rewards["b"] == pytest.approx(0.1 * 2.0 / 0.25)
    assert bandit.rewards["a"] == pytest.approx(first)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 50)), max_size=30), st.floats(0, 0.25), st.integers(0, 5))
def test_every_domain_keeps_its_least_share(rounds: list[dict[str, float]], floor: float, warmup: int) -> None:
    bandit = DomainBandit("abcd", least_exploration=floor, warmup=warmup)
    scheduled = dict(zip("abcd", (0.4, 0.3, 0.2, 0.1), strict=True))
    for losses in rounds:
        shares = bandit.probabilities(scheduled)
        assert sum(shares.values()) == pytest.approx(1)
        least = bandit.exploration(bandit.updates)
        assert bandit.updates < warmup or min(shares.values()) >= max(floor, least) * (1 - 1e-9)
        assert bandit.updates >= warmup or shares == scheduled
        bandit.update(losses, shares)


def test_what_is_hard_is_drawn_more() -> None:
    """Losses 4 and 1, always the same: the first corpus gets more, and no corpus vanishes."""
    mixture = Mixture(CORPORA, Schedule.constant({"web": 1, "code": 1}), seed=0, steps=200, bandit=DomainBandit(["web", "code"]))
    counts: Counter[str] = Counter()
    for step in range(200):
        drawn = Counter(document.source for document in mixture.draw(step, 6))
        mixture.update(step, 6, {name: 4.0 if name == "web" else 1.0 for name in drawn})
        counts.update(drawn)
    assert counts["web"] > 1.1 * counts["code"] > 300
    assert mixture.weights(200)["web"] > mixture.weights(200)["code"] > 0.1


def test_a_bandit_goes_on_after_an_interruption() -> None:
    def mixture() -> Mixture:
        schedule = Schedule.constant({"web": 1, "code": 3})
        return Mixture(CORPORA, schedule, seed=5, steps=40, bandit=DomainBandit(["web", "code"], warmup=3))

    def losses(step: int) -> dict[str, float]:
        return {"web": 1 + step % 3, "code": 5 / (1 + step)}

    whole, drawn, states = mixture(), [], []
    for step in range(40):
        states.append(json.dumps(whole.state()))
        drawn.append(whole.draw(step, 5))
        whole.update(step, 5, losses(step))
    for start in (0, 2, 3, 17, 39):
        resumed = mixture()
        resumed.load_state(json.loads(states[start]))
        for step in range(start, 40):
            assert resumed.draw(step, 5) == drawn[step]
            resumed.update(step, 5, losses(step))
    texts = [document.text for documents in drawn for document in documents if document.source == "web"]
    assert texts == [f"5 {number}" for number in range(len(texts))]
    with pytest.raises(ConfigError, match="the saved bandit is about web, code"):
        DomainBandit(["web"]).load_state(json.loads(states[3])["bandit"])


def test_bandits_that_cannot_be() -> None:
    for domains, options in (
        (["a", "a"], {}),
        ([], {}),
        (["a"], {"smoothing": 1.0}),
        (["a"], {"warmup": -1}),
        ("ab", {"least_exploration": 0.6}),
    ):
        with pytest.raises(ConfigError):
            DomainBandit(domains, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite losses of a"):
        DomainBandit(["a"]).update({"a": math.nan}, {"a": 1.0})


# ---------------------------------------------------------------------------------------------------------------- conditioning

DOCUMENT = Document("The text.", source="web", metadata={"url": "https://en.example.org/wiki/Ladder?a=1"}, score=0.8)


def test_metadata_stand_before_the_text_until_the_cooldown() -> None:
    settings_ = Conditioning(metadata=True)
    assert pieces(DOCUMENT, settings_, 0.0, Random(0)) == (("URL: en.example.org\n\n", False), ("The text.", True))
    assert pieces(DOCUMENT, settings_, 0.89, Random(0)) == pieces(DOCUMENT, settings_, 0.0, Random(0))
    assert pieces(DOCUMENT, settings_, 0.9, Random(0)) == (("The text.", True),)
    assert pieces(DOCUMENT, Conditioning(), 0.0, Random(0)) == (("The text.", True),)
    assert metadata_prefix(replace(DOCUMENT, metadata={})) == (("source: web\n\n", False),)
    assert metadata_prefix(Document("a")) == ()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://user@en.Example.org:80/x", "en.example.org"),
        ("example.org/x", "example.org"),
        ("//a.b/c", "a.b"),
        ("http://[oops", "http://[oops"),
    ],
)
def test_hosts(address: str, name: str) -> None:
    assert host(address) == name


@given(TEXT)
def test_any_address_has_a_host(address: str) -> None:
    assert isinstance(host(address), str)


def test_reward_tokens() -> None:
    settings_ = Conditioning(reward_tokens=True, threshold=0.7, unconditioned=0.2)
    drawn = Counter(pieces(DOCUMENT, settings_, 0.5, Random(number))[0][0] for number in range(2000))
    assert set(drawn) == {GOOD, "The text."}
    assert abs(drawn["The text."] / 2000 - 0.2) < 0.04
    everywhere = replace(settings_, unconditioned=0.0)
    assert pieces(replace(DOCUMENT, score=0.7), everywhere, 1.0, Random(0)) == ((GOOD, False), ("The text.", True))
    assert pieces(replace(DOCUMENT, score=0.69), everywhere, 1.0, Random(0)) == ((BAD, False), ("The text.", True))
    assert pieces(replace(DOCUMENT, score=None), everywhere, 1.0, Random(0)) == (("The text.", True),)
    both = replace(everywhere, metadata=True)
    assert [text for text, _ in pieces(DOCUMENT, both, 0.0, Random(0))] == ["URL: en.example.org\n\n", GOOD, "The text."]


def test_markers() -> None:
    assert markers(Conditioning()) == ()
    found = markers(Conditioning(reward_tokens=True, denoising=0.5))
    assert found[:5] == (GOOD, BAD, "<|R|>", "<|S|>", "<|X|>")
    assert len(found) == len(set(found)) == 5 + SENTINELS


@pytest.mark.parametrize(
    "change", [{"cooldown": 2.0}, {"denoising": -1.0}, {"denoisers": ("Q",)}, {"denoisers": ()}, {"denoising_words": 5000}]
)
def test_settings_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        Conditioning(**change).check()  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------------- denoising


@settings(deadline=None)
@given(
    TEXT | st.lists(st.sampled_from(["a", "word", "two\nlines", " ", "\t\n", "<|x|>", "<|span_3|>"]), max_size=500).map(" ".join),
    st.sampled_from([("R",), ("S",), ("X",), ("R", "S", "X")]),
    st.integers(8, 600),
    st.integers(0, 10**6),
)
def test_what_is_hidden_is_told(text: str, denoisers: tuple[str, ...], longest: int, seed: int) -> None:
    """The text can be put together again, and the markers that are used are those which the tokenizer knows."""
    found = denoised(text, denoisers, longest, Random(seed))
    assert restored(found) == text
    assert found == denoised(text, denoisers, longest, Random(seed))
    if found != ((text, True),):
        known = set(markers(Conditioning(denoising=1.0, denoisers=denoisers)))
        used = {one for part, _ in found for one in re.findall(r"<\|(?:span_\d+|[A-Z])\|>", part)}
        assert used <= known
        for (shown, has_loss), (told, learned) in zip(found[::2], found[1::2], strict=False):
            assert (has_loss, learned) == (False, True)
            assert re.findall(r"<\|span_\d+\|>", shown) == re.findall(r"<\|span_\d+\|>", told)[:-1]


@settings(deadline=None)
@given(st.integers(2, 600), st.sampled_from([spans for several in DENOISERS.values() for spans in several]), st.integers(0, 10**6))
def test_spans_are_as_many_and_as_long_as_they_should_be(count: int, spans: Spans, seed: int) -> None:
    hidden = hidden_words(count, spans, Random(seed))
    assert 1 <= len(hidden) < SENTINELS
    edges = [place for span in hidden for place in span]
    assert edges == sorted(set(edges))  # none is empty, none touches another
    assert edges[-1] <= count
    total = sum(end - first for first, end in hidden)
    assert total == min(count - 1, max(1, round(count * spans.rate)))
    if spans.mean is None:
        assert hidden == [(count - total, count)]
    elif total >= spans.mean:
        assert total / len(hidden) == pytest.approx(spans.mean, rel=0.5)


def test_an_example_of_denoising() -> None:
    text = "Press the button to save your file."
    shown, told = denoised(text, ("S",), 200, Random(0))
    assert shown == ("<|S|>Press the button to save <|span_0|>", False)
    assert told == ("<|span_0|>your file.<|span_1|>", True)
    assert sentinel(0) == "<|span_0|>"
    settings_ = Conditioning(denoising=0.5)
    share = sum(len(pieces(Document(text), settings_, 0.0, Random(seed))) > 1 for seed in range(1000)) / 1000
    assert abs(share - 0.5) < 0.06


# --------------------------------------------------------------------------------------------------------------- documentation

PAGE = (Path(__file__).parent.parent / "docs" / "corpora.md").read_text()


def test_the_mixture_in_the_documentation() -> None:
    program = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "['arithmetic', 'captions']\n"


def test_the_fields_in_the_documentation() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE[PAGE.index("## What stands beside") :], flags=re.MULTILINE)
    assert dict(rows) == {spec.name: str(spec.default) for spec in fields(Conditioning)}


def test_the_generated_corpora_in_the_documentation() -> None:
    table = PAGE[PAGE.index("## Generated corpora") : PAGE.index("## Mixtures")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(CORPORA_TABLE)
