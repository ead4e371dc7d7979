"""A question about a screen with its answer, and the one-step trajectory that it becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepladder.images import ImageStore, Pixels, encode_png
from stepladder.types import Action, ImageRef, Observation, Region, Step, Task, Trajectory

Kind = Literal[
    "grounding",
    "reading",
    "state",
    "description",
    "caption",
    "recognition",
    "existence",
    "value",
    "change",
    "marks",
]
NOTHING = "nothing"
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


@dataclass(slots=True)
class Question:
    """What is asked, the action that answers it, and what `score` needs to know.

    A question of `first` rank is asked before the others of its kind. `draw` gives the picture it is asked about where that is not
    the screenshot itself (one with marks); `before` is an earlier screenshot that is shown before it.
    """

    kind: Kind
    text: str
    action: Action
    check: Mapping[str, Any]
    first: bool = False
    draw: Callable[[], ImageRef] | None = None
    before: ImageRef | None = None


@dataclass(frozen=True)
class Asked:
    """A screen that is asked about: its screenshot and regions, the rounding of places in thousandths, the height in pixels above
    which the regions are not complete, the store from which pixels are read (None: there are none), whether drawn pictures are
    written to the store's directory, and the screen as it was before (None: not known)."""

    image: ImageRef
    regions: Sequence[Region]
    grid: int = 10
    ignore_above: float = 0.0
    images: ImageStore | None = None
    persist: bool = True
    before: tuple[ImageRef, Sequence[Region]] | None = None

    def pixels(self, kind: str) -> Pixels:
        """uint8[height, width, 3]. Raises ValueError, naming the kind of question, where there is no store."""
        return self.store(kind).load(self.image)

    def draw(self, kind: str, pixels: Pixels) -> ImageRef:
        """Keep a picture that was drawn for a question. Raises ValueError where there is no store."""
        return self.store(kind).put(encode_png(pixels), persist=self.persist)

    def store(self, kind: str) -> ImageStore:
        if self.images is None:
            raise ValueError(f"{kind} questions look at the screenshot's pixels; give the store of the pictures (images=...)")
        return self.images


def told(kind: Kind, question: str, answer: str, **check: Any) -> Question:
    """A question that is answered in words."""
    return Question(kind, question, Action("done", text=answer), {"text": answer, **check})


def as_item(screen: ImageRef, question: Question) -> Trajectory:
    """The question as a trajectory of one step without a thought; with an earlier screenshot of two, the first of which waits."""
    task = Task(
        f"perception-{question.kind}",
        question.text,
        "perception",
        check={"kind": question.kind, **question.check},
        max_steps=1,
        tags=("perception", question.kind),
    )
    image = screen if question.draw is None else question.draw()
    asked = question.text if question.before is None else f"{question.before.sha256} {question.text}"
    name = hashlib.sha256(asked.encode()).hexdigest()[:12]
    steps: tuple[Step, ...] = (Step(Observation(image), question.action),)
    if question.before is not None:
        steps = (Step(Observation(question.before), Action("wait", seconds=1.0), imitated="nothing"), *steps)
    return Trajectory(f"{task.id}-{image.sha256[:12]}-{name}", task, steps, None, "done", 1.0, policy="known")
