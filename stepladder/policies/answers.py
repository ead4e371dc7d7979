"""Answers of models' servers that are not what was asked for, and how to take out of an answer what is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: How servers say that a prompt is too long: OpenAI, vLLM, SGLang, Anthropic.
_TOO_LONG = re.compile(
    r"context[ _](length|window|limit)|maximum (context|model) length|longer than the (maximum|model)|prompt is too long|"
    r"input is too long|input length and `?max_tokens`? exceed",
    re.IGNORECASE,
)
_TOO_LONG_CODES = ("context_length_exceeded", "string_above_max_length", "request_too_large")
#: 429 for an account that has no money left does not pass.
_FINAL_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_error")
#: What errors are called inside a stream, where they have no status.
_STATUS = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "api_error": 500,
    "server_error": 500,
    "error": 500,
    "internal_server_error": 500,
    "timeout_error": 504,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
}


class Malformed(Exception):
    """An answer that is cut off, or not what it should be."""


class Rejected(Exception):
    """The server says no. `pause` are the seconds that it wants to be left alone, when it says so."""

    def __init__(self, status: int, message: str, code: str, pause: float | None) -> None:
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")
        self.status, self.code, self.pause = status, code, pause

    @property
    def passes(self) -> bool:
        """Whether the same may be asked again."""
        if self.code in _FINAL_CODES:
            return False
        return self.status in (408, 409, 425, 429) or self.status >= 500


def rejection(status: int, said: Any, pause: float | None) -> Rejected:
    """An error answer in any of the shapes that servers use: {"error": {"message", "type", "code"}} (OpenAI, Anthropic),
    {"message", "type", "code"} (older vLLM), {"detail": ...} (gateways), or text."""
    error = said.get("error", said) if isinstance(said, dict) else said
    if not isinstance(error, dict):
        return Rejected(status, str(error)[:500] or "no reason given", "", pause)
    message = error.get("message") or error.get("detail") or "no reason given"
    named = [name for name in (error.get("code"), error.get("type")) if isinstance(name, str) and name]
    return Rejected(status, str(message)[:500], named[0] if named else "", pause)


def rejection_in_stream(error: Any) -> Rejected:
    """An error that came in the middle of an answer."""
    found = rejection(500, {"error": error}, None)
    return Rejected(_STATUS.get(found.code, 500 if not found.code else 400), str(found).partition(": ")[2], found.code, None)


def is_context_full(error: Rejected) -> bool:
    """Whether the prompt is longer than the model can read."""
    if error.status == 413 or error.code in _TOO_LONG_CODES:
        return True
    return error.status in (400, 422) and _TOO_LONG.search(str(error)) is not None


def part(said: Any, name: str, kind: type[Any] | tuple[type[Any], ...], where: str) -> Any:
    """`said[name]`, which must be of `kind`. Raises Malformed that names it."""
    found = said.get(name) if isinstance(said, Mapping) else None
    if not isinstance(found, kind):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(one.__name__ for one in kind)
        raise Malformed(f"{where}.{name} of the answer must be {wanted} and is {type(found).__name__}")
    return found


def counts(said: Any, names: Mapping[str, str]) -> dict[str, float]:
    """The numbers among `said[theirs]` for `names` {ours: theirs}."""
    if not isinstance(said, Mapping):
        return {}
    found = {ours: said.get(theirs) for ours, theirs in names.items()}
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
