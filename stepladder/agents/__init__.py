"""Agents by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

from typing import Any

from stepladder.plugins import load

AGENTS = {
    "qwen_vl": "stepladder.agents.qwen_vl:QwenVLAgent",
}


def agent_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: type[Any] = load(name, AGENTS, "agent")
    return found
