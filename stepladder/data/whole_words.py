"""Finding given texts in a sentence where they are not part of a longer word."""

from __future__ import annotations

import re


def whole_words(*texts: str) -> re.Pattern[str]:
    """A pattern that matches any of the texts, the longest first, where no letter or digit goes on before or after it."""
    parts = "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{parts})(?!\w)")
