"""Between actions and the code of pyautogui, `time` and OpenCUA's `computer` in which several dialects say them.

    pyautogui.click(x=0.5214, y=0.1432)
    pyautogui.write(message='hello')
    computer.terminate(status='failure', answer='There is no such file.')

A dialect says with `Words` what is its own: how a triple click, a wait and the end are written. What is read is the same for all;
see `stepladder.pyautogui.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stepladder.agents.folding import fold
from stepladder.agents.places import Places, check_action
from stepladder.pyautogui.parts import elementary, moving
from stepladder.pyautogui.read import read_code
from stepladder.pyautogui.write import function_of, key_name, sleep_call
from stepladder.types import Action, Step
from stepladder.values import check_text, show, whole


@dataclass(frozen=True, slots=True)
class Words:
    """What a dialect has words of its own for.

    `triple_click` is the function of a triple click, `wait` the line that waits `wait_seconds` seconds, and `end` writes "done"
    or "fail" with a text; it raises ValueError for a text that cannot be said.
    """

    triple_click: str
    wait: str
    wait_seconds: float
    end: Callable[[str, str], str]


def terminate(kind: str, text: str) -> str:
    """The end in OpenCUA's words: `computer.terminate(status='success', answer='...')`."""
    answer = f", answer={quoted(text)}" if text else ""
    return f"computer.terminate(status='{'success' if kind == 'done' else 'failure'}'{answer})"


def bare_word(kind: str, text: str) -> str:
    """The end in OSWorld's words, DONE or FAIL, which have no place for a text."""
    if text:
        raise ValueError(f"{kind} cannot be said with a text in this dialect: {show(text)}")
    return kind.upper()


def write_actions(actions: Iterable[Action], places: Places, words: Words) -> str:
    """The lines that say the actions. Raises ValueError for what cannot be said."""
    lines = [line for action in actions for line in _lines(action, places, words)]
    return "\n".join(lines)


def read_actions(
    code: str, offset: int, places: Places, wait_seconds: float, names: Mapping[str, Sequence[float]] | None = None
) -> tuple[Action, ...]:
    """The actions of `code`, which begins at `offset` of a reply. `names` are places in pixels that the code may point at by
    name, such as {"tag_3": (40, 50)}. Raises ParseError, and nothing else, for what says no action."""

    def place(x: object, y: object) -> tuple[float, float]:
        if isinstance(x, tuple) and y is None:  # one of `names`, in pixels whatever the units of the dialect
            return places.inside(*x)
        return places.read(x, y)

    return fold(read_code(code, place, offset=offset, names=names, wait_seconds=wait_seconds))


def in_short(step: Step, places: Places, words: Words) -> str:
    """What was done in a step, for one that has no action in words: its code in one line."""
    if not step.actions:
        return f"unreadable reply ({step.error})"
    try:
        return write_actions(step.actions, places, words).replace("\n", "; ")
    except ValueError:  # what another dialect said
        return ", ".join(action.kind for action in step.actions)


def quoted(text: str) -> str:
    """A text as Python writes it, with nothing in it that could end a block of code or pass for a special token."""
    written = repr(check_text(text))
    for mark, escaped in (("`", "\\x60"), ("<|", "\\x3c|"), ("</", "\\x3c/"), ("◁", "\\u25c1")):
        written = written.replace(mark, escaped)
    return written


def _lines(action: Action, places: Places, words: Words) -> list[str]:
    check_action(action)
    if action.kind == "wait":
        call = sleep_call(action.seconds)
        return [words.wait if action.seconds == words.wait_seconds else call]
    if action.kind in ("done", "fail"):
        return [words.end(action.kind, check_text(action.text))]
    if action.kind == "call":
        raise ValueError(f"this dialect cannot call functions such as {action.name!r}")
    return [_line(part, places, words) for one in elementary(action) for part in _parts(one)]


def _parts(action: Action) -> list[Action]:
    """A scroll is said in two lines, as AgentNet's data are; other places stand in the call."""
    return moving(action) if action.kind == "scroll" else [action]


def _line(action: Action, places: Places, words: Words) -> str:
    """The line of one elementary action."""
    function = words.triple_click if action.kind == "triple_click" else function_of(action)
    if action.kind == "type":
        return f"{function}(message={quoted(action.text)})"
    if action.kind in ("key", "key_down", "key_up"):
        return f"{function}({', '.join(quoted(key_name(key)) for key in action.keys)})"
    if action.kind == "scroll":
        return f"{function}({whole(action.amount)!r})"
    if action.kind == "drag":
        return f"{function}({_place(places, action.x2, action.y2)}, button='left')"
    return f"{function}({_place(places, action.x, action.y)})"


def _place(places: Places, x: float | None, y: float | None) -> str:
    written = places.write(x, y)
    return "" if written is None else f"x={written[0]!r}, y={written[1]!r}"
