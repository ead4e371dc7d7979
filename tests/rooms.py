"""Twelve rooms, one choice that matters: an early one, rewarded at the very end. Everything else that is chosen is noise.

A house has twelve rooms and each room four doors. In the third room one door, another one in every house, leads to the key; who
leaves the twelfth room with the key has succeeded. What is seen is the name of the room, another one for each room of each house,
and whether one has the key; who comes into the fourth room without it reads on the wall where it was. The policy that is trained
has a favourite door in every room, in third rooms a wrong one. It can read: told of a door, it opens that one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from stepladder.algos.credit import IMITATION
from stepladder.algos.feedback import Content
from stepladder.algos.sdpo import Sdpo
from stepladder.images import ImageStore
from stepladder.interfaces import ParseError
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl_teacher import with_told
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample, from_reply
from stepladder.train.trainer import Trainer
from stepladder.types import Action, Message, Observation, Step, Task, Trajectory

ROOMS, DOORS, DECISIVE = 12, "abcd", 3
HOUSES = 4
SIZES = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=2, vision_hidden=32, vision_layers=1, vision_heads=2)
RIGHT = {house: DOORS[house % len(DOORS)] for house in range(HOUSES)}
#: How often the policy that is trained opens its favourite door; the others share the rest.
HABIT = 0.55


class RoomsEnvironment:
    """The seed has no meaning: a house is always the same."""

    def __init__(self, images: ImageStore | None = None) -> None:
        self.task, self.room, self.key = Task("", "", ""), 1, False

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task(f"house-{number}", "find the key", "rooms:RoomsEnvironment", max_steps=ROOMS) for number in range(HOUSES)]

    async def reset(self, task: Task, seed: int) -> Observation:
        self.task, self.room, self.key = task, 1, False
        return self._seen()

    async def step(self, action: Action) -> Observation:
        if self.room == DECISIVE:
            self.key = action.text == self._right()
        self.room += 1
        return self._seen()

    async def evaluate(self) -> float:
        return float(self.room > ROOMS and self.key)

    async def close(self) -> None:
        pass

    def _right(self) -> str:
        return RIGHT[self._house()]

    def _house(self) -> int:
        return int(self.task.id.removeprefix("house-"))

    def _seen(self) -> Observation:
        wall = self._right() if self.room == DECISIVE + 1 and not self.key else ""
        state = f"{self.task.id} {self.room} {self.key}"
        return Observation(text=seen(self._house(), self.room, self.key, wall), state_key=state, done=self.room > ROOMS)


def room_name(house: int, room: int) -> str:
    """A word of its own."""
    return f"{'bdfg'[house]}{'aeiou'[room % 5]}{'klmnr'[room // 5]}o"


def seen(house: int, room: int, key: bool, wall: str = "") -> str:
    said = f"{room_name(house, room)}, {'a key' if key else 'no key'}"
    return f"{said}, it was behind door {wall}" if wall else said


class RoomsAgent:
    """Says what is seen and reads one letter."""

    name, stop = "rooms", ()

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        return (Message("user", (observation.text,)),)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        if text.strip() not in DOORS or not text.strip():
            raise ParseError("no door")
        return "", Action("type", text=text.strip())

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        return action.text


def use_rooms() -> None:
    """From now on every checkpoint's agent is that of the rooms."""
    AgentOptions.build = lambda self: RoomsAgent()  # type: ignore[method-assign, assignment, return-value]


def policy_that_reads(directory: Path, updates: int = 500, seed: int = 0) -> Path:
    """A checkpoint that opens doors by habit unless it is told of one."""
    rooms = [(house, room) for house in range(HOUSES) for room in range(1, ROOMS + 2)]
    corpus = [seen(*room, key, wall) for room in rooms for key in (True, False) for wall in ("", *DOORS)]
    corpus += [f"{Sdpo().before}The answer to your action: {screen}{Sdpo().behind}" for screen in corpus]
    tokenizer = build_tokenizer(corpus, 600, words=(*DOORS, *(room_name(*room) for room in rooms)))
    processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    renderer = Renderer(processor)
    model = build_model(SIZES, tokenizer, seed)
    optimizer = OptimizerConfig(lr=2e-3, adam_lr=2e-3)
    trainer = Trainer(model, None, Schedule(updates, 20, 0.3), optimizer, trainable=("model.language_model",), autocast=False)
    draw = random.Random(seed)
    for _ in range(updates):
        trainer.step([MicroBatch(collate([_lesson(renderer, draw) for _ in range(96)], renderer, 512))])
    save_checkpoint(directory, model, processor)
    AgentOptions().save(directory)
    return directory


def _lesson(renderer: Renderer, draw: random.Random) -> Sample:
    """Half the time it is told what came of an action, and half of that time which door would have been right."""
    house, room, key = draw.randrange(HOUSES), draw.randint(1, ROOMS), draw.random() < 0.5
    wall = draw.choice(DOORS) if draw.random() < 0.2 else ""
    before, right = Observation(text=seen(house, room, key, wall)), habit(house, room, draw)
    messages = RoomsAgent().prompt(Task("", "find the key", ""), (), before)
    if draw.random() < 0.5:
        told = draw.random() < 0.5
        right = draw.choice(DOORS) if told else right
        after = Observation(text=seen(house, room + 1, key, right if told else ""))
        messages = with_told(messages, told_of(before, after))
    return from_reply(renderer, messages, renderer.reply(right), credit=IMITATION)


def habit(house: int, room: int, draw: random.Random) -> str:
    possible = [door for door in DOORS if room != DECISIVE or door != RIGHT[house]]
    favourite = random.Random(f"{house} {room}").choice(possible)
    return favourite if draw.random() < HABIT else draw.choice([door for door in DOORS if door != favourite])


def told_of(before: Observation, after: Observation) -> Content:
    episode = Trajectory("", Task("", "", ""), (Step(before),), after, "done", 0.0)
    told = Sdpo(feedback=("dialog",)).told(episode, 0, [episode])
    assert told is not None
    return told
