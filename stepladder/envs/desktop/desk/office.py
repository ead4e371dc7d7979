"""Making and reading office documents, for tasks in LibreOffice. What cannot be read is None: the check then fails."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from stepladder.envs.desktop.actions import Move, done, press, wait
from stepladder.envs.desktop.desk.case import Check, Solve
from stepladder.envs.desktop.look import Look
from stepladder.interfaces import EnvironmentTimeout

Cell = str | int | float | None
T = TypeVar("T")
#: Bytes that a file may unpack to, and seconds that its reading may take.
_LARGEST, _SECONDS = 64 << 20, 15.0


def priced(items: Sequence[str], prices: Sequence[int]) -> list[list[Cell]]:
    """The rows of a sheet with names and prices, below their titles."""
    rows: list[list[Cell]] = [["Item", "Price"]]
    for item, price in zip(items, prices, strict=True):
        rows.append([item, price])
    return rows


def workbook(rows: Sequence[Sequence[Cell]], title: str = "Data") -> bytes:
    """An .xlsx file with one sheet."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(list(row))
    return _saved(book)


def document(paragraphs: Sequence[str]) -> bytes:
    """A .docx file."""
    import docx

    made = docx.Document()
    for paragraph in paragraphs:
        made.add_paragraph(paragraph)
    return _saved(made)


def presentation(titles: Sequence[str]) -> bytes:
    """A .pptx file with a slide for each title."""
    import pptx

    made = pptx.Presentation()
    for title in titles:
        slide = made.slides.add_slide(made.slide_layouts[5])  # title only
        slide.shapes.title.text = title
    return _saved(made)


def _saved(made: Any) -> bytes:
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def in_workbook(name: str, holds: Callable[[Any, Any], bool]) -> Check:
    """Whether something holds of the file as openpyxl reads it: with formulas, and with their results."""

    def read(content: bytes) -> bool:
        import openpyxl

        return holds(openpyxl.load_workbook(io.BytesIO(content)), openpyxl.load_workbook(io.BytesIO(content), data_only=True))

    return _reading(name, read)


def in_document(name: str, holds: Callable[[Any], bool]) -> Check:
    """Whether something holds of the file as python-docx reads it."""

    def read(content: bytes) -> bool:
        import docx

        return holds(docx.Document(io.BytesIO(content)))

    return _reading(name, read)


def in_presentation(name: str, holds: Callable[[Any], bool]) -> Check:
    """Whether something holds of the file as python-pptx reads it."""

    def read(content: bytes) -> bool:
        import pptx

        return holds(pptx.Presentation(io.BytesIO(content)))

    return _reading(name, read)


def _reading(name: str, read: Callable[[bytes], bool]) -> Check:
    async def check(look: Look) -> bool:
        content = await look.file(name)
        return content is not None and bool(await read_apart(content, read))

    return check


async def read_apart(content: bytes, read: Callable[[bytes], T]) -> T | None:
    """What `read` makes of an office file; None of one that is broken, or that unpacks to more than any task's. An agent may leave
    anything, so the reading has a limit of time and is not done in this thread."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                return None
        async with asyncio.timeout(_SECONDS):
            return await asyncio.to_thread(read, content)
    except TimeoutError:
        raise EnvironmentTimeout(f"a file could not be read within {_SECONDS:g} s") from None
    except Exception:  # the libraries raise what they like
        return None


def saving(name: str, *given: Move) -> Solve:
    """Moves, then saving, then waiting until the file on disk has changed and is whole."""

    async def solve(look: Look) -> AsyncIterator[Move]:
        before = await look.file(name)
        for move in given:
            yield move
        async for move in save(look, name, before):
            yield move
        yield done()

    return solve


async def save(look: Look, name: str, before: bytes | None) -> AsyncIterator[Move]:
    """Saves the document, and waits until that is done."""
    yield press("ctrl", "s", why="Save the document.")

    async def written() -> bool:
        content = await look.file(name)
        return content is not None and content != before and zipfile.is_zipfile(io.BytesIO(content))

    await look.until(written)
    yield wait(0.3, "Wait until it is saved.")
