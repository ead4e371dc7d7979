"""What each phase of supervised training draws: the micro-batches of an update as a function of (seed, step), and a held-out score.

Every mixture draws the whole update and keeps this rank's share, so the data of a run depend neither on interruptions nor, but for
the order of sums, on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from stepladder.data.demonstrations import DemonstratedStep, Demonstrations
from stepladder.data.perception import Kind, copy_items, items
from stepladder.data.screen_pool import Screen, ScreenPool, page_screen
from stepladder.interfaces import Agent
from stepladder.models.heads import PerceptionHead, VisualTargets
from stepladder.models.renderer import Renderer
from stepladder.train.batch import collate, pack, pictures_only
from stepladder.train.sample import Sample, from_step, share_prefix
from stepladder.train.trainer import MicroBatch, Trainer
from stepladder.train.visual import join_targets, visual_targets
from stepladder.types import Trajectory

#: Tokens in a packed row of behaviour cloning: 8 % quicker than rows of the longest sample, and than rows of 512.
ROW_LENGTH = 350


@dataclass(frozen=True)
class Share:
    """Which part of every update is drawn here: rank `rank` of `world`."""

    rank: int = 0
    world: int = 1


class Mixture(Protocol):
    """A source of updates. `goal` names the score by which the phase knows that it has learned enough."""

    goal: str

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """This rank's part of update `step`."""

    def score(self, trainer: Trainer) -> dict[str, float]:
        """Shares in 0..1 on held-out data; the same on every rank."""


class Kit:
    """What every mixture needs: renderer, agent, perception head, and caches of samples and targets that are made only once."""

    def __init__(self, renderer: Renderer, agent: Agent, head: PerceptionHead | None, seed: int, share: Share) -> None:
        self.renderer, self.agent, self.head, self.seed, self.share = renderer, agent, head, seed, share
        self._samples: dict[str, Sample] = {}
        self._targets: dict[str, VisualTargets] = {}

    def random(self, *what: object) -> Random:
        return Random("-".join(map(str, (self.seed, *what))))

    def mine(self, drawn: Sequence[int]) -> Sequence[int]:
        return drawn[self.share.rank :: self.share.world]

    def step_sample(self, step: DemonstratedStep) -> Sample:
        if step.key not in self._samples:
            trajectory = step.trajectory
            self._samples[step.key] = from_step(
                self.renderer, self.agent, trajectory.task, trajectory.steps, step.index, key=step.key
            )
        return self._samples[step.key]

    def item_sample(self, item: Trajectory) -> Sample:
        return from_step(self.renderer, self.agent, item.task, item.steps, len(item.steps) - 1, key=item.id)

    def targets(self, screen: Screen) -> VisualTargets:
        assert self.head is not None
        key = screen.image.sha256
        if key not in self._targets:
            self._targets[key] = visual_targets(self.head, self.renderer, screen.image, screen.regions, screen.ignore_above)
        return self._targets[key]


class CopyingMixture:
    """Text only: instructions whose quoted strings are replaced by other names, words and strings, and the action that types them.

    Without a stage of its own a small model never learned to copy: it always typed the most frequent name.
    """

    goal = "copied"

    def __init__(self, kit: Kit, demonstrations: Sequence[Trajectory], batch: int) -> None:
        self.kit, self.batch = kit, batch
        self.demonstrations = demonstrations
        self._held_out = [kit.item_sample(item) for item in copy_items(Random("copying"), demonstrations, 128)]

    def micro_batches(self, step: int) -> list[MicroBatch]:
        random = self.kit.random("copying", step)
        seeds = self.kit.mine([random.getrandbits(32) for _ in range(self.batch)])
        drawn = [copy_items(Random(seed), self.demonstrations, 1)[0] for seed in seeds]
        return [MicroBatch(collate([self.kit.item_sample(item) for item in drawn], self.kit.renderer))]

    def score(self, trainer: Trainer) -> dict[str, float]:
        return {"copied": exact_share(trainer, self._held_out, self.kit.renderer)}


