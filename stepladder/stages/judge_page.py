"""judge.md and judge.html: how far a judge agrees with the checks of tasks, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from stepladder.judges.agreement import MEASURES, Agreement, Part
from stepladder.report.markdown_text import inline, plain
from stepladder.report.style import CSS
from stepladder.stats.agreement import Estimate

_NAMES = {"f1": "F1", "kappa": "Cohen's kappa"}
_HEADS = ("", "episodes", *(_NAMES.get(name, name) for name in MEASURES), "no verdict")


def judge_markdown(title: str, found: Agreement, about: Mapping[str, str]) -> str:
    """The report as Markdown."""
    lines = [f"# {plain(title)}", "", *(plain(sentence) + "\n" for sentence in sentences(found))]
    for heading, rows in tables(found):
        lines += [f"## {heading}", "", "| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
        lines += ["| " + " | ".join(inline(cell).replace("|", "\\|") for cell in row) + " |" for row in rows[1:]]
        lines.append("")
    lines += [f"{plain(name)}: {inline(text)}  " for name, text in about.items()]
    return "\n".join(lines) + "\n"


def judge_page(title: str, found: Agreement, about: Mapping[str, str]) -> str:
    """The report as one file without outside resources."""
    parts = [f'<p class="kicker">Stepladder judge</p><h1>{escape(title)}</h1>']
    parts += [f'<p class="note">{escape(sentence)}</p>' for sentence in sentences(found)]
    for heading, rows in tables(found):
        head = "".join(f"<th{'' if not number else ' class=num'}>{escape(cell)}</th>" for number, cell in enumerate(rows[0]))
        body = "".join(
            f"<tr><th>{escape(row[0])}</th>" + "".join(f'<td class="num">{escape(cell)}</td>' for cell in row[1:]) + "</tr>"
            for row in rows[1:]
        )
        parts.append(f"<h2>{escape(heading)}</h2>")
        parts.append(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')
    parts.append("<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in about.items()) + "</dl>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def sentences(found: Agreement) -> Iterator[str]:
    """What is to be known beside the tables, a sentence each."""
    counts = found.counts
    yield f"{counts['judged']:,} episodes were judged; {found.all.table.n:,} of them have a verdict and a check to compare it with."
    yield f"Intervals hold at {found.confidence:.0%}.".replace("%", " %")
    if counts["without a check"]:
        yield f"{counts['without a check']:,} episodes have no check but a judge's, and are not compared."
    if sum(found.all.undecided):
        yield (
            f"{sum(found.all.undecided):,} episodes have no verdict, {found.all.undecided[0]:,} of them successes; "
            "they are in no rate."
        )
    if found.unread:
        yield f"{found.unread:,} of {found.votes:,} votes could not be read."
    if found.split:
        yield f"Of {found.split:,} episodes the votes were not unanimous; these count as failures."
    if counts["seen in part"]:
        yield f"Of {counts['seen in part']:,} episodes only the first and last screenshots were shown."
    if counts["without the last screen"]:
        yield f"{counts['without the last screen']:,} episodes were kept without the screen after their last action."
    if found.usage:
        yield "All calls used " + ", ".join(f"{amount:,.6g} {name.replace('_', ' ')}" for name, amount in found.usage.items()) + "."


def tables(found: Agreement) -> Iterator[tuple[str, list[list[str]]]]:
    """(heading, rows with the head first); the first cell of a row is its name."""
    table = found.all.table
    yield (
        "Verdicts",
        [
            ["", "judged a success", "judged a failure", "no verdict"],
            ["successes", f"{table.true_positive:,}", f"{table.false_negative:,}", f"{found.all.undecided[0]:,}"],
            ["failures", f"{table.false_positive:,}", f"{table.true_negative:,}", f"{found.all.undecided[1]:,}"],
        ],
    )
    yield "Agreement", [list(_HEADS), _row(found.all)]
    for heading, parts in (("By number of votes", found.by_votes), ("By domain", found.domains), ("By task", found.tasks)):
        if len(parts) > 1:
            yield heading, _rows(parts)


def _rows(parts: Sequence[Part]) -> list[list[str]]:
    return [list(_HEADS), *(_row(part) for part in parts)]


def _row(part: Part) -> list[str]:
    return [part.name, f"{part.table.n:,}", *(_cell(part.measures[name]) for name in MEASURES), f"{sum(part.undecided):,}"]


def _cell(one: Estimate) -> str:
    if one.value is None:
        return "–"
    bounds = "" if one.low is None or one.high is None else f" ({one.low:.3f} to {one.high:.3f})"
    return f"{one.value:.3f}{bounds}"
