"""One page of MiniWoB++, a click, its state and a screenshot: steps a second here, through Playwright, in the Gymnasium environment
of the `miniwob` package (Selenium) and in BrowserGym's, where they are installed.

    python bench/browser.py [--rounds 5] [--seconds 2] [--task click-button] [--json FILE] [--browsergym PYTHON]

All run in turns, round after round, on the same page with the same clicks; a ratio is taken within a round, so that a machine that
is busy for a while is busy for both. Playwright gets the same browser binary and its normal settings; the Gymnasium environment,
which needs a full Chromium, gets `chromium` and `chromedriver` from PATH. BrowserGym pins an old Playwright and so runs in an
interpreter of its own, PYTHON (`python -m venv`, then `pip install browsergym-miniwob`), also with `chromium` from PATH. Who cannot
be started is named with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.find import find_chromium
from stepladder.envs.browser.miniwob import MiniWobEnvironment
from stepladder.images import ImageStore
from stepladder.types import Action

SIZES = ((160, 210), (1280, 720))
MEASURES = ("steps_per_second", "reset_ms", "screenshot_ms")
#: How many times their steps a second ours are to be at the first size.
GOALS = {"playwright": 5, "gymnasium": 50, "browsergym": 50}


class Contestant(Protocol):
    """A way to play a MiniWoB++ page."""

    name: str

    async def open(self, task: str, width: int, height: int) -> None: ...
    async def reset(self, seed: int) -> None: ...
    async def step(self, x: int, y: int) -> bool:
        """Click, and look: True when the episode has ended."""

    async def screenshot(self) -> bool:
        """False where pictures are not to be had without a step."""

    async def close(self) -> None: ...


class Ours:
    name = "stepladder"

    async def open(self, task: str, width: int, height: int) -> None:
        self.environment = MiniWobEnvironment(ImageStore(), width=width, height=height)
        self.task = catalogue.task(task)

    async def reset(self, seed: int) -> None:
        await self.environment.reset(self.task, seed)

    async def step(self, x: int, y: int) -> bool:
        return (await self.environment.step(Action("click", x=x, y=y))).done

    async def screenshot(self) -> bool:
        await self.environment._current().screenshot()
        return True

    async def close(self) -> None:
        await self.environment.close()


class Playwright:
    """What one writes with Playwright for the same work: click, ask the page for its state, take a screenshot."""

    name = "playwright"

    async def open(self, task: str, width: int, height: int) -> None:
        from playwright.async_api import async_playwright

        self.opened = contextlib.AsyncExitStack()
        playwright = await self.opened.enter_async_context(async_playwright())
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=sandbox)
        self.opened.push_async_callback(browser.close)
        self.page = await browser.new_page(viewport={"width": width, "height": height})
        await self.page.goto((catalogue.html_directory() / "miniwob" / f"{task}.html").as_uri())

    async def reset(self, seed: int) -> None:
        await self.page.evaluate(
            "(seed) => { Math.seedrandom(seed); core.startEpisodeReal(); return core.getUtterance(); }", str(seed)
        )
        await self.page.screenshot()

    async def step(self, x: int, y: int) -> bool:
        await self.page.mouse.click(x, y)
        done, _ = await self.page.evaluate("() => [WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL]")
        await self.page.screenshot()
        return bool(done)

    async def screenshot(self) -> bool:
        await self.page.screenshot()
        return True

    async def close(self) -> None:
        await self.opened.aclose()


class Gymnasium:
    """The environment that the `miniwob` package registers with Gymnasium, at its own size."""

    name = "gymnasium"

    async def open(self, task: str, width: int, height: int) -> None:
        import gymnasium
        import miniwob
        from miniwob.action import ActionTypes

        os.environ["MINIWOB_CHROME_BINARY"] = shutil.which("chromium") or ""
        os.environ["MINIWOB_CHROMEDRIVER"] = shutil.which("chromedriver") or ""
        gymnasium.register_envs(miniwob)
        self.environment: Any = gymnasium.make(f"miniwob/{task}-v1", disable_env_checker=True)
        self.click = ActionTypes.CLICK_COORDS

    async def reset(self, seed: int) -> None:
        self.environment.reset(seed=seed)

    async def step(self, x: int, y: int) -> bool:
        action = self.environment.unwrapped.create_action(self.click, coords=[x, y])
        _, _, terminated, truncated, _ = self.environment.step(action)
        return bool(terminated or truncated)

    async def screenshot(self) -> bool:
        return False

    async def close(self) -> None:
        self.environment.close()


class BrowserGym:
    """`browsergym-miniwob` in the interpreter `python`. Its observations, the accessibility tree among them, are its own."""

    name = "browsergym"

    def __init__(self, python: Path) -> None:
        self.python = python

    async def open(self, task: str, width: int, height: int) -> None:
        self.browsers = tempfile.TemporaryDirectory(prefix="stepladder-bench-")
        chromium = shutil.which("chromium")
        if chromium is None:
            raise FileNotFoundError("browsergym needs chromium in PATH")
        # Its second window asks Playwright for a browser of Playwright's own, at the place where an installed one would lie.
        listed = [str(self.python), "-c", "import playwright; print(playwright.__file__)"]
        package = Path(subprocess.run(listed, check=True, capture_output=True, text=True).stdout.strip()).parent
        described = json.loads((package / "driver" / "package" / "browsers.json").read_text())["browsers"]
        revision = next(browser["revision"] for browser in described if browser["name"] == "chromium")
        binary = Path(self.browsers.name) / f"chromium-{revision}" / "chrome-linux" / "chrome"
        binary.parent.mkdir(parents=True)
        binary.symlink_to(chromium)
        self.process = subprocess.Popen(
            [str(self.python), str(Path(__file__).parent / "contestants" / "browsergym_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PLAYWRIGHT_BROWSERS_PATH": self.browsers.name},
        )
        self._ask({"task": task, "pages": (catalogue.html_directory() / "miniwob").as_uri() + "/"})

    async def reset(self, seed: int) -> None:
        self._ask({"reset": seed})

    async def step(self, x: int, y: int) -> bool:
        return bool(self._ask({"click": [x, y]})["done"])

    async def screenshot(self) -> bool:
        return False

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.browsers.cleanup()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise RuntimeError(f"browsergym ended: {self.process.stderr.read().strip().splitlines()[-1:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def contestants(width: int, browsergym: Path | None) -> tuple[list[Contestant], list[str]]:
    """Those that can run here, and why the others cannot."""
    found: list[Contestant] = [Ours()]
    missing = []
    if importlib.util.find_spec("playwright") is not None:
        found.append(Playwright())
    else:
        missing.append("playwright is not installed (python -m pip install playwright)")
    if width == SIZES[0][0]:
        if (
            all(map(importlib.util.find_spec, ("gymnasium", "selenium")))
            and shutil.which("chromedriver")
            and shutil.which("chromium")
        ):
            found.append(Gymnasium())
        else:
            missing.append("gymnasium is left out: it needs gymnasium, selenium, chromium and chromedriver")
        if browsergym is not None:
            found.append(BrowserGym(browsergym))
    return found, missing


async def play(contestant: Contestant, seconds: float, seed: int) -> tuple[int, float]:
    """Steps made and seconds spent in them; resets are not counted."""
    random, steps, spent = Random(seed), 0, 0.0
    await contestant.reset(seed)
    while spent < seconds:
        x, y = random.randrange(160), random.randrange(210)
        start = time.perf_counter()
        done = await contestant.step(x, y)
        spent += time.perf_counter() - start
        steps += 1
        if done:
            await contestant.reset(seed + steps)
    return steps, spent


async def median_time(act: Callable[[int], Awaitable[Any]], seconds: float) -> float:
    """Median duration in milliseconds of what `act(0)`, `act(1)` ... take, for about `seconds`."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        await act(len(times))
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


