"""What pre-training reads: a text, with the pictures that stand before it, and what is known about where it is from.

`stepladder.codec` writes it as JSON and reads it again without loss, as it does with the nouns.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from stepladder.types import ImageRef


@dataclass(frozen=True)
class Document:
    """One document of a corpus. Its pictures come before the text, in their order.

    `source` names the corpus, `metadata` says more about this document ("url", "title", "language"), `score` is its quality or
    reward, None where nobody has judged it. Raises ValueError for text that no file can hold, for metadata that are no texts, and
    for a score that is not finite.
    """

    text: str
    images: tuple[ImageRef, ...] = ()
    source: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    score: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metadata, Mapping):
            raise ValueError(f"Document.metadata must be an object, not {type(self.metadata).__name__}")
        for name, value in self.metadata.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ValueError(f"Document.metadata[{name!r}] must be a text, not {type(value).__name__}")
        try:
            for text in (self.text, self.source, *self.metadata, *self.metadata.values()):
                text.encode()
        except UnicodeEncodeError:
            raise ValueError("a document's texts cannot contain lone surrogates") from None
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"Document.score is {self.score}; it must be a finite number or None")

    @property
    def key(self) -> str:
        """SHA-256 (hex) of text and pictures: equal for documents that say the same, wherever they are from."""
        parts = (self.text.encode(), *(image.sha256.encode() for image in self.images))
        return hashlib.sha256(b"\0".join(parts)).hexdigest()
