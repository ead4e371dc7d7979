"""A little program: it is right when it gives the right results for calls that it was not told of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, get_args

from stepladder.verifiers.sandbox import Form, Isolation, ProgramLimits, run_program

LONGEST = 8000
_FENCED = re.compile(r"\s*```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


def program_of(text: str) -> str | None:
    """The program of an answer: what stands between its only pair of fences (```), or where there are none the answer itself. None
    where there are several, words around them, or a program longer than 8000 characters."""
    if len(text) > LONGEST:
        return None
    if "```" not in text:
        return text.strip() or None
    fenced = _FENCED.fullmatch(text)
    return None if fenced is None or "```" in fenced[1] else fenced[1]


def same_value(right: Any, given: Any) -> bool:
    """Whether a result is what it should be: of the same type, but for tuples, which come back as lists, and whole numbers where a
    float is right; floats to within 1e-9 of themselves."""
    if isinstance(right, bool) or isinstance(given, bool):
        return right is given
    if isinstance(right, float):
        return isinstance(given, (int, float)) and math.isclose(right, given, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(right, (list, tuple)):
        return isinstance(given, list) and len(right) == len(given) and all(map(same_value, right, given))
    if isinstance(right, dict):
        return isinstance(given, dict) and right.keys() == given.keys() and all(same_value(right[key], given[key]) for key in right)
    return type(right) is type(given) and bool(right == given)


class CodeCheck:
    """`calls` are lists of arguments, `results` what each should give, all of them values of JSON. With the form "function" the
    answer defines the function `name`, with "expression" it is an expression of `parameters`.

    Raises ValueError where the calls cannot tell a right program from a constant."""

    def __init__(
        self,
        calls: Sequence[Sequence[Any]],
        results: Sequence[Any],
        form: Form = "function",
        name: str = "f",
        parameters: Sequence[str] = (),
        isolation: Isolation = "auto",
    ) -> None:
        if form not in get_args(Form):
            raise ValueError(f"form is {form!r}; it must be one of {', '.join(get_args(Form))}")
        if isolation not in get_args(Isolation):
            raise ValueError(f"isolation is {isolation!r}; it must be one of {', '.join(get_args(Isolation))}")
        if len(calls) != len(results):
            raise ValueError(f"there are {len(calls)} calls and {len(results)} results; every call needs one")
        if len({repr(result) for result in results}) < 2:
            raise ValueError("all results are the same, so that a constant would be right; give calls with different results")
        for word in (name, *parameters):
            if not word.isidentifier():
                raise ValueError(f"{word!r} is no name of a function or parameter")
        self.calls, self.results, self.isolation = [list(call) for call in calls], list(results), isolation
        self.form: Form = form
        self.name, self.parameters = name, tuple(parameters)

    def __call__(self, text: str) -> bool:
        """Whether the program in `text` gives every right result. Raises EnvironmentFailure when the sandbox does not start."""
        program = program_of(text)
        if program is None:
            return False
        outcome = run_program(
            program,
            self.calls,
            form=self.form,
            name=self.name,
            parameters=self.parameters,
            limits=ProgramLimits(),
            isolation=self.isolation,
        )
        if len(outcome.results) != len(self.results):
            return False
        return all(well and same_value(right, given) for right, (well, given) in zip(self.results, outcome.results, strict=True))
