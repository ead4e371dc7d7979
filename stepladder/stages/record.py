"""A person does a task, and it becomes a trajectory.

    stepladder record desk:editor-write            # a pocket desktop, reached with any VNC viewer
    stepladder record --display :0 --instruction "Rename the file"

Each step has the screen as it was before the action, and the accessibility tree where there is one. A recording ends with Ctrl-C,
after `seconds`, or when the environment ends the episode; a task of an environment is then graded, and whoever did it has done
nothing but act.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from stepladder.config import ConfigError
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.desktop.vnc import open_vnc
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.recorder.screens import DesktopScreen, DisplayScreen
from stepladder.recorder.session import Session
from stepladder.report.frames import describe_actions, outcome
from stepladder.rollout.opening import check_options, open_environments
from stepladder.run import Run
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Action, Observation, Step, Task, Trajectory

STORE = "recorded.jsonl"
PERSON = "person"
Ready = Callable[[Any, Callable[[], None]], None]


@dataclass(frozen=True)
class RecordConfig:
    """One task of `tasks` from the start that `seed` names, or with `display` whatever is done on that X display for
    `instruction`. `seconds` bounds the recording (None: until Ctrl-C). `vnc_port` is where viewers find a pocket desktop (0: any
    free port). `options` go to the environment."""

    tasks: str = ""
    display: str = ""
    instruction: str = ""
    seed: int = 0
    output: Path = Path("runs/recorded")
    seconds: float | None = None
    vnc_port: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if bool(self.tasks) == bool(self.display):
            raise ConfigError("say either which task to record (tasks), or which X display (display)")
        if self.display and not self.instruction:
            raise ConfigError("instruction: what is done on the display must be said, for an agent is to learn it")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds is {self.seconds}; it must be above 0")


def main(config: RecordConfig, ready: Ready | None = None) -> Trajectory:
    """Record one trajectory, append it to `<output>/recorded.jsonl` and return it. `ready` is told once recording has begun: the
    environment or the screen, and a function that ends the recording. Raises ConfigError, TaskError, EnvironmentFailure."""
    config.check()
    with Run(config.output, seeds={"start": config.seed}), TrajectoryStore(config.output / STORE, "a") as store:
        images = ImageStore(config.output / "images")
        record = _record_task if config.tasks else _record_display
        trajectory = asyncio.run(record(config, images, ready or (lambda what, stop: None)))
        number = sum(summary.task == trajectory.task.id for summary in store.summaries())
        trajectory = replace(trajectory, id=f"{trajectory.task.id}-{trajectory.seed}-{PERSON}-{number}", index=number)
        store.append(trajectory)
    return trajectory


async def _record_task(config: RecordConfig, images: ImageStore, ready: Ready) -> Trajectory:
    tasks = load_tasks(config.tasks)
    if len(tasks) != 1:
        raise ConfigError(f"tasks: {config.tasks} are {len(tasks)} tasks; one is recorded at a time, such as {tasks[0].id}")
    task = tasks[0]
    check_options(task.env, config.options)
    (environment,) = await open_environments(task.env, images, 1, config.options)
    if not isinstance(environment, DesktopEnvironment):
        raise ConfigError(f"tasks: {task.env!r} has no desktop on which a person could act")
    try:
        await environment.reset(task, config.seed)
        desktop, console = environment.desktop, Console(stderr=True)
        with contextlib.suppress(EnvironmentFailure):
            port = await open_vnc(desktop, config.vnc_port)
            console.print(f"VNC at 127.0.0.1:{port.port}, password {port.password}", highlight=False)
        console.print(f"[bold]{environment.task.instruction}[/bold]\nCtrl-C when it is done.", highlight=False)
        session = Session(DesktopScreen(desktop), DesktopScreen(desktop).connect, images, _tell(console))
        steps, error = await _run(session, config, lambda stop: ready(environment, stop))
        final, reward = None, None
        if error is None:
            final, reward = await _graded(environment)
        status = "done" if error is None else "env_error"
        return _trajectory(environment.task, steps, final, status, reward, error, config.seed)
    finally:
        await environment.close()


async def _graded(environment: DesktopEnvironment) -> tuple[Observation, float]:
    final = await environment.step(Action("done"))
    return final, await environment.evaluate()


async def _record_display(config: RecordConfig, images: ImageStore, ready: Ready) -> Trajectory:
    screen, console = DisplayScreen(config.display), Console(stderr=True)
    try:
        console.print(f"recording {config.display}; Ctrl-C when it is done", highlight=False)
        session = Session(screen, screen.connect, images, _tell(console))
        steps, error = await _run(session, config, lambda stop: ready(screen, stop))
        final = await session.observe() if error is None else None
        task = Task("display", config.instruction, "display", {"size": [screen.width, screen.height]})
        return _trajectory(task, steps, final, "done" if error is None else "env_error", None, error, config.seed)
    finally:
        screen.close()


async def _run(
    session: Session, config: RecordConfig, ready: Callable[[Callable[[], None]], None]
) -> tuple[list[Step], str | None]:
    """Record until it is over; the steps, and what went wrong."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # outside of the main thread nobody types Ctrl-C
        loop.add_signal_handler(signal.SIGINT, stopped.set)
    await session.start()
    ready(stopped.set)
    until = None if config.seconds is None else time.monotonic() + config.seconds
    while not stopped.is_set() and session.failed is None and (until is None or time.monotonic() < until):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await stopped.wait()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.remove_signal_handler(signal.SIGINT)
    try:
        return await session.stop(), None
    except EnvironmentFailure as error:
        return session.steps, str(error)


def _trajectory(
    task: Task, steps: list[Step], final: Observation | None, status: Any, reward: float | None, error: str | None, seed: int
) -> Trajectory:
    if final is not None:
        steps = [*steps, Step(final, Action("done"))]
    return Trajectory("recorded", task, tuple(steps), final, status, reward, seed=seed, policy=PERSON, error=error)


def _tell(console: Console) -> Callable[[Step], None]:
    def tell(step: Step) -> None:
        console.print(f"  {describe_actions(step)}", highlight=False, markup=False)

    return tell


def summary(trajectory: Trajectory) -> str:
    """What was recorded, in one line."""
    said = outcome(trajectory) if trajectory.reward is not None else trajectory.status
    return f"{trajectory.id}: {len(trajectory.steps)} steps, {said}"
