"""One play: an environment, who acts in it, what a page is shown of it, and the trajectory that it becomes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepladder.agents.osworld_prompt import ObservationType
from stepladder.config import ConfigError
from stepladder.data.regions import RegionStore
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment, EnvironmentFailure
from stepladder.recorder.merge import InputEvent, Merger
from stepladder.rollout.demonstrate import HasRegions
from stepladder.rollout.episode import Actor, act_out
from stepladder.rollout.observing import observed, observing_options
from stepladder.rollout.opening import close_environments, open_environments
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Limits, Observation, Step, Task, Trajectory
from stepladder.viewer.play_actor import Deed, GuidedActor, NotNow, is_persons
from stepladder.viewer.play_starts import OwnInstruction
from stepladder.viewer.play_state import state_of

#: What is said of a play in `Trajectory.extra`.
EXTRA = "play"
#: Seconds after its last character that a typed text is carried out; between two looks at the time; without anybody who looks on
#: before the agent is stopped (a page that loads again is away for a moment).
TEXT_PAUSE, TICK, GRACE = 0.7, 0.1, 5.0
#: Seconds from one state that is told to the next.
BREATH = 0.05
#: Seconds that environments may take in one play altogether: a person takes their time.
PLAY_DEADLINE = 6 * 3600.0
_logger = logging.getLogger(__name__)

#: The actor of one episode (None: the person alone), and in whose words it speaks (None: in none).
Acting = tuple[Actor | None, Agent | None]


@dataclass(frozen=True)
class Opened:
    """A player that is ready: `observe` is what it is shown, `act` gives the actor of one episode of a task from a seed."""

    act: Callable[[Environment, Task, int], Acting]
    observe: ObservationType = "screenshot"


@dataclass(frozen=True)
class Player:
    """Somebody who can be chosen to play. `open` may take a while, for it may load a model; it raises UserError when that cannot be
    had. `demonstrates` says that the environment's own solution is played, which there is for its own tasks alone."""

    name: str
    open: Callable[[], Awaitable[Opened]]
    demonstrates: bool = False


@dataclass(frozen=True)
class PlaySettings:
    """`tasks` can be picked, and be started from with an instruction of one's own; `starts` only the latter. `players` are in the
    order in which they are offered. A play becomes a trajectory in `store`, with its pictures in `images` and what is where on them
    in `regions`; `run` and `store_name` are what the viewer calls the store.

    `sessions` plays can go on at a time. One that nobody looks at for `absence` seconds is given up. A play has `max_steps` turns
    at most, whatever its task says, for a person's turns count too. An agent that acts by itself is asked every `pace` seconds at
    most. `options` go to the environment.
    """

    tasks: Sequence[Task]
    starts: Sequence[Task]
    players: Mapping[str, Player]
    store: TrajectoryStore
    images: ImageStore
    regions: RegionStore
    run: str = "plays"
    store_name: str = "plays"
    sessions: int = 2
    pace: float = 0.4
    absence: float = 600.0
    max_steps: int = 200
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sessions < 1 or self.absence <= 0 or self.max_steps < 1 or self.pace < 0:
            given = f"sessions {self.sessions}, absence {self.absence}, max_steps {self.max_steps}, pace {self.pace:g}"
            raise ConfigError(f"{given}: the first three must be above 0, and the last one not below")


