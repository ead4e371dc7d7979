"""The learning half of an RL update: from groups of trajectories to changed weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos.algorithm import GroupCredit, ReplyScores, Scores
from stepladder.algos.credit import IMITATION, Credit
from stepladder.algos.whitening import whitened
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent
from stepladder.models.attention import use_attention
from stepladder.models.heads import ValueHead
from stepladder.policies.decoder import banned_ids
from stepladder.rewards.combine import WeightedReward
from stepladder.stages.local_policy import load_policy
from stepladder.stages.rl_config import RlConfig
from stepladder.train.batch import collate
from stepladder.train.optimizer import Schedule
from stepladder.train.sample import Sample, from_step, merge_turns, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.train.trainer import LossWeights, MicroBatch, Trainer
from stepladder.types import Group, Trajectory

#: Tokens in a packed row of replies.
ROW_LENGTH = 512


class Learner:
    """The model, its trainer, and whoever else has a say: a critic, the reference policy, a teacher."""

    def __init__(self, config: RlConfig, agent: Agent, images: ImageStore) -> None:
        self.config, self.agent = config, agent
        self.model, self.renderer = load_policy(config.checkpoint, images)
        use_attention(self.model)
        self.algorithm = config.algo
        banned = banned_ids(self.model, self.renderer)
        self.reward = WeightedReward(config.rewards, config.reward_options) if config.rewards else None
        critic = None
        if "values" in self.algorithm.needs:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                critic = ValueHead(self.model.config.text_config.hidden_size)
        self.trainer = Trainer(
            model=self.model,
            head=None,
            schedule=Schedule(config.updates * self.algorithm.updates, config.warmup * self.algorithm.updates, config.decay),
            optimizer=config.optimizer,
            trainable=(*config.train, "critic"),
            autocast=config.bf16,
            objective=self.algorithm.objective(),
            critic=critic,
            temperature=config.temperature,
            banned=banned,
        )
        self._scorers: dict[str, Scorer] = {}
        if "values" in self.algorithm.needs:
            self._scorers["values"] = self._scorer(self.model, critic)
        if "reference" in self.algorithm.needs:
            self._scorers["reference"] = self._scorer(load_policy(config.checkpoint, images)[0])
        if "teacher" in self.algorithm.needs:
            assert config.teacher is not None
            teacher, its = load_policy(config.teacher, images)
            if not its.reads_alike(self.renderer):
                raise ConfigError(
                    f"teacher: {config.teacher} has another vocabulary or other visual tokens than {config.checkpoint}; "
                    "its log-probabilities would be those of other tokens"
                )
            self._scorers["teacher"] = self._scorer(teacher)

    def _scorer(self, model: Qwen3VLForConditionalGeneration, critic: ValueHead | None = None) -> Scorer:
        config, banned = self.config, banned_ids(model, self.renderer)
        return Scorer(model.eval(), self.renderer, config.temperature, banned, config.bf16, critic, config.micro_batch)

    def with_terms(self, group: Group) -> Group:
        """The group with the terms of the configured rewards in `parts`. A trajectory that has no grade gets none."""
        if self.reward is None:
            return group
        terms = self.reward(group)
        return [replace(one, parts={**one.parts, **its}) for one, its in zip(group, terms, strict=True)]

    def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """One batch: `algorithm.updates` optimizer steps, to which every rank brings its groups. When no rank has anything to learn
        from, nothing changes, not even the optimizer's memory, and the answer is empty."""
        samples = self._samples(groups)
        if not self.trainer.sum_over_ranks({"n": float(sum(map(_teaches, samples)))})["n"]:
            return {}
        micro_batches = self._micro_batches(samples)
        if self.algorithm.updates > 1:
            for micro_batch in micro_batches:
                micro_batch.old_logprobs = self.trainer.logprobs(micro_batch.batch)
        update = self.trainer.step_count // self.algorithm.updates
        self.trainer.weights = LossWeights(**self.algorithm.loss_weights(update))
        metrics: dict[str, float] = {}
        for _ in range(self.algorithm.updates):
            for name, value in self.trainer.step(micro_batches).items():
                metrics[name] = metrics.get(name, 0.0) + value / self.algorithm.updates
        return metrics

    def _samples(self, groups: Sequence[Group]) -> list[Sample]:
        credits: list[GroupCredit] = self.algorithm.credit(groups, self._scores(groups)) if groups else []
        if self.algorithm.whiten:
            credits = whitened(groups, credits, self.trainer.sum_over_ranks)
        samples: list[Sample] = []
        for group, group_credit in zip(groups, credits, strict=True):
            of_group: list[Sample] = []
            for trajectory, steps in zip(group, group_credit, strict=True):
                turns = [
                    self._sample(trajectory, number, credit)
                    for number, credit in enumerate(steps)
                    if credit.ce or credit.pg or credit.kl
                ]
                of_group += merge_turns(turns)
            samples += share_prompts(of_group)
        return samples

    def _sample(self, trajectory: Trajectory, number: int, credit: Credit) -> Sample:
        key = f"{trajectory.id}/{number}"
        return from_step(self.renderer, self.agent, trajectory.task, trajectory.steps, number, credit=credit, key=key)

    def _micro_batches(self, samples: Sequence[Sample]) -> list[MicroBatch]:
        """Samples of similar length stand together, which wastes least padding."""
        ordered = sorted(samples, key=len)
        pieces = [ordered[start : start + self.config.micro_batch] for start in range(0, len(ordered), self.config.micro_batch)]
        return [MicroBatch(collate(piece, self.renderer, ROW_LENGTH)) for piece in pieces]

    def _scores(self, groups: Sequence[Group]) -> Scores:
        if not self._scorers:
            return {}
        members = [trajectory for group in groups for trajectory in group]
        samples = [self._sample(trajectory, number, IMITATION) for trajectory in members for number in range(len(trajectory.steps))]
        found: dict[str, Any] = {
            name: scorer.values(samples) if name == "values" else scorer.logprobs(samples) for name, scorer in self._scorers.items()
        }
        return _by_trajectory(members, found)


def _teaches(sample: Sample) -> bool:
    """Whether a sample has a gradient: advantages of 0 alone have none."""
    values, kinds = np.isfinite(sample.field("returns")), sample.field("w_ce").any() or sample.field("w_kl").any()
    return bool(kinds or values.any() or (sample.field("w_pg") * sample.field("advantages")).any())


def _by_trajectory(members: Sequence[Trajectory], found: dict[str, Any]) -> Scores:
    scores, start = {}, 0
    for trajectory in members:
        end = start + len(trajectory.steps)
        scores[trajectory.id] = [ReplyScores(**{name: values[i] for name, values in found.items()}) for i in range(start, end)]
        start = end
    return scores
