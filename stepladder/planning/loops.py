"""The two ways to tie playing and learning together: in turn, and at the same time.

`Synchronous` follows `stepladder.stages.rl`; `Asynchronous` is what fully asynchronous trainers do (AReaL, arXiv 2505.24298, whose
limit of staleness it has; DART-GUI, arXiv 2509.23866) and `stepladder.rollout.asynchronous` does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from stepladder.planning.episodes import Attempt, Environments, Group
from stepladder.planning.events import Do, Events, Level
from stepladder.planning.replica import Replica
from stepladder.planning.settings import Pipeline

#: At most so many times as many groups as are wanted are begun for those that will have no signal, as by
#: `stepladder.rollout.expansion`, which estimates their share.
MOST_EXPANSION = 4.0


class Loop(ABC):
    """`version` counts updates, `busy` is the trainer's time, `depth` the number of groups that wait to be learned from. `counts`
    has groups begun, flat, dropped and learned. After each update `on_update` is called with the groups that it learned from."""

    def __init__(self, pipeline: Pipeline, events: Events, seed: int, on_update: Callable[[Sequence[Group]], None]) -> None:
        self.pipeline, self.events = pipeline, events
        loads = [0] * pipeline.engine.replicas
        self.replicas = [Replica(events, pipeline.engine, loads, number) for number in range(len(loads))]
        count, over = pipeline.loop.environments, self._episode_over
        self.environments = Environments(count, events, pipeline.workload, self.replicas, loads, seed, over, self._freed)
        self.version = 0
        self.busy, self.depth = Level(events), Level(events)
        self.counts: Counter[str] = Counter()
        #: Groups of which a member has not begun, and all that are not over.
        self.opened: deque[Group] = deque()
        self.unfinished: dict[int, Group] = {}
        self._numbers = 0
        self._outdated: list[Replica] = []
        self._updating: list[Replica] = []
        self._seed, self._on_update = seed, on_update

    @abstractmethod
    def start(self) -> None:
        """Begin with the first episodes."""

    @abstractmethod
    def more(self) -> bool:
        """Whether another group may begin, asked when an environment is free and no member of a begun group is left for it."""

    @abstractmethod
    def group_over(self, group: Group) -> None:
        """All members of `group` are over."""

    def dispatch(self) -> None:
        """Begin episodes in the environments that are free."""
        while self.environments.free:
            if not self.opened:
                if not self.more():
                    return
                self.open_group()
            group = self.opened[0]
            member = group.begun
            group.begun += 1
            if group.begun == group.needed + group.extra:
                self.opened.popleft()
            self.environments.begin(group, member)

    def open_group(self) -> None:
        number = self._numbers
        self._numbers += 1
        flat = Random(f"flat {self._seed} {number}").random() < self.pipeline.workload.flat
        loop = self.pipeline.loop
        extra = loop.extra_members if loop.mode == "asynchronous" else 0
        group = Group(number, loop.group_size, extra, flat, self.version)
        self.opened.append(group)
        self.unfinished[number] = group
        self.counts["begun"] += 1

    def expanded(self, wanted: float) -> int:
        """As many groups as have to be played so that so many have a signal, on average."""
        flat = self.pipeline.workload.flat if self.pipeline.loop.expand else 0.0
        return math.ceil(wanted * min(MOST_EXPANSION, 1 / (1 - flat)) - 1e-9)

    def learn(self, groups: Sequence[Group], then: Do) -> None:
        """Take an update on `groups`, then give the engines its weights."""
        speed = self.pipeline.trainer
        for group in groups:
            group.learned_at = self.version
        steps, tokens = sum(group.steps for group in groups), sum(group.tokens for group in groups)
        self.busy.add(1)

        def learned() -> None:
            self.busy.add(-1)
            self.version += 1
            self.counts["learned"] += len(groups)
            self._publish(published)

        def published() -> None:
            self._on_update(groups)
            then()

        self.events.after(speed.update_seconds + steps * speed.step_seconds + tokens * speed.token_seconds, learned)

    def _publish(self, then: Do) -> None:
        engine = self.pipeline.engine
        if engine.staggered:
            # Those that still wait for an older version come first, and get this one.
            self._outdated += [replica for replica in self.replicas if replica not in self._outdated]
            self._update_some()
            then()
            return
        left = len(self.replicas)

        def done() -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        for replica in self.replicas:
            replica.update(engine.update_seconds, self.version, engine.in_progress, done)

    def _update_some(self) -> None:
        """Update as many replicas as may be at a time."""
        engine = self.pipeline.engine
        for replica in [one for one in self._outdated if one not in self._updating][: engine.staggered - len(self._updating)]:
            self._outdated.remove(replica)
            self._updating.append(replica)
            replica.update(engine.update_seconds, self.version, engine.in_progress, partial(self._updated, replica))

    def _updated(self, replica: Replica) -> None:
        self._updating.remove(replica)
        self._update_some()

    def _close(self, group: Group) -> None:
        """Break off whatever is left of a group."""
        if group.left:
            group.closed = True
            if group in self.opened:
                self.opened.remove(group)
            for attempt in [one for one in self.environments.playing.values() if one.group is group]:
                self.environments.drop(attempt)

    def _freed(self) -> None:
        self.dispatch()

    def _episode_over(self, group: Group, attempt: Attempt | None) -> None:
        group.left -= 1
        if attempt is not None:
            group.episodes += 1
            group.steps += attempt.steps
            group.tokens += attempt.tokens
            group.versions += attempt.versions
            group.oldest = min(group.oldest, *attempt.versions)
        if not group.left or group.episodes == group.needed:
            del self.unfinished[group.number]
            self._close(group)
            self.counts["flat"] += group.fruitless
            self.group_over(group)
        self.dispatch()


class Synchronous(Loop):
    """Play, then learn."""

    _round = 0
    _learning = False

    def start(self) -> None:
        """See `Loop.start`."""
        self._kept: list[Group] = []
        self._ready: list[Group] = []
        self._begin_update()

    def more(self) -> bool:
        """All groups of a round are opened when it begins."""
        return False

    def dispatch(self) -> None:
        """See `Loop.dispatch`; nothing begins while the trainer learns."""
        if not self._learning:
            super().dispatch()

    def group_over(self, group: Group) -> None:
        """See `Loop.group_over`."""
        loop = self.pipeline.loop
        self._played += 1
        self._flat += group.fruitless
        if self._learning:
            self._ready += [] if group.fruitless else [group]
            return
        self._kept += [] if group.fruitless else [group]
        if loop.oversample > 1 and len(self._kept) >= loop.groups:
            self._stop()
        elif not self.unfinished:
            self._begin_round()

    def _begin_update(self) -> None:
        self._kept, self._ready = self._ready, []
        self._learning = False
        self._round = self._played = self._flat = 0
        self._begin_round()

    def _begin_round(self) -> None:
        loop = self.pipeline.loop
        missing = loop.groups - len(self._kept)
        if missing <= 0 or self._round == loop.rounds:
            self._learn()
            return
        self._round += 1
        for _ in range(self.expanded(missing * loop.oversample) - len(self.unfinished)):
            self.open_group()
        self.dispatch()

    def _stop(self) -> None:
        """Enough groups are over."""
        if self.pipeline.loop.unfinished == "carry":
            for replica in self.replicas:
                replica.stop()
        else:
            for group in self.unfinished.values():
                self._close(group)
            self.counts["dropped"] += len(self.unfinished)
            self.unfinished.clear()
        self._learn()

    def _learn(self) -> None:
        self._learning = True
        self.learn(self._kept, self._go_on)

    def _go_on(self) -> None:
        for replica in self.replicas:
            replica.resume()
        self._begin_update()


class Asynchronous(Loop):
    """Play and learn."""

    _round = 0
    _wanted = 0
    _open = 0

    def start(self) -> None:
        """See `Loop.start`."""
        self._kept: list[Group] = []
        self._whole: dict[int, Group] = {}
        self._begin_update()

    def more(self) -> bool:
        """See `LoopSettings`."""
        loop = self.pipeline.loop
        return self._open < loop.groups * loop.staleness + self._wanted

    def open_group(self) -> None:
        """See `Loop.open_group`."""
        super().open_group()
        self._open += 1

    def group_over(self, group: Group) -> None:
        """See `Loop.group_over`."""
        self._whole[group.number] = group
        self.depth.add(1)
        self._take()

    def _begin_update(self) -> None:
        self._kept, self._round = [], 0
        self._begin_round()

    def _begin_round(self) -> None:
        loop = self.pipeline.loop
        missing = loop.groups - len(self._kept)
        if missing <= 0 or self._round == loop.rounds:
            self.learn(self._kept, self._begin_update)
            return
        self._round += 1
        self._wanted = self.expanded(missing)
        self._take()
        self.dispatch()

    def _take(self) -> None:
        """Groups that are over, those that were begun first before others, as long as the trainer wants any."""
        loop = self.pipeline.loop
        if not self._wanted:
            return
        while self._wanted and self._whole:
            group = self._whole.pop(min(self._whole))
            self.depth.add(-1)
            self._open -= 1
            if loop.late == "drop" and self.version - group.oldest > loop.staleness:
                self.counts["dropped"] += 1
                continue
            self._wanted -= 1
            self._kept += [] if group.fruitless else [group]
        if not self._wanted:
            self._begin_round()
