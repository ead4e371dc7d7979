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


TOKEN = re.compile(r"\s*(\d+|[-+*])")


def arithmetic(text: str) -> int:
    """Value of a sum, difference and product of whole numbers, such as "3 x 4 - 5". Raises OracleError for anything else."""
    text = text.replace("×", "*").replace("x", "*").replace("−", "-").strip()
    tokens, position = [], 0
    while position < len(text):
        found = TOKEN.match(text, position)
        if found is None:
            raise OracleError(f"{text!r} is no sum of whole numbers")
        tokens.append(found[1])
        position = found.end()
    total, product, sign, expect_number = 0, 1, 1, True
    for token in tokens:
        if expect_number and token == "-":
            sign = -sign
        elif expect_number != token.isdigit():
            raise OracleError(f"{text!r} is no sum of whole numbers")
        elif expect_number:
            product, sign, expect_number = product * sign * int(token), 1, False
        else:
            if token != "*":
                total, product, sign = total + product, 1, -1 if token == "-" else 1
            expect_number = True
    if expect_number:
        raise OracleError(f"{text!r} is no sum of whole numbers")
    return total + product


def solve_for_x(text: str) -> int:
    """The x of "x + 3 = 8", "x - 3 = 8", "3 + x = 8" or "3 - x = 8". Raises OracleError for anything else."""
    text = text.replace("−", "-")
    found = re.fullmatch(r"\s*(x|\d+) ([-+]) (x|\d+) = (-?\d+)\s*", text)
    if found is None or (found[1] == "x") == (found[3] == "x"):
        raise OracleError(f"{text!r} is no equation with one x")
    result = int(found[4])
    if found[1] == "x":
        return result - int(found[3]) if found[2] == "+" else result + int(found[3])
    return result - int(found[1]) if found[2] == "+" else int(found[1]) - result


def ordinal(text: str) -> int:
    """The number of the first "1st", "2nd", "3rd", "14th" in `text`. Raises OracleError."""
    return int(match(r"(\d+)(?:st|nd|rd|th)", text)[1])
