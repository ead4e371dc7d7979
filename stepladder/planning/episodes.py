"""Simulated environments and the episodes in them: reset, turns of a reply and a step each, evaluation; broken ones begin again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from stepladder.planning.distributions import Distribution
from stepladder.planning.events import Events, Level
from stepladder.planning.replica import Replica, Reply
from stepladder.planning.settings import Workload


class Group:
    """`needed` episodes from one start and `extra` ones, the first `begun` of which have begun; `left` of them are not over. Of the
    `episodes` that were finished, `steps` and `tokens` (prompts and replies) can be learned from. `oldest` is the first version of
    the weights that any of them met, `versions` counts those that wrote their replies, `learned_at` is the one that learned from
    them. `flat` has no signal, of one that is `closed` no further episode begins."""

    __slots__ = (
        *("begun", "closed", "episodes", "extra", "flat", "learned_at", "left", "needed", "number", "oldest", "steps", "tokens"),
        "versions",
    )

    def __init__(self, number: int, needed: int, extra: int, flat: bool, version: int) -> None:
        self.number, self.needed, self.extra, self.left = number, needed, extra, needed + extra
        self.flat, self.oldest = flat, version
        self.begun = self.episodes = self.steps = self.tokens = self.learned_at = 0
        self.versions: Counter[int] = Counter()
        self.closed = False

    @property
    def fruitless(self) -> bool:
        """Whether there is nothing to learn from."""
        return self.flat or not self.episodes


class Attempt:
    """One try of an episode. `attempt` counts from 0."""

    __slots__ = (
        *("asked", "attempt", "began", "dropped", "group", "left", "member", "random", "replica", "reply", "steps", "tokens"),
        "versions",
    )

    def __init__(self, group: Group, member: int, attempt: int, seed: int, began: float, workload: Workload) -> None:
        self.group, self.member, self.attempt, self.began = group, member, attempt, began
        # An episode has numbers of its own: it is the same one whatever else is simulated.
        self.random = Random(f"{seed} {group.number} {member} {attempt}")
        self.left = workload.steps.draw_count(self.random)
        self.asked = 0.0
        self.steps = self.tokens = 0
        self.versions: Counter[int] = Counter()
        self.reply: Reply | None = None
        self.replica: Replica | None = None
        self.dropped = False


class Environments:
    """`count` environments that play one episode each at a time.

    `on_over` is called with the group and the attempt when an episode is over, with None in its place when the environment broke
    in every attempt; `on_free` when an environment is free for another reason. `occupied` counts environments with an episode,
    `acting` those that compute and wait for no reply, `replaced` those that are being replaced. `counts` has attempts that were
    begun, finished, broken and dropped, and episodes given up; `seconds` is the time that attempts which are over took in all,
    `steps` the number of replies that were written for any attempt and `reply_seconds` the time from asking to reply in all."""

    def __init__(
        self,
        count: int,
        events: Events,
        workload: Workload,
        replicas: Sequence[Replica],
        loads: Sequence[int],
        seed: int,
        on_over: Callable[[Group, Attempt | None], None],
        on_free: Callable[[], None],
    ) -> None:
        self.free = count
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self.steps = 0
        self.reply_seconds = 0.0
        self.occupied, self.acting, self.replaced = Level(events), Level(events), Level(events)
        self.playing: dict[int, Attempt] = {}
        self._events, self._workload, self._replicas, self._loads = events, workload, replicas, loads
        self._seed, self._on_over, self._on_free = seed, on_over, on_free

    def begin(self, group: Group, member: int, attempt: int = 0) -> None:
        """Play member `member` of `group` in a free environment."""
        self.free -= 1
        self._play(Attempt(group, member, attempt, self._seed, self._events.now, self._workload))

    def drop(self, attempt: Attempt) -> None:
        """Break an episode off; its environment is free."""
        attempt.dropped = True
        if attempt.reply is None:
            self.acting.add(-1)
        else:
            assert attempt.replica is not None
            attempt.replica.cancel(attempt.reply)
        self._end(attempt, "dropped")
        self.free += 1

    # ----------------------------------------------------------------------------------------------------------- internals

    def _play(self, attempt: Attempt) -> None:
        self.counts["begun"] += 1
        self.playing[id(attempt)] = attempt
        self.occupied.add(1)
        work = self._workload
        self._act(attempt, work.reset_seconds, work.reset_failure, work.reset_deadline, self._ask)

    def _act(
        self, attempt: Attempt, seconds: Distribution, failure: float, deadline: float, then: Callable[[Attempt], None]
    ) -> None:
        """Let the environment compute, and break as often as it does."""
        took, broken = seconds.draw(attempt.random), False
        if failure or self._workload.hang:
            broken = attempt.random.random() < failure
            if attempt.random.random() < self._workload.hang:
                took, broken = deadline, True
        if took > deadline:
            took, broken = deadline, True
        self.acting.add(1)
        self._events.after(took, partial(self._acted, attempt, then, broken))

    def _acted(self, attempt: Attempt, then: Callable[[Attempt], None], broken: bool) -> None:
        if attempt.dropped:
            return
        self.acting.add(-1)
        if broken:
            self._broken(attempt)
        else:
            then(attempt)

    def _ask(self, attempt: Attempt) -> None:
        """Have the next reply written, by the least busy engine."""
        work, loads = self._workload, self._loads
        prompt, tokens = work.prompt_tokens.draw_count(attempt.random), work.reply_tokens.draw_count(attempt.random)
        attempt.tokens += prompt + tokens
        replica = self._replicas[loads.index(min(loads))]
        attempt.replica, attempt.asked = replica, self._events.now
        attempt.reply = replica.ask(round(prompt * (1 - work.cached)), tokens, partial(self._answered, attempt))

    def _answered(self, attempt: Attempt, reply: Reply) -> None:
        attempt.reply = attempt.replica = None
        attempt.versions[reply.version] += 1
        attempt.steps += 1
        self.steps += 1
        self.reply_seconds += self._events.now - attempt.asked
        attempt.left -= 1
        work = self._workload
        then = self._ask if attempt.left else self._evaluate
        self._act(attempt, work.step_seconds, work.step_failure, work.step_deadline, then)

    def _evaluate(self, attempt: Attempt) -> None:
        work = self._workload
        self._act(attempt, work.evaluate_seconds, 0.0, work.reset_deadline, self._finish)

    def _finish(self, attempt: Attempt) -> None:
        self._end(attempt, "finished")
        self.free += 1
        self._on_over(attempt.group, attempt)

    def _broken(self, attempt: Attempt) -> None:
        """Another environment takes this one's place, and plays the episode again."""
        self._end(attempt, "broken")
        self.replaced.add(1)
        self._events.after(self._workload.replace_seconds, partial(self._again, attempt))

    def _again(self, attempt: Attempt) -> None:
        self.replaced.add(-1)
        again = attempt.attempt + 1
        if attempt.group.closed:
            self.free += 1
            self._on_free()
            return
        if again <= self._workload.retries:
            self._play(Attempt(attempt.group, attempt.member, again, self._seed, self._events.now, self._workload))
            return
        self.free += 1
        self.counts["given_up"] += 1
        self._on_over(attempt.group, None)

    def _end(self, attempt: Attempt, how: str) -> None:
        self.counts[how] += 1
        self.seconds += self._events.now - attempt.began
        del self.playing[id(attempt)]
        self.occupied.add(-1)
