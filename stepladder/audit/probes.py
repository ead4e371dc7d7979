"""What is tried on one start of a task: doing nothing, giving up, clicking at random, and the solution with something wrong in it.

Every probe but the oracle is an episode that did not do what was asked for, as far as one can know without understanding the task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from stepladder.audit.attempt import Attempt, Recording, Void, attempt, followed, record, replay
from stepladder.audit.wrong import POINTED, VALUES, clickable, wrong_actions
from stepladder.config import ConfigError
from stepladder.interfaces import Demonstrator, Environment
from stepladder.rollout.demonstrate import HasRegions
from stepladder.types import Action, Box, Observation, Region, Task, Trajectory

Probe = Literal["oracle", "idle", "gives_up", "random", "stopped_early", "wrong_argument", "perturbed", "perturbed_after"]
PROBES: tuple[Probe, ...] = (
    *("oracle", "idle", "gives_up", "random", "stopped_early", "wrong_argument", "perturbed", "perturbed_after"),
)
#: Harm that is done before a solution's last action, which then hands it in, and harm that is done after its end.
HARMS = ("typed", "erased", "undone", "clicked")
HARMS_AFTER = ("typed", "undone", "closed")
STRAY_TEXT = "q7"
_HARMS = {
    "typed": Action("type", text=STRAY_TEXT),
    "erased": Action("key", keys=("backspace",)),
    "undone": Action("key", keys=("ctrl", "z")),
    "closed": Action("key", keys=("alt", "f4")),
}
#: Of these a wrong argument may show nothing and still matter: a password shows dots.
_HIDDEN = ("type", "done", "call")


@dataclass(frozen=True)
class ProbeSettings:
    """How much is tried on each start.

    random   episodes of random clicks, as long as the task allows
    early    so many steps before its end the solution is stopped, and each number below it (0: not at all, None: all of them)
    wrong    episodes in which one argument of the solution is wrong, drawn so that all kinds of actions have their turn (0: none,
             None: every action in every way)
    harms    what is done before the solution's last action: "typed" a stray text, "erased" a character, "undone" what was done
             last, "clicked" another box to tick, choice or slider
    after    what is done after its end: "typed", "undone", "closed" the window
    """

    random: int = 4
    early: int | None = 1
    wrong: int | None = 4
    harms: tuple[str, ...] = HARMS
    after: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("random", "early", "wrong"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"probes.{name} is {value}; it must be at least 0")
        for name, known in (("harms", HARMS), ("after", HARMS_AFTER)):
            for harm in getattr(self, name):
                if harm not in known:
                    raise ConfigError(f"probes.{name} holds {harm!r}; there are {', '.join(known)}")


@dataclass(frozen=True)
class Outcome:
    """What one probe came to on one start.

    `way` says how a probe was wrong ("text_changed", "typed", "2 early"), `step` counts from 1 the step at which it left the
    solution (0: it never followed one). `reward` is None when there is none: the environment failed (`error`) or the episode says
    nothing (`void` says why). `evidence` is the id of the trajectory where it is kept.
    """

    task: str
    seed: int
    probe: Probe
    way: str = ""
    number: int = 0
    step: int = 0
    reward: float | None = None
    steps: int = 0
    infeasible: bool = False
    void: str = ""
    error: str = ""
    evidence: str = ""

    @property
    def failed(self) -> bool:
        """The environment broke: nothing is known."""
        return self.reward is None and not self.void

    @property
    def earned(self) -> bool:
        return self.reward is not None and self.reward > 0


#: An outcome with its episode; None where there was none.
Tried = tuple[Outcome, Trajectory | None]
Body = Callable[[Attempt], Awaitable[None]]


@dataclass
class Prober:
    """Tries everything on one start, in one environment, one episode after another."""

    environment: Environment
    task: Task
    seed: int
    settings: ProbeSettings = field(default_factory=ProbeSettings)

    async def all(self) -> AsyncIterator[Tried]:
        """Every outcome with its episode, the solution first. The environment's own failures are outcomes."""
        recording = await record(self.environment, self.task, self.seed) if isinstance(self.environment, Demonstrator) else None
        infeasible = "infeasible" in self.task.tags
        if recording is not None:
            # One that gives up and earns nothing for it has only not found its way.
            infeasible = infeasible or (recording.trajectory.status == "gave_up" and recording.trajectory.reward == 1.0)
            yield self._outcome("oracle", recording.trajectory, infeasible=infeasible), recording.trajectory
        for tried in (
            await self._try("idle", _ends(Action("done"))),
            await self._try("gives_up", _ends(Action("fail"))),
            *[await self._try("random", self._clicks(number), number=number) for number in range(self.settings.random)],
        ):
            yield replace(tried[0], infeasible=infeasible), tried[1]
        if recording is None or infeasible:
            return
        if recording.trajectory.reward != 1.0:
            return  # a solution that fails says nothing about its own variations; its outcome tells
        async for tried in self._variations(recording):
            yield tried

    async def _variations(self, recording: Recording) -> AsyncIterator[Tried]:
        acting = recording.acting
        most = len(acting) if self.settings.early is None else self.settings.early
        for early in range(1, min(most, len(acting) - 1) + 1):
            yield await self._try("stopped_early", _stops(recording, acting[-early]), f"{early} early", step=acting[-early] + 1)
        for number, step in self._drawn(recording):
            yield await self._wrong(recording, step, number)
        for harm in self.settings.harms if acting else ():
            if harm == "clicked" and not isinstance(self.environment, HasRegions):
                continue  # nobody knows what else there is to click
            if harm in ("erased", "undone") and len(acting) == 1:
                continue  # nothing was done yet that could be erased or undone
            yield await self._try("perturbed", self._harms(recording, acting[-1], harm), harm, step=acting[-1] + 1)
        ended = recording.final is not None and recording.final.done and recording.turns[-1].action.kind != "done"
        for harm in self.settings.after if acting and not ended else ():
            # A solution that says that all is done may be followed by one more deed in place of these words.
            end = len(recording.turns) - (recording.turns[-1].action.kind == "done")
            yield await self._try("perturbed_after", _harms_after(recording, end, harm), harm, step=end + 1)

    def _drawn(self, recording: Recording) -> list[tuple[int, int]]:
        """(number, turn) of the actions of which an argument is made wrong: every kind once, then every kind again."""
        random = Random(f"wrong {self.task.id} {self.seed}")
        kinds: dict[str, list[int]] = {}
        for turn in recording.acting:
            kinds.setdefault(recording.turns[turn].action.kind, []).append(turn)
        for turns in kinds.values():
            random.shuffle(turns)
        # Every action of a solution can be wrong in at most two ways.
        longest = max(map(len, kinds.values()), default=0)
        rounds = [turns[place] for place in range(longest) for turns in kinds.values() if place < len(turns)]
        every = [(number, turn) for number in (0, 1) for turn in rounds if number < _ways(recording.turns[turn].action)]
        return every if self.settings.wrong is None else every[: self.settings.wrong]

    async def _wrong(self, recording: Recording, turn: int, number: int) -> Tried:
        used: list[str] = []

        async def body(one: Attempt) -> None:
            async with followed(one, recording, turn) as right:
                assert right is not None
                assert one.observation is not None
                screen = one.observation.screenshot
                boxes: Sequence[Box] = ()
                if right[1].kind in (*POINTED, "drag"):
                    boxes = clickable(await one.regions(), one.observation.tree)
                random = Random(f"wrong {self.task.id} {self.seed} {turn} {number}")
                choices = list(wrong_actions(right[1], screen, boxes, random))
                if number >= len(choices):
                    raise Void(f"there is no {'other ' if number else ''}way to make {right[1].kind} wrong here")
                way, action = choices[(number + turn) % len(choices)]
                used.append(way)
                shown = await one.act(action)
            if action.kind not in _HIDDEN and not one.over and _alike(shown, recording.after(turn)):
                raise Void("it had the effect of the right one")
            await replay(one, recording.turns[turn + 1 :])

        tried = await self._try("wrong_argument", body, number=number, step=turn + 1)
        return replace(tried[0], way=used[0] if used else ""), tried[1]

    def _harms(self, recording: Recording, turn: int, harm: str) -> Body:
        async def body(one: Attempt) -> None:
            async with followed(one, recording, turn) as last:
                assert last is not None
                assert one.observation is not None
                before = one.observation
                action = _HARMS.get(harm) or self._stray_click(await one.regions(), recording)
                if action is None:
                    raise Void("there is nothing else to tick, to choose or to slide")
                shown = await one.act(action)
                if not one.over and _alike(shown, before):
                    raise Void("it changed nothing")
            await replay(one, recording.turns[turn:])

        return body

    def _stray_click(self, regions: Sequence[Region], recording: Recording) -> Action | None:
        """A click on something with a value that the solution leaves alone."""
        touched = [
            (turn.action.x, turn.action.y) for turn in recording.turns if turn.action.x is not None and turn.action.y is not None
        ]
        boxes = dict.fromkeys(one.target for one in regions if one.target is not None and one.target_kind in VALUES)
        others = [box for box in boxes if not any(_in(box, *place) for place in touched)]
        if not others:
            return None
        left, top, width, height = Random(f"stray {self.task.id} {self.seed}").choice(others)
        return Action("click", x=left + width / 2, y=top + height / 2)

    def _clicks(self, number: int) -> Body:
        random = Random(f"random {self.task.id} {self.seed} {number}")

        async def body(one: Attempt) -> None:
            for _ in range(self.task.max_steps):
                assert one.observation is not None
                screen = one.observation.screenshot
                if screen is None:
                    raise Void("there is no screenshot to click on")
                await one.act(Action("click", x=random.uniform(0, screen.width - 1), y=random.uniform(0, screen.height - 1)))
                if one.over:
                    return

        return body

    async def _try(self, probe: Probe, body: Body, way: str = "", number: int = 0, step: int = 0) -> Tried:
        name = "-".join(str(part) for part in (probe, way.replace(" ", "-"), step or "", number) if part != "")
        try:
            trajectory = await attempt(self.environment, self.task, self.seed, name, body)
        except Void as void:
            return Outcome(self.task.id, self.seed, probe, way, number, step, void=str(void)), None
        return self._outcome(probe, trajectory, way=way, number=number, step=step), trajectory

    def _outcome(
        self, probe: Probe, found: Trajectory, way: str = "", number: int = 0, step: int = 0, infeasible: bool = False
    ) -> Outcome:
        count, error = len(found.steps), found.error or ""
        return Outcome(self.task.id, self.seed, probe, way, number, step, found.reward, count, infeasible, error=error)


def _ends(action: Action) -> Body:
    async def body(one: Attempt) -> None:
        await one.act(action)

    return body


def _stops(recording: Recording, turn: int) -> Body:
    async def body(one: Attempt) -> None:
        async with followed(one, recording, turn):
            pass

    return body


def _harms_after(recording: Recording, end: int, harm: str) -> Body:
    async def body(one: Attempt) -> None:
        async with followed(one, recording, end):
            pass
        before = one.observation
        shown = await one.act(_HARMS[harm])
        if _alike(shown, before):
            raise Void("it changed nothing")

    return body


def _ways(action: Action) -> int:
    """In how many ways an argument of this action can be wrong, at most."""
    return 2 if action.kind in (*POINTED, "type", "done") else 1


def _alike(one: Observation | None, other: Observation | None) -> bool:
    """Whether two states count as the same. What the environment says of them goes before pixels: a ring around what has the focus
    is no change."""
    if one is None or other is None:
        return False
    return one.state_key == other.state_key if one.state_key and other.state_key else one.screenshot == other.screenshot


def _in(box: Box, x: float, y: float) -> bool:
    left, top, width, height = box
    return left <= x <= left + width and top <= y <= top + height