async def compare(
    task: str, width: int, height: int, rounds: int, seconds: float, browsergym: Path | None = None
) -> dict[str, Any]:
    """Figures of one screen size: for every contestant lists over the rounds."""
    found, missing = contestants(width, browsergym)
    players = []
    for player in found:
        try:
            await player.open(task, width, height)
            await play(player, min(seconds, 0.5), 0)  # the first frames of a page are not typical
        except Exception as error:
            if player.name == Ours.name:
                raise
            reason = (str(error).strip().splitlines() or [""])[0]
            missing.append(f"{player.name} could not be started: {type(error).__name__}: {reason}")
            with contextlib.suppress(Exception):
                await player.close()  # as far as it got
        else:
            players.append(player)
    figures: dict[str, dict[str, list[float]]] = {player.name: {key: [] for key in MEASURES} for player in players}
    for number in range(rounds):
        for player in players[:: 1 if number % 2 else -1]:
            steps, spent = await play(player, seconds, number)
            record = figures[player.name]
            record["steps_per_second"].append(steps / spent)
            record["reset_ms"].append(await median_time(player.reset, seconds / 10))
            if await player.screenshot():
                record["screenshot_ms"].append(await median_time(lambda _, player=player: player.screenshot(), seconds / 10))
    for player in players:
        await player.close()
    return {"width": width, "height": height, "figures": figures, "ratios": ratios(figures), "missing": missing}


