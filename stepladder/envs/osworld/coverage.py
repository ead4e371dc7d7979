"""Which of OSWorld's tasks can be played here, and what each of the others lacks."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stepladder.addresses import is_loopback
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.getters import GETTERS
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.metrics import metric
from stepladder.envs.osworld.pyautogui_command import pyautogui_code
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
}
#: Programs that getters run.
OF_GETTERS = {"default_video_player": "xdg-mime", "vm_window_size": "wmctrl", "vm_terminal_output": "gnome-terminal"}
#: What getters ask of a whole system, which a pocket desktop is not.
OF_SYSTEM = {"vm_wallpaper": "GNOME", "vscode_config": "OSWorld's extension of VS Code"}
#: Prefixes, in selectors of the accessibility tree, of what a pocket desktop's does not hold.
ATTRIBUTES = ("attr", "doc", "docattr", "act")
#: Words of commands that need a network, or rights that nobody has in a sandbox.
NETWORK = frozenset(["wget", "curl", "pip", "pip3", "git", "snap", "npm"])
ROOT = frozenset(
    ["apt", "apt-get", "dpkg", "useradd", "adduser", "usermod", "passwd", "chpasswd", "visudo", "mount", "hostnamectl"]
)
#: Programs without a window, and words of the shell.
_NO_WINDOW = frozenset(["socat", "pkill", "killall", "python", "python3", "bash", "sh", "echo", "sleep", "export"])
#: Options of sudo that have an argument.
_SUDO_ARGUMENTS = frozenset(["-u", "--user", "-g", "--group", "-p", "--prompt", "-h", "--host", "-D", "--chdir"])
_SHELL = frozenset(
    [
        *("cd", "mkdir", "rm", "mv", "cp", "touch", "cat", "echo", "export", "test", "true", "false", "[", "]", "gio", "source"),
        *("if", "then", "else", "fi", "for", "do", "done"),
    ]
)


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
        elif kind == "upload_file":
            paths = [file["local_path"] for file in parameters.get("files", [])]
            yield from (f"file {path}" for path in paths if not cache.has_upload(path))
        elif kind == "chrome_open_tabs" and any(map(_is_elsewhere, parameters.get("urls_to_open", []))):
            yield "a network"
        elif kind == "open" and shutil.which("xdg-open") is None:
            yield "program xdg-open"
        elif kind in ("launch", "execute", "command", "execute_with_verification"):
            yield from _of_command(parameters.get("command", ""))


def _is_elsewhere(address: str) -> bool:
    """Whether a page is none of the machine's own."""
    parts = urlsplit(address if ":" in address else f"https://{address}")
    return parts.scheme in ("http", "https") and not is_loopback(parts.hostname or "")


def shows_window(step: Mapping[str, Any]) -> bool:
    """Whether a step starts something that has a window."""
    if step["type"] != "launch":
        return step["type"] in ("open", "chrome_open_tabs")
    programs = _programs((step.get("parameters") or {}).get("command", ""))
    return any(program not in _NO_WINDOW | _SHELL for program in programs)


def _of_command(command: str | list[str]) -> Iterator[str]:
    words = [str(word) for word in command] if isinstance(command, list) else _words(command)
    yield from (wanted for word, wanted in SYSTEM.items() if word in words)
    if NETWORK & set(words) or any(word.startswith(("http://", "https://")) for word in words):
        yield "a network"
    if ROOT & set(words):
        yield "the rights of root"
    for program in _programs(command):
        name = OTHER_NAMES.get(program, program)
        known = program in _SHELL | {"socat", "sudo"} or program in SYSTEM or "/" in name
        if not known and shutil.which(name) is None:
            yield f"program {program}"
    try:
        pyautogui_code(command)
    except Lacks as error:
        if "{SCREEN_" not in "".join(words):  # places of the screen are filled in only when the step is done
            yield error.what


def _programs(command: str | list[str]) -> Iterator[str]:
    """The words of a command that name programs: the first, and those after what joins commands."""
    if isinstance(command, list):
        yield from [str(command[0])] if command else []
        return
    expected, after_sudo, argument = True, False, False
    for word in _words(command):
        if word in (";", "|", "||", "&&", "&", "(", "do", "then", "else"):
            expected, after_sudo, argument = True, False, False
        elif argument:
            argument = False
        elif after_sudo and word in _SUDO_ARGUMENTS:
            argument = True
        elif expected and "=" not in word and not word.startswith("-"):
            expected = after_sudo = word == "sudo"  # the program that it runs comes after it
            yield word


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # quotes that a shell would read otherwise
        return command.split()


def _of_grading(evaluator: Mapping[str, Any], cache: FileCache) -> Iterator[str]:
    functions = evaluator["func"] if isinstance(evaluator["func"], list) else [evaluator["func"]]
    for name in functions:
        try:
            metric(name)
        except Lacks as error:
            yield error.what
    if "check_accessibility_tree" in functions and any(f"{one}|" in str(evaluator.get("expected")) for one in ATTRIBUTES):
        yield "attributes in the accessibility tree"
    for part in ("result", "expected"):
        described = evaluator.get(part)
        for one in described if isinstance(described, list) else [described]:
            if not one:
                continue
            kind = one.get("type")
            if kind not in GETTERS:
                yield f"getter {kind}"
            elif kind in OF_SYSTEM and (kind != "vscode_config" or one.get("vscode_extension_command")):
                yield OF_SYSTEM[kind]
            elif kind in OF_GETTERS and shutil.which(OF_GETTERS[kind]) is None:
                yield f"program {OF_GETTERS[kind]}"
            elif kind == "cloud_file":
                urls, names = ([one["path"]], [one["dest"]]) if not one.get("multi") else (one["path"], one["dest"])
                yield from (f"file {url}" for url, name in zip(urls, names, strict=True) if not cache.has_cloud(name))
            elif kind in ("vm_command_line", "vm_command_error"):
                yield from _of_command(one["command"])
