"""The arithmetic of policy-gradient methods as pure functions of tensors, each with its source.

They know nothing of models, trajectories or configuration. Shapes are [B, T]: B sequences padded to T tokens, with a mask of the
tokens that count. What stands where the mask is 0, NaN and infinities included, has no influence on values or gradients. Everything
is computed in the dtype that is given. What a function estimates from data (advantages, returns, weights) carries no gradient.
"""

from __future__ import annotations

from stepladder.algos.advantages import gae, grpo_advantages, overlong_penalty, reinforce_pp_returns, rloo_advantages
from stepladder.algos.distillation import distillation_divergence, self_distillation_loss
from stepladder.algos.losses import (
    KL_KINDS,
    MAXIMA,
    POLICY_KINDS,
    WEIGHT_MODES,
    entropy,
    importance_weights,
    kl,
    policy_loss,
    value_loss,
)
from stepladder.algos.masked import AGGREGATIONS, aggregate, masked_mean, masked_whiten
from stepladder.algos.step_advantages import gigpo_advantages, length_adaptive_lambda, step_returns

__all__ = [
    "AGGREGATIONS",
    "KL_KINDS",
    "MAXIMA",
    "POLICY_KINDS",
    "WEIGHT_MODES",
    "aggregate",
    "distillation_divergence",
    "entropy",
    "gae",
    "gigpo_advantages",
    "grpo_advantages",
    "importance_weights",
    "kl",
    "length_adaptive_lambda",
    "masked_mean",
    "masked_whiten",
    "overlong_penalty",
    "policy_loss",
    "reinforce_pp_returns",
    "rloo_advantages",
    "self_distillation_loss",
    "step_returns",
    "value_loss",
]
