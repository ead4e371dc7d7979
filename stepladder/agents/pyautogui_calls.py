"""Between actions and the calls of pyautogui, `time` and OpenCUA's `computer` in which several dialects say them.

    pyautogui.click(x=0.5214, y=0.1432)
    pyautogui.write(message='hello')
    computer.terminate(status='failure', answer='There is no such file.')

A dialect says with `Words` what is its own: how a triple click, a wait and the end are written. What is read is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepladder.agents.folding import MOST_ACTIONS, fold, holding, moving
from stepladder.agents.places import Places, check_action, check_text, number, show, whole
from stepladder.agents.python_calls import Call, read_calls
from stepladder.interfaces import ParseError
from stepladder.keys import read_keys
from stepladder.types import Action, ActionKind, Step

_CLICKS: dict[ActionKind, str] = {
    "click": "click",
    "double_click": "doubleClick",
    "triple_click": "tripleClick",
    "right_click": "rightClick",
    "middle_click": "middleClick",
}
_CLICK_KINDS: dict[str, ActionKind] = {**{name: kind for kind, name in _CLICKS.items()}, "leftClick": "click"}
_POINTER = {**_CLICKS, "move": "moveTo", "mouse_down": "mouseDown", "mouse_up": "mouseUp"}
_BUTTONS: dict[object, ActionKind] = {
    **dict.fromkeys(("left", "primary", 1), "click"),
    **dict.fromkeys(("middle", 2), "middle_click"),
    **dict.fromkeys(("right", "secondary", 3), "right_click"),
}
_TIMES: dict[int, ActionKind] = {1: "click", 2: "double_click", 3: "triple_click"}
#: Keys that pyautogui calls otherwise.
_KEYS = {"super": "win", "menu": "apps"}
_NAMED_CLICK = ("x", "y", "interval", "button")
#: Parameters of the functions, in their order.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "click": ("x", "y", "clicks", "interval", "button"),
    **dict.fromkeys(("doubleClick", "tripleClick"), _NAMED_CLICK),
    **dict.fromkeys(("leftClick", "rightClick", "middleClick"), ("x", "y", "interval")),
    "moveTo": ("x", "y", "duration", "tween"),
    "dragTo": ("x", "y", "duration", "tween", "button"),
    **dict.fromkeys(("mouseDown", "mouseUp"), ("x", "y", "button")),
    **dict.fromkeys(("scroll", "vscroll", "hscroll"), ("clicks", "x", "y")),
    **dict.fromkeys(("write", "typewrite"), ("message", "interval")),
    "press": ("keys", "presses", "interval"),
    **dict.fromkeys(("keyDown", "keyUp"), ("key",)),
    "hotkey": (),
    "sleep": ("seconds",),
    "wait": ("seconds",),
    "terminate": ("status", "answer"),
}
_PARAMETERS["triple_click"] = _PARAMETERS["tripleClick"]
#: Other names of parameters that models use.
_SYNONYMS = {"text": "message", "amount": "clicks", "time": "seconds", "duration": "seconds", "secs": "seconds", "value": "message"}
#: Longer waits are shortened to this many seconds, so that a reply cannot stall an episode.
LONGEST_WAIT = 60.0
_MODULES = ("pyautogui", "computer", "time")
_STATUS = {
    **dict.fromkeys(("success", "succeeded", "done", "completed"), "done"),
    **dict.fromkeys(("failure", "failed", "fail", "infeasible"), "fail"),
}
_ENDS: dict[str, ActionKind] = {"DONE": "done", "FAIL": "fail"}


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
    known = {name: _Pixels(place) for name, place in (names or {}).items()}
    actions: list[Action] = []
    for call in read_calls(code, offset, known):
        try:
            actions += _read(call, places, wait_seconds)
        except ValueError as error:
            raise ParseError(f"{call.function}: {error}", call.position) from None
        if len(actions) > MOST_ACTIONS:
            raise ParseError(f"more than {MOST_ACTIONS} actions in one reply", call.position)
    if not actions:
        raise ParseError("the code holds no action", offset)
    return fold(actions)


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


class _Pixels(tuple[float, ...]):
    """A place in pixels, where numbers that the model writes are in the units of its dialect."""


def _lines(action: Action, places: Places, words: Words) -> list[str]:
    check_action(action)
    if action.kind == "wait":
        if action.seconds > LONGEST_WAIT:
            raise ValueError(f"a wait of {action.seconds} seconds cannot be said; it must lie in 0..{LONGEST_WAIT:g}")
        return [words.wait if action.seconds == words.wait_seconds else f"time.sleep({whole(action.seconds)!r})"]
    if action.kind == "type":
        return [f"pyautogui.write(message={quoted(action.text)})"]
    if action.kind == "key":
        if len(action.keys) == 1:
            return [f"pyautogui.press({_key(action.keys[0])})"]
        return [f"pyautogui.hotkey({', '.join(map(_key, action.keys))})"]
    if action.kind in ("key_down", "key_up"):
        function = "keyDown" if action.kind == "key_down" else "keyUp"
        return [f"pyautogui.{function}({_key(key)})" for key in action.keys]
    if action.kind in ("done", "fail"):
        return [words.end(action.kind, check_text(action.text))]
    if action.kind == "call":
        raise ValueError(f"this dialect cannot call functions such as {action.name!r}")
    return [_pointer_line(part, places, words) for held in holding(action) for part in _parts(held)]


def _parts(action: Action) -> list[Action]:
    """A scroll and a drag are said in two lines, as AgentNet's data are; other places stand in the call."""
    return moving(action) if action.kind in ("scroll", "drag") else [action]


