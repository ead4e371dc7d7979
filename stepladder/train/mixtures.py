"""What each phase of supervised training draws: the micro-batches of an update as a function of (seed, step), and a held-out score.

Every mixture draws the whole update and keeps this rank's share, so the data of a run depend neither on interruptions nor, but for
the order of sums, on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, TypeVar

from stepladder.data.copying import Copying
from stepladder.data.demonstrations import DemonstratedStep, Demonstrations
from stepladder.data.perception import items
from stepladder.data.perception_question import Kind
from stepladder.data.screen_pool import Screen, ScreenPool, Screens, page_screen
from stepladder.interfaces import Agent
from stepladder.models.heads import MEASURES, PerceptionHead, VisualTargets
from stepladder.models.renderer import Renderer
from stepladder.train.batch import collate, pictures_only
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.sample import Sample, from_step, share_prefix
from stepladder.train.trainer import Trainer
from stepladder.train.visual import join_targets, visual_targets
from stepladder.types import ImageRef, Trajectory

T = TypeVar("T")
#: Tokens in a packed row of behaviour cloning: 8 % quicker than rows of the longest sample, and than rows of 512.
ROW_LENGTH = 350
#: Tokens of held-out samples that are judged in one pass.
MOST_JUDGED = 32_768


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
    """What every mixture needs: renderer, agent, perception head, and caches of samples and targets that are made only once.

    An update is computed in `accumulate` pieces, whose gradients are summed. `plain` shows perception items and rows to be copied
    (default: `agent`), `wide` those of two screenshots (default: `plain`). `bare` is the agent of steps whose thought is left out
    (None: no thought is).
    """

    def __init__(
        self,
        renderer: Renderer,
        agent: Agent,
        head: PerceptionHead | None,
        seed: int,
        share: Share,
        accumulate: int = 1,
        plain: Agent | None = None,
        wide: Agent | None = None,
        bare: Agent | None = None,
    ) -> None:
        self.renderer, self.agent, self.head, self.seed, self.share = renderer, agent, head, seed, share
        self.plain, self.bare = plain or agent, bare
        self.wide = wide or self.plain
        self.accumulate = accumulate
        self._samples: dict[str, Sample] = {}
        self._targets: dict[str, VisualTargets] = {}

    def random(self, *what: object) -> Random:
        return Random("-".join(map(str, (self.seed, *what))))

    def mine(self, drawn: Sequence[T]) -> Sequence[T]:
        return drawn[self.share.rank :: self.share.world]

    def pieces(self, drawn: Sequence[T]) -> list[Sequence[T]]:
        """This rank's part of what an update draws, in the pieces in which it is computed; none of them is empty."""
        mine = self.mine(drawn)
        return [piece for piece in (mine[start :: self.accumulate] for start in range(self.accumulate)) if piece]

    def step_sample(self, step: DemonstratedStep) -> Sample:
        if step.key not in self._samples:
            trajectory = step.trajectory
            self._samples[step.key] = from_step(
                self.renderer, self.agent, trajectory.task, trajectory.steps, step.index, key=step.key
            )
        return self._samples[step.key]

    def bare_sample(self, step: DemonstratedStep) -> Sample:
        """The step as `bare` would have been asked and have answered, whoever was asked and answered when it was sampled."""
        assert self.bare is not None
        key = f"{step.key} bare"
        if key not in self._samples:
            steps = [replace(one, prompt=None, completion=None) for one in step.trajectory.steps[: step.index + 1]]
            self._samples[key] = from_step(self.renderer, self.bare, step.task, steps, step.index, key=key)
        return self._samples[key]

    def item_sample(self, item: Trajectory) -> Sample:
        agent = self.wide if item.task.env == "perception" else self.plain
        return from_step(self.renderer, agent, item.task, item.steps, len(item.steps) - 1, key=item.id)

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

    def __init__(self, kit: Kit, copying: Copying, batch: int) -> None:
        self.kit, self.copying, self.batch = kit, copying, batch
        random = Random("copying")
        self._held_out = [kit.item_sample(copying.draw(random)) for _ in range(128)]

    def micro_batches(self, step: int) -> list[MicroBatch]:
        random = self.kit.random("copying", step)
        seeds = [random.getrandbits(32) for _ in range(self.batch)]
        return [
            MicroBatch(collate([self.kit.item_sample(self.copying.draw(Random(seed))) for seed in piece], self.kit.renderer))
            for piece in self.kit.pieces(seeds)
        ]

    def score(self, trainer: Trainer) -> dict[str, float]:
        return {"copied": exact_share(trainer, self._held_out, self.kit)}


