"""Questions about a screen with known answers (rung 8): where is it, what does it say, in what state is it, what has changed.

An item is a one-step trajectory without a thought, so that everything that trains or scores trajectories can use it. A place that
an item names is written as in the agents' coordinates, 0..1000 across the screenshot. The kinds of this file are asked for by
default; those of the files beside it (`perception_*.py`) when they are given a weight.
"""

from __future__ import annotations

import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from stepladder.data.boxes import center, inside, on_screen, reachable, same_place
from stepladder.data.perception_captions import captions, score_caption
from stepladder.data.perception_changes import changes, score_change
from stepladder.data.perception_descriptions import described
from stepladder.data.perception_marks import marks, recognition, score_recognition
from stepladder.data.perception_presence import existence, values
from stepladder.data.perception_question import NOTHING, WIDGET_NAMES, Asked, Kind, Question, as_item, told
from stepladder.data.text_distance import edit_distance
from stepladder.images import ImageStore
from stepladder.types import Action, Box, ImageRef, Region, Trajectory

#: What is asked for where nothing else is said, by weight.
KINDS: dict[Kind, float] = {"grounding": 0.6, "reading": 0.22, "state": 0.18}
LONGEST_WORD = 16
LONGEST_VALUE = 24


def items(
    image: ImageRef,
    regions: Sequence[Region],
    random: Random,
    count: int,
    *,
    kinds: Mapping[Kind, float] | None = None,
    grid: int = 10,
    ignore_above: float = 0.0,
    images: ImageStore | None = None,
    persist: bool = True,
    before: tuple[ImageRef, Sequence[Region]] | None = None,
) -> list[Trajectory]:
    """At most `count` different items about one screenshot; fewer when the screen has not more to ask for.

    `kinds` weighs the kinds (default: `KINDS`), `grid` is the rounding of places in thousandths of the screen. Nothing is asked
    that has two answers: a word that stands in two places, a widget hidden below another. What can be used (a button's label, a
    link, a widget) is asked for before plain text: a page has many words and few that an agent will be told to click.

    `ignore_above`, `images`, `persist` and `before` are those of `Asked`: "marks" and "recognition" draw on the screenshot and need
    `images`, without which "description" names no colours; "change" needs `before` and has nothing to ask without it. Raises
    ValueError for a kind that there is not, and for one that needs `images` where they are not given.
    """
    asked = Asked(image, regions, grid, ignore_above, images, persist, before)
    makers: dict[Kind, Callable[[], Iterator[Question]]] = {
        "grounding": lambda: _grounding(image, regions),
        "reading": lambda: _reading(image, regions, grid),
        "state": lambda: _state(image, regions, grid, random),
        "description": lambda: described(asked),
        "caption": lambda: captions(asked),
        "recognition": lambda: recognition(asked),
        "existence": lambda: existence(asked, random),
        "value": lambda: values(asked),
        "change": lambda: changes(asked),
        "marks": lambda: marks(asked),
    }
    weights = {kind: weight for kind, weight in (KINDS if kinds is None else kinds).items() if weight or kind not in makers}
    unknown = [kind for kind in weights if kind not in makers]
    if unknown:
        raise ValueError(f"there is no item kind {unknown[0]!r}; the kinds are {', '.join(makers)}")
    waiting: dict[Kind, list[Question]] = {}
    found: list[Trajectory] = []
    while len(found) < count and weights:
        kind = random.choices(list(weights), list(weights.values()))[0]
        if kind not in waiting:
            waiting[kind] = list(makers[kind]())
            random.shuffle(waiting[kind])
            waiting[kind].sort(key=lambda question: question.first)
        if waiting[kind]:
            found.append(as_item(image, waiting[kind].pop()))
        else:
            del weights[kind]
    return found


def _bare(text: str) -> str:
    return text.strip(string.punctuation)


def _place(image: ImageRef, box: Box, grid: int) -> str:
    """The centre of a box as text."""
    x, y = center(box)
    return f"[{round(x * 1000 / image.width / grid) * grid}, {round(y * 1000 / image.height / grid) * grid}]"


def _several(boxes: set[Box]) -> bool:
    """Whether the boxes are different places; a part and the whole (a link in a tab) are the same place."""
    return any(not same_place(first, other) for first in boxes for other in boxes)


def _click_question(text: str, box: Box, first: bool) -> Question:
    x, y = center(box)
    return Question("grounding", text, Action("click", x, y), {"box": list(box)}, first)


def _grounding(image: ImageRef, regions: Sequence[Region]) -> Iterator[Question]:
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


