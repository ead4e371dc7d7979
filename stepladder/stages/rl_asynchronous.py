"""The loop of a training process whose episodes are played while it learns, here or by other processes (`rollout.asynchronous`).

Rank 0 has everything to do with rollouts; other ranks get their share of the groups from it. Files of such a run, beside those of
every run of reinforcement learning:

    groups.jsonl   every group that was begun (`rollout.ledger`)

Which groups an update learns from depends on what is over when, so that two runs differ. A run that was killed goes on with the
groups that its weights have not learned from, whole ones at once; of others what is missing is played.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, TypeVar

from torch import Tensor

from stepladder.images import ImageStore
from stepladder.judges.judge import Judge
from stepladder.plugins import load
from stepladder.policies.engine import Engine
from stepladder.policies.served_engine import ServedEngine
from stepladder.policies.served_settings import open_served_engine
from stepladder.rollout.asynchronous import Rollouts
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.rollout.ledger import Ledger
from stepladder.seeds import train_seeds
from stepladder.stages.replica import own_engine
from stepladder.stages.rl_in_process import InProcess, Placement
from stepladder.stages.rl_loop import RankLoop
from stepladder.store import Summary
from stepladder.train.devices import use
from stepladder.train.parallel import agreed
from stepladder.types import Group, Sampling, Task, Trajectory

T = TypeVar("T")
#: Where else episodes are played. What it needs is loaded for those alone who use it.
PLACEMENTS = {"ray": "stepladder.stages.rl_ray:RayPlacement"}
#: Seconds after which ranks that wait for rank 0 hear from it.
_WORD = 30.0
#: Draws of a task before one is taken that the curriculum would hardly ever give.
_DRAWS = 100


class AsynchronousLoop(RankLoop):
    """As `RankLoop`, with rollouts that do not wait for the trainer."""

    def _open_players(self, images: ImageStore, judge: Judge | None) -> None:
        self._placement: Placement | None = None
        self._rollouts: Rollouts | None = None
        #: Seconds that it took to give whoever samples the last update's weights.
        self._refreshing = 0.0
        self._thread = ThreadPoolExecutor(1, "stepladder-trainer", use, (self.learner.device,))
        if self.rank == 0:
            self._placement = self._elsewhere() if self.config.ray.on else self._in_process(images, judge)

    def _in_process(self, images: ImageStore, judge: Judge | None) -> Placement:
        engine = self._served() if self.config.served.url else self._own_engine(images)
        return InProcess(engine, self._episodes(engine, images, judge), self.config)

    def _served(self) -> ServedEngine:
        """A server that samples; it is given the weights before anything is played."""
        return open_served_engine(self.config.served, self.learner.model, self.learner.renderer, version=self.standing.update)

    def _own_engine(self, images: ImageStore) -> Engine:
        """An engine here with weights of its own."""
        return own_engine(self.config, images, self.learner.device, self.config.bf16)

    def _elsewhere(self) -> Placement:
        placement: Placement = load("ray", PLACEMENTS, "placement")(self.config)
        return placement

    async def work(self) -> None:
        """See `RankLoop.work`."""
        self._load()
        placement = self._placement
        try:
            weights = await self._learned()
            if placement is None:
                await self._updates()
                return
            await placement.open()
            await placement.refresh(weights, self.standing.update)
            del weights
            with Ledger(self.config.output / "groups.jsonl", self.tasks) as ledger:
                self._rollouts = Rollouts(
                    placement.workers,
                    self.store,
                    ledger,
                    self._begin,
                    self._sampling_of,
                    self.config.groups,
                    self.config.asynchronous,
                    self.standing.update,
                )
                if self.standing.rollouts:
                    self._rollouts.load_state(self.standing.rollouts)
                async with self._rollouts:
                    await self._updates()
        finally:
            if placement is not None:
                await placement.close()
            self._thread.shutdown()
            self.states.settle()

    async def _update(self) -> dict[str, float]:
        began = time.monotonic()
        figures = await super()._update()
        if self._rollouts is not None and self._placement is not None and self.run is not None:
            seconds = time.monotonic() - began
            told = self._rollouts.figures() | await self._placement.figures()
            told["refresh_seconds"] = self._refreshing
            told["trainer_use"] = max(0.0, figures["learn_seconds"] - self._refreshing) / max(1e-9, seconds)
            told["samples_per_second"] = figures["episodes"] / max(1e-9, seconds)
            self.run.log(self.standing.update + 1, "rollouts", **told)
        return figures

    async def _groups(self, number: int, count: int) -> list[Group]:
        """This rank's share of the next `count` groups."""
        groups = await self._by_first(lambda rollouts: rollouts.take(count))
        return groups[self.rank :: self.world]

    async def _greedily(self, starts: Sequence[tuple[Task, int]]) -> list[Trajectory]:
        """All of them on rank 0, none elsewhere."""
        jobs, sampling = group_jobs(starts, 1, "validation"), replace(self.sampling, temperature=0.0, seed=0)
        played = await self._by_first(lambda rollouts: rollouts.evaluate(jobs, sampling))
        return played if self.rank == 0 else []

    async def _learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """In a thread of its own, so that episodes go on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(super()._learn_now, groups))

    async def _learned(self) -> dict[str, Tensor]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.states.learned)

    async def _refresh(self, version: int) -> None:
        began = time.monotonic()
        weights = await self._learned()
        if self._placement is not None and self._rollouts is not None:
            await self._placement.refresh(weights, version)
            self._rollouts.version = version
        self._refreshing = time.monotonic() - began

    async def _counts(self) -> Counter[str]:
        return Counter() if self._placement is None else await self._placement.counts()

    async def _by_first(self, work: Callable[[Rollouts], Awaitable[T]]) -> T:
        """What `work` gives on rank 0, for every rank. The others hear now and then that it goes on: a collective operation that
        waits for too long is taken for one that hangs."""
        if self._rollouts is None:
            while not (found := agreed(None)):
                pass
            return found[0]
        waiting = asyncio.ensure_future(work(self._rollouts))
        try:
            while self.world > 1:
                done, _ = await asyncio.wait({waiting}, timeout=_WORD)
                agreed([waiting.result()] if done else None)
                if done:
                    break
            return await waiting
        finally:
            waiting.cancel()

    # ------------------------------------------------------------------------------------------------------- what is played

    def _begin(self, number: int, without: frozenset[str]) -> list[EpisodeJob]:
        """The jobs of a group, none where no task is left."""
        random = Random(f"rl {self.config.seed} asynchronous {number}")
        left = [task for task in self.tasks if task.id not in without]
        if not left:
            return []
        drawn = (self.curriculum.draw(random, 1)[0] for _ in range(_DRAWS))
        task = next((task for task in drawn if task.id not in without), None) or random.choice(left)
        seed = random.choice(train_seeds(self.config.seeds, self.config.first))
        jobs = self.dynamic.jobs([(task, seed)], f"{number}.0", self.config.max_steps)
        more = range(len(jobs), len(jobs) + self.config.asynchronous.oversample)
        return [*jobs, *(replace(jobs[0], index=index) for index in more)]

    def _sampling_of(self, number: int) -> Sampling:
        return replace(self.sampling, seed=Random(f"sampling {self.config.seed} asynchronous {number}").getrandbits(48))

    def _learned_before(self, summary: Summary) -> bool:
        return int(summary.group.partition(".")[0]) in set(self.standing.rollouts.get("taken", ()))

    def _store_name(self) -> str:
        return "rollouts-0"

    # ---------------------------------------------------------------------------------------------------------- saved state

    async def _save(self) -> None:
        """In the trainer's thread: a slow disk does not stop the episodes."""
        self._note_standing()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._save_now)

    def _save_now(self) -> None:
        if self._rollouts is not None:
            self._rollouts.ledger.sync()
        super()._save_now()

    def _rollouts_state(self) -> dict[str, Any]:
        return {} if self._rollouts is None else self._rollouts.state()

    def _loaded(self) -> None:
        """Whoever plays is told later, when it has begun."""
