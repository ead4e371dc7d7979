"""Policies by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

from typing import Any

from stepladder.plugins import load

POLICIES = {
    "random": "stepladder.policies.random:RandomPolicy",
    "idle": "stepladder.policies.scripted:IdlePolicy",
    "give_up": "stepladder.policies.scripted:GiveUpPolicy",
    "scripted": "stepladder.policies.scripted:ScriptedPolicy",
    "local": "stepladder.policies.local:LocalPolicy",
    "openai_chat": "stepladder.policies.openai_chat:OpenAIChatPolicy",
    "anthropic": "stepladder.policies.anthropic:AnthropicPolicy",
    "openai_responses": "stepladder.policies.openai_responses:OpenAIResponsesPolicy",
}


def policy_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: type[Any] = load(name, POLICIES, "policy")
    return found