class LookingMixture:
    """Pictures only: the perception head on one screen of every source in `sources` an update.

    `held_out` names lists of screens to be scored.
    """

    goal = "seen"

    def __init__(
        self,
        kit: Kit,
        sources: Sequence[Callable[[Random], Screen]],
        held_out: Mapping[str, Sequence[Screen]],
    ) -> None:
        self.kit, self.sources, self.held_out = kit, sources, held_out

    def micro_batches(self, step: int) -> list[MicroBatch]:
        random = self.kit.random("looking", step)
        seeds = [random.getrandbits(32) for _ in self.sources]
        pieces = self.kit.pieces(range(len(self.sources)))
        return [self._looked_at([self.sources[i](Random(seeds[i])) for i in piece]) for piece in pieces]

    def score(self, trainer: Trainer) -> dict[str, float]:
        assert self.kit.head is not None
        scores: dict[str, float] = {}
        embeddings = trainer.model.model.language_model.embed_tokens.weight
        for name, screens in self.held_out.items():
            counts = {f"{what} {part}": 0.0 for what in MEASURES for part in ("hits", "n")}
            mine = self.kit.mine(screens)
            for start in range(0, len(mine), 32):
                micro_batch = self._looked_at(mine[start : start + 32])
                assert micro_batch.visual is not None
                visual = trainer.look(micro_batch.batch)
                for what, (hits, total) in self.kit.head.accuracy(visual, embeddings, micro_batch.visual.to(visual.device)).items():
                    counts[f"{what} hits"] += hits
                    counts[f"{what} n"] += total
            counts = trainer.sum_over_ranks(counts)
            prefix = "" if name == "pages" else f"{name}_"
            scores |= {f"{prefix}{what}": counts[f"{what} hits"] / max(1.0, counts[f"{what} n"]) for what in MEASURES}
        return scores

    def _looked_at(self, screens: Sequence[Screen]) -> MicroBatch:
        distinct = list({screen.image.sha256: screen for screen in screens}.values())
        batch = pictures_only([screen.image for screen in distinct], self.kit.renderer)
        return MicroBatch(batch, join_targets([self.kit.targets(screen) for screen in distinct]), text=False)


