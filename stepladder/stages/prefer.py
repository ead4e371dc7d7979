"""Preference optimisation on forks, rung 12 (DPO on the steps at which successes and failures part: EvoCUA, arXiv 2601.15876).

    stepladder prefer runs/rl --checkpoint runs/rl/checkpoint --output runs/prefer

Pairs of replies are made from the stored episodes (`stepladder.compare.forks`), and the policy learns to prefer one of each, held
near the checkpoint that it starts from. Files of a run:

    pairs.jsonl, images/   the pairs with their origin, for `stepladder pairs`
    state.pt               weights and optimizer every `save_every` updates
    checkpoint/            what came of it

A run that was killed goes on from its last state.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from stepladder.algos.credit import IMITATION, Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.algos.preference import PairLoss, dpo_loss, reply_advantages
from stepladder.compare.forks import PairKind, PreferencePair
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention
from stepladder.models.checkpoint import save_checkpoint
from stepladder.policies.decoder import banned_ids
from stepladder.progress import Progress
from stepladder.run import Run
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import load_policy
from stepladder.stages.preference_pairs import PAIRS_FILE, held_back, read_pairs, stores_of, write_pairs
from stepladder.stages.sft_setup import HEAD_FILE
from stepladder.train.batch import collate
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.parallel import gather, run_ranks
from stepladder.train.sample import Sample, from_reply, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.train.trainer import MicroBatch, Trainer, save_state
from stepladder.types import Completion

MAY_CHANGE = ("output", "save_every", "track")
#: Tokens in a packed row of replies.
ROW_LENGTH = 512


@dataclass(frozen=True)
class PreferConfig:
    """`runs` are directories with episodes (`rollouts-*.jsonl` or `trajectories.jsonl`, and `images/`), or stores (.jsonl) beside
    `images/`. `kinds` of pairs are made, from each failure with the `per_failure` successes that part from it last.

    `checkpoint` is where training starts and the reference. `beta` holds the policy near it, `label_smoothing` is the share of
    pairs that are taken to be labelled the wrong way round. An update learns from `batch` pairs over all `ranks`, in pieces of
    `micro_batch` replies; every pair comes up `epochs` times. Parameters whose names begin with one of `train` learn. The
    learning rate rises over the first `warmup` updates and falls over the last share `decay` of all. One start in ten is held
    back, whose pairs are scored every `score_every` updates."""

    runs: tuple[Path, ...] = (Path("runs/rl"),)
    checkpoint: Path = Path("runs/rl/checkpoint")
    output: Path = Path("runs/prefer")
    seed: int = 0
    kinds: tuple[PairKind, ...] = ("correction", "reflection")
    per_failure: int = 1
    beta: float = 0.1
    label_smoothing: float = 0.0
    epochs: int = 2
    batch: int = 32
    micro_batch: int = 32
    ranks: int = 2
    bf16: bool = True
    train: tuple[str, ...] = ("model.language_model",)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4, adam_lr=1e-4))
    warmup: int = 5
    decay: float = 0.3
    score_every: int = 10
    save_every: int = 20
    track: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("per_failure", "epochs", "batch", "micro_batch", "ranks", "score_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch < self.ranks:
            raise ConfigError(f"batch is {self.batch}; {self.ranks} ranks need at least a pair each")
        if not self.kinds or not set(self.kinds) <= {"correction", "reflection"}:
            raise ConfigError(f"kinds is {self.kinds!r}; it must name 'correction', 'reflection' or both")
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}; it is a share of the updates, 0 to 1")
        if not math.isfinite(self.beta) or self.beta <= 0:
            raise ConfigError(f"beta is {self.beta}; it must be above 0")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it must be at least 0 and below 0.5")
        if not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory")
        for path in self.runs:
            if not stores_of(path):
                raise ConfigError(f"runs: {path} holds no episodes; give a run's directory or a store (.jsonl)")


def main(config: PreferConfig, show: bool = True) -> Path:
    """Make the pairs, train, and return the exported checkpoint directory. Raises ConfigError, also where there is no pair."""
    config.check()
    with _open_run(config) as run:
        with run.phase("pairs") as phase:
            if not phase.done:
                agent = AgentOptions.of_checkpoint(config.checkpoint).build()
                count, left_out = write_pairs(config.runs, config.output, agent, config.kinds, config.per_failure)
                phase.result |= {"pairs": count, "left_out": dict(left_out)}
        done = run.phase("train").done
    if not done:
        run_ranks(_train, config.ranks, config, show)
    return config.output / "checkpoint"


def _open_run(config: PreferConfig) -> Run:
    return Run(
        config.output,
        config,
        seeds={"prefer": config.seed},
        may_change=MAY_CHANGE,
        trackers=config.track,
        defaults=PreferConfig(),
    )


def _train(rank: int, world: int, config: PreferConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    try:
        with run.phase("train") if run is not None else nullcontext():
            learner = PreferenceLearner(rank, world, config)
            learner.train(run, show)
            if run is not None:
                learner.export()
    finally:
        if run is not None:
            run.close()


class PreferenceLearner:
    """The policy, its trainer, and what the reference says about every pair. One of the processes that learn together."""

    def __init__(self, rank: int, world: int, config: PreferConfig) -> None:
        self.rank, self.world, self.config = rank, world, config
        images = ImageStore(config.output / "images")
        self.model, self.renderer = load_policy(config.checkpoint, images)
        use_attention(self.model)
        pairs = read_pairs(config.output / PAIRS_FILE)
        self.training = [pair for pair in pairs if not held_back(pair)]
        self.validation = [pair for pair in pairs if held_back(pair)]
        if len(self.training) < world:
            raise ConfigError(
                f"runs: {len(self.training)} pairs to train on are too few for {world} ranks; {len(pairs)} were found"
            )
        self.batch = min(config.batch, len(self.training))
        self.updates = max(1, len(self.training) * config.epochs // self.batch)
        banned = banned_ids(self.model, self.renderer)
        self.trainer = Trainer(
            model=self.model,
            head=None,
            schedule=Schedule(self.updates, config.warmup, config.decay),
            optimizer=config.optimizer,
            trainable=config.train,
            autocast=config.bf16,
            objective=PolicyObjective(kind="reinforce", aggregation="token-sum", correction=None),
            banned=banned,
        )
        self.scorer = Scorer(self.model, self.renderer, 1.0, banned, config.bf16, chunk=config.micro_batch)
        # before any weight changes: what a state brings is loaded later
        self.reference = {"training": self._reference(self.training), "validation": self._reference(self.validation)}

    def train(self, run: Run | None, show: bool) -> None:
        """Go on from the last state until every pair came up often enough; rank 0 has the `run`."""
        config, state = self.config, self.config.output / "state.pt"
        if state.exists():
            self.trainer.load_state(torch.load(state, weights_only=True))
        with Progress("prefer", self.updates, show=show and run is not None) as progress:
            if self.trainer.step_count == 0:
                self._log(run, 0, self.score())
            while self.trainer.step_count < self.updates:
                figures = self.update(self._drawn(self.trainer.step_count))
                step = self.trainer.step_count
                if step % config.score_every == 0 or step == self.updates:
                    figures |= self.score()
                self._log(run, step, figures)
                if run is not None:
                    progress.update(step, self.updates, {name: figures[name] for name in ("loss", "accuracy", "margin")})
                    if step % config.save_every == 0:
                        save_state(state, self.trainer.state())

    def update(self, drawn: Sequence[int]) -> dict[str, float]:
        """One optimizer step from the training pairs of these numbers, of which this rank takes its part; all get the same."""
        mine = list(drawn[self.rank :: self.world])
        pairs = [self.training[number] for number in mine]
        present = self._logprobs(pairs)
        loss = self._loss(self.reference["training"][:, mine])
        chosen, rejected, metrics = reply_advantages(loss, present[0], present[1])
        share = 1.0 / len(drawn)
        samples = [
            self._sample(pair, reply, Credit(pg=1.0, advantage=float(advantage) * share))
            for pair, *advantages in zip(pairs, chosen.tolist(), rejected.tolist(), strict=True)
            for reply, advantage in zip((pair.chosen, pair.rejected), advantages, strict=True)
        ]
        found = self.trainer.step(self._micro_batches(samples))
        return {**self._means(metrics, len(pairs)), "grad_norm": found["grad_norm"], "rate": found["rate"]}

    def score(self) -> dict[str, float]:
        """The loss and its metrics on the pairs that are held back; empty where none is."""
        if not self.validation:
            return {}
        mine = list(range(len(self.validation)))[self.rank :: self.world]
        present = self._logprobs([self.validation[number] for number in mine])
        metrics: Mapping[str, Tensor] = {}
        if mine:
            losses, measured = self._loss(self.reference["validation"][:, mine])(present[0], present[1])
            metrics = {"loss": losses.mean(), **measured}
        return {f"held_out_{name}": value for name, value in self._means(metrics, len(mine)).items()}

    def export(self) -> None:
        """Write a Hugging Face directory, whole or not at all."""
        config = self.config
        partial_, final = config.output / "checkpoint.partial", config.output / "checkpoint"
        shutil.rmtree(partial_, ignore_errors=True)
        save_checkpoint(partial_, self.model, self.renderer.processor)
        AgentOptions.of_checkpoint(config.checkpoint).save(partial_)
        if (config.checkpoint / HEAD_FILE).exists():
            shutil.copyfile(config.checkpoint / HEAD_FILE, partial_ / HEAD_FILE)
        shutil.rmtree(final, ignore_errors=True)
        partial_.replace(final)

    def _drawn(self, update: int) -> list[int]:
        """Numbers of the training pairs of an update: one shuffled round after another, cut into batches."""
        start, count, drawn = update * self.batch, len(self.training), list[int]()
        while len(drawn) < self.batch:
            position = start + len(drawn)
            order = Random(f"prefer {self.config.seed} {position // count}").sample(range(count), count)
            drawn += order[position % count :][: self.batch - len(drawn)]
        return drawn

    def _loss(self, reference: Tensor) -> PairLoss:
        config = self.config
        return partial(
            dpo_loss,
            ref_chosen=reference[0],
            ref_rejected=reference[1],
            beta=config.beta,
            label_smoothing=config.label_smoothing,
        )

    def _reference(self, pairs: Sequence[PreferencePair]) -> Tensor:
        """float64[2, pairs]; every rank scores its part."""
        parts = gather(self._logprobs(pairs[self.rank :: self.world]))
        everything = torch.zeros(2, len(pairs), dtype=torch.float64)
        for rank, part in enumerate(parts):
            everything[:, rank :: self.world] = part
        return everything

    def _logprobs(self, pairs: Sequence[PreferencePair]) -> Tensor:
        """float64[2, pairs]: of the preferred replies and of the rejected ones, under the present weights."""
        samples = [self._sample(pair, reply, IMITATION) for pair in pairs for reply in (pair.chosen, pair.rejected)]
        sums = [float(scores.astype(float).sum()) for scores in self.scorer.logprobs(samples)]
        return torch.tensor(sums, dtype=torch.float64).reshape(-1, 2).T

    def _sample(self, pair: PreferencePair, reply: Completion, credit: Credit) -> Sample:
        key = f"{pair.failure}/{pair.step}"
        tokens = self.renderer.reply(reply.text) if reply.tokens is None else reply.tokens
        prompt = pair.prompt.tokens
        largest = max(int(tokens.max(initial=0)), 0 if prompt is None else int(prompt.max(initial=0)))
        if largest >= self.renderer.vocabulary:
            raise ConfigError(
                f"checkpoint: {self.config.checkpoint} has {self.renderer.vocabulary} ids and {key} has id {largest}: "
                "the episodes are those of another vocabulary"
            )
        spans = None if prompt is None else pair.prompt.image_spans
        return from_reply(self.renderer, pair.prompt.messages, tokens, prompt=prompt, spans=spans, credit=credit, key=key)

    def _micro_batches(self, samples: Sequence[Sample]) -> list[MicroBatch]:
        """Samples of similar length stand together, which wastes least padding; the two replies to a prompt share it."""
        ordered, size = sorted(share_prompts(samples), key=len), max(1, self.config.micro_batch // 2)
        pieces = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        return [MicroBatch(collate(piece, self.renderer, ROW_LENGTH)) for piece in pieces]

    def _means(self, metrics: Mapping[str, Tensor], count: int) -> dict[str, float]:
        """Means over the pairs of all ranks, of which this one has `count`."""
        found = gather(({name: float(value) for name, value in metrics.items()}, count))
        total = sum(number for _, number in found)
        names = dict.fromkeys(name for each, _ in found for name in each)
        return {name: sum(each[name] * number for each, number in found if number) / total for name in names}

    def _log(self, run: Run | None, step: int, figures: dict[str, float]) -> None:
        if run is not None and figures:
            run.log(step, "prefer", **figures)
