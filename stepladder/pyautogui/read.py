"""From code to actions: calls of pyautogui, `time` and OpenCUA's `computer`, each read as an action that is as small as the call.

    pyautogui.click(x=612, y=340)
    pyautogui.write(message='hello')
    computer.terminate(status='failure', answer='There is no such file.')

A call that pyautogui would not take, or that no action says, is a ParseError. It is never read as another call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepladder.interfaces import ParseError
from stepladder.keys import read_keys
from stepladder.pyautogui.calls import Call, read_calls
from stepladder.pyautogui.parts import LONGEST_WAIT, MOST_ACTIONS
from stepladder.pyautogui.write import FUNCTIONS
from stepladder.types import Action, ActionKind
from stepladder.values import check_text, finite, number, show

#: Pixels from the x and y of a call. Of a place that has a name, x is a tuple and y None. Raises ValueError for what is no place.
ReadPlace = Callable[[object, object], tuple[float, float]]

_KINDS: dict[str, ActionKind] = {
    **{function: kind for kind, function in FUNCTIONS.items()},
    "leftClick": "click",
    "triple_click": "triple_click",
    "typewrite": "type",
    "vscroll": "scroll",
    "hscroll": "scroll",
    "wait": "wait",
}
_CLICKS = ("click", "leftClick", "rightClick", "middleClick", "doubleClick", "tripleClick", "triple_click")
_BUTTONS: dict[object, ActionKind] = {
    **dict.fromkeys(("left", "primary", 1), "click"),
    **dict.fromkeys(("middle", 2), "middle_click"),
    **dict.fromkeys(("right", "secondary", 3), "right_click"),
}
_TIMES: dict[int, ActionKind] = {1: "click", 2: "double_click", 3: "triple_click"}
#: Parameters that change nothing here.
_ALWAYS = ("logScreenshot", "_pause")
_GLIDE = ("duration", "tween", *_ALWAYS)
#: Parameters of the functions, in their order.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "click": ("x", "y", "clicks", "interval", "button", *_GLIDE),
    **dict.fromkeys(("doubleClick", "tripleClick", "triple_click"), ("x", "y", "interval", "button", *_GLIDE)),
    **dict.fromkeys(("leftClick", "rightClick", "middleClick"), ("x", "y", "interval", *_GLIDE)),
    "moveTo": ("x", "y", *_GLIDE),
    "dragTo": ("x", "y", "duration", "tween", "button", *_ALWAYS, "mouseDownUp"),
    **dict.fromkeys(("mouseDown", "mouseUp"), ("x", "y", "button", *_GLIDE)),
    **dict.fromkeys(("scroll", "vscroll", "hscroll"), ("clicks", "x", "y", *_ALWAYS)),
    **dict.fromkeys(("write", "typewrite"), ("message", "interval", *_ALWAYS)),
    "press": ("keys", "presses", "interval", *_ALWAYS),
    **dict.fromkeys(("keyDown", "keyUp"), ("key", *_ALWAYS)),
    "hotkey": (),
    **dict.fromkeys(("sleep", "wait"), ("seconds",)),
    "terminate": ("status", "answer"),
}
_HOTKEY = ("keys", "args", "interval", *_ALWAYS)
#: Other names of parameters that models use.
_SYNONYMS = {
    **{"text": "message", "value": "message", "amount": "clicks", "key": "keys", "keys": "key"},
    **dict.fromkeys(("time", "duration", "secs"), "seconds"),
}
_MODULES = ("pyautogui", "computer", "time")
_RELATIVE = ("move", "moveRel", "drag", "dragRel")
_STATUS: dict[str, ActionKind] = {
    **dict.fromkeys(("success", "succeeded", "done", "completed"), "done"),
    **dict.fromkeys(("failure", "failed", "fail", "infeasible"), "fail"),
}
_ENDS: dict[str, ActionKind] = {"DONE": "done", "FAIL": "fail"}


def pixels(x: object, y: object) -> tuple[float, float]:
    """A place that is written in pixels, as it stands. Raises ValueError for what is no place."""
    return number(x, "x"), number(y, "y")


def read_code(
    code: str,
    place: ReadPlace = pixels,
    *,
    offset: int = 0,
    names: Mapping[str, Sequence[float]] | None = None,
    wait_seconds: float = 1.0,
) -> list[Action]:
    """The actions of `code`, one or more, each as small as a call: keys go down and up by themselves, a drag starts at the pointer.

    `offset` is where the code begins in a longer text, `names` are places that the code may point at by name, such as
    {"tag_3": (40, 50)}, and `wait_seconds` is what WAIT and `computer.wait()` mean. Raises ParseError, and nothing else, for what
    says no action."""
    named = {name: tuple(where) for name, where in (names or {}).items()}
    actions: list[Action] = []
    for call in read_calls(code, offset, named):
        try:
            actions += _read(call, place, wait_seconds)
        except ValueError as error:
            raise ParseError(f"{call.function[:60]}: {error}", call.position) from None
        if len(actions) > MOST_ACTIONS:
            raise ParseError(f"more than {MOST_ACTIONS} actions in one text", call.position)
    if not actions:
        raise ParseError("the code holds no action", offset)
    return actions


def _read(call: Call, place: ReadPlace, wait_seconds: float) -> list[Action]:
    """Raises ValueError that says what is wrong with the call."""
    module, _, name = call.function.rpartition(".")
    if not module and name in (*_ENDS, "WAIT"):
        return [Action("wait", seconds=wait_seconds) if name == "WAIT" else Action(_ENDS[name])]
    if module not in ("", *_MODULES) or name not in _PARAMETERS or (module == "time" and name != "sleep"):
        hint = "it is relative to the pointer; name the place" if name in _RELATIVE else "unknown"
        raise ValueError(f"{hint}; known are {', '.join(sorted(_PARAMETERS))}")
    if name == "hotkey":
        return [_hotkey(call)]
    given = _given(name, call)
    if name == "terminate":
        return [_end(given)]
    kind = _KINDS[name]
    if kind == "type":
        return _typed(given.get("message"))
    if kind == "key":
        return _pressed(given)
    if kind in ("key_down", "key_up"):
        return [Action(kind, keys=(key,)) for key in _keys(given.get("key"))]
    if kind == "wait":
        seconds = given.get("seconds")
        if name == "wait" and seconds is None:
            return [Action("wait", seconds=wait_seconds)]
        return [Action("wait", seconds=min(max(number(seconds, "seconds"), 0.0), LONGEST_WAIT))]
    return [_pointed(name, kind, given, place)]


def _given(name: str, call: Call) -> dict[str, Any]:
    """The arguments of a call by the names of the parameters. Raises ValueError for what the function does not take."""
    parameters, values = _PARAMETERS[name], list(call.arguments)
    first = parameters.index("x") if "x" in parameters else len(values)
    if first < len(values) and isinstance(values[first], (list, tuple)) and len(values[first]) == 2:
        values.insert(first + 1, None)  # a place in one argument: click((10, 20)), click(tag_3)
    if len(values) > len(parameters):
        raise ValueError(f"{len(call.arguments)} values are too many")
    given = dict(zip(parameters, values, strict=False))
    for keyword, value in call.keywords.items():
        synonym = _SYNONYMS.get(keyword, keyword)
        parameter = synonym if keyword not in parameters and synonym in parameters else keyword
        if parameter not in parameters:
            known = ", ".join(one for one in parameters if one not in _ALWAYS)
            raise ValueError(f"there is no parameter {keyword[:40]!r}; there are {known}")
        if parameter in given:
            raise ValueError(f"{parameter!r} is given twice")
        given[parameter] = value
    return given


def _pointed(name: str, kind: ActionKind, given: Mapping[str, Any], place: ReadPlace) -> Action:
    if name in _CLICKS:
        kind = _click_kind(name, kind, given)
    elif _button(given) != "click":
        raise ValueError(f"only the left button can be held, not {show(given['button'])}")
    if given.get("mouseDownUp", True) is not True:
        raise ValueError("without the button, which mouseDownUp leaves out, this is moveTo")
    x, y = _place(given, place, needed=kind in ("move", "drag"))
    if kind == "drag":
        return Action("drag", x2=x, y2=y)
    if kind == "scroll":
        sideways = "horizontal" if name == "hscroll" else ""
        return Action("scroll", x, y, amount=number(given.get("clicks"), "clicks"), name=sideways)
    return Action(kind, x, y)


def _place(given: Mapping[str, Any], place: ReadPlace, needed: bool) -> tuple[float | None, float | None]:
    x, y = given.get("x"), given.get("y")
    if isinstance(x, list) and len(x) == 2 and y is None:
        x, y = x
    if x is None and y is None and not needed:
        return None, None
    return place(x, y)


def _click_kind(name: str, kind: ActionKind, given: Mapping[str, Any]) -> ActionKind:
    button, clicks = _button(given), given.get("clicks", 1)
    if kind != "click":
        if button != "click":
            raise ValueError(f"{name} of the {show(given['button'])} button cannot be said as one action")
        return kind
    if type(clicks) is not int or clicks not in _TIMES or (clicks > 1 and button != "click"):
        raise ValueError(f"{show(clicks)} clicks of the {show(given.get('button', 'left'))} button cannot be said as one action")
    return _TIMES[clicks] if clicks > 1 else button


def _button(given: Mapping[str, Any]) -> ActionKind:
    """The click that the button makes."""
    button = given.get("button", "left")
    button = button.lower() if isinstance(button, str) else button
    if type(button) not in (str, int) or button not in _BUTTONS:
        raise ValueError(f"'button' is {show(button)}; it must be left, right or middle")
    return _BUTTONS[button]


def _typed(message: object) -> list[Action]:
    if isinstance(message, list):  # names of keys, as pyautogui takes them
        return [Action("key", keys=_keys(key)) for key in message]
    if isinstance(message, (int, float)) and not isinstance(message, bool):
        message = str(finite(message, "message"))
    if not isinstance(message, str):
        raise ValueError(f"'message' is {show(message)}; it must be a text")
    return [Action("type", text=check_text(message))]


def _pressed(given: Mapping[str, Any]) -> list[Action]:
    keys, presses = given.get("keys"), given.get("presses", 1)
    if type(presses) is not int or not 1 <= presses <= MOST_ACTIONS:
        raise ValueError(f"'presses' is {show(presses)}; it must be a whole number from 1 to {MOST_ACTIONS}")
    return [Action("key", keys=_keys(key)) for key in (keys if isinstance(keys, list) else [keys])] * presses


def _keys(value: object) -> tuple[str, ...]:
    if value is None:
        raise ValueError("there is no key")
    return read_keys(value)


def _hotkey(call: Call) -> Action:
    for keyword in call.keywords:
        if keyword not in _HOTKEY:
            raise ValueError(f"there is no parameter {keyword[:40]!r}; keys are given one after another")
    lists = [call.keywords[keyword] for keyword in ("keys", "args") if keyword in call.keywords]
    if len(lists) + bool(call.arguments) > 1:
        raise ValueError("the keys are given twice")
    keys = lists[0] if lists else list(call.arguments)
    if isinstance(keys, list) and len(keys) == 1 and isinstance(keys[0], list):
        keys = keys[0]
    return Action("key", keys=_keys(keys))


def _end(given: Mapping[str, Any]) -> Action:
    status, answer = given.get("status"), given.get("answer")
    kind = _STATUS.get(status.strip().lower()) if isinstance(status, str) else None
    if kind is None:
        raise ValueError(f"'status' is {show(status)}; it must be 'success' or 'failure'")
    if not isinstance(answer, (str, int, float, type(None))):
        raise ValueError(f"'answer' is {show(answer)}; it must be a text")
    return Action(kind, text=check_text("" if answer is None else str(answer)))
