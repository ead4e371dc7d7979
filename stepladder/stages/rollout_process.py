"""What a process of an asynchronous run that plays has in it: environments, and no weights. It knows nothing of how it is reached.

Its policy asks replicas of the model, which are elsewhere (`stages.replica`). Pictures travel with the calls where the two share no
directory: each is sent when the other does not have it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stepladder.images import ImageStore
from stepladder.judges.judge import JudgeSettings
from stepladder.policies.http import PolicyFailure
from stepladder.rollout.group import EpisodeJob
from stepladder.rollout.live import LiveScreens
from stepladder.rollout.pool import PoolSettings
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.judging import open_judge
from stepladder.stages.policies import ApiOptions
from stepladder.types import Completion, ImageRef, Limits, Message, Observation, Prompt, Sampling, Trajectory

#: Encoded pictures, by their SHA-256.
Pictures = Mapping[str, bytes]
#: Which replica the episode of this context asks.
_REPLICA: ContextVar[int] = ContextVar("replica")


@dataclass(frozen=True)
class SharedDirectory:
    """The directory of a run, and what its file NAME holds: a process that reads the same there sees this very directory."""

    path: Path
    mark: str
    NAME = "directory.mark"

    def is_here(self) -> bool:
        """Whether this process sees the directory."""
        try:
            return (self.path / self.NAME).read_text() == self.mark
        except OSError:
            return False


@dataclass(frozen=True)
class Missing:
    """Pictures that are needed for an answer and are not there."""

    pictures: frozenset[str]


class Caller(Protocol):
    """An object elsewhere whose methods can be called."""

    async def call(self, method: str, *arguments: object) -> object:
        """What the method gives. Raises `lost` of `ReplicaPolicy` when nobody answers."""


class ReplicaPolicy:
    """A policy that asks replicas of a model, each episode the same one, or where that is lost (`lost` is raised) the next. While
    none answers it waits for up to `patience` seconds. `images` has the pictures that messages speak of."""

    def __init__(self, images: ImageStore, lost: type[Exception], patience: float) -> None:
        self.name, self.version = "student", 0
        self._images, self._lost, self._patience = images, lost, patience
        self._replicas: Sequence[Caller] = ()
        self._there: list[set[str]] = []

    def connect(self, replicas: Sequence[Caller]) -> None:
        """Ask these from now on."""
        self._replicas, self._there = replicas, [set() for _ in replicas]

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Raises ContextFull, and PolicyFailure when no replica comes back."""
        place = first = _REPLICA.get() % len(self._replicas)
        needed = {ref.sha256: ref for message in messages for ref in message.images}
        waited = 0.0
        while True:
            there = self._there[place]
            pictures = {name: self._images.get(ref) for name, ref in needed.items() if name not in there}
            try:
                answer = await self._replicas[place].call("generate", messages, sampling, pictures)
            except self._lost as error:
                there.clear()
                place = (place + 1) % len(self._replicas)
                _REPLICA.set(place)  # the episode stays with the one that answers
                if place == first:
                    if waited >= self._patience:
                        raise PolicyFailure(f"no replica of the model answers any more: {error}") from error
                    await asyncio.sleep(0.5)
                    waited += 0.5
                continue
            if isinstance(answer, Missing):
                there -= answer.pictures
                continue
            there |= set(needed)
            assert isinstance(answer, tuple)
            prompt, completion = answer
            self.version = completion.version
            return prompt, completion


@dataclass(frozen=True)
class Playing:
    """What such a process needs to know of a run, as `RlConfig` has it. Paths are absolute."""

    checkpoint: Path
    output: Path
    environments: int
    max_steps: int | None
    options: Mapping[str, Any]
    pool: PoolSettings
    judge: JudgeSettings
    judge_api: ApiOptions
    opinion: bool
    patience: float


class RolloutProcess:
    """Environments, and the episodes in them; the `number`-th of the processes of a run that play. Replicas that are lost raise
    `lost`."""

    def __init__(self, playing: Playing, number: int, lost: type[Exception], shared: SharedDirectory | None) -> None:
        self._open = ExitStack()
        sees = shared is not None and shared.is_here()
        directory = playing.output / "images" if sees else Path(tempfile.mkdtemp(prefix="stepladder-pictures-"))
        if not sees:
            self._open.callback(shutil.rmtree, directory, ignore_errors=True)
        self._images = ImageStore(directory)
        self._known_there: set[str] | None = None if sees else set()
        self._policy = ReplicaPolicy(self._images, lost, playing.patience)
        self._player = EpisodePlayer(
            self._policy,
            AgentOptions.of_checkpoint(playing.checkpoint).build(),
            self._images,
            Limits(max_steps=playing.max_steps),
            playing.environments,
            playing.options,
            playing.pool,
            live=LiveScreens(playing.output, f"rollouts-0-worker-{number}") if sees else None,
            judge=self._open.enter_context(open_judge(playing.judge, self._images, playing.judge_api)),
            opinion=playing.opinion,
        )

    async def connect(self, replicas: Sequence[Caller]) -> None:
        """Ask these from now on."""
        self._policy.connect(replicas)

    async def play(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> tuple[Trajectory, Pictures]:
        """One attempt at an episode, and those of its pictures that whoever asks may not have."""
        _REPLICA.set(turn_of(job.group))
        trajectory = await self._player.episode(job, sampling, kept)
        if self._known_there is None or not kept:
            return trajectory, {}
        new = {ref.sha256: ref for ref in screens_of(trajectory) if ref.sha256 not in self._known_there}
        return trajectory, {name: self._images.get(ref) for name, ref in new.items()}

    async def received(self, names: Sequence[str]) -> None:
        """These pictures have arrived and are not sent again."""
        if self._known_there is not None:
            self._known_there.update(names)

    async def counts(self) -> Counter[str]:
        """What has happened to the environments so far; see `EnvironmentPool`."""
        return self._player.counts

    async def close(self) -> None:
        """Close the environments."""
        await self._player.close()
        self._open.close()


def turn_of(group: str) -> int:
    """Which replica a group asks, counted on and on: groups take turns, so that replicas have alike many, and the members of one
    ask the same, which has read their prompt."""
    number = group.partition(".")[0]
    return int(number) if number.isdecimal() else zlib.crc32(group.encode())


def screens_of(trajectory: Trajectory) -> Iterator[ImageRef]:
    """Every picture that a trajectory names."""
    observations: list[Observation | None] = [*(step.observation for step in trajectory.steps), trajectory.final]
    yield from (one.screenshot for one in observations if one is not None and one.screenshot is not None)
    for step in trajectory.steps:
        if step.prompt is not None:
            yield from step.prompt.images
