"""report.md, with its pictures as files in `report_files/`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from stepladder.report.breakdown import DomainRow, domain_rows, overall_row, repeats_of
from stepladder.report.content import Report
from stepladder.report.figures import curve_svg
from stepladder.report.frames import film_strip, frames, outcome
from stepladder.report.markdown_text import code, inline, plain
from stepladder.report.perception import perception_table
from stepladder.report.table import markdown_section
from stepladder.report.training import alarm_table, settings_table, trained_domains_table, validation_table
from stepladder.report.words import (
    BASELINE_NAMES,
    DOMAIN_NOTE,
    REPEATS_NOTE,
    duration,
    errors_of,
    facts,
    flips_in_words,
    interval,
    missing_words,
    percent,
    points,
    probability,
    readable,
    repeats_curve,
)
from stepladder.results import Result
from stepladder.stats import Mean

PICTURES = "report_files"


def write_markdown(directory: Path, data: Report) -> None:
    """Write report.md and its pictures; pictures of an earlier report are removed."""
    pictures = directory / PICTURES
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    blocks = [
        f"# {inline(data.title)}",
        plain(data.summary),
        *_headline(data),
        *(part for table in data.tables for part in markdown_section(table)),
        *_domains(data),
        *_tasks(data),
        *_repeats(data, pictures),
    ]
    for table in (validation_table, trained_domains_table, alarm_table):
        blocks += markdown_section(table(data))
    blocks += _curves(data, pictures)
    blocks += [
        *_perception(data),
        *markdown_section(perception_table(data)),
        *_phases(data),
        *_strips(data, pictures),
        *_missing(data),
    ]
    blocks += [*markdown_section(settings_table(data)), *_small_print(data)]
    (directory / "report.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _headline(data: Report) -> Iterator[str]:
    if data.rungs:
        last = data.rungs[-1].result
        yield f"**{percent(last.rate)}** of {last.n:,} episodes succeed ({interval(last)})."
        yield "\n".join(f"- **{name}:** {inline(text)}" for name, text in facts(data))
        rows = [(readable(rung.name), rung.result) for rung in data.rungs]
        yield _results([*rows, *((BASELINE_NAMES.get(name, name), result) for name, result in data.baselines.items())])


def _results(rows: list[tuple[str, Result]]) -> str:
    return table(
        ["", "success", "95 % interval", "over other tasks", "n", "seeds", "turns", "actions", "missing"],
        [
            [
                inline(name),
                percent(result.rate),
                f"{percent(result.low)} to {percent(result.high)}",
                f"{percent(result.task_low)} to {percent(result.task_high)}",
                f"{result.n}",
                f"{len(result.seeds)}",
                f"{result.turns:.1f}",
                f"{result.actions:.1f}",
                missing_words(result.missing) or "none",
            ]
            for name, result in rows
        ],
    )


def _domains(data: Report) -> Iterator[str]:
    if not data.rungs:
        return
    result = data.rungs[-1].result
    rows = domain_rows(result, data.baselines)
    if rows:
        yield f"## Each domain\n\n{DOMAIN_NOTE}"
        yield table(
            ["domain", "tasks", "success", "95 % interval", "n", "best trivial baseline", "difference", "p"],
            [_domain(row) for row in (*rows, *([overall_row(result, data.baselines)] if len(rows) > 1 else []))],
        )


def _domain(row: DomainRow) -> list[str]:
    best = "–" if row.baseline is None else f"{BASELINE_NAMES[row.baseline]} {percent(row.baseline_rate)}"
    return [
        inline(row.domain),
        f"{row.tasks}",
        percent(row.rate.rate),
        f"{percent(row.rate.low)} to {percent(row.rate.high)}" if row.rate.n else "–",
        f"{row.rate.n}",
        best,
        points(row.difference),
        probability(row.p if row.adjusted is None else row.adjusted),
    ]


def _repeats(data: Report, pictures: Path) -> Iterator[str]:
    repeats = repeats_of(data.rungs[-1].result) if data.rungs else None
    if repeats is None:
        return
    curve = repeats_curve(repeats)
    path = pictures / "repeats.svg"
    path.write_text(curve_svg(curve, themed=False), encoding="utf-8")
    yield f"## Repeats\n\n{REPEATS_NOTE}\n\n{flips_in_words(repeats)}"
    yield table(
        ["k", "pass@k", "interval", "pass^k", "interval", "starts"],
        [
            [k, *(cell for one in (at, repeats.pass_hat[k]) for cell in (percent(one.mean), _span(one))), f"{at.n}"]
            for k, at in repeats.pass_at.items()
        ],
    )
    yield f"![{curve.title}]({PICTURES}/{path.name})"


def _span(mean: Mean) -> str:
    return f"{percent(mean.low)} to {percent(mean.high)}"


def _tasks(data: Report) -> Iterator[str]:
    if not data.rungs:
        return
    columns = [(readable(rung.name), rung.result) for rung in reversed(data.rungs)]
    columns += [(BASELINE_NAMES.get(name, name), result) for name, result in data.baselines.items()]
    by_task = [{part.task: part for part in result.tasks} for _, result in columns]
    order = sorted(data.tasks, key=lambda task: (-((by_task[0][task].rate if task in by_task[0] else None) or 0.0), task))
    rows = []
    for task in order:
        first = by_task[0].get(task)
        low_high = f"{percent(first.low, 0)} to {percent(first.high, 0)}" if first is not None and first.n else "–"
        rates = [percent(parts[task].rate if task in parts else None, 0) for parts in by_task]
        name = f"{code(task)}{' (infeasible)' if first is not None and first.infeasible else ''}"
        rows.append([name, rates[0], low_high, *rates[1:], str(first.n) if first is not None else "–"])
    yield "## Each task"
    yield table(["task", inline(columns[0][0]), "95 % interval", *(inline(name) for name, _ in columns[1:]), "n"], rows)


def _curves(data: Report, pictures: Path) -> Iterator[str]:
    if data.curves:
        yield "## Learning"
    for number, curve in enumerate(data.curves, start=1):
        path = pictures / f"curve-{number:02d}.svg"
        path.write_text(curve_svg(curve, themed=False), encoding="utf-8")
        yield f"### {inline(curve.title)}\n\n![{inline(curve.title)}]({PICTURES}/{path.name})"


def _perception(data: Report) -> Iterator[str]:
    if data.perception:
        conditions = list(dict.fromkeys(name for row in data.perception.values() for name in row))
        yield "## Perception\n\nQuestions about single screens, answered right."
        yield table(
            ["", *map(inline, conditions)],
            [
                [inline(readable(kind)), *(percent(row[name].rate) if name in row else "–" for name in conditions)]
                for kind, row in data.perception.items()
            ],
        )


def _phases(data: Report) -> Iterator[str]:
    if data.phases:
        yield f"## Time\n\n{duration(data.seconds)} of running time in all."
        yield table(["stage", "time"], [[inline(readable(name)), duration(seconds)] for name, seconds in data.phases.items()])


def _strips(data: Report, pictures: Path) -> Iterator[str]:
    if not data.strips or data.images is None:
        return
    yield "## Episodes"
    for number, strip in enumerate(data.strips, start=1):
        item = strip.trajectory
        shown = list(frames(item, data.images, most=6))
        if not shown:
            continue
        path = pictures / f"strip-{number:02d}.png"
        path.write_bytes(film_strip(shown))
        lines = [f"### {inline(item.task.id)}: {outcome(item)}", f"> {plain(item.task.instruction)}", plain(strip.note)]
        lines += [f"![{inline(item.task.id)}, seed {item.seed}]({PICTURES}/{path.name})"]
        lines += ["  \n".join(inline(frame.caption) + (f" ({inline(frame.thought)})" if frame.thought else "") for frame in shown)]
        yield "\n\n".join(line for line in lines if line)


def _missing(data: Report) -> Iterator[str]:
    rows = [[inline(name), f"{count}", code(error)] for name, error, count in errors_of(data)]
    if rows:
        yield "## Missing\n\nWhy episodes have no grade: what the environment said when it broke."
        yield table(["", "episodes", "error"], rows)


def _small_print(data: Report) -> Iterator[str]:
    yield "## Small print"
    if data.rungs or data.baselines:
        yield (
            "Intervals are Wilson intervals of the pooled rate: what other seeds of these very tasks would give. "
            "“Over other tasks” resamples whole tasks. Episodes in which the environment failed are listed as missing and are no "
            "part of any rate. Turns and actions are means over episodes; a turn is a look and a reply, and may hold several "
            "actions."
        )
    if data.about:
        yield "\n".join(f"- {plain(name)}: {inline(text)}" for name, text in data.about.items())


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
