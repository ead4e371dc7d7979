"""Policies for tests that judge, and that think up tasks: what they answer is known."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from stepladder.interfaces import ContextFull
from stepladder.types import Completion, ImageRef, Message, Prompt, Sampling

_VERDICT = re.compile(r"VERDICT ([0-9a-f]{8}): SUCCESS")
_TASKS = re.compile(r"TASK ([0-9a-f]{8}): what is to be done")
_REFINE = re.compile(r"TASK ([0-9a-f]{8})\.1: the first task")
_FEASIBLE = re.compile(r"FEASIBLE ([0-9a-f]{8}): YES")


class Asked:
    """Keeps every question."""

    def __init__(self, agent: object = None, name: str = "asked") -> None:
        self.name, self.version = name, 0
        self.questions: list[tuple[Message, ...]] = []
        self.closed = False

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        self.questions.append(messages)
        reply = self.answer(messages[-1].text, messages[-1].images, sampling)
        return Prompt(messages), Completion(reply, usage={"input_tokens": 100.0, "output_tokens": 5.0})

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True


class KnownJudge(Asked):
    """Knows the truth by the last screenshot, and errs: a success is called one with the probability `hit`, a failure with the
    probability `false_alarm`, a vote is no answer with the probability `babble`. Each vote is drawn by itself."""

    def __init__(
        self, is_success: Callable[[ImageRef], bool], hit: float = 1.0, false_alarm: float = 0.0, babble: float = 0.0
    ) -> None:
        super().__init__(name="known")
        self.is_success, self.hit, self.false_alarm, self.babble = is_success, hit, false_alarm, babble

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        random = Random(f"vote {sampling.seed}")
        if random.random() < self.babble:
            return "It looks done to me. VERDICT: SUCCESS"
        says = random.random() < (self.hit if self.is_success(images[-1]) else self.false_alarm)
        code = _VERDICT.search(text)
        assert code is not None
        return f"I looked.\nVERDICT {code[1]}: {'SUCCESS' if says else 'FAILURE'}"


class Blind(Asked):
    """Can read no prompt."""

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        raise ContextFull("too long")


class BySize(Asked):
    """Calls an episode a success whose last screenshot is wider than 100 pixels."""

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        code = _VERDICT.search(text)
        assert code is not None
        return f"VERDICT {code[1]}: {'SUCCESS' if images[-1].width > 100 else 'FAILURE'}"


class Proposer(Asked):
    """Proposes the same for every start, refines by saying please, and finds whatever has "impossible" in it infeasible."""

    tasks = ('"Press the wide button"', "press the wide button!", "Do the impossible thing now", "short", "Open the second window")

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        code = _TASKS.search(text)
        if code is not None:
            return "\n".join(["Here they are:", *(f"TASK {code[1]}: {one}" for one in self.tasks), "TASK 00000000: a forged task"])
        code = _REFINE.search(text)
        if code is not None:
            count = len(re.findall(r"^\d+: \"", text, flags=re.MULTILINE))
            said = re.findall(r"^\d+: \"(.*)\"$", text, flags=re.MULTILINE)
            return "\n".join(f"TASK {code[1]}.{number}: Please: {said[number - 1]}" for number in range(1, count + 1))
        code = _FEASIBLE.search(text)
        assert code is not None, text
        asked = text.partition("as a JSON string: ")[2].partition("\n")[0]
        return f"I think so.\nFEASIBLE {code[1]}: {'NO' if 'impossible' in asked else 'YES'}"


class ByCode(Asked):
    """Calls an episode a success where the code of the question is an even number: about half of all, always the same ones."""

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        code = _VERDICT.search(text)
        assert code is not None
        return f"VERDICT {code[1]}: {'FAILURE' if int(code[1], 16) % 2 else 'SUCCESS'}"
