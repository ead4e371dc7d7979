"""OSWorld's tasks through OSWorld's own package `desktop_env`: its virtual machines, its setup, its grading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from stepladder.envs.acting import waiting_time
from stepladder.envs.desktop.actions import Move
from stepladder.envs.osworld.episode import solve
from stepladder.envs.osworld.xml_tree import read_tree
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.pyautogui.write import write_action
from stepladder.types import Action, Observation, Task

T = TypeVar("T")
_ENDS = {"done": "DONE", "fail": "FAIL"}
_logger = logging.getLogger(__name__)


class DesktopEnvEnvironment:
    """Episodes on an OSWorld virtual machine, one for each environment, started at the first reset and stopped by `close`.

    images        where screenshots go
    desktop_env   arguments of `desktop_env.desktop_env.DesktopEnv`, such as {"provider_name": "docker", "headless": True};
                  `action_space` is "pyautogui" whatever they say, and `require_a11y_tree` is what `tree` says
    tree          also give the accessibility tree with every observation
    pause         seconds between an action and its screenshot
    deadline      seconds that one call (step, evaluate) may take; a reset, which may boot a machine, may take `reset_deadline`

    A call that is not done in time is an EnvironmentTimeout. Its thread is left behind; the machine is stopped once it comes back.
    """

    def __init__(
        self,
        images: ImageStore,
        *,
        desktop_env: Mapping[str, Any] | None = None,
        tree: bool = False,
        pause: float = 2.0,
        deadline: float = 300.0,
        reset_deadline: float = 1200.0,
    ) -> None:
        if pause < 0:
            raise ValueError(f"pause is {pause}; it must be at least 0")
        self._class = _desktop_env()
        self._arguments = {**(desktop_env or {}), "action_space": "pyautogui", "require_a11y_tree": tree}
        self.images, self.task = images, Task("", "", "")
        self._tree, self._pause = tree, pause
        self.deadline, self.evaluate_deadline, self.reset_deadline = deadline, deadline, reset_deadline
        self._thread = ThreadPoolExecutor(1, "desktop_env")
        self._environment: Any = None
        self._ended = self._playing = False

    @classmethod
    async def create_many(cls, images: ImageStore, count: int, **options: Any) -> list[DesktopEnvEnvironment]:
        """Raises ValueError when the package is missing."""
        return [cls(images, **options) for _ in range(count)]

    async def reset(self, task: Task, seed: int) -> Observation:
        """Raises EnvironmentFailure, EnvironmentTimeout."""
        config = {name: value for name, value in task.setup.items() if name != "domain"}
        config |= {"instruction": task.instruction, "evaluator": dict(task.check)}

        def work() -> Any:
            if self._environment is None:
                self._environment = self._class(**self._arguments)
            return self._environment.reset(task_config=config)

        self._ended = self._playing = False
        shown = await self._call("reset", work, self.reset_deadline)
        self.task, self._playing = task, True
        return self._seen(shown)

    async def step(self, action: Action) -> Observation:
        """As every environment's; `Observation.text` says what could not be done."""
        environment, message, pause = self._present(), "", self._pause
        if action.kind in _ENDS:
            said, pause, self._ended = _ENDS[action.kind], 0.0, True
        elif action.kind == "wait":
            await asyncio.sleep(waiting_time(action))
            said, pause = "WAIT", 0.0
        else:
            try:
                said = write_action(action)
            except ValueError as error:  # pyautogui has no call for it
                said, pause, message = "WAIT", 0.0, str(error)
        shown, *_ = await self._call("step", lambda: environment.step(said, pause), self.deadline)
        return self._seen(shown, message)

    async def evaluate(self) -> float:
        """The task reward in [0, 1], by OSWorld's own grading."""
        environment = self._present()
        return max(0.0, min(1.0, await self._call("evaluate", lambda: float(environment.evaluate()), self.deadline)))

    async def solve(self) -> AsyncIterator[Move]:
        """Gives up what cannot be done; other solutions are for pocket desktops. Raises EnvironmentFailure for those."""
        async for move in solve(self.task, None):
            yield move

    async def close(self) -> None:
        environment, self._environment, self._playing = self._environment, None, False
        if environment is not None:
            try:
                await self._call("close", environment.close, self.deadline)
            except EnvironmentFailure as error:
                _logger.warning("a machine may run on: %s", error)
        self._thread.shutdown(wait=False)

    # ----------------------------------------------------------------------------------------------------------- internals

    def _present(self) -> Any:
        if self._environment is None or not self._playing:
            raise EnvironmentFailure("the environment was not reset, or it failed since")
        return self._environment

    async def _call(self, what: str, work: Callable[[], T], seconds: float) -> T:
        """`work` in this environment's own thread, one at a time."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(running)
        except TimeoutError:
            self._leave(running)
            raise EnvironmentTimeout(f"{what}: desktop_env was not done within {seconds:g} s") from None
        except asyncio.CancelledError:
            self._leave(running)
            raise
        except Exception as error:  # whatever its packages raise
            self._playing = False
            raise EnvironmentFailure(f"{what}: desktop_env: {type(error).__name__}: {error}") from error

    def _leave(self, running: asyncio.Future[Any]) -> None:
        """Leave a thread that nobody can end to itself; its machine is stopped when it comes back."""
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        environment, thread = self._environment, self._thread
        self._environment, self._playing, self._thread = None, False, ThreadPoolExecutor(1, "desktop_env")
        if environment is not None:
            thread.submit(environment.close)
        thread.shutdown(wait=False)

    def _seen(self, shown: Mapping[str, Any], message: str = "") -> Observation:
        """What DesktopEnv shows. Raises EnvironmentFailure without a screenshot: it gives none after three tries that failed."""
        try:
            picture = self.images.put(shown["screenshot"])
            tree = read_tree(shown["accessibility_tree"]) if self._tree else None
        except (KeyError, TypeError, ValueError) as error:
            self._playing = False
            raise EnvironmentFailure(f"desktop_env gives no observation: {type(error).__name__}: {error}") from error
        return Observation(picture, tree, message, "", picture.sha256[:16], self._ended)


def _desktop_env() -> type[Any]:
    """The class of the package. It brings much with it, so that it is imported only for who asks for it."""
    try:
        from desktop_env.desktop_env import DesktopEnv
    except ImportError as error:
        raise ValueError(
            f"machine 'desktop_env' needs OSWorld's own package, which cannot be imported ({error}): pip install desktop-env, in "
            "an environment of its own since it wants old versions of numpy and PyTorch, or start its machine and name the address"
        ) from error
    found: type[Any] = DesktopEnv
    return found
