"""What keeps a long training stable and has a memory: the entropy bonus that follows a target, and a reference that moves along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos.algorithm import Algorithm
from stepladder.algos.entropy_control import EntropyControl
from stepladder.models.lora import merged_state


class Stability:
    """`model` learns by `algorithm`; `reference` is the model that its KL divergence is measured from, None where none is."""

    def __init__(
        self,
        algorithm: Algorithm,
        model: Qwen3VLForConditionalGeneration,
        reference: Qwen3VLForConditionalGeneration | None,
    ) -> None:
        self._model = model
        self._refresh = algorithm.reference_refresh
        self._reference = reference if self._refresh else None
        #: Whether the present update has a bonus; one without teaches the control nothing.
        self._applied = False
        self.entropy: EntropyControl | None = None
        if algorithm.entropy_target is not None:
            self.entropy = EntropyControl(
                target=algorithm.entropy_target,
                step=algorithm.entropy_step,
                least=algorithm.entropy_least,
                most=algorithm.entropy_most,
                coefficient=algorithm.entropy,
            )

    def weights(self, given: Mapping[str, float]) -> dict[str, float]:
        """`given`, the weights of the losses in the next update, with that of the entropy bonus. Where the policy does not learn,
        as while a critic warms up, there is no bonus."""
        self._applied = self.entropy is not None and bool(given["pg"] or given.get("distill", 0.0))
        if self.entropy is None or not self._applied:
            return dict(given)
        return {**given, "entropy": self.entropy.weight}

    def updated(self, update: int, measured: Mapping[str, float]) -> dict[str, float]:
        """Take in what update number `update`, counted from 1, has measured; returns what is to be logged beside it."""
        if self._reference is not None and update % self._refresh == 0:
            self._reference.load_state_dict(merged_state(self._model))
        if self.entropy is None or not self._applied or "entropy" not in measured:
            return {}
        applied = self.entropy.weight
        self.entropy.update(measured["entropy"])
        return {"entropy_weight": applied}

    def state(self) -> dict[str, Any]:
        """What an exact continuation needs beside the trainer's state: the coefficient, and the reference where it moves."""
        return {
            "entropy_control": None if self.entropy is None else self.entropy.state(),
            "reference": None if self._reference is None else self._reference.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        if self.entropy is not None:
            self.entropy.load_state(state["entropy_control"])
        if self._reference is not None:
            self._reference.load_state_dict(state["reference"])
