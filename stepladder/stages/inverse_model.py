"""The inverse-dynamics model in training: which of the demonstrations it learns from, and everything it learns with."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.data.demonstrations import Demonstrations
from stepladder.data.regions import RegionStore
from stepladder.data.transitions import Transition, transitions
from stepladder.data.vocabulary import tokenizer_corpus
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention
from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.renderer import Renderer
from stepladder.models.small import whiten_patches
from stepladder.progress import Progress
from stepladder.run import Run
from stepladder.stages.sft_setup import known_words, new_model, new_tokenizer
from stepladder.train.mixtures import Kit, Share
from stepladder.train.optimizer import Schedule
from stepladder.train.trainer import Trainer, save_state
from stepladder.train.transitions import TransitionMixture, by_kind
from stepladder.types import Trajectory

if TYPE_CHECKING:
    from stepladder.stages.label import LabelConfig

#: Held-back transitions that are scored while it trains.
SCORED = 128


def split(demonstrations: Sequence[Trajectory], share: float) -> tuple[list[Transition], list[Transition]]:
    """(transitions to learn from, transitions held back), by whole trajectories: of those with something to learn the ones whose
    ids hash lowest are held back, a `share` of them and at least one. Raises ConfigError for fewer than two."""
    usable = sorted(
        (one for one in demonstrations if any(t.action is not None for t in transitions(one))), key=lambda one: _lot(one.id)
    )
    if len(usable) < 2:
        raise ConfigError(
            f"demonstrations: {len(usable)} of {len(demonstrations)} show a screen before and after an action; two are needed"
        )
    count = min(len(usable) - 1, max(1, round(share * len(usable))))
    learned, held_out = ([t for one in part for t in transitions(one)] for part in (usable[count:], usable[:count]))
    return [t for t in learned if t.action is not None], [t for t in held_out if t.action is not None]


def _lot(identifier: str) -> bytes:
    return hashlib.sha256(f"transitions {identifier}".encode()).digest()


@dataclass
class InverseModel:
    """The model, its trainer and its data. One of the processes that learn together."""

    config: LabelConfig
    model: Qwen3VLForConditionalGeneration
    renderer: Renderer
    trainer: Trainer
    mixture: TransitionMixture

    @classmethod
    def build(cls, config: LabelConfig, demonstrations: Sequence[Trajectory], rank: int, world: int) -> InverseModel:
        """The same on every rank. Raises ConfigError."""
        learned, held_out = split(demonstrations, config.held_out)
        images = ImageStore(config.output / "data" / "images", cache=4096)
        if config.checkpoint is None:
            model, renderer = _from_nothing(config, demonstrations, images, learned)
        else:
            model, processor = load_checkpoint(config.checkpoint)
            renderer = Renderer(processor, images)
        use_attention(model)
        trainer = Trainer(
            model=model.train(),
            head=None,
            schedule=Schedule(config.steps, config.warmup, config.decay),
            optimizer=config.optimizer,
            trainable=config.train,
            autocast=config.bf16,
        )
        kit = Kit(renderer, config.agent.build(), None, config.seed, Share(rank, world), config.accumulate)
        mixture = TransitionMixture(kit, by_kind(learned), held_out[:SCORED], config.batch)
        return cls(config, model, renderer, trainer, mixture)

    def train(self, run: Run | None, show: bool) -> None:
        """Go on from the last state to the end; rank 0 has the `run`."""
        config, trainer, state = self.config, self.trainer, self.config.output / "state.pt"
        if state.exists():
            trainer.load_state(torch.load(state, weights_only=True))
        with Progress("inverse dynamics", config.steps, show=show and run is not None) as progress:
            while trainer.step_count < trainer.schedule.last_step:
                figures = trainer.step(self.mixture.micro_batches(trainer.step_count))
                step = trainer.step_count
                if step % config.score_every == 0 or step == trainer.schedule.last_step:
                    figures |= self.mixture.score(trainer)
                    if figures["exact"] >= config.goal:
                        trainer.schedule.finish_early(step)
                if run is not None:
                    run.log(step, "inverse", **figures)
                    progress.update(
                        step, trainer.schedule.last_step, {name: figures[name] for name in ("ce", "exact") if name in figures}
                    )
                    if step % config.save_every == 0:
                        save_state(state, trainer.state())

    def export(self, path: Path) -> None:
        """Write a Hugging Face directory, whole or not at all."""
        partial = path.with_name(f"{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        save_checkpoint(partial, self.model, self.renderer.processor)
        self.config.agent.save(partial)
        shutil.rmtree(path, ignore_errors=True)
        partial.replace(path)


def _from_nothing(
    config: LabelConfig, demonstrations: Sequence[Trajectory], images: ImageStore, learned: Sequence[Transition]
) -> tuple[Qwen3VLForConditionalGeneration, Renderer]:
    """A small model with a tokenizer made of the words of the demonstrations."""
    regions = RegionStore(config.output / "data" / "regions.jsonl")
    known = Demonstrations(demonstrations, regions.get)
    words = known_words(known)
    typed = [one.action.text for one in learned if one.action is not None and one.action.text]
    model, renderer = new_model(config.model, new_tokenizer([*tokenizer_corpus(known, words), *typed], words), images, config.seed)
    shown = {one.before.screenshot: None for one in learned if one.before.screenshot is not None}
    pictures = [picture for picture in shown if picture is not None][:60]
    whiten_patches(model, renderer.pixels(pictures)[0], config.seed)
    return model, renderer
