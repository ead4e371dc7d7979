"""Replies that are lists of blocks: the text of a reply of Anthropic's and OpenAI's computer tools is its content as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from stepladder.agents.coordinates import DisplayCoordinates
from stepladder.types import ImageRef, Message

#: How an agent's complaint about an unreadable reply begins (`Agent.prompt`).
COMPLAINT = "Your last reply could not be read"


class ToolAgent(Protocol):
    """An agent whose dialect is a computer tool of an API."""

    @property
    def coordinates(self) -> DisplayCoordinates:
        """The display that the model is told of, to which screenshots are scaled."""

    def tool(self) -> dict[str, Any]:
        """The definition of the tool in a request."""


def write_blocks(blocks: Sequence[Any]) -> str:
    """The text of a reply."""
    return json.dumps(blocks, ensure_ascii=False)


def read_blocks(text: str) -> list[dict[str, Any]] | None:
    """The blocks of a reply's text, None for text that is none."""
    try:
        blocks = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in blocks):
        return None
    return blocks


def parts(message: Message) -> list[str | ImageRef]:
    """What a message holds, without empty texts: the APIs refuse them."""
    return [part for part in message.content if isinstance(part, ImageRef) or part.strip()]
