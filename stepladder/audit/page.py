"""audit.html: one file without outside resources, with the last screen of every finding."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape

from stepladder.audit.findings import Finding, Summary, TaskRow
from stepladder.audit.probes import PROBES
from stepladder.audit.words import PROBE_NAMES, finding_words, give_up_words, severity_words, trivial_words
from stepladder.images import ImageStore
from stepladder.report.frames import Frame, describe_actions, frames, outcome
from stepladder.report.style import CSS
from stepladder.types import Trajectory

#: Screens of one finding that are shown: the last ones, with what was done on them.
SHOWN = 4


def audit_page(
    title: str, summary: Summary, evidence: Mapping[str, Trajectory], images: ImageStore, about: Mapping[str, str]
) -> str:
    """The whole page as text. `evidence` has the trajectories of findings by their ids, of which one each is shown."""
    parts = [
        f'<p class="kicker">Stepladder audit</p><h1>{escape(title)}</h1>',
        *_lede(summary),
        *_findings("Findings", summary.open, evidence, images),
        *_findings("Known to be right", [one for one in summary.findings if one.allowed], evidence, images),
        *_tasks(summary.rows),
        *_small_print(summary, about),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _lede(summary: Summary) -> Iterator[str]:
    count = len(summary.open)
    said = "nothing that is scored above 0 without a reason" if not count else f"{count} findings that want a person's judgement"
    yield f'<p class="lede">{len(summary.rows)} tasks, {said}.</p><ul class="note">'
    for line in (*trivial_words(summary), *give_up_words(summary)):
        yield f"<li>{escape(line)}</li>"
    yield "</ul>"


def _findings(title: str, found: Sequence[Finding], evidence: Mapping[str, Trajectory], images: ImageStore) -> Iterator[str]:
    if not found:
        return
    yield f"<h2>{escape(title)}</h2>"
    for one in found:
        shown = next((evidence[name] for name in one.evidence if name in evidence), None)
        tone = "bad" if one.severity == "success" and not one.allowed else ""
        reason = f'<p class="note">Right, because {escape(one.allowed)}</p>' if one.allowed else ""
        instruction = f"<blockquote>{escape(shown.task.instruction)}</blockquote>" if shown is not None else ""
        source = f'<p class="note">Trajectory {escape(shown.id)}</p>' if shown is not None else ""
        pictures = "".join(_figure(*one) for one in _pictures(shown, images)) if shown is not None else ""
        yield (
            f'<article class="strip"><header><h3>{escape(one.task)}</h3><span class="small">{escape(finding_words(one))}</span>'
            f'<span class="small {tone}">{escape(severity_words(one))}</span></header>{instruction}{reason}'
            f'<div class="frames">{pictures}</div>{source}</article>'
        )


def _pictures(shown: Trajectory, images: ImageStore) -> Iterator[tuple[Frame, str]]:
    """The last screens of an episode, each with what was done on it, then how it ended."""
    steps = [(number, step) for number, step in enumerate(shown.steps, start=1) if step.observation.screenshot is not None]
    last = steps[1 - SHOWN :]
    captions = [*(f"{number}. {describe_actions(step)}" for number, step in last), outcome(shown)]
    yield from zip(frames(replace(shown, steps=tuple(step for _, step in last)), images), captions, strict=False)


def _figure(frame: Frame, caption: str) -> str:
    source = base64.b64encode(frame.png).decode("ascii")
    return (
        f'<figure style="width:min({frame.width}px, 80vw)"><img alt="{escape(caption)}" width="{frame.width}" '
        f'height="{frame.height}" src="data:image/png;base64,{source}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _tasks(rows: Sequence[TaskRow]) -> Iterator[str]:
    probes = [probe for probe in PROBES if any(probe in row.cells for row in rows)]
    heads = "".join(f'<th class="num">{escape(PROBE_NAMES[probe])}</th>' for probe in probes)
    lines = []
    for row in sorted(rows, key=lambda row: row.task):
        cells = "".join(
            f'<td class="num{"" if row.cells.get(probe, (0, 0))[0] else " faint"}">'
            + (f"{row.cells[probe][0]}/{row.cells[probe][1]}" if probe in row.cells else "–")
            + "</td>"
            for probe in probes
        )
        mark = ' <span class="small">infeasible</span>' if row.infeasible else ""
        lines.append(
            f'<tr><th>{escape(row.task)}{mark}</th>{cells}<td class="num faint">{row.void}</td>'
            f'<td class="num faint">{row.missing}</td></tr>'
        )
    yield '<h2>Each task</h2><p class="note">Episodes that earned something, of those that say something.</p>'
    yield (
        f'<div class="scroll"><table><thead><tr><th>Task</th>{heads}<th class="num">Say nothing</th><th class="num">Missing</th>'
        f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _small_print(summary: Summary, about: Mapping[str, str]) -> Iterator[str]:
    yield "<h2>Small print</h2>"
    if summary.without_solution:
        yield f'<p class="note">No solution is known of {escape(", ".join(summary.without_solution))}.</p>'
    if summary.errors:
        rows = "".join(
            f'<tr><td class="num">{count:,}</td><td>{escape(error)}</td></tr>' for error, count in summary.errors.items()
        )
        yield f'<p class="note">Why episodes have no grade:</p><table class="small"><tbody>{rows}</tbody></table>'
    for one in summary.unused:
        yield f'<p class="note">Nothing is covered by the allowance for {escape(one.task)}, {escape(one.probe)}.</p>'
    yield "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in about.items()) + "</dl>"