def _pointer_line(action: Action, places: Places, words: Words) -> str:
    if action.kind in ("key_down", "key_up"):
        return f"pyautogui.{'keyDown' if action.kind == 'key_down' else 'keyUp'}({_key(action.keys[0])})"
    if action.kind == "scroll":
        return f"pyautogui.{'hscroll' if action.name else 'scroll'}({whole(action.amount)!r})"
    if action.kind == "drag":
        return f"pyautogui.dragTo({_place(places, action.x2, action.y2)}, button='left')"
    function = words.triple_click if action.kind == "triple_click" else f"pyautogui.{_POINTER[action.kind]}"
    return f"{function}({_place(places, action.x, action.y)})"


def _place(places: Places, x: float | None, y: float | None) -> str:
    written = places.write(x, y)
    return "" if written is None else f"x={written[0]!r}, y={written[1]!r}"


def _key(name: str) -> str:
    return quoted(_KEYS.get(name, name))


def _read(call: Call, places: Places, wait_seconds: float) -> list[Action]:
    """Raises ValueError that says what is wrong with the call."""
    module, _, name = call.function.rpartition(".")
    if not module and name in (*_ENDS, "WAIT"):
        return [Action("wait", seconds=wait_seconds) if name == "WAIT" else Action(_ENDS[name])]
    if module not in ("", *_MODULES) or name not in _PARAMETERS or (module == "time" and name != "sleep"):
        hint = "it is relative to the pointer; name the place" if name in ("move", "moveRel", "drag", "dragRel") else "unknown"
        raise ValueError(f"{hint}; known are {', '.join(sorted(set(_PARAMETERS)))}")
    if name == "hotkey":
        return [_hotkey(call)]
    given = _given(name, call)
    if name in _CLICK_KINDS or name == "triple_click":
        return [Action(_click_kind(name, given), *_read_place(given, places))]
    if name == "moveTo":
        return [Action("move", *_read_place(given, places, needed=True))]
    if name in ("dragTo", "mouseDown", "mouseUp"):
        if _button(given) != "click":
            raise ValueError(f"only the left button can be held, not {show(given['button'])}")
        x, y = _read_place(given, places, needed=name == "dragTo")
        return [
            Action("drag", x2=x, y2=y) if name == "dragTo" else Action("mouse_down" if name == "mouseDown" else "mouse_up", x, y)
        ]
    if name in ("scroll", "vscroll", "hscroll"):
        sideways = "horizontal" if name == "hscroll" else ""
        return [Action("scroll", *_read_place(given, places), amount=number(given.get("clicks"), "clicks"), name=sideways)]
    if name in ("write", "typewrite"):
        return _typed(given.get("message"))
    if name in ("press", "keyDown", "keyUp"):
        return _pressed(name, given)
    if name == "terminate":
        return [_end(given)]
    seconds = given.get("seconds")
    if seconds is None:
        return [Action("wait", seconds=wait_seconds)]
    return [Action("wait", seconds=min(max(number(seconds, "seconds"), 0.0), LONGEST_WAIT))]


