"""Finding and writing one JSON tool call in a reply (the "Hermes" form that Qwen models use).

<think>
The form is empty.
</think>

Action: Click the name field
<tool_call>
{"name": "...", "arguments": {...}}
</tool_call>
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from stepladder.interfaces import ParseError

OPEN, CLOSE = "<tool_call>", "</tool_call>"
#: What can stand before a call; see `write_thought`.
LEVELS = ("none", "action", "full", "thinking", "thought")
_THINK_OPEN = re.compile(r"\s*<(think|thinking)>")
_THINK_CLOSE = re.compile(r"</(?:think|thinking)>")
_ARGUMENTS = re.compile(r'"arguments"\s*:\s*(?=\{)')
_THOUGHT = re.compile(r"Thought:\s*")
_ACTION_LINE = re.compile(r"Action:[^\n]*\Z")
_MARKUP = ("<think>", "</think>", "<thinking>", "</thinking>", OPEN, CLOSE)
_CANDIDATES = 32


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` as written, `name` if one was written, `start` the offset of the JSON in the reply, and the text before it."""

    thought: str
    name: str | None
    arguments: dict[str, Any]
    start: int


def read_call(text: str) -> ToolCall:
    """The first tool call of a reply. Raises ParseError, and nothing else, when there is none."""
    thought, begin = _leading_thought(text)
    tag = text.find(OPEN, begin)
    if tag >= 0:
        value, start = _tagged_object(text, tag + len(OPEN))
    else:
        value, start = _bare_object(text, begin)
    lead = _without_fence(text[begin : tag if tag >= 0 else start])
    if not thought and (label := _THOUGHT.match(lead)):
        lead = lead[label.end() :]
    thought = "\n".join(part for part in (thought, lead) if part)
    if "action" in value and "arguments" not in value:
        return ToolCall(thought, None, value, start)
    name, arguments = value.get("name"), value.get("arguments")
    if isinstance(arguments, str):
        arguments = _decode_text(arguments, start)
    if not isinstance(arguments, dict):
        raise ParseError("the tool call has no object named 'arguments'", start)
    if name is not None and not isinstance(name, str):
        raise ParseError("the tool call's 'name' must be a string", start)
    return ToolCall(thought, name, arguments, start)


def write_call(name: str, arguments: dict[str, Any]) -> str:
    """The tool call as text. "<" is written as \\u003c where it could be taken for a tag or a special token."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    written = re.sub(r"<(?=\||/?(?:tool_call|think|thinking)>)", r"\\u003c", written)
    return f"{OPEN}\n{written}\n{CLOSE}"


def split_thought(thought: str) -> tuple[str, str]:
    """(reasoning, action line) of a thought; either may be empty. The action line is the last line if it begins with "Action:"."""
    thought = thought.strip()
    line = _ACTION_LINE.search(thought)
    if line is None or (line.start() > 0 and thought[line.start() - 1] != "\n"):
        return thought, ""
    return thought[: line.start()].strip(), line.group().strip()


def write_thought(thought: str, level: str) -> str:
    """What stands before the call: nothing for "none", the action line for "action", and before it the reasoning: in a <think>
    block for "full" (thinking models), in a <thinking> block for "thinking", behind "Thought:" for "thought" (Qwen's cookbooks).

    Raises ValueError when the thought contains the markup that would end it.
    """
    if level == "none":
        return ""
    reasoning, action = split_thought(thought)
    for markup in _MARKUP:
        if markup in (action if level == "action" else thought):
            raise ValueError(f"a thought cannot contain {markup!r}")
    block = ""
    if reasoning and level != "action":
        forms = {"full": "<think>\n{}\n</think>\n\n", "thinking": "<thinking>\n{}\n</thinking>\n", "thought": "Thought: {}\n"}
        block = forms[level].format(reasoning)
    return block + (f"{action}\n" if action else "")


def _leading_thought(text: str) -> tuple[str, int]:
    """The reasoning block at the beginning and the offset behind it. A chat template may have written its opening tag already."""
    opened = _THINK_OPEN.match(text)
    begin = opened.end() if opened else 0
    closed = _THINK_CLOSE.search(text, begin)
    if closed is None or (opened is None and 0 <= text.find(OPEN) < closed.start()):
        return "", begin
    return text[begin : closed.start()].strip(), closed.end()


def _tagged_object(text: str, begin: int) -> tuple[dict[str, Any], int]:
    brace = text.find("{", begin)
    if brace < 0:
        raise ParseError("there is no JSON object after <tool_call>", begin)
    try:
        return _decode(text, brace), brace
    except ParseError:
        inner = _ARGUMENTS.search(text, brace)  # a reply whose outer object is not closed still says what it wants
        if inner is None:
            raise
        return {"arguments": _decode(text, inner.end())}, inner.end()


def _bare_object(text: str, begin: int) -> tuple[dict[str, Any], int]:
    brace = text.find("{", begin)
    if brace < 0:
        raise ParseError("there is no tool call in the reply", len(text))
    failure: ParseError | None = None
    for _ in range(_CANDIDATES):
        try:
            value = _decode(text, brace)
            if "arguments" in value or "action" in value:
                return value, brace
        except ParseError as error:
            failure = failure or error
        brace = text.find("{", brace + 1)
        if brace < 0:
            break
    raise failure or ParseError("there is no tool call in the reply", len(text))


def _decode(text: str, begin: int) -> dict[str, Any]:
    try:
        value, _ = _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error.msg}", error.pos) from None
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON: {error}", begin) from None
    if not isinstance(value, dict):
        raise ParseError("a JSON object is needed", begin)
    return value


def _decode_text(text: str, position: int) -> dict[str, Any]:
    try:
        return _decode(text.strip(), 0)
    except ParseError as error:
        raise ParseError(f"'arguments': {error}", position) from None


def _without_fence(lead: str) -> str:
    """Without the line that opens a code block around the call."""
    text, _, last = lead.strip().rpartition("\n")
    return text.strip() if last.startswith("```") else lead.strip()
