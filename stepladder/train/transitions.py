"""Updates of an inverse-dynamics model: transitions with known actions, drawn by task, and how many it gets right of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepladder.data.transitions import Transition, as_item
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.mixtures import ROW_LENGTH, Kit, exact_share
from stepladder.train.sample import Sample
from stepladder.train.trainer import Trainer


class TransitionMixture:
    """`batch` transitions an update, over all ranks: a kind of action first, each as often, then any transition of it. See
    `train.mixtures.Mixture`."""

    goal = "exact"

    def __init__(self, kit: Kit, training: Mapping[str, Sequence[Transition]], held_out: Sequence[Transition], batch: int) -> None:
        self.kit, self.batch = kit, batch
        self.training = {kind: list(found) for kind, found in sorted(training.items()) if found}
        self._made: dict[str, Sample] = {}
        self._held_out = [self._sample(one) for one in held_out]

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """See `train.mixtures.Mixture`."""
        random = self.kit.random("transitions", step)
        kinds = random.choices(list(self.training), k=self.batch)
        drawn = [random.choice(self.training[kind]) for kind in kinds]
        pieces = self.kit.pieces(drawn)
        return [MicroBatch(collate([self._sample(one) for one in piece], self.kit.renderer, ROW_LENGTH)) for piece in pieces]

    def score(self, trainer: Trainer) -> dict[str, float]:
        """See `train.mixtures.Mixture`."""
        return {"exact": exact_share(trainer, self._held_out, self.kit)}

    def _sample(self, transition: Transition) -> Sample:
        if transition.key not in self._made:
            self._made[transition.key] = self.kit.item_sample(as_item(transition))
        return self._made[transition.key]


def by_kind(found: Sequence[Transition]) -> dict[str, list[Transition]]:
    """Transitions with known actions by the kind of the action."""
    kinds: dict[str, list[Transition]] = {}
    for one in found:
        if one.action is not None:
            kinds.setdefault(one.action.kind, []).append(one)
    return kinds
