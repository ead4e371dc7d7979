"""The agent of a stage as configuration, kept beside the checkpoint that was trained with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.codec import from_json
from stepladder.config import ConfigError, to_dict
from stepladder.run import write_json

FILE = "stepladder_agent.json"
#: Tokens that a reply may need by what is written before the call; a call with a long text takes about 90.
REPLY_TOKENS = {"none": 96, "action": 160, "full": 1024}


@dataclass(frozen=True)
class AgentOptions:
    """Options of the Qwen-VL agent; see `agents.qwen_vl.QwenVLAgent`. The defaults suit a small model that is trained here."""

    screenshots: int = 1
    thought: Literal["none", "action", "full"] = "none"
    system: Literal["full", "short", "none"] = "none"
    grid: int = 10
    level: Literal["trained", "action", "thought", "observation"] = "trained"

    def build(self) -> QwenVLAgent:
        """Raises ConfigError for options that do not go together."""
        try:
            return QwenVLAgent(self.screenshots, self.thought, self.system, self.grid, self.level)
        except ValueError as error:
            raise ConfigError(f"agent: {error}") from error

    @property
    def reply_tokens(self) -> int:
        """How long a reply in this form may become, in tokens."""
        return REPLY_TOKENS[self.thought]

    def save(self, checkpoint: Path) -> None:
        """Write them into a checkpoint directory, where `of_checkpoint` finds them."""
        write_json(checkpoint / FILE, to_dict(self))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> AgentOptions:
        """What the checkpoint was trained with; the published form of Qwen3-VL (`QWEN`) for one that was not trained here."""
        path = checkpoint / FILE
        return from_json(cls, json.loads(path.read_text()), str(path)) if path.exists() else QWEN


#: What a published Qwen3-VL was trained on: its own tool description, an "Action:" line, every one of the 1000 coordinates.
QWEN = AgentOptions(thought="action", system="full", grid=1)
