"""OSWorld's "computer_13" action space: JSON objects in blocks, one a block.

    I click the name field.
    ```json
    {"action_type": "CLICK", "x": 612, "y": 340}
    ```

done    {"action_type": "DONE"}, which has no place for an answer
fail    {"action_type": "FAIL"}, which has no place for a reason
wait    {"action_type": "WAIT"} for 2 seconds, OSWorld's pause, and no other time
An action that these words say in parts (a click with ctrl held, a scroll at a place) is several blocks, and read back as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.agents.fenced import Block, blocks, lead
from stepladder.agents.folding import fold
from stepladder.agents.json_text import decode, encode, place_of, place_of_fault
from stepladder.agents.osworld_agent import WAIT_SECONDS, OSWorldAgent
from stepladder.agents.osworld_prompt import ObservationType
from stepladder.agents.places import Places, check_action
from stepladder.interfaces import ParseError
from stepladder.keys import read_keys
from stepladder.pyautogui.parts import MOST_ACTIONS, holding, moving
from stepladder.types import Action, ActionKind, Observation, Step
from stepladder.values import check_text, number, show, whole

_KINDS: dict[str, ActionKind] = {
    "MOVE_TO": "move",
    "CLICK": "click",
    "RIGHT_CLICK": "right_click",
    "DOUBLE_CLICK": "double_click",
    "TRIPLE_CLICK": "triple_click",
    "MIDDLE_CLICK": "middle_click",
    "MOUSE_DOWN": "mouse_down",
    "MOUSE_UP": "mouse_up",
    "DRAG_TO": "drag",
    "SCROLL": "scroll",
    "TYPING": "type",
    "PRESS": "key",
    "HOTKEY": "key",
    "KEY_DOWN": "key_down",
    "KEY_UP": "key_up",
    "WAIT": "wait",
    "DONE": "done",
    "FAIL": "fail",
}
#: Names that stand in the examples of OSWorld's own prompt but not in its action space, and others that models make up.
_ALIASES = {
    "MOUSE_MOVE": "MOVE_TO",
    "MOVE": "MOVE_TO",
    "LEFT_CLICK": "CLICK",
    "DRAG": "DRAG_TO",
    "TYPE": "TYPING",
    "WRITE": "TYPING",
    "KEY": "PRESS",
    "KEYPRESS": "PRESS",
}
_WORDS = ("WAIT", "DONE", "FAIL")
#: JSON without a fence around it.
_BARE = re.compile(r"`?(\[?\s*\{)")
_CLICKED: dict[object, ActionKind] = {"left": "click", "right": "right_click", "middle": "middle_click"}
_TIMES: dict[object, ActionKind] = {1: "click", 2: "double_click", 3: "triple_click"}
_RULES = """\
Write the action as one JSON object in a block of its own, with its "action_type" and its parameters:
```json
{"action_type": "CLICK", "x": 1319, "y": 65}
```
MOVE_TO: move the pointer. x and y.
CLICK: x and y, the place of the pointer by default; button "left", "right" or "middle"; num_clicks 1, 2 or 3.
RIGHT_CLICK, DOUBLE_CLICK: x and y, the place of the pointer by default.
MOUSE_DOWN, MOUSE_UP: press or release a button of the mouse.
DRAG_TO: drag from the pointer to x and y with the left button.
SCROLL: dx and dy, turns of the wheel; positive is right and up.
TYPING: type text.
PRESS: press and release key. KEY_DOWN, KEY_UP: only press or release key. HOTKEY: press keys, a list, together.
WAIT: wait. DONE: the task is done. FAIL: the task cannot be done."""


class Computer13Agent(OSWorldAgent):
    """The dialect of OSWorld's "computer_13" action space.

    `observation_type` is what the model is shown: "screenshot", "a11y_tree" (the accessibility tree as a table) or both in
    "screenshot_a11y_tree". `screenshots` is the number of observations in a prompt, the current one included; a tree is cut after
    `tree_characters`; `password` is told to the model if there is one. Raises ValueError for options out of range.
    """

    name = "computer_13"

    def __init__(
        self,
        observation_type: ObservationType = "screenshot",
        screenshots: int = 4,
        tree_characters: int = 40_000,
        password: str = "",
    ) -> None:
        if observation_type == "som":
            raise ValueError("observation_type is 'som'; computer_13 has no word for a marked element, use osworld_pyautogui")
        super().__init__(_RULES, observation_type, screenshots, tree_characters, password)

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        pieces = _pieces(text)
        actions: list[Action] = []
        for value, start in (one for piece in pieces for one in _in_piece(piece)):
            actions += _read(value, start, text, self.places(observation))
            if len(actions) > MOST_ACTIONS:
                raise ParseError(f"more than {MOST_ACTIONS} actions in one reply", start)
        return lead(text, pieces[0].start), fold(actions)

    def write_blocks(self, actions: Sequence[Action], observation: Observation) -> str:
        return "\n".join(f"```json\n{one}\n```" for one in self._objects(actions, observation))

    def describe(self, step: Step) -> str:
        if not step.actions:
            return f"unreadable reply ({step.error})"
        try:
            return " ".join(self._objects(step.actions, step.observation))
        except ValueError:  # what another dialect said
            return ", ".join(action.kind for action in step.actions)

    def _objects(self, actions: Sequence[Action], observation: Observation) -> list[str]:
        places = self.places(observation)
        parts = [part for action in actions for part in _parts(action)]
        return [_escaped(encode(_write(part, places))) for part in parts]


def _escaped(written: str) -> str:
    """JSON with nothing in it that could end its block or pass for a special token."""
    for mark, escaped in (("`", "\\u0060"), ("<|", "\\u003c|"), ("</", "\\u003c/")):
        written = written.replace(mark, escaped)
    return written


def _parts(action: Action) -> list[Action]:
    """The actions of which each is one object."""
    check_action(action)
    if action.kind in ("key_down", "key_up"):
        return [Action(action.kind, keys=(key,)) for key in action.keys]
    unplaced = ("scroll", "mouse_down", "mouse_up", "drag")  # their words have no place, or none to begin with
    return [part for held in holding(action) for part in (moving(held) if held.kind in unplaced else [held])]


def _write(action: Action, places: Places) -> dict[str, Any]:
    kind = action.kind
    if kind in ("key", "key_down", "key_up"):
        if len(action.keys) > 1:
            return {"action_type": "HOTKEY", "keys": list(action.keys)}
        return {"action_type": "PRESS" if kind == "key" else kind.upper(), "key": action.keys[0]}
    if kind == "type":
        return {"action_type": "TYPING", "text": action.text}
    if kind == "scroll":
        amount = whole(action.amount)
        if action.name and not amount:
            raise ValueError("a scroll sideways by nothing cannot be said")
        return {"action_type": "SCROLL", "dx": amount if action.name else 0, "dy": 0 if action.name else amount}
    if kind == "wait" and action.seconds != WAIT_SECONDS:
        raise ValueError(f"a wait of {action.seconds} seconds cannot be said; WAIT is {WAIT_SECONDS:g} seconds")
    if kind in ("done", "fail") and action.text:
        raise ValueError(f"{kind} cannot be said with a text in this dialect: {show(action.text)}")
    if kind in ("wait", "done", "fail"):
        return {"action_type": kind.upper()}
    if kind == "call":
        raise ValueError(f"this dialect cannot call functions such as {action.name!r}")
    drag = kind == "drag"
    place = places.write(action.x2 if drag else action.x, action.y2 if drag else action.y)
    written = {} if place is None else {"x": place[0], "y": place[1]}
    if kind in ("triple_click", "middle_click"):
        more: dict[str, Any] = {"num_clicks": 3} if kind == "triple_click" else {"button": "middle"}
        return {"action_type": "CLICK", **more, **written}
    return {"action_type": next(name for name, value in _KINDS.items() if value == kind), **written}


def _pieces(text: str) -> list[Block]:
    """The pieces of a reply that hold JSON, in order. Raises ParseError when there is none."""
    word = text.strip().strip("`").strip()
    if word in _WORDS:
        return [Block(word, text.find(word), 0)]
    found = blocks(text)
    bare = None if found else _BARE.search(text)
    if bare is not None:
        found = [Block(text[bare.start(1) :], bare.start(1), bare.start())]
    if not found:
        raise ParseError("there is no JSON object with an 'action_type' in the reply", len(text))
    return found


def _in_piece(piece: Block) -> list[tuple[dict[str, Any], int]]:
    word = piece.text.strip()
    if word in _WORDS:
        return [({"action_type": word}, piece.offset)]
    found: list[tuple[dict[str, Any], int]] = []
    place = min((start for start in (piece.text.find("{"), piece.text.find("[")) if start >= 0), default=-1)
    while place >= 0:
        value, end = decode(piece.text, place, piece.offset)
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise ParseError("an action must be a JSON object", piece.offset + place)
            found.append((one, piece.offset + place))
        place = piece.text.find("{", end)
    if not found:
        raise ParseError("there is no JSON object with an 'action_type' in this block", piece.offset)
    return found


def _read(value: Mapping[str, Any], start: int, text: str, places: Places) -> list[Action]:
    name = value.get("action_type", value.get("action"))
    if not isinstance(name, str):
        raise ParseError("'action_type' must be a text", place_of(text, "action_type", start))
    name = name.strip().upper().replace(" ", "_")
    name = _ALIASES.get(name, name)
    if name not in _KINDS:
        raise ParseError(f"unknown action_type {show(name)}; known are {', '.join(_KINDS)}", place_of(text, "action_type", start))
    parameters = value.get("parameters")
    given = {**value, **(parameters if isinstance(parameters, dict) else {})}
    try:
        return _actions(_KINDS[name], given, places)
    except ValueError as error:
        raise ParseError(f"{name}: {error}", place_of_fault(text, error, start)) from None


def _actions(kind: ActionKind, given: Mapping[str, Any], places: Places) -> list[Action]:
    """Raises ValueError that names the parameter at fault in quotes."""
    if kind in ("wait", "done", "fail"):
        return [Action(kind, seconds=WAIT_SECONDS if kind == "wait" else 0.0)]
    if kind == "type":
        text = given.get("text")
        if not isinstance(text, (str, int, float)) or isinstance(text, bool):
            raise ValueError(f"'text' is {show(text)}; it must be a text")
        return [Action("type", text=check_text(str(text)))]
    if kind in ("key", "key_down", "key_up"):
        field = "keys" if "keys" in given else "key"
        try:
            return [Action(kind, keys=read_keys(given.get(field)))]
        except ValueError as error:
            raise ValueError(f"'{field}': {error}") from None
    x, y = _place(given, places, needed=kind in ("move", "drag"))
    if kind == "scroll":
        return _scrolls(given, x, y)
    if kind == "drag":
        return [Action("drag", x2=x, y2=y)]
    if kind == "click":
        return [Action(_click(given), x, y)]
    if kind in ("mouse_down", "mouse_up") and _button(given) != "click":
        raise ValueError(f"'button' is {show(given['button'])}; only the left button can be held")
    return [Action(kind, x, y)]


def _place(given: Mapping[str, Any], places: Places, needed: bool) -> tuple[float | None, float | None]:
    x, y = given.get("x"), given.get("y")
    if isinstance(given.get("coordinate"), list) and len(given["coordinate"]) == 2:
        x, y = given["coordinate"]
    return (None, None) if x is None and y is None and not needed else places.read(x, y)


def _scrolls(given: Mapping[str, Any], x: float | None, y: float | None) -> list[Action]:
    """Sideways first, as OSWorld does."""
    across, up = number(given.get("dx", 0), "dx"), number(given.get("dy", 0), "dy")
    scrolls = [Action("scroll", x, y, amount=across, name="horizontal")] if across else []
    return scrolls + ([Action("scroll", x, y, amount=up)] if up or not across else [])


def _click(given: Mapping[str, Any]) -> ActionKind:
    clicked, times = _button(given), given.get("num_clicks", 1)
    if not isinstance(times, (int, float)) or times not in _TIMES or (times > 1 and clicked != "click"):
        raise ValueError(f"'num_clicks' is {show(times)}; it must be 1, or for the left button 2 or 3")
    return _TIMES[times] if times > 1 else clicked


def _button(given: Mapping[str, Any]) -> ActionKind:
    button = given.get("button", given.get("click_type")) or "left"
    clicked = _CLICKED.get(button.lower()) if isinstance(button, str) else None
    if clicked is None:
        raise ValueError(f"'button' is {show(button)}; it must be left, right or middle")
    return clicked
