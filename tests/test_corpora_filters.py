"""What is left out of corpora: rules of quality, the classifier, duplicates found by MinHash."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.corpora.classifier import QualityClassifier, train_classifier
from stepladder.corpora.document import Document
from stepladder.corpora.duplicates import DuplicateIndex, DuplicateSettings
from stepladder.corpora.quality import (
    RULES,
    QualityRules,
    language_share,
    objection,
    repeated_line_share,
    repeated_word_share,
    symbol_share,
)
from stepladder.corpora.read import CorpusError
from stepladder.types import ImageRef

GOOD = (
    "The settings page has a button that keeps the changes. Whoever leaves the page without it is asked whether the changes are to "
    "be thrown away. A second button takes back what was changed last."
)
WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "bdgklmnprst"]


# ------------------------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (GOOD, None),
        ("Too short.", "shortest"),
        (GOOD * 6000, "longest"),
        ("{a} = <b> + <c>; #d |= ~e \\ f ^ {g}, {h}, {i}, {j}, {k}, {l}", "symbols"),
        ("\n".join(["one line of words", "another line", *["Home About Contact"] * 5, "and a last one"]), "repeated_lines"),
        (" ".join(["we are the best shop in the whole big town today"] * 2 + ["and", "that", "is", "it"]), "repeated_words"),
        ("a b c d e f g h i j k l m n o p q r s t u v w x y z a c e g i k m o q", "word_length"),
        ("Donaudampfschifffahrtsgesellschaftskapitän " * 4, "word_length"),
        ("12:30 14:45 19:20 10:50 77:10 81.2 99.1 12.5 15.5 62.4 55.7 some words", "language"),
    ],
)
def test_each_rule_objects_to_what_it_is_for(text: str, rule: str | None) -> None:
    assert objection(Document(text), QualityRules()) == rule


def test_rules_can_be_switched_off_and_set() -> None:
    nothing = QualityRules(**dict.fromkeys(RULES))  # type: ignore[arg-type]
    for text in ("", "x", "{}" * 50, "a\n" * 40, "1:1 " * 90):
        assert objection(Document(text), nothing) is None
    assert objection(Document(GOOD), QualityRules(function_words=2)) is None
    assert (
        objection(Document("Der Knopf auf der Seite behält die Änderungen, der andere nimmt sie zurück."), QualityRules()) is None
    )
    assert (
        objection(Document("Nichts davon ist auf Englisch gesagt worden, gar nichts."), QualityRules(function_words=2))
        == "function_words"
    )
    assert (
        objection(Document("这个按钮保存所有更改,另一个按钮撤销最后一次更改。" * 3), QualityRules(word_length=None, language=None))
        is None
    )
    assert objection(Document("यह बटन सभी परिवर्तन सहेजता है और दूसरा बटन अंतिम परिवर्तन को वापस लेता है।"), QualityRules()) is None
    assert objection(Document("A button.", (ImageRef("0" * 64, 1, 1),)), QualityRules()) is None


@settings(max_examples=50)
@given(st.text(max_size=100), st.integers(1, 12))
def test_shares_are_shares(text: str, run: int) -> None:
    words = text.split()
    for share in (symbol_share(text), repeated_line_share(text), repeated_word_share(words, run), language_share(words)):
        assert 0 <= share <= 1


@settings(max_examples=50)
@given(st.text("abc", max_size=30).map(list), st.integers(1, 5))
def test_the_share_of_repeated_words_is_that_of_the_words_in_repeated_runs(words: list[str], run: int) -> None:
    """Against the definition, word by word."""
    runs = [tuple(words[place : place + run]) for place in range(len(words) - run + 1)]
    covered = {place + offset for place, one in enumerate(runs) if runs.count(one) > 1 for offset in range(run)}
    assert repeated_word_share(words, run) == pytest.approx(len(covered) / len(words) if words else 0.0)


def test_rules_that_cannot_be() -> None:
    for rules in (QualityRules(language=1.5), QualityRules(run=0), QualityRules(shortest=5, longest=4)):
        with pytest.raises(ConfigError):
            rules.check()


# -------------------------------------------------------------------------------------------------------------- the classifier


def labelled(seed: int, count: int) -> tuple[list[str], list[str]]:
    """Two kinds of texts that share most words and differ in how often they use some."""
    random = Random(seed)
    common, first, second = WORDS[:300], WORDS[300:360], WORDS[360:420]
    return tuple(  # type: ignore[return-value]
        [" ".join(random.choices([*common, *special * 2], k=60)) for _ in range(count)] for special in (first, second)
    )


def test_the_classifier_learns_and_is_measured_on_others(tmp_path: Path) -> None:
    good, bad = labelled(0, 100)
    classifier, measured = train_classifier(good, bad)
    assert measured.count == 40
    assert measured.correct >= 38
    new_good, new_bad = labelled(1, 100)
    right = sum(classifier.score(text) > 0.5 for text in new_good) + sum(classifier.score(text) < 0.5 for text in new_bad)
    assert right >= 190
    classifier.save(tmp_path / "c.npz")
    loaded = QualityClassifier.load(tmp_path / "c.npz")
    assert [loaded.score(text) for text in new_good] == [classifier.score(text) for text in new_good]
    again, _ = train_classifier(good, bad)
    assert np.array_equal(again.weights, classifier.weights)


def test_the_classifier_knows_nothing_where_there_is_nothing_to_know() -> None:
    """The same texts on both sides: the measured accuracy is that of guessing, and not better."""
    texts, _ = labelled(0, 100)
    others, _ = labelled(1, 100)
    _, measured = train_classifier(texts, others)
    assert 8 <= measured.correct <= 32


def test_classifiers_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4 bad examples"):
        train_classifier(["a"] * 5, ["b"] * 4)
    (tmp_path / "x.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "y.npz", weights=np.zeros(3, np.int8), bias=0)
    for name in ("x.npz", "y.npz", "z.npz"):
        with pytest.raises(CorpusError, match=name):
            QualityClassifier.load(tmp_path / name)


# ------------------------------------------------------------------------------------------------------------------ duplicates


def shingles(text: str, length: int = 5) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[place : place + length]) for place in range(max(1, len(words) - length + 1))}


def jaccard(first: str, second: str) -> float:
    one, other = shingles(first), shingles(second)
    return len(one & other) / len(one | other)


def changed(random: Random, text: str, changes: int) -> str:
    """The text with so many of its words replaced."""
    words = text.split()
    for place in random.sample(range(len(words)), changes):
        words[place] = random.choice(WORDS)
    return " ".join(words)


def test_near_duplicates_are_found_and_others_are_not() -> None:
    """400 texts; of 300 a near duplicate comes later (similarity above 0.88), of 300 a relative that is none (0.15 to 0.7)."""
    random = Random(5)
    index, originals = DuplicateIndex(), [" ".join(random.choices(WORDS, k=200)) for _ in range(400)]
    for text in originals:
        assert index.see(Document(text)) is None
    copies = [(place, changed(random, originals[place], random.randint(1, 2))) for place in range(300)]
    relatives = [(place, changed(random, originals[place], random.randint(12, 30))) for place in range(100, 400)]
    assert all(jaccard(originals[place], copy) >= 0.88 for place, copy in copies)
    assert all(0.15 <= jaccard(originals[place], copy) <= 0.7 for place, copy in relatives)
    mixed = [(place, copy, True) for place, copy in copies] + [(place, copy, False) for place, copy in relatives]
    random.shuffle(mixed)
    right = wrong = 0
    for place, text, is_copy in mixed:
        found = index.see(Document(text))
        if found is not None:
            right += is_copy and found.number == place
            wrong += not is_copy
            assert found.similarity == pytest.approx(jaccard(originals[place], text), abs=0.2)
    recall, precision = right / len(copies), right / (right + wrong)
    assert recall >= 0.95
    assert precision >= 0.95


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_signatures_estimate_the_similarity(seed: int, changes: int) -> None:
    """Within five standard deviations of a mean of 512 coins."""
    random, index = Random(seed), DuplicateIndex(DuplicateSettings(permutations=512, bands=32))
    text = " ".join(random.choices(WORDS, k=150))
    other = changed(random, text, changes)
    true = jaccard(text, other)
    estimated = float((index.signature(Document(text)) == index.signature(Document(other))).mean())
    assert abs(estimated - true) <= 5 * (true * (1 - true) / 512) ** 0.5 + 1e-9


def test_exact_duplicates() -> None:
    index = DuplicateIndex()
    assert index.see(Document("Press the button, then wait.")) is None
    found = index.see(Document("press  the BUTTON then\nwait"))
    assert found is not None
    assert (found.kind, found.number, found.similarity) == ("exact", 0, 1.0)
    one, other = ImageRef("1" * 64, 1, 1), ImageRef("2" * 64, 1, 1)
    for images in ((), (one,), (other,), (one, other)):
        assert index.see(Document("What is on this screen?", images)) is None
        assert index.see(Document("What is on this screen?", images)) is not None
    assert index.see(Document("")) is None
    assert index.see(Document("...")) is not None


def test_characters_for_languages_without_spaces() -> None:
    text = "这个按钮保存所有更改另一个按钮撤销最后一次更改设置页面还有一个菜单可以选择语言和颜色"
    index = DuplicateIndex(DuplicateSettings(unit="character", shingle=3, threshold=0.7))
    assert index.see(Document(text)) is None
    assert index.see(Document(f"{text}吗")) is not None
    assert index.see(Document(text[::-1])) is None


def test_the_index_is_bounded_and_says_its_memory() -> None:
    random = Random(2)
    texts = [" ".join(random.choices(WORDS, k=50)) for _ in range(300)]
    tracemalloc.start()
    index = DuplicateIndex()
    for text in texts:
        index.add(Document(text))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.memory == pytest.approx(used, rel=0.3)
    bounded = DuplicateIndex(DuplicateSettings(remembered=100))
    for text in texts:
        assert bounded.see(Document(text)) is None
    assert len(bounded) == 100
    assert bounded.memory == pytest.approx(index.memory / 3)
    assert bounded.see(Document(texts[-100])) is not None
    assert bounded.see(Document(texts[-101])) is None  # forgotten, and now the latest
    assert bounded.see(Document(texts[-100])) is None
    assert sum(map(len, bounded._bands)) <= 100 * 16


@pytest.mark.parametrize("change", [{"bands": 7}, {"shingle": 0}, {"threshold": 0.0}, {"remembered": 0}, {"permutations": 0}])
def test_settings_that_cannot_be(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        DuplicateIndex(DuplicateSettings(**change))  # type: ignore[arg-type]
