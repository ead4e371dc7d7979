"""Tokens a second of the in-process engine beside transformers' own generate, on the turns of groups of episodes.

What is asked, turn by turn, all members of some groups at once:

- with --demo DIRECTORY, the episodes that reinforcement learning played in that demonstration, by the model that it led to: groups
  of 8 with their screenshots, as many turns as they had, as many tokens a reply as their replies had on average;
- without it, a small model with random weights on forms of 160 x 224 pixels: groups of 8 members that begin alike, 3 turns, 20
  tokens a reply. There hardly two members do the same, so that little is left to share after the first turn.

It is asked of transformers' generate, with tokens and pictures as they are stored, which its own processor prepares, and once more
with pictures that were prepared before the clock starts; and of engines that share more and more. Ratios are to both. All in
float32, on one thread, with the same weights, in turns within each round; the engine's caches are emptied before each round, as
they are by an update of the weights.

Run: OMP_NUM_THREADS=1 python bench/engine.py [--rounds 5] [--groups 4] [--demo runs/demo]
"""

from __future__ import annotations

import argparse
import asyncio
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.models.vision import use_batched_vision
from stepladder.policies.engine import Engine
from stepladder.stages.local_policy import load_policy
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, ImageRef, Message, Observation, Prompt, Sampling, Step, Trajectory

TURNS, MEMBERS, TOKENS = 3, 8, 20
#: What each engine may share, each with all that those before it share.
ENGINES: dict[str, dict[str, int]] = {
    "engine, nothing shared": {"prefix_tokens": 0, "picture_tokens": 1},
    "equal prompts read once": {"prefix_tokens": 0, "picture_tokens": 1},
    "+ pictures kept": {"prefix_tokens": 0},
    "+ prefixes kept (the default)": {},
}
TRANSFORMERS = "transformers generate", "transformers, prepared before"
Turn = list[Prompt]


@dataclass
class Play:
    """The prompts of all members, turn by turn, each to be answered with `tokens` tokens. `apart` are the same prompts with no two
    pictures alike."""

    name: str
    turns: list[Turn]
    apart: list[Turn]
    tokens: int = TOKENS

    @property
    def replies(self) -> int:
        return sum(map(len, self.turns))


