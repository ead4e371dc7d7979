"""Questions about one screen with known answers (rung 8): where is it, what does it say, in what state is it.

An item is a one-step trajectory without a thought, so that everything that trains or scores trajectories can use it. A place that
an item names is written as in the agents' coordinates, 0..1000 across the screenshot.
"""

from __future__ import annotations

import hashlib
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal

from stepladder.types import Action, Box, ImageRef, Observation, Region, Step, Task, Trajectory

Kind = Literal["grounding", "reading", "state"]
KINDS: dict[Kind, float] = {"grounding": 0.6, "reading": 0.22, "state": 0.18}
NOTHING = "nothing"
LONGEST_WORD = 16
LONGEST_VALUE = 24
#: How a widget without words is asked for when it is the only one of its kind on the screen.
WIDGET_NAMES = {
    "textbox": "text field",
    "password": "password field",
    "textarea": "textarea",
    "checkbox": "checkbox",
    "radio": "radio",
    "select": "select",
    "slider": "slider",
    "button": "button",
    "close": "x",
}


class _Question:
    """What is asked, the action that answers it, and what `score` needs to know."""

    __slots__ = ("action", "check", "first", "kind", "text")

    def __init__(self, kind: Kind, text: str, action: Action, check: Mapping[str, Any], first: bool = False) -> None:
        """A question of `first` rank is asked before the others of its kind."""
        self.kind, self.text, self.action, self.check, self.first = kind, text, action, check, first


def items(
    image: ImageRef,
    regions: Sequence[Region],
    random: Random,
    count: int,
    *,
    kinds: Mapping[Kind, float] | None = None,
    grid: int = 10,
) -> list[Trajectory]:
    """At most `count` different items about one screenshot; fewer when the screen has not more to ask for.

    `kinds` weighs the kinds (default: `KINDS`), `grid` is the rounding of places in thousandths of the screen. Nothing is asked
    that has two answers: a word that stands in two places, a widget hidden below another. What can be used (a button's label, a
    link, a widget) is asked for before plain text: a page has many words and few that an agent will be told to click.
    """
    makers: dict[Kind, Callable[[], Iterator[_Question]]] = {
        "grounding": lambda: _grounding(image, regions),
        "reading": lambda: _reading(image, regions, grid),
        "state": lambda: _state(image, regions, grid, random),
    }
    weights = dict(KINDS if kinds is None else kinds)
    unknown = [kind for kind in weights if kind not in makers]
    if unknown:
        raise ValueError(f"there is no item kind {unknown[0]!r}; the kinds are {', '.join(makers)}")
    waiting: dict[Kind, list[_Question]] = {}
    found: list[Trajectory] = []
    while len(found) < count and weights:
        kind = random.choices(list(weights), list(weights.values()))[0]
        if kind not in waiting:
            waiting[kind] = list(makers[kind]())
            random.shuffle(waiting[kind])
            waiting[kind].sort(key=lambda question: question.first)
        if waiting[kind]:
            found.append(_item(image, waiting[kind].pop()))
        else:
            del weights[kind]
    return found


def _item(image: ImageRef, question: _Question) -> Trajectory:
    task = Task(
        f"perception-{question.kind}",
        question.text,
        "perception",
        check={"kind": question.kind, **question.check},
        max_steps=1,
        tags=("perception", question.kind),
    )
    name = hashlib.sha256(question.text.encode()).hexdigest()[:12]
    step = Step(Observation(image), question.action)
    return Trajectory(f"{task.id}-{image.sha256[:12]}-{name}", task, (step,), None, "done", 1.0, policy="known")


def _bare(text: str) -> str:
    return text.strip(string.punctuation)


