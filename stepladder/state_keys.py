"""What makes two screens the same state, for environments that know their state by its looks alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepladder.images import Pixels
from stepladder.types import Element

#: "pixels": the screenshot to the pixel; "looks": `perceptual_key`; "tree": `tree_key`.
KeyKind = Literal["pixels", "looks", "tree"]
KEY_KINDS: tuple[str, ...] = get_args(KeyKind)
_CELL = 40
_EDGE = 8.0


def perceptual_key(pixels: Pixels) -> str:
    """A key of uint8[H, W, 3] pixels that is equal for screens which look alike.

    It says of every two neighbouring cells of 40 x 40 pixels which is brighter in the mean, or that they are about equal (within 8
    of 255). A caret or a pointer in an even cell changes its mean by less than that; a word that was typed changes it by more, a
    single letter often does not. Source: difference hashing (N. Krawetz 2013), with a third value for "about equal".
    """
    height, width = (max(_CELL, side // _CELL * _CELL) for side in pixels.shape[:2])
    gray = np.zeros((height, width), dtype=np.float32)
    given = pixels[:height, :width].mean(-1)
    gray[: given.shape[0], : given.shape[1]] = given
    cells = gray.reshape(height // _CELL, _CELL, width // _CELL, _CELL).mean((1, 3))
    digest = hashlib.sha256(repr(pixels.shape).encode())
    for axis in (0, 1):
        difference = np.diff(cells, axis=axis)
        digest.update(np.where(np.abs(difference) <= _EDGE, 0, np.sign(difference)).astype(np.int8).tobytes())
    return digest.hexdigest()[:16]


def tree_key(tree: Sequence[Element], url: str = "") -> str:
    """A key of an address and an accessibility tree, boxes left out: a caret that blinks and all else that is only painted does not
    count."""
    said = [(one.role, one.name, one.value, one.states, one.parent) for one in tree]
    return hashlib.sha256(repr((url, said)).encode()).hexdigest()[:16]
