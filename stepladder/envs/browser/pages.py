"""Any web page as a task: a URL, an HTML file or HTML text, an instruction, and a check in JavaScript or Python.

One JSON object per line:

    {"id": "subscribe", "file": "newsletter.html", "instruction": "Subscribe ada@example.org.",
     "check": {"javascript": "document.querySelector('#done')?.textContent === 'Thank you'"}}

field        meaning
-----------  ----------------------------------------------------------------------------------------------------------------
id           name of the task, unique in the file
url          where it starts, or `file` (path from the folder of the JSONL file), or `html` (the page itself)
instruction  what is asked of the agent
check        {"javascript": expression} or {"python": "package.module:function"}; true, false or a number from 0 to 1. The
             expression sees the page's variables and `answer`, the text of the action that ended the episode; the function gets
             a `PageState` and may be a coroutine function. The expression is also evaluated at the start, with an empty answer:
             if it throws there, the episode fails at once (a typo would otherwise look like a failing agent). Write `?.` after
             what exists only later, and `window.name` for a variable; undefined and null count as false. An expression that
             was good at the start and throws at the end is graded 0: the agent has left the page in a state that is not the
             wanted one, and leaving such episodes out would raise the success rate
max_steps    steps the agent may take (10)
network      host names that the page may reach; the host of `url` when it is left out, otherwise none
viewport     [width, height] in pixels; the environment's own when it is left out
start        JavaScript that runs after the page has loaded
tags, split  as in `Task`
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from stepladder.envs.browser.environment import MIN_HEIGHT, MIN_WIDTH, BrowserEnvironment
from stepladder.envs.browser.page import DialogOpened, ScriptError
from stepladder.errors import TaskError
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Observation, Task

_logger = logging.getLogger(__name__)
_FIELDS = ("id", "url", "file", "html", "instruction", "check", "max_steps", "network", "viewport", "start", "tags", "split")
_SOURCES = ("url", "file", "html")
_SPLITS = ("train", "heldout", "all")


def seeded_random(seed: int) -> str:
    """JavaScript that makes Math.random of a document a fixed sequence, one for each seed (mulberry32, public domain)."""
    digest = hashlib.sha256(f"page:{seed}".encode()).digest()  # neighbouring seeds must not begin alike
    return f"""(() => {{
  let state = {int.from_bytes(digest[:4], "big")};
  Math.random = () => {{
    state = (state + 0x6D2B79F5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }};
}})();"""


@dataclass(frozen=True, slots=True)
class PageState:
    """What a Python check is given: the page at the end of an episode.

    `text` is its visible text, `answer` the text of the action that ended the episode, `evaluate` awaits a JavaScript expression.
    """

    url: str
    title: str
    text: str
    answer: str
    evaluate: Callable[[str], Awaitable[Any]]


class PageEnvironment(BrowserEnvironment):
    """Tasks that `load_page_tasks` read (or made by hand: `setup` holds url, file or html, network, viewport and start).

    A task in a file may fetch what lies in the file's folder and below. The seed decides about `Math.random` of the page and
    nothing else. Every episode has a fresh context, for the seed is in the scripts of the page.
    """

    _folder = ""
    _check_is_good = False  # the JavaScript check of this episode was evaluated at its start

    async def reset(self, task: Task, seed: int) -> Observation:
        """Start `task`; equal seeds give the page equal random numbers. Raises EnvironmentFailure."""
        self.page_scripts = (seeded_random(seed),)
        return await super().reset(task, seed)

    async def _open(self, task: Task) -> None:
        if not self.fresh_context:
            await self._drop_context()
        await super()._open(task)

    async def _start(self, task: Task, seed: int) -> Task:
        setup = task.setup
        self._folder, self._check_is_good = "", False
        if "python" in task.check:
            _python_check(str(task.check["python"]))  # a wrong name must not wait for the end of the first episode
        if "html" in setup:
            url = f"http://page.localhost/{quote(task.id, safe='')}"
            self._serve[url] = str(setup["html"])
        elif "file" in setup:
            path = Path(str(setup["file"])).resolve()
            if not path.is_file():
                raise EnvironmentFailure(f"task {task.id!r}: there is no file {path}")
            self._folder = f"{path.parent.as_uri()}/"
            url = path.as_uri()
        elif "url" in setup:
            url = str(setup["url"])
        else:
            raise EnvironmentFailure(f"task {task.id!r} has no url, file or html in its setup")
        try:
            await self._navigate(url)
        except DialogOpened:
            if setup.get("start"):
                raise EnvironmentFailure(f"task {task.id!r}: the page opens a dialog, so its start script cannot run") from None
            raise
        if setup.get("start"):
            await self._current().evaluate(f"(async () => {{ {setup['start']} }})()")
            await self._current().loaded()
        if "javascript" in task.check:
            await self._try_check(task)
        return task

    async def _try_check(self, task: Task) -> None:
        """Raises EnvironmentFailure when the JavaScript check cannot be evaluated on the page as it is at the start."""
        try:
            _reward(await self._evaluate_check(task, ""), task)
        except ScriptError as error:
            raise EnvironmentFailure(
                f"the check of task {task.id!r} cannot be evaluated at the start of the page: {error}; "
                "use ?. after what may not exist yet, and window.name for a variable"
            ) from error
        self._check_is_good = True

    async def _evaluate_check(self, task: Task, answer: str) -> Any:
        value = await self._current().evaluate(f"((answer) => ({task.check['javascript']}))({json.dumps(answer)})")
        return False if value is None else value  # what ?. gives for an element that does not exist

    def _allowed(self, url: str) -> bool:
        return super()._allowed(url) or bool(self._folder and url.startswith(self._folder))

    def _viewport(self, task: Task) -> tuple[int, int]:
        width, height = task.setup.get("viewport", self._default_size)
        return int(width), int(height)

    async def _score(self) -> float:
        check = self.task.check
        if "javascript" in check:
            try:
                return _reward(await self._evaluate_check(self.task, self._answer), self.task)
            except ScriptError as error:
                if not self._check_is_good:
                    raise  # a dialog at the start kept it from being tried
                _logger.info("task %r is graded 0, its check threw: %s", self.task.id, error)
                return 0.0
        if "python" not in check:
            raise EnvironmentFailure(f"task {self.task.id!r} has no check that a page can be graded with (javascript or python)")
        page = self._current()
        url, title, text = await page.evaluate("[location.href, document.title, document.body?.innerText ?? '']")
        function = _python_check(str(check["python"]))
        try:
            result = function(PageState(url, title, text, self._answer, page.evaluate))
            if inspect.isawaitable(result):
                result = await result
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise EnvironmentFailure(f"check {check['python']} of task {self.task.id!r} failed: {error!r}") from error
        return _reward(result, self.task)


def load_page_tasks(path: str | Path) -> list[Task]:
    """The tasks of a JSONL file. Raises TaskError that names the file, the line and what would be right."""
    path = Path(path)
    if not path.is_file():
        raise TaskError(f"there is no task file {path}")
    tasks: list[Task] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            task = _task(json.loads(line), path.parent)
            if any(task.id == other.id for other in tasks):
                raise ValueError(f"the id {task.id!r} is used twice")
        except ValueError as error:
            reason = f"no JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise TaskError(f"{path}:{number}: {reason}") from error
        tasks.append(task)
    if not tasks:
        raise TaskError(f"{path} holds no task")
    return tasks


def _task(record: Any, folder: Path) -> Task:
    if not isinstance(record, dict):
        raise ValueError(f"a task is an object, not {type(record).__name__}")
    for key in record:
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, n=1)
            raise ValueError(
                f"unknown field {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_FIELDS)}")
            )
    for key in ("id", "instruction"):
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise ValueError(f"{key!r} must be a text that is not empty")
    sources = [key for key in _SOURCES if key in record]
    if len(sources) != 1 or not isinstance(record[sources[0]], str):
        raise ValueError(f"a task needs exactly one of url, file and html, as a text; this one has {', '.join(sources) or 'none'}")
    max_steps = record.get("max_steps", 10)
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1:
        raise ValueError(f"'max_steps' is {max_steps!r}; it must be a whole number of 1 or more")
    split = record.get("split", "all")
    if split not in _SPLITS:
        raise ValueError(f"'split' is {split!r}; it must be one of {', '.join(_SPLITS)}")
    tags = _texts(record, "tags")
    setup = _source(record, sources[0], folder) | _options(record)
    check = _check(record.get("check"))
    return Task(record["id"], record["instruction"], "page", setup, check, max_steps, split, tuple(tags))


def _source(record: dict[str, Any], source: str, folder: Path) -> dict[str, Any]:
    """The part of `Task.setup` that says where the page comes from."""
    if source == "html":
        return {"html": record["html"]}
    if source == "file":
        path = (folder / record["file"]).resolve()
        if not path.is_file():
            raise ValueError(f"'file' is {record['file']!r}, but there is no file {path}")
        return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    address = urlsplit(record["url"])
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"'url' is {record['url']!r}; it must start with http:// or https:// (use 'file' for a file)")
    return {"url": record["url"], "network": [address.hostname]}


def _options(record: dict[str, Any]) -> dict[str, Any]:
    """The rest of `Task.setup`."""
    setup: dict[str, Any] = {}
    if "network" in record:
        setup["network"] = _texts(record, "network")
        for host in setup["network"]:
            if not host or any(character in host for character in "/:;*, "):
                raise ValueError(f"'network' holds {host!r}; it must be a host name such as 'example.org', without scheme or port")
    if "viewport" in record:
        size = record["viewport"]
        if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side <= 8192 for side in size):
            raise ValueError(f"'viewport' is {size!r}; it must be [width, height] in pixels, at most 8192 each")
        if size[0] < MIN_WIDTH or size[1] < MIN_HEIGHT:
            raise ValueError(f"'viewport' is {size!r}; it must be at least [{MIN_WIDTH}, {MIN_HEIGHT}]")
        setup["viewport"] = size
    if "start" in record:
        if not isinstance(record["start"], str):
            raise ValueError("'start' must be JavaScript, as a text")
        setup["start"] = record["start"]
    return setup


def _check(check: Any) -> dict[str, str]:
    kinds = ("javascript", "python")
    if not isinstance(check, dict) or len(check) != 1 or next(iter(check)) not in kinds:
        raise ValueError('\'check\' must be {"javascript": expression} or {"python": "package.module:function"}')
    kind, text = next(iter(check.items()))
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"the {kind} check must be a text that is not empty")
    if kind == "python" and (text.count(":") != 1 or not all(part.strip() for part in text.split(":"))):
        raise ValueError(f"the python check is {text!r}; it must be 'package.module:function'")
    return {kind: text}


def _texts(record: dict[str, Any], key: str) -> list[str]:
    value = record.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key!r} must be a list of texts")
    return value


def _python_check(path: str) -> Callable[[PageState], Any]:
    """The function behind "package.module:function". Raises EnvironmentFailure that says what is missing."""
    module_name, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise EnvironmentFailure(f"the python check {path!r} cannot be loaded: {error}") from error
    if not callable(function):
        raise EnvironmentFailure(f"the python check {path!r} is no function")
    checked: Callable[[PageState], Any] = function
    return checked


def _reward(value: Any, task: Task) -> float:
    """A check's answer as a task reward. Raises EnvironmentFailure for anything but true, false and numbers from 0 to 1."""
    if isinstance(value, bool) or (isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 1):
        return float(value)
    raise EnvironmentFailure(f"the check of task {task.id!r} gave {value!r}; it must give true, false or a number from 0 to 1")
