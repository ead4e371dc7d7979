"""Synthetic screens: exact boxes, held-out parts, the grid, and the drawing below them."""

from __future__ import annotations

from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data import screens
from stepladder.data.screens import Split, fonts, screen, sizes
from stepladder.drawing import (
    Canvas,
    Font,
    bundled_fonts,
    clip_words,
    intersect,
    line_height,
    place_words,
    rounded_mask,
    text_width,
)
from stepladder.types import Region
from stepladder.words import VOCABULARY, held_out, letters, vocabulary

SPLITS = get_args(Split)


def words_of(regions: tuple[Region, ...]) -> list[Region]:
    return [region for region in regions if region.kind == "word"]


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_lie_on_the_screen_and_contain_ink(split: Split) -> None:
    for seed in range(40):
        pixels, regions = screen(Random(seed), split)
        assert pixels.shape == (210, 160, 3)
        assert pixels.dtype == np.uint8
        assert len(words_of(regions)) >= 2
        for region in regions:
            x, y, w, h = (int(value) for value in region.box)
            assert x >= 0
            assert y >= 0
            assert x + w <= 160
            assert y + h <= 210
            part = pixels[y : y + h, x : x + w].reshape(-1, 3)
            assert (part != part[0]).any(), region


def test_known_words_are_drawn_most_often_and_once_a_screen_below_the_top() -> None:
    known, found = ["Alpha", "Beta", "Gamma", "Delta", "Omega", "Sigma", "Kappa", "Theta", "Lambda", "Rho", "Chi", "Psi"], []
    for seed in range(40):
        drawn = words_of(screen(Random(seed), known=known, top=50)[1])
        assert len({region.text for region in drawn}) == len(drawn)
        assert all(region.box[1] >= 50 for region in drawn)
        found += [region.text for region in drawn]
    assert sum(text in known for text in found) > 0.6 * len(found)
    unseen = [region.text for seed in range(40) for region in words_of(screen(Random(seed), "heldout_words", known=known)[1])]
    assert not set(unseen) & set(known)


def test_words_do_not_overlap() -> None:
    for seed in range(40):
        found = words_of(screen(Random(seed))[1])
        for i, first in enumerate(found):
            for second in found[i + 1 :]:
                common = intersect(tuple(map(int, first.box)), tuple(map(int, second.box)))  # type: ignore[arg-type]
                assert common[2] * common[3] == 0, (first, second)


