"""A trajectory as its page wants it: made from the line of its store, whatever that line holds.

It works on JSON and not on `stepladder.types`, which would take a second for the accessibility trees of a long episode, and shows
what other versions have written as far as it can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepladder.codec import decode_array
from stepladder.viewer.lessons import update_of
from stepladder.viewer.run_view import Missing

#: The text of a token by its id; None where it is not known.
TokenText = Callable[[int], str | None]
#: Address of a picture by its SHA-256.
PictureAddress = Callable[[str], str]
#: Whole numbers beyond this are of no array.
_LARGEST = 1 << 64
_TREE_FIELDS = ("role", "name", "value")
#: The entry of a step's `extra` that says something of every token.
_OF_TOKENS = ("advantages",)


def page(
    record: Mapping[str, Any],
    address: PictureAddress,
    text_of: TokenText,
    advantage: float | None,
    lessons: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any]:
    """What /api/runs/{run}/trajectories/{store}/{id} answers, apart from what other trajectories decide (its neighbours, those from
    the same start). `advantage` is that of the whole trajectory within its group, `lessons` what self-distillation told of steps,
    by their numbers (`stepladder.viewer.lessons`)."""
    steps = [
        _step(number, step, address, text_of, advantage, lessons.get(number))
        for number, step in enumerate(objects(record, "steps"))
    ]
    logged = [step.pop("logged") for step in steps]
    final = record.get("final")
    return {
        "id": record.get("id"),
        "task": task_of(record),
        "status": record.get("status"),
        "reward": record.get("reward"),
        "parts": record.get("parts", {}),
        "group": record.get("group", ""),
        "index": record.get("index", 0),
        "seed": record.get("seed", 0),
        "agent": record.get("agent", ""),
        "policy": record.get("policy", ""),
        "error": record.get("error"),
        "extra": record.get("extra", {}),
        "advantage": advantage,
        "advantage_kind": "logged" if any(logged) else None if advantage is None else "group-normalised",
        "lessons": _lessons(steps),
        "steps": steps,
        "final": _observation(final, address) if isinstance(final, dict) else None,
    }


def tree(record: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    """The accessibility tree that step `number` saw, that of the last screen for the number of steps. Raises Missing."""
    steps = objects(record, "steps")
    if not 0 <= number <= len(steps):
        raise Missing(f"there is no step {number}; there are {len(steps)}, and {len(steps)} stands for the last screen")
    seen = record.get("final") if number == len(steps) else steps[number].get("observation")
    found = seen.get("tree") if isinstance(seen, dict) else None
    if not isinstance(found, list):
        raise Missing(f"nothing was kept of the accessibility tree at step {number}")
    elements = []
    for place, element in enumerate(found):
        element = element if isinstance(element, dict) else {}
        shown = {name: str(element.get(name, "")) for name in _TREE_FIELDS}
        box, parent = element.get("box"), element.get("parent", -1)
        whole = isinstance(box, list) and len(box) == 4 and all(isinstance(side, (int, float)) for side in box)
        # A parent stands before its children; anything else would make a circle.
        known = parent if isinstance(parent, int) and -1 <= parent < place else -1
        states = element.get("states", [])
        elements.append({"index": place, "parent": known, **shown, "box": box if whole else None, "states": states})
    return elements


def task_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The task with the fields that hold their default, apart from what only its environment reads."""
    task = record.get("task")
    task = task if isinstance(task, dict) else {}
    defaults = {"id": "", "instruction": "", "env": "", "max_steps": 10, "split": "all", "tags": [], "setup": {}, "check": {}}
    return {name: task.get(name, default) for name, default in defaults.items()}


