"""New tasks that a model thinks up, from episodes that are there already.

    stepladder propose runs/eval --policy openai:http://127.0.0.1:8000 --output runs/proposed

    proposed.jsonl   the tasks, for --tasks proposed:runs/proposed/proposed.jsonl, with where each came from
    asked.jsonl      what was asked and answered for each start, a line when it is complete
    proposed.json    how many were kept, and why others were not

Started again, it goes on with the starts that are missing. What is kept follows from asked.jsonl alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from stepladder.config import ConfigError, to_dict
from stepladder.errors import UserError
from stepladder.interfaces import ContextFull, Policy
from stepladder.judges.asking import code_of, reply_text
from stepladder.judges.duplicates import Known, normal
from stepladder.judges.judged_task import is_judged, judged_task, start_of_judged
from stepladder.judges.proposals import Proposal, write_proposals
from stepladder.judges.propose import (
    Method,
    evolve_prompt,
    feasible_prompt,
    read_feasible,
    read_refined,
    read_tasks,
    refine_prompt,
    screen_prompt,
)
from stepladder.plugins import load
from stepladder.policies.budget import BudgetSpent
from stepladder.progress import Progress
from stepladder.run import Run, write_json
from stepladder.stages.lines import Lines
from stepladder.stages.policies import ApiOptions, check_policy, open_policy, weights_digest
from stepladder.stages.source_run import episode_stores, images_of
from stepladder.store import TrajectoryStore
from stepladder.types import ImageRef, Message, Observation, Sampling, Task

ASKED, PROPOSED = "asked.jsonl", "proposed.jsonl"
#: Loads a checkpoint; named here and not imported, so that everything else works where PyTorch is not installed.
CRITIC = "stepladder.stages.critic_values:CriticValues"
#: Settings that change how the work is done, or which of the answers are kept.
MAY_CHANGE = (
    *("output", "starts", "similar", "values", "critic", "value_low", "value_high"),
    *(f"api.{name}" for name in ApiOptions.FREE),
)


@dataclass(frozen=True)
class ProposeConfig:
    """`run` is a run directory or one store of episodes (.jsonl). Its tasks and seeds are where new tasks begin: those that failed,
    for the method "evolve", or all, for "screen". `starts` of them are asked about; for each `policy` is asked for `count` tasks,
    with `examples` instructions of others in the prompt. What "screen" brings is said again in a person's words unless `refine` is
    off.

    `checker` says of each whether it can be done (None: `policy` itself); with `feasible` off nobody is asked. `similar` is the
    similarity from which on an instruction is a duplicate. `critic` is a run of `stepladder rl` whose critic says what it expects
    of a task; `values` is a JSON file of such numbers by the id of the task, which count before it. Tasks outside `value_low` to
    `value_high` are left out.

    Replies are sampled at `temperature`, with at most `max_tokens`; `api` says how servers are called."""

    run: Path = Path("runs/eval")
    output: Path = Path("runs/proposed")
    policy: str | None = None
    checker: str | None = None
    method: Method = "evolve"
    starts: int = 20
    count: int = 5
    examples: int = 8
    refine: bool = True
    feasible: bool = True
    similar: float = 0.8
    values: Path | None = None
    critic: Path | None = None
    value_low: float = 0.05
    value_high: float = 0.75
    temperature: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    api: ApiOptions = field(default_factory=ApiOptions)

    def check(self) -> None:
        """Raises ConfigError, and PluginError for a class that is not there."""
        if self.policy is None:
            raise ConfigError("policy is missing: say who is asked, such as openai:http://127.0.0.1:8000 or a checkpoint directory")
        for name in ("policy", "checker"):
            value = getattr(self, name)
            if value is not None and check_policy(value).kind == "baseline":
                raise ConfigError(f"{name}: {value!r} is a baseline, and no policy that can be asked")
        for name, least in (("starts", 1), ("count", 1), ("examples", 0), ("max_tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 < self.similar <= 1:
            raise ConfigError(f"similar is {self.similar}; it must be above 0 and at most 1")
        if not self.value_low <= self.value_high:
            raise ConfigError(
                f"value_low is {self.value_low} and value_high {self.value_high}; the first must not be above the other"
            )
        self.api.meter()


@dataclass(frozen=True)
class Start:
    """Where tasks begin: a task and a seed, what the episode `trajectory` showed at first, and whether it was failed."""

    task: Task
    seed: int
    instruction: str
    observation: Observation
    trajectory: str
    failed: bool

    @property
    def name(self) -> str:
        return f"{self.task.id}-{self.seed}"

    @property
    def screenshot(self) -> ImageRef | None:
        return self.observation.screenshot


@dataclass(frozen=True)
class Asked:
    """A line of asked.jsonl: the instructions that were proposed for a start, what they became when they were refined, and the
    answers about feasibility (None: not asked, or one that could not be read)."""

    start: str
    examples: tuple[str, ...]
    instructions: tuple[str, ...]
    refined: tuple[str, ...]
    feasible: tuple[bool | None, ...]


def main(config: ProposeConfig, show: bool = True) -> list[Proposal]:
    """Ask what was not asked yet, and write the tasks. Raises ConfigError, UserError for a run without episodes that would do,
    PolicyFailure; BudgetSpent after the tasks of what was asked until then are written."""
    config.check()
    assert config.policy is not None
    starts = read_starts(config.run, failed=config.method == "evolve")
    if config.method == "screen":
        starts = [start for start in starts if start.screenshot is not None]
    if not starts:
        raise UserError(
            f"{config.run} holds no {'failed ' if config.method == 'evolve' else ''}episode from which tasks could begin"
        )
    drawn = Random(f"starts {config.seed}").sample(starts, len(starts))[: config.starts]
    spent: BudgetSpent | None = None
    settings = {**to_dict(config), "weights": weights_digest(config.policy)}
    with Run(config.output, settings, seeds={"propose": config.seed}, may_change=MAY_CHANGE) as run:
        lines = Lines(config.output / ASKED, Asked)
        known = {one.start for one in lines.read()}
        left = [start for start in drawn if start.name not in known]
        meter = config.api.meter()
        if left:
            images = images_of(config.run)
            with run.phase(f"ask about the last {len(left)} starts"), ExitStack() as stack:
                policy, _ = stack.enter_context(open_policy(config.policy, images, api=config.api, meter=meter))
                checker = policy
                if config.checker not in (None, config.policy):
                    assert config.checker is not None
                    checker, _ = stack.enter_context(open_policy(config.checker, images, api=config.api, meter=meter))
                try:
                    asyncio.run(_Asking(config, policy, checker, starts, lines).all(left, show))
                except BudgetSpent as error:
                    spent = error
        if meter.used:
            run.log(0, "calls", **meter.used)
        proposals = chosen(config, {start.name: start for start in drawn}, starts, lines.read())
        write_proposals(config.output / PROPOSED, proposals)
        reasons = Counter(one.left_out.partition(":")[0] or "kept" for one in proposals)
        write_json(config.output / "proposed.json", {"starts": len(lines.read()), **reasons})
    if spent is not None:
        raise spent
    return proposals


def read_starts(run: Path, failed: bool) -> list[Start]:
    """The different starts of the graded episodes in a run, in the order of task and seed; with `failed` those of which an episode
    failed. A judged task leads back to the start that it has itself. Raises UserError."""
    found: dict[str, Start] = {}
    for path in episode_stores(run).values():
        with TrajectoryStore(path) as store:
            for trajectory in store:
                if trajectory.reward is None or trajectory.environment_failed or not trajectory.steps:
                    continue
                judged = is_judged(trajectory.task)
                task, seed = start_of_judged(trajectory.task) if judged else (trajectory.task, trajectory.seed)
                seen = trajectory.steps[0].observation
                one = Start(task, seed, trajectory.task.instruction, seen, trajectory.id, not trajectory.success)
                before = found.get(one.name)
                if before is None or (one.failed and not before.failed):
                    found[one.name] = one
    return [found[name] for name in sorted(found) if found[name].failed or not failed]


class _Asking:
    """Asks about one start after the other; the calls for one start's tasks are made at once."""

    def __init__(
        self, config: ProposeConfig, policy: Policy, checker: Policy, starts: Sequence[Start], lines: Lines[Asked]
    ) -> None:
        self.config, self.policy, self.checker, self.starts, self.lines = config, policy, checker, starts, lines

    async def all(self, left: Sequence[Start], show: bool) -> None:
        """Each start is written when everything about it is known."""
        tasks = 0
        try:
            with Progress("propose", len(left), show=show) as progress:
                for done, start in enumerate(left, start=1):
                    asked = await self._about(start)
                    self.lines.append(asked)
                    tasks += len(asked.refined)
                    progress.update(done, len(left), {"tasks": tasks})
        finally:
            for policy in dict.fromkeys((self.policy, self.checker)):
                close = getattr(policy, "close", None)
                if close is not None:
                    await close()

    async def _about(self, start: Start) -> Asked:
        config, code = self.config, code_of("tasks", self.config.seed, start.name)
        others = [one.instruction for one in self.starts if one.name != start.name]
        examples = Random(f"examples {config.seed} {start.name}").sample(others, min(config.examples, len(others)))
        if config.method == "evolve":
            prompt = evolve_prompt(start.instruction, examples, config.count, code)
        else:
            assert start.screenshot is not None
            prompt = screen_prompt(start.screenshot, [start.instruction, *examples], config.count, code)
        instructions = read_tasks(await self._reply(self.policy, prompt, code), code, config.count)
        refined = instructions
        if config.method == "screen" and config.refine and instructions:
            again = code_of("refine", code)
            refined = read_refined(await self._reply(self.policy, refine_prompt(instructions, again), again), again, instructions)
        feasible: list[bool | None] = [None] * len(refined)
        if config.feasible:
            feasible = list(await asyncio.gather(*(self._feasible(start, one, code) for one in refined)))
        return Asked(start.name, tuple(examples), tuple(instructions), tuple(refined), tuple(feasible))

    async def _feasible(self, start: Start, instruction: str, code: str) -> bool | None:
        own = code_of("feasible", code, instruction)
        return read_feasible(await self._reply(self.checker, feasible_prompt(instruction, start.screenshot, own), own), own)

    async def _reply(self, policy: Policy, prompt: tuple[Message, ...], code: str) -> str:
        """Empty where the prompt does not fit the model's context."""
        sampling = Sampling(self.config.temperature, 1.0, self.config.max_tokens, seed=int(code_of("seed", code), 16))
        try:
            _, completion = await policy.generate(prompt, sampling)
        except ContextFull:
            return ""
        return reply_text(completion)


