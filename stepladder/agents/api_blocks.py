"""Replies of the APIs' computer tools: a JSON list of blocks, and how an episode ends without a call.

A reply that calls no tool is the end: its last text is the answer of `done`, or, where "[INFEASIBLE]" stands in it, the reason of
`fail`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from stepladder.agents.json_text import decode, encode
from stepladder.interfaces import ParseError
from stepladder.types import Action, Observation, Step
from stepladder.values import check_text

#: What the model is told to write when a task cannot be done.
INFEASIBLE = "[INFEASIBLE]"

Block = dict[str, Any]


def read_blocks(text: str) -> list[Block]:
    """The blocks of a reply. Raises ParseError for what is no JSON list of objects with a "type"."""
    begin = len(text) - len(text.lstrip())
    blocks, end = decode(text, begin)
    if text[end:].strip():
        raise ParseError("the reply must be one JSON list of blocks, with nothing behind it", end)
    if not isinstance(blocks, list):
        raise ParseError("the reply must be a JSON list of blocks", begin)
    for block in blocks:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise ParseError("every block of the reply must be an object with a 'type'", begin)
    return blocks


def text_of(block: Block, field: str) -> str:
    """The text in a field of a block, empty where there is none. Raises ParseError."""
    value = block.get(field)
    if value is not None and not isinstance(value, str):
        raise ParseError(f"{field!r} of a {block['type']} block must be a text", 0)
    try:
        return check_text(value or "")
    except ValueError as error:
        raise ParseError(f"{field!r} of a {block['type']} block: {error}", 0) from None


def thought_of(texts: Sequence[str]) -> str:
    return "\n".join(text for text in texts if text.strip()).strip()


def read_end(texts: Sequence[str]) -> tuple[list[str], Action]:
    """(the other texts, the end that they say) of a reply without a call."""
    for index in reversed(range(len(texts))):
        before, marker, after = texts[index].partition(INFEASIBLE)
        if marker:
            # A reply of `write_end` keeps its reason to the letter; what a model writes around the marker is its reason, too.
            reason = after.removeprefix(" ") if not before else " ".join(part for part in (before.strip(), after.strip()) if part)
            return [*texts[:index], *texts[index + 1 :]], Action("fail", text=reason)
    if not texts:
        return [], Action("done")
    return list(texts[:-1]), Action("done", text=texts[-1])


def write_end(thought: str, action: Action) -> tuple[str, list[str]]:
    """(reasoning, texts) of the reply that ends an episode. An end without an answer has no text, so that the thought is
    reasoning. Raises ValueError for an answer that would be read as a failure."""
    if action.kind == "fail":
        ending = f"{INFEASIBLE} {action.text}" if action.text else INFEASIBLE
        return "", [thought, ending] if thought else [ending]
    if INFEASIBLE in action.text or INFEASIBLE in thought:
        raise ValueError(f"{INFEASIBLE} says that a task cannot be done; it cannot stand in the answer or thought of one that is")
    if not action.text:
        return thought, []
    return "", [thought, action.text] if thought else [action.text]


def identifier(prefix: str, *parts: object) -> str:
    """An id that is the same for the same parts."""
    return prefix + hashlib.sha256(encode([str(part) for part in parts]).encode()).hexdigest()[:24]


def notes(previous: Step | None, observation: Observation) -> str:
    """What stands beside a screenshot: a complaint about the reply before it, whose beginning the policies know, and what the
    environment says."""
    complaint = f"Your last reply could not be read: {previous.error}" if previous is not None and previous.error else ""
    return "\n".join(part for part in (complaint, observation.text) if part)


def system_text(tool: str, password: str) -> str:
    """The system message. The task is not named in it, so that all episodes share it."""
    known = f"\n* The computer's password is {password!r}; use it when sudo asks for it." if password else ""
    return (
        f"You use a computer by the {tool} tool to do what the user asks.\n"
        "* Nobody answers questions or confirms what you do: carry the task out yourself, to the end.\n"
        "* After every action you see the screen; look whether it did what you meant before you go on.\n"
        "* When the task is done, answer without calling a tool. Where something was asked, your last text is the answer alone.\n"
        f"* When the task cannot be done on this computer, answer without calling a tool, with {INFEASIBLE} and the reason.{known}"
    )
