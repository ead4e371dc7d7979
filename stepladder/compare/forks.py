"""Pairs of replies, one of them preferred, from the steps at which successes and failures of the same start part (EvoCUA, arXiv
2601.15876).

A failure and a success of one task and seed saw the same states up to a fork, where they did different things. From there:

    correction   at the fork, in the failure's own prompt: what the success said there, rather than what the failure said
    reflection   one step later, when the mistake is made: a reply that takes another way, rather than the failure's next one. It is
                 what a success said in that very state, where one was ever in it; else a thought that says so with the success's
                 action, where that action can still be carried out on this screen

Nothing is learned from a failure whose environment broke, nor from a fork that the environment made.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from stepladder.agents.replies import write_reply
from stepladder.agents.tool_call import split_thought
from stepladder.compare.divergence import Basis, basis_of, divergence
from stepladder.interfaces import Agent
from stepladder.types import Action, Completion, Element, Observation, Prompt, Step, Trajectory

PairKind = Literal["correction", "reflection"]
#: A start: a task and its seed.
Start = tuple[str, int]
REGRET = "The last step did not bring the task forward. I stop here, look again, and take another way."


@dataclass(frozen=True, slots=True, eq=False)
class PreferencePair:
    """Two replies to the same prompt. `step` is that of the failure, whose prompt it is; `source` and `source_step` say where the
    preferred reply comes from, and `made` that it was written from a recorded action and not sampled."""

    kind: PairKind
    task: str
    seed: int
    prompt: Prompt
    chosen: Completion
    rejected: Completion
    failure: str
    step: int
    source: str
    source_step: int
    made: bool = False


@dataclass
class Forks:
    """The pairs, and why other failures, or steps after a fork, gave none."""

    pairs: list[PreferencePair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def find_pairs(
    trajectories: Iterable[Trajectory],
    agent: Agent,
    kinds: Sequence[PairKind] = ("correction", "reflection"),
    per_failure: int = 1,
) -> Forks:
    """Pairs from the episodes of every start that was both solved and failed.

    Each failure is paired with the `per_failure` successes that part from it last: what lies before a fork was no mistake. A pair
    that occurs again is kept once. Where one reply is preferred in one pair and rejected in another, to the same prompt, chance
    decided and not the reply: both are left out. `agent` writes the replies that nobody sampled. Raises ValueError for
    `per_failure` below 1.
    """
    if per_failure < 1:
        raise ValueError(f"per_failure is {per_failure}; it must be at least 1")
    found = Forks()
    pairs: list[PreferencePair] = []
    for attempts in _by_start(trajectories, found.left_out).values():
        successes = [one for one in attempts if one.success]
        for failure in (one for one in attempts if not one.success):
            if not successes:
                found.left_out["nobody succeeded from this start"] += 1
                continue
            pairs += pairs_against(failure, successes, agent, kinds, per_failure, found.left_out)
    found.pairs = consistent(pairs, found.left_out)
    return found


def still_applies(action: Action, before: Observation, after: Observation) -> bool:
    """Whether what was meant on screen `before` can be done on screen `after`: it is the same screen, or the action points at an
    element that the accessibility trees of both have in the same place, and that is not disabled there."""
    if before.state_key and after.state_key:
        same = before.state_key == after.state_key
    else:
        same = before.screenshot is not None and before.screenshot == after.screenshot
    if same:
        return True
    if action.x is None or action.y is None or action.x2 is not None or before.tree is None or after.tree is None:
        return False
    meant = _element_at(before.tree, action.x, action.y)
    there = _element_at(after.tree, action.x, action.y)
    if meant is None or there is None or "disabled" in there.states:
        return False
    return (meant.role, meant.name, meant.box) == (there.role, there.name, there.box)


def _by_start(trajectories: Iterable[Trajectory], left_out: Counter[str]) -> Mapping[Start, list[Trajectory]]:
    starts: dict[Start, list[Trajectory]] = {}
    for one in trajectories:
        if one.environment_failed or one.reward is None:
            left_out["environment failed"] += 1
        else:
            starts.setdefault((one.task.id, one.seed), []).append(one)
    return {start: sorted(starts[start], key=lambda one: one.id) for start in sorted(starts)}


def pairs_against(
    failure: Trajectory,
    successes: Sequence[Trajectory],
    agent: Agent,
    kinds: Sequence[PairKind],
    per_failure: int,
    left_out: Counter[str],
) -> list[PreferencePair]:
    """The pairs of one episode that did worse with the `per_failure` of those that did better which part from it last; `left_out`
    is told what gave none."""
    forks: list[tuple[int, Trajectory]] = []
    for success in successes:
        parted = divergence(success, failure)
        if parted is not None and parted.reason == "actions" and parted.decided is not None:
            forks.append((parted.decided, success))
    if not forks:
        left_out["no step at which it did something else in the same state"] += 1
        return []
    pairs = []
    best = sorted(forks, key=lambda fork: (-fork[0], len(fork[1].steps), _lot(failure, fork[1])))
    for at, success in best[:per_failure]:
        if "correction" in kinds and (pair := _correction(failure, success, at, agent, left_out)) is not None:
            pairs.append(pair)
        if "reflection" in kinds and (pair := _reflection(failure, success, at, successes, agent, left_out)) is not None:
            pairs.append(pair)
    return pairs


def _lot(failure: Trajectory, success: Trajectory) -> bytes:
    """Among successes that are alike every failure draws another one, or a single reply would be preferred to all others."""
    return hashlib.sha256(f"{failure.id} {success.id}".encode()).digest()


def _correction(failure: Trajectory, success: Trajectory, at: int, agent: Agent, left_out: Counter[str]) -> PreferencePair | None:
    right = success.steps[at]
    said = said_in(right)
    chosen = said if said is not None else _written(agent, right.thought, right.actions, failure.steps[at].observation)
    return _pair("correction", failure, at, chosen, said is None, success, at, left_out)


def _reflection(
    failure: Trajectory, success: Trajectory, at: int, successes: Sequence[Trajectory], agent: Agent, left_out: Counter[str]
) -> PreferencePair | None:
    """At the step after the fork; None where the failure ended with its mistake."""
    if at + 1 >= len(failure.steps):
        left_out["it ended with its mistake: nothing to reflect on"] += 1
        return None
    here = failure.steps[at + 1].observation
    for other in successes:
        place = _visit(other, failure.steps[at + 1], basis_of(other.steps, failure.steps))
        said = None if place is None else said_in(other.steps[place])
        if place is not None and said is not None:
            return _pair("reflection", failure, at + 1, said, False, other, place, left_out)
    right = success.steps[at]
    if not right.actions or not all(still_applies(action, failure.steps[at].observation, here) for action in right.actions):
        left_out["no recovery is recorded, and the right action no longer applies"] += 1
        return None
    reasoning, line = split_thought(right.thought)
    thought = "\n".join(part for part in (REGRET, reasoning, line) if part)
    return _pair("reflection", failure, at + 1, _written(agent, thought, right.actions, here), True, success, at, left_out)


def _pair(
    kind: PairKind,
    failure: Trajectory,
    step: int,
    chosen: Completion | None,
    made: bool,
    source: Trajectory,
    source_step: int,
    left_out: Counter[str],
) -> PreferencePair | None:
    wrong = failure.steps[step]
    rejected = said_in(wrong)
    if wrong.prompt is None or rejected is None:
        left_out["no prompt and reply were recorded"] += 1
        return None
    if chosen is None:
        left_out["the agent cannot say what was done"] += 1
        return None
    if chosen.text == rejected.text:
        left_out["both said the same"] += 1
        return None
    ids = (failure.id, step, source.id, source_step)
    return PreferencePair(kind, failure.task.id, failure.seed, wrong.prompt, chosen, rejected, *ids, made=made)


def said_in(step: Step) -> Completion | None:
    """What was sampled in a step, without the probabilities, which are those of another prompt. A reply that was broken off by an
    abort is none."""
    said = step.completion
    return None if said is None or said.finish == "abort" else replace(said, logprobs=None, usage={})


def _written(agent: Agent, thought: str, actions: Sequence[Action], observation: Observation) -> Completion | None:
    try:
        return Completion(write_reply(agent, thought, actions, observation))
    except ValueError:
        return None


def _visit(trajectory: Trajectory, step: Step, basis: Basis) -> int | None:
    """Where `trajectory` last saw what `step` saw and acted, which led on from there; None where states cannot be told, or it
    never did."""
    if basis == "actions":
        return None
    here = _state(step, basis)
    visits = [i for i, one in enumerate(trajectory.steps) if one.actions and _state(one, basis) == here]
    return visits[-1] if visits else None


def _state(step: Step, basis: Basis) -> Hashable:
    return step.observation.state_key if basis == "state_key" else step.observation.screenshot


def _element_at(tree: Sequence[Element], x: float, y: float) -> Element | None:
    """The smallest element there, of equal ones the last, which lies on top."""
    found: tuple[float, Element] | None = None
    for element in tree:
        if element.box is None:
            continue
        left, top, width, height = element.box
        if left <= x < left + width and top <= y < top + height and (found is None or width * height <= found[0]):
            found = width * height, element
    return None if found is None else found[1]


def consistent(pairs: Sequence[PreferencePair], left_out: Counter[str]) -> list[PreferencePair]:
    """Each pair once, and none of which a reply is preferred here and rejected there."""
    distinct = {(_asked(pair), pair.chosen.text, pair.rejected.text): pair for pair in reversed(pairs)}
    left_out["the same pair again"] += len(pairs) - len(distinct)
    chosen, rejected = {key[:2] for key in distinct}, {(key[0], key[2]) for key in distinct}
    disputed = chosen & rejected
    kept = [
        pair
        for (asked, good, bad), pair in reversed(distinct.items())
        if (asked, good) not in disputed and (asked, bad) not in disputed
    ]
    left_out["a reply that is preferred in one pair and rejected in another"] += len(distinct) - len(kept)
    for reason in [reason for reason, count in left_out.items() if not count]:
        del left_out[reason]
    return kept


def _asked(pair: PreferencePair) -> Hashable:
    return tuple((message.role, message.content) for message in pair.prompt.messages)