class Bench:
    """Without `demo` with a model of its own, else with that of the demonstration in this directory."""

    def __init__(self, groups: int, demo: Path | None = None) -> None:
        self.groups = groups
        self.images = ImageStore()
        if demo is None:
            self._make_model()
        else:
            self.model, self.renderer = load_policy(demo / "rl" / "checkpoint", self.images)
        # no reply ends early
        self.renderer.banned_ids = (*self.renderer.banned_ids, *self.renderer.stop_ids)
        self.renderer.stop_ids = ()

    def _make_model(self) -> None:
        tokenizer = build_tokenizer(["Click the button. Enter the text. Select the option."] * 5, 600)
        self.renderer = Renderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template), self.images)
        self.model = build_model(SmallModel(), tokenizer).eval()
        use_batched_vision(self.model)

    def engine(self, **options: int) -> Engine:
        return Engine(self.model, self.renderer, max_batch=self.groups * MEMBERS, **options)

    # ------------------------------------------------------------------ what is asked

    def recorded(self, demo: Path) -> Play:
        """The groups that its reinforcement learning played last, with their pictures.

        All of them take their turns at the same time; a run has fewer episodes at once."""
        played = ImageStore(demo / "rl" / "images")
        members: dict[str, list[Trajectory]] = {}
        for path in sorted((demo / "rl").glob("rollouts-*.jsonl")):
            with TrajectoryStore(path) as store:
                for trajectory in store:
                    members.setdefault(trajectory.group, []).append(trajectory)
        whole = [group for group in members.values() if len(group) == MEMBERS]
        groups = sorted(whole, key=lambda group: int(group[0].group.partition(".")[0]))[-self.groups :]
        if not groups:
            raise SystemExit(
                f"{demo}/rl holds no group of {MEMBERS} episodes; let `stepladder demo` go on to reinforcement learning"
            )
        episodes = [[step for step in member.steps if step.prompt is not None] for group in groups for member in group]
        turns: list[Turn] = []
        for turn in range(max(map(len, episodes))):
            prompts = [steps[turn].prompt for steps in episodes if len(steps) > turn]
            turns.append([prompt for prompt in prompts if prompt is not None])
        for prompts in turns:
            for prompt in prompts:
                for image in prompt.images:
                    self.images.put(played.get(image))
        lengths = [
            len(step.completion.tokens)
            for steps in episodes
            for step in steps
            if step.completion and step.completion.tokens is not None
        ]
        return self._play_of("episodes of the demonstration", turns, round(float(np.mean(lengths))))

    def _play_of(self, name: str, turns: list[Turn], tokens: int) -> Play:
        apart, number = [], 0
        for prompts in turns:
            apart.append([self._with_pictures_of_its_own(prompt, number + row) for row, prompt in enumerate(prompts)])
            number += len(prompts)
        return Play(name, turns, apart, tokens)

    def play(self, screenshots: int, all_different: bool) -> Play:
        engine = self.engine()
        turns = asyncio.run(self._play(engine, QwenVLAgent(screenshots=screenshots), all_different))
        engine.close()
        kept = "prompts that extend" if screenshots >= TURNS else f"a window of {screenshots} screenshot"
        screens = "every later screen different" if all_different else "screens as they were played"
        return self._play_of(f"{kept}, {screens}", turns, TOKENS)

    async def _play(self, engine: Engine, agent: QwenVLAgent, all_different: bool) -> list[Turn]:
        tasks = FormsEnvironment.tasks()
        environments = [FormsEnvironment(self.images, height=224) for _ in range(self.groups * MEMBERS)]
        seen = [await environment.reset(tasks[row // MEMBERS], row // MEMBERS) for row, environment in enumerate(environments)]
        steps: list[list[Step]] = [[] for _ in environments]
        turns = []
        for turn in range(TURNS):
            prompts = [
                self.renderer.render(agent.prompt(environment.task, before, observation))
                for environment, before, observation in zip(environments, steps, seen, strict=True)
            ]
            turns.append(prompts)
            for row, reply in enumerate(await ask(engine, prompts, samplings(turn, len(prompts), TOKENS))):
                place = zlib.crc32(np.asarray(reply.tokens).tobytes())
                action = Action("click", place % 160, place // 160 % 224)
                steps[row].append(Step(seen[row], action, prompt=prompts[row], completion=reply))
                seen[row] = await environments[row].step(action)
                if all_different:
                    seen[row] = self._marked(seen[row], turn * len(prompts) + row)
        return turns

    def _marked(self, observation: Observation, number: int) -> Observation:
        assert observation.screenshot is not None
        return replace(observation, screenshot=self._different(observation.screenshot, number))

    def _different(self, image: ImageRef, number: int) -> ImageRef:
        pixels = np.array(self.images.load(image))
        pixels[0, 0] = number // 65536, number // 256 % 256, number % 256
        return self.images.put_pixels(pixels)

    def _with_pictures_of_its_own(self, prompt: Prompt, number: int) -> Prompt:
        numbers = iter(range(number * TURNS, 2**24))
        messages = [
            Message(
                message.role,
                tuple(self._different(part, next(numbers)) if isinstance(part, ImageRef) else part for part in message.content),
                message.tokens,
            )
            for message in prompt.messages
        ]
        return Prompt(tuple(messages), prompt.tokens, prompt.image_spans)

    # ------------------------------------------------------------------ who answers

    def transformers_inputs(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """All that generate takes, rows padded on the left."""
        width = max(length(prompt) for prompt in prompts)
        ids = np.full((len(prompts), width), self.renderer.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - length(prompt) :] = prompt.tokens
            mask[row, width - length(prompt) :] = 1
        pictures = [self.images.load(image) for prompt in prompts for image in prompt.images]
        prepared = self.renderer.processor.image_processor(pictures, return_tensors="pt")
        tokens = torch.from_numpy(ids)
        return {
            "input_ids": tokens,
            "attention_mask": torch.from_numpy(mask),
            "mm_token_type_ids": (tokens == self.renderer.image_id).int(),
            "pixel_values": prepared["pixel_values"],
            "image_grid_thw": prepared["image_grid_thw"],
        }

    def with_transformers(self, inputs: dict[str, torch.Tensor], tokens: int, greedy: bool = False) -> torch.Tensor:
        """Ids int64[B, tokens]."""
        sampling = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0}
        banned = list(self.renderer.banned_ids)
        output = self.model.generate(**inputs, max_new_tokens=tokens, suppress_tokens=banned, **sampling)
        return output[:, inputs["input_ids"].shape[1] :]

    # ------------------------------------------------------------------ the measurement

    def measure(self, play: Play, rounds: int) -> None:
        inputs = [self.transformers_inputs(prompts) for prompts in play.turns]
        engines = {name: self.engine(**options) for name, options in ENGINES.items()}

        def transformers() -> None:
            for prompts in play.turns:
                assert self.with_transformers(self.transformers_inputs(prompts), play.tokens).shape[1] == play.tokens

        def prepared_before() -> None:
            for turn in inputs:
                assert self.with_transformers(turn, play.tokens).shape[1] == play.tokens

        def asking(name: str) -> Callable[[], None]:
            turns = play.apart if name == "engine, nothing shared" else play.turns
            return lambda: asyncio.run(ask_turns(engines[name], turns, play.tokens))

        contestants = dict(zip(TRANSFORMERS, (transformers, prepared_before), strict=True)) | {
            name: asking(name) for name in engines
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name, run in contestants.items():
                if name in engines:
                    asyncio.run(engines[name].update_weights(None, number))
                begin = time.perf_counter()
                run()
                if number > 0:  # the first round warms up
                    seconds[name].append(time.perf_counter() - begin)
        for engine in engines.values():
            engine.close()
        lengths = ", ".join(f"{np.mean([length(prompt) for prompt in prompts]):.0f}" for prompts in play.turns)
        pictures = [image for prompts in play.turns for prompt in prompts for image in prompt.images]
        alike = self.alike(play, inputs)
        print(f"\n{play.name}: {play.replies} replies of {play.tokens} tokens; prompts of {lengths} tokens, turn by turn")
        print(f"  {len(set(pictures))} different pictures in {len(pictures)} places; greedy replies alike: {alike}")
        for name, taken in seconds.items():
            rate = np.median(play.replies * play.tokens / np.array(taken))
            ratios = [np.array(seconds[baseline]) / np.array(taken) for baseline in TRANSFORMERS]
            shown = "  ".join(f"{np.median(ratio):6.2f} x ({ratio.min():.2f} to {ratio.max():.2f})" for ratio in ratios)
            print(f"  {name:31s}{rate:8.0f} tokens/s {shown}")

    def alike(self, play: Play, inputs: list[dict[str, torch.Tensor]]) -> str:
        """How many greedy replies of the default engine, after all turns were asked, are those of transformers."""
        engine = self.engine()
        equal = 0
        for prompts, turn in zip(play.turns, inputs, strict=True):
            replies = asyncio.run(ask(engine, prompts, [Sampling(temperature=0.0, max_tokens=play.tokens)] * len(prompts)))
            expected = self.with_transformers(turn, play.tokens, greedy=True).tolist()
            equal += sum(np.asarray(reply.tokens).tolist() == ids for reply, ids in zip(replies, expected, strict=True))
        engine.close()
        return f"{equal} of {play.replies}"


def length(prompt: Prompt) -> int:
    assert prompt.tokens is not None
    return len(prompt.tokens)


def samplings(turn: int, count: int, tokens: int) -> list[Sampling]:
    """The same seeds as when forms were played, so that each reply is the one that the next prompt holds."""
    return [Sampling(max_tokens=tokens, seed=turn * count + row) for row in range(count)]


async def ask(engine: Engine, prompts: Sequence[Prompt], settings: Sequence[Sampling]) -> list[Completion]:
    return await asyncio.gather(*(engine.generate(prompt, each) for prompt, each in zip(prompts, settings, strict=True)))


async def ask_turns(engine: Engine, turns: Sequence[Turn], tokens: int) -> None:
    for number, prompts in enumerate(turns):
        for reply in await ask(engine, prompts, samplings(number, len(prompts), tokens)):
            assert reply.tokens is not None
            assert len(reply.tokens) == tokens


def main(rounds: int, groups: int, demo: Path | None) -> None:
    torch.set_num_threads(1)
    print(f"{groups} groups of {MEMBERS}, {rounds} rounds; median and range of the ratio")
    bench = Bench(groups, demo)
    if demo is not None:
        bench.measure(bench.recorded(demo), rounds)
        return
    for screenshots in (TURNS, 1):
        for all_different in (True, False):
            bench.measure(bench.play(screenshots, all_different), rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--demo", type=Path, help="directory of a finished demonstration")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.groups, arguments.demo)
