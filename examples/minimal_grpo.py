"""GRPO (Z. Shao et al., arXiv 2402.03300) on questions of one turn, by transformers and PyTorch alone: what the algorithm is.

    python examples/minimal_grpo.py runs/ladder/5-instruction/checkpoint --task add-2-digits --updates 30

The question, the prompt and the check are Stepladder's, so that `stepladder rl` can be run on the same; sampling, advantages and
the loss are written out. What is missing here is what the rest of Stepladder is for, and docs/five_days.md counts it up.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from stepladder.envs.reasoning.environment import ReasoningEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, ParseError
from stepladder.models.renderer import Renderer
from stepladder.seeds import HELDOUT
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import load_policy


def prompt_of(environment: ReasoningEnvironment, agent: Agent, renderer: Renderer, task: str, seed: int) -> Tensor:
    """Ids int64[1, P] of the question of this seed, which the environment now asks."""
    observation = asyncio.run(environment.reset(environment.tasks([task])[0], seed))
    messages = agent.prompt(environment.task, (), observation)
    return torch.as_tensor(renderer.render(messages).tokens, dtype=torch.long)[None]


def score(environment: ReasoningEnvironment, agent: Agent, reply: str, task: str, seed: int) -> float:
    """1 when the reply answers the question of this seed, else 0."""
    observation = asyncio.run(environment.reset(environment.tasks([task])[0], seed))
    try:
        _, action = agent.parse(reply, observation)
    except ParseError:
        return 0.0
    asyncio.run(environment.step(action))
    return asyncio.run(environment.evaluate())


def log_probs(model: torch.nn.Module, tokens: Tensor, start: int) -> Tensor:
    """Of int64[B, T] the log-probabilities float32[B, T - start] of what stands from `start` on."""
    logits = model(input_ids=tokens).logits[:, start - 1 : -1].float()
    return torch.log_softmax(logits, -1).gather(-1, tokens[:, start:, None]).squeeze(-1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("checkpoint", type=Path)
    arguments.add_argument("--task", default="add-2-digits")
    arguments.add_argument("--updates", type=int, default=30)
    arguments.add_argument("--groups", type=int, default=8, help="questions of an update")
    arguments.add_argument("--group-size", type=int, default=8, help="answers to each")
    arguments.add_argument("--lr", type=float, default=1e-5)
    arguments.add_argument("--max-tokens", type=int, default=64)
    given = arguments.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        images = ImageStore(Path(scratch))
        model, renderer = load_policy(given.checkpoint, images)
        agent, environment = AgentOptions.of_checkpoint(given.checkpoint).build(), ReasoningEnvironment(images)
        optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr)
        stops, begun = sorted(renderer.stop_ids), time.monotonic()

        def answers(seed: int, count: int, sample: bool) -> tuple[Tensor, Tensor, int]:
            """`count` answers: ids int64[count, T], rewards float32[count], and where the answers begin."""
            prompt = prompt_of(environment, agent, renderer, given.task, seed)
            kwargs = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}
            with torch.no_grad():
                tokens = model.generate(
                    input_ids=prompt.expand(count, -1),
                    attention_mask=torch.ones(count, prompt.shape[1], dtype=torch.long),
                    max_new_tokens=given.max_tokens,
                    do_sample=sample,
                    eos_token_id=stops,
                    pad_token_id=renderer.pad_id,
                    **kwargs,
                )
            replies = [renderer.decode(row[prompt.shape[1] :].tolist()) for row in tokens]
            rewards = torch.tensor([score(environment, agent, reply, given.task, seed) for reply in replies])
            return tokens, rewards, prompt.shape[1]

        def held_out() -> float:
            return sum(float(answers(HELDOUT + seed, 1, sample=False)[1]) for seed in range(50)) / 50

        print(f"before: {held_out():.2f} of 50 held-out questions")
        for update in range(given.updates):
            model.train()
            optimizer.zero_grad()
            rewarded = 0.0
            for group in range(given.groups):
                tokens, rewards, start = answers(update * given.groups + group, given.group_size, sample=True)
                rewarded += float(rewards.mean()) / given.groups
                if rewards.std() == 0:  # all right or all wrong: nothing to compare
                    continue
                advantage = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
                ended = torch.isin(tokens[:, start:], torch.tensor(stops)).int()
                mask = (ended.cumsum(-1) - ended == 0).float()  # up to the end token, and with it
                # One step on fresh samples: the ratio to the policy that sampled is 1, and nothing is clipped.
                ratio = torch.exp((new := log_probs(model, tokens, start)) - new.detach())
                loss = -(ratio * advantage[:, None] * mask).sum() / mask.sum() / given.groups
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            print(f"update {update + 1}: reward {rewarded:.2f}, {time.monotonic() - begun:.0f} s", flush=True)
        print(f"after: {held_out():.2f} of 50 held-out questions, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
