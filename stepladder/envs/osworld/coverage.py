"""Which of OSWorld's tasks can be played here, and what each of the others lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.getters import GETTERS
from stepladder.envs.osworld.metrics import METRICS
from stepladder.envs.osworld.steps import STEPS
from stepladder.envs.osworld.task_file import infeasible
from stepladder.types import Task

#: What OSWorld's commands call programs, where a pocket desktop has them under another name.
OTHER_NAMES = {"google-chrome": "chromium", "libreoffice": "soffice", "python": "python3"}
#: Programs that are part of a whole system, which a pocket desktop is not, by words of a command that need them.
SYSTEM = {
    "timedatectl": "systemd",
    "systemctl": "systemd",
    "gsettings": "GNOME",
    "pulseaudio": "a sound server",
    "pactl": "a sound server",
}
#: Programs that getters run.
OF_GETTERS = {"default_video_player": "xdg-mime"}
#: Words of commands that stand for nothing to be installed.
_SHELL = frozenset(["socat", "pkill", "echo", "cd", "mkdir", "rm", "mv", "cp", "touch", "cat", "export"])


def lacks(task: Task, cache: Path | None) -> list[str]:
    """What the task needs and is not there; empty when it can be played from setup to grading."""
    evaluator = task.check
    found = list(
        _of_steps([*(task.setup.get("config") or []), *(evaluator.get("postconfig") or [])], FileCache(cache, task.setup["id"]))
    )
    if task.setup.get("proxy"):
        found.append("a network")
    if not infeasible(evaluator):
        found += _of_grading(evaluator, FileCache(cache, task.setup["id"]))
    return list(dict.fromkeys(found))


def _of_steps(steps: list[Mapping[str, Any]], cache: FileCache) -> Iterator[str]:
    for step in steps:
        kind, parameters = step["type"], step.get("parameters") or {}
        if kind not in STEPS:
            yield f"setup step {kind}"
        elif kind == "download":
            for file in parameters.get("files", []):
                if not cache.has_download(file["url"], file["path"]):
                    yield f"file {file['url']}"
        elif kind in ("launch", "execute", "command"):
            yield from _of_command(parameters.get("command", ""))


def _of_command(command: str | list[str]) -> Iterator[str]:
    words = command if isinstance(command, list) else command.replace(";", " ").replace("|", " ").split()
    text = " ".join(map(str, words))
    yield from (wanted for word, wanted in SYSTEM.items() if word in text.split())
    if isinstance(command, list) and words:
        program = str(words[0])
        if program not in _SHELL and shutil.which(OTHER_NAMES.get(program, program)) is None:
            yield f"program {program}"
    elif "vlc" in text.split() and shutil.which("vlc") is None:
        yield "program vlc"


def _of_grading(evaluator: Mapping[str, Any], cache: FileCache) -> Iterator[str]:
    functions = evaluator["func"] if isinstance(evaluator["func"], list) else [evaluator["func"]]
    yield from (f"metric {name}" for name in functions if name not in METRICS)
    for part in ("result", "expected"):
        described = evaluator.get(part)
        for one in described if isinstance(described, list) else [described]:
            if not one:
                continue
            kind = one.get("type")
            if kind not in GETTERS:
                yield f"getter {kind}"
            elif kind in OF_GETTERS and shutil.which(OF_GETTERS[kind]) is None:
                yield f"program {OF_GETTERS[kind]}"
            elif kind == "cloud_file":
                urls, names = ([one["path"]], [one["dest"]]) if not one.get("multi") else (one["path"], one["dest"])
                yield from (f"file {url}" for url, name in zip(urls, names, strict=True) if not cache.has_cloud(name))
            elif kind in ("vm_command_line", "vm_command_error"):
                yield from _of_command(one["command"])
