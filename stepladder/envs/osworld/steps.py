"""OSWorld's setup steps, `{"type": "launch", "parameters": {...}}`: `config` before an episode, `postconfig` before grading."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from stepladder.envs.osworld.browser_tabs import close_tabs, open_tabs
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Executed, Machine
from stepladder.interfaces import EnvironmentFailure

#: Seconds that a condition (`until`, `execute_with_verification`) is waited for, and that a window may take to come.
PATIENCE = 60.0
WINDOW_SECONDS = 20.0
#: The longest a `sleep` step takes.
MAX_SLEEP = 60.0
Step = Callable[..., Awaitable[None]]
_logger = logging.getLogger(__name__)


class NotReached(EnvironmentFailure):
    """What a step waits for did not come."""


class Setup:
    """Carries out steps on a machine. `cache` holds the files that OSWorld would download."""

    def __init__(self, machine: Machine, cache: FileCache) -> None:
        self.machine, self.cache = machine, cache

    async def run(self, steps: Sequence[Mapping[str, Any]], before_grading: bool = False) -> None:
        """One after another. Raises Lacks for a step that is not there, EnvironmentFailure that names the one that failed. With
        `before_grading` a window that is not there and a condition that does not come to hold are passed over, as OSWorld does:
        the agent may have closed the window, and the state it left is graded all the same."""
        for place, step in enumerate(steps):
            kind, parameters = step["type"], dict(step.get("parameters") or {})
            work = STEPS.get(kind)
            if work is None:
                raise Lacks(f"setup step {kind}", f"there are {', '.join(STEPS)}")
            try:
                await work(self, **parameters)
            except NotReached as error:
                if not before_grading:
                    raise
                _logger.warning("step %d (%s) before grading: %s", place, kind, error)
            except TypeError as error:
                raise EnvironmentFailure(f"setup step {place} ({kind}): parameters {sorted(parameters)}: {error}") from error

    def fill(self, command: str | list[str]) -> str | list[str]:
        """A command with what OSWorld's placeholders stand for."""
        width, height = self.machine.size
        values = {
            "{CLIENT_PASSWORD}": self.machine.password,
            "{SCREEN_WIDTH}": str(width),
            "{SCREEN_HEIGHT}": str(height),
            "{SCREEN_WIDTH_HALF}": str(width // 2),
            "{SCREEN_HEIGHT_HALF}": str(height // 2),
        }

        def filled(text: str) -> str:
            return re.sub("|".join(map(re.escape, values)), lambda found: values[found.group()], text)

        return filled(command) if isinstance(command, str) else [filled(str(part)) for part in command]

    # --------------------------------------------------------------------------------------------------------------- steps

    async def launch(self, command: str | list[str], shell: bool = False) -> None:
        await self.machine.launch(command, shell)

    async def execute(
        self,
        command: str | list[str],
        stdout: str = "",
        stderr: str = "",
        shell: bool = False,
        until: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a command, again and again while `until` does not hold; what it writes can be kept under names in the cache."""
        filled, give_up = self.fill(command), time.monotonic() + PATIENCE
        while True:
            ran = await self.machine.execute(filled, shell)
            if stdout:
                self.cache.keep(stdout, ran.output.encode())
            if stderr:
                self.cache.keep(stderr, ran.error.encode())
            if not until or _holds(until, ran):
                return
            if time.monotonic() > give_up:
                raise NotReached(f"the command {filled!r} did not come to {dict(until)} within {PATIENCE:g} s")
            await asyncio.sleep(0.3)

    async def execute_with_verification(
        self,
        command: str | list[str],
        verification: Mapping[str, Any] | None = None,
        max_wait_time: float = 10.0,
        check_interval: float = 1.0,
        shell: bool = False,
    ) -> None:
        await self.machine.execute(self.fill(command), shell)
        if (verification or {}).get("window_exists"):
            raise Lacks("verification window_exists")
        wanted, give_up = (verification or {}).get("command_success"), time.monotonic() + max_wait_time
        while wanted and (await self.machine.execute(self.fill(wanted), True)).returncode:
            if time.monotonic() > give_up:
                raise NotReached(f"{wanted!r} did not succeed within {max_wait_time:g} s")
            await asyncio.sleep(check_interval)

    async def download(self, files: Sequence[Mapping[str, str]]) -> None:
        for file in files:
            await self.machine.write(file["path"], self.cache.downloaded(file["url"], file["path"]))

    async def upload_file(self, files: Sequence[Mapping[str, str]]) -> None:
        """Files of this computer, by their names in the cache: a task file is not to read what lies elsewhere."""
        for file in files:
            await self.machine.write(file["path"], self.cache.uploaded(file["local_path"]))

    async def chrome_open_tabs(self, urls_to_open: Sequence[str]) -> None:
        await open_tabs(self.machine, urls_to_open)

    async def chrome_close_tabs(self, urls_to_close: Sequence[str]) -> None:
        await close_tabs(self.machine, urls_to_close)

    async def open(self, path: str) -> None:
        await self.machine.launch(["xdg-open", path], False)

    async def activate_window(self, window_name: str, strict: bool = False, by_class: bool = False) -> None:
        await self._window(self.machine.activate_window, window_name, strict, by_class)

    async def close_window(self, window_name: str, strict: bool = False, by_class: bool = False) -> None:
        await self._window(self.machine.close_window, window_name, strict, by_class)

    async def _window(self, work: Callable[[str, bool, bool], Awaitable[bool]], name: str, strict: bool, by_class: bool) -> None:
        give_up = time.monotonic() + WINDOW_SECONDS
        while not await work(name, strict, by_class):
            if time.monotonic() > give_up:
                raise NotReached(f"no window {name!r} came within {WINDOW_SECONDS:g} s")
            await asyncio.sleep(0.1)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, min(MAX_SLEEP, float(seconds))))


STEPS: dict[str, Step] = {
    "launch": Setup.launch,
    "execute": Setup.execute,
    "command": Setup.execute,
    "execute_with_verification": Setup.execute_with_verification,
    "download": Setup.download,
    "upload_file": Setup.upload_file,
    "chrome_open_tabs": Setup.chrome_open_tabs,
    "chrome_close_tabs": Setup.chrome_close_tabs,
    "open": Setup.open,
    "activate_window": Setup.activate_window,
    "close_window": Setup.close_window,
    "sleep": Setup.sleep,
}


def _holds(until: Mapping[str, Any], ran: Executed) -> bool:
    """Whether one of the conditions holds."""
    found = {"returncode": ran.returncode, "stdout": ran.output, "stderr": ran.error}
    return any(
        found.get(name) == value if name == "returncode" else str(value) in str(found.get(name)) for name, value in until.items()
    )
