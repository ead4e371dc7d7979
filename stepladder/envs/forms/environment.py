"""Forms drawn in memory: an environment without a browser, for thousands of steps a second."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
from collections.abc import AsyncIterator, Iterable
from random import Random

from stepladder.drawing import FlatPngEncoder
from stepladder.envs.forms import draw
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.goals import Move, next_move
from stepladder.envs.forms.layout import DoesNotFit
from stepladder.envs.forms.questions import Form
from stepladder.envs.forms.screen import Screen
from stepladder.envs.forms.tasks import KINDS, build
from stepladder.envs.forms.tree import elements
from stepladder.envs.forms.widgets import Button, CheckBox, ListBox, Menu, RadioGroup, Slider, Tabs, Widget
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action, ImageRef, Observation, Region, Task
from stepladder.words import WordPart, letters

PREFIX = "forms-"
MODIFIERS = frozenset({"ctrl", "shift", "alt", "meta"})
KEY_NAMES = {
    "return": "enter",
    "esc": "escape",
    "del": "delete",
    "arrowleft": "left",
    "arrowright": "right",
    "arrowup": "up",
    "arrowdown": "down",
    "control": "ctrl",
    "pgup": "pageup",
    "page_up": "pageup",
    "pgdn": "pagedown",
    "page_down": "pagedown",
    "spacebar": "space",
    " ": "space",
    "cmd": "meta",
    "command": "meta",
    "super": "meta",
    "win": "meta",
    "option": "alt",
}
_NAMED = """
    enter escape tab space backspace delete left right up down home end pageup pagedown insert capslock numlock scrolllock
    printscreen pause menu
