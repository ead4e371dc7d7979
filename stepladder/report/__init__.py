"""Reports for people and programs: `write_report` writes report.json, report.md and one self-contained report.html."""

from __future__ import annotations

from pathlib import Path

from stepladder.report.content import Curve, DomainTrained, Measured, Perceived, Report, Rung, Strip, choose_strips, report_json
from stepladder.report.html import html_page
from stepladder.report.markdown import write_markdown
from stepladder.run import write_json

__all__ = [
    "Curve",
    "DomainTrained",
    "Measured",
    "Perceived",
    "Report",
    "Rung",
    "Strip",
    "choose_strips",
    "report_json",
    "write_report",
]


def write_report(directory: Path | str, data: Report) -> Path:
    """Write the three files (and `report_files/` with the pictures of the Markdown) into `directory`; the path of the HTML."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "report.json", report_json(data))
    write_markdown(directory, data)
    path = directory / "report.html"
    path.write_text(html_page(data), encoding="utf-8")
    return path
