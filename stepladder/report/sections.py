"""Sections of report.html that take a result apart: what was measured, domains, repeats."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from stepladder.report.breakdown import DomainRow, domain_rows, overall_row, repeats_of
from stepladder.report.content import Report
from stepladder.report.figures import curve_svg
from stepladder.report.words import (
    BASELINE_NAMES,
    DOMAIN_NOTE,
    REPEATS_NOTE,
    facts,
    flips_in_words,
    percent,
    points,
    probability,
    repeats_curve,
)

#: What is told apart from chance stands in bold.
SIGNIFICANT = 0.05


def marks(low: float, high: float, rate: float | None, kind: str = "dot") -> str:
    """A rate with its interval on a line from 0 to 100 %."""
    if rate is None:
        return ""
    return (
        f'<i class="span" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        f'<i class="{kind}" style="left:{100 * rate:.2f}%"></i>'
    )


def facts_section(data: Report) -> Iterator[str]:
    if data.rungs:
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts(data))
        yield f'<dl class="facts">{rows}</dl>'


def domains_section(data: Report) -> Iterator[str]:
    if not data.rungs:
        return
    result = data.rungs[-1].result
    rows = domain_rows(result, data.baselines)
    if not rows:
        return
    body = "".join(map(_domain_row, rows))
    total = _domain_row(overall_row(result, data.baselines)) if len(rows) > 1 else ""
    yield f'<h2>Each domain</h2><p class="note">{escape(DOMAIN_NOTE)}</p>'
    yield (
        '<div class="scroll"><table><thead><tr><th>Domain</th><th class="num extra">Tasks</th><th>0 to 100 %</th>'
        '<th class="num">Success</th><th class="num extra">n</th><th class="num extra" colspan="2">Best trivial baseline</th>'
        f'<th class="num">Difference</th><th class="num">p</th></tr></thead><tbody>{body}</tbody><tfoot>{total}</tfoot></table>'
        "</div>"
    )


def _domain_row(row: DomainRow) -> str:
    rate, p = row.rate, row.p if row.adjusted is None else row.adjusted
    tick = ""
    if row.baseline_rate is not None:
        tick = f'<i class="tick" style="left:{100 * row.baseline_rate:.2f}%"></i>'
    line = marks(rate.low, rate.high, rate.rate) if rate.n else ""
    name = "" if row.baseline is None else BASELINE_NAMES[row.baseline]
    strong = " strong" if p is not None and p < SIGNIFICANT else " faint"
    return (
        f'<tr><th>{escape(row.domain)}</th><td class="num faint extra">{row.tasks}</td>'
        f'<td class="line"><span class="plot">{tick}{line}</span></td><td class="num strong">{percent(rate.rate)}</td>'
        f'<td class="num faint extra">{rate.n:,}</td><td class="num faint extra">{escape(name)}</td>'
        f'<td class="num faint extra">{percent(row.baseline_rate)}</td><td class="num">{points(row.difference)}</td>'
        f'<td class="num{strong}">{escape(probability(p))}</td></tr>'
    )


def repeats_section(data: Report) -> Iterator[str]:
    repeats = repeats_of(data.rungs[-1].result) if data.rungs else None
    if repeats is None:
        return
    rows = ""
    for k, at in repeats.pass_at.items():
        cells = "".join(
            f'<td class="num strong">{percent(one.mean)}</td><td class="num faint extra">{percent(one.low)} to '
            f"{percent(one.high)}</td>"
            for one in (at, repeats.pass_hat[k])
        )
        rows += f'<tr><th class="num">{k}</th>{cells}<td class="num faint">{at.n:,}</td></tr>'
    yield f'<h2>Repeats</h2><p class="note">{escape(REPEATS_NOTE)}</p><p>{escape(flips_in_words(repeats))}</p>'
    heads = '<th class="num">k</th>'
    for name in ("pass@k", "pass^k"):
        heads += f'<th class="num">{name}</th><th class="num extra">{repeats.confidence:.0%}</th>'.replace("%<", " %<")
    curve = repeats_curve(repeats)
    yield (
        f'<div class="charts"><div class="scroll"><table><thead><tr>{heads}<th class="num">Starts</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div><figure><h3>{escape(curve.title)}</h3>{curve_svg(curve)}</figure></div>"
    )
