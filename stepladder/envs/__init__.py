"""Environments by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

ENVIRONMENTS = {
    "miniwob": "stepladder.envs.browser.miniwob:MiniWobEnvironment",
    "page": "stepladder.envs.browser.pages:PageEnvironment",
    "forms": "stepladder.envs.forms.environment:FormsEnvironment",
}


def environment_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises ValueError that names the nearest valid name."""
    path = ENVIRONMENTS.get(name, name)
    module, separator, attribute = path.partition(":")
    if not separator:
        near = difflib.get_close_matches(name, ENVIRONMENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(ENVIRONMENTS)}, or package.module:Class"
        raise ValueError(f"unknown environment {name!r}; {hint}")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found
