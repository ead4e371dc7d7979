"""The head of a reward model: one score at the last token of an answer. It is kept in a file of its own beside an ordinary
checkpoint, whose language model has learned with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from stepladder.models.heads import ValueHead

FILE = "reward_head.pt"
#: How a reward model is asked: for the score of a reply, or of a reply beside another one of the policy that it is to be like.
RewardKind = Literal["bradley-terry", "policy"]


@dataclass(frozen=True, slots=True)
class Scale:
    """What a raw score means: `mean` and `deviation` of the scores of the answers that it was trained on, and the `lowest` of
    these in units of the deviation. Preferences tell differences of scores alone, so that a score by itself says nothing."""

    mean: float = 0.0
    deviation: float = 1.0
    lowest: float = 0.0

    def of(self, raw: float) -> float:
        """How many deviations above the mean."""
        return (raw - self.mean) / self.deviation


class RewardHead(ValueHead):
    """A score float[N] from the states float[N, hidden] of the last tokens of N answers. Its gradient goes on into the model.

    It is 0 for everything at first, so that training begins with a loss of log 2."""

    def __init__(self, hidden: int, width: int = 256) -> None:
        super().__init__(hidden, width, shared=True)

    def save(self, directory: Path, kind: RewardKind, scale: Scale) -> None:
        """Write the head into a checkpoint directory."""
        shape = {"hidden": self.inner.in_features, "width": self.inner.out_features}
        torch.save({**shape, "kind": kind, "scale": asdict(scale), "state": self.state_dict()}, directory / FILE)

    @classmethod
    def load(cls, directory: Path) -> tuple[RewardHead, RewardKind, Scale]:
        """The head in a checkpoint directory, how it is asked and what its scores mean. Raises FileNotFoundError where there is
        none."""
        path = directory / FILE
        if not path.exists():
            raise FileNotFoundError(f"{directory} is no reward model: it lacks {FILE}; `stepladder reward-model` makes one")
        saved = torch.load(path, weights_only=True)
        head = cls(saved["hidden"], saved["width"])
        head.load_state_dict(saved["state"])
        return head.eval(), saved["kind"], Scale(**saved["scale"])
