r"""One number, in any of the usual spellings, compared as an exact fraction.

    42   +42   −42   4.2e1   4.2 × 10^1   1,234.5   1 234   84/2   1 1/2   \frac{84}{2}   42 %   $42   42 cm   42.

What names more than one number, a range, or no number for sure is no answer: "a number between 1 and 10", "3 or 4", "3, 4", "about
3", "2 + 1". Nothing is evaluated: a number is read by one pattern, or it is not read.
"""

from __future__ import annotations

import re
from fractions import Fraction
from numbers import Real

#: Longer answers name no number that a task has.
LONGEST = 200
#: Greater exponents of ten would make numbers that take long to compare.
_EXPONENT = 400

#: Groups of three begin with no 0: "0,007" is the decimal comma of other countries.
_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,2}(?:[\u00a0\u2009\u202f ][0-9]{3})+|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
_TEN = (
    r"(?:[eE]([+-]?[0-9]{1,3})|\s*(?:[×x*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*(?:\{\s*([+-]?[0-9]{1,3})\s*\}|([+-]?[0-9]{1,3})))"
)
_NUMBER = re.compile(rf"({_DECIMAL})(?:{_TEN})?")
_RATIO = re.compile(rf"(?:({_DIGITS})\s+)?({_DIGITS})\s*/\s*({_DIGITS})")
_LATEX = re.compile(rf"({_DIGITS})?\s*\\[dt]?frac\s*\{{\s*({_DIGITS})\s*\}}\s*\{{\s*({_DIGITS})\s*\}}")
_SIGN = re.compile(r"[+-]\s*")
_WRAPPED = (re.compile(r"\$([^$]*)\$"), re.compile(r"\\\((.*)\\\)"), re.compile(r"\\\[(.*)\\\]"))
#: Signs of money that may stand before a number, where the task has this unit.
_BEFORE = ("$", "€", "£", "¥")


def read_number(text: str, unit: str = "") -> Fraction | None:
    """The number that `text` says and nothing else; None where it says none, or more. The `unit` may follow (or, for a sign of
    money, precede) it; "%" as a unit is the number of hundredths, and without it "%" divides by 100."""
    text = text.strip()
    if len(text) > LONGEST:
        return None
    for pattern in _WRAPPED:
        wrapped = pattern.fullmatch(text)
        if wrapped is not None:
            text = wrapped[1].strip()
            break
    text = text.replace("−", "-").replace("{,}", ",").replace("\\,", "\u2009").replace("\\!", "")
    if text.endswith(".") and not text.endswith("..") and len(text) > 1:
        text = text[:-1].rstrip()
    text, percent = _without_unit(text, unit)
    negative = False
    sign = _SIGN.match(text)
    if sign is not None:
        negative, text = sign[0][0] == "-", text[sign.end() :]
        text = _without_money(text, unit)
    value = _magnitude(text)
    if value is None:
        return None
    value = value / 100 if percent else value
    return -value if negative else value


def _without_unit(text: str, unit: str) -> tuple[str, bool]:
    """(the text without the unit of the task, whether it was given in per cent of one)."""
    text = _without_money(text, unit)
    for sign in ("\\%", "%"):
        if text.endswith(sign):
            return text[: -len(sign)].rstrip(), unit != "%"
    if unit and unit not in (*_BEFORE, "%"):
        for written in (rf"\text{{{unit}}}", rf"\text{{ {unit}}}", rf"\mathrm{{{unit}}}", unit):
            if text.endswith(written):
                return text[: -len(written)].rstrip(), False
    elif unit in _BEFORE and text.endswith(unit):
        return text[: -len(unit)].rstrip(), False
    return text, False


def _without_money(text: str, unit: str) -> str:
    if unit in _BEFORE:
        for written in ("\\" + unit, unit):
            if text.startswith(written):
                return text[len(written) :].lstrip()
    return text


def _magnitude(text: str) -> Fraction | None:
    """A number without a sign."""
    number = _NUMBER.fullmatch(text)
    if number is not None:
        exponent = int(next((found for found in number.groups()[1:] if found is not None), "0"))
        return Fraction(_plain(number[1])) * Fraction(10) ** exponent if abs(exponent) <= _EXPONENT else None
    ratio = _RATIO.fullmatch(text) or _LATEX.fullmatch(text)
    if ratio is None:
        return None
    whole, above, below = (_plain(part or "0") for part in ratio.groups())
    if int(below) == 0 or (ratio[1] is not None and int(above) >= int(below)):
        return None  # "1 3/2" is two numbers rather than a mixed one
    return int(whole) + Fraction(int(above), int(below))


def _plain(digits: str) -> str:
    return "0" + re.sub(r"[^0-9.]", "", digits).rstrip(".")


class NumericCheck:
    """`answer` is the right number, as a number or in one of the spellings above. An answer may be off by `tolerance`, or by
    `relative` times the right number, whichever is more. `unit` may stand with the number, and no other may.

    Raises ValueError for what is no number and for a tolerance that is none."""

    def __init__(self, answer: str | float, tolerance: float = 0.0, relative: float = 0.0, unit: str = "") -> None:
        right = read_number(str(answer), unit) if isinstance(answer, (str, int, float)) and not isinstance(answer, bool) else None
        if right is None:
            raise ValueError(f"answer is {answer!r}; it must be a number, or a text that says one and nothing else")
        if re.search("[0-9]", unit):
            raise ValueError(f"unit is {unit!r}; it must be a word without digits")
        for name, value in (("tolerance", tolerance), ("relative", relative)):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value!r}; it must be a number of at least 0")
        self.right, self.unit = right, unit
        self.tolerance = max(Fraction(str(tolerance)), Fraction(str(relative)) * abs(right))

    def __call__(self, text: str) -> bool:
        """Whether `text` says the right number and nothing else."""
        said = read_number(text, self.unit)
        return said is not None and abs(said - self.right) <= self.tolerance
