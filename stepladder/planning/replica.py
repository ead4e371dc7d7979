"""One inference engine: prompts are read, then replies are written together, a token of each at a time.

Reading goes before writing, as in `stepladder.policies.engine` and in servers that read prompts in large chunks: a pass over
thousands of prompt tokens takes so much longer than one over the replies in progress that these all but stand still meanwhile.

Replies in progress all advance at the same pace, a token every `token_seconds + n * reply_token_seconds`. The engine therefore
counts the tokens V that a reply which was always there would have; one that joins with m tokens to write is finished at V + m, and
the next to finish is the least of these, whatever n does in between.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial

from stepladder.planning.events import Do, Events, Level
from stepladder.planning.settings import EngineSpeed, InProgress


class Reply:
    """A request for `tokens` tokens after a prompt of which `prompt_tokens` are not read yet. `done` is called when it is written;
    `version` is that of the weights which began it."""

    __slots__ = ("cancelled", "done", "prompt_tokens", "tokens", "version", "writing")

    def __init__(self, prompt_tokens: int, tokens: int, done: Callable[[Reply], None]) -> None:
        self.prompt_tokens, self.tokens, self.done = prompt_tokens, tokens, done
        self.version = 0
        self.cancelled = self.writing = False


class Replica:
    """`loads[number]` is the number of its replies that wait or are in progress, `busy` whether it computes, `prompt_tokens` and
    `written` are tokens read and written so far. `loads` is shared by all replicas."""

    def __init__(self, events: Events, speed: EngineSpeed, loads: list[int], number: int = 0) -> None:
        self.version = 0
        self.busy = Level(events)
        self.prompt_tokens = self.written = 0
        self._events, self._speed = events, speed
        self._loads, self._number = loads, number
        self._waiting: deque[Reply] = deque()
        self._unread: deque[Reply] = deque()
        self._pass: list[Reply] = []
        self._heap: list[tuple[float, int, Reply]] = []
        self._writing = self._count = self._turn = 0
        #: V, as of the time `_since`; None while no token is written.
        self._tokens, self._since, self._pace = 0.0, None, 0.0  # type: float, float | None, float
        self._stopped = self._updating = False
        self._update: tuple[float, int, InProgress, Do] | None = None

    def ask(self, prompt_tokens: int, tokens: int, done: Callable[[Reply], None]) -> Reply:
        """Have a reply written."""
        reply = Reply(prompt_tokens, tokens, done)
        self._loads[self._number] += 1
        self._waiting.append(reply)
        self._go_on()
        return reply

    def cancel(self, reply: Reply) -> None:
        """Write no more of it; `done` is not called."""
        if reply.cancelled:
            return
        reply.cancelled = True
        self._loads[self._number] -= 1
        if reply.writing:
            self._settle()
            self._writing -= 1
            self._go_on()

    def stop(self) -> None:
        """Stand still, after the pass over prompts that is under way, until `resume`."""
        self._stopped = True
        self._go_on()

    def resume(self) -> None:
        self._stopped = False
        self._go_on()

    def update(self, seconds: float, version: int, in_progress: InProgress, done: Do) -> None:
        """Load the weights `version`, which takes `seconds`, then call `done`. One update at a time."""
        assert self._update is None
        self._update = (seconds, version, in_progress, done)
        self._go_on()

    # ----------------------------------------------------------------------------------------------------------- internals

    def _settle(self) -> None:
        """Bring V up to now."""
        if self._since is not None:
            self._tokens += (self._events.now - self._since) / self._pace if self._pace else 0.0
            self._since = None

    def _go_on(self) -> None:
        """Plan what happens next."""
        if self._pass or self._updating:
            return
        self._settle()
        self._turn += 1
        # Replies of an engine that stands still are not finished before it goes on.
        between_tokens = self._stopped or (self._update is not None and self._update[2] == "continue")
        if self._update is not None and (between_tokens or not (self._writing or self._unread)):
            self._updating = True
            self._compute(False)
            self._events.after(self._update[0], self._updated)
            return
        if self._stopped:
            self._compute(False)
            return
        self._admit()
        if self._unread:
            self._read()
        elif self._writing:
            self._write()
        else:
            self._compute(False)

    def _admit(self) -> None:
        if self._update is not None:
            return  # replies in progress are being finished
        while self._waiting and self._writing + len(self._unread) < self._speed.max_batch:
            reply = self._waiting.popleft()
            if not reply.cancelled:
                reply.version = self.version
                self._unread.append(reply)

    def _read(self) -> None:
        while self._unread and len(self._pass) < self._speed.prompts:
            reply = self._unread.popleft()
            if not reply.cancelled:
                self._pass.append(reply)
        if not self._pass:
            self._go_on()
            return
        self._compute(True)
        tokens = sum(reply.prompt_tokens for reply in self._pass)
        self.prompt_tokens += tokens
        self._events.after(self._speed.pass_seconds + tokens * self._speed.prompt_token_seconds, self._have_read)

    def _have_read(self) -> None:
        for reply in self._pass:
            if not reply.cancelled:
                reply.writing = True
                self._writing += 1
                self._count += 1
                heapq.heappush(self._heap, (self._tokens + reply.tokens, self._count, reply))
        self._pass = []
        self._go_on()

    def _write(self) -> None:
        while self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        self._compute(True)
        self._since = self._events.now
        self._pace = self._speed.token_seconds + self._writing * self._speed.reply_token_seconds
        left = max(0.0, self._heap[0][0] - self._tokens)
        self._events.after(left * self._pace, partial(self._have_written, self._turn))

    def _have_written(self, turn: int) -> None:
        if turn != self._turn:
            return  # something else came in between
        finished, self._since = self._heap[0][0], None
        self._tokens = finished
        over = []
        while self._heap and (self._heap[0][0] <= finished or self._heap[0][2].cancelled):
            reply = heapq.heappop(self._heap)[2]
            if not reply.cancelled:
                reply.writing = False
                over.append(reply)
        self._writing -= len(over)
        self._loads[self._number] -= len(over)
        if not self._writing:
            self._tokens = 0.0  # no reply is measured by it any more; it stays exact
        for reply in over:
            self.written += reply.tokens
        self._go_on()
        for reply in over:
            reply.done(reply)

    def _updated(self) -> None:
        assert self._update is not None
        _, self.version, _, done = self._update
        self._update, self._updating = None, False
        self._go_on()
        done()

    def _compute(self, busy: bool) -> None:
        if busy != bool(self.busy.value):
            self.busy.add(1 if busy else -1)
