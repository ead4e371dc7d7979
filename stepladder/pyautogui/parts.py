"""Actions and the smaller ones that they consist of.

A click with ctrl held is said by pyautogui as keyDown, click, keyUp; a drag from a place as moveTo, dragTo.
"""

from __future__ import annotations

from dataclasses import replace

from stepladder.types import Action

CLICKS = ("click", "double_click", "triple_click", "right_click", "middle_click")
#: Kinds of actions that happen at a place or at the pointer.
POINTED = (*CLICKS, "mouse_down", "mouse_up", "scroll", "drag")
#: Kinds of actions during which keys can be held.
HOLDABLE = (*POINTED, "move")
#: So many actions at most are read from one text.
MOST_ACTIONS = 100
#: Seconds of the longest wait that pyautogui's code can say. Longer ones are read as this, so that a text cannot stall an episode.
LONGEST_WAIT = 60.0


def holding(action: Action) -> list[Action]:
    """A pointer action with held keys as key_down, the action without them, key_up."""
    if action.kind not in HOLDABLE or not action.keys:
        return [action]
    return [
        *(Action("key_down", keys=(key,)) for key in action.keys),
        replace(action, keys=()),
        *(Action("key_up", keys=(key,)) for key in reversed(action.keys)),
    ]


def moving(action: Action) -> list[Action]:
    """A pointer action at a place as a move there and the action at the pointer."""
    if action.kind not in POINTED or (action.x is None and action.y is None):
        return [action]
    return [Action("move", action.x, action.y), replace(action, x=None, y=None)]


def elementary(action: Action) -> list[Action]:
    """The actions without held keys that a mouse or keyboard action, or a wait, consists of: each is one call of pyautogui.

    Raises ValueError for what pyautogui has no call for."""
    if action.kind in HOLDABLE:
        if action.kind == "drag" and (action.x2 is None or action.y2 is None):
            raise ValueError("a drag needs the place where it ends (x2, y2)")
        if action.kind == "move" and action.x is None and action.y is None:
            raise ValueError("a move needs a place, x and y")
        return [part for held in holding(action) for part in (moving(held) if held.kind == "drag" else [held])]
    if action.kind in ("key", "key_down", "key_up"):
        if not action.keys:
            raise ValueError(f"{action.kind} needs at least one key")
        return [action] if action.kind == "key" else [Action(action.kind, keys=(key,)) for key in action.keys]
    if action.kind in ("type", "wait"):
        return [action]
    raise ValueError(f"pyautogui cannot carry out {action.kind!r}")
