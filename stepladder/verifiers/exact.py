"""The same text, but for what says nothing: capitals, runs of spaces, quotation marks around it, a full stop at the end."""

from __future__ import annotations

import re
import unicodedata

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "„": "“", "«": "»"}
#: Longer answers are no answers to questions of this kind.
LONGEST = 4000


def normalised(text: str, case: bool = False) -> str:
    """The text as it is compared: Unicode composed (NFC), spaces single, one pair of quotation marks and one full stop taken off,
    small letters unless `case`."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()
    if len(text) > 1 and text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    if len(text) > 2 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1] and text[-1] not in text[1:-1]:
        text = text[1:-1].strip()
        if len(text) > 1 and text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
    return text if case else text.casefold()


class ExactCheck:
    """`answer` is the right text; `case` says that capitals count. Raises ValueError for an empty answer."""

    def __init__(self, answer: str, case: bool = False) -> None:
        if not isinstance(answer, str) or not answer.strip():
            raise ValueError(f"answer is {answer!r}; it must be a text that is not empty")
        self.case = case
        self.right = normalised(answer, case)

    def __call__(self, text: str) -> bool:
        """Whether `text` says the right answer and nothing else."""
        return len(text) <= LONGEST and normalised(text, self.case) == self.right
