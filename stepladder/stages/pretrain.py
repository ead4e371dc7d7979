"""Pre-training, rungs 1 to 4: core, continued with a shifted mixture, a longer context, annealing.

    stepladder pretrain --set core.steps=400 --output runs/pretrain

Files of a run:

    core/, continued/, lengthening/, annealing/   a checkpoint after each phase
    checkpoint/       that of the last phase
    weights.pt        after the last phase that is over; <phase>.state within a phase, every `save_every` updates
    metrics.jsonl     losses, tokens, and the perplexity of what is held out
    phases.json       what each phase found before and after: perplexities with intervals, needle tests

A run that was killed goes on from its last state and, on the CPU, ends with the very weights of one that was not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.lora import LoraSettings
from stepladder.progress import Progress
from stepladder.run import Run
from stepladder.stages.agent_options import FILE as AGENT_FILE
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.memory_check import FirstUpdate, Savings, check_checkpoint
from stepladder.stages.pretrain_config import AnnealingPhase, LengtheningPhase, PhaseName, PretrainConfig, PretrainPhase
from stepladder.stages.pretrain_setup import PretrainLearner, build_documents, build_pretrain_learner
from stepladder.train.averaging import Averaging, WeightAverage
from stepladder.train.contrastive import ContrastiveTrainer
from stepladder.train.devices import device_of
from stepladder.train.document_mixture import DocumentMixture
from stepladder.train.memory import Setting
from stepladder.train.mixtures import Share
from stepladder.train.needle import needle_scores
from stepladder.train.optimizer import Schedule
from stepladder.train.parallel import run_ranks
from stepladder.train.perplexity import perplexities
from stepladder.train.precision import gathered_type
from stepladder.train.scoring import Scorer
from stepladder.train.shard import shard
from stepladder.train.states import States, remove_state
from stepladder.train.trainer import LossWeights

MAY_CHANGE = ("output", "track", "save_every", "activation_checkpointing", "check_memory", "device")

#: What this stage can do to need less memory.
SAVINGS = Savings(adapters="")


def main(config: PretrainConfig, show: bool = True) -> Path:
    """Train, and return the exported checkpoint directory. Raises ConfigError for settings and corpora that cannot be."""
    config.check()
    final = config.output / "checkpoint"
    if final.exists():
        _open_run(config).close()  # refuses other settings than those of the checkpoint
    else:
        _check_memory(config)
        run_ranks(_train, config.ranks, config, show)
    return final


def _check_memory(config: PretrainConfig) -> None:
    if config.check_memory:
        averages = config.annealing.steps > 0 and config.annealing.averaging.kind != "none"
        check_checkpoint(
            config.checkpoint,
            device=device_of(config.device, config.ranks),
            optimizer=config.optimizer.kind,
            trained=config.train,
            lora=LoraSettings(),
            setting=Setting(world=config.ranks, sharded=config.shard),
            savings=SAVINGS,
            copies=int(averages),
        )


def _train(rank: int, world: int, config: PretrainConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    learner = build_pretrain_learner(config, Share(rank, world))
    done = learner.load(config.output / "weights.pt")
    if config.shard:
        learner.sharded = shard(learner.model, device_of(config.device), gathered_type(config.bf16))
    for name, phase in config.phases():
        if name in done:
            if isinstance(phase, LengtheningPhase):
                learner.lengthen(phase, phase.context)  # what is saved are weights, and these are none
            if run is not None:
                with run.phase(name) as record:  # a kill may have come between the weights and this
                    record.result |= done[name]
            continue
        training = PhaseTraining(name, phase, learner, config, run, show)
        with nullcontext() if run is None else run.phase(name) as record:
            found = training.run()
            weights = learner.weights()
            if record is not None:
                record.result |= found
                _export(learner, config, name, weights)
                done = {**done, name: dict(record.result)}
                learner.save(config.output / "weights.pt", done, weights)
                remove_state(config.output / f"{name}.state")
    weights = learner.weights()
    if run is not None:
        _export(learner, config, "checkpoint", weights)
        run.close()


class PhaseTraining:
    """One phase, from the start or from its last state; rank 0 has the `record_run`."""

    def __init__(
        self,
        name: PhaseName,
        phase: PretrainPhase,
        learner: PretrainLearner,
        config: PretrainConfig,
        run: Run | None,
        show: bool,
    ) -> None:
        self.name, self.phase, self.learner, self.config, self.record_run, self.show = name, phase, learner, config, run, show
        self.documents: DocumentMixture = build_documents(name, phase, learner, config)
        self.trainer = ContrastiveTrainer(
            model=learner.model,
            head=None,
            schedule=Schedule(phase.steps, phase.warmup, phase.decay, phase.floor),
            optimizer=replace(config.optimizer, lr=phase.lr),
            weights=LossWeights(contrastive=phase.contrastive),
            trainable=config.train,
            autocast=config.bf16,
            contrast=learner.contrast,
            sharded=learner.sharded,
            activation_checkpointing=config.activation_checkpointing,
        )
        averaging = phase.averaging if isinstance(phase, AnnealingPhase) else Averaging()
        self.average = WeightAverage(averaging, phase.steps)
        self.found: dict[str, Any] = {"documents": self.documents.documents}
        self.sums: dict[str, tuple[float, int]] = {}
        self.elapsed, self.tokens = 0.0, 0.0
        savings = replace(SAVINGS, halved=f"{name}.accumulate={2 * phase.accumulate}")
        self.check_memory = FirstUpdate(config.check_memory, savings, show and run is not None)
        self.remapped: int | None = None

    def run(self) -> dict[str, Any]:
        """Train to the end, and return what was found before and after."""
        states = States(self.trainer, self.config.output / f"{self.name}.state")
        state = states.read()
        if state is not None:
            self._load(state)
        else:
            self._measure("before")
        with Progress(self.name, self.phase.steps, show=self.show and self.record_run is not None) as progress:
            self._set_context()
            while self.trainer.step_count < self.phase.steps:
                self._set_context()
                started = time.monotonic()
                self._update()
                self.elapsed += time.monotonic() - started
                step = self.trainer.step_count
                last = step == self.phase.steps
                if self.record_run is not None:
                    progress.update(step, self.phase.steps)
                if step % self.config.score_every == 0 and not last:
                    progress.update(step, self.phase.steps, self._log())
                if step % self.config.save_every == 0 and not last:
                    states.write(self._state())
            progress.update(self.phase.steps, self.phase.steps, self._log())
        states.finish()
        self._finish()
        return self.found | {"steps": self.phase.steps, "tokens": round(self.tokens), "seconds": round(self.elapsed, 1)}

    def _update(self) -> None:
        step = self.trainer.step_count
        batches = self.documents.micro_batches(step)
        self.check_memory(self.trainer, batches)
        losses: Mapping[str, float] = {}
        if self.phase.mixing == "bandit":
            losses = self.documents.source_losses(self.trainer, batches)
        seen = self.trainer.sum_over_ranks({"tokens": sum(batch.counts()["ce"] for batch in batches)})
        figures = self.trainer.step(batches) | seen
        self.documents.learned(step, losses)
        self.average.update(step + 1, self.learner.model.state_dict())
        self.tokens += seen["tokens"]
        for name, value in figures.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def _set_context(self) -> None:
        """The context of the stage in which the next update falls."""
        if not isinstance(self.phase, LengtheningPhase):
            return
        contexts, step = self.phase.contexts, min(self.trainer.step_count, self.phase.steps - 1)
        context = contexts[step * len(contexts) // self.phase.steps]
        if context != self.remapped:
            self.documents.context = self.remapped = context
            self.learner.lengthen(self.phase, context)

    def _log(self) -> dict[str, float]:
        """Means of the figures since the last time, and the perplexities now; told to the run."""
        step = self.trainer.step_count
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        held_out = {f"perplexity/{name}": one["value"] for name, one in self._perplexities().items()}
        rate = round(self.tokens / max(self.elapsed, 1e-9))
        if self.record_run is not None:
            self.record_run.log(step, self.name, **means, **held_out, seconds=round(self.elapsed, 2), tokens_per_second=rate)
        return {"ce": means.get("ce", 0.0), "tokens/s": float(rate)}

    def _measure(self, when: str) -> None:
        """What the model makes of held-out documents and, where the context grows, of needles."""
        self.found[f"perplexity_{when}"] = self._perplexities()
        if isinstance(self.phase, LengtheningPhase):
            if when == "before":
                self.found["needle_before"] = self._needles()
                self.learner.lengthen(self.phase, self.phase.context)
                self.found["needle_remapped"] = self._needles()
                self.remapped = self.phase.context
            else:
                self.found["needle_after"] = self._needles()

    def _finish(self) -> None:
        self._measure("after")
        if self.average.weights is not None:
            self.learner.model.load_state_dict(self.average.weights)
            self.found |= {"perplexity_last_weights": self.found["perplexity_after"], "averaged": self.average.count}
            self._measure("after")

    def _perplexities(self) -> dict[str, dict[str, Any]]:
        """By source, of the corpora of this phase."""
        learner = self.learner
        held_out = {name: learner.held_out[name] for name in self.phase.sources}
        found = perplexities(
            self._scorer(), learner.renderer, held_out, self.phase.context, learner.share.rank, learner.share.world
        )
        return {name: asdict(one) for name, one in found.items()}

    def _needles(self) -> list[dict[str, Any]]:
        learner = self.learner
        found = needle_scores(self._scorer(), learner.renderer, self.config.needle, learner.share.rank, learner.share.world)
        return [asdict(score) for score in found]

    def _scorer(self) -> Scorer:
        return Scorer(self.learner.model, self.learner.renderer, autocast=self.config.bf16, sharded=self.learner.sharded)

    def _state(self) -> dict[str, Any]:
        return {
            "documents": self.documents.state(),
            "average": self.average.state(),
            "found": self.found,
            "sums": self.sums,
            "elapsed": self.elapsed,
            "tokens": self.tokens,
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self.documents.load_state(state["documents"])
        device, average = self.learner.model.device, state["average"]
        self.average.load_state({**average, "total": {name: value.to(device) for name, value in average["total"].items()}})
        self.found, self.sums = dict(state["found"]), dict(state["sums"])
        self.elapsed, self.tokens = state["elapsed"], state["tokens"]


def _open_run(config: PretrainConfig) -> Run:
    return Run(
        config.output,
        config,
        seeds={"pretraining": config.seed},
        may_change=MAY_CHANGE,
        trackers=config.track,
        defaults=PretrainConfig(),
    )


def _export(learner: PretrainLearner, config: PretrainConfig, name: str, weights: Mapping[str, Tensor]) -> None:
    """Write a Hugging Face directory, whole or not at all."""
    partial, final = config.output / f"{name}.partial", config.output / name
    shutil.rmtree(partial, ignore_errors=True)
    save_checkpoint(partial, learner.model, learner.renderer.processor, weights if config.shard else None)
    if config.checkpoint is None:
        AgentOptions().save(partial)
    elif (config.checkpoint / AGENT_FILE).exists():
        AgentOptions.of_checkpoint(config.checkpoint).save(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
