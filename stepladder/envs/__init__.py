"""Environments by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

from typing import Any

from stepladder.plugins import load

ENVIRONMENTS = {
    "miniwob": "stepladder.envs.browser.miniwob:MiniWobEnvironment",
    "page": "stepladder.envs.browser.pages:PageEnvironment",
    "bridge": "stepladder.envs.bridge.client:BridgeEnvironment",
    "desk": "stepladder.envs.desktop.desk.environment:DeskEnvironment",
    "osworld": "stepladder.envs.osworld.environment:OSWorldEnvironment",
    "forms": "stepladder.envs.forms.environment:FormsEnvironment",
    "reasoning": "stepladder.envs.reasoning.environment:ReasoningEnvironment",
}


def environment_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: type[Any] = load(name, ENVIRONMENTS, "environment")
    return found
