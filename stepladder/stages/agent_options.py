"""The agent of a stage as configuration, kept beside the checkpoint that was trained with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.codec import from_json
from stepladder.config import to_dict
from stepladder.run import write_json

FILE = "stepladder_agent.json"


@dataclass(frozen=True)
class AgentOptions:
    """Options of the Qwen-VL agent; see `agents.qwen_vl.QwenVLAgent`."""

    screenshots: int = 1
    thought: Literal["none", "action", "full"] = "none"
    system: Literal["full", "short", "none"] = "none"
    grid: int = 10

    def build(self) -> QwenVLAgent:
        return QwenVLAgent(self.screenshots, self.thought, self.system, self.grid)

    def save(self, checkpoint: Path) -> None:
        """Write them into a checkpoint directory, where `of_checkpoint` finds them."""
        write_json(checkpoint / FILE, to_dict(self))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> AgentOptions:
        """What the checkpoint was trained with; the defaults for one that was not trained here."""
        path = checkpoint / FILE
        return from_json(cls, json.loads(path.read_text()), str(path)) if path.exists() else cls()