def _labels_and_words(image: ImageRef, regions: Sequence[Region]) -> Iterator[Question]:
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


def _reading(image: ImageRef, regions: Sequence[Region], grid: int) -> Iterator[Question]:
    words = [region for region in regions if region.kind == "word"]
    for region in words:
        text = region.text
        readable = text.isprintable() and text.isascii() and 0 < len(text) <= LONGEST_WORD and any(c.isalnum() for c in text)
        if not readable or " " in text or not on_screen(image, region.box):
            continue
        x, y = center(region.box)
        if any(other is not region and inside(x, y, other.box) for other in words):
            continue
        question = f"Spell the text at {_place(image, region.box, grid)}."
        yield Question("reading", question, Action("done", text=" ".join(text)), {"text": text})


def _state(image: ImageRef, regions: Sequence[Region], grid: int, random: Random) -> Iterator[Question]:
    """As many questions with the answer "yes" as with "no", as far as the screen has both."""
    answers: dict[str, list[Question]] = {"yes": [], "no": []}
    labels = Counter((region.kind, region.text.casefold()) for region in regions)
    for region in regions:
        if not on_screen(image, region.box):
            continue
        unique = bool(region.text) and labels[(region.kind, region.text.casefold())] == 1
        place = f"at {_place(image, region.box, grid)}"
        name = f'"{region.text}"' if unique and len(region.text) <= LONGEST_VALUE else place
        if region.kind in ("checkbox", "radio"):
            what = f"checkbox {name} checked" if region.kind == "checkbox" else f"radio button {name} selected"
            answer = "yes" if "checked" in region.states or "selected" in region.states else "no"
            answers[answer].append(told("state", f"Is the {what}?", answer))
        elif region.kind == "button" and "disabled" in region.states:
            answers["no"].append(told("state", f"Is the button {name} enabled?", "no"))
        elif region.kind == "button" and unique and random.random() < 0.15:
            answers["yes"].append(told("state", f"Is the button {name} enabled?", "yes"))
        elif region.kind in ("textbox", "textarea") and len(region.text) <= LONGEST_VALUE and region.text.isprintable():
            yield told("state", f"What is in the field {place}?", region.text or NOTHING)
        elif region.kind == "select" and region.text and len(region.text) <= LONGEST_VALUE:
            yield told("state", f"What is selected in the menu {place}?", region.text)
    open_tabs = [region for region in regions if region.kind == "tab" and "selected" in region.states]
    if len(open_tabs) == 1:
        yield told("state", "Which tab is open?", open_tabs[0].text)
    most = max(1, min(len(answers["yes"]), len(answers["no"])))
    for questions in answers.values():
        random.shuffle(questions)
        yield from questions[:most]


def score(item: Trajectory, action: Action | None) -> dict[str, float]:
    """How good an answer is; None, an unreadable reply, scores 0 throughout.

    "correct" (0 or 1) is there for every kind. Grounding and description add "hit" (a click inside the box) and, for a click,
    "distance" (pixels to the box's centre); reading adds "exact" and "characters" (1 - edit distance / length of the longer word);
    caption, change and recognition what their own functions say; the others, which have one right answer, their kind. Raises
    ValueError for a trajectory that is no item.
    """
    check = item.task.check
    kind = check.get("kind")
    if kind in ("grounding", "description"):
        return _score_click(tuple(check["box"]), action)
    said = action.text if action is not None and action.kind == "done" else None
    if kind == "reading":
        word, read = check["text"], "".join((said or "").split())
        exact = float(said is not None and read == word)
        return {"correct": exact, "exact": exact, "characters": 1 - edit_distance(read, word) / max(len(read), len(word))}
    if kind == "caption":
        return score_caption(check["text"], said)
    if kind == "change":
        return score_change(check["text"], said)
    if kind == "recognition":
        return score_recognition(check["text"], said)
    if kind in ("state", "existence", "value", "marks"):
        right = float(said is not None and said.strip() == check["text"])
        return {"correct": right, kind: right}
    raise ValueError(f"{item.id} is no perception item: check.kind is {kind!r}")


def _score_click(box: Box, action: Action | None) -> dict[str, float]:
    if action is None or action.kind != "click" or action.x is None or action.y is None:
        return {"correct": 0.0, "hit": 0.0}
    hit = float(inside(action.x, action.y, box))
    x, y = center(box)
    return {"correct": hit, "hit": hit, "distance": ((action.x - x) ** 2 + (action.y - y) ** 2) ** 0.5}
