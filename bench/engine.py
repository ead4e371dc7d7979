"""Tokens a second of the in-process engine beside transformers' own generate, on a small model with random weights.

Prompts are one 160x210 screenshot and an instruction, replies have 20 tokens. "8 a prompt" asks each of the distinct prompts eight
times, as a group of rollouts does. Run: OMP_NUM_THREADS=1 python bench/engine.py [batch] [repeats]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

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
from stepladder.types import Prompt, Sampling

TOKENS = 20


async def build_prompts(renderer: Renderer, images: ImageStore, count: int) -> list[Prompt]:
    environment = FormsEnvironment(images)
    agent = QwenVLAgent(system="none")
    tasks = environment.tasks()
    prompts = []
    for seed in range(count):
        observation = await environment.reset(tasks[seed % len(tasks)], seed)
        prompts.append(renderer.render(agent.prompt(environment.task, [], observation)))
    return prompts


class Bench:
    def __init__(self, batch: int, repeats: int) -> None:
        self.batch, self.repeats = batch, repeats
        self.images = ImageStore()
        tokenizer = build_tokenizer(["Click the button. Enter the text."] * 5, 600)
        self.renderer = Renderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template), self.images)
        self.model = build_model(SmallModel(), tokenizer).eval()
        use_batched_vision(self.model)
        self.prompts = asyncio.run(build_prompts(self.renderer, self.images, batch))

    def with_engine(self, prompts: list[Prompt]) -> int:
        engine = Engine(self.model, self.renderer, max_batch=len(prompts))

        async def main() -> int:
            settings = [Sampling(max_tokens=TOKENS, seed=number) for number in range(len(prompts))]
            replies = await asyncio.gather(*(engine.generate(p, s) for p, s in zip(prompts, settings, strict=True)))
            return sum(len(reply.tokens) for reply in replies if reply.tokens is not None)

        count = asyncio.run(main())
        engine.close()
        return count

    def with_transformers(self, prompts: list[Prompt]) -> int:
        width = max(len(prompt.tokens) for prompt in prompts if prompt.tokens is not None)
        ids = np.full((len(prompts), width), self.renderer.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            assert prompt.tokens is not None
            ids[row, width - len(prompt.tokens) :] = prompt.tokens
            mask[row, width - len(prompt.tokens) :] = 1
        pixels, grid = self.renderer.pixels([image for prompt in prompts for image in prompt.images])
        tokens = torch.from_numpy(ids)
        output = self.model.generate(
            input_ids=tokens,
            attention_mask=torch.from_numpy(mask),
            mm_token_type_ids=(tokens == self.renderer.image_id).int(),
            pixel_values=pixels,
            image_grid_thw=grid,
            max_new_tokens=TOKENS,
            do_sample=True,
            top_k=0,
            suppress_tokens=list(self.renderer.banned_ids),
        )
        return int((output[:, width:] != self.renderer.pad_id).sum())

    def report(self, name: str, run: Callable[[list[Prompt]], int], prompts: list[Prompt]) -> None:
        run(prompts[:2])
        rates = []
        for _ in range(self.repeats):
            begin = time.perf_counter()
            count = run(prompts)
            rates.append(count / (time.perf_counter() - begin))
        length = np.mean([len(prompt.tokens) for prompt in prompts if prompt.tokens is not None])
        rate = f"{np.median(rates):7.0f} tokens/s (best {max(rates):.0f})"
        print(f"{name:33s} {len(prompts):4d} replies, prompts of {length:.0f} tokens: {rate}")


def main(batch: int, repeats: int) -> None:
    bench = Bench(batch, repeats)
    shared = [prompt for prompt in bench.prompts[: max(1, batch // 8)] for _ in range(8)]
    print(f"torch threads: {torch.get_num_threads()}")
    for name, run in (("engine", bench.with_engine), ("transformers generate", bench.with_transformers)):
        bench.report(name, run, bench.prompts)
        bench.report(f"{name}, 8 a prompt", run, shared)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 32, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
