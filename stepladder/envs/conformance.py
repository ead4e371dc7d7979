"""Whether an environment keeps the contract of `stepladder.interfaces.Environment`; for tests of one's own environment.

asyncio.run(check_environment(lambda: CounterEnvironment(ImageStore()), CounterEnvironment.tasks()))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from stepladder.errors import NotConforming
from stepladder.interfaces import Demonstrator, Environment
from stepladder.types import Action, ActionKind, Observation, Task

#: Fields with which every kind of action is tried; the places are on no screen, on every screen, and nowhere.
_POINTS: tuple[dict[str, Any], ...] = (
    {},
    {"x": 20.0, "y": 20.0, "x2": 40.0, "y2": 40.0},
    {"x": -5.0, "y": 1e6, "x2": 1e6, "y2": -5.0},
)
_FIELDS: dict[str, dict[str, Any]] = {
    "type": {"text": "two words\n"},
    "key": {"keys": ("ctrl", "a")},
    "key_down": {"keys": ("no such key",)},
    "key_up": {"keys": ("shift",)},
    "scroll": {"amount": -3.0},
    "wait": {"seconds": 0.01},
    "call": {"name": "no_such_tool", "args": {"a": 1}},
}
_ENDING = ("done", "fail")


async def check_environment(
    create: Callable[[], Environment], tasks: Sequence[Task], seeds: Sequence[int] = (0, 1), *, deterministic: bool = True
) -> None:
    """Raises NotConforming for the first part of the contract that `create()` breaks on one of `tasks` and `seeds`.

    With `deterministic` False equal seeds may start states that look different. Demonstrations, where there are any, must succeed.
    An EnvironmentFailure comes out as it is.
    """
    if not tasks:
        raise NotConforming("there is no task to check the environment with")
    environment, other = create(), create()
    try:
        for task in tasks:
            for seed in seeds:
                await _check_start(environment, other if deterministic else None, task, seed)
                await _check_demonstration(environment, task, seed)
            await _check_actions(environment, other if deterministic else None, task, seeds[0])
    finally:
        for opened in (environment, other):
            await opened.close()
            await opened.close()  # may be called twice


def every_action() -> list[Action]:
    """Every kind of action, sensible and not, those that end an episode last."""
    kinds = sorted(get_args(ActionKind), key=lambda kind: kind in _ENDING)
    return [Action(kind, **point, **_FIELDS.get(kind, {})) for kind in kinds for point in _POINTS]


async def _check_start(environment: Environment, other: Environment | None, task: Task, seed: int) -> None:
    where = f"task {task.id!r}, seed {seed}"
    shown = _observation(await environment.reset(task, seed), f"{where}: reset")
    played = getattr(environment, "task", None)
    if played is not None and not (isinstance(played, Task) and played.id == task.id and played.instruction.strip()):
        raise NotConforming(f"{where}: after reset, `task` must be the task with its instruction filled in, not {played!r}")
    _reward(await environment.evaluate(), f"{where}: evaluate after reset")
    if other is not None:
        _same(shown, await other.reset(task, seed), f"{where}: reset of two environments")
        _same(shown, await environment.reset(task, seed), f"{where}: reset again")
        if played is not None and played != getattr(other, "task", None):
            raise NotConforming(f"{where}: two resets give two different tasks")


async def _check_actions(environment: Environment, other: Environment | None, task: Task, seed: int) -> None:
    """Any action may be taken, and equal actions lead to equal states."""
    both = [environment, other] if other is not None else [environment]
    for each in both:
        await each.reset(task, seed)
    for action in every_action():
        where = f"task {task.id!r}, seed {seed}: step({action})"
        shown = [_observation(await each.step(action), where) for each in both]
        _reward(await environment.evaluate(), f"{where}, then evaluate")
        if other is not None:
            _same(shown[0], shown[1], where)
        if shown[0].done or action.kind in _ENDING:
            for each in both:
                await each.reset(task, seed)


async def _check_demonstration(environment: Environment, task: Task, seed: int) -> None:
    if not isinstance(environment, Demonstrator):
        return
    where = f"task {task.id!r}, seed {seed}: the demonstration"
    await environment.reset(task, seed)
    steps = 0
    async for thought, action in environment.solve():
        if not isinstance(thought, str) or not isinstance(action, Action):
            raise NotConforming(f"{where} must yield (thought, action), not ({thought!r}, {action!r})")
        _observation(await environment.step(action), where)
        steps += 1
    reward = _reward(await environment.evaluate(), where)
    if reward < 0.5:
        raise NotConforming(f"{where} ends with a reward of {reward:g}; it must be at least 0.5")
    if steps > task.max_steps:
        raise NotConforming(f"{where} takes {steps} steps; the task allows {task.max_steps}")


def _observation(shown: Any, where: str) -> Observation:
    if not isinstance(shown, Observation):
        raise NotConforming(f"{where} must give an Observation, not {type(shown).__name__}")
    if shown.screenshot is None and not shown.tree and not shown.text:
        raise NotConforming(f"{where} shows nothing: no screenshot, no tree, no text")
    return shown


def _reward(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise NotConforming(f"{where} must give a number from 0 to 1, not {value!r}")
    return float(value)


def _same(first: Observation, second: Observation, where: str) -> None:
    for name in ("screenshot", "tree", "text", "url", "state_key", "done"):
        if getattr(first, name) != getattr(second, name):
            raise NotConforming(f"{where}: `{name}` differs, {getattr(first, name)!r} and {getattr(second, name)!r}")
