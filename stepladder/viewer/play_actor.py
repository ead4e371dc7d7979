"""An agent that a person watches, pauses, steps, corrects and stands in for, as one actor of an ordinary episode.

Every turn passes two gates. Before the agent is asked it waits while the play is paused. What the agent then proposes waits while
the play is paused or every proposal is to be looked at; there it is carried out, corrected or turned down. While the person drives,
the agent is not asked.

A person's step has no completion, and `extra["person"]` is true; where it stands in the place of something that the agent had
proposed, that is kept in `extra["proposed"]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from stepladder.agents.replies import write_reply
from stepladder.codec import to_json
from stepladder.interfaces import Agent, EnvironmentFailure
from stepladder.rollout.episode import Actor
from stepladder.types import Action, Imitated, Observation, Status, Step, Task

PERSON: Final = "person"
PROPOSED: Final = "proposed"
#: So many replies in a row that cannot be read pause the play.
MOST_UNREADABLE = 3
#: A person may be so many actions ahead of the environment.
MOST_WAITING = 64
Doing = Literal["starting", "paused", "thinking", "proposed", "acting", "person", "judging", "ended"]
_logger = logging.getLogger(__name__)


class NotNow(ValueError):
    """What was asked for cannot be done at this point of a play, or at all; the message is for the person."""


@dataclass(frozen=True)
class Deed:
    """What a person wants to be done: one reply's worth of actions, with a thought where one was written."""

    thought: str
    actions: tuple[Action, ...]


