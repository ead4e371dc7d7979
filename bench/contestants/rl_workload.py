"""What both trainers of `bench/rl.py` learn from, made once: a small Qwen3-VL, screenshots of forms, prompts, replies, rewards.

Everything is written into one directory, so that an interpreter of its own finds the same things there: `checkpoint/`, an ordinary
Hugging Face directory; `images/`; `work.json`, the prompts and replies as text and as token ids.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from stepladder.data.perception import items
from stepladder.data.vocabulary import CALL_FRAGMENTS
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model, whiten_patches
from stepladder.models.tokenizer import build_tokenizer
from stepladder.stages.agent_options import AgentOptions
from stepladder.types import Action, ImageRef, IntArray, Message, Observation, Prompt, Task, Trajectory

WIDTH, HEIGHT = 160, 224


@dataclass(frozen=True)
class Question:
    """A prompt about one screenshot with its replies: one to imitate, or those of a group with their rewards."""

    prompt: Prompt
    texts: tuple[str, ...]
    replies: tuple[IntArray, ...]
    rewards: tuple[float, ...] = ()

    @property
    def image(self) -> ImageRef:
        return self.prompt.images[0]

    @property
    def token_count(self) -> int:
        """Tokens of prompt and reply, added up over the replies: what a trainer that shares nothing computes."""
        assert self.prompt.tokens is not None
        return sum(len(self.prompt.tokens) + len(reply) for reply in self.replies)


#: What one update learns from.
Work = list[Question]


@dataclass(frozen=True)
class Sizes:
    """An update of GRPO: `groups` prompts with `members` replies each. An update of SFT: `samples` prompts with one reply each."""

    groups: int = 8
    members: int = 8
    samples: int = 32
    questions: int = 4


@dataclass(frozen=True)
class Workload:
    """`grpo`, `sft` (every prompt has its own screenshot) and `sft_shared` (`questions` prompts a screenshot), update by update."""

    directory: Path
    sizes: Sizes
    grpo: list[Work]
    sft: list[Work]
    sft_shared: list[Work]
    vocabulary: int

    def of(self, kind: str) -> list[Work]:
        works: list[Work] = getattr(self, kind)
        return works


@dataclass(frozen=True)
class _Screen:
    task: Task
    image: ImageRef
    messages: tuple[Message, ...]
    action: Action
    asked: list[Trajectory]


def make(directory: Path, updates: int, sizes: Sizes, seed: int = 0) -> Workload:
    """Play, render, and write it all into `directory`, for `updates` updates of each kind."""
    images = ImageStore(directory / "images")
    needed = updates * max(sizes.groups, sizes.samples) + 64
    screens = asyncio.run(_screens(images, needed, sizes.questions - 1))
    corpus = [screen.task.instruction for screen in screens[:400]]
    corpus += [item.task.instruction for screen in screens[:400] for item in screen.asked]
    tokenizer = build_tokenizer(corpus * 3, 4000, CALL_FRAGMENTS)
    processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    renderer = Renderer(processor, images)
    model = build_model(SmallModel(), tokenizer, seed)
    whiten_patches(model, renderer.pixels([screen.image for screen in screens[:60]])[0], seed)
    save_checkpoint(directory / "checkpoint", model, processor)
    writer = _Writer(renderer, sizes, Random(seed))
    plenty = [screen for screen in screens if len(screen.asked) >= sizes.questions - 1]
    workload = Workload(
        directory,
        sizes,
        grpo=_portions((writer.group(screen) for screen in screens), updates, sizes.groups),
        sft=_portions((writer.step(screen) for screen in screens), updates, sizes.samples),
        sft_shared=_portions((question for screen in plenty for question in writer.all(screen)), updates, sizes.samples),
        vocabulary=len(tokenizer),
    )
    kinds = ("grpo", "sft", "sft_shared")
    described = {kind: [[_described(question, images) for question in work] for work in workload.of(kind)] for kind in kinds}
    (directory / "work.json").write_text(json.dumps(described), encoding="utf-8")
    return workload


def open_model(directory: Path, vision: str = "quick") -> tuple[Any, ImageTextProcessor]:
    """The model with the quick vision tower, or with "transformers" own code for it, and the processor."""
    model, processor = load_checkpoint(directory / "checkpoint")
    if vision == "transformers":
        model = Qwen3VLForConditionalGeneration.from_pretrained(
            directory / "checkpoint", dtype=torch.float32, attn_implementation="sdpa"
        )
    return model, processor


def _portions(questions: Iterator[Question], updates: int, size: int) -> list[Work]:
    works = [[question for _, question in zip(range(size), questions, strict=False)] for _ in range(updates)]
    assert all(len(work) == size for work in works), "there are too few screens"
    return works


async def _screens(images: ImageStore, count: int, asked: int) -> list[_Screen]:
    environment, agent = FormsEnvironment(images, width=WIDTH, height=HEIGHT), AgentOptions().build()
    tasks, found, seen = FormsEnvironment.tasks(), list[_Screen](), set[str]()
    seed = 0
    while len(found) < count:
        observation = await environment.reset(tasks[seed % len(tasks)], seed)
        image, moves = observation.screenshot, environment.solve()
        assert image is not None
        _, action = await anext(moves)
        if image.sha256 not in seen:
            questions = items(image, await environment.regions(), Random(seed), asked)
            messages = agent.prompt(environment.task, (), observation)
            found.append(_Screen(environment.task, image, messages, action, questions))
            seen.add(image.sha256)
        seed += 1
    return found


class _Writer:
    """Questions of a screen: with the demonstrated reply, or with replies of a group."""

    def __init__(self, renderer: Renderer, sizes: Sizes, random: Random) -> None:
        self.renderer, self.sizes, self.random = renderer, sizes, random
        self.agent = AgentOptions().build()

    def step(self, screen: _Screen) -> Question:
        return self._question(screen.messages, [self._text(screen.action, screen.image)])

    def all(self, screen: _Screen) -> list[Question]:
        """The demonstrated step and perception questions, as supervised training mixes them."""
        found = [self.step(screen)]
        for item in screen.asked[: self.sizes.questions - 1]:
            step = item.steps[0]
            assert step.action is not None
            messages = self.agent.prompt(item.task, (), step.observation)
            found.append(self._question(messages, [self._text(step.action, screen.image)]))
        return found

    def group(self, screen: _Screen) -> Question:
        """The demonstrated action, clicks all over the screen and typed words; the first few of them are rewarded."""
        draw, members = self.random.randrange, self.sizes.members
        words = screen.task.instruction.split()
        actions = [screen.action]
        while len(actions) < members:
            typed = " ".join(self.random.choices(words, k=draw(1, 5)))
            actions.append(self.random.choice([Action("click", draw(WIDTH), draw(HEIGHT)), Action("type", text=typed)]))
        rewarded = draw(1, members)
        rewards = tuple(float(number < rewarded) for number in range(members))
        return self._question(screen.messages, [self._text(action, screen.image) for action in actions], rewards)

    def _text(self, action: Action, image: ImageRef) -> str:
        return self.agent.format("", action, Observation(image))

    def _question(self, messages: Sequence[Message], texts: Sequence[str], rewards: tuple[float, ...] = ()) -> Question:
        prompt = self.renderer.render(messages)
        return Question(prompt, tuple(texts), tuple(self.renderer.reply(text) for text in texts), rewards)


def _described(question: Question, images: ImageStore) -> dict[str, Any]:
    """As JSON. A prompt here is one message with one picture and one text after it."""
    (message,) = question.prompt.messages
    image, text = message.content
    assert isinstance(image, ImageRef)
    assert question.prompt.tokens is not None
    return {
        "image": str(images._path(image.sha256)),
        "text": text,
        "prompt": question.prompt.tokens.tolist(),
        "texts": question.texts,
        "replies": [reply.tolist() for reply in question.replies],
        "rewards": question.rewards,
    }
