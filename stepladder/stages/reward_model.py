"""A reward model from preferences, rung 6: a score at the last token of a reply, such that preferred replies score higher.

    stepladder reward-model runs/rl --checkpoint runs/sft/checkpoint --output runs/reward-model

It learns from pairs of replies (`stepladder.compare.ranked`) and starts at a policy's checkpoint, which can read screens already.
Files of a run:

    ranked.jsonl, images/   the pairs with their origin
    state.pt                weights and optimizer every `save_every` updates
    checkpoint/             what came of it: an ordinary checkpoint, the head (reward_head.pt), and for the comparison "policies"
                            replies of the policy that it knows (references.jsonl)

`phases.json` tells the accuracy on the pairs of starts that were held back, with its interval. A run that was killed goes on from
its last state."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from stepladder.algos.objective import PolicyObjective
from stepladder.algos.preference import reply_advantages
from stepladder.algos.reward_loss import bradley_terry_loss
from stepladder.compare.forks import find_pairs
from stepladder.compare.ranked import Answer, RankedPair, of_outcomes, of_policies, of_preferences
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.forward import banned_ids
from stepladder.models.reward_head import RewardHead, RewardKind, Scale
from stepladder.run import Run
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.example_loop import learn_from_examples, mean_over_ranks
from stepladder.stages.local_policy import check_vocabulary, load_policy
from stepladder.stages.preference_pairs import (
    PAIRS_FILE,
    TooFewPairs,
    episodes_of,
    held_back,
    read_pairs,
    read_ranked,
    stores_of,
    write_ranked,
)
from stepladder.stats import success_rate
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.parallel import gather, run_ranks
from stepladder.train.precision import bfloat16_is_fast
from stepladder.train.reward_model import References
from stepladder.train.reward_sample import answer_sample, side_by_side
from stepladder.train.sample import Sample
from stepladder.train.scoring import Scorer
from stepladder.train.trainer import LossWeights, Trainer

MAY_CHANGE = ("output", "save_every", "track")
Comparison = Literal["forks", "episodes", "policies"]
#: Tokens in a packed row of answers.
ROW_LENGTH = 512


@dataclass(frozen=True)
class RewardModelConfig:
    """`runs` are directories with episodes, or stores (.jsonl) beside `images/`; `compare` says what of them is compared: the
    replies at which successes and failures part ("forks", `per_start` successes for each failure), the last replies of successes
    and failures ("episodes", `per_start` pairs of each start), or replies of policies ("policies": each of `runs` is those of
    one, the first the one that scores are about, `per_start` triples of each prompt and policy). `pairs` are directories of
    `stepladder prefer`, whose pairs are learned from too, such as those that people have chosen.

    `checkpoint` is where training starts. The score of the preferred answer is to be ahead by `margin`; `label_smoothing` is the
    share of pairs that are taken to be labelled the wrong way round, `centre` draws scores to 0 (`algos.reward_loss`). `epochs`,
    `batch` and the settings after them are as in `stages.prefer_config.PreferConfig`."""

    runs: tuple[Path, ...] = (Path("runs/rl"),)
    pairs: tuple[Path, ...] = ()
    checkpoint: Path = Path("runs/rl/checkpoint")
    output: Path = Path("runs/reward-model")
    seed: int = 0
    compare: Comparison = "forks"
    per_start: int = 1
    margin: float = 0.0
    label_smoothing: float = 0.0
    centre: float = 0.01
    epochs: int = 2
    batch: int = 32
    micro_batch: int = 32
    ranks: int = 2
    bf16: bool = field(default_factory=bfloat16_is_fast)
    train: tuple[str, ...] = ("model.language_model",)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4, adam_lr=1e-4))
    warmup: int = 5
    decay: float = 0.3
    score_every: int = 10
    save_every: int = 20
    track: tuple[str, ...] = ()

    @property
    def kind(self) -> RewardKind:
        """How the model is asked."""
        return "policy" if self.compare == "policies" else "bradley-terry"

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("per_start", "epochs", "batch", "micro_batch", "ranks", "score_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch < self.ranks:
            raise ConfigError(f"batch is {self.batch}; {self.ranks} ranks need at least a pair each")
        if self.compare not in get_args(Comparison):
            raise ConfigError(f"compare is {self.compare!r}; it must be one of {', '.join(get_args(Comparison))}")
        for name in ("margin", "centre"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it must be at least 0 and below 0.5")
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}; it is a share of the updates, 0 to 1")
        if not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory")
        if self.compare == "policies" and (len(self.runs) < 2 or self.pairs):
            raise ConfigError(
                f"compare=policies needs two runs or more, each of another policy, and no pairs; runs is {self.runs!r}"
            )
        if not self.runs and not self.pairs:
            raise ConfigError("runs and pairs are empty; give a directory of one of them")
        for path in self.runs:
            if not stores_of(path):
                raise ConfigError(f"runs: {path} holds no episodes; give a run's directory or a store (.jsonl)")
        for path in self.pairs:
            if not (path / PAIRS_FILE).exists():
                raise ConfigError(f"pairs: {path} has no {PAIRS_FILE}; `stepladder prefer` makes it")


def main(config: RewardModelConfig, show: bool = True) -> Path:
    """Make the pairs, train, and return the checkpoint directory. Raises ConfigError, also where there is no pair."""
    config.check()
    with _open_run(config) as run:
        with run.phase("pairs") as phase:
            if not phase.done:
                ranked, left_out = _ranked(config)
                write_ranked((*config.runs, *config.pairs), config.output, ranked, left_out)
                phase.result |= {"pairs": len(ranked), "left_out": dict(left_out)}
        done = run.phase("train").done
    if not done:
        run_ranks(_train, config.ranks, config, show)
    return config.output / "checkpoint"


def _ranked(config: RewardModelConfig) -> tuple[list[RankedPair], Counter[str]]:
    if config.compare == "policies":
        return of_policies([episodes_of([run]) for run in config.runs], config.per_start, config.seed)
    ranked = of_preferences(pair for path in config.pairs for pair in read_pairs(path))
    if config.compare == "episodes":
        found, left_out = of_outcomes(episodes_of(config.runs), config.per_start, config.seed)
        return [*ranked, *found], left_out
    agent = AgentOptions.of_checkpoint(config.checkpoint).build()
    forks = find_pairs(episodes_of(config.runs), agent, per_failure=config.per_start)
    return [*ranked, *of_preferences(forks.pairs)], forks.left_out


def _open_run(config: RewardModelConfig) -> Run:
    return Run(
        config.output,
        config,
        seeds={"reward-model": config.seed},
        may_change=MAY_CHANGE,
        trackers=config.track,
        defaults=RewardModelConfig(),
    )


def _train(rank: int, world: int, config: RewardModelConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    try:
        with run.phase("train") if run is not None else nullcontext() as phase:
            learner = RewardLearner(rank, world, config)
            learner.train(run, show)
            scale, accuracy = learner.scale(), learner.accuracy()
            if phase is not None:
                phase.result |= {"scale": asdict(scale), **accuracy}
                learner.export(scale)
    finally:
        if run is not None:
            run.close()


class RewardLearner:
    """The model with its head, and its trainer. One of the processes that learn together."""

    def __init__(self, rank: int, world: int, config: RewardModelConfig) -> None:
        self.rank, self.world, self.config = rank, world, config
        self.model, self.renderer = load_policy(config.checkpoint, ImageStore(config.output / "images"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.head = RewardHead(self.model.config.text_config.hidden_size).to(self.model.device)
        pairs = read_ranked(config.output)
        self.training = [pair for pair in pairs if not held_back(pair)]
        self.validation = [pair for pair in pairs if held_back(pair)]
        if len(self.training) < world:
            raise TooFewPairs(
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
            weights=LossWeights(ce=0.0, pg=0.0, kl=0.0, value=1.0),
            trainable=(*config.train, "critic"),
            autocast=config.bf16,
            objective=PolicyObjective(kind="reinforce", aggregation="token-sum", correction=None, value_slopes=True),
            critic=self.head,
            banned=banned,
        )
        self.scorer = Scorer(self.model, self.renderer, 1.0, banned, config.bf16, self.head, chunk=config.micro_batch)

    def train(self, run: Run | None, show: bool) -> None:
        """Go on from the last state until every pair came up often enough; rank 0 has the `run`."""
        config = self.config
        learn_from_examples(
            self,
            "reward-model",
            run,
            config.output / "state.pt",
            seed=config.seed,
            batch=self.batch,
            count=len(self.training),
            score_every=config.score_every,
            save_every=config.save_every,
            show=show,
        )

    def update(self, drawn: Sequence[int]) -> dict[str, float]:
        """One optimizer step from the training pairs of these numbers, of which this rank takes its part; all get the same."""
        pairs = [self.training[number] for number in drawn[self.rank :: self.world]]
        good, bad, metrics = reply_advantages(self._loss, *self.scores(pairs))
        # the trainer's loss is a mean over the answers, of which every pair has two; that of the pairs is one over these
        samples = [
            sample
            for pair, *advantages in zip(pairs, good.tolist(), bad.tolist(), strict=True)
            for sample in side_by_side([self._sample(pair, number, -2.0 * slope) for number, slope in enumerate(advantages)])
        ]
        found = self.trainer.step(self._micro_batches(samples))
        return {**mean_over_ranks(metrics, len(pairs)), "grad_norm": found["grad_norm"], "rate": found["rate"]}

    def score(self) -> dict[str, float]:
        """The loss and its metrics on the pairs that are held back; empty where none is."""
        if not self.validation:
            return {}
        mine = self.validation[self.rank :: self.world]
        metrics: dict[str, Tensor] = {}
        if mine:
            losses, measured = self._loss(*self.scores(mine))
            metrics = {"loss": losses.mean(), **measured}
        return {f"held_out_{name}": value for name, value in mean_over_ranks(metrics, len(mine)).items()}

    def scores(self, pairs: Sequence[RankedPair]) -> tuple[Tensor, Tensor]:
        """Raw scores float64[pairs] of the preferred answers, and of the others, under the present weights."""
        samples = [self._sample(pair, number) for pair in pairs for number in range(2)]
        found = [float(values[0]) for values in self.scorer.values(samples)]
        chosen, rejected = torch.tensor(found, dtype=torch.float64).reshape(-1, 2).T
        return chosen, rejected

    def accuracy(self) -> dict[str, float]:
        """The share of pairs held back in which the preferred answer scores higher, with its interval; empty where none is."""
        if not self.validation:
            return {}
        chosen, rejected = self.scores(self.validation[self.rank :: self.world])
        hits = sum(gather(int((chosen > rejected).sum())))
        starts = len({(pair.task, pair.seed) for pair in self.validation})
        rate = success_rate(hits, len(self.validation), starts=starts)
        return {"accuracy": rate.rate or 0.0, "low": rate.low, "high": rate.high, "n": rate.n, "starts": starts}

    def scale(self) -> Scale:
        """Of the answers that it was trained on."""
        mine = self.scores(self.training[self.rank :: self.world])
        raw = torch.cat([part for rank in gather(mine) for part in rank])
        mean, deviation = float(raw.mean()), max(float(raw.std(correction=0)), 1e-6)
        return Scale(mean, deviation, (float(raw.min()) - mean) / deviation)

    def export(self, scale: Scale) -> None:
        """Write the checkpoint with its head, whole or not at all."""
        config = self.config
        partial, final = config.output / "checkpoint.partial", config.output / "checkpoint"
        shutil.rmtree(partial, ignore_errors=True)
        save_checkpoint(partial, self.model, self.renderer.processor)
        AgentOptions.of_checkpoint(config.checkpoint).save(partial)
        self.head.save(partial, config.kind, scale)
        if config.kind == "policy":
            references = References()
            for one in episodes_of(config.runs[:1]):
                for step in one.steps:
                    if step.prompt is not None and step.completion is not None and step.completion.finish != "abort":
                        references.add(one.task.id, step.prompt, step.completion.text)
            references.save(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)

    def _loss(self, chosen: Tensor, rejected: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        return bradley_terry_loss(chosen, rejected, config.margin, config.label_smoothing, config.centre)

    def _sample(self, pair: RankedPair, number: int, slope: float = 0.0) -> Sample:
        answer: Answer = (pair.chosen, pair.rejected)[number]
        key, reply = f"{answer.source}/{answer.step}", answer.reply
        if reply.tokens is not None:
            check_vocabulary(self.config.checkpoint, self.renderer, reply.tokens, answer.prompt.tokens, key)
        return answer_sample(self.renderer, answer.prompt, reply, reference=pair.reference, slope=slope, key=key)

    def _micro_batches(self, samples: Sequence[Sample]) -> list[MicroBatch]:
        """Samples of similar length stand together, which wastes least padding."""
        ordered, size = sorted(samples, key=len), max(1, self.config.micro_batch // 2)
        pieces = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        return [MicroBatch(collate(piece, self.renderer, ROW_LENGTH)) for piece in pieces]
