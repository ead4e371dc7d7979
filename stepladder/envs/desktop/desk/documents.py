"""Tasks in LibreOffice Writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from stepladder.envs.desktop.actions import Move, press, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened
from stepladder.envs.desktop.desk.draw import sentence, word
from stepladder.envs.desktop.desk.office import document, in_document, saving
from stepladder.words import WordPart

_TOP = press("ctrl", "home", why="Go to the beginning.")
_LINE = [_TOP, press("shift", "end", why="Select the line.")]


def _name(random: Random, part: WordPart) -> str:
    return f"Documents/{word(random, part)}.docx"


def _text(random: Random, part: WordPart, count: int = 3) -> list[str]:
    return [sentence(random, part) for _ in range(count)]


def _paragraphs(read: Any) -> list[str]:
    """The paragraphs, without empty ones."""
    return [paragraph.text for paragraph in read.paragraphs if paragraph.text.strip()]


def _opened(name: str) -> tuple[Opened, ...]:
    return (Opened("writer", (name,)),)


def _same_text(read: Any, wanted: Sequence[str]) -> bool:
    return _paragraphs(read) == list(wanted)


def _append(random: Random, part: WordPart) -> Case:
    name, old, new = _name(random, part), _text(random, part), sentence(random, part)
    solve = saving(name, press("ctrl", "end", why="Go to the end."), write(f"\n{new}", "Add the paragraph."))
    check = in_document(name, lambda read: _same_text(read, [*old, new]))
    instruction = f"Add a paragraph “{new}” at the end of the document and save it."
    return Case(instruction, check, solve, {name: document(old)}, _opened(name))


def _first(instruction: str, change: Sequence[Move], marked: Callable[[Any], bool]) -> Callable[[Random, WordPart], Case]:
    """A task that changes how the first paragraph looks and no other; `marked` says whether a paragraph does so."""

    def make(random: Random, part: WordPart) -> Case:
        name, old = _name(random, part), _text(random, part)

        def holds(read: Any) -> bool:
            found = [bool(marked(paragraph)) for paragraph in read.paragraphs if paragraph.text.strip()]
            return _same_text(read, old) and found == [True] + [False] * (len(old) - 1)

        return Case(instruction, in_document(name, holds), saving(name, *change), {name: document(old)}, _opened(name))

    return make


def _centred(paragraph: Any) -> bool:
    import docx.enum.text

    return bool(paragraph.alignment == docx.enum.text.WD_ALIGN_PARAGRAPH.CENTER)


_bold = _first(
    "Make the first paragraph bold, and no other, and save the document.",
    [*_LINE, press("ctrl", "b", why="Make it bold.")],
    lambda paragraph: all(run.bold for run in paragraph.runs if run.text),
)
_heading = _first(
    "Give the first paragraph the paragraph style “Heading 1”, and save the document.",
    [_TOP, press("ctrl", "1", why="Give it the style of a heading.")],
    lambda paragraph: paragraph.style.name == "Heading 1",
)
_center = _first(
    "Centre the first paragraph, and no other, and save the document.",
    [_TOP, press("ctrl", "e", why="Centre it.")],
    _centred,
)


def _delete(random: Random, part: WordPart) -> Case:
    name, old = _name(random, part), _text(random, part)
    place = random.randrange(len(old))
    down = [press("ctrl", "down", why="Go to the next paragraph.")] * place
    remove = [press("shift", "end", why="Select the paragraph."), press("delete", why="Delete it.")]
    kept = [one for one in old if one != old[place]]
    check = in_document(name, lambda read: _same_text(read, kept))
    instruction = f"Delete the paragraph “{old[place]}” from the document and save it."
    return Case(instruction, check, saving(name, _TOP, *down, *remove), {name: document(old)}, _opened(name))


TASKS = (
    DeskTask("document-append", _append, ("writer",), tags=("office",)),
    DeskTask("document-bold", _bold, ("writer",), tags=("office",)),
    DeskTask("document-heading", _heading, ("writer",), tags=("office",)),
    DeskTask("document-center", _center, ("writer",), tags=("office",)),
    DeskTask("document-delete", _delete, ("writer",), tags=("office",)),
)
