"""report.html: one file without outside resources, made to be read from top to bottom."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from html import escape

from stepladder.report.breakdown import feasible_rates
from stepladder.report.content import Report, Strip
from stepladder.report.figures import curve_svg
from stepladder.report.frames import frames, outcome
from stepladder.report.perception import perception_table
from stepladder.report.sections import domains_section, facts_section, marks, repeats_section
from stepladder.report.style import CSS
from stepladder.report.table import section
from stepladder.report.training import alarm_table, settings_table, trained_domains_table, validation_table
from stepladder.report.words import BASELINE_NAMES, duration, errors_of, interval, missing_words, percent, readable
from stepladder.results import Result, TaskResult

#: What a baseline looks like on a task's line; one without a mark has only its number.
_BASELINE_MARKS = {"random": "tick", "oracle": "thin"}


def html_page(data: Report) -> str:
    """The whole page as text."""
    parts = [
        f'<p class="kicker">Stepladder report</p><h1>{escape(data.title)}</h1><p class="lede">{escape(data.summary)}</p>',
        *_headline(data),
        *(part for table in data.tables for part in section(table)),
        *facts_section(data),
        *domains_section(data),
        *_tasks(data),
        *repeats_section(data),
        *section(validation_table(data)),
        *section(trained_domains_table(data)),
        *section(alarm_table(data)),
        *_curves(data),
        *_perception(data),
        *section(perception_table(data)),
        *_phases(data),
        *_strips(data),
        *_missing(data),
        *section(settings_table(data)),
        *_small_print(data),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{CSS}</style></head><body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _headline(data: Report) -> Iterator[str]:
    if not data.rungs:
        return
    last = data.rungs[-1].result
    figure = f"{100 * last.rate:.1f}<small>%</small>" if last.rate is not None else "–"
    rows = [_ladder_row(readable(rung.name), rung.result, "dot") for rung in reversed(data.rungs)]
    rows += [_ladder_row(BASELINE_NAMES.get(name, name), result, "baseline") for name, result in data.baselines.items()]
    yield (
        f'<section class="headline"><div><div class="figure">{figure}</div>'
        f"<p>of {last.n:,} episodes succeed<br><span class='note'>{interval(last)}</span></p></div>"
        f'<div><table class="ladder"><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _ladder_row(name: str, result: Result, kind: str) -> str:
    low_high = "" if result.n == 0 else f"{percent(result.low, 0)} to {percent(result.high, 0)}"
    line = marks(result.low, result.high, result.rate) if result.n else ""
    return (
        f'<tr class="{kind}"><th>{escape(name)}</th><td class="wide"><span class="plot">{line}</span></td>'
        f'<td class="num strong">{percent(result.rate)}</td><td class="num faint extra">{low_high}</td></tr>'
    )


def _tasks(data: Report) -> Iterator[str]:
    if not data.rungs:
        return
    columns = [(readable(rung.name), _by_task(rung.result), "") for rung in data.rungs[:-2]]
    columns += [(readable(rung.name), _by_task(rung.result), "open") for rung in data.rungs[-2:-1]]
    columns += [(BASELINE_NAMES.get(n, n), _by_task(r), _BASELINE_MARKS.get(n, "")) for n, r in data.baselines.items()]
    headline = _by_task(data.rungs[-1].result)
    order = sorted(data.tasks, key=lambda task: (-(_rate(headline, task) or 0.0), task))
    rows = []
    for task in order:
        others = "".join(
            f'<i class="{kind}" style="left:{100 * rate:.2f}%" title="{escape(name)}: {percent(rate)}"></i>'
            for name, by_task, kind in columns
            if kind and (rate := _rate(by_task, task)) is not None
        )
        part = headline.get(task)
        main = marks(part.low, part.high, part.rate) if part is not None and part.n else ""
        cells = "".join(f'<td class="num faint extra">{percent(_rate(by_task, task), 0)}</td>' for _, by_task, _ in columns)
        count = f"{part.n}{_missing_mark(part)}" if part is not None else "–"
        cannot = ' <span class="faint small">infeasible</span>' if part is not None and part.infeasible else ""
        rows.append(
            f'<tr><th>{escape(task)}{cannot}</th><td class="wide"><span class="plot">{others}{main}</span></td>'
            f'<td class="num strong">{percent(_rate(headline, task), 0)}</td>{cells}<td class="num faint extra">{count}</td></tr>'
        )
    heads = "".join(f'<th class="num extra">{escape(name)}</th>' for name, _, _ in columns)
    name = readable(data.rungs[-1].name)
    yield "<h2>Each task</h2>"
    yield _legend(name, [(column, kind) for column, _, kind in columns if kind])
    yield (
        f'<div class="scroll"><table><thead><tr><th>Task</th><th>0 to 100 %</th><th class="num">{escape(name)}</th>{heads}'
        f'<th class="num extra">Episodes</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _missing_mark(part: TaskResult) -> str:
    """A dagger with the reasons on it; the small print adds them up."""
    return f'<abbr title="{escape(missing_words(part.missing))}">†</abbr>' if part.missing else ""


def _legend(name: str, columns: list[tuple[str, str]]) -> str:
    items = [("span", "95 % interval"), ("dot", name)]
    items = [(kind, label) for kind, label in items] + [(kind, label) for label, kind in columns]
    shapes = {"span": "left:0;width:100%"}
    return (
        '<ul class="legend note">'
        + "".join(
            f'<li><span class="plot"><i class="{kind}" style="{shapes.get(kind, "left:50%")}"></i></span>{escape(label)}</li>'
            for kind, label in items
        )
        + "</ul>"
    )


def _by_task(result: Result) -> dict[str, TaskResult]:
    return {part.task: part for part in result.tasks}


def _rate(parts: Mapping[str, TaskResult], task: str) -> float | None:
    return parts[task].rate if task in parts else None


def _curves(data: Report) -> Iterator[str]:
    if data.curves:
        yield "<h2>Learning</h2>"
        charts = "".join(f"<figure><h3>{escape(curve.title)}</h3>{curve_svg(curve)}</figure>" for curve in data.curves)
        yield f'<div class="charts">{charts}</div>'


def _perception(data: Report) -> Iterator[str]:
    if not data.perception:
        return
    conditions = list(dict.fromkeys(name for row in data.perception.values() for name in row))
    heads = "".join(f'<th class="num">{escape(name)}</th>' for name in conditions)
    rows = []
    for kind, row in data.perception.items():
        cells = "".join(
            f'<td class="num" title="{row[name].successes} of {row[name].n}; 95 %: {percent(row[name].low)} to '
            f'{percent(row[name].high)}">{percent(row[name].rate)}</td>'
            if name in row
            else '<td class="num faint">–</td>'
            for name in conditions
        )
        rows.append(f"<tr><th>{escape(readable(kind))}</th>{cells}</tr>")
    yield "<h2>Perception</h2>"
    yield '<p class="note">Questions about single screens, answered right. What is held out never occurs in training.</p>'
    yield f'<div class="scroll"><table><thead><tr><th></th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _phases(data: Report) -> Iterator[str]:
    total = sum(data.phases.values())
    if total <= 0:
        return
    colours = [f"var(--series-{1 + number % 6})" for number in range(len(data.phases))]
    spans = "".join(
        f'<span style="flex:{seconds / total:.4f};background:{colour}" title="{escape(readable(name))}"></span>'
        for (name, seconds), colour in zip(data.phases.items(), colours, strict=True)
    )
    rows = "".join(
        f'<tr><th><span class="key" style="background:{colour}"></span>{escape(readable(name))}</th>'
        f'<td class="num">{duration(seconds)}</td><td class="num faint">{percent(seconds / total, 0)}</td></tr>'
        for (name, seconds), colour in zip(data.phases.items(), colours, strict=True)
    )
    yield f'<h2>Time</h2><p class="note">{duration(data.seconds)} of running time in all.</p><div class="bar">{spans}</div>'
    yield f'<table style="width:auto"><tbody>{rows}</tbody></table>'


def _strips(data: Report) -> Iterator[str]:
    images = data.images
    if not data.strips or images is None:
        return
    yield "<h2>Episodes</h2>"
    yield '<p class="note">What the agent saw and where it acted. A ring marks a click, an arrow a drag or a scroll.</p>'
    for strip in data.strips:
        yield _strip(strip, "".join(_figures(strip, data)))


def _strip(strip: Strip, figures: str) -> str:
    item = strip.trajectory
    tone = "good" if item.success else "bad"
    note = f"<p class='note'>{escape(strip.note)}</p>" if strip.note else ""
    return (
        f'<article class="strip"><header><h3>{escape(item.task.id)}</h3>'
        f'<span class="small {tone}">{escape(outcome(item))}</span><span class="small">seed {item.seed}</span></header>'
        f'<blockquote>{escape(item.task.instruction)}</blockquote>{note}<div class="frames">{figures}</div></article>'
    )


def _figures(strip: Strip, data: Report) -> Iterator[str]:
    assert data.images is not None
    for frame in frames(strip.trajectory, data.images):
        source = base64.b64encode(frame.png).decode("ascii")
        thought = f"<em>{escape(frame.thought)}</em>" if frame.thought else ""
        yield (
            f'<figure style="width:min({frame.width}px, 80vw)"><img alt="{escape(frame.caption)}" width="{frame.width}" '
            f'height="{frame.height}" src="data:image/png;base64,{source}"><figcaption>{escape(frame.caption)}{thought}'
            "</figcaption></figure>"
        )


def _missing(data: Report) -> Iterator[str]:
    rows = "".join(
        f'<tr><th>{escape(name)}</th><td class="num">{count:,}</td><td>{escape(error)}</td></tr>'
        for name, error, count in errors_of(data)
    )
    if rows:
        yield '<h2>Missing</h2><p class="note">Why episodes have no grade: what the environment said when it broke.</p>'
        yield (
            '<div class="scroll"><table class="small"><thead><tr><th></th><th class="num">Episodes</th><th>Error</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )


def _small_print(data: Report) -> Iterator[str]:
    yield "<h2>Small print</h2>"
    yield from _result_print(data)
    if data.about:
        yield "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in data.about.items()) + "</dl>"


def _result_print(data: Report) -> Iterator[str]:
    results: list[tuple[str, Result]] = [(readable(rung.name), rung.result) for rung in data.rungs]
    results += [(BASELINE_NAMES.get(name, name), result) for name, result in data.baselines.items()]
    if not results:
        return
    yield (
        '<p class="note">Intervals are Wilson intervals of the pooled rate: what other seeds of these very tasks would give. '
        "“Other tasks” resamples whole tasks: what other tasks of this kind would give. Episodes in which the environment "
        "failed are listed as missing and are no part of any rate. Turns and actions are means over episodes; a turn is a look "
        "and a reply, and may hold several actions.</p>"
    )
    split = any(part.infeasible for _, result in results for part in result.tasks)
    heads = ["Success", "95 %", "Other tasks", *(["Without infeasible"] if split else []), "n", "Seeds", "Turns", "Actions"]
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{_cells('td', _figures_of(result, split))}"
        f"<td>{escape(missing_words(result.missing) or 'none')}</td></tr>"
        for name, result in results
    )
    yield (
        f'<div class="scroll"><table class="small"><thead><tr><th></th>{_cells("th", heads)}'
        f"<th>Missing</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _figures_of(result: Result, split: bool) -> list[str]:
    rates = feasible_rates(result)
    return [
        percent(result.rate),
        f"{percent(result.low)} to {percent(result.high)}",
        f"{percent(result.task_low)} to {percent(result.task_high)}",
        *([percent(result.rate if rates is None else rates[0].rate)] if split else []),
        f"{result.n:,}",
        f"{len(result.seeds)}",
        f"{result.turns:.1f}",
        f"{result.actions:.1f}",
    ]


def _cells(tag: str, texts: list[str]) -> str:
    return "".join(f'<{tag} class="num">{text}</{tag}>' for text in texts)
