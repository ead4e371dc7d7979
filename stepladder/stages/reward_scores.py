"""A reward model in a stage: its settings, opening it, and the scores of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.renderer import Renderer
from stepladder.models.reward_head import FILE, RewardHead
from stepladder.rewards.model import MODEL_TERM
from stepladder.stages.local_policy import load_policy
from stepladder.train.reward_model import Aggregate, References, RewardModel
from stepladder.types import Group


@dataclass(frozen=True)
class RewardModelSettings:
    """`checkpoint` is the directory that `stepladder reward-model` wrote (None: there is no reward model). The score of an
    episode is that of its replies together, as `aggregate` says: their mean, the last one's, or the lowest."""

    checkpoint: Path | None = None
    aggregate: Aggregate = "mean"

    def check(self, rewards: Mapping[str, float]) -> None:
        """Raises ConfigError; `rewards` are those that the stage weighs."""
        if self.aggregate not in get_args(Aggregate):
            raise ConfigError(f"reward_model.aggregate is {self.aggregate!r}; it must be one of {', '.join(get_args(Aggregate))}")
        if self.checkpoint is None:
            if MODEL_TERM in rewards:
                raise ConfigError("reward_model.checkpoint is missing: rewards name 'model', which is its score")
        elif not (self.checkpoint / FILE).exists():
            raise ConfigError(f"reward_model.checkpoint: {self.checkpoint} lacks {FILE}; `stepladder reward-model` makes one")
        elif MODEL_TERM not in rewards:
            raise ConfigError(
                "reward_model.checkpoint is given and rewards do not weigh 'model'; add it, such as rewards.model=1.0"
            )


def load_reward_model(directory: Path, images: ImageStore, autocast: bool = False, chunk: int = 32) -> RewardModel:
    """Raises ConfigError for a directory that holds no reward model."""
    try:
        head, kind, scale = RewardHead.load(directory)
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    model, renderer = load_policy(directory, images)
    return RewardModel(model, renderer, head, kind, scale, References.load(directory), autocast, chunk)


class GroupScorer:
    """The reward model of a stage, which scores groups. `policy` is the renderer by whose ids the episodes were recorded: a
    reward model that reads otherwise reads their texts."""

    def __init__(self, model: RewardModel, aggregate: Aggregate, policy: Renderer) -> None:
        self.model, self.aggregate = model, aggregate
        self._recorded = model.renderer.reads_alike(policy)

    def __call__(self, group: Group) -> Group:
        """The group with the score of each graded member as the term "model" in its parts."""
        graded = [number for number, one in enumerate(group) if not one.environment_failed and one.reward is not None]
        found = self.model.of_episodes([group[number] for number in graded], self.aggregate, self._recorded)
        scores = dict(zip(graded, found, strict=True))
        return [
            replace(one, parts={**one.parts, MODEL_TERM: scores[number]}) if number in scores else one
            for number, one in enumerate(group)
        ]