class GuidedActor:
    """`inner` proposes (None: the person does everything), in the words of `agent` (None: in none, so that anything can be done).
    `changed` is called whenever there is something new to be shown. An inner actor whose attribute `interruptible` is false,
    because it looks at the environment while it thinks, is waited for in any case. While it acts by itself, the agent is asked at
    most every `pace` seconds, so that a person can follow."""

    def __init__(self, inner: Actor | None, agent: Agent | None, changed: Callable[[], None], pace: float = 0.0) -> None:
        self.doing: Doing = "starting"
        self.driver: Literal["agent", "person"] = "person" if inner is None else "agent"
        self.paused = self.review = False
        self.proposal: Step | None = None
        self.notice = ""
        self.task: Task | None = None
        self.observation: Observation | None = None
        self.steps: Sequence[Step] = ()
        #: What of the agent's own steps is to be learned, by their index, where it is not all of it.
        self.marks: dict[int, Imitated] = {}
        self._inner, self._agent, self._tell = inner, agent, changed
        self._changed = asyncio.Event()
        self._single = False
        self._answer: Deed | Literal["carry out"] | None = None
        self._deeds: deque[Deed] = deque()
        self._ending: Action | None = None
        self._approved: set[int] = set()
        #: When the agent may be asked again, on the monotonic clock.
        self._pace, self._next = pace, 0.0

    @property
    def name(self) -> str:
        """See `Actor.name`; what a person has had a hand in is not called by the policy's name alone."""
        if self._inner is None:
            return PERSON
        return f"{self._inner.name}+{PERSON}" if any(map(is_persons, self.steps)) else self._inner.name

    @property
    def dialect(self) -> str:
        """See `Actor.dialect`."""
        return "" if self._inner is None else self._inner.dialect

    # ------------------------------------------------------------------------------------------------- what the person says

    def pause(self) -> None:
        self.paused, self._single = True, False
        self._wake()

    def run(self) -> None:
        """Go on without pauses, with the proposal that waits unless every one is to be looked at."""
        self.paused, self.notice = False, ""
        self._wake()

    def step(self) -> None:
        """Carry out the proposal that waits, or else let the agent make one turn; then pause. Raises NotNow."""
        self._need_agent()
        self.paused, self._single, self.notice = True, True, ""
        if self.proposal is not None:
            self._answer = "carry out"
        self._wake()

    def look_at_proposals(self, review: bool) -> None:
        """Whether every proposal waits for the person."""
        self.review = review
        self._wake()

    def carry_out(self) -> None:
        """Raises NotNow when no proposal waits."""
        self._need_proposal()
        self._answer = "carry out"
        self._wake()

    def correct(self, deed: Deed) -> None:
        """Do this instead of what is proposed. Raises NotNow."""
        self._need_proposal()
        self._check(deed)
        self._answer = deed
        self._wake()

    def take_over(self) -> None:
        """The person drives. A proposal that waits is turned down. Where none does, the steps that the agent has made since
        somebody last looked are not to be learned: one of them is why the person takes over, and nobody has said which. Raises
        NotNow when the play is over."""
        self._need_going_on()
        if self.driver == PERSON:
            return
        if self.proposal is None:
            for index in reversed(range(len(self.steps))):
                if is_persons(self.steps[index]) or index in self._approved:
                    break
                self.marks[index] = "nothing"
        self.driver, self._single, self.notice = PERSON, False, ""
        self._wake()

    def hand_back(self) -> None:
        """The agent goes on. Raises NotNow where there is none."""
        self._need_agent()
        self.driver, self.notice = "agent", ""
        self._wake()

    def act(self, deed: Deed) -> None:
        """What the person does while driving. Raises NotNow."""
        self._need_going_on()
        if self.driver != PERSON:
            raise NotNow("the agent is acting; take over first")
        if len(self._deeds) >= MOST_WAITING:
            raise NotNow(f"{MOST_WAITING} actions wait to be carried out; let the environment catch up")
        self._check(deed)
        self._deeds.append(deed)
        self._wake()

    def finish(self, action: Action) -> None:
        """End the episode with `action` (done or fail), after what the person did before. Raises NotNow."""
        self._need_going_on()
        self._check(Deed("", (action,)))
        self._ending = action
        self._wake()

    def mark(self, index: int, imitated: Imitated) -> None:
        """Say what of a step that was carried out is to be learned. Raises NotNow for one that there is not, and in the end."""
        if self.doing == "ended":
            raise NotNow("the play is over, and kept")
        if not 0 <= index < len(self.steps):
            raise NotNow(f"there is no step {index + 1}; there are {len(self.steps)}")
        self.marks[index] = imitated
        self._wake()

    def marked(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The steps of the episode with what is to be learned of them."""
        return tuple(replace(step, imitated=self.marks.get(index, step.imitated)) for index, step in enumerate(steps))

    @property
    def has_agent(self) -> bool:
        """Whether there is anybody but the person."""
        return self._inner is not None

    @property
    def waiting(self) -> int:
        """Actions of the person that are not carried out yet."""
        return len(self._deeds)

    # ------------------------------------------------------------------------------------------------------ the episode asks

    async def turn(self, task: Task, steps: Sequence[Step], observation: Observation) -> Step | Status:
        """See `Actor.turn`."""
        self.task, self.steps, self.observation = task, steps, observation
        self._pause_when_lost()
        turned_down: Step | None = None
        while True:
            if self._deeds:
                return self._persons(self._deeds.popleft(), turned_down)
            if self._ending is not None:
                return self._persons(Deed("", (self._ending,)), turned_down)
            if self.driver == PERSON:
                await self._until("person", lambda: self.driver != PERSON)
            elif self.paused and not self._single:
                await self._until("paused", lambda: not self.paused or self._single or self.driver == PERSON)
            elif not (self._single or self.review) and time.monotonic() < self._next:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._next - time.monotonic()):
                        await self._until("acting", lambda: self.paused or self.review or self.driver == PERSON)
            else:
                asked = await self._ask(task, steps, observation)
                if isinstance(asked, str):
                    return asked
                if asked is not None:
                    decided = await self._decide(asked)
                    if decided is not None:
                        return decided
                    turned_down = asked

    async def _ask(self, task: Task, steps: Sequence[Step], observation: Observation) -> Step | Status | None:
        """What the agent proposes; None when the person did not wait for it, or when it could not be asked."""
        assert self._inner is not None
        asking = asyncio.create_task(self._inner.turn(task, steps, observation))
        asking.add_done_callback(lambda _: self._changed.set())
        try:
            if getattr(self._inner, "interruptible", True):
                await self._until("thinking", lambda: asking.done() or self.driver == PERSON)
            else:
                self._show("thinking")
                await asyncio.wait([asking])
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        if asking.cancelled():
            return None
        try:
            return asking.result()
        except EnvironmentFailure:
            raise
        except Exception as error:  # a server that does not answer, a budget that is spent: the person may go on all the same
            _logger.warning("the agent of a play could not be asked", exc_info=True)
            self.paused, self._single = True, False
            self.notice = f"The agent could not be asked: {type(error).__name__}: {error}"
            return None

    async def _decide(self, proposal: Step) -> Step | None:
        """What becomes of a proposal: it is carried out, corrected or, with None, turned down."""
        self.proposal, self._answer = proposal, None
        try:
            if self.review or (self.paused and not self._single):
                await self._until("proposed", self._is_decided)
            answer = self._answer
            if isinstance(answer, Deed):
                return self._persons(answer, proposal)
            if answer is None and (self.driver == PERSON or self._deeds or self._ending is not None):
                return None
            if answer is not None:
                self._approved.add(len(self.steps))
        finally:
            self.proposal, self._answer, self._single = None, None, False
        self._next = time.monotonic() + self._pace
        self._show("acting")
        return proposal

    def _is_decided(self) -> bool:
        goes_on = not self.paused and not self.review
        return self._answer is not None or self.driver == PERSON or goes_on

    async def _until(self, doing: Doing, ready: Callable[[], bool]) -> None:
        """Wait; a deed or an ending of the person's always goes first."""
        self._show(doing)
        while not (ready() or self._deeds or self._ending is not None):
            self._changed.clear()
            await self._changed.wait()

    def _persons(self, deed: Deed, instead_of: Step | None) -> Step:
        assert self.observation is not None
        extra: dict[str, Any] = {PERSON: True}
        if instead_of is not None:
            extra[PROPOSED] = _in_json(instead_of)
        self._show("acting")
        return Step(self.observation, deed.actions[0], deed.thought, more=deed.actions[1:], extra=extra)

    def _pause_when_lost(self) -> None:
        last = self.steps[-MOST_UNREADABLE:]
        if len(last) == MOST_UNREADABLE and all(step.error is not None for step in last) and not self.paused:
            self.paused, self._single = True, False
            self.notice = f"{MOST_UNREADABLE} replies in a row could not be read: {last[-1].error}"

    # -------------------------------------------------------------------------------------------------------------- checks

    def _need_going_on(self) -> None:
        if self.doing in ("starting", "judging", "ended"):
            raise NotNow("the play has not begun yet" if self.doing == "starting" else "the play is over")

    def _need_agent(self) -> None:
        self._need_going_on()
        if self._inner is None:
            raise NotNow("nobody but you plays here; choose an agent for the next play")

    def _need_proposal(self) -> None:
        self._need_going_on()
        if self.proposal is None:
            raise NotNow("no proposal waits for you")

    def _check(self, deed: Deed) -> None:
        """What the agent has no words for it could neither be shown as its past nor learn."""
        if self._agent is None or self.observation is None:
            return
        try:
            write_reply(self._agent, deed.thought, deed.actions, self.observation)
        except ValueError as error:
            raise NotNow(f"{self._agent.name}, the dialect of this agent, cannot say that: {error}") from error

    def _show(self, doing: Doing) -> None:
        self.doing = doing
        self._tell()

    def _wake(self) -> None:
        self._changed.set()
        self._tell()


def is_persons(step: Step) -> bool:
    """Whether a person decided what is done in it."""
    return bool(step.extra.get(PERSON))


def _in_json(proposal: Step) -> Mapping[str, Any]:
    """What the agent had proposed, fit for `Step.extra`."""
    return {
        "thought": proposal.thought,
        "actions": [to_json(action) for action in proposal.actions],
        "completion": to_json(proposal.completion),
        "error": proposal.error,
    }
