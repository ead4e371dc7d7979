"""Credit: what an algorithm says about the tokens of one reply. Derived from trajectories whenever it is needed, never stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepladder.types import FloatArray, ImageRef

#: A number for all tokens of a reply, or one for each.
PerToken = float | FloatArray
_OF_CRITIC = ("values", "returns")


@dataclass(frozen=True, eq=False)
class Credit:
    """Weights of the reply's tokens in the losses, and what the losses need. All weights 0: the reply is not learned from.

    ce             weight in the imitation loss (cross entropy)
    pg             weight in the policy-gradient loss, whose `advantage` is a number or float32[C]
    kl             weight in the KL divergence from `ref_logprobs` float32[C], those of a reference or teacher
    distill        weight in the divergence from a teacher's distributions, who is told `told` at the end of the prompt
    values         float32[C]: what the critic expected before each token
    returns        float32[C]: what the critic is to expect; both are NaN before a token at which it learns nothing
    """

    ce: float = 0.0
    pg: float = 0.0
    kl: float = 0.0
    distill: float = 0.0
    told: tuple[str | ImageRef, ...] = ()
    advantage: PerToken = 0.0
    ref_logprobs: FloatArray | None = None
    values: FloatArray | None = None
    returns: FloatArray | None = None

    def fields(self, length: int, key: str = "") -> dict[str, FloatArray]:
        """The fields of a sample that this credit fills, float32[length] each. Raises ValueError for an array of another length
        and for a number that is not finite."""
        given = {
            "w_ce": self.ce,
            "w_pg": self.pg,
            "w_kl": self.kl,
            "w_distill": self.distill,
            "advantages": self.advantage,
            "ref_logprobs": self.ref_logprobs,
            "values": self.values,
            "returns": self.returns,
        }
        filled = {}
        for name, value in given.items():
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float32)
            if array.shape not in ((), (length,)):
                raise ValueError(f"{name} of {key or 'a reply'} has shape {array.shape}; the reply has {length} tokens")
            # Of the critic a later token may be left out; a critic that is broken is so at the first one, too.
            left_out = np.isnan(array) & (np.arange(array.size).reshape(array.shape) > 0) & (name in _OF_CRITIC)
            if not (np.isfinite(array) | left_out).all():
                raise ValueError(f"{name} of {key or 'a reply'} is not finite everywhere")
            filled[name] = np.broadcast_to(array, (length,))
        if self.kl and self.ref_logprobs is None:
            raise ValueError(f"{key or 'a reply'} has a KL weight of {self.kl:g} but no ref_logprobs")
        return filled


IMITATION = Credit(ce=1.0)
NOTHING = Credit()
