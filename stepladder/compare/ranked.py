"""Pairs of answers of which one ranks above the other: what a reward model learns from.

    forks      of a preference pair (`stepladder.compare.forks`, choices of people and judges) the two replies, to one prompt
    episodes   the last replies of a success and a failure from one start: which episode was better, seen at its end
    policies   two replies of one policy and one of another, to the same prompt: beside the first, the second of that policy ranks
               above the other's (POLAR: S. Dou et al., arXiv 2507.05197, section 3.1). A reward model that has learned so says how
               much a reply is like those of the policy in question. It needs no grades.

What is ours in the last: an answer is the reply of one step and not a whole dialogue, and a policy is one of the runs that are
given, of which the first is what the score is about later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from stepladder.compare.forks import PreferencePair, said_in
from stepladder.types import Completion, Prompt, Step, Trajectory


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A reply to a prompt; `source` and `step` say where it comes from."""

    prompt: Prompt
    reply: Completion
    source: str
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class RankedPair:
    """`chosen` ranks above `rejected`; with `reference`, the text of another reply, beside that. `task` and `seed` are the
    start."""

    task: str
    seed: int
    chosen: Answer
    rejected: Answer
    reference: str | None = None


def of_preferences(pairs: Iterable[PreferencePair]) -> list[RankedPair]:
    """One for each preference pair."""
    return [
        RankedPair(
            pair.task,
            pair.seed,
            Answer(pair.prompt, pair.chosen, pair.source, pair.source_step),
            Answer(pair.prompt, pair.rejected, pair.failure, pair.step),
        )
        for pair in pairs
    ]


def of_outcomes(episodes: Iterable[Trajectory], per_start: int, seed: int = 0) -> tuple[list[RankedPair], Counter[str]]:
    """(pairs of the last replies of a success and a failure, at most `per_start` from one start, drawn with `seed`; why there are
    no others). Replies that say the same on the same prompt are no pair."""
    starts: dict[tuple[str, int], tuple[list[Answer], list[Answer]]] = {}
    left_out, ranked = Counter[str](), list[RankedPair]()
    for one in episodes:
        if one.environment_failed or one.reward is None:
            left_out["environment failed"] += 1
        elif (answer := _answer(one, len(one.steps) - 1)) is None:
            left_out["no prompt and reply were recorded"] += 1
        else:
            starts.setdefault((one.task.id, one.seed), ([], []))[one.success].append(answer)
    for task, start_seed in sorted(starts):
        failed, solved = (sorted(answers, key=lambda one: one.source) for answers in starts[task, start_seed])
        if not failed or not solved:
            left_out["a start that was not both solved and failed"] += 1
            continue
        drawn = list(product(solved, failed))
        Random(f"outcomes {seed} {task} {start_seed}").shuffle(drawn)
        differing = [pair for pair in drawn if _words(pair[0]) != _words(pair[1])]
        ranked += [RankedPair(task, start_seed, *pair) for pair in differing[:per_start]]
    return ranked, left_out


def of_policies(policies: Sequence[Iterable[Trajectory]], per_prompt: int, seed: int = 0) -> tuple[list[RankedPair], Counter[str]]:
    """(triples as above, at most `per_prompt` of one prompt for each policy, drawn with `seed`; why there are no others). Each
    policy is in turn the one whose replies rank above. A reply that two policies gave alike tells them apart in no pair."""
    asked: dict[Hashable, tuple[str, int, list[list[Answer]]]] = {}
    left_out, ranked = Counter[str](), list[RankedPair]()
    for number, episodes in enumerate(policies):
        for one in episodes:
            for place in range(len(one.steps)):
                answer = _answer(one, place)
                if answer is None:
                    left_out["no prompt and reply were recorded"] += 1
                    continue
                known = asked.setdefault(_asked(answer.prompt), (one.task.id, one.seed, [[] for _ in policies]))
                known[2][number].append(answer)
    for task, start_seed, answers in asked.values():
        if sum(map(bool, answers)) < 2 or max(map(len, answers)) < 2:
            left_out["a prompt without two replies of one policy and one of another"] += 1
            continue
        for number, own in enumerate(answers):
            others = [answer for place, theirs in enumerate(answers) if place != number for answer in theirs]
            random = Random(f"policies {seed} {task} {start_seed} {number} {own[0].source if own else ''}")
            drawn = [
                RankedPair(task, start_seed, chosen, rejected, reference.reply.text)
                for reference, chosen, rejected in product(own, own, others)
                if reference is not chosen and chosen.reply.text != rejected.reply.text
            ]
            ranked += random.sample(drawn, min(per_prompt, len(drawn)))
    return ranked, left_out


def _answer(episode: Trajectory, place: int) -> Answer | None:
    if place < 0:
        return None
    step: Step = episode.steps[place]
    reply = said_in(step)
    return None if step.prompt is None or reply is None else Answer(step.prompt, reply, episode.id, place)


def _asked(prompt: Prompt) -> Hashable:
    return tuple((message.role, message.content) for message in prompt.messages)


def _words(answer: Answer) -> Hashable:
    return _asked(answer.prompt), answer.reply.text