class ActingMixture:
    """Behaviour cloning: the demonstrated step and, about the same screenshot, `questions` perception items that share its prefix.

    `practice` of the `batch` screenshots are synthetic screens and `visits` of them pages of `visited`, with `practice_questions`
    and nothing to be imitated. `copies` rows of text to be copied come on top, or what was learned about copying is lost again.
    With `perceive` the perception head's losses on the same pictures come along. A share `thought_dropout` of the demonstrated
    steps is asked for, and answered, without its thought (`Kit.bare`); no other draw depends on which.
    """

    goal = "exact"

    def __init__(
        self,
        kit: Kit,
        demonstrations: Demonstrations,
        screens: ScreenPool,
        *,
        batch: int,
        practice: int,
        questions: int,
        practice_questions: int,
        weights: Mapping[str, float],
        copying: Copying | None = None,
        copies: int = 0,
        visited: Screens | None = None,
        visits: int = 0,
        perceive: bool = True,
        ignore_above: float = 0.0,
        kinds: Mapping[Kind, float] | None = None,
        thought_dropout: float = 0.0,
    ) -> None:
        self.thought_dropout = thought_dropout
        self.kit, self.demonstrations, self.screens = kit, demonstrations, screens
        self.batch, self.practice, self.questions, self.practice_questions = batch, practice, questions, practice_questions
        self.weights, self.perceive = dict(weights), perceive
        self.copying, self.copies = copying, copies if copying is not None else 0
        self.visited, self.visits = visited, visits if visited is not None else 0
        self.ignore_above, self.kinds = ignore_above, kinds
        validation = list(demonstrations.validation)
        Random("acting").shuffle(validation)
        self._held_out = [kit.step_sample(step) for step in validation[:256]]

    def micro_batches(self, step: int) -> list[MicroBatch]:
        random = self.kit.random("acting", step)
        steps = self.demonstrations.draw(random, self.batch - self.practice - self.visits, self.weights)
        practice = [self.screens.draw(random) for _ in range(self.practice)]
        if self.visited is not None:
            practice += [self.visited.draw(random) for _ in range(self.visits)]
        seeds = [random.getrandbits(32) for _ in range(self.batch + self.copies)]
        chance = self.kit.random("thoughts", step)
        bare = {i for i in range(len(steps)) if self.thought_dropout and chance.random() < self.thought_dropout}
        return [self._micro_batch(piece, steps, bare, practice, seeds) for piece in self.kit.pieces(range(len(seeds)))]

    def _micro_batch(
        self,
        piece: Sequence[int],
        steps: Sequence[DemonstratedStep],
        bare: Container[int],
        practice: Sequence[Screen],
        seeds: Sequence[int],
    ) -> MicroBatch:
        samples: list[Sample] = []
        screens: dict[ImageRef, Screen] = {}
        drawn: set[ImageRef] = set()
        for i in piece:
            if i >= self.batch:
                assert self.copying is not None
                samples.append(self.kit.item_sample(self.copying.draw(Random(seeds[i]))))
                continue
            sample_of = self.kit.bare_sample if i in bare else self.kit.step_sample
            own = [sample_of(steps[i])] if i < len(steps) else []
            screen = self._screen(steps[i].screenshot) if i < len(steps) else practice[i - len(steps)]
            if screen is None:  # text alone: nothing to be seen, and nothing to be asked
                samples += own
                continue
            screens[screen.image] = screen
            count = self.questions if own else self.practice_questions
            before = self._before(steps[i]) if i < len(steps) else screen.before
            asked = self._items(screen, before, Random(seeds[i]), count)
            drawn |= {image for item in asked if (image := item.steps[-1].observation.screenshot) and image != screen.image}
            same: dict[
                tuple[ImageRef, ...], list[Sample]
            ] = {}  # a history of several pictures, and pictures with marks, stand apart
            for sample in [*own, *(self.kit.item_sample(item) for item in asked)]:
                same.setdefault(sample.images, []).append(sample)
            samples += [share_prefix(together) for together in same.values()]
        batch = collate(samples, self.kit.renderer, ROW_LENGTH)
        if drawn:
            batch = batch.prepared()
        for image in drawn:  # or every question of a long run would stay in memory
            assert self.kit.renderer.images is not None
            self.kit.renderer.images.forget(image)
        if not self.perceive or not batch.images:
            return MicroBatch(batch)
        shown = [screens.get(image) or self._screen(image) for image in batch.images]
        return MicroBatch(batch, join_targets([self.kit.targets(screen) for screen in shown if screen is not None]))

    def _items(self, screen: Screen, before: Screen | None, random: Random, count: int) -> list[Trajectory]:
        return items(
            screen.image,
            screen.regions,
            random,
            count,
            kinds=self.kinds,
            ignore_above=screen.ignore_above,
            images=self.kit.renderer.images,
            persist=False,
            before=None if before is None else (before.image, before.regions),
        )

    def _before(self, step: DemonstratedStep) -> Screen | None:
        """The page before this one, where its regions are known."""
        image = step.trajectory.steps[step.index - 1].observation.screenshot if step.index else None
        return self._screen(image) if image is not None and self.demonstrations.knows(image) else None

    def score(self, trainer: Trainer) -> dict[str, float]:
        return {"exact": exact_share(trainer, self._held_out, self.kit)}

    def _screen(self, image: ImageRef | None) -> Screen | None:
        """The page with its regions; one of which nothing is known has none, and nothing is learned of what is where on it."""
        if image is None:
            return None
        if not self.demonstrations.knows(image):
            return Screen(image, (), 2.0 * image.height)
        return page_screen(image, self.demonstrations.regions(image), self.ignore_above)


def _chunks(samples: Sequence[Sample]) -> list[list[Sample]]:
    """At most 32 samples at a time, and no more tokens than MOST_JUDGED, or one sample."""
    chunks: list[list[Sample]] = []
    for sample in samples:
        if not chunks or len(chunks[-1]) == 32 or sum(map(len, chunks[-1])) + len(sample) > MOST_JUDGED:
            chunks.append([])
        chunks[-1].append(sample)
    return chunks


def exact_share(trainer: Trainer, samples: Sequence[Sample], kit: Kit) -> float:
    """Share of replies whose every token is the most probable one, given the tokens before it (greedy decoding would say them).
    Every rank judges its part; the answer is that of all."""
    hits, chunks = 0, _chunks(kit.mine(samples))
    more = trainer.more_passes(len(chunks))
    for chunk in chunks:
        batch = collate(chunk, kit.renderer)
        right = trainer.most_probable(batch).cpu() == batch.targets
        offset = 0
        for i in batch.order:
            trained = int(chunk[i].trained.sum())
            hits += bool(right[offset : offset + trained].all())
            offset += trained
    for _ in range(more):
        trainer.take_part()
    return trainer.sum_over_ranks({"hits": hits})["hits"] / max(1, len(samples))
