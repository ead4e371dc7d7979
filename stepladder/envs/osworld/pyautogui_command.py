"""Commands of OSWorld that use pyautogui, on a machine that has none: what they do with the pointer and the keyboard is read."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Sequence

from stepladder.envs.osworld.lacking import Lacks
from stepladder.interfaces import ParseError
from stepladder.pyautogui.read import read_code
from stepladder.types import Action

_PYTHON = ("python", "python3")


def pyautogui_code(command: str | Sequence[str]) -> list[Action] | None:
    """The actions of `python -c "import pyautogui; ..."`; None for a command that has nothing to do with it, or only imports it.
    Raises Lacks for one that does more with it than can be read."""
    found = _code(command)
    if found is None:
        if any("pyautogui" in str(part) for part in ([command] if isinstance(command, str) else command)):
            raise Lacks("pyautogui outside python -c")
        return None
    plain = _without(found)
    if plain is None or "pyautogui" not in plain:  # what is no Python is told so by Python itself
        return None
    try:
        actions = read_code(found)
    except ParseError as error:
        line = found.count("\n", 0, error.position) + 1
        raise Lacks("pyautogui code", f"line {line}: {error}") from error
    if any(action.kind in ("done", "fail") for action in actions):
        raise Lacks("pyautogui code", "it ends an episode, which is an agent's word and no Python")
    return actions


def without_pyautogui(command: str | list[str]) -> str | list[str]:
    """A command as it can be run where there is no pyautogui, when all that it does is to import it: OSWorld's controllers put that
    before whatever Python they send. Any other command is returned as it is."""
    found = _code(command)
    if found is None or "pyautogui" not in found:
        return command
    plain = _without(found)
    return command if plain is None or "pyautogui" in plain else ["python3", "-c", plain]


def _code(command: str | Sequence[str]) -> str | None:
    """The code of `python -c code`."""
    try:
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    except ValueError:
        return None
    return words[2] if len(words) == 3 and words[0] in _PYTHON and words[1] == "-c" else None


def _without(code: str) -> str | None:
    """The code without the statements that import pyautogui and set it up; None for what is no Python."""
    try:
        tree = ast.parse(code)
        kept = [statement for statement in tree.body if not _sets_up(statement)]
        return code if len(kept) == len(tree.body) else ast.unparse(ast.Module(kept, []))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _sets_up(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names] == ["pyautogui"]
    if not isinstance(statement, ast.Assign):
        return False
    return all(
        isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "pyautogui"
        for target in statement.targets
    )
