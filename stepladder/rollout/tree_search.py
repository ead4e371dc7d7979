"""Best-first search while playing (Agent Q, arXiv 2408.07199): try ways from a start, go back, and play the best one.

The environment is no tree: to go back it is reset to the same seed and the same actions are done again, up to the state from
which another way is taken. So it must show the same after the same actions; one that does not is found out and the search ends as
a failure of the environment. Every action counts against the budget, repeated ones too.

What an end is worth is said by the task's own check, or by whoever is asked in its place. With the check this is no play of a
policy that has one attempt: the success rate is that of finding a way within the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stepladder.config import ConfigError
from stepladder.interfaces import Agent, Environment, EnvironmentFailure, Policy
from stepladder.judges.critique import Critic
from stepladder.rollout.episode import PolicyActor, act_out
from stepladder.rollout.search_tree import Candidate, Node, back_up, best_end
from stepladder.types import Limits, Observation, Sampling, Status, Step, Task, Trajectory

#: What an end is worth, in 0..1; None where nobody can tell.
Worth = Callable[[Trajectory], Awaitable[float | None]]
#: Where `Trajectory.extra` keeps the figures of the search that found it.
SEARCH = "search"


@dataclass(frozen=True)
class SearchSettings:
    """`budget` actions may be done in all, those of going back included, but for the first way to an end and the last repetition
    of the best one. In each state `candidates` replies are sampled at `temperature`, with `greedy` the first of them at
    temperature 0. `alpha` is the share of reached ends in a candidate's value, the rest is the critic's; `exploration` weighs
    what was tried less. An end that is worth `enough` ends the search (None: it goes on until everything was tried or the budget
    is spent)."""

    budget: int = 60
    candidates: int = 4
    temperature: float = 1.0
    greedy: bool = True
    alpha: float = 0.5
    exploration: float = 1.0
    enough: float | None = 1.0

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("budget", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"search.alpha is {self.alpha}; it is a share, 0 to 1")
        if not self.exploration >= 0:
            raise ConfigError(f"search.exploration is {self.exploration}; it must be at least 0")
        if not self.temperature >= 0 or (self.temperature == 0 and self.candidates > 1):
            raise ConfigError(f"search.temperature is {self.temperature}; at 0 all candidates are the same")


@dataclass(frozen=True, eq=False)
class Searched:
    """The best way that was found as an episode, and the tree. `figures` are those in the episode's `extra`."""

    trajectory: Trajectory
    root: Node | None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def environment_failed(self) -> bool:
        """Whether the environment broke; the episode is then no result."""
        return self.trajectory.environment_failed


async def search(
    environment: Environment,
    agent: Agent,
    policy: Policy,
    task: Task,
    seed: int,
    *,
    settings: SearchSettings,
    sampling: Sampling,
    limits: Limits,
    critic: Critic | None = None,
    worth: Worth | None = None,
    group: str = "",
    index: int = 0,
) -> Searched:
    """Search from the start that `seed` names and play the best way found, which is where the environment is left.

    `sampling` says how long replies may be and seeds them; its temperature is that of `settings`. `worth` says what an end is
    worth; without it the task's reward does. Raises ConfigError, and what `critic` and `worth` raise.
    """
    settings.check()
    actor = _SearchActor(agent, policy, settings, sampling, critic, (task.id, seed, group, index))
    played = None
    while actor.goes_on:
        actor.begin()
        played = await act_out(environment, actor, task, seed, limits=limits, group=group, index=index)
        if played.environment_failed:
            return Searched(_with_figures(played, actor, None), actor.root, actor.figures(None))
        if not actor.cut:
            value = played.reward if worth is None else await worth(played)
            actor.finish(played, value)
    assert actor.root is not None
    assert played is not None
    found = best_end(actor.root)
    assert found is not None, "the first way to an end is never cut off"
    path, end = found
    if actor.cut or actor.path != list(path):
        actor.begin(path)
        played = await act_out(environment, actor, task, seed, limits=limits, group=group, index=index)
    return Searched(_with_figures(played, actor, end.worth), actor.root, actor.figures(end.worth))


def _with_figures(trajectory: Trajectory, actor: _SearchActor, worth: float | None) -> Trajectory:
    return replace(trajectory, extra={**trajectory.extra, SEARCH: actor.figures(worth)})