"""
NAMED_KEYS = frozenset(_NAMED.split()) | {f"f{number}" for number in range(1, 13)}
CLICKS = {"click": 1, "double_click": 2, "triple_click": 3}


def kind_of_task(task: Task) -> str:
    """The task kind that a task names. Raises EnvironmentFailure that names the nearest one."""
    kind = str(task.setup.get("kind") or task.id.removeprefix(PREFIX))
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}"
        raise EnvironmentFailure(f"forms has no task {kind!r}; {hint}")
    return kind


class FormsEnvironment:
    """Forms from a seed; the same seed gives the same pixels.

    `width` and `height` are pixels, `tree` adds the accessibility tree to observations, `words` says which part of the vocabulary
    labels and entries come from (the usual words of submit buttons and dialogs are in both).
    """

    def __init__(
        self, images: ImageStore, *, width: int = 160, height: int = 210, tree: bool = False, words: WordPart = "all"
    ) -> None:
        if words not in ("train", "heldout", "all"):
            raise ValueError(f"words is {words!r}; it must be 'train', 'heldout' or 'all'")
        if width < 150 or height < 190:
            raise ValueError(f"a form needs at least 150 x 190 pixels, not {width} x {height}")
        self.images, self.width, self.height, self.words = images, width, height, words
        self.with_tree = tree
        self.task = Task("forms", "", "forms")
        self._encoder = FlatPngEncoder()
        self._form: Form | None = None
        self._painter: draw.Painter | None = None
        self._shown: tuple[object, ImageRef] | None = None
        self._modifiers: set[str] = set()
        self._ended = False

    @classmethod
    def tasks(cls, kinds: Iterable[str] | None = None) -> list[Task]:
        """One task for each kind (all without `kinds`); `reset` fills in the instruction. Raises ValueError for unknown kinds."""
        found = []
        for kind in KINDS if kinds is None else kinds:
            name = kind.removeprefix(PREFIX)
            if name not in KINDS:
                near = difflib.get_close_matches(name, KINDS, n=1)
                raise ValueError(
                    f"forms has no task {kind!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}")
                )
            steps = KINDS[name][1]
            found.append(
                Task(PREFIX + name, "", "forms", setup={"kind": name}, max_steps=steps, tags=("multi_step",) if steps > 3 else ())
            )
        return found

    async def reset(self, task: Task, seed: int) -> Observation:
        try:
            self._form = build(kind_of_task(task), seed, self.width, self.height, self.words)
        except DoesNotFit as error:
            raise EnvironmentFailure(str(error)) from error
        self._painter = draw.Painter(self._form.screen, self._form.theme, self._form.panel)
        self._shown, self._ended = None, False
        self._modifiers.clear()
        self.task = dataclasses.replace(task, instruction=self._form.instruction)
        return self._observe("")

    async def step(self, action: Action) -> Observation:
        form = self._started()
        if self._ended:
            return self._observe("The episode has ended: nothing changes any more.")
        text = self._act(form.screen, action)
        self._ended = self._ended or form.goal.over(form.screen)
        return self._observe(text)

    async def evaluate(self) -> float:
        """1 when everything asked for is so and the right buttons were pressed, else 0."""
        form = self._started()
        return float(form.goal.reached(form.screen))

    async def close(self) -> None:
        self._form = self._painter = self._shown = None

    async def regions(self) -> tuple[Region, ...]:
        """Words and widgets that can be seen now, with their boxes."""
        form = self._started()
        return draw.regions(form.screen, form.theme)

    async def solve(self) -> AsyncIterator[Move]:
        """(thought, action) towards the goal, from whatever state the form is in."""
        form = self._started()
        while not self._ended and (move := next_move(form.screen, form.goal)) is not None:
            yield move

    async def mistake(self, random: Random) -> tuple[str, Action]:
        """A wrong step that ends nothing and can be put right: a stray click, a wrong option, a wrong text, a wrong tab."""
        form = self._started()
        right = next_move(form.screen, form.goal)
        avoid = {(right[1].x, right[1].y)} if right is not None else set()
        choices = [action for action in _stray_actions(form.screen, random) if (action.x, action.y) not in avoid]
        return "", random.choice(choices)

    def _started(self) -> Form:
        if self._form is None:
            raise EnvironmentFailure("the forms environment has no episode; call reset first")
        return self._form

    def _observe(self, text: str) -> Observation:
        form, painter = self._started(), self._painter
        assert painter is not None
        state = form.screen.state()
        if self._shown is None or self._shown[0] != state:
            self._shown = (state, self.images.put(self._encoder.encode(painter.paint())))
        digest = hashlib.sha256(repr((self.task.id, state)).encode()).hexdigest()[:16]
        tree = elements(form.screen) if self.with_tree else None
        return Observation(self._shown[1], tree, text, f"forms:{kind_of_task(self.task)}", digest, self._ended)

    def _act(self, screen: Screen, action: Action) -> str:
        kind = action.kind
        if kind in ("done", "fail"):
            self._ended = True
            return ""
        if kind == "wait":
            return ""
        if kind == "call":
            return f"A form has no function {action.name!r} to call."
        if kind == "type":
            return screen.type(action.text) if action.text else "There was no text to type."
        if kind in ("key", "key_down", "key_up"):
            return self._act_key(screen, kind, action.keys)
        place = self._place(screen, action.x, action.y)
        if place is None:
            return f"({action.x}, {action.y}) is outside the screen of {self.width} x {self.height} pixels."
        return self._act_pointer(screen, action, place)

    def _act_pointer(self, screen: Screen, action: Action, place: tuple[float, float]) -> str:
        extend = "shift" in action.keys or "shift" in self._modifiers
        if action.kind in CLICKS:
            texts = []
            for count in range(1, CLICKS[action.kind] + 1):
                texts += [screen.press(*place, count, extend), screen.release()]
            return next((text for text in texts if text), "")
        if action.kind == "mouse_down":
            return screen.press(*place, 1, extend)
        if action.kind == "mouse_up":
            screen.move(*place)
            return screen.release()
        if action.kind == "move":
            return screen.move(*place)
        if action.kind == "drag":
            end = self._place(screen, action.x2, action.y2, required=True)
            if end is None:
                return f"A drag needs an end on the screen, not ({action.x2}, {action.y2})."
            text = screen.press(*place)
            screen.move(*end)
            return text or screen.release()
        if action.kind == "scroll":
            if not math.isfinite(action.amount) or action.amount == 0:
                return f"A scroll by {action.amount} notches does nothing."
            if action.name == "horizontal":
                return "Nothing here scrolls sideways."
            return screen.wheel(*place, action.amount)
        return f"A {action.kind.replace('_', ' ')} does nothing on this form."

    def _act_key(self, screen: Screen, kind: str, keys: tuple[str, ...]) -> str:
        names = [KEY_NAMES.get(key.lower(), key if len(key) == 1 else key.lower()) for key in keys]
        unknown = [key for key in names if len(key) != 1 and key not in NAMED_KEYS | MODIFIERS]
        if unknown or not names:
            return f"There is no key {unknown[0]!r}." if unknown else "No key was named."
        modifiers = {name for name in names if name in MODIFIERS}
        others = [name for name in names if name not in MODIFIERS]
        if kind == "key_up":
            self._modifiers -= modifiers
            return ""
        if kind == "key_down":
            self._modifiers |= modifiers
        held = frozenset(modifiers | self._modifiers)
        texts = [screen.key(name.lower() if "ctrl" in held else name, held) for name in others]
        return next((text for text in texts if text), "")

    def _place(self, screen: Screen, x: float | None, y: float | None, required: bool = False) -> tuple[float, float] | None:
        """The point meant: the pointer where it is left open, None where it is not on the screen."""
        if x is None or y is None:
            return None if required else screen.pointer
        on_screen = math.isfinite(x) and math.isfinite(y) and 0 <= x < self.width and 0 <= y < self.height
        return (x, y) if on_screen else None


def _stray_actions(screen: Screen, random: Random) -> list[Action]:
    """Steps that press no final button, and a click on empty ground."""
    found = []
    for _ in range(200):
        x, y = random.randrange(screen.width), random.randrange(screen.height)
        if screen.at(x, y) is None:
            found.append(Action("click", x, y))
            break
    if isinstance(screen.focused, TextField):
        found.append(Action("type", text=letters(random)))
    for widget in screen.front():
        if widget.enabled:
            found += _stray_on(widget, random)
    return found or [Action("wait", seconds=0.1)]


def _stray_on(widget: Widget, random: Random) -> list[Action]:
    def click(box: tuple[int, int, int, int]) -> Action:
        return Action("click", box[0] + box[2] / 2, box[1] + box[3] / 2)

    if isinstance(widget, Button):
        return [] if widget.final else [click(widget.box)]
    if isinstance(widget, (CheckBox, Menu, TextField)):
        return [click(widget.box)]
    if isinstance(widget, RadioGroup):
        return [click(widget.row_box(random.randrange(len(widget.options))))]
    if isinstance(widget, Tabs):
        return [click(widget.tab_box(random.randrange(len(widget.options))))]
    if isinstance(widget, ListBox):
        x, y = widget.box[0] + widget.box[2] / 2, widget.box[1] + widget.box[3] / 2
        scrolls = [Action("scroll", x, y, amount=2.0)] if widget.top > 0 else []
        scrolls += [Action("scroll", x, y, amount=-2.0)] if widget.top < widget.last_top else []
        return [click(widget.row_box(random.choice(widget.visible_rows))), *scrolls]
    if isinstance(widget, Slider):
        x, y = widget.position(random.randint(widget.minimum, widget.maximum))
        return [Action("click", x, y)]
    return []
