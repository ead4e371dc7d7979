"""Reading instructions and arithmetic: text is matched and parsed, never evaluated."""

from __future__ import annotations

import re

from stepladder.envs.browser.oracles.screen import OracleError


def quoted(text: str) -> list[str]:
    """The strings in double quotes, in order. Raises OracleError when there is none."""
    found = re.findall(r'"([^"]*)"', text)
    if not found:
        raise OracleError(f"nothing is quoted in {text!r}")
    return found


def match(pattern: str, text: str) -> re.Match[str]:
    """`re.search` that must succeed. Raises OracleError that shows pattern and text."""
    found = re.search(pattern, text)
    if found is None:
        raise OracleError(f"{text!r} does not fit {pattern!r}")
    return found
