"""MiniWobEnvironment: the tasks of MiniWoB++ from the PyPI wheel `miniwob`, on local pages, without a clone or a server."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from random import Random
from typing import ClassVar

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.clock import CLOCK_SCRIPT
from stepladder.envs.browser.environment import BrowserEnvironment
from stepladder.envs.browser.host import BrowserHost
from stepladder.envs.browser.oracles import ORACLES, OracleError, Screen, Turn
from stepladder.envs.browser.oracles.mistakes import find_mistake
from stepladder.envs.browser.page import Page, ScriptError
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action, Observation, Task

#: Once per loaded page: no time limit, no countdown, no score beside the page, no cover over it, nothing that moves by CSS. The
#: pictures of the page's styles are loaded beforehand: an icon that is still on its way changes the pixels, and one whose hover
#: picture is still on its way has no size to click.
_PREPARE = """(async (sources) => {
  core.EPISODE_MAX_TIME = 2 ** 31 - 1;
  core.countdownTimer = () => {};
  const style = document.createElement('style');
  style.textContent = '#reward-display, #click-canvas, #sync-task-cover { display: none !important; }'
    + '* { transition: none !important; animation: none !important; }';
  document.head.append(style);
  window.stepladderPictures = sources.map((source) => {
    const picture = new Image();
    picture.src = source;
    return picture;
  });
  await Promise.all(window.stepladderPictures.map((picture) => picture.decode()));
})"""

#: Starts an episode and gives its instruction; null on a page that is not (or no longer) a prepared task.
_START = """(async (seed, mode) => {
  if (typeof core === 'undefined' || !window.stepladderPictures) return null;
  stepladderClock.restart();
  if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  core.setDataMode(mode);
  Math.seedrandom(seed);
  core.startEpisodeReal();
  window.scrollTo(0, 0);
  stepladderClock.advance(0);
  await Promise.allSettled([...document.images].filter((picture) => !picture.complete).map((picture) => picture.decode()));
  const utterance = core.getUtterance();
  return (typeof utterance === 'object' ? utterance.utterance : utterance).replace(/\\s+/g, ' ').trim();
})"""


_LINKED_STYLE = re.compile(r"""<link[^>]*href=["']?([^"'> ]+\.css)""")
_PICTURE = re.compile(r"""url\(["']?([^"')]+\.(?:png|gif|jpg|jpeg|svg))["']?\)""")


@functools.cache
def style_pictures(page: Path) -> tuple[str, ...]:
    """URLs of the pictures that a task page's styles may show, its own and those of its style sheets."""
    html = page.read_text(encoding="utf-8")
    sheets = [page, *((page.parent / name).resolve() for name in _LINKED_STYLE.findall(html))]
    pictures = [(sheet.parent / name).resolve() for sheet in sheets for name in _PICTURE.findall(sheet.read_text(encoding="utf-8"))]
    return tuple(dict.fromkeys(picture.as_uri() for picture in pictures if picture.exists()))


#: Actions that do not scroll a page by themselves, which would tell the page so with the next frame.
_NO_FRAME = frozenset({"click", "double_click", "triple_click", "right_click", "middle_click", "mouse_down", "mouse_up", "type"})


def give_up(reason: str) -> Turn:
    """The last turn of a demonstrator that cannot go on."""
    return f"This cannot be done: {reason}\nAction: Give up.", Action("fail", text=reason)


class MiniWobEnvironment(BrowserEnvironment):
    """One MiniWoB++ task at a time, at its own size of 160 x 210 pixels, the instruction on yellow at the top.

    Equal task and seed give equal pages. Time on the page stands still while the agent thinks: every action takes `step_seconds`
    of the page's time and a `wait` takes its own; there is no time limit. The task reward is 1 when the page's own reward is
    above 0 (the convention of MiniWoB++ papers), without the discount for slowness; `raw_reward` is the page's number.

    `setup={"mode": "test"}` of a task chooses the page's second data distribution where it has one (click-test-transfer,
    click-checkboxes-transfer, email-inbox-*nl*).
    """

    finished_script = "typeof WOB_DONE_GLOBAL !== 'undefined' && WOB_DONE_GLOBAL"
    page_scripts: tuple[str, ...] = (CLOCK_SCRIPT,)
    shortcuts = False
    #: Tasks whose pages keep something from one episode to the next; they are loaded anew for every episode.
    always_fresh: ClassVar[frozenset[str]] = frozenset(
        {
            "book-flight", "book-flight-nodelay", "chase-circle", "choose-list", "click-pie", "click-pie-nodelay",
            "hover-shape", "moving-items", "simon-says", "stock-market", "use-colorwheel", "use-colorwheel-2",
        }
    )  # fmt: skip

    def __init__(
        self,
        images: ImageStore,
        *,
        host: BrowserHost | None = None,
        width: int = 160,
        height: int = 210,
        tree: bool = False,
        chromium: str | os.PathLike[str] | None = None,
        deadline: float = 30.0,
        step_seconds: float = 0.5,
        reuse_pages: bool = True,
    ) -> None:
        """`reuse_pages` starts an episode of the same task on the page already loaded (about 1 ms); without it every episode loads
        its page. `step_seconds` is the page time that an action takes. The rest as in `BrowserEnvironment`."""
        super().__init__(
            images,
            host=host,
            width=width,
            height=height,
            tree=tree,
            chromium=chromium,
            fresh_context=not reuse_pages,
            deadline=deadline,
        )
        if not step_seconds >= 0:
            raise ValueError(f"step_seconds is {step_seconds}; it must be 0 or more")
        self.step_seconds = step_seconds
        self.raw_reward = 0.0
        #: Whether the screen on which an episode has ended is shown. Without it the last observation has no screenshot, no tree and
        #: no state key, which saves a third of all frames of short episodes.
        self.final_screen = True
        self._ended = False
        #: Whether the next frame shows all that the last action has changed, see `_take_effect`.
        self._at_rest = False
        self._seed = 0
        self._pages = catalogue.html_directory().as_uri() + "/"
        self._loaded: tuple[Page, str] | None = None

    @classmethod
    def tasks(cls, names: Iterable[str] | None = None) -> list[Task]:
        """All tasks, or those named; see `catalogue`."""
        return catalogue.tasks(names)

    async def solve(self) -> AsyncIterator[Turn]:
        """The demonstration for the present task: (thought, action) one by one. A demonstrator that does not find what it expects,
        or that has a mistake, gives up with a `fail` action. Raises EnvironmentFailure for a task without demonstrator."""
        oracle = ORACLES.get(self.task.id)
        if oracle is None:
            near = difflib.get_close_matches(self.task.id, ORACLES, n=1)
            raise EnvironmentFailure(f"MiniWoB++ task {self.task.id!r} has no demonstrator; near: {', '.join(near) or 'none'}")
        try:
            async for turn in oracle(Screen(self), self.task.instruction):
                yield turn
        except OracleError as error:
            yield give_up(str(error))
        except (ScriptError, LookupError, ValueError, TypeError) as error:
            # A mistake of the demonstrator and not of the environment, which would be played again in vain.
            yield give_up(f"the demonstrator of {self.task.id} fails at seed {self._seed}: {type(error).__name__}: {error}")

    async def mistake(self, random: Random) -> Turn | None:
        """A wrong step that fits the present state and does no harm: `solve` still succeeds after it. None where there is none."""
        return await find_mistake(Screen(self), self.task.id, random)

    def _allowed(self, url: str) -> bool:
        return url.startswith((self._pages, "data:", "about:blank"))

    async def _start(self, task: Task, seed: int) -> Task:
        try:
            entry = catalogue.entry(task.id)
        except ValueError as error:
            raise EnvironmentFailure(str(error)) from error
        unknown = [name for name in task.setup if name != "mode"]
        if unknown:
            raise EnvironmentFailure(f"task {task.id!r}: setup has no {unknown[0]!r}; it may have 'mode'")
        mode = task.setup.get("mode", "default")
        if mode not in ("default", "test"):
            raise EnvironmentFailure(f"task {task.id!r}: setup mode is {mode!r}; it must be 'default' or 'test'")
        page = self._current()
        start = f"{_START}({json.dumps(str(seed))}, {json.dumps(mode)})"
        kept = self._loaded == (page, task.id) and task.id not in self.always_fresh
        instruction = await page.evaluate(start) if kept else None
        if instruction is None:
            await self._load(page, entry.name)
            instruction = await page.evaluate(start)
        self._loaded = (page, task.id)
        self.raw_reward, self._ended, self._at_rest, self._seed = 0.0, False, False, seed
        return dataclasses.replace(task, instruction=instruction)

    async def _load(self, page: Page, name: str) -> None:
        self._loaded = None
        await page.call("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
        await page.call("Emulation.setLocaleOverride", {"locale": "en-US"})
        path = catalogue.html_directory() / "miniwob" / f"{name}.html"
        await self._navigate(path.as_uri())
        await page.evaluate(f"{_PREPARE}({json.dumps(style_pictures(path))})")

    async def _act(self, action: Action) -> None:
        self._at_rest = False
        await super()._act(action)
        if action.kind != "wait":
            await self._pass_time(self.step_seconds)
        self._at_rest &= action.kind in _NO_FRAME

    async def _wait(self, seconds: float) -> None:
        await self._pass_time(seconds)

    async def _pass_time(self, seconds: float) -> None:
        """Let page time go on, unless the episode has ended: the last screenshot shows the state that was graded."""
        await self._grade(f"({self.finished_script}) || stepladderClock.advance({1000 * seconds})")

    async def _grade(self, first: str = "0") -> None:
        """Evaluate `first` and ask whether the episode has ended and for its reward, which do not change after that."""
        hovered = f"Boolean(document.elementFromPoint({self._input.x}, {self._input.y})?.matches(':hover'))"
        graded, self._at_rest = await self._current().evaluate(
            f"({first}, [({self.finished_script}) ? WOB_RAW_REWARD_GLOBAL : null, {hovered}])"
        )
        self._ended, self.raw_reward = graded is not None, float(graded or 0)

    async def _take_effect(self, page: Page) -> None:
        """A click is handled without a frame, and these pages do nothing by Chromium's clock: unless something else has come
        under the pointer, which Chromium notices with the next frame, the screenshot's own frame is enough."""
        if not self._at_rest:
            await super()._take_effect(page)

    async def _observe_page(self, page: Page) -> Observation:
        if self._ended and not self.final_screen and self._last is not None:
            return Observation(None, None, self._text(), self._last.url, "", done=True)
        return await super()._observe_page(page)

    async def _score(self) -> float:
        if not self._ended:
            await self._grade()
        return float(self.raw_reward > 0)