async def run(task: str = "click-button", rounds: int = 5, seconds: float = 2.0, browsergym: Path | None = None) -> dict[str, Any]:
    """Everything measured, as plain lists and numbers."""
    sizes = [await compare(task, width, height, rounds, seconds, browsergym) for width, height in SIZES]
    machine = {"load": os.getloadavg()[0], "cores": os.cpu_count()}
    return {"task": task, "rounds": rounds, "seconds": seconds, "sizes": sizes, "goals": goals(sizes[0]["ratios"]), **machine}


def ratios(figures: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    """How many times faster than each other contestant ours is, by measure, round by round; [] where theirs was not measured."""
    ours = figures[Ours.name]
    found: dict[str, dict[str, list[float]]] = {}
    for name, theirs in figures.items():
        if name != Ours.name:
            found[name] = {key: [] for key in MEASURES}
            for key in MEASURES:
                for one, other in zip(ours[key], theirs[key], strict=bool(theirs[key])):
                    found[name][key].append(one / other if key == "steps_per_second" else other / one)
    return found


def goals(faster: dict[str, dict[str, list[float]]]) -> dict[str, bool | None]:
    """Whether the median ratio of steps a second reaches each goal; None where the contestant is missing."""
    return {
        name: statistics.median(faster[name]["steps_per_second"]) >= least if name in faster else None
        for name, least in GOALS.items()
    }


def spread(values: list[float], digits: int) -> str:
    """Median (lowest to highest); a dash for nothing."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def show(result: dict[str, Any], console: Console) -> None:
    console.print(
        f"MiniWoB++ {result['task']}, one page, click + state + PNG; {result['rounds']} rounds of {result['seconds']:g} s; "
        f"{result['cores']} cores, load {result['load']:.1f} at the end"
    )
    table = Table("screen", "", "steps/s", "reset, ms", "screenshot, ms", title="median (range) over the rounds")
    faster = Table("screen", "ours against", "steps/s", "reset", "screenshot", title="times faster, median (range) over the rounds")
    for size in result["sizes"]:
        screen = f"{size['width']} x {size['height']}"
        for name, record in size["figures"].items():
            table.add_row(screen, name, *(spread(record[key], 1 if key == "steps_per_second" else 2) for key in MEASURES))
        for name, record in size["ratios"].items():
            faster.add_row(screen, name, *(spread(record[key], 1) for key in MEASURES))
    console.print(table)
    console.print(faster)
    for name, reached in result["goals"].items():
        answer = "not measured" if reached is None else "yes" if reached else "no"
        console.print(f"at least {GOALS[name]}x {name.capitalize()}: {answer}")
    for line in dict.fromkeys(line for size in result["sizes"] for line in size["missing"]):
        console.print(line, markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="click-button")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of stepping, for each contestant in each round")
    parser.add_argument("--browsergym", type=Path, metavar="PYTHON", help="interpreter in which browsergym-miniwob is installed")
    parser.add_argument("--json", type=Path, help="also write everything measured to this file")
    arguments = parser.parse_args()
    result = asyncio.run(run(arguments.task, arguments.rounds, arguments.seconds, arguments.browsergym))
    show(result, Console())
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
