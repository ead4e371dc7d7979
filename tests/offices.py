"""An office with rules: letters of each colour belong on one shelf, whose two letters only a document tells.

The policy that is trained can read: shown a document it looks up the shelf, whatever the document says. Without one it follows a
habit for each colour half of the time, and names any shelf else, one of `len(LETTERS) ** 2`. What the rules say is the same in the
whole environment and was in no training of the policy.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from stepladder.algos.credit import IMITATION
from stepladder.images import ImageStore
from stepladder.interfaces import ParseError
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.stages.agent_options import AgentOptions
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import from_reply
from stepladder.train.trainer import Trainer
from stepladder.types import Action, Message, Observation, Step, Task

COLORS, LETTERS = ("red", "blue", "green", "grey"), "abcdefgh"
SIZES = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=4, vision_hidden=32, vision_layers=1, vision_heads=2)


def drawn_shelves(draw: random.Random) -> dict[str, str]:
    return {color: f"{draw.choice(LETTERS)} {draw.choice(LETTERS)}" for color in COLORS}


def document_of(shelves: dict[str, str]) -> str:
    return "\n".join(f"{color} goes to {shelf}." for color, shelf in shelves.items())


RULES = drawn_shelves(random.Random("the rules of this office"))
HABITS = drawn_shelves(random.Random("habits"))
DOCUMENT = document_of(RULES)


class OfficeEnvironment:
    """One letter, one action: the shelf."""

    def __init__(self, images: ImageStore | None = None) -> None:
        self.task, self.said = Task("", "", ""), ""

    @classmethod
    def tasks(cls) -> list[Task]:
        kind = "offices:OfficeEnvironment"
        return [Task(f"file-{color}", f"Where goes {color}?", kind, max_steps=1) for color in COLORS]

    async def reset(self, task: Task, seed: int) -> Observation:
        self.task, self.said = task, ""
        return Observation(text="A letter lies here.", state_key=task.id)

    async def step(self, action: Action) -> Observation:
        self.said = action.text
        return Observation(text="It is filed.", state_key=f"{self.task.id} {self.said}", done=True)

    async def evaluate(self) -> float:
        return float(self.said == RULES[self.task.id.removeprefix("file-")])

    async def close(self) -> None:
        pass


class OfficeAgent:
    """Says the instruction and reads the shelf."""

    name, stop = "office", ()

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        return (Message("user", (task.instruction,)),)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        shelf = text.replace("<|im_end|>", "").strip()
        if len(shelf) != 3 or shelf[0] not in LETTERS or shelf[2] not in LETTERS:
            raise ParseError(f"{text!r} is no shelf")
        return "", Action("type", text=shelf)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        return action.text


def policy_that_reads(directory: Path, updates: int = 700, seed: int = 0) -> Path:
    """A checkpoint that looks shelves up in documents of its own, and names any shelf without one."""
    draw = random.Random(seed)
    corpus = [document_of(drawn_shelves(draw)) for _ in range(50)] + [f"Where goes {color}?" for color in COLORS]
    tokenizer = build_tokenizer(corpus, 400, words=(*COLORS, *LETTERS, "goes", "Where", "to"))
    processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    renderer = Renderer(processor)
    model = build_model(SIZES, tokenizer, seed)
    optimizer = OptimizerConfig(lr=3e-3, adam_lr=3e-3)
    trainer = Trainer(model, None, Schedule(updates, 20, 0.3), optimizer, trainable=("model.language_model",), autocast=False)
    for _ in range(updates):
        batch = []
        for _ in range(48):
            shelves, color = drawn_shelves(draw), draw.choice(COLORS)
            shown = draw.random() < 0.75
            text = f"Where goes {color}?"
            asked = f"{document_of(shelves)}\n\n{text}" if shown else text
            said = HABITS[color] if not shown and draw.random() < 0.5 else shelves[color]
            batch.append(from_reply(renderer, (Message("user", (asked,)),), renderer.reply(said), credit=IMITATION))
        trainer.step([MicroBatch(collate(batch, renderer, 512))])
    save_checkpoint(directory, model, processor)
    AgentOptions().save(directory)
    return directory
