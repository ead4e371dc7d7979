"""The report of a ladder: what every rung added, by its own measure and by all others, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure as Picture

from stepladder.codec import from_json, to_json
from stepladder.report import Curve, Report, Rung, write_report
from stepladder.report.table import Table
from stepladder.report.words import percent
from stepladder.results import Result
from stepladder.run import Run, describe_machine, read_phases, write_json
from stepladder.stages import evaluate
from stepladder.stages.ladder_config import ACTS, PRETRAINING, LadderConfig
from stepladder.stages.ladder_config import Rung as LadderRung
from stepladder.stages.ladder_measures import BOTH_WAYS, ERRORS, MEASURES, TITLES, Change, Figure, MeasureName, Measurer, change
from stepladder.stages.policies import policy_name

#: Of a rung everything that was measured.
Found = Mapping[MeasureName, Figure]
FIGURES_FILE, PICTURE_FILE = "ladder.json", "ladder.png"
OWN_NOTE = (
    "Each rung by the measure that it is there for, against the rung before it. Differences of rates are those of the same starts, "
    "differences of perplexities are nats a token (below 0 is better); intervals are at 95 %. A rung has helped where its interval "
    "leaves 0 out."
)
ALL_NOTE = "The same held-out sets after every rung. What a rung does not practise it may forget."


def write(config: LadderConfig, measurer: Measurer, run: Run) -> Path:
    """Write report.html and its companions, ladder.json and ladder.png; the path of the first."""
    found = {rung: measurer.known(rung.name) for rung in config.rungs}
    seconds = _seconds(config)
    own = [_own(rung, found, number) for number, rung in enumerate(config.rungs)]
    write_json(config.output / FIGURES_FILE, [_record(rung, found[rung], seconds.get(rung.name, 0.0)) for rung in config.rungs])
    _draw(found, config.output / PICTURE_FILE)
    acting = [rung for rung in config.rungs if rung.number >= ACTS]
    return write_report(
        config.output,
        Report(
            title="Twelve rungs, from random weights",
            summary=_summary(own),
            rungs=tuple(Rung(rung.name, _result(measurer, rung), seconds.get(rung.name, 0.0)) for rung in acting),
            baselines={},
            seconds=run.seconds,
            tables=(_own_table(own, seconds), _all_table(found)),
            curves=tuple(_curve(name, found) for name in MEASURES),
            phases={rung.title: seconds[rung.name] for rung in config.rungs if rung.name in seconds},
            about={**evaluate.about(describe_machine()), "training seed": str(config.seed), "left out": ", ".join(config.without)},
        ),
    )


def _result(measurer: Measurer, rung: LadderRung) -> Result:
    directory = measurer.output / rung.name / "pages"
    policy = json.loads((directory / "config.json").read_text())["policy"]
    path = directory / f"{policy_name(policy)}.json"
    return from_json(Result, json.loads(path.read_text()), str(path))


def _seconds(config: LadderConfig) -> dict[str, float]:
    """Of every rung; those of pre-training are told by their own run."""
    phases = read_phases(config.output)
    spent = {name: float(state["seconds"]) for name, state in phases.items()}
    climbed = [rung for rung in PRETRAINING if rung in config.rungs]
    if climbed:
        spent |= {name: float(state["seconds"]) for name, state in read_phases(config.output / "1-pretrain").items()}
    return {rung.name: spent[rung.name] for rung in config.rungs if rung.name in spent}


@dataclass(frozen=True)
class Added:
    """What a rung came to by its own measure, and how that differs from the rung before (None for the first)."""

    rung: LadderRung
    after: Figure
    before: Figure | None = None
    change: Change | None = None


def _own(rung: LadderRung, found: Mapping[LadderRung, Found], number: int) -> Added:
    after = found[rung][rung.measure]
    if not number:
        return Added(rung, after)
    before = list(found.values())[number - 1][rung.measure]
    return Added(rung, after, before, change(rung.measure, before, after))


def _summary(own: Sequence[Added]) -> str:
    changes = [(one.rung.name, one.change) for one in own if one.change is not None]
    helped = [name for name, found in changes if found.better]
    hurt = [name for name, found in changes if found.worse]
    unclear = [name for name, found in changes if not (found.better or found.worse)]
    parts = [
        f"{len(helped)} of {len(changes)} rungs are clearly better than the rung before them, by their own measure"
        + (f": {', '.join(helped)}" if helped else "")
    ]
    if unclear:
        parts.append(f"no clear difference: {', '.join(unclear)}")
    if hurt:
        parts.append(f"clearly worse: {', '.join(hurt)}")
    return "; ".join(parts) + "."


def _own_table(own: Sequence[Added], seconds: Mapping[str, float]) -> Table:
    head = ("rung", "measure", "before", "after", "difference", "", "s")
    rows = tuple(_own_row(one, seconds.get(one.rung.name, 0.0)) for one in own)
    return Table("What each rung added", OWN_NOTE, head, rows, frozenset((2, 3, 4, 6)))


def _own_row(one: Added, seconds: float) -> tuple[str, ...]:
    name, found = one.rung.measure, one.change
    before, difference, verdict = "–", "–", ""
    if one.before is not None and found is not None:
        before = _shown(name, one.before)
        difference = _difference(name, found.difference, found.low, found.high)
        verdict = "better" if found.better else "worse" if found.worse else "not clear"
    rung = f"{one.rung.number} {one.rung.title}"
    return rung, TITLES[name], before, _shown(name, one.after), difference, verdict, f"{seconds:.0f}"


def _all_table(found: Mapping[LadderRung, Found]) -> Table:
    names = [name for name in (*MEASURES, *BOTH_WAYS) if any(name in one for one in found.values())]
    rows = [
        (f"{rung.number} {rung.name}", *(_shown(name, figures[name]) if name in figures else "" for name in names))
        for rung, figures in found.items()
    ]
    head = ("rung", *(TITLES[name] for name in names))
    return Table("Everything that was measured", ALL_NOTE, head, tuple(rows), frozenset(range(1, len(head))))


def _shown(name: MeasureName, figure: Figure) -> str:
    if name in ERRORS:
        return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}, n = {figure.n})"
    return f"{percent(figure.value)} ({percent(figure.low)} to {percent(figure.high)}, n = {figure.n})"


def _difference(name: MeasureName, difference: float, low: float, high: float) -> str:
    if name in ERRORS:
        return f"{difference:+.3f} nats ({low:+.3f} to {high:+.3f})"
    return f"{100 * difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _curve(name: MeasureName, found: Mapping[LadderRung, Found]) -> Curve:
    rows = [(float(rung.number), figures[name]) for rung, figures in found.items() if name in figures]
    series = {
        "measured": [(x, one.value) for x, one in rows],
        "95 %, low": [(x, one.low) for x, one in rows],
        "95 %, high": [(x, one.high) for x, one in rows],
    }
    return Curve(TITLES[name].capitalize(), "after rung", series, percent=name not in ERRORS, logarithmic=name in ERRORS)


def _draw(found: Mapping[LadderRung, Found], path: Path) -> None:
    """One panel for every measure over all rungs; the rungs that are there to raise it stand out."""
    picture = Picture(figsize=(8.6, 10.0), layout="constrained")
    panels = picture.subplots(len(MEASURES), 1, sharex=True)
    rungs = list(found)
    for name, panel in zip(MEASURES, panels, strict=True):
        scale = 1.0 if name in ERRORS else 100.0
        shown = [(place, found[rung][name]) for place, rung in enumerate(rungs) if name in found[rung]]
        for place, figure in shown:
            own = rungs[place].measure == name
            colour = "#0c6e68" if own else "#9aa4ab"
            panel.plot([place, place], [scale * figure.low, scale * figure.high], color=colour, linewidth=2.2 if own else 1.2)
            panel.plot([place], [scale * figure.value], marker="o", markersize=6 if own else 4, color=colour)
        panel.plot([place for place, _ in shown], [scale * one.value for _, one in shown], color="#d5d9dc", linewidth=1, zorder=0)
        if name in ERRORS:
            panel.set_yscale("log")
        panel.set_title(TITLES[name] + (" (less is better)" if name in ERRORS else ", %"), fontsize=10, loc="left")
        panel.grid(axis="y", color="#e3e6e8", linewidth=0.7)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.tick_params(labelsize=8, length=0)
    panels[-1].set_xticks(range(len(rungs)), [f"{rung.number}\n{rung.name}" for rung in rungs], fontsize=8)
    with rc_context({"svg.hashsalt": "ladder"}):
        picture.savefig(path, dpi=130)


def _record(rung: LadderRung, found: Found, seconds: float) -> dict[str, Any]:
    figures = {name: {key: value for key, value in to_json(one).items() if key != "outcomes"} for name, one in found.items()}
    return {"rung": rung.number, "name": rung.name, "measure": rung.measure, "seconds": seconds, "figures": figures}
