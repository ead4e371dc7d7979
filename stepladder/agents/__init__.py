"""Agents by name. Nothing is imported until it is asked for; `package.module:Class` works without an entry here."""

from __future__ import annotations

from typing import Any

from stepladder.plugins import load

AGENTS = {
    "qwen_vl": "stepladder.agents.qwen_vl:QwenVLAgent",
    "qwen3_vl": "stepladder.agents.qwen3_vl:Qwen3VLAgent",
    "qwen25_vl": "stepladder.agents.qwen25_vl:Qwen25VLAgent",
    "evocua_s1": "stepladder.agents.evocua:EvoCUAS1Agent",
    "evocua_s2": "stepladder.agents.evocua:EvoCUAS2Agent",
    "ui_tars_1": "stepladder.agents.ui_tars:UITARS1Agent",
    "ui_tars_1_5": "stepladder.agents.ui_tars:UITARS15Agent",
    "ui_tars_2": "stepladder.agents.ui_tars:UITARS2Agent",
    "opencua": "stepladder.agents.opencua:OpenCUAAgent",
    "kimi": "stepladder.agents.kimi:KimiAgent",
    "osworld_pyautogui": "stepladder.agents.osworld_pyautogui:OSWorldPyAutoGUIAgent",
    "computer_13": "stepladder.agents.computer_13:Computer13Agent",
    "anthropic": "stepladder.agents.anthropic:AnthropicAgent",
    "openai_computer": "stepladder.agents.openai_computer:OpenAIComputerAgent",
    "reasoning": "stepladder.agents.reasoning:ReasoningAgent",
}


def agent_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: type[Any] = load(name, AGENTS, "agent")
    return found
