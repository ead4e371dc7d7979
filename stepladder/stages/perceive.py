"""Perception measured (rung 8): the model answers questions about screens it has never seen, by the same sampling as in an episode.

Conditions: real pages of held-back demonstrations, synthetic screens with the words, fonts and sizes of training, and synthetic
screens whose words, fonts or sizes were held out. Reading is spelled letter by letter, so it does not depend on a vocabulary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from stepladder.data.demonstrations import Demonstrations
from stepladder.data.perception import items, score
from stepladder.data.perception_question import Kind
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import HELD_OUT_SPLITS, Screen, ScreenPool, page_screen
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, ParseError, Policy
from stepladder.progress import Progress
from stepladder.stages.local_policy import open_checkpoint
from stepladder.stages.perception_sources import UNSEEN
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Sampling, Trajectory

CONDITIONS = {
    "pages": "real pages",
    "train": "known words, fonts and sizes",
    "heldout_words": "held-out words",
    "heldout_fonts": "held-out fonts",
    "heldout_sizes": "held-out sizes",
}
KINDS: tuple[Kind, ...] = ("grounding", "reading", "state")
#: Labels that are asked for on one screen which has several.
LABELS = 2


def held_out_screens(demonstrations: Path, images: ImageStore, count: int, ignore_above: float) -> dict[str, list[Screen]]:
    """`count` screens for each of CONDITIONS."""
    regions = RegionStore(demonstrations / "regions.jsonl")
    with TrajectoryStore(demonstrations / "trajectories.jsonl") as store:
        validation = Demonstrations(store, regions.get).validation
    shown = {step.screenshot: None for step in validation if step.screenshot is not None}
    pages = [image for image in shown if image in regions]
    Random("pages").shuffle(pages)
    width, height = pages[0].width, pages[0].height
    screens = {"pages": [page_screen(image, regions.get(image), ignore_above) for image in pages[:count]]}
    for split in ("train", *HELD_OUT_SPLITS):
        pool = ScreenPool(images, split, UNSEEN + count, width, height)
        screens[split] = [pool[UNSEEN + number] for number in range(count)]
    return screens


def main(
    checkpoint: Path,
    demonstrations: Path,
    *,
    screens: int = 60,
    questions: int = 1,
    ignore_above: float = 0.0,
    show: bool = True,
) -> dict[str, dict[str, Rate]]:
    """Kind -> condition -> rate of right answers: a click inside the box, every letter of a word right, the right state; and
    "labels", grounding of a label on screens that have several (a mean over all questions hides it), and "letters", the share of
    single letters that were read (1 - edit distance / length, over all words)."""
    images = ImageStore(demonstrations / "images")
    shown = held_out_screens(demonstrations, images, screens, ignore_above)
    asked: dict[tuple[str, str], list[Trajectory]] = {}
    for condition in CONDITIONS:
        for number, screen in enumerate(shown[condition]):
            for kind in KINDS:
                generator = Random(f"{condition}-{number}-{kind}")
                asked.setdefault((kind, condition), []).extend(
                    items(screen.image, screen.regions, generator, questions, kinds={kind: 1.0})
                )
            found = items(screen.image, screen.regions, Random(f"{condition}-{number}-labels"), 10, kinds={"grounding": 1.0})
            several = [item for item in found if item.task.check.get("labels", 0) > 1]
            asked.setdefault(("labels", condition), []).extend(several[:LABELS])
    with (
        open_checkpoint(checkpoint, images, "perception") as (policy, agent),
        Progress("perception", sum(map(len, asked.values())), show=show) as progress,
    ):
        answers = asyncio.run(_answer_all(asked, policy, agent, progress))
    table: dict[str, dict[str, Rate]] = {name: {} for name in (*KINDS, "labels", "letters")}
    for (name, condition), scored in answers.items():
        table[name][CONDITIONS[condition]] = success_rate(round(sum(values["correct"] for values in scored)), len(scored))
        if name == "reading":
            lengths = [len(item.task.check["text"]) for item in asked[name, condition]]
            letters = sum(values["characters"] * length for values, length in zip(scored, lengths, strict=True))
            table["letters"][CONDITIONS[condition]] = success_rate(round(letters), sum(lengths))
    return table


async def _answer_all(
    asked: Mapping[tuple[str, str], Sequence[Trajectory]], policy: Policy, agent: Agent, progress: Progress
) -> dict[tuple[str, str], list[dict[str, float]]]:
    done = 0

    async def answer(item: Trajectory) -> dict[str, float]:
        nonlocal done
        observation = item.steps[0].observation
        sampling = Sampling(temperature=0.0, max_tokens=48, stop=agent.stop)
        _, completion = await policy.generate(agent.prompt(item.task, (), observation), sampling)
        try:
            action: Action | None = agent.parse(completion.text, observation)[1]
        except ParseError:
            action = None
        done += 1
        progress.update(done)
        return score(item, action)

    scored = await asyncio.gather(*(answer(item) for several in asked.values() for item in several))
    found = iter(scored)
    return {key: [next(found) for _ in several] for key, several in asked.items()}
