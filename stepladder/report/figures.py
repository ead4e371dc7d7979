"""Learning curves as SVG, in the colours of the page they stand on."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import matplotlib

from stepladder.report.content import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Drawn with these, and replaced by the page's own colours (CSS variables) when the figure goes into a page.
_INK, _MUTED, _RULE = "#23282d", "#68717a", "#dde1e4"
_SERIES = ("#0c6e68", "#b4541a", "#5b4b9a", "#8a7a12", "#a02c5d", "#4d5a66")
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _RULE: "var(--rule)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, start=1)},
}


def curve_svg(curve: Curve, themed: bool = True) -> str:
    """One chart as an <svg> element. `themed` charts take colours and fonts of the surrounding page and have no background."""
    # Here, for loading them would delay every command.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(curve.series.items()):
        xs, ys = [point[0] for point in points], [point[1] * (100 if curve.percent else 1) for point in points]
        colour = _SERIES[number % len(_SERIES)]
        marker = "o" if len(points) <= 40 else "None"
        axes.plot(xs, ys, marker=marker, markersize=2.8, color=colour, linewidth=1.5, label=name)
    if curve.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if curve.percent:
        axes.set_ylim(-2, 102)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(curve.x_label, color=_MUTED, fontsize=9)
    axes.tick_params(colors=_MUTED, labelsize=8.5, length=0, which="both")
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    if len(curve.series) > 1:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=_INK, handlelength=1.4, borderaxespad=0.2)
    return _svg(figure, curve.title, themed)


def _svg(figure: Figure, title: str, themed: bool) -> str:
    """`title` salts the ids inside the SVG, so that several charts can stand on one page."""
    buffer = io.StringIO()
    settings = {"svg.fonttype": "none" if themed else "path", "svg.hashsalt": title}
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", transparent=themed, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    if not themed:
        return text
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font-family:[^;\"]*|font: ([\d.]+px)[^;\"]*", _page_font, text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _page_font(match: re.Match[str]) -> str:
    return f"font-size: {match[1]}; font-family: inherit" if match[1] else "font-family: inherit"
