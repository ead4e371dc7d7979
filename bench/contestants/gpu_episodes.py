"""What the model is asked and learns from in `bench/gpu.py`: late turns of episodes, each with screenshots of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np
import torch
from contestants.gpu_model import Shape

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.algos.grpo import Grpo
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.tokenizer import build_tokenizer
from stepladder.train.sample import Sample, from_reply, from_step, merge_turns, share_prompts
from stepladder.types import Action, Completion, ImageRef, IntArray, Message, Observation, Prompt, Step, Task, Trajectory

#: Pictures that are really made; every screenshot has the pixels of one of them, and is taken for a picture of its own.
MADE = 4
SENTENCE = "Open the settings of the calendar, enter the name in the second field and save the file under another name"
WORDS = SENTENCE.split()


class PreparedRenderer(Renderer):
    """A renderer whose screenshots were prepared by the processor before. `seconds` has what that took, a picture."""

    def prepare(self, width: int, height: int) -> None:
        random = np.random.default_rng(0)
        self.prepared, self.seconds = [], []
        for _ in range(MADE):
            blocks = random.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
            pixels = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
            begin = time.perf_counter()
            self.prepared.append(self.patches(pixels))
            self.seconds.append(time.perf_counter() - begin)

    def pixels(self, refs: Sequence[ImageRef]) -> tuple[torch.Tensor, torch.Tensor]:
        patches = [self.prepared[int(ref.sha256, 16) % MADE] for ref in refs]
        return torch.from_numpy(np.concatenate(patches)), torch.tensor([self.grid(ref) for ref in refs], dtype=torch.int64)


class Episodes:
    """Prompts with as many screenshots as the shape says, replies, samples. Everything follows from the number of the episode."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.agent = QwenVLAgent(screenshots=shape.screenshots, thought="action", system="full")
        texts = [part for number in range(20) for message in self._messages(number) for part in message.content]
        tokenizer = build_tokenizer([text for text in texts if isinstance(text, str)], 3000)
        self.renderer = PreparedRenderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template))
        self.renderer.prepare(*shape.screen)
        # no reply ends early
        self.renderer.banned_ids = (*self.renderer.banned_ids, *self.renderer.stop_ids)
        self.renderer.stop_ids = ()

    def prompt(self, number: int) -> Prompt:
        return self.renderer.render(self._messages(number))

    def reply(self, number: int) -> IntArray:
        """Ids int32[reply] of ordinary tokens."""
        allowed = np.setdiff1d(np.arange(self.renderer.vocabulary), self.renderer.banned_ids)
        return np.random.default_rng(number).choice(allowed, self.shape.reply).astype(np.int32)

    def imitation(self, number: int) -> Sample:
        """A prompt with a reply to be imitated."""
        prompt = self.prompt(number)
        return from_reply(self.renderer, prompt.messages, self.reply(number), prompt=prompt.tokens, spans=prompt.image_spans)

    def group(self, members: int, together: bool, logprobs: Sequence[np.ndarray] | None = None) -> list[Trajectory]:
        """A group of episodes of one recorded turn each, half of them rewarded. `together`: all at the same prompt, as in a first
        turn, else each at its own. `logprobs` float32[reply] were recorded for each."""
        found = []
        for member in range(members):
            prompt = self.prompt(0 if together else member)
            recorded = np.zeros(self.shape.reply, dtype=np.float32) if logprobs is None else logprobs[member]
            tokens = self.reply(member)
            completion = Completion(self.renderer.decode(tokens), tokens, recorded)
            step = Step(Observation(prompt.images[-1]), Action("wait"), prompt=prompt, completion=completion)
            reward = float(member % 2)
            found.append(Trajectory(f"0.{member}", self._task(0), (step,), None, "done", reward, group="0", index=member))
        return found

    def credited(self, group: Sequence[Trajectory], algorithm: Grpo) -> list[Sample]:
        """Its samples with their credit, as the stage `rl` makes them."""
        credits = algorithm.credit([list(group)], {})[0]
        samples: list[Sample] = []
        for trajectory, steps in zip(group, credits, strict=True):
            turns = [
                from_step(self.renderer, self.agent, trajectory.task, trajectory.steps, turn, credit=credit)
                for turn, credit in enumerate(steps)
            ]
            samples += merge_turns(turns)
        return share_prompts(samples)

    def _task(self, number: int) -> Task:
        """Instructions differ in length."""
        return Task(f"task-{number}", " ".join(WORDS[: 8 + number % 12]), "desktop")

    def _messages(self, number: int) -> tuple[Message, ...]:
        steps = [
            Step(self._seen(number, turn), Action("click", 20 + turn, 30 + number % 40), thought=f"Action: {' '.join(WORDS[:5])}")
            for turn in range(self.shape.screenshots)
        ]
        return self.agent.prompt(self._task(number), steps, self._seen(number, self.shape.screenshots))

    def _seen(self, number: int, turn: int) -> Observation:
        name = hashlib.sha256(f"{number} {turn}".encode()).hexdigest()
        return Observation(ImageRef(name, *self.shape.screen))
