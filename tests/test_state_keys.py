"""Which screens count as the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.envs.desktop.desk.environment import DeskEnvironment
from stepladder.images import ImageStore, Pixels
from stepladder.state_keys import perceptual_key, tree_key
from stepladder.types import Element


def screen() -> Pixels:
    """A white page with a grey bar and a button."""
    pixels = np.full((720, 1280, 3), 255, dtype=np.uint8)
    pixels[:60] = 120
    pixels[300:360, 400:560] = 60
    return pixels


def test_a_caret_makes_no_other_state_and_a_word_does() -> None:
    page, caret, word = screen(), screen(), screen()
    caret[500:516, 210:212] = 0
    for letter in range(6):
        word[500:514, 205 + 9 * letter : 208 + 9 * letter] = 0
    assert perceptual_key(caret) == perceptual_key(page) != perceptual_key(word)


def test_a_dialog_makes_another_state() -> None:
    page, dialog = screen(), screen()
    dialog[200:400, 300:700] = 230
    assert perceptual_key(dialog) != perceptual_key(page)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_noise_that_nobody_sees_makes_no_other_state(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-2, 3, (720, 1280, 3))
    assert perceptual_key((screen().astype(int) + noise).clip(0, 255).astype(np.uint8)) == perceptual_key(screen())


@pytest.mark.parametrize("shape", [(1, 1, 3), (39, 41, 3), (720, 1280, 3), (1080, 1920, 3)])
def test_any_size_has_a_key(shape: tuple[int, int, int]) -> None:
    assert len(perceptual_key(np.zeros(shape, dtype=np.uint8))) == 16


def test_a_tree_is_the_same_wherever_things_stand() -> None:
    tree = (Element("window", "Editor"), Element("textbox", "Name", "x", (0.0, 0.0, 9.0, 9.0), parent=0))
    moved = (tree[0], replace(tree[1], box=(5.0, 0.0, 9.0, 9.0)))
    assert tree_key(tree) == tree_key(moved)
    assert tree_key(tree) != tree_key((tree[0], replace(tree[1], value="xy")))
    assert tree_key(tree, "a") != tree_key(tree, "b")


def test_a_desktop_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="state_key is 'look'; it must be one of pixels, looks, tree"):
        DeskEnvironment(ImageStore(), state_key="look")
    with pytest.raises(ValueError, match="it needs the accessibility tree"):
        DeskEnvironment(ImageStore(), state_key="tree")
