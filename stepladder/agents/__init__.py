"""Agents by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

AGENTS = {
    "qwen_vl": "stepladder.agents.qwen_vl:QwenVLAgent",
}


def agent_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises ValueError that names the nearest valid name."""
    path = AGENTS.get(name, name)
    module, separator, attribute = path.partition(":")
    if not separator:
        near = difflib.get_close_matches(name, AGENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(AGENTS)}, or package.module:Class"
        raise ValueError(f"unknown agent {name!r}; {hint}")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found
