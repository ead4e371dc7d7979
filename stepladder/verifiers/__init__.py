"""Verifiers: whether an answer is right, decided by a program and not by an opinion. No model's text is run in this process.

What is right stands in `Task.check`:

    {"verifier": "exact", "answer": "Cancel"}                        the text, but for capitals, spaces and quotation marks
    {"verifier": "numeric", "answer": "3/8", "tolerance": 0.01}      the number, in any spelling; "unit" names one that may follow
    {"verifier": "set", "answer": ["red", "blue"]}                   the items in any order, each once
    {"verifier": "code", "calls": [[1, 2]], "results": [3], ...}     a program that gives these results in the sandbox

An answer that stands in a box is taken out of it first (`stepladder.verifiers.boxes`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from stepladder.config import ConfigError
from stepladder.verifiers.boxes import final_answer
from stepladder.verifiers.code import CodeCheck
from stepladder.verifiers.exact import ExactCheck
from stepladder.verifiers.numeric import NumericCheck
from stepladder.verifiers.sandbox import Isolation
from stepladder.verifiers.sets import SetCheck

#: A verifier, ready for one task: whether the answer, taken out of its box, is right. Raises EnvironmentFailure where the machine
#: is to blame that it cannot be told.
Check = Callable[[str], bool]

VERIFIERS: dict[str, Callable[..., Check]] = {
    "exact": ExactCheck,
    "numeric": NumericCheck,
    "set": SetCheck,
    "code": CodeCheck,
}


def build_check(check: Mapping[str, Any], isolation: Isolation = "auto") -> Check:
    """The verifier that `Task.check` describes; programs are run with this `isolation` (`stepladder.verifiers.sandbox`). Raises
    ConfigError that names what is missing, unknown or ill-typed."""
    options = dict(check)
    name = options.pop("verifier", None)
    if name not in VERIFIERS:
        near = difflib.get_close_matches(str(name), VERIFIERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(VERIFIERS)}"
        raise ConfigError(f"check.verifier is {name!r}; {hint}")
    if name == "code":
        options["isolation"] = isolation
    try:
        return VERIFIERS[name](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"check of the verifier {name!r}: {error}") from error


def verify(check: Mapping[str, Any], text: str, isolation: Isolation = "auto") -> bool:
    """Whether the final answer in `text` is right. Text without a box is the answer as a whole; with several, or with more behind
    the last one, there is none. Raises ConfigError as `build_check` does, and EnvironmentFailure."""
    right = build_check(check, isolation)
    answer = final_answer(text)
    return answer is not None and right(answer)
