"""Actions from the smaller ones that they consist of, for dialects whose words are smaller than an action.

A click with ctrl held is said by pyautogui as keyDown, click, keyUp; a drag from a place as moveTo, dragTo; AgentNet's data say a
scroll at a place as moveTo, scroll. `pyautogui.parts` gives these parts and `fold` puts them together again, so that what was said
in parts is one action, whoever said it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stepladder.keys import MODIFIERS
from stepladder.pyautogui.parts import HOLDABLE, POINTED, holding
from stepladder.types import Action


def fold(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Actions with the same effect, as few as possible: keys that are held around one pointer action become its `keys`, a move
    before an action at the pointer becomes its place, and keys that go down (or up) one after another become one action.

    fold(fold(a)) is fold(a).
    """
    single = [part for action in actions for part in _parts(action)]
    while True:
        folded = _fold_moves(_fold_held(single))
        if len(folded) == len(single):
            return tuple(_fold_keys(folded))
        single = folded


def check_folded(actions: Sequence[Action]) -> None:
    """Raises ValueError for actions that would be read back as others, because two of them make one."""
    folded = fold(actions)
    if folded != tuple(actions):
        raise ValueError(
            f"these {len(actions)} actions would be read back as {len(folded)}: say {', '.join(action.kind for action in folded)}"
        )


def _parts(action: Action) -> list[Action]:
    """The keys of an action one by one: those of key_down and key_up, and modifiers that are held."""
    if action.kind in ("key_down", "key_up") and len(action.keys) > 1:
        return [replace(action, keys=(key,)) for key in action.keys]
    if set(action.keys) <= set(MODIFIERS) and len(set(action.keys)) == len(action.keys):
        return holding(action)
    return [action]  # keys that cannot be held: whoever writes the action complains


def _fold_held(actions: list[Action]) -> list[Action]:
    """key_down, pointer action, key_up of the same modifiers, as the pointer action with these `keys`."""
    folded: list[Action] = []
    index = 0
    while index < len(actions):
        action = actions[index]
        index += 1
        if action.kind in HOLDABLE and not action.keys:
            keys: tuple[str, ...] = ()
            while folded and index < len(actions) and _is_held(folded[-1], actions[index], keys):
                keys = (*folded.pop().keys, *keys)
                index += 1
            action = replace(action, keys=keys)
        folded.append(action)
    return folded


def _is_held(before: Action, after: Action, inner: tuple[str, ...]) -> bool:
    return (
        (before.kind, after.kind) == ("key_down", "key_up")
        and before.keys == after.keys
        and before.keys[0] in MODIFIERS
        and before.keys[0] not in inner
    )


def _fold_moves(actions: list[Action]) -> list[Action]:
    """A move followed by an action at the pointer, as the action at that place."""
    folded: list[Action] = []
    for action in actions:
        last = folded[-1] if folded else None
        if (
            last is not None
            and last.kind == "move"
            and not last.keys
            and action.kind in POINTED
            and action.x is None
            and action.y is None
        ):
            folded[-1] = replace(action, x=last.x, y=last.y)
        else:
            folded.append(action)
    return folded


def _fold_keys(actions: list[Action]) -> list[Action]:
    """Keys that go down, or up, one after another, as one action."""
    folded: list[Action] = []
    for action in actions:
        last = folded[-1] if folded else None
        if last is not None and action.kind in ("key_down", "key_up") and last.kind == action.kind:
            folded[-1] = replace(last, keys=(*last.keys, *action.keys))
        else:
            folded.append(action)
    return folded