class Play:
    """From `begin` on it plays by itself until it has ended, or `abandon` is called."""

    def __init__(self, identifier: str, settings: PlaySettings, task: Task, seed: int, player: Player, instruction: str) -> None:
        self.id, self.settings, self.task, self.seed, self.player = identifier, settings, task, seed, player
        self.instruction = instruction
        self.actor = GuidedActor(None, None, self._tell)
        self.trajectory: Trajectory | None = None
        self.error: str | None = None
        self.shown: set[str] = set()
        self._observers: set[asyncio.Event] = set()
        self._last_seen = time.monotonic()
        self._merger = Merger(TEXT_PAUSE)
        #: The page's clock less this process's, in seconds.
        self._ahead = 0.0
        #: What the person thinks; it goes with what they do next.
        self.thought = ""
        self._verdict: asyncio.Future[float] | None = None
        self._running: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._running = asyncio.create_task(self._play())
        self._watching = asyncio.create_task(self._look_after())

    @property
    def over(self) -> bool:
        return self.actor.doing == "ended"

    async def abandon(self, why: str) -> None:
        """End it at once and keep nothing. May be called twice."""
        if not self.over:
            _logger.warning("the play of %s with %s: %s; nothing is kept", self.task.id, self.player.name, why)
            self.error = self.error or f"{why}; nothing was kept"
        for work in (self._running, self._watching):
            if work is not None and work is not asyncio.current_task():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
        self._end()

    async def states(self) -> AsyncGenerator[dict[str, Any], None]:
        """What a page shows, now and after every change, until the play is over. While somebody iterates, somebody looks on."""
        changed = asyncio.Event()
        changed.set()
        self._observers.add(changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                over, state = self.over, state_of(self)
                yield state
                if over:
                    return
                await asyncio.sleep(BREATH)  # an agent may be quicker than pages can be drawn
        finally:
            self._observers.discard(changed)
            self._last_seen = time.monotonic()

    # ------------------------------------------------------------------------------------------------- what the person says

    def feed(self, events: Sequence[InputEvent]) -> None:
        """Mouse and keyboard of a person who drives; they become actions as the recorder makes them. Raises NotNow."""
        if self.actor.driver != "person":
            raise NotNow("the agent is acting; take over first")
        for event in events:
            self._ahead = event.time - time.monotonic()
            self._do(deed.action for deed in self._merger.take(event))
        self._tell()

    def act(self, deed: Deed) -> None:
        """Raises NotNow."""
        self._do(done.action for done in self._merger.finish())
        self._act(deed)

    def think(self, thought: str) -> None:
        """Why the person does what they do next, from now on. Raises NotNow when what they did before cannot be done."""
        self._do(done.action for done in self._merger.finish())
        self.thought = thought
        self._tell()

    def hand_back(self) -> None:
        """Raises NotNow."""
        self._do(done.action for done in self._merger.finish())
        self.actor.hand_back()

    def finish(self, action: Action) -> None:
        """Raises NotNow."""
        self._do(done.action for done in self._merger.finish())
        self.actor.finish(action)

    def judge(self, success: bool) -> None:
        """Whether an instruction of the person's own was carried out. Raises NotNow when that is not asked."""
        if self._verdict is None or self._verdict.done():
            raise NotNow("nothing waits for your verdict")
        self._verdict.set_result(float(success))

    @property
    def pending(self) -> Action | None:
        """What the person is about to have done: an action that may still go on."""
        return self._merger.pending

    def _do(self, actions: Any) -> None:
        for action in actions:
            self._act(Deed("", (action,)))

    def _act(self, deed: Deed) -> None:
        self.actor.act(replace(deed, thought=deed.thought or self.thought))
        self.thought = ""

    # -------------------------------------------------------------------------------------------------------- the episode

    async def _play(self) -> None:
        environment: Environment | None = None
        inner: Actor | None = None
        try:
            settings, opened = self.settings, await self.player.open()
            options = observing_options(self.task.env, settings.options, opened.observe)
            (environment,) = await open_environments(self.task.env, settings.images, 1, options)
            inner, agent = opened.act(environment, self.task, self.seed)
            self.actor, before = GuidedActor(inner, agent, self._tell, settings.pace), self.actor
            self.actor.review, self.actor.paused = before.review, before.paused
            self._tell()
            self._keep(await self._episode(environment, opened.observe))
        except (EnvironmentFailure, UserError) as error:  # before the episode: in it they are a status
            self.error = str(error)
        except Exception as error:
            _logger.exception("a play failed in a way that it should not")
            self.error = f"{type(error).__name__}: {error}"
        finally:
            with contextlib.suppress(Exception):
                await getattr(inner, "close", _nothing)()
            if environment is not None:
                await close_environments([environment])
            self._end()

    async def _episode(self, environment: Environment, observe: ObservationType) -> Trajectory:
        settings = self.settings
        limits = Limits(settings.max_steps, max_parse_errors=settings.max_steps + 1, deadline=PLAY_DEADLINE)

        async def watch(_: Environment, observation: Observation, steps: Sequence[Step]) -> None:
            if observation.screenshot is not None:
                self.shown.add(observation.screenshot.sha256)
                if isinstance(environment, HasRegions) and observation.screenshot not in settings.regions:
                    with contextlib.suppress(Exception):  # such as a page that stands still behind its dialog; it breaks no play
                        settings.regions.append(observation.screenshot, await environment.regions())

        played = observed(environment, observe, settings.images)
        if self.instruction:
            played = OwnInstruction(played, self.instruction, self._judged)
        return await act_out(played, self.actor, self.task, self.seed, limits=limits, watch=watch)

    async def _judged(self, last: Observation) -> float:
        self.actor.observation = last
        if last.screenshot is not None:
            self.shown.add(last.screenshot.sha256)
        self._verdict = asyncio.get_running_loop().create_future()
        self.actor.doing = "judging"
        self._tell()
        return await self._verdict

    def _keep(self, trajectory: Trajectory) -> None:
        """A trajectory like any other, under an id that the store does not have."""
        steps = self.actor.marked(trajectory.steps)
        store, policy = self.settings.store, trajectory.policy
        index = sum(one.task == trajectory.task.id and one.policy == policy for one in store.summaries())
        of_person = sum(map(is_persons, steps))
        corrected = sum("proposed" in step.extra for step in steps)
        kept = replace(
            trajectory,
            id=f"{trajectory.task.id}-{trajectory.seed}-{policy}-{index}",
            index=index,
            steps=steps,
            extra={EXTRA: {"person_steps": of_person, "corrected": corrected}},
        )
        store.append(kept)
        store.sync()
        self.trajectory = kept
        if trajectory.final is not None:
            self.actor.observation = trajectory.final
            if trajectory.final.screenshot is not None:
                self.shown.add(trajectory.final.screenshot.sha256)

    async def _look_after(self) -> None:
        """Carry out what was typed when nothing follows; stop an agent that nobody looks at; give up what nobody comes back to."""
        while not self.over:
            await asyncio.sleep(TICK)
            try:
                self._do(deed.action for deed in self._merger.until(time.monotonic() + self._ahead))
            except NotNow as refused:
                self.actor.notice = str(refused)
                self._tell()
            if self._observers:
                continue
            away = time.monotonic() - self._last_seen
            if away > self.settings.absence:
                await self.abandon(f"nobody has looked at it for {self.settings.absence:g} s")
            elif away > GRACE and not self.actor.paused:
                self.actor.pause()

    def _end(self) -> None:
        self.actor.doing = "ended"
        self._tell()

    def _tell(self) -> None:
        for observer in self._observers:
            observer.set()


async def _nothing() -> None:
    """Of an actor that has nothing to close."""