def _given(name: str, call: Call) -> dict[str, Any]:
    parameters = _PARAMETERS[name]
    values = list(call.arguments)
    if "x" in parameters and "y" in parameters:  # a place may be one argument: click((10, 20)), click(tag_3)
        for index, value in enumerate(values):
            if isinstance(value, (_Pixels, list)) and len(value) == 2:
                values[index : index + 1] = [value, None]
                break
    given = dict(zip(parameters, values, strict=False))
    for keyword, value in call.keywords.items():
        synonym = _SYNONYMS.get(keyword, keyword)
        given[synonym if keyword not in parameters and synonym in parameters else keyword] = value
    return given


def _read_place(given: Mapping[str, Any], places: Places, needed: bool = False) -> tuple[float | None, float | None]:
    x, y = given.get("x"), given.get("y")
    if isinstance(x, _Pixels):
        return places.inside(x[0], x[1])
    if isinstance(x, list) and len(x) == 2 and y is None:
        x, y = x
    if x is None and y is None and not needed:
        return None, None
    return places.read(x, y)


def _click_kind(name: str, given: Mapping[str, Any]) -> ActionKind:
    kind = "triple_click" if name == "triple_click" else _CLICK_KINDS[name]
    clicked, clicks = _button(given), given.get("clicks", 1)
    if kind != "click":
        if clicked not in ("click", kind):
            raise ValueError(f"{name} of the {show(given['button'])} button cannot be said as one action")
        return kind
    if not isinstance(clicks, int) or clicks not in _TIMES or (clicks > 1 and clicked != "click"):
        raise ValueError(f"{show(clicks)} clicks of the {show(given.get('button', 'left'))} button cannot be said as one action")
    return _TIMES[clicks] if clicks > 1 else clicked


def _button(given: Mapping[str, Any]) -> ActionKind:
    """The click that the button makes."""
    button = given.get("button") or "left"
    button = button.lower() if isinstance(button, str) else button
    if not isinstance(button, (str, int)) or button not in _BUTTONS:
        raise ValueError(f"'button' is {show(button)}; it must be left, right or middle")
    return _BUTTONS[button]


def _typed(message: object) -> list[Action]:
    if isinstance(message, list):  # names of keys, as pyautogui takes them
        return [Action("key", keys=read_keys(key)) for key in message]
    if isinstance(message, (int, float)) and not isinstance(message, bool):
        message = str(message)
    if not isinstance(message, str):
        raise ValueError(f"'message' is {show(message)}; it must be a text")
    return [Action("type", text=check_text(message))]


def _pressed(name: str, given: Mapping[str, Any]) -> list[Action]:
    keys = given.get("keys", given.get("key"))
    if keys is None:
        raise ValueError("there is no key")
    if name != "press":
        return [Action("key_down" if name == "keyDown" else "key_up", keys=read_keys(keys))]
    presses = given.get("presses") or 1
    if type(presses) is not int or not 1 <= presses <= MOST_ACTIONS:
        raise ValueError(f"'presses' is {show(presses)}; it must be a whole number from 1 to {MOST_ACTIONS}")
    pressed = [Action("key", keys=read_keys(key)) for key in (keys if isinstance(keys, list) else [keys])]
    return pressed * presses


def _hotkey(call: Call) -> Action:
    keys = call.keywords.get("keys", call.keywords.get("args", list(call.arguments)))
    if isinstance(keys, list) and len(keys) == 1 and isinstance(keys[0], list):
        keys = keys[0]
    return Action("key", keys=read_keys(keys))


def _end(given: Mapping[str, Any]) -> Action:
    status, answer = given.get("status"), given.get("answer")
    kind = _STATUS.get(status.strip().lower()) if isinstance(status, str) else None
    if kind is None:
        raise ValueError(f"'status' is {show(status)}; it must be 'success' or 'failure'")
    if not isinstance(answer, (str, int, float, type(None))):
        raise ValueError(f"'answer' is {show(answer)}; it must be a text")
    return Action("done" if kind == "done" else "fail", text=check_text("" if answer is None else str(answer)))
