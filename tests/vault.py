"""A vault of four dials: at each one of four letters, of which one turns on and any other locks the vault for good.

What is seen is the name of the vault and of the dial, another name for each dial of each vault. The policy that is trained has a
favourite letter at every dial, which is wrong at the dials that `WRONG` names. It can be replayed: the seed has no meaning.
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
from stepladder.types import Action, Completion, Message, Observation, Prompt, Sampling, Step, Task

DIALS, LETTERS, VAULTS = 4, "abcd", 24
SIZES = SmallModel(hidden=48, layers=2, heads=4, key_value_heads=2, vision_hidden=32, vision_layers=1, vision_heads=2)
#: Dials at which the policy's favourite is wrong.
WRONG = (1, 3)
#: How often the policy says its favourite; the other letters share the rest.
HABIT = 0.4


def right(vault: int, dial: int) -> str:
    return LETTERS[(vault + 3 * dial + vault // 4) % len(LETTERS)]


def favourite(vault: int, dial: int) -> str:
    letter = right(vault, dial)
    return LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)] if dial in WRONG else letter


def seen(vault: int, dial: int) -> str:
    return f"{'bcdfghjklmnp'[vault % 12]}{'aeio'[dial]}{'rs'[vault // 12]}u dial"


class VaultEnvironment:
    """`forgetful` turns it into one that cannot be replayed: its names change with every reset."""

    forgetful = False

    def __init__(self, images: ImageStore | None = None) -> None:
        self.task, self.dial, self.locked, self.resets = Task("", "", ""), 0, False, 0
        self.steps = 0

    @classmethod
    def tasks(cls) -> list[Task]:
        kind = f"vault:{cls.__name__}"
        return [Task(f"vault-{number}", "open the vault", kind, max_steps=DIALS) for number in range(VAULTS)]

    async def reset(self, task: Task, seed: int) -> Observation:
        self.task, self.dial, self.locked = task, 0, False
        self.resets += 1
        return self._seen()

    async def step(self, action: Action) -> Observation:
        self.steps += 1
        self.locked = self.locked or action.text != right(self._vault(), self.dial)
        self.dial += 1
        return self._seen()

    async def evaluate(self) -> float:
        return float(self.dial == DIALS and not self.locked)

    async def close(self) -> None:
        pass

    def _vault(self) -> int:
        return int(self.task.id.removeprefix("vault-"))

    def _seen(self) -> Observation:
        text = seen(self._vault(), min(self.dial, DIALS - 1))
        state = f"{self.task.id} {self.dial} {self.locked}{f' {self.resets}' if self.forgetful else ''}"
        return Observation(text=text, state_key=state, done=self.locked or self.dial == DIALS)


class ForgetfulVault(VaultEnvironment):
    forgetful = True


class VaultAgent:
    """Says what is seen and reads one letter."""

    name, stop = "vault", ()

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        return (Message("user", (observation.text,)),)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        letter = text.replace("<|im_end|>", "").strip()
        if len(letter) != 1 or letter not in LETTERS:
            raise ParseError(f"{text!r} is no letter")
        return "", Action("type", text=letter)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        return action.text


class HabitPolicy:
    """Says its favourite letter at temperature 0, else any; what follows from the seed of the question alone."""

    name, version = "habit", 0

    def __init__(self, agent: object = None) -> None:
        self.asked = 0

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        self.asked += 1
        vault, dial = place_of(messages[-1].text)
        drawn = random.Random(f"{sampling.seed}")
        plain = sampling.temperature == 0 or drawn.random() < HABIT
        return Prompt(messages), Completion(favourite(vault, dial) if plain else drawn.choice(LETTERS))


class Adviser:
    """Orders letters rightly in so many of ten questions, and else at random; read by `judges.critique`."""

    name, version = "adviser", 0

    def __init__(self, right_of_ten: int = 10) -> None:
        self.right_of_ten = right_of_ten

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        text = messages[-1].text
        lines = text.splitlines()
        letters = [line.split('"')[1] for line in lines if line.startswith("Reply ")]
        vault, dial = place_of(next(line for line in lines if line.startswith("What the computer says")).split('"')[1])
        drawn = random.Random(f"{sampling.seed}")
        numbers = list(range(1, len(letters) + 1))
        drawn.shuffle(numbers)
        if drawn.randrange(10) < self.right_of_ten:
            numbers.sort(key=lambda number: letters[number - 1] != right(vault, dial))
        head = lines[-1].split(":")[0]
        return Prompt(messages), Completion(f"The first is best.\n{head}: {' '.join(map(str, numbers))}")


def place_of(text: str) -> tuple[int, int]:
    """(vault, dial) of what is seen."""
    return next((vault, dial) for vault in range(VAULTS) for dial in range(DIALS) if seen(vault, dial) == text)


def policy_with_habits(directory: Path, updates: int = 210) -> Path:
    """A checkpoint that says its favourites with the probability HABIT. What these are it learns first: from habits alone it takes
    far longer to tell the dials apart."""
    places = [(vault, dial) for vault in range(VAULTS) for dial in range(DIALS)]
    tokenizer = build_tokenizer([seen(*place) for place in places], 400, words=(*LETTERS, *(seen(*p).split()[0] for p in places)))
    processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    renderer = Renderer(processor)
    model = build_model(SIZES, tokenizer, 0)
    optimizer = OptimizerConfig(lr=3e-3, adam_lr=3e-3)
    trainer = Trainer(model, None, Schedule(updates, 10, 0.3), optimizer, trainable=("model.language_model",), autocast=False)
    draw = random.Random(0)
    for update in range(updates):
        batch = []
        for vault, dial in draw.choices(places, k=48):
            best = favourite(vault, dial)
            others = [letter for letter in LETTERS if letter != best]
            letter = best if update < 2 * updates // 3 or draw.random() < HABIT else draw.choice(others)
            messages = VaultAgent().prompt(Task("", "", ""), (), Observation(text=seen(vault, dial)))
            batch.append(from_reply(renderer, messages, renderer.reply(letter), credit=IMITATION))
        trainer.step([MicroBatch(collate(batch, renderer, 512))])
    save_checkpoint(directory, model, processor)
    AgentOptions().save(directory)
    return directory