def chosen(config: ProposeConfig, drawn: dict[str, Start], starts: Sequence[Start], asked: Sequence[Asked]) -> list[Proposal]:
    """The proposals in the order of asking, each with why it is left out, if it is. Duplicates are not written at all, as they say
    nothing new. Raises ConfigError for values that cannot be read."""
    value = _Values(config)
    known = Known((start.instruction for start in starts), config.similar)
    return [one for line in asked if line.start in drawn for one in _of_start(config, drawn[line.start], line, known, value)]


def _of_start(config: ProposeConfig, start: Start, asked: Asked, known: Known, values: _Values) -> Iterator[Proposal]:
    for before, instruction, feasible in zip(asked.instructions, asked.refined, asked.feasible, strict=True):
        if known.near(instruction) is not None:
            continue
        known.add(instruction)
        digest = hashlib.sha256(f"{start.name} {normal(instruction)}".encode()).hexdigest()[:10]
        task = judged_task(f"proposed-{start.task.id}-{digest}", instruction, start.task, start.seed)
        origin = {
            "method": config.method,
            "policy": config.policy,
            "task": start.task.id,
            "seed": start.seed,
            "instruction": start.instruction,
            "trajectory": start.trajectory,
            "examples": list(asked.examples),
            **({"before": before} if before != instruction else {}),
        }
        value, left_out = None, ""
        if config.feasible and not feasible:
            left_out = "infeasible" if feasible is False else "the answer whether it is feasible could not be read"
        else:
            value = values.of(task, start.observation)
            if value is not None and not config.value_low <= value <= config.value_high:
                left_out = f"value outside {config.value_low:g} to {config.value_high:g}: {value:.3g}"
        yield Proposal(task, origin, feasible, value, left_out)


class _Values:
    """What is expected of tasks. Raises ConfigError for values that cannot be read, and for a run without a critic."""

    def __init__(self, config: ProposeConfig) -> None:
        self._given = _values(config.values)
        self._critic = None if config.critic is None else load(CRITIC, {}, "critic")(config.critic, images_of(config.run))

    def of(self, task: Task, observation: Observation) -> float | None:
        """None where nobody knows."""
        if task.id in self._given or self._critic is None:
            return self._given.get(task.id)
        return float(self._critic.value(task, observation))


def _values(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'values: {path} is no JSON object of numbers by task id, such as {{"proposed-a": 0.4}}: {error}'
        ) from error
