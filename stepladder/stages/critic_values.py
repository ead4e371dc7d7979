"""What the critic of a run of reinforcement learning expects of tasks that nobody has played yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.heads import ValueHead, own_trunk
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import load_policy
from stepladder.train.sample import from_step
from stepladder.train.scoring import Scorer
from stepladder.types import Completion, Observation, Step, Task


class CriticValues:
    """The critic in the last state of the run in `directory`, with the weights that it was trained on; `images` are where the
    pictures of observations are. Raises ConfigError for what is no run with a critic."""

    def __init__(self, directory: Path, images: ImageStore) -> None:
        settings, state = _settings(directory), _state(directory)
        if state.get("critic") is None:
            raise ConfigError(f"critic: {directory} has none, as its algorithm is {settings.get('algorithm')!r}; ppo trains one")
        checkpoint = Path(settings["checkpoint"])
        model, self._renderer = load_policy(checkpoint, images)
        model.load_state_dict(state["model"])
        separate = any(name.startswith("trunk.") for name in state["critic"])
        critic = ValueHead(model.config.text_config.hidden_size, trunk=own_trunk(model) if separate else None)
        critic.load_state_dict(state["critic"])
        self._scorer = Scorer(model.eval(), self._renderer, critic=critic.eval())
        self._agent = AgentOptions.of_checkpoint(checkpoint).build()

    def value(self, task: Task, observation: Observation) -> float:
        """The expected reward of `task` when its first screen is `observation`, before anything is said."""
        prompt = self._renderer.render(self._agent.prompt(task, (), observation))
        end = np.array(sorted(self._renderer.stop_ids)[:1], dtype=np.int32)  # some reply there must be; the value is that before it
        step = Step(observation, prompt=prompt, completion=Completion("", tokens=end, logprobs=np.zeros(1, dtype=np.float32)))
        (values,) = self._scorer.values([from_step(self._renderer, self._agent, task, (step,), 0)])
        return float(values[0])


def _settings(directory: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((directory / "config.json").read_text())
        Path(found["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"critic: {directory} is no run of `stepladder rl`: {error}") from error
    return found


def _state(directory: Path) -> dict[str, Any]:
    path = directory / "state.pt"
    if not path.is_file():
        raise ConfigError(f"critic: {directory} has no saved state yet; there is no {path}")
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state
