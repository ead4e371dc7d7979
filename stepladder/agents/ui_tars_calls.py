"""The calls of UI-TARS, such as click(start_box='(120,48)') or type(content='hello\\n'), as text.

They look like Python and are read by hand, because models do not keep to it: quotes inside a text are not escaped, lines break
inside a text, quotes around a place are left out, the last parenthesis is missing. Nothing of it is ever run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stepladder.interfaces import ParseError

#: How an action part begins.
ACTION = re.compile(r"(?:\*\*)?Action\s*[:：][\s`*]*(?=[A-Za-z_]\w*\()")
_NAME = re.compile(r"([A-Za-z_]\w*)\(")
_PARAMETER = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*")
_BETWEEN = re.compile(r"(?:[\s;`]|#[^\n]*|Action\s*[:：])*")
#: What may follow the quote that ends a value; other quotes are part of the value.
_AFTER_VALUE = re.compile(r"\s*(?:,\s*[A-Za-z_]\w*\s*=|\)[ \t]*(?:$|[\n#;`<\[])|$)")
_BARE = re.compile(
    r"\([^()]*\)|\[[^\[\]]*\]|<point>[^<>]*</point>|<bbox>[^<>]*</bbox>|<\|box_start\|>[^<>]*<\|box_end\|>|[^\s,()'\"]+"
)
_ESCAPE = re.compile(r"\\(?:([\\'\"nrt])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")
_CHARACTERS = {"n": "\n", "r": "\r", "t": "\t"}
_PLACE_MARKUP = re.compile(r"<\|box_(?:start|end)\|>|</?(?:point|bbox)>")
_NUMBER = r"-?\d{1,7}(?:\.\d{1,9})?"
_NUMBERS = re.compile(rf"[\s(\[]*({_NUMBER}(?:\s*[,\s]\s*{_NUMBER})*)[\s)\]]*")
#: So many calls at most are read from one reply.
MOST_CALLS = 100


@dataclass(frozen=True, slots=True)
class Call:
    """`arguments` maps a parameter ("" for the first one without a name) to its text and the offset of that in the reply."""

    name: str
    arguments: dict[str, tuple[str, int]]
    position: int


def read_calls(text: str, position: int) -> list[Call]:
    """The calls that stand one after another from `position` on; other text after a call ends them. Raises ParseError."""
    calls: list[Call] = []
    while True:
        found = _BETWEEN.match(text, position)
        position = found.end() if found else position
        if _NAME.match(text, position) is None:
            return calls
        if len(calls) == MOST_CALLS:
            raise ParseError(f"more than {MOST_CALLS} actions in one reply", position)
        call, position = _read_call(text, position)
        calls.append(call)


def _read_call(text: str, begin: int) -> tuple[Call, int]:
    name = _NAME.match(text, begin)
    assert name is not None
    position = name.end()
    arguments: dict[str, tuple[str, int]] = {}
    while True:
        position = _skip(text, position, " \t\r\n,")
        if position >= len(text) or text[position] == ")":
            return Call(name.group(1).lower(), arguments, begin), min(position + 1, len(text))
        parameter = _PARAMETER.match(text, position)
        key = parameter.group(1).lower() if parameter else ""
        position = parameter.end() if parameter else position
        if key in arguments:
            raise ParseError(f"{name.group(1)} has two values for {key or 'its first parameter'!r}", position)
        value, start, position = _read_value(text, position)
        arguments[key] = (value, start)


def _read_value(text: str, begin: int) -> tuple[str, int, int]:
    """The value with escapes as they are written, where it begins, and the offset behind it."""
    if text[begin : begin + 1] not in ("'", '"'):
        bare = _BARE.match(text, begin)
        if bare is None:
            raise ParseError("a value is needed here", begin)
        return bare.group(), begin, bare.end()
    quote, position = text[begin], begin + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == quote and _AFTER_VALUE.match(text, position + 1):
            return text[begin + 1 : position], begin + 1, position + 1
        else:
            position += 1
    raise ParseError(f"the text that begins with {quote} is not closed", begin)


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def read_text(value: str) -> str:
    """A value without its escapes. A backslash that begins none stands for itself."""
    return _ESCAPE.sub(_unescaped, value)


def _unescaped(escape: re.Match[str]) -> str:
    letter, byte, code = escape.groups()
    if letter:
        return _CHARACTERS.get(letter, letter)
    character = chr(int(byte or code, 16))
    return escape.group() if "\ud800" <= character <= "\udfff" else character


def write_text(text: str) -> str:
    """A text as a quoted value. "<|" is escaped, so that no text becomes a special token of the model."""
    for character, escape in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("<|", "\\x3c|"),
    ):
        text = text.replace(character, escape)
    return f"'{text}'"


def read_place(value: str, position: int) -> tuple[float, float]:
    """The numbers of a place in any of its spellings: <point>x y</point>, (x,y), <|box_start|>(x,y)<|box_end|>, [x1,y1,x2,y2].
    A box means its middle. Raises ParseError."""
    numbers = _NUMBERS.fullmatch(_PLACE_MARKUP.sub(" ", value[:200]))
    found = [float(number) for number in re.findall(_NUMBER, numbers.group(1))] if numbers else []
    if len(found) == 2:
        return found[0], found[1]
    if len(found) == 4:
        return (found[0] + found[2]) / 2, (found[1] + found[3]) / 2
    raise ParseError(f"{value[:40]!r} is no place; it must be (x,y), <point>x y</point> or [x1,y1,x2,y2]", position)
