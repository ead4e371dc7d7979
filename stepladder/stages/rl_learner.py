"""The learning half of an RL update: from groups of trajectories to changed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos.algorithm import GroupCredit, ReplyScores, Scores, reply_lengths
from stepladder.algos.credit import IMITATION, Credit
from stepladder.algos.explained import explained_variance
from stepladder.algos.overlong import without_cut_off
from stepladder.algos.sdpo import Sdpo
from stepladder.algos.whitening import whitened
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent
from stepladder.models.forward import banned_ids
from stepladder.models.heads import ValueHead, own_trunk
from stepladder.models.lora import add_adapters
from stepladder.rewards.combine import WeightedReward
from stepladder.rollout.perplexity import geometric_mean, worth_learning
from stepladder.stages.local_policy import load_policy
from stepladder.stages.memory_check import FirstUpdate, Savings
from stepladder.stages.reward_scores import GroupScorer, load_reward_model
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_stability import Stability
from stepladder.stages.rl_teacher import Lesson, SelfTeacher, teacher_scorer
from stepladder.train.batch import collate
from stepladder.train.devices import device_of, loading_device
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import Schedule
from stepladder.train.precision import gathered_type
from stepladder.train.sample import Sample, from_step, merge_turns, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.train.self_judging import judging_samples
from stepladder.train.shard import shard
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.types import Group, Trajectory

#: Tokens in a packed row of replies.
ROW_LENGTH = 512


def savings(config: RlConfig) -> Savings:
    """What this stage can do to need less memory."""
    return Savings() if config.divisible else Savings(shard="")


class Learner:
    """The model, its trainer, and whoever else has a say: a critic, the reference policy, a teacher."""

    def __init__(self, config: RlConfig, agent: Agent, images: ImageStore) -> None:
        self.config, self.agent = config, agent
        self.device = device_of(config.device)
        self.model, self.renderer = load_policy(config.checkpoint, images, loading_device(self.device, config.shard))
        add_adapters(self.model, config.lora, config.seed)
        self.sharded = shard(self.model, self.device, gathered_type(config.bf16)) if config.shard else None
        self.algorithm = config.algo
        banned = banned_ids(self.model, self.renderer)
        self.reward = WeightedReward(config.rewards, config.reward_options) if config.rewards else None
        self.scored = self._reward_model(images)
        critic = self._critic() if "values" in self.algorithm.needs else None
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
            sharded=self.sharded,
            activation_checkpointing=config.activation_checkpointing,
        )
        halved = f"micro_batch={config.micro_batch // 2}" if config.micro_batch > 1 else ""
        first = not dist.is_initialized() or dist.get_rank() == 0
        self.check_memory = FirstUpdate(config.check_memory, replace(savings(config), halved=halved), first)
        self._scorers: dict[str, Scorer] = {}
        #: The explained variance of the critic's answers in every update so far.
        self.explained: list[float] = []
        if critic is not None:
            self._scorers["values"] = self._scorer(self.model, critic)
        if "reference" in self.algorithm.needs:
            self._scorers["reference"] = self._scorer(load_policy(config.checkpoint, images, self.device)[0])
        reference = self._scorers.get("reference")
        self.stability = Stability(self.algorithm, self.model, None if reference is None else reference.model)
        if "teacher" in self.algorithm.needs:
            self._scorers["teacher"] = self._checkpoint_teacher(images)
        self.teacher = self._distributions(self.algorithm, images) if isinstance(self.algorithm, Sdpo) else None

    def _checkpoint_teacher(self, images: ImageStore) -> Scorer:
        config = self.config
        assert config.teacher is not None
        teacher, its = load_policy(config.teacher, images, self.device)
        if not its.reads_alike(self.renderer):
            raise ConfigError(
                f"teacher: {config.teacher} has another vocabulary or other visual tokens than {config.checkpoint}; "
                "its log-probabilities would be those of other tokens"
            )
        return self._scorer(teacher)

    def _distributions(self, algorithm: Sdpo, images: ImageStore) -> SelfTeacher:
        """Whoever teaches by whole distributions; a checkpoint that does need not be asked for log-probabilities, too."""
        start = self._scorers.pop("teacher", None)
        if algorithm.teacher == "trust-region":
            # A reference that moves along is not where the run started from.
            fixed = None if algorithm.reference_refresh else self._scorers.get("reference")
            start = fixed or self._scorer(load_policy(self.config.checkpoint, images, self.device)[0])
        student = self._scorer(self.model)
        return SelfTeacher(algorithm, student, teacher_scorer(algorithm, student, start), self.renderer, self.config.output)

    def _reward_model(self, images: ImageStore) -> GroupScorer | None:
        """Whoever gives the term "model"; it stays what it is while the policy learns."""
        settings = self.config.reward_model
        if settings.checkpoint is None:
            return None
        model = load_reward_model(settings.checkpoint, images, self.config.bf16, self.config.micro_batch)
        return GroupScorer(model, settings.aggregate, self.renderer)

    def _critic(self) -> ValueHead:
        kind = getattr(self.algorithm, "critic", "head")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return ValueHead(
                self.model.config.text_config.hidden_size,
                shared=kind == "shared",
                trunk=own_trunk(self.model) if kind == "separate" else None,
            )

    def _scorer(self, model: Qwen3VLForConditionalGeneration, critic: ValueHead | None = None) -> Scorer:
        return Scorer(
            model.eval(),
            self.renderer,
            temperature=self.config.temperature,
            banned=banned_ids(model, self.renderer),
            autocast=self.config.bf16,
            critic=critic,
            chunk=self.config.micro_batch,
            sharded=self.sharded if model is self.model else None,
        )

    def with_terms(self, group: Group) -> Group:
        """The group with the terms of the configured rewards in `parts`. A trajectory that has no grade gets none."""
        if self.reward is None:
            return group
        group = group if self.scored is None else self.scored(group)
        terms = self.reward(group)
        return [replace(one, parts={**one.parts, **its}) for one, its in zip(group, terms, strict=True)]

    def wants_again(self, trajectory: Trajectory) -> bool:
        """Whether a past success may be learned again, by how probable its tokens are to the present policy."""
        bounds = self.config.replay_probability
        return bounds is None or worth_learning(self.probability(trajectory), bounds)

    def probability(self, trajectory: Trajectory) -> float:
        """The geometric mean of the probabilities that the present policy gives the sampled tokens of an episode, at the
        temperature of sampling; NaN where none was sampled."""
        lengths = reply_lengths(trajectory)
        samples = [self._sample(trajectory, number, IMITATION) for number, length in enumerate(lengths) if length]
        return geometric_mean(self._scorer(self.model).logprobs(samples))

    def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """One batch: `algorithm.updates` optimizer steps, to which every rank brings its groups. When no rank has anything to
        learn from, nothing changes, not even the optimizer's memory, and the answer is empty."""
        credits = self._credits(groups)
        figures = explained_variance(credits, self.trainer.sum_over_ranks) if "values" in self._scorers else {}
        explained = list(figures.values())
        update = self.trainer.step_count // self.algorithm.updates
        turns, told = self._turns(groups, credits, update)
        if self.teacher is not None:
            told = self.trainer.sum_over_ranks(told)
            figures |= {"divergence": told["divergence"] / max(1.0, told["tokens"]), "taught_tokens": told["tokens"]}
        figures |= self._shares(groups)
        samples = _shared(turns)
        if self.config.self_judging.per_group:
            samples += judging_samples(self.renderer, groups, self.config.self_judging, f"{self.config.seed} {update}")
        if not self.trainer.sum_over_ranks({"n": float(sum(map(_teaches, samples)))})["n"]:
            return {}
        micro_batches = self._micro_batches(samples)
        self.check_memory(self.trainer, micro_batches, self._others())
        if self.algorithm.updates > 1:
            more = self.trainer.more_passes(len(micro_batches))
            for micro_batch in micro_batches:
                micro_batch.old_logprobs = self.trainer.logprobs(micro_batch.batch)
            for _ in range(more):
                self.trainer.take_part()
        weights = self.stability.weights(self.algorithm.loss_weights(update, self.explained))
        if self.config.self_judging.per_group:
            weights = {**weights, "ce": self.config.self_judging.weight}
        self.trainer.weights = LossWeights(**weights)
        self.explained += explained
        metrics = dict(figures)
        for _ in range(self.algorithm.updates):
            for name, value in self.trainer.step(micro_batches).items():
                metrics[name] = metrics.get(name, 0.0) + value / self.algorithm.updates
        if self.teacher is not None:
            self.teacher.updated()
        return metrics | self.stability.updated(update + 1, metrics)

    def _others(self) -> float:
        """Bytes of the models that do not learn."""
        models = {id(one.model): one.model for one in self._scorers.values() if one.model is not self.model}
        if self.teacher is not None and self.teacher.model is not self.model:
            models[id(self.teacher.model)] = self.teacher.model
        return float(sum(p.numel() * p.element_size() for model in models.values() for p in model.parameters()))

    def _shares(self, groups: Sequence[Group]) -> dict[str, float]:
        shares = self.algorithm.shares(groups)
        parts = {f"{name} {i}": value for name, pair in shares.items() for i, value in enumerate(pair)}
        total = self.trainer.sum_over_ranks(parts) if parts else {}
        return {name: total[f"{name} 0"] / max(1.0, total[f"{name} 1"]) for name in shares}

    def progress(self) -> dict[str, Any]:
        """Everything that an exact continuation needs but the weights and the optimizer's memory."""
        teacher = {} if self.teacher is None else self.teacher.state()
        return {**self.trainer.progress(), **self.stability.state(), **teacher, "explained": list(self.explained)}

    def state(self) -> dict[str, Any]:
        """Everything that an exact continuation needs, of a model that is not divided among ranks."""
        return {**self.trainer.state(), **self.progress()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.trainer.load_state(state)
        self.load_progress(state)

    def load_progress(self, state: Mapping[str, Any]) -> None:
        """Continue where `progress` was taken, with weights that are those of then already."""
        self.trainer.load_progress(state)
        self.stability.load_state(state)
        if self.teacher is not None:
            self.teacher.load_state(state)
        self.explained = list(state["explained"])

    def _credits(self, groups: Sequence[Group]) -> list[GroupCredit]:
        credits: list[GroupCredit] = self.algorithm.credit(groups, self._scores(groups)) if groups else []
        credits = without_cut_off(groups, credits) if self.algorithm.overlong_filter else credits
        return whitened(groups, credits, self.trainer.sum_over_ranks) if self.algorithm.whiten else credits

    def _turns(
        self, groups: Sequence[Group], credits: Sequence[GroupCredit], update: int
    ) -> tuple[list[list[list[Sample]]], dict[str, float]]:
        """(a sample for each turn that is learned from, by group and trajectory; what a teacher measured)."""
        turns: list[list[list[Sample]]] = []
        lessons: list[Lesson] = []
        places: list[tuple[list[Sample], int]] = []
        for group, group_credit in zip(groups, credits, strict=True):
            turns.append([])
            for trajectory, steps in zip(group, group_credit, strict=True):
                turns[-1].append([])
                for number, credit in enumerate(steps):
                    if credit.ce or credit.pg or credit.kl or credit.distill:
                        sample = self._sample(trajectory, number, credit)
                        turns[-1][-1].append(sample)
                        if credit.distill:
                            lessons.append(Lesson(trajectory.id, number, trajectory.steps[number], credit, sample))
                            places.append((turns[-1][-1], len(turns[-1][-1]) - 1))
        if self.teacher is None:
            return turns, {}
        samples, told = self.teacher.teach(lessons, update)
        for (of_trajectory, place), sample in zip(places, samples, strict=True):
            of_trajectory[place] = sample
        return turns, told

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


def _shared(turns: Sequence[Sequence[Sequence[Sample]]]) -> list[Sample]:
    """Samples in which what turns and members of a group have in common stands once."""
    return [sample for group in turns for sample in share_prompts([one for trajectory in group for one in merge_turns(trajectory)])]


def _teaches(sample: Sample) -> bool:
    """Whether a sample has a gradient: advantages of 0 alone have none."""
    values = np.isfinite(sample.field("returns"))
    return bool(
        any(sample.field(name).any() for name in ("w_ce", "w_kl", "w_distill"))
        or values.any()
        or (sample.field("w_pg") * sample.field("advantages")).any()
    )


def _by_trajectory(members: Sequence[Trajectory], found: dict[str, Any]) -> Scores:
    scores, start = {}, 0
    for trajectory in members:
        end = start + len(trajectory.steps)
        scores[trajectory.id] = [ReplyScores(**{name: values[i] for name, values in found.items()}) for i in range(start, end)]
        start = end
    return scores
