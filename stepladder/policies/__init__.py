"""Policies by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

POLICIES = {
    "random": "stepladder.policies.random:RandomPolicy",
    "idle": "stepladder.policies.scripted:IdlePolicy",
    "give_up": "stepladder.policies.scripted:GiveUpPolicy",
    "scripted": "stepladder.policies.scripted:ScriptedPolicy",
    "local": "stepladder.policies.local:LocalPolicy",
}


def policy_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises ValueError that names the nearest valid name."""
    path = POLICIES.get(name, name)
    module, separator, attribute = path.partition(":")
    if not separator:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(POLICIES)}, or package.module:Class"
        raise ValueError(f"unknown policy {name!r}; {hint}")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found
