"""One process that learns from preferences: the policy, its trainer, and what the reference says about every example."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stepladder.algos.credit import IMITATION, Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.compare.replies import of_pairs as of_pairs_apart
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.forward import banned_ids
from stepladder.models.lora import add_adapters
from stepladder.run import Run
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.example_loop import learn_from_examples, mean_over_ranks
from stepladder.stages.local_policy import check_vocabulary, load_policy
from stepladder.stages.memory_check import FirstUpdate, Savings
from stepladder.stages.prefer_config import PreferConfig
from stepladder.stages.preference_examples import (
    Asked,
    Example,
    Measured,
    divergence_parts,
    estimated_divergence,
    of_pairs,
    of_replies,
    slopes,
)
from stepladder.stages.preference_pairs import TooFewPairs, held_back, read_pairs, read_replies
from stepladder.stages.sft_setup import HEAD_FILE
from stepladder.train.batch import collate
from stepladder.train.devices import device_of, loading_device
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import Schedule
from stepladder.train.parallel import gather
from stepladder.train.precision import gathered_type
from stepladder.train.sample import Sample, from_reply, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.train.shard import gathered, shard
from stepladder.train.trainer import Trainer
from stepladder.types import IntArray

#: Tokens in a packed row of replies.
ROW_LENGTH = 512
#: What this stage can do to need less memory.
SAVINGS = Savings()


class PreferenceLearner:
    """The policy, its trainer, and what the reference says about every example. One of the processes that learn together."""

    def __init__(self, rank: int, world: int, config: PreferConfig) -> None:
        self.rank, self.world, self.config = rank, world, config
        images = ImageStore(config.output / "images")
        device = device_of(config.device)
        self.model, self.renderer = load_policy(config.checkpoint, images, loading_device(device, config.shard))
        add_adapters(self.model, config.lora, config.seed)
        self.sharded = shard(self.model, device, gathered_type(config.bf16)) if config.shard else None
        if config.loss == "kto":
            replies = read_replies(config.output) if config.unpaired else of_pairs_apart(read_pairs(config.output))
            self.training = of_replies([one for one in replies if not held_back(one)])
            self.validation = of_replies([one for one in replies if held_back(one)])
        else:
            pairs = read_pairs(config.output)
            self.training = of_pairs([pair for pair in pairs if not held_back(pair)])
            self.validation = of_pairs([pair for pair in pairs if held_back(pair)])
        if len(self.training) < world:
            found = len(self.training) + len(self.validation)
            raise TooFewPairs(f"runs: {len(self.training)} pairs to train on are too few for {world} ranks; {found} were found")
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
            sharded=self.sharded,
            activation_checkpointing=config.activation_checkpointing,
        )
        halved = f"micro_batch={config.micro_batch // 2}" if config.micro_batch > 3 else ""
        self.check_memory = FirstUpdate(config.check_memory, replace(SAVINGS, halved=halved))
        self.scorer = Scorer(self.model, self.renderer, 1.0, banned, config.bf16, chunk=config.micro_batch, sharded=self.sharded)
        # before any weight changes: what a state brings is loaded later
        self.reference = {"training": self._reference(self.training), "validation": self._reference(self.validation)}

    def train(self, run: Run | None, show: bool) -> None:
        """Go on from the last state until every example came up often enough; rank 0 has the `run`."""
        config = self.config
        learn_from_examples(
            self,
            "prefer",
            run,
            config.output / ("state" if config.shard else "state.pt"),
            seed=config.seed,
            batch=self.batch,
            count=len(self.training),
            score_every=config.score_every,
            save_every=config.save_every,
            show=show,
        )

    def update(self, drawn: Sequence[int]) -> dict[str, float]:
        """One optimizer step from the training examples of these numbers, of which this rank takes its part; all get the same."""
        examples = [self.training[number] for number in drawn[self.rank :: self.world]]
        measured = self._measured(examples, self.reference["training"][:, list(drawn[self.rank :: self.world])])
        advantages, metrics = slopes(self.config, measured, self._divergence(measured))
        share = 1.0 / len(drawn)
        samples = [
            self._sample(asked, Credit(pg=1.0, advantage=float(advantage) * share))
            for example, column in zip(examples, advantages.T.tolist(), strict=True)
            for asked, advantage in zip((example.first, example.second), column, strict=False)
        ]
        micro_batches = self._micro_batches(samples)
        self.check_memory(self.trainer, micro_batches)
        found = self.trainer.step(micro_batches)
        return {**mean_over_ranks(metrics, len(examples)), "grad_norm": found["grad_norm"], "rate": found["rate"]}

    def score(self) -> dict[str, float]:
        """The loss and its metrics on the examples that are held back; empty where none is."""
        if not self.validation:
            return {}
        mine = list(range(len(self.validation)))[self.rank :: self.world]
        measured = self._measured([self.validation[number] for number in mine], self.reference["validation"][:, mine])
        divergence, metrics = self._divergence(measured), dict[str, Tensor]()
        if mine:
            _, metrics = slopes(self.config, measured, divergence)
        return {f"held_out_{name}": value for name, value in mean_over_ranks(metrics, len(mine)).items()}

    def export(self) -> None:
        """Write a Hugging Face directory, whole or not at all; all ranks must call it."""
        config = self.config
        state = gathered(self.model.state_dict()) if config.shard else None
        if self.rank:
            return
        partial_, final = config.output / "checkpoint.partial", config.output / "checkpoint"
        shutil.rmtree(partial_, ignore_errors=True)
        save_checkpoint(partial_, self.model, self.renderer.processor, state)
        AgentOptions.of_checkpoint(config.checkpoint).save(partial_)
        if (config.checkpoint / HEAD_FILE).exists():
            shutil.copyfile(config.checkpoint / HEAD_FILE, partial_ / HEAD_FILE)
        shutil.rmtree(final, ignore_errors=True)
        partial_.replace(final)

    def _reference(self, examples: Sequence[Example]) -> Tensor:
        """float64[2, examples]; every rank scores its part. Nothing is scored for a loss that has no reference."""
        everything = torch.zeros(2, len(examples), dtype=torch.float64)
        if self.config.loss == "simpo":
            return everything
        for rank, part in enumerate(gather(self._logprobs(examples[self.rank :: self.world]))):
            everything[:, rank :: self.world] = part
        return everything

    def _measured(self, examples: Sequence[Example], reference: Tensor) -> Measured:
        """Under the present weights; `reference` float64[2, examples]."""
        lengths = [len(self._tokens(asked)) for example in examples for asked in (example.first, example.second)]
        return Measured(
            self._logprobs(examples),
            reference,
            torch.tensor(lengths, dtype=torch.float64).reshape(-1, 2).T,
            torch.tensor([bool(example.good) for example in examples], dtype=torch.bool),
        )

    def _divergence(self, measured: Measured) -> float:
        """KTO's, over the examples of all ranks; 0 for other losses."""
        return estimated_divergence(gather(divergence_parts(measured))) if self.config.loss == "kto" else 0.0

    def _logprobs(self, examples: Sequence[Example]) -> Tensor:
        """float64[2, examples]: of the first replies and of the second ones, under the present weights."""
        samples = [self._sample(asked, IMITATION) for example in examples for asked in (example.first, example.second)]
        sums = [float(scores.astype(float).sum()) for scores in self.scorer.logprobs(samples)]
        return torch.tensor(sums, dtype=torch.float64).reshape(-1, 2).T

    def _tokens(self, asked: Asked) -> IntArray:
        return self.renderer.reply(asked.reply.text) if asked.reply.tokens is None else asked.reply.tokens

    def _sample(self, asked: Asked, credit: Credit) -> Sample:
        tokens = self._tokens(asked)
        check_vocabulary(self.config.checkpoint, self.renderer, tokens, asked.prompt.tokens, asked.key)
        prompt, messages = asked.prompt.tokens, asked.prompt.messages
        spans = None if prompt is None else asked.prompt.image_spans
        return from_reply(self.renderer, messages, tokens, prompt=prompt, spans=spans, credit=credit, key=asked.key)

    def _micro_batches(self, samples: Sequence[Sample]) -> list[MicroBatch]:
        """Samples of similar length stand together, which wastes least padding; the two replies to a prompt share it."""
        ordered, size = sorted(share_prompts(samples), key=len), max(1, self.config.micro_batch // 2)
        pieces = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        return [MicroBatch(collate(piece, self.renderer, ROW_LENGTH)) for piece in pieces]
