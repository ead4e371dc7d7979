"""Play: an agent in an environment, live in a web page; a person watches, corrects, takes over and hands back.

    stepladder play --tasks forms --policy runs/demo/sft/checkpoint --policy oracle --output runs/plays

What is played is kept as trajectories in `<output>/plays.jsonl`, with their pictures in `<output>/images` and what is where on
them in `<output>/regions.jsonl`. With the directory of collected demonstrations as output, `stepladder sft` learns from both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.agents.setup import Given
from stepladder.config import ConfigError
from stepladder.data.regions import RegionStore
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment, Policy
from stepladder.policies.random import RandomPolicy
from stepladder.policies.scripted import GiveUpPolicy, IdlePolicy
from stepladder.rollout.episode import PolicyActor
from stepladder.rollout.opening import check_options
from stepladder.run import Run
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.policies import BASELINES, ApiOptions, agent_setup, check_policy, open_policy, policy_name, reply_tokens
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Sampling, Task
from stepladder.viewer.play_actor import PERSON
from stepladder.viewer.play_session import Acting, Opened, Player, PlaySettings
from stepladder.viewer.play_starts import ORACLE, DemonstratorActor, start_of

STORE = "plays"
_BASELINES: Mapping[str, Callable[[Agent], Policy]] = {
    "random": RandomPolicy,
    "idle": IdlePolicy,
    "give_up": GiveUpPolicy,
}


@dataclass(frozen=True)
class PlayConfig:
    """What can be played, and by whom. `tasks` is a task set, or empty; `starts` are further places to start from with an
    instruction of one's own: "desktop", and addresses of web pages. `policies` are those that `stepladder.stages.policies` lists,
    "oracle" (the environment's own solution) among them; a person can always play. `dialect`, `agent`, `history`, `observe`,
    `temperature`, `max_tokens`, `seed` and `api` are those of an evaluation, for all policies.

    `sessions` plays can go on at a time, each with an environment of its own that has `options`; one that nobody looks at for
    `absence` seconds is given up without a trace. An agent that acts by itself is asked every `pace` seconds at most. A play has
    `max_steps` turns at most, whatever its task says."""

    tasks: str = ""
    starts: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    output: Path = Path("runs/plays")
    sessions: int = 2
    absence: float = 600.0
    max_steps: int = 200
    pace: float = 0.4
    temperature: float = 0.0
    max_tokens: int | None = None
    history: int | None = None
    dialect: str | None = None
    observe: str | None = None
    agent: Mapping[str, Given] = field(default_factory=dict)
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    api: ApiOptions = field(default_factory=ApiOptions)


@contextmanager
def open_play(config: PlayConfig, run: str | None = None) -> Iterator[PlaySettings]:
    """Everything that plays need, for as long as the context lasts; models are loaded when they are first chosen. `run` is what the
    viewer calls the run in `config.output`, by default the directory's name. Raises ConfigError, TaskError, PluginError, Locked."""
    tasks = load_tasks(config.tasks) if config.tasks else []
    starts = [start_of(where) for where in config.starts]
    if not tasks and not starts:
        raise ConfigError("tasks: say what can be played, such as forms, miniwob@demo or desk, or give starts")
    for kind in dict.fromkeys(task.env for task in (*tasks, *starts)):
        check_options(kind, config.options)
    for policy in config.policies:
        check_policy(policy)
    with ExitStack() as stack:
        stack.enter_context(Run(config.output, seeds={"sampling": config.seed}))
        images = ImageStore(config.output / "images")
        store = stack.enter_context(TrajectoryStore(config.output / f"{STORE}.jsonl", "a"))
        yield PlaySettings(
            tasks=tasks,
            starts=starts,
            players=_players(config, images, stack),
            store=store,
            images=images,
            regions=RegionStore(config.output / "regions.jsonl"),
            run=run or config.output.resolve().name,
            store_name=STORE,
            sessions=config.sessions,
            absence=config.absence,
            max_steps=config.max_steps,
            pace=config.pace,
            options=config.options,
        )


def _players(config: PlayConfig, images: ImageStore, stack: ExitStack) -> dict[str, Player]:
    """By name, in the order in which they were given; the person last."""
    players: dict[str, Player] = {}
    for policy in dict.fromkeys(config.policies):
        name = policy_name(policy)
        if name in players or name == PERSON:
            raise ConfigError(f"policies: two are called {name!r}, and plays could not be told apart; rename one's directory")
        players[name] = _player(name, policy, config, images, stack)
    return {**players, PERSON: Player(PERSON, _person)}


def _player(name: str, policy: str, config: PlayConfig, images: ImageStore, stack: ExitStack) -> Player:
    if policy == ORACLE:
        return Player(name, _oracle, demonstrates=True)
    if policy in BASELINES:
        agent = AgentOptions(grid=1).build()
        baseline = _asking(_BASELINES[policy](agent), agent, Sampling(seed=config.seed))
        return Player(name, _ready(baseline))

    def load() -> Opened:
        setup = agent_setup(policy, config.dialect, config.agent or None, config.history, config.observe)
        tokens = config.max_tokens or reply_tokens(policy, setup)
        opened, agent = stack.enter_context(open_policy(policy, images, setup.build(), config.api))
        sampling = Sampling(config.temperature, 1.0, tokens, seed=config.seed)
        return Opened(_asking(opened, agent, sampling), setup.observe)

    return Player(name, _once(load))


def _asking(policy: Policy, agent: Agent, sampling: Sampling) -> Callable[[Environment, Task, int], Acting]:
    def act(_: Environment, task: Task, seed: int) -> Acting:
        return PolicyActor(agent, policy, sampling, None, (task.id, seed, 0)), agent

    return act


def _once(load: Callable[[], Opened]) -> Callable[[], Awaitable[Opened]]:
    """Load in a thread when it is first asked for, and again if that failed."""
    loaded: list[Opened] = []
    lock = asyncio.Lock()

    async def opened() -> Opened:
        async with lock:
            if not loaded:
                loaded.append(await asyncio.to_thread(load))
            return loaded[0]

    return opened


def _ready(act: Callable[[Environment, Task, int], Acting]) -> Callable[[], Awaitable[Opened]]:
    async def opened() -> Opened:
        return Opened(act)

    return opened


async def _person() -> Opened:
    return Opened(lambda environment, task, seed: (None, None))


async def _oracle() -> Opened:
    return Opened(lambda environment, task, seed: (DemonstratorActor(environment), None))