def _center(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _inside(x: float, y: float, box: Box) -> bool:
    return box[0] <= x < box[0] + box[2] and box[1] <= y < box[1] + box[3]


def _place(image: ImageRef, box: Box, grid: int) -> str:
    """The centre of a box as text."""
    x, y = _center(box)
    return f"[{round(x * 1000 / image.width / grid) * grid}, {round(y * 1000 / image.height / grid) * grid}]"


def _on_screen(image: ImageRef, box: Box) -> bool:
    x, y = _center(box)
    return 0 <= x < image.width and 0 <= y < image.height and box[2] >= 1 and box[3] >= 1


def reachable(image: ImageRef, box: Box, regions: Sequence[Region]) -> bool:
    """Whether a click at the centre of the box meets what the box stands for, and nothing that lies across it."""
    if not _on_screen(image, box):
        return False
    x, y = _center(box)
    for region in regions:
        other = region.target or region.box
        if _inside(x, y, other) and not (_contains(box, other) or _contains(other, box)):
            return False
    return True


def _contains(outer: Box, inner: Box, margin: float = 1.0) -> bool:
    return (
        outer[0] <= inner[0] + margin
        and outer[1] <= inner[1] + margin
        and outer[0] + outer[2] >= inner[0] + inner[2] - margin
        and outer[1] + outer[3] >= inner[1] + inner[3] - margin
    )


def _several(boxes: set[Box]) -> bool:
    """Whether the boxes are different places; a part and the whole (a link in a tab) are the same place."""
    return any(not (_contains(first, other) or _contains(other, first)) for first in boxes for other in boxes)


def _click_question(text: str, box: Box, first: bool) -> _Question:
    x, y = _center(box)
    return _Question("grounding", text, Action("click", x, y), {"box": list(box)}, first)


def _grounding(image: ImageRef, regions: Sequence[Region]) -> Iterator[_Question]:
    """Each question's check says how many labels of things to click the screen has ("labels"), if it asks for one of them: a label
    among several can only be told by what it says."""
    named = list(_labels_and_words(image, regions))
    labels = sum(question.first for question in named)
    for question in named:
        if question.first:
            question.check = {**question.check, "labels": labels}
        yield question
    widgets = [region for region in regions if region.kind in WIDGET_NAMES]
    alone = Counter(region.kind for region in widgets)
    for region in widgets:
        box = region.target or region.box
        if alone[region.kind] == 1 and reachable(image, box, regions):
            yield _click_question(f"Click on the {WIDGET_NAMES[region.kind]}.", box, first=True)


def _labels_and_words(image: ImageRef, regions: Sequence[Region]) -> Iterator[_Question]:
    places: defaultdict[str, set[Box]] = defaultdict(set)
    for region in regions:
        for word in region.text.split():
            places[_bare(word)].add(region.target or region.box)
    asked: set[str] = set()
    for region in regions:
        text = _bare(region.text)
        words = [_bare(word) for word in text.split()]
        box = region.target or region.box
        # A label of several words is as ambiguous as its rarest word.
        if not text or text in asked or all(_several(places[word]) for word in words):
            continue
        if region.kind in ("password", "textbox", "textarea", "slider", "close") or len(text) > LONGEST_VALUE:
            continue
        asked.add(text)
        if reachable(image, box, regions):
            yield _click_question(f'Click on "{text}".', box, first=region.target is not None or region.kind != "word")


def _reading(image: ImageRef, regions: Sequence[Region], grid: int) -> Iterator[_Question]:
    words = [region for region in regions if region.kind == "word"]
    for region in words:
        text = region.text
        readable = text.isprintable() and text.isascii() and 0 < len(text) <= LONGEST_WORD and any(c.isalnum() for c in text)
        if not readable or not _on_screen(image, region.box):
            continue
        x, y = _center(region.box)
        if any(other is not region and _inside(x, y, other.box) for other in words):
            continue
        question = f"Spell the text at {_place(image, region.box, grid)}."
        yield _Question("reading", question, Action("done", text=" ".join(text)), {"text": text})


def _state(image: ImageRef, regions: Sequence[Region], grid: int, random: Random) -> Iterator[_Question]:
    """As many questions with the answer "yes" as with "no", as far as the screen has both."""
    answers: dict[str, list[_Question]] = {"yes": [], "no": []}
    labels = Counter((region.kind, region.text.casefold()) for region in regions)
    for region in regions:
        if not _on_screen(image, region.box):
            continue
        unique = bool(region.text) and labels[(region.kind, region.text.casefold())] == 1
        place = f"at {_place(image, region.box, grid)}"
        name = f'"{region.text}"' if unique and len(region.text) <= LONGEST_VALUE else place
        if region.kind in ("checkbox", "radio"):
            what = f"checkbox {name} checked" if region.kind == "checkbox" else f"radio button {name} selected"
            answer = "yes" if "checked" in region.states or "selected" in region.states else "no"
            answers[answer].append(_told(f"Is the {what}?", answer))
        elif region.kind == "button" and "disabled" in region.states:
            answers["no"].append(_told(f"Is the button {name} enabled?", "no"))
        elif region.kind == "button" and unique and random.random() < 0.15:
            answers["yes"].append(_told(f"Is the button {name} enabled?", "yes"))
        elif region.kind in ("textbox", "textarea") and len(region.text) <= LONGEST_VALUE and region.text.isprintable():
            yield _told(f"What is in the field {place}?", region.text or NOTHING)
        elif region.kind == "select" and region.text and len(region.text) <= LONGEST_VALUE:
            yield _told(f"What is selected in the menu {place}?", region.text)
    open_tabs = [region for region in regions if region.kind == "tab" and "selected" in region.states]
    if len(open_tabs) == 1:
        yield _told("Which tab is open?", open_tabs[0].text)
    most = max(1, min(len(answers["yes"]), len(answers["no"])))
    for questions in answers.values():
        random.shuffle(questions)
        yield from questions[:most]


def _told(question: str, answer: str) -> _Question:
    return _Question("state", question, Action("done", text=answer), {"text": answer})


def score(item: Trajectory, action: Action | None) -> dict[str, float]:
    """How good an answer is; None, an unreadable reply, scores 0 throughout.

    "correct" (0 or 1) is there for every kind. Grounding adds "hit" (a click inside the box) and, for a click, "distance" (pixels
    to the box's centre); reading adds "exact" and "characters" (1 - edit distance / length of the longer word); state adds "state".
    """
    check = item.task.check
    kind = check.get("kind")
    if kind == "grounding":
        box: Box = tuple(check["box"])
        if action is None or action.kind != "click" or action.x is None or action.y is None:
            return {"correct": 0.0, "hit": 0.0}
        hit = float(_inside(action.x, action.y, box))
        x, y = _center(box)
        return {"correct": hit, "hit": hit, "distance": ((action.x - x) ** 2 + (action.y - y) ** 2) ** 0.5}
    said = action.text if action is not None and action.kind == "done" else None
    if kind == "reading":
        word, read = check["text"], "".join((said or "").split())
        exact = float(said is not None and read == word)
        return {"correct": exact, "exact": exact, "characters": 1 - edit_distance(read, word) / max(len(read), len(word))}
    if kind == "state":
        right = float(said is not None and said.strip() == check["text"])
        return {"correct": right, "state": right}
    raise ValueError(f"{item.id} is no perception item: check.kind is {kind!r}")


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and substitutions of characters that turn one text into the other (Levenshtein, 1966)."""
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
    return row[-1]