def test_equal_seeds_draw_equal_screens() -> None:
    first, second, other = (screen(Random(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]
    assert first[1] != other[1]


@pytest.mark.parametrize("grid", [1, 4, 16])
def test_text_begins_on_the_grid(grid: int) -> None:
    begun = set()
    for seed in range(20):
        for region in words_of(screen(Random(seed), grid=grid)[1]):
            if region.target_kind not in ("textbox", "slider"):
                begun.add((region.box[0] % grid, region.box[1] % grid))
    assert begun == {(0, 0)}


@pytest.mark.parametrize("split", SPLITS)
def test_words_belong_to_the_part_of_the_split(split: Split) -> None:
    for seed in range(30):
        for region in words_of(screen(Random(seed), split)[1]):
            assert held_out(region.text) == (split == "heldout_words"), region.text


def test_parts_are_disjoint_and_neither_is_empty() -> None:
    for parts in ((fonts("train"), fonts("heldout"), fonts()), (sizes("train"), sizes("heldout"), sizes())):
        train, heldout, everything = (set(part) for part in parts)
        assert train
        assert heldout
        assert not train & heldout
        assert train | heldout == everything
    train_words, heldout_words = set(vocabulary("train")), set(vocabulary("heldout"))
    assert not {word.lower() for word in train_words} & {word.lower() for word in heldout_words}
    assert len(heldout_words) > 30
    assert train_words | heldout_words == set(VOCABULARY)


def test_both_parts_of_fonts_exist_without_system_fonts() -> None:
    bundled = set(bundled_fonts())
    assert bundled & set(fonts("train"))
    assert bundled & set(fonts("heldout"))


@pytest.mark.parametrize(("split", "pool"), [("heldout_fonts", "name"), ("heldout_sizes", "size"), ("train", "train")])
def test_screens_use_fonts_and_sizes_of_their_split(split: Split, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[Font] = set()

    def watched(font: Font, text: str) -> int:
        used.add(font)
        return text_width(font, text)

    monkeypatch.setattr(screens, "text_width", watched)
    for seed in range(30):
        screen(Random(seed), split)
    assert {font.name for font in used} <= set(fonts("heldout" if pool == "name" else "train"))
    assert {font.size for font in used} <= set(sizes("heldout" if pool == "size" else "train"))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="heldout_words"):
        screen(Random(0), "heldout")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grid"):
        screen(Random(0), grid=0)
    with pytest.raises(ValueError, match="no font 'Nofont'"):
        text_width(Font("Nofont", 12), "a")


def test_every_widget_is_drawn() -> None:
    kinds = {region.kind for seed in range(150) for region in screen(Random(seed))[1]}
    assert kinds == {"word", "button", "link", "textbox", "password", "checkbox", "radio", "select", "tab", "slider", "close"}


def test_states_can_be_seen() -> None:
    """A checked box has pixels that an unchecked one has not: the label "checked" is never a guess."""
    checked: list[int] = []
    unchecked: list[int] = []
    for seed in range(80):
        pixels, regions = screen(Random(seed))
        for region in regions:
            if region.kind == "checkbox":
                x, y, w, h = (int(value) for value in region.box)
                middle = pixels[y + 2 : y + h - 2, x + 2 : x + w - 2].reshape(-1, 3)
                (checked if "checked" in region.states else unchecked).append(len(np.unique(middle, axis=0)))
    assert min(checked) > 3
    assert max(unchecked) == 1


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("name", sorted(bundled_fonts()))
def test_ink_lies_in_the_word_boxes(name: str, smooth: bool) -> None:
    font = Font(name, 13, smooth)
    canvas = Canvas(200, 60, (255, 255, 255))
    words = canvas.text(20, 20, "Apply my Query", font, (0, 0, 0))
    dark = np.asarray((canvas.pixels < 160).any(axis=2))
    rows, columns = np.nonzero(dark)
    assert rows.min() >= 19
    assert rows.max() <= 20 + line_height(font)
    for word in words:
        x, y, w, h = word.box
        assert dark[y : y + h, x : x + w].any()
        dark[y - 1 : y + h + 1, x - 2 : x + w + 3] = False  # slanted letters lean out a little, as in browsers
    assert not dark.any()
    assert columns.max() <= 20 + text_width(font, "Apply my Query") + 2


def test_smooth_text_is_not_the_hinted_one() -> None:
    pictures = []
    for smooth in (False, True):
        canvas = Canvas(80, 24, (255, 255, 255))
        canvas.text(4, 4, "Submit", Font("DejaVuSans", 12, smooth), (0, 0, 0))
        pictures.append(canvas.pixels)
    assert not np.array_equal(pictures[0], pictures[1])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-30, 60),
    st.integers(-30, 60),
    st.integers(1, 20),
    st.integers(1, 20),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.tuples(*[st.integers(0, 255)] * 3),
)
def test_paint_blends_and_clips(x: int, y: int, w: int, h: int, below: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    canvas = Canvas(40, 30, below)
    mask = rounded_mask(w, h, min(w, h) / 2)
    canvas.paint(mask, x, y, colour)
    expected = np.empty((30, 40, 3), np.float64)
    expected[:] = below
    for row in range(h):
        for column in range(w):
            if 0 <= y + row < 30 and 0 <= x + column < 40:
                share = mask[row, column] / 255
                expected[y + row, x + column] = np.asarray(below) * (1 - share) + np.asarray(colour) * share
    assert np.abs(canvas.pixels - expected).max() <= 0.51


def test_clipped_words_are_cut_or_dropped() -> None:
    font = Font("DejaVuSans", 12)
    words = place_words(10, 10, "alpha beta", font)
    assert clip_words(words, (0, 0, 200, 50)) == words
    only = clip_words(words, (10, 10, words[0].box[2] + 8, 20))
    assert [word.text for word in only] == ["alpha"]


def test_random_strings_belong_to_their_part() -> None:
    random = Random(0)
    assert all(held_out(letters(random, "heldout")) for _ in range(50))
    assert not any(held_out(letters(random, "train")) for _ in range(50))