class LookingMixture:
    """Pictures only: the perception head on real pages and synthetic screens.

    `sources` are (weight, draw) pairs, where draw(random) gives one screen; `held_out` names lists of screens to be scored.
    """

    goal = "seen"

    def __init__(
        self,
        kit: Kit,
        sources: Sequence[tuple[float, Callable[[Random], Screen]]],
        held_out: Mapping[str, Sequence[Screen]],
        batch: int,
    ) -> None:
        self.kit, self.sources, self.held_out, self.batch = kit, sources, held_out, batch

    def micro_batches(self, step: int) -> list[MicroBatch]:
        random = self.kit.random("looking", step)
        picks = random.choices(range(len(self.sources)), [weight for weight, _ in self.sources], k=self.batch)
        seeds = [random.getrandbits(32) for _ in picks]
        mine = self.kit.mine(range(len(picks)))
        return [self._looked_at([self.sources[picks[i]][1](Random(seeds[i])) for i in mine])]

    def score(self, trainer: Trainer) -> dict[str, float]:
        assert self.kit.head is not None
        scores: dict[str, float] = {}
        embeddings = trainer.model.model.language_model.embed_tokens.weight
        for name, screens in self.held_out.items():
            hits: dict[str, float] = {}
            totals: dict[str, float] = {}
            for start in range(0, len(screens), 32):
                micro_batch = self._looked_at(screens[start : start + 32])
                assert micro_batch.visual is not None
                visual = trainer.look(micro_batch.batch)
                for what, (hit, total) in self.kit.head.accuracy(visual, embeddings, micro_batch.visual).items():
                    hits[what], totals[what] = hits.get(what, 0) + hit, totals.get(what, 0) + total
            prefix = "" if name == "pages" else f"{name}_"
            scores |= {f"{prefix}{what}": hits[what] / max(1.0, totals[what]) for what in hits}
        return scores

    def _looked_at(self, screens: Sequence[Screen]) -> MicroBatch:
        distinct = list({screen.image.sha256: screen for screen in screens}.values())
        batch = pictures_only([screen.image for screen in distinct], self.kit.renderer)
        return MicroBatch(batch, join_targets([self.kit.targets(screen) for screen in distinct]), text=False)


class ActingMixture:
    """Behaviour cloning: the demonstrated step and, about the same screenshot, `questions` perception items that share its prefix.

    With `perceive` the perception head's losses on the same pictures come along. `reading` synthetic screens an update carry
    questions only.
    """

    goal = "exact"

    def __init__(
        self,
        kit: Kit,
        demonstrations: Demonstrations,
        batch: int,
        questions: int,
        weights: Mapping[str, float],
        screens: ScreenPool | None = None,
        reading: int = 0,
        perceive: bool = True,
        ignore_above: float = 0.0,
        kinds: Mapping[Kind, float] | None = None,
    ) -> None:
        self.kit, self.demonstrations = kit, demonstrations
        self.batch, self.questions, self.weights = batch, questions, dict(weights)
        self.screens, self.reading, self.perceive = screens, reading, perceive
        self.ignore_above, self.kinds = ignore_above, kinds
        validation = list(demonstrations.validation)
        Random("acting").shuffle(validation)
        self._held_out = [kit.step_sample(step) for step in validation[:256]]

    def micro_batches(self, step: int) -> list[MicroBatch]:
        random = self.kit.random("acting", step)
        steps = self.demonstrations.draw(random, self.batch, self.weights)
        read = [self.screens.draw(random) for _ in range(self.reading)] if self.screens is not None else []
        seeds = [random.getrandbits(32) for _ in range(len(steps) + len(read))]
        samples, seen = [], {}
        for i in self.kit.mine(range(len(steps) + len(read))):
            own = [self.kit.step_sample(steps[i])] if i < len(steps) else []
            screen = self._screen(steps[i]) if i < len(steps) else read[i - len(steps)]
            asked = items(screen.image, screen.regions, Random(seeds[i]), self.questions, kinds=self.kinds)
            rows = own + [self.kit.item_sample(item) for item in asked]
            if rows:
                samples.append(share_prefix(rows))
                seen[screen.image] = screen
        batch = collate(samples, self.kit.renderer, ROW_LENGTH)
        targets = join_targets([self.kit.targets(seen[image]) for image in batch.images]) if self.perceive else None
        return [MicroBatch(batch, targets)]

    def score(self, trainer: Trainer) -> dict[str, float]:
        return {"exact": exact_share(trainer, self._held_out, self.kit.renderer)}

    def _screen(self, step: DemonstratedStep) -> Screen:
        return page_screen(step.screenshot, self.demonstrations.regions(step.screenshot), self.ignore_above)


def exact_share(trainer: Trainer, samples: Sequence[Sample], renderer: Renderer) -> float:
    """Share of replies whose every token is the most probable one, given the tokens before it (greedy decoding would say them)."""
    hits = 0
    for start in range(0, len(samples), 32):
        chunk = samples[start : start + 32]
        batch = collate(chunk, renderer)
        right = trainer.most_probable(batch) == batch.targets
        offset = 0
        for i in (index for row in pack([len(s) for s in chunk], max(len(s) for s in chunk)) for index in row):
            trained = int((chunk[i].w_ce != 0).sum())
            hits += bool(right[offset : offset + trained].all())
            offset += trained
    return hits / max(1, len(samples))
