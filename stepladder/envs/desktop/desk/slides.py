"""Tasks in LibreOffice Impress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

from stepladder.envs.desktop.actions import Move, done, press, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened
from stepladder.envs.desktop.desk.checks import choose
from stepladder.envs.desktop.desk.draw import sentence, word
from stepladder.envs.desktop.desk.office import in_presentation, presentation, save, saving
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart


def _name(random: Random, part: WordPart) -> str:
    return f"Documents/{word(random, part)}.pptx"


def _titles(read: Any) -> list[str]:
    """What stands on each slide; an end of line counts, spaces at the ends do not."""
    return [" ".join(shape.text_frame.text for shape in slide.shapes if shape.has_text_frame).strip(" ") for slide in read.slides]


def _opened(name: str) -> tuple[Opened, ...]:
    return (Opened("impress", (name,)),)


def _title(random: Random, part: WordPart) -> Case:
    name, old, new = _name(random, part), [sentence(random, part, 3) for _ in range(2)], sentence(random, part, 3)
    moves = [
        press("tab", why="Select the title."),
        press("f2", why="Edit it."),
        press("ctrl", "a", why="Replace what stands there."),
        write(new, "Type the title."),
        press("escape", why="End editing."),
    ]
    check = in_presentation(name, lambda read: _titles(read) == [new, old[1]])
    instruction = f"Change the title of the first slide to “{new}” and save the presentation."
    return Case(instruction, check, saving(name, *moves), {name: presentation(old)}, _opened(name))


def _through_menu(item: str, after: str) -> Any:
    """A task that one item of the menu "Slide" does; `after` says how the slides change."""

    def make(random: Random, part: WordPart) -> Case:
        name, old = _name(random, part), [sentence(random, part, 3) for _ in range(3)]
        content = presentation(old)
        wanted = {"deleted": old[1:], "twice": [old[0], *old], "new": [old[0], "", *old[1:]]}[after]
        instruction = {
            "deleted": "Delete the first slide and save the presentation.",
            "twice": "Duplicate the first slide, so that the copy comes right after it, and save the presentation.",
            "new": "Insert an empty slide after the first one and save the presentation.",
        }[after]

        async def solve(look: Look) -> AsyncIterator[Move]:
            async for move in choose(look, "Slide", item):
                yield move
            async for move in save(look, name, content):
                yield move
            yield done()

        check = in_presentation(name, lambda read: _titles(read) == wanted)
        return Case(instruction, check, solve, {name: content}, _opened(name))

    return make


TASKS = (
    DeskTask("slides-title", _title, ("impress",), tags=("office",)),
    DeskTask("slides-delete", _through_menu("Delete Slide", "deleted"), ("impress",), tags=("office", "menu")),
    DeskTask("slides-duplicate", _through_menu("Duplicate Slide", "twice"), ("impress",), tags=("office", "menu")),
    DeskTask("slides-new", _through_menu("New Slide", "new"), ("impress",), tags=("office", "menu")),
)