def objects(record: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of a list; what is no object counts as an empty one."""
    found = record.get(name)
    return [entry if isinstance(entry, dict) else {} for entry in found] if isinstance(found, list) else []


def _step(
    number: int,
    step: Mapping[str, Any],
    address: PictureAddress,
    text_of: TokenText,
    advantage: float | None,
    lesson: Mapping[str, Any] | None,
) -> dict[str, Any]:
    prompt, completion = step.get("prompt"), step.get("completion")
    said: Mapping[str, Any] = completion if isinstance(completion, dict) else {}
    kept = step.get("extra")
    extra: Mapping[str, Any] = kept if isinstance(kept, dict) else {}
    action = step.get("action")
    divergence = None if lesson is None else numbers(lesson.get("divergence"))
    return {
        "number": number,
        "observation": _observation(step.get("observation"), address),
        "actions": [one for one in ([action] if action is not None else []) + objects(step, "more") if isinstance(one, dict)],
        "thought": step.get("thought", ""),
        "raw": said.get("text"),
        "finish": said.get("finish", "stop") if said else None,
        "version": said.get("version", 0) if said else None,
        "error": step.get("error"),
        "prompt": _prompt(prompt, address) if isinstance(prompt, dict) else None,
        "tokens": _tokens(said, extra, text_of, advantage, divergence),
        "lesson": None if lesson is None else _lesson(lesson, divergence, address),
        "seconds": step.get("seconds", {}),
        "usage": said.get("usage", {}),
        "imitated": step.get("imitated", "reply"),
        "person": bool(extra.get("person")),
        "extra": {name: value for name, value in extra.items() if name not in _OF_TOKENS},
        "logged": "advantages" in extra,
    }


def _observation(seen: Any, address: PictureAddress) -> dict[str, Any]:
    seen = seen if isinstance(seen, dict) else {}
    return {
        "screenshot": _picture(seen.get("screenshot"), address),
        "text": seen.get("text", ""),
        "url": seen.get("url", ""),
        "state_key": seen.get("state_key", ""),
        "done": seen.get("done", False),
        "tree": isinstance(seen.get("tree"), list),
    }


def _picture(reference: Any, address: PictureAddress) -> dict[str, Any] | None:
    if not isinstance(reference, dict) or not isinstance(reference.get("sha256"), str):
        return None
    return {"url": address(reference["sha256"]), "width": reference.get("width"), "height": reference.get("height")}


def _prompt(prompt: Mapping[str, Any], address: PictureAddress) -> dict[str, Any]:
    messages = []
    for message in objects(prompt, "messages"):
        content = message.get("content")
        parts: list[dict[str, Any]] = []
        for part in content if isinstance(content, list) else []:
            picture = _picture(part, address)
            parts.append({"image": picture["url"], **picture} if picture is not None else {"text": str(part)})
        messages.append({"role": str(message.get("role", "")), "parts": parts})
    ids = numbers(prompt.get("tokens"))
    return {"messages": messages, "tokens": None if ids is None else len(ids)}


def _tokens(
    said: Mapping[str, Any],
    extra: Mapping[str, Any],
    text_of: TokenText,
    advantage: float | None,
    divergence: Sequence[float] | None,
) -> list[dict[str, Any]] | None:
    """The tokens of a reply, with what is known of each: advantages stand in the step's `extra` where a trainer has kept them, one
    a token; the divergence, in nats, is that from who taught the step."""
    ids = numbers(said.get("tokens"))
    if ids is None:
        return None
    logprobs, entropies = numbers(said.get("logprobs")), numbers(said.get("entropies"))
    advantages = numbers(extra.get("advantages"))
    return [
        {
            "id": int(token),
            "text": text_of(int(token)),
            "logprob": _at(logprobs, place),
            "entropy": _at(entropies, place),
            "advantage": advantage if advantages is None else _at(advantages, place),
            "divergence": _at(divergence, place),
        }
        for place, token in enumerate(ids)
    ]


def _lesson(lesson: Mapping[str, Any], divergence: Sequence[float] | None, address: PictureAddress) -> dict[str, Any]:
    """What the teacher of a step was told, in order, and the mean divergence of the reply's tokens from it, in nats."""
    told = lesson.get("told")
    parts: list[dict[str, Any]] = []
    for part in told if isinstance(told, list) else []:
        digest = part.get("image") if isinstance(part, dict) else None
        parts.append({"image": address(digest)} if isinstance(digest, str) else {"text": str(part)})
    known = [value for value in divergence or () if math.isfinite(value)]
    return {
        "update": update_of(lesson),
        "told": parts,
        "divergence": sum(known) / len(known) if known else None,
        "largest": max(known, default=None),
        "tokens": len(divergence or ()),
    }


def _lessons(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many steps were taught, which of them was furthest from its teacher (None where all are alike to it), and the largest
    divergence of a token."""
    lessons = [step["lesson"] for step in steps if step["lesson"] is not None]
    means = {step["number"]: step["lesson"]["divergence"] or 0.0 for step in steps if step["lesson"] is not None}
    furthest = max(means, key=lambda number: means[number], default=None)
    return {
        "steps": len(lessons),
        "furthest": furthest if furthest is not None and means[furthest] > 0 else None,
        "largest": max((lesson["largest"] for lesson in lessons if lesson["largest"] is not None), default=None),
    }


def numbers(value: Any) -> Sequence[float] | None:
    """The numbers of an encoded array or a plain list, None where it is neither."""
    if isinstance(value, str):
        try:
            return list(decode_array(value).tolist())
        except ValueError:
            return None
    # A whole number may be so large that no float holds it.
    if isinstance(value, list) and all(isinstance(one, float) or (isinstance(one, int) and abs(one) < _LARGEST) for one in value):
        return value
    return None


def _at(values: Sequence[float] | None, place: int) -> float | None:
    if values is None or place >= len(values) or not math.isfinite(values[place]):
        return None
    return values[place]
