"""Whether a checkpoint does the same through `stepladder serve` as in the process: the same episodes both ways, action by action.

Run: OMP_NUM_THREADS=1 python bench/served.py CHECKPOINT [--episodes 100] [--tasks miniwob@demo] [--stream]

At temperature 0 every reply to the same prompt must be the same, token for token. An episode can still part where its pages do: a
page that moves by itself may show another picture at the same step, and then another prompt is answered. Such episodes are counted
apart. Fails when a reply differs although all that was shown and done before was the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Policy
from stepladder.policies.openai_chat import OpenAIChatPolicy
from stepladder.rollout.group import EpisodeJob, run_many
from stepladder.rollout.pool import EnvironmentPool
from stepladder.seeds import heldout_seeds
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import open_checkpoint
from stepladder.stages.serve_model import TOKEN
from stepladder.tasks import load_tasks
from stepladder.types import Limits, Sampling, Step, Trajectory

#: The height that small models are trained on here.
SCREEN = {"height": 224}


@contextmanager
def served(checkpoint: Path, token: str) -> Iterator[str]:
    """The address of `stepladder serve CHECKPOINT` in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "stepladder", "serve", str(checkpoint), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, TOKEN: token}, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{' '.join(command)} does not come up") from None
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


async def play(options: argparse.Namespace, images: ImageStore, agent: Agent, policy: Policy) -> list[Trajectory]:
    tasks = load_tasks(options.tasks, split="heldout")
    seeds = heldout_seeds(-(-options.episodes // len(tasks)))
    jobs = [EpisodeJob(task, seed) for seed in seeds for task in tasks][: options.episodes]
    tokens = AgentOptions.of_checkpoint(options.checkpoint).reply_tokens
    async with EnvironmentPool.of(tasks[0].env, images, options.environments, SCREEN) as pool:
        sampling = Sampling(0.0, max_tokens=tokens, seed=0)
        played = await run_many(jobs, pool, agent, policy, sampling=sampling, limits=Limits())
    close = getattr(policy, "close", None)
    if close is not None:
        await close()
    return played


def parting(first: Sequence[Step], second: Sequence[Step]) -> str:
    """Where two episodes part: "" for nowhere, "page" where another page is shown, "reply" where the same one is answered
    otherwise."""
    for one, two in zip(first, second, strict=False):
        if one.observation.screenshot != two.observation.screenshot or one.observation.text != two.observation.text:
            return "page"
        assert one.completion is not None
        assert two.completion is not None
        if one.actions != two.actions or not np.array_equal(one.completion.tokens, two.completion.tokens):  # type: ignore[arg-type]
            return "reply"
    return "" if len(first) == len(second) else "page"


def told(name: str, played: Sequence[Trajectory], seconds: float) -> str:
    graded = [one for one in played if one.reward is not None]
    steps = sum(len(one.steps) for one in played)
    successes = sum(one.success for one in graded)
    return f"{name}: {successes} of {len(graded)} graded succeed, {steps} steps, {steps / seconds:.1f} a second, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--tasks", default="miniwob@demo")
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    images, token = ImageStore(), secrets.token_urlsafe(16)
    with open_checkpoint(options.checkpoint, images, "local") as (policy, agent):
        started = time.perf_counter()
        local = asyncio.run(play(options, images, agent, policy))
        print(told("in the process", local, time.perf_counter() - started), flush=True)
    with served(options.checkpoint, token) as url:
        started = time.perf_counter()
        remote = asyncio.run(play(options, images, agent, OpenAIChatPolicy(url, images, key=token, stream=options.stream)))
        print(told("through the server", remote, time.perf_counter() - started), flush=True)
    pairs = list(zip(local, remote, strict=True))
    whole = [(one, two) for one, two in pairs if one.reward is not None and two.reward is not None]
    parted = [(one.task.id, one.seed, parting(one.steps, two.steps)) for one, two in whole]
    same = sum(not how for _, _, how in parted)
    print(f"{same} of {len(whole)} episodes the same, action by action; {len(pairs) - len(whole)} without a grade")
    for how, words in (("page", "show another page first"), ("reply", "answer the same prompt otherwise")):
        found = [f"{task} {seed}" for task, seed, one in parted if one == how]
        print(f"{len(found)} {words}{': ' if found else ''}{', '.join(found)}")
    equal = sum(one.reward == two.reward for one, two in whole)
    print(f"{equal} of {len(whole)} rewards the same")
    if any(how == "reply" for _, _, how in parted):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
