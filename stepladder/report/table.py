"""A section of a report that is one table, in both formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from stepladder.report.markdown_text import inline


@dataclass(frozen=True, slots=True)
class Table:
    """A section that is one table; columns that are named in `numbers` stand to the right."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


def section(table: Table | None) -> Iterator[str]:
    """The table as a section of the page; nothing where there is none."""
    if table is None:
        return
    yield f'<h2>{escape(table.title)}</h2><p class="note">{escape(table.note)}</p>'
    body = "".join(f"<tr>{_cells('td', table, row)}</tr>" for row in table.rows)
    yield (
        f'<div class="scroll"><table><thead><tr>{_cells("th", table, table.head)}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cells(tag: str, table: Table, texts: tuple[str, ...]) -> str:
    kinds = [' class="num"' if number in table.numbers else "" for number in range(len(texts))]
    return "".join(f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))


def markdown_section(table: Table | None) -> Iterator[str]:
    if table is None:
        return
    yield f"## {table.title}\n\n{table.note}"
    rule = ["---:" if number in table.numbers else "---" for number in range(len(table.head))]
    rows = [[inline(cell).replace("|", "\\|") for cell in row] for row in table.rows]
    yield "\n".join("| " + " | ".join(line) + " |" for line in [list(table.head), rule, *rows])
