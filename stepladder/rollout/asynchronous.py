"""Episodes that are played while the trainer learns (AReaL, arXiv 2505.24298; DART-GUI, arXiv 2509.23866).

Groups are begun ahead of the trainer, are finished in whatever order, and wait in a queue until they are taken. How far ahead is
what bounds their staleness: at most `staleness` updates' worth of groups are begun and not taken while the trainer learns.
Where episodes are played (this process, others, other machines) is the business of the workers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from stepladder.config import ConfigError
from stepladder.interfaces import EnvironmentFailure
from stepladder.rollout.group import EpisodeJob
from stepladder.rollout.ledger import BegunGroup, Ledger
from stepladder.store import TrajectoryStore
from stepladder.types import Group, Sampling, Trajectory

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AsynchronousSettings:
    """With `on`, episodes are played while the trainer learns, so that what it learns from was sampled by weights that are up to
    `staleness` updates old (0: it plays, then learns, as without). A group that is older when it is whole, because one of its
    episodes took so long, is left out or used all the same (`late`). A group is begun with `oversample` members more than it
    needs; when it has enough, the others are stopped. That favours short episodes.

    An episode whose environment failed is repeated up to `retries` times; a task of which `blacklist` episodes in a row were given
    up is not played any more (0: it always is). An episode that took a worker down with it `losses` times is given up, too.
    Replies that are being written when new weights come go on with them, or are finished first (`in_progress`)."""

    on: bool = False
    staleness: int = 2
    late: Literal["drop", "use"] = "drop"
    oversample: int = 0
    retries: int = 2
    blacklist: int = 4
    losses: int = 4
    in_progress: Literal["continue", "finish"] = "continue"

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name, least in (("staleness", 0), ("oversample", 0), ("retries", 0), ("blacklist", 0), ("losses", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"asynchronous.{name} is {getattr(self, name)}; it must be at least {least}")
        for name, kind in (("late", ("drop", "use")), ("in_progress", ("continue", "finish"))):
            if getattr(self, name) not in kind:
                raise ConfigError(f"asynchronous.{name} is {getattr(self, name)!r}; it must be one of {', '.join(kind)}")


class WorkerLost(Exception):
    """Whoever was playing an episode is gone, and the episode with it."""


class RolloutWorker(Protocol):
    """Where episodes are played, `capacity` at a time."""

    capacity: int

    async def ready(self) -> None:
        """Wait until it can play. Raises when it will not come back."""

    async def play(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> Trajectory:
        """One attempt; `kept` says that it is trained on. A cancelled call stops the episode. Raises WorkerLost."""


@dataclass(eq=False)
class _OpenGroup:
    begun: BegunGroup
    finished: dict[int, Trajectory] = field(default_factory=dict)
    episodes: list[_Episode] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        good = sum(not one.environment_failed for one in self.finished.values())
        return good >= self.begun.size or len(self.finished) == len(self.begun.jobs)

    @property
    def members(self) -> Group:
        return [self.finished[index] for index in sorted(self.finished)]

    @property
    def oldest(self) -> int:
        """The version of the first weights that had a say in it."""
        completions = (step.completion for one in self.finished.values() for step in one.steps)
        return min((one.version for one in completions if one is not None and one.version is not None), default=self.begun.version)


@dataclass(eq=False)
class _Episode:
    job: EpisodeJob
    sampling: Sampling
    group: _OpenGroup | None = None
    answer: asyncio.Future[Trajectory] | None = None
    failures: int = 0
    losses: int = 0
    playing: asyncio.Task[Trajectory] | None = None


#: The jobs of the group with this number, oversampled members included, without the tasks that are named.
Begin = Callable[[int, frozenset[str]], Sequence[EpisodeJob]]


class Rollouts:
    """Groups of episodes on `workers`, kept in `store` the moment they are over. An update is to have `groups` of them. `begin`
    draws a group, `sampling` says how one is sampled. Use it as an asynchronous context manager; `taken` are the numbers of groups
    that the trainer's weights have seen already."""

    def __init__(
        self,
        workers: Sequence[RolloutWorker],
        store: TrajectoryStore,
        ledger: Ledger,
        begin: Begin,
        sampling: Callable[[int], Sampling],
        groups: int,
        settings: AsynchronousSettings,
        version: int = 0,
        taken: Iterable[int] = (),
    ) -> None:
        self.workers, self.store, self.ledger, self.settings = workers, store, ledger, settings
        self.groups, self.version = groups, version
        #: Tasks that are not played any more, and episodes in a row that were given up, by task.
        self.blacklisted: set[str] = set()
        self.given_up: Counter[str] = Counter()
        #: Numbers of the groups that were taken, or were left out since they were too old.
        self.taken = set(taken)
        self._begin, self._sampling = begin, sampling
        self._waiting: deque[_Episode] = deque()
        self._open: dict[int, _OpenGroup] = {}
        self._whole: set[int] = set()
        self._wanted = 0
        self._changed = asyncio.Event()
        self._serving: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._gone: list[RolloutWorker] = []
        self._next = max(ledger.groups, default=-1) + 1
        self._statistics = _Statistics(sum(worker.capacity for worker in workers))

    async def __aenter__(self) -> Rollouts:
        for number in sorted(set(self.ledger.groups) - self.taken):
            self._resume(self.ledger.groups[number])
        self._serving = [asyncio.create_task(self._serve(worker)) for worker in self.workers for _ in range(worker.capacity)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every episode that is being played; what is over has been kept."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def take(self, count: int) -> list[Group]:
        """`count` groups, those that were begun first before others. Raises EnvironmentFailure when no task is left that can be
        played, and whatever a worker or the store raised."""
        taken: list[Group] = []
        self._wanted = count
        started = time.monotonic()
        self._tell()
        try:
            while len(taken) < count:
                if self._failure is not None:
                    raise self._failure
                if self._whole:
                    group = self._remove(min(self._whole))
                    age = max(0, self.version - group.oldest)
                    late = self.settings.late == "drop" and age > self.settings.staleness
                    self._statistics.group(age, late)
                    if not late:
                        taken.append(group.members)
                        self._wanted -= 1
                    self._tell()
                else:
                    await self._wait()
        finally:
            self._wanted = 0
            self._statistics.trainer_waited += time.monotonic() - started
        return taken

    async def evaluate(self, jobs: Sequence[EpisodeJob], sampling: Sampling) -> list[Trajectory]:
        """Episodes that are not kept, before any other that waits; in the order of the jobs. Raises as `take`."""
        loop = asyncio.get_running_loop()
        episodes = [_Episode(job, sampling, answer=loop.create_future()) for job in jobs]
        self._waiting.extendleft(reversed(episodes))
        self._tell()
        answers = [episode.answer for episode in episodes if episode.answer is not None]
        while not all(answer.done() for answer in answers):
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return [answer.result() for answer in answers]

    def figures(self) -> dict[str, float]:
        """What happened since this was asked last (`_Statistics`), and how things stand: groups that are whole and wait for the
        trainer, groups and episodes that are under way, blacklisted tasks."""
        playing = sum(one.playing is not None for group in self._open.values() for one in group.episodes)
        standing = {"queue": len(self._whole), "open_groups": len(self._open) - len(self._whole), "playing": playing}
        return {**self._statistics.interval(), **standing, "blacklisted": len(self.blacklisted)}

    def state(self) -> dict[str, Any]:
        """What a saved state has to know, as plain values."""
        return {
            "taken": sorted(self.taken),
            "given_up": dict(self.given_up),
            "blacklisted": sorted(self.blacklisted),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; before the first episode."""
        self.taken = set(state["taken"])
        self.given_up, self.blacklisted = Counter(state["given_up"]), set(state["blacklisted"])

    # ------------------------------------------------------------------------------------------------------------- internals

    async def _serve(self, worker: RolloutWorker) -> None:
        """One place of a worker: an episode after the other."""
        try:
            while True:
                if not await self._is_ready(worker):
                    return
                episode = self._next_episode()
                if episode is None:
                    await self._wait()
                    continue
                episode.playing = asyncio.create_task(worker.play(episode.job, episode.sampling, episode.group is not None))
                try:
                    await asyncio.wait({episode.playing})
                finally:
                    playing, episode.playing = episode.playing, None
                    if not playing.done():
                        playing.cancel()
                        await asyncio.gather(playing, return_exceptions=True)
                self._played(episode, playing)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failure = self._failure or error
            self._tell()

    async def _is_ready(self, worker: RolloutWorker) -> bool:
        """Wait until it is; False when it will not be. The others go on without it. Raises what the last one raised."""
        try:
            await worker.ready()
        except Exception as error:
            if worker not in self._gone:
                self._gone.append(worker)
                _logger.warning("%s; %d of %d workers are left", error, len(self.workers) - len(self._gone), len(self.workers))
            if len(self._gone) == len(self.workers):
                raise
            return False
        return True

    def _next_episode(self) -> _Episode | None:
        """What is to be played next; None where there is nothing now."""
        while not self._waiting and len(self._open) < self.groups * self.settings.staleness + self._wanted:
            self._begin_group()
        return self._waiting.popleft() if self._waiting else None

    def _begin_group(self) -> None:
        jobs = tuple(self._begin(self._next, frozenset(self.blacklisted)))
        if not jobs:
            raise EnvironmentFailure(f"no task is left to be played: {', '.join(sorted(self.blacklisted))} failed too often")
        size = max(1, len(jobs) - self.settings.oversample)
        begun = BegunGroup(self._next, jobs, size, self.version)
        self.ledger.append(begun)
        self._next += 1
        self._resume(begun)

    def _resume(self, begun: BegunGroup) -> None:
        """Play what the store lacks of a group."""
        group = self._open[begun.number] = _OpenGroup(begun)
        sampling = self._sampling(begun.number)
        for job in begun.jobs:
            if job.identifier in self.store:
                group.finished[job.index] = self.store.get(job.identifier)
            else:
                group.episodes.append(_Episode(job, sampling, group))
        if group.whole:
            self._complete(group)
        else:
            self._waiting.extend(group.episodes)
        self._tell()

    def _played(self, episode: _Episode, playing: asyncio.Task[Trajectory]) -> None:
        """What became of an attempt: a trajectory, another attempt, or an error for the trainer."""
        needed = episode.group is None or episode in episode.group.episodes
        if playing.cancelled() and not needed:
            self._statistics.stopped += 1
            return
        error = WorkerLost("what played it was stopped") if playing.cancelled() else playing.exception()
        if not needed and (isinstance(error, WorkerLost) or (error is None and playing.result().environment_failed)):
            return  # the group was whole without it before this was known
        if isinstance(error, WorkerLost):
            self._statistics.lost += 1
            _logger.info("%s: %s", episode.job.identifier, error)
            episode.losses += 1
            if episode.losses < self.settings.losses:
                self._again(episode)
                return
            trajectory = _lost(episode)
        elif error is not None:
            raise error
        else:
            trajectory = playing.result()
        self._statistics.episode(trajectory)
        if trajectory.environment_failed and error is None:
            episode.failures += 1
            if episode.failures <= self.settings.retries:
                self._statistics.repeated += 1
                self._again(episode)
                return
        if error is None:  # that a machine died says nothing of the task
            self._blame(trajectory)
        self._finish(episode, trajectory)

    def _again(self, episode: _Episode) -> None:
        self._waiting.appendleft(episode)
        self._tell()

    def _blame(self, trajectory: Trajectory) -> None:
        task = trajectory.task.id
        if not trajectory.environment_failed:
            self.given_up.pop(task, None)
            return
        self._statistics.given_up += 1
        self.given_up[task] += 1
        if self.settings.blacklist and self.given_up[task] >= self.settings.blacklist and task not in self.blacklisted:
            _logger.warning("%s is not played any more: %d episodes in a row failed", task, self.given_up[task])
            self.blacklisted.add(task)

    def _finish(self, episode: _Episode, trajectory: Trajectory) -> None:
        if episode.answer is not None:
            if not episode.answer.done():
                episode.answer.set_result(trajectory)
            self._tell()
            return
        group = episode.group
        assert group is not None
        self.store.append(trajectory)
        self._statistics.kept += 1
        if episode not in group.episodes:
            return
        group.finished[episode.job.index] = trajectory
        group.episodes.remove(episode)
        if group.whole:
            self._complete(group)
        self._tell()

    def _complete(self, group: _OpenGroup) -> None:
        """The group can be taken; its members that are not needed any more are stopped."""
        self._whole.add(group.begun.number)
        left, group.episodes = group.episodes, []
        self._waiting = deque(one for one in self._waiting if one.group is not group)
        for episode in left:
            if episode.playing is not None:
                episode.playing.cancel()

    def _remove(self, number: int) -> _OpenGroup:
        self._whole.discard(number)
        self.taken.add(number)
        return self._open.pop(number)

    def _tell(self) -> None:
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@dataclass(eq=False)
class _Statistics:
    """Counts of an interval, in which `places` episodes can be played at a time.

    episodes, kept     attempts that came to an end; trajectories that were kept
    repeated, given_up, lost, stopped   attempts repeated since the environment failed; episodes given up; attempts whose worker was
                       lost; members that were not needed any more
    staleness, staleness_max, dropped   versions between the oldest token of a group and the weights that learn from it, of the
                       groups that were taken; groups that were left out since they were too old
    environment_use    the share of the time of all places that environments took steps in; resets and grading are left out
    trainer_waited     seconds in which the trainer waited for groups
    """

    places: int
    episodes: int = 0
    kept: int = 0
    repeated: int = 0
    given_up: int = 0
    lost: int = 0
    stopped: int = 0
    dropped: int = 0
    trainer_waited: float = 0.0
    _ages: list[int] = field(default_factory=list)
    _environment: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def episode(self, trajectory: Trajectory) -> None:
        self.episodes += 1
        self._environment += sum(step.seconds.get("environment", 0.0) for step in trajectory.steps)

    def group(self, age: int, dropped: bool) -> None:
        if dropped:
            self.dropped += 1
        else:
            self._ages.append(age)

    def interval(self) -> dict[str, float]:
        seconds = max(1e-9, time.monotonic() - self._began)
        counts = ("episodes", "kept", "repeated", "given_up", "lost", "stopped", "dropped")
        figures: dict[str, float] = {name: float(getattr(self, name)) for name in counts}
        figures["staleness"] = sum(self._ages) / len(self._ages) if self._ages else 0.0
        figures["staleness_max"] = float(max(self._ages, default=0))
        figures["environment_use"] = min(1.0, self._environment / (seconds * self.places))
        figures["trainer_waited"] = self.trainer_waited
        self.__init__(self.places)  # type: ignore[misc]
        return figures


def _lost(episode: _Episode) -> Trajectory:
    """The trajectory of an episode that nobody came back from."""
    job = episode.job
    return Trajectory(
        id=job.identifier,
        task=job.task,
        steps=(),
        final=None,
        status="env_error",
        reward=None,
        group=job.group,
        index=job.index,
        seed=job.seed,
        error=f"the worker that played it was lost {episode.losses} times",
    )
