"""The directory whose demonstrations get thoughts, and the one they are written into."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from stepladder.config import ConfigError
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import VISITED_FILE
from stepladder.images import ImageStore, share_pictures
from stepladder.policies.budget import Meter
from stepladder.progress import Progress
from stepladder.stages.lines import Lines
from stepladder.stages.policies import open_policy
from stepladder.stages.reason_config import ReasonConfig
from stepladder.store import TrajectoryStore
from stepladder.thoughts.teacher import Teacher
from stepladder.types import ImageRef, Region, Step, Trajectory

COLLECTED, PLAYS, REGIONS, LEFT_OUT = "trajectories.jsonl", "plays.jsonl", "regions.jsonl", "left_out.jsonl"
#: In `Trajectory.extra`: who has written its thoughts, up to which level, how many, and what was left out.
REASONING = "reasoning"
#: An episode with thoughts, why steps of it have none, and how many have one.
Written = tuple[Trajectory, Mapping[str, int], int]


@dataclass(frozen=True)
class LeftOut:
    """An episode of which nothing was kept; `id` is the name of its store and its own."""

    id: str
    reasons: Mapping[str, int]


class Work:
    """What is read and what is written; `stores` maps the name of a store to the one that is read and the one that is written."""

    def __init__(self, config: ReasonConfig, stores: Mapping[str, tuple[TrajectoryStore, TrajectoryStore]]) -> None:
        self.config, self.stores = config, stores
        self.images = ImageStore(config.output / "images")
        self.known = RegionStore(config.output / REGIONS)
        self.left_out = Lines(config.output / LEFT_OUT, LeftOut)
        self._done = {one.id for one in self.left_out.read()}

    def regions(self, image: ImageRef) -> Sequence[Region]:
        """What is where on a screen; nothing where that is not known."""
        return self.known.get(image) if image in self.known else ()

    def is_done(self, name: str, identifier: str) -> bool:
        """Whether an episode is written, or left out."""
        return identifier in self.stores[name][1] or f"{name} {identifier}" in self._done

    def missing(self) -> list[tuple[str, str]]:
        """(store, id) of the demonstrations that are not done."""
        pairs = [(name, identifier) for name, (old, _) in self.stores.items() for identifier in old.ids()]
        return [pair for pair in pairs if not self.is_done(*pair)]

    def keep(self, name: str, written: Written) -> None:
        """Write an episode; one without thoughts is left out."""
        trajectory, left_out, thoughts = written
        if not thoughts:
            self.leave_out(name, trajectory.id, left_out)
            return
        said = {"by": self.config.by, "level": self.config.level, "thoughts": thoughts, "left_out": dict(left_out)}
        self.stores[name][1].append(replace(trajectory, extra={**trajectory.extra, REASONING: said}))

    def leave_out(self, name: str, identifier: str, reasons: Mapping[str, int]) -> None:
        """Write down that nothing is kept of an episode."""
        self.left_out.append(LeftOut(f"{name} {identifier}", dict(reasons)))


@contextmanager
def opened(config: ReasonConfig) -> Iterator[Work]:
    """Raises ConfigError where there is nothing to write thoughts for."""
    names = [name for name in (COLLECTED, PLAYS) if (config.demonstrations / name).exists()]
    if not names or (config.by == "reflection" and COLLECTED not in names):
        wanted = COLLECTED if names else f"neither {COLLECTED} nor {PLAYS}"
        raise ConfigError(f"demonstrations: {config.demonstrations} has {'no ' if names else ''}{wanted}")
    share_pictures(config.demonstrations / "images", config.output / "images")
    for name in (REGIONS, VISITED_FILE):
        source, target = config.demonstrations / name, config.output / name
        if source.exists() and not target.exists():
            partial = target.with_name(f"{name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
    with ExitStack() as stack:
        stores = {}
        for name in names:
            old = stack.enter_context(TrajectoryStore(config.demonstrations / name))
            stores[name] = (old, stack.enter_context(TrajectoryStore(config.output / name, "a")))
        yield Work(config, stores)


@contextmanager
def opened_teacher(work: Work, meter: Meter) -> Iterator[Teacher | None]:
    """The teacher of the settings; None where nobody is named. Raises what `open_policy` raises."""
    settings = work.config.teacher
    if settings.policy is None:
        yield None
        return
    with open_policy(settings.policy, work.images, api=work.config.api, meter=meter) as (policy, agent):
        yield Teacher(policy, agent, settings, work.config.level)


def learned(trajectory: Trajectory) -> list[int]:
    """The steps that are learned from."""
    wrong = int(trajectory.parts.get("mistakes", 0))
    return [i for i, step in enumerate(trajectory.steps) if i >= wrong and step.actions and step.imitated != "nothing"]


async def taught(teacher: Teacher, trajectory: Trajectory, work: Work) -> Written:
    """The episode with the teacher's thoughts. A step without one is history alone: among others that think it would teach not
    to."""
    steps: list[Step] = list(trajectory.steps)
    left_out: Counter[str] = Counter()
    written = 0
    for index in learned(trajectory):
        thought, reason = await teacher.thought(trajectory.task, steps, index, work.regions, f"{trajectory.id}#{index}")
        if reason:
            left_out[reason] += 1
            steps[index] = replace(steps[index], imitated="nothing")
        else:
            written += 1
            steps[index] = replace(steps[index], thought=thought, prompt=None, completion=None)
    return replace(trajectory, steps=tuple(steps)), left_out, written


async def each(orders: Sequence[Callable[[], Awaitable[None]]], parallel: int, title: str, show: bool) -> None:
    """Carry out orders, `parallel` at a time. The first error ends it; what was written until then is kept."""
    waiting, done = iter(orders), 0
    with Progress(title, len(orders), show=show) as progress:

        async def work() -> None:
            nonlocal done
            for order in waiting:
                await order()
                done += 1
                progress.update(done, len(orders))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(parallel):
                    group.create_task(work())
        except* Exception as errors:
            raise errors.exceptions[0] from errors
