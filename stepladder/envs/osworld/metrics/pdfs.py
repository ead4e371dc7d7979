"""Metrics of PDF: texts, images, numbers of pages."""

from __future__ import annotations

import io
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from pypdf import PdfReader
from rapidfuzz import fuzz

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import both, left, listed, reference
from stepladder.envs.osworld.metrics.similarity import perceptual_hash

#: How many of 64 signs may differ in images that are the same.
_HASHES_DIFFER = 5
_RELATIONS: dict[str, Callable[[int, int], bool]] = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}


def compare_pdfs(result: Any, expected: Any) -> float:
    """How far the texts are alike, 0 to 1, as a mean over the files to compare with."""
    found, wanted = listed(result), listed(expected)
    return sum(alike_texts(one, other) for one, other in zip(found, wanted, strict=False)) / len(wanted) if wanted else 0.0


def alike_texts(result: Got | None, expected: Got | None) -> float:
    """How far the texts of two files are alike, 0 to 1."""
    if result is None or expected is None:
        return 0.0  # the agent may have left either: some tasks compare theirs with its
    first, second = (left(one, text_of) for one in (result, expected))
    return 0.0 if first is None or second is None else fuzz.ratio(first, second) / 100


def compare_pdf_images(result: Got | None, expected: Got | None) -> float:
    """The share of the images that look the same, 0 when there is another number of them."""
    pair = None if result is None or expected is None else both(result, expected, _images)
    if pair is None or len(pair[0]) != len(pair[1]):
        return 0.0
    if not pair[0]:
        return 1.0
    hashes = [(perceptual_hash(one), perceptual_hash(other)) for one, other in zip(*pair, strict=True)]
    return sum(int((one != other).sum()) <= _HASHES_DIFFER for one, other in hashes) / len(hashes)


def check_pdf_pages(result: Got | None, rules: Mapping[str, Any]) -> float:
    """The number of pages, as `relation` (eq, lt, ...) to `ref_value`."""
    if rules["relation"] not in _RELATIONS:
        raise ValueError(f"the relation {rules['relation']!r} is not known; known: {', '.join(_RELATIONS)}")
    pages = left(result, lambda file: len(PdfReader(file).pages))
    return float(pages is not None and _RELATIONS[rules["relation"]](pages, rules["ref_value"]))


def is_gold_text_included_in_pdf(result: Got | None, expected: Got | None) -> float:
    """Every value of a JSON object is somewhere in the text."""
    text = left(result, text_of)
    if text is None:
        return 0.0
    return float(all(one in text for one in reference(expected, json.load).values()))


def text_of(file: io.BytesIO) -> str:
    return "".join(page.extract_text() for page in PdfReader(file).pages).strip()


def _images(file: io.BytesIO) -> list[Image.Image]:
    return [one.image for page in PdfReader(file).pages for one in page.images if one.image is not None]
