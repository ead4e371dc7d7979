"""An entropy bonus that holds the policy's entropy at a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class EntropyControl:
    """A weight that rises by `step` after every update whose entropy was below `target`, in nats a token, and falls by `step` after
    one above, within `least` and `most`. It is applied only while the last known entropy is not above the target: a bonus that
    is not needed does not disturb.

    Source: adaptive entropy control, Skywork-OR1, arXiv 2505.22312, section 4; bounds as in TRL.
    """

    target: float
    step: float
    least: float
    most: float
    coefficient: float
    last: float | None = None

    def __post_init__(self) -> None:
        self.coefficient = min(self.most, max(self.least, self.coefficient))

    @property
    def weight(self) -> float:
        """Of the entropy bonus in the next update. Before the first one nobody knows the entropy, and the coefficient counts."""
        return self.coefficient if self.last is None or self.last <= self.target else 0.0

    def update(self, entropy: float) -> None:
        """Take in the mean entropy of the tokens of an update."""
        change = self.step if entropy < self.target else -self.step if entropy > self.target else 0.0
        self.coefficient = min(self.most, max(self.least, self.coefficient + change))
        self.last = entropy

    def state(self) -> dict[str, float | None]:
        """What an exact continuation needs."""
        return {"coefficient": self.coefficient, "last": self.last}

    def load_state(self, state: Mapping[str, float | None]) -> None:
        """Continue where `state` was taken."""
        self.coefficient, self.last = state["coefficient"] or 0.0, state["last"]