class _SearchActor:
    """Walks through the tree, one episode after another, and lets it grow where it was not yet; see `episode.Actor`."""

    def __init__(
        self,
        agent: Agent,
        policy: Policy,
        settings: SearchSettings,
        sampling: Sampling,
        critic: Critic | None,
        start: tuple[object, ...],
    ) -> None:
        self.agent, self.policy, self.settings, self.sampling, self.critic = agent, policy, settings, sampling, critic
        self.root: Node | None = None
        self.path: list[Candidate] = []
        self.cut = False
        self.spent = self.ends = self.nodes = 0
        self._asked = self._read = self._unreadable = 0
        self._best = -1.0
        self._start = start
        self._given: Sequence[Candidate] | None = None

    @property
    def name(self) -> str:
        """See `Actor.name`."""
        return self.policy.name

    @property
    def dialect(self) -> str:
        """See `Actor.dialect`."""
        return self.agent.name

    @property
    def goes_on(self) -> bool:
        """Whether another way may be tried."""
        if self.root is None:
            return True
        enough = self.settings.enough is not None and self._best >= self.settings.enough
        return not (self.cut or enough or self.root.exhausted or self.spent >= self.settings.budget)

    def begin(self, given: Sequence[Candidate] | None = None) -> None:
        """The next episode starts; with `given` it takes that way."""
        self.path, self._given, self.cut = [], given, False

    async def turn(self, task: Task, steps: Sequence[Step], observation: Observation) -> Step | Status:
        """See `Actor.turn`. Raises EnvironmentFailure where the environment shows something else than it did after these
        actions."""
        node = self._arrive(observation)
        if self._given is not None:
            if len(self.path) == len(self._given):  # the way ended here because nothing readable was said
                return node.status or "parse_error"
            candidate: Candidate | None = self._given[len(self.path)]
        else:
            if node.candidates is None:
                status = await self._expand(node, task, steps)
                if status is not None:
                    return status
            candidate = node.choose(self.settings.alpha, self.settings.exploration)
        assert candidate is not None, "a way never leads into what is exhausted"
        if self._given is None:
            if self.spent >= self.settings.budget and self.ends:
                self.cut = True
                return "max_steps"
            self.spent += len(candidate.step.actions)
        self.path.append(candidate)
        return candidate.step

    def finish(self, played: Trajectory, worth: float | None) -> None:
        """The episode is over at an end that is worth so much; None counts as half."""
        assert played.final is not None
        for candidate, step in zip(self.path, played.steps, strict=True):
            candidate.step = step  # with the time it took, and without actions that came after the end
        node = self._arrive(played.final)
        node.status, node.reward = played.status, played.reward
        node.worth = 0.5 if worth is None else worth
        self.ends += 1
        self._best = max(self._best, node.worth)
        assert self.root is not None
        back_up(self.root, self.path, node.worth)

    def figures(self, worth: float | None) -> dict[str, float]:
        """What the search came to, in numbers."""
        found = {"ways": self.ends, "actions": self.spent, "states": self.nodes, "unreadable": self._unreadable}
        if self.critic is not None:
            found |= {"critiques_asked": self._asked, "critiques_read": self._read}
        return {name: float(value) for name, value in found.items()} | ({} if worth is None else {"worth": worth})

    def _arrive(self, observation: Observation) -> Node:
        """The node of the state that the path leads to; a new one for a state that was not reached before."""
        known = self.path[-1].child if self.path else self.root
        if known is not None:
            if not _same(known.observation, observation):
                raise EnvironmentFailure(
                    f"after the same {len(self.path)} turns it shows something else; "
                    "a search needs an environment that can be replayed"
                )
            return known
        node = Node(observation, number=self.nodes)
        self.nodes += 1
        if self.path:
            self.path[-1].child = node
        else:
            self.root = node
        return node

    async def _expand(self, node: Node, task: Task, steps: Sequence[Step]) -> Status | None:
        """Ask what could be done here; the status of the end where nothing can."""
        settings = self.settings
        turns = []
        for number in range(settings.candidates):
            temperature = 0.0 if settings.greedy and number == 0 else settings.temperature
            seeded_by = (*self._start, "search", node.number, number)
            actor = PolicyActor(self.agent, self.policy, replace(self.sampling, temperature=temperature), None, seeded_by)
            turns.append(actor.turn(task, steps, node.observation))
        said = await asyncio.gather(*turns)
        refused = next((one for one in said if isinstance(one, str)), None)
        if refused is not None:
            return refused
        readable = [step for step in said if isinstance(step, Step) and step.actions]
        self._unreadable += len(said) - len(readable)
        if not readable:
            return "parse_error"
        node.candidates = _distinct(readable)
        if self.critic is not None:
            done = [_said(step) for step in steps]
            key = repr((*self._start, node.number))
            critique = await self.critic.rank(
                task.instruction, done, node.observation, [_said(one.step) for one in node.candidates], key
            )
            self._asked, self._read = self._asked + critique.asked, self._read + critique.read
            for candidate, score in zip(node.candidates, critique.scores, strict=True):
                candidate.critique = score
        return None


def _distinct(steps: Sequence[Step]) -> list[Candidate]:
    """One candidate for steps that do the same."""
    found: dict[str, Candidate] = {}
    for step in steps:
        doing = repr(step.actions)  # the arguments of a call cannot be hashed
        if doing in found:
            found[doing].drawn += 1
        else:
            found[doing] = Candidate(step)
    return list(found.values())


def _said(step: Step) -> str:
    return "" if step.completion is None else step.completion.text.strip()


def _same(first: Observation, second: Observation) -> bool:
    if first.state_key and second.state_key:
        return first.state_key == second.state_key and first.done == second.done
    return (first.screenshot, first.text, first.done) == (second.screenshot, second.text, second.done)
