"""Asking a policy in a fixed form: text from elsewhere is quoted, and what counts of a reply are lines that bear a code.

Whoever writes an instruction or a page that is shown to a model can write anything, a verdict too. Such text stands quoted on one
line. The code of a question is told to the model alone, and only lines of the reply that begin with it are read: text that was
copied from a page or an instruction cannot be taken for an answer.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata

from stepladder.types import Completion

#: Unicode categories that are written as escapes: control and format characters, line and paragraph separators, lone surrogates.
_ESCAPED = ("Cc", "Cf", "Zl", "Zp", "Cs")
_REASONING = re.compile(r"^.*</think>", re.DOTALL)


def code_of(*parts: object) -> str:
    """Eight hex digits that differ for different questions and are the same when the same is asked again."""
    return hashlib.sha256(repr(("code", *parts)).encode()).hexdigest()[:8]


def quoted(text: str) -> str:
    """`text` as a JSON string on one line, invisible characters as escapes."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(json.dumps(one)[1:-1] if unicodedata.category(one) in _ESCAPED else one for one in plain)


def reply_text(completion: Completion) -> str:
    """What a reply says, without its reasoning. Of a reply that is a list of blocks, as APIs with a computer tool give it, the
    texts of the blocks that are text."""
    text = completion.text
    try:
        blocks = json.loads(text)
    except (ValueError, RecursionError):
        blocks = None
    if isinstance(blocks, list):
        text = "\n".join(_texts(blocks))
    return _REASONING.sub("", text)


def lines_with(code: str, word: str, text: str) -> list[str]:
    """What follows "<word> <code>:" on the lines of a reply that begin so, without the space around it."""
    start = f"{word} {code}:"
    lines = (line.strip() for line in text.splitlines())
    return [line[len(start) :].strip() for line in lines if line.startswith(start)]


def only_answer(code: str, word: str, answers: tuple[str, ...], text: str) -> str | None:
    """The answer of a reply that ends with the line "<word> <code>: <answer>" and has no other line that begins so; None for every
    other reply."""
    text = _without_end(text)
    found = lines_with(code, word, text)
    if len(found) != 1 or found[0] not in answers:
        return None
    return found[0] if text.splitlines()[-1].strip() == f"{word} {code}: {found[0]}" else None


def _without_end(text: str) -> str:
    """A reply without the token that ended it, which local models keep in their text."""
    return text.strip().removesuffix("<|im_end|>").removesuffix("<|endoftext|>").strip()


def _texts(blocks: list[object]) -> list[str]:
    """Texts of Anthropic's blocks, {"type": "text"}, and of OpenAI's messages, {"type": "message", "content": [...]}."""
    found: list[str] = []
    for block in blocks:
        if not isinstance(block, dict):
            continue
        if block.get("type") in ("text", "output_text") and isinstance(block.get("text"), str):
            found.append(block["text"])
        elif block.get("type") == "message" and isinstance(block.get("content"), list):
            found += _texts(block["content"])
    return found
