"""How AgentNetBench scores one step: predicted actions against the recorded ones (OpenCUA, arXiv 2508.09123).

Actions are dicts as in its files: `{"type": "click", "params": {"position": {"x": 0.4, "y": 0.6}}, "metadata": {"bboxes": []}}`,
places as shares of the screen. Rules:

1. write and a press of Enter right after it are one write whose text ends in a line break.
2. A recorded `terminate` asks for a predicted `terminate` with the same status: 1 or 0.
3. When the first predicted type is none of the recorded ones, the step scores 0.
4. Otherwise the i-th recorded action is compared with the i-th predicted one; another type, or none, scores 0, and what is
   predicted beyond is ignored. Places: 1 inside any box, or within 0.01 * sqrt(2) of the recorded place, farther away
   exp(-120 * (distance - 0.01 * sqrt(2))). Texts: 1 from a similarity of 0.8 on (1 - edit distance / longer length, without case
   and outer blanks), below it similarity / 0.8. Keys: 1 when the sets are equal. A scroll: 1 whatever its direction and amount.
5. Scores are averaged by type, then over types. Where that is below 1, the recorded alternatives are tried; the best counts.

With `compat` three oddities of the published evaluator are kept as they are; without, they are mended:

- what it gives no score (`wait`, `hscroll`, `middleClick`, `keyDown`, `keyUp`, a `terminate` after other actions) counts as 0;
  mended, it is compared like the types nearest to it;
- a predicted triple click never equals a recorded one, because it is read as "triple_click";
- a predicted hotkey of Enter alone is not merged with the write before it, a recorded one is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepladder.keys import canonical_key

BenchAction = Mapping[str, Any]
#: Shares of the screen; (1 %, 1 %) away still counts as there.
NEAR = 0.01 * math.sqrt(2)
DECAY = 120.0
SIMILAR = 0.8
_PLACED = ("click", "doubleclick", "rightclick", "tripleclick", "moveto", "dragto")
_KEYED = ("press", "hotkey")
#: Types without a score in the published evaluator, and how they are compared here.
_MENDED = {"middleclick": "click", "hscroll": "scroll", "keydown": "press", "keyup": "press"}


@dataclass(frozen=True, slots=True)
class StepScore:
    """`total` in [0, 1], the mean of each recorded type (lower case), and whether an alternative was what it was compared with."""

    total: float
    types: Mapping[str, float] = field(default_factory=dict)
    alternative: bool = False


def score_step(
    predicted: Sequence[BenchAction],
    recorded: Sequence[BenchAction],
    alternatives: Sequence[Sequence[BenchAction]] = (),
    compat: bool = False,
) -> StepScore:
    """The score of one step. No prediction scores 0. Raises ValueError for a recorded action that cannot be read."""
    if not recorded:
        raise ValueError("a step has no recorded action")
    best = _score(predicted, recorded, compat)
    for other in alternatives:
        if best.total >= 1.0:
            break
        if other:
            found = _score(predicted, other, compat)
            if found.total > best.total:
                best = StepScore(found.total, found.types, True)
    return best


def _score(predicted: Sequence[BenchAction], recorded: Sequence[BenchAction], compat: bool) -> StepScore:
    wanted = _merged(recorded, ("press", "hotkey"))
    given = _merged(predicted, ("press",) if compat else ("press", "hotkey"))
    types = [_type(action) for action in wanted]
    if types[0] == "terminate":
        same = bool(given) and _type(given[0]) == "terminate" and _status(given[0]) == _status(wanted[0])
        return StepScore(float(same), {"terminate": float(same)})
    if not given or _predicted_type(given[0], compat) not in types:
        return StepScore(0.0, dict.fromkeys(types, 0.0))
    scores: dict[str, list[float]] = {}
    for place, (kind, action) in enumerate(zip(types, wanted, strict=True)):
        other = given[place] if place < len(given) else None
        same = other is not None and _predicted_type(other, compat) == kind
        scores.setdefault(kind, []).append(_compare(kind, other, action, compat) if other is not None and same else 0.0)
    means = {kind: sum(values) / len(values) for kind, values in scores.items()}
    return StepScore(sum(means.values()) / len(means), means)


def _compare(kind: str, predicted: BenchAction, recorded: BenchAction, compat: bool) -> float:
    if not compat:
        if kind == "wait":
            return 1.0
        if kind == "terminate":
            return float(_status(predicted) == _status(recorded))
        kind = _MENDED.get(kind, kind)
    if kind in _PLACED:
        return _score_place(_place(predicted), _place(recorded), _boxes(recorded))
    if kind == "write":
        return score_text(_text(predicted), _text(recorded))
    if kind in _KEYED:
        return float(set(_keys(predicted)) == set(_keys(recorded)))
    return float(kind == "scroll")


def _score_place(place: tuple[float, float], wanted: tuple[float, float], boxes: Sequence[Sequence[float]]) -> float:
    x, y = place
    if any(left <= x <= left + width and top <= y <= top + height for left, top, width, height in boxes):
        return 1.0
    beyond = math.dist(place, wanted) - NEAR
    return 1.0 if beyond <= 0 else math.exp(-DECAY * beyond)


def score_text(predicted: str, recorded: str) -> float:
    """Two typed texts: 1 when they are alike enough, else how alike they are."""
    first, second = predicted.lower().strip(), recorded.lower().strip()
    longer = max(len(first), len(second))
    similarity = 1.0 if longer == 0 else 1.0 - edit_distance(first, second) / longer
    return 1.0 if similarity >= SIMILAR else similarity / SIMILAR


def edit_distance(first: str, second: str) -> int:
    """Insertions, deletions and replacements of characters between two texts (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        above, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (one != other))
    return row[-1]


def _merged(actions: Sequence[BenchAction], pressing: tuple[str, ...]) -> list[BenchAction]:
    merged: list[BenchAction] = []
    for action in actions:
        is_enter = _type(action) in pressing and _keys(action) == ["enter"]
        if is_enter and merged and _type(merged[-1]) == "write":
            merged[-1] = {**merged[-1], "params": {"text": _text(merged[-1]) + "\n"}}
        else:
            merged.append(action)
    return merged


def _type(action: BenchAction) -> str:
    return str(action["type"]).lower()


def _predicted_type(action: BenchAction, compat: bool) -> str:
    kind = _type(action)
    return "triple_click" if compat and kind == "tripleclick" else kind


def _status(action: BenchAction) -> str:
    status = str(_params(action).get("status", "success")).lower()
    return "failure" if status in ("fail", "failed", "failure") else status


def _params(action: BenchAction) -> Mapping[str, Any]:
    found: Mapping[str, Any] = action.get("params") or {}
    return found


def _place(action: BenchAction) -> tuple[float, float]:
    position = _params(action).get("position") or {}
    try:
        return float(position["x"]), float(position["y"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"an action of type {action['type']!r} has no position: {dict(action)}") from error


def _boxes(action: BenchAction) -> list[Sequence[float]]:
    return [box["rel_bbox"] for box in (action.get("metadata") or {}).get("bboxes") or [] if len(box.get("rel_bbox") or ()) == 4]


def _text(action: BenchAction) -> str:
    params = _params(action)
    return str(params.get("text", params.get("content", params.get("message", ""))))


def _keys(action: BenchAction) -> list[str]:
    keys = _params(action).get("keys", _params(action).get("key", ()))
    return [_key(str(key)) for key in ([keys] if isinstance(keys, str) else keys)]


def _key(name: str) -> str:
    """One name for a key that has several ("return", "enter"); one that is not known stays itself."""
    try:
        return canonical_key(name)
    except ValueError:
        return name.lower()
