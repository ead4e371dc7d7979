"""Throughput and use over the number of environments, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stepladder.planning.simulation import Prediction

_COLOURS = ("#0c6e68", "#b4541a", "#5b4b9a", "#8a7a12")
#: What is drawn below the throughput: figure of a prediction, its name, line style.
_USES = (("environment_use", "environments", "-"), ("engine_use", "engines", "--"), ("trainer_use", "trainer", ":"))


def draw_scaling(predictions: Mapping[str, Mapping[int, Prediction]], path: Path, title: str = "") -> None:
    """Write a picture (its kind by the name of `path`): steps learned from per second with their 95 % intervals above, use of each
    resource below; `predictions` by the name of a curve, then by the number of environments."""
    figure = Figure(figsize=(7.5, 6.5), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for (name, curve), colour in zip(predictions.items(), _COLOURS * len(predictions), strict=False):
        counts = sorted(curve)
        above.plot(counts, [curve[count]["steps_per_second"] for count in counts], "o-", color=colour, label=name, markersize=3)
        low, high = ([curve[count].figures["steps_per_second"][side] for count in counts] for side in (1, 2))
        above.fill_between(counts, low, high, color=colour, alpha=0.2, linewidth=0)
        for figure_name, resource, style in _USES:
            values = [100 * curve[count][figure_name] for count in counts]
            below.plot(counts, values, style, color=colour, label=f"{name}: {resource}", linewidth=1.4)
    every: Sequence[int] = sorted({count for curve in predictions.values() for count in curve})
    above.set_ylabel("steps learned from per second")
    below.set_ylabel("in use, %")
    below.set_xlabel("environments")
    below.set_xscale("log", base=2)
    below.set_xticks(every, [f"{count:,}" for count in every])
    below.set_ylim(0, 102)
    for axes in (above, below):
        axes.grid(axis="y", color="#dde1e4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    above.set_ylim(bottom=0)
    above.legend(frameon=False, fontsize=8)
    figure.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=len(predictions), frameon=False, fontsize=8)
    above.set_title(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
