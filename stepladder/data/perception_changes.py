"""What has changed between two screenshots, element by element, and how good such a list is.

    button "Save" appeared
    text "Loading" disappeared
    icon "" moved
    checkbox "News" is now checked
    textbox "" now says "Ann"

A line is kind, the element's text before the change (after it, for one that appeared) as a JSON string, and what happened.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stepladder.data.boxes import overlap
from stepladder.data.perception_question import Asked, Question, told
from stepladder.data.shown_elements import Shown, shown

#: Screens that differ in more are different screens.
MOST_CHANGES = 4
#: The words for a state that came and one that went.
STATE_WORDS = {
    "checked": ("checked", "unchecked"),
    "selected": ("selected", "unselected"),
    "disabled": ("disabled", "enabled"),
    "expanded": ("expanded", "collapsed"),
}
EVENTS = ("appeared", "disappeared", "moved", *(word for words in STATE_WORDS.values() for word in words), "says")
#: Boxes of one element before and after overlap so much (intersection over union).
SAME_PLACE = 0.5
QUESTION = "What has changed between the two screenshots?"
_KIND = re.compile(r"([a-z][a-z0-9-]*) (?=\")")
_EVENT = re.compile(r" (?:(appeared|disappeared|moved)|is now ([a-z]+))")
_SAYS = " now says "
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Change:
    """What happened (`event`, one of EVENTS) to one element; `says` is its new text where that is what changed."""

    kind: str
    text: str
    event: str
    says: str = ""


def differences(before: Sequence[Shown], after: Sequence[Shown]) -> list[Change]:
    """The changes that turn the elements of one screen into those of another, in the order of `after`, then what is gone.

    An element is the same one if its kind is, and its text and its place are; failing that its place; failing that its text.
    """
    left, new = list(before), list(after)
    pairs: list[tuple[Shown, Shown]] = []
    same: tuple[Callable[[Shown, Shown], bool], ...] = (
        lambda a, b: a.text == b.text and overlap(a.box, b.box) >= SAME_PLACE,
        lambda a, b: overlap(a.box, b.box) >= SAME_PLACE,
        lambda a, b: a.text == b.text and bool(a.text),
    )
    for rule in same:
        for element in list(new):
            found = next((one for one in left if one.kind == element.kind and rule(one, element)), None)
            if found is not None:
                left = [one for one in left if one is not found]
                new = [one for one in new if one is not element]
                pairs.append((found, element))
    changes: list[Change] = []
    for element in after:
        changes += [change for old, one in pairs if one is element for change in _changed(old, one)]
        changes += [Change(one.kind, one.text, "appeared") for one in new if one is element]
    return [*changes, *(Change(one.kind, one.text, "disappeared") for one in left)]


def _changed(old: Shown, new: Shown) -> Iterator[Change]:
    if old.text != new.text:
        yield Change(old.kind, old.text, "says", new.text)
    elif overlap(old.box, new.box) < SAME_PLACE:
        yield Change(old.kind, old.text, "moved")
    for state, (came, went) in STATE_WORDS.items():
        if (state in old.states) != (state in new.states):
            yield Change(old.kind, old.text, came if state in new.states else went)


def changes(asked: Asked) -> Iterator[Question]:
    """One question where few things differ between the screen and the one before it; none where a text cannot be quoted."""
    if asked.before is None:
        return
    image, regions = asked.before
    before, after = shown(image, regions), shown(asked.image, asked.regions)
    found = differences(before, after)
    sayable = all(Shown("", text, (0, 0, 0, 0)).sayable for change in found for text in (change.text, change.says))
    if 1 <= len(found) <= MOST_CHANGES and sayable and image.sha256 != asked.image.sha256:
        question = told("change", QUESTION, write_changes(found))
        question.before = image
        yield question


def write_changes(found: Sequence[Change]) -> str:
    """The lines of the grammar. Raises ValueError for an event or a kind that it cannot say."""
    return "\n".join(map(_line, found))


def _line(change: Change) -> str:
    if change.event not in EVENTS or not re.fullmatch("[a-z][a-z0-9-]*", change.kind):
        raise ValueError(f"{change.event!r} of {change.kind!r} cannot be said; the events are {', '.join(EVENTS)}")
    start = f"{change.kind} {json.dumps(change.text, ensure_ascii=False)}"
    if change.event == "says":
        return f"{start}{_SAYS}{json.dumps(change.says, ensure_ascii=False)}"
    return f"{start} {change.event}" if change.event in EVENTS[:3] else f"{start} is now {change.event}"


def read_changes(text: str) -> tuple[list[Change], int]:
    """What a list says, and how many of its lines say nothing. Empty lines do not count. Never raises."""
    read = [_read_line(line.strip()) for line in text.split("\n") if line.strip()]
    return [one for one in read if one is not None], sum(one is None for one in read)


def _read_line(line: str) -> Change | None:
    kind = _KIND.match(line)
    if kind is None:
        return None
    try:
        text, end = _DECODER.raw_decode(line, kind.end())
        if line.startswith(f'{_SAYS}"', end):
            says, last = _DECODER.raw_decode(line, end + len(_SAYS))
            return Change(kind[1], text, "says", says) if last == len(line) else None
    except ValueError:
        return None
    event = _EVENT.fullmatch(line, end)
    if event is None or (event[2] is not None and event[2] not in EVENTS[3:-1]):
        return None
    return Change(kind[1], text, str(event[1] or event[2]))


def score_change(true: str, said: str | None) -> dict[str, float]:
    """`said` against the right list `true`: "correct", every element with kind, text and what happened to it, and nothing else;
    "precision", "recall" and "f1" of such lines; "events", whether kinds and events are right whatever the texts. None scores 0
    throughout; order does not count."""
    wanted, _ = read_changes(true)
    read, unreadable = read_changes(said or "")
    found = (Counter(wanted) & Counter(read)).total()
    precision, recall = found / max(1, len(read) + unreadable), found / max(1, len(wanted))
    events = [Counter((change.kind, change.event) for change in one) for one in (wanted, read)]
    return {
        "correct": float(precision == recall == 1.0),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if found else 0.0,
        "events": float(events[0] == events[1] and not unreadable),
    }
