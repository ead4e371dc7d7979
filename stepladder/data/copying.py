"""Items that teach to copy text from an instruction: demonstrations whose strings are replaced by others, without a picture.

A small model does not learn to copy by the way: trained on demonstrations alone it types the most frequent name. A text-only stage
on these items teaches it in a minute.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from random import Random

from stepladder.data.whole_words import whole_words
from stepladder.types import Observation, Step, Task, Trajectory
from stepladder.words import NAMES, VOCABULARY, letters, vocabulary

_QUOTED = re.compile(r'"([^"\n]+)"')


class Copying:
    """Items made from `trajectories`: a demonstration up to a step that types text of its instruction, that step last and without
    a screenshot.

    The instruction's quoted strings and the typed text are replaced by random ones: the same in the instruction, in the thoughts,
    in the texts of all steps and in the action. A third of them are words that the demonstrations quote themselves, so that the
    tokens which will have to be copied are. The steps before the last are history; they keep their screenshots, because their
    coordinates refer to them. Raises ValueError when no demonstration types such a text.
    """

    def __init__(self, trajectories: Sequence[Trajectory]) -> None:
        self._steps = [(trajectory, index) for trajectory in trajectories for index in typed_from_instruction(trajectory)]
        if not self._steps:
            raise ValueError(f"none of {len(trajectories)} demonstrations types a text that stands in its instruction")
        quoted = (word for trajectory, _ in self._steps for word in _QUOTED.findall(trajectory.task.instruction))
        self._quoted = sorted({word for word in quoted if word.isalpha()}) or list(NAMES)

    def draw(self, random: Random) -> Trajectory:
        """One item."""
        trajectory, index = random.choice(self._steps)
        action = trajectory.steps[index].action
        assert action is not None
        old = dict.fromkeys([action.text, *_QUOTED.findall(trajectory.task.instruction)])
        new: dict[str, str] = {}
        for text in old:
            while (other := self._like(random, text)) in new.values():
                pass
            new[text] = other
        pattern = whole_words(*new)

        def replace(text: str) -> str:
            return pattern.sub(lambda match: new[match[0]], text)

        instruction = replace(trajectory.task.instruction)
        task = dataclasses.replace(trajectory.task, instruction=instruction, check={}, tags=("copying",))
        steps = [_replace_step(step, replace) for step in trajectory.steps[: index + 1]]
        steps[-1] = dataclasses.replace(steps[-1], observation=Observation())
        return _item(task, steps)

    def _like(self, random: Random, text: str) -> str:
        """A random text of as many words."""
        return " ".join(self._word(random) for _ in text.split() or [text])

    def _word(self, random: Random) -> str:
        share = random.random()
        if share < 0.35:
            return random.choice(self._quoted)
        if share < 0.5:
            return random.choice(vocabulary("train", VOCABULARY))
        return letters(random, "train", (2, 3, 4, 5, 6, 7))


def typed_from_instruction(trajectory: Trajectory) -> list[int]:
    """The steps that type a text which stands in the instruction."""
    return [
        index
        for index, step in enumerate(trajectory.steps)
        if step.action is not None and step.action.kind == "type" and _stands_in(step.action.text, trajectory.task.instruction)
    ]


def _stands_in(text: str, instruction: str) -> bool:
    return bool(text.strip()) and text in instruction and whole_words(text).search(instruction) is not None


def _replace_step(step: Step, replace: Callable[[str], str]) -> Step:
    action = None if step.action is None else dataclasses.replace(step.action, text=replace(step.action.text))
    return dataclasses.replace(step, action=action, thought=replace(step.thought), prompt=None, completion=None)


def _item(task: Task, steps: Sequence[Step]) -> Trajectory:
    name = hashlib.sha256(f"{task.instruction}#{len(steps)}".encode()).hexdigest()[:16]
    return Trajectory(f"copying-{task.id}-{name}", task, tuple(steps), None, "done", 1.0, policy="known")
