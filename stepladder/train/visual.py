"""Targets for the perception head: which region of the screenshot each visual token shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stepladder.data.vocabulary import strip_punctuation
from stepladder.models.heads import LETTER_SLOTS, PerceptionHead, VisualTargets, letter_targets
from stepladder.models.renderer import Renderer
from stepladder.types import ImageRef, Region

#: A region must cover this share of a visual token's cell to be what the token shows; small things count when they lie in it.
WORD_SHARE, WIDGET_SHARE, SMALL_SHARE = 0.08, 0.15, 0.02


def visual_targets(
    head: PerceptionHead, renderer: Renderer, image: ImageRef, regions: Sequence[Region], ignore_above: float = 0.0
) -> VisualTargets:
    """Targets of all visual tokens of one screenshot in reading order; rows above `ignore_above` pixels (an instruction area, whose
    words are not listed) are unknown."""
    _, grid_height, grid_width = renderer.grid(image)
    rows, columns = grid_height // renderer.merge, grid_width // renderer.merge
    cell_width, cell_height = image.width / columns, image.height / rows
    label = np.zeros((rows, columns), dtype=np.int64)
    letters = np.full((rows, columns, LETTER_SLOTS), -100, dtype=np.int64)
    centre = np.zeros((rows, columns, 2), dtype=np.float32)
    located = np.zeros((rows, columns), dtype=bool)
    best = np.zeros((rows, columns))
    label[: int(ignore_above // cell_height)] = -100
    # words first, then widgets: an empty text box under a label must not hide the label; a word that is no class hides nothing
    for region in sorted(regions, key=lambda r: r.kind != "word"):
        is_word = region.kind == "word"
        left, top, width, height = region.box
        target = region.target or region.box
        word = strip_punctuation(region.text)
        code = head.label_of.get(region.kind, -100)
        if is_word or region.kind == "color":  # a patch of colour is seen as the name of the colour
            code = head.word_label.get(word, -100)
        if not is_word and code == -100:
            continue
        for row in range(max(0, int(top // cell_height)), min(rows, int((top + height - 1) // cell_height) + 1)):
            for column in range(max(0, int(left // cell_width)), min(columns, int((left + width - 1) // cell_width) + 1)):
                across = min(left + width, (column + 1) * cell_width) - max(left, column * cell_width)
                down = min(top + height, (row + 1) * cell_height) - max(top, row * cell_height)
                overlap, cell = across * down, cell_width * cell_height
                share = WORD_SHARE if is_word else WIDGET_SHARE
                small = width * height < 0.3 * cell and overlap > SMALL_SHARE * cell
                known_word = not is_word and letters[row, column, 0] != -100 and label[row, column] > 0
                if overlap <= best[row, column] or known_word or not (overlap > share * cell or small):
                    continue
                best[row, column], label[row, column] = overlap, code
                located[row, column] = True
                centre[row, column] = (
                    (target[0] + target[2] / 2) / image.width,
                    (target[1] + target[3] / 2) / image.height,
                )
                if is_word:
                    letters[row, column] = letter_targets(word) if word else -100
    return VisualTargets(
        torch.from_numpy(label.reshape(-1)),
        torch.from_numpy(letters.reshape(-1, LETTER_SLOTS)),
        torch.from_numpy(centre.reshape(-1, 2)),
        torch.from_numpy(located.reshape(-1)),
    )


def join_targets(targets: Sequence[VisualTargets]) -> VisualTargets:
    """The targets of several screenshots one after another."""
    return VisualTargets(
        torch.cat([t.label for t in targets]),
        torch.cat([t.letters for t in targets]),
        torch.cat([t.centre for t in targets]),
        torch.cat([t.located for t in targets]),
    )
