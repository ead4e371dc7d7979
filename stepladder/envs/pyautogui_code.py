"""Reading the pyautogui lines that agents of OSWorld write, as actions. The text is parsed and never run."""

from __future__ import annotations

import ast
from typing import Any

from stepladder.keys import canonical_key
from stepladder.types import Action

_CLICKS = {
    "click": "click",
    "leftClick": "click",
    "doubleClick": "double_click",
    "tripleClick": "triple_click",
    "rightClick": "right_click",
    "middleClick": "middle_click",
}
_BUTTONS = {"left": "click", "right": "right_click", "middle": "middle_click"}
#: Parameters of pyautogui's functions, in their order.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_CLICKS, ("x", "y", "clicks", "interval", "button")),
    **dict.fromkeys(("doubleClick", "tripleClick", "rightClick", "middleClick", "leftClick"), ("x", "y", "interval", "button")),
    "moveTo": ("x", "y", "duration"),
    "dragTo": ("x", "y", "duration", "tween", "button"),
    "mouseDown": ("x", "y", "button"),
    "mouseUp": ("x", "y", "button"),
    "scroll": ("clicks", "x", "y"),
    "vscroll": ("clicks", "x", "y"),
    "hscroll": ("clicks", "x", "y"),
    "write": ("message", "interval"),
    "typewrite": ("message", "interval"),
    "press": ("keys", "presses", "interval"),
    "keyDown": ("key",),
    "keyUp": ("key",),
    "sleep": ("seconds",),
}
_ENDS = {"WAIT": Action("wait", seconds=1.0), "DONE": Action("done"), "FAIL": Action("fail")}
#: So many actions at most are read from one text.
MOST = 100
#: Characters of one text.
LONGEST = 20_000


class NotReadable(ValueError):
    """Text that is no list of pyautogui calls with plain values; the message says what stands in the way."""


def read_actions(text: str) -> list[Action]:
    """The actions of lines such as `pyautogui.click(10, 20); pyautogui.write("x")`, or WAIT, DONE, FAIL.

    Raises NotReadable."""
    stripped = text.strip()
    if len(stripped) > LONGEST:
        raise NotReadable(f"the text has {len(stripped)} characters; at most {LONGEST} are read")
    if stripped.upper() in _ENDS:
        return [_ENDS[stripped.upper()]]
    try:
        tree = ast.parse(stripped)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotReadable(f"this is no Python: {error}") from error
    actions: list[Action] = []
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            continue
        if isinstance(statement, ast.Assign) and all(map(_is_setting, statement.targets)):
            continue
        if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
            raise NotReadable(f"line {statement.lineno}: only calls of pyautogui and time.sleep are read")
        actions += _read_call(statement.value)
        if len(actions) > MOST:
            raise NotReadable(f"more than {MOST} actions at once")
    if not actions:
        raise NotReadable("there is no action")
    return actions


def _is_setting(target: ast.expr) -> bool:
    """pyautogui.FAILSAFE and pyautogui.PAUSE, which mean nothing here."""
    return isinstance(target, ast.Attribute) and target.attr in ("FAILSAFE", "PAUSE", "MINIMUM_DURATION")


def _is_tween(node: ast.expr) -> bool:
    """How the pointer gathers speed (`pyautogui.easeInQuad`, as OSWorld's controllers write it), which means nothing here."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "pyautogui"
        and (node.attr.startswith("ease") or node.attr == "linear")
    )


def _read_call(call: ast.Call) -> list[Action]:
    function = call.func
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        raise NotReadable(f"line {call.lineno}: only calls of pyautogui and time.sleep are read")
    module, name = function.value.id, function.attr
    if module not in ("pyautogui", "time", "computer") or (module == "time") != (name == "sleep"):
        raise NotReadable(f"line {call.lineno}: {module}.{name} is not known")
    if any(keyword.arg is None for keyword in call.keywords):
        raise NotReadable(f"line {call.lineno}: ** is no plain value")
    values = [_value(argument) for argument in call.args]
    named = {keyword.arg: _value(keyword.value) for keyword in call.keywords if keyword.arg is not None}
    try:
        if name == "hotkey":
            return [_keys("key", values[0] if len(values) == 1 and isinstance(values[0], list) else values)]
        if name not in _PARAMETERS:
            raise NotReadable(f"line {call.lineno}: pyautogui.{name} is not known")
        return _actions(name, {**dict(zip(_PARAMETERS[name], values, strict=False)), **named})
    except NotReadable:
        raise
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise NotReadable(f"line {call.lineno}: {name}: {error}") from error


def _actions(name: str, given: dict[str, Any]) -> list[Action]:
    place = _place(given)
    if name in _CLICKS:
        kind = _CLICKS[name]
        if name == "click":
            button, clicks = str(given.get("button", "left")), int(given.get("clicks", 1))
            kind = _BUTTONS[button]
            if clicks != 1:
                if button != "left" or clicks not in (2, 3):
                    raise NotReadable(f"{clicks} clicks of the {button} button cannot be said as one action")
                kind = "double_click" if clicks == 2 else "triple_click"
        return [Action(kind, **place)]  # type: ignore[arg-type]
    if name == "moveTo":
        return [Action("move", **place)]
    if name in ("dragTo", "mouseDown", "mouseUp") and given.get("button", "left") not in ("left", "primary"):
        raise NotReadable(f"{name} with the {given['button']} button cannot be said as an action")
    if name == "dragTo":
        return [Action("drag", x2=place["x"], y2=place["y"])]
    if name in ("mouseDown", "mouseUp"):
        return [Action("mouse_down" if name == "mouseDown" else "mouse_up", **place)]
    if name in ("scroll", "vscroll", "hscroll"):
        return [Action("scroll", **place, amount=float(given["clicks"]), name="horizontal" if name == "hscroll" else "")]
    if name in ("write", "typewrite"):
        message = given["message"]
        if isinstance(message, list):  # names of keys, as pyautogui takes them
            return [_keys("key", [key]) for key in message]
        return [Action("type", text=str(message))]
    if name == "press":
        keys = given["keys"] if isinstance(given["keys"], list) else [given["keys"]]
        return [_keys("key", [key]) for _ in range(min(MOST, int(given.get("presses", 1)))) for key in keys]
    if name in ("keyDown", "keyUp"):
        return [_keys("key_down" if name == "keyDown" else "key_up", [given["key"]])]
    return [Action("wait", seconds=float(given["seconds"]))]


def _keys(kind: str, names: list[Any]) -> Action:
    if not names:
        raise ValueError("there is no key")
    return Action(kind, keys=tuple(canonical_key(str(name)) for name in names))  # type: ignore[arg-type]


def _place(given: dict[str, Any]) -> dict[str, Any]:
    x, y = given.get("x"), given.get("y")
    if isinstance(x, list) and len(x) == 2:
        x, y = x
    return {} if x is None or y is None else {"x": float(x), "y": float(y)}


def _value(node: ast.expr) -> Any:
    """A plain value: a string, a number, a list of them."""
    if _is_tween(node):
        return None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise NotReadable(f"line {node.lineno}: {type(node).__name__} is no plain value") from error
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, (str, int, float, list)) and value is not None:
        raise NotReadable(f"line {node.lineno}: {str(value)[:60]!r} is no plain value")
    return value
