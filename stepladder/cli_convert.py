"""`stepladder convert`, `convert-union` and `corpus`: data from elsewhere, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.cli_options import Settings, ShowSettings, configured
from stepladder.stages import convert as stage
from stepladder.stages import corpus as corpus_stage

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Directory of the files.", show_default=False)]
_FROM = ", ".join(dict.fromkeys((stage.STEPLADDER, *stage.READERS, *(first for first, _ in stage.TASKS))))
_TO = ", ".join(dict.fromkeys((stage.STEPLADDER, *stage.WRITERS, *(second for _, second in stage.TASKS))))
#: Reasons that are printed; all of them stand in convert.json.
_SHOWN = 10


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A file or folder of the format --from.")],
    target: Annotated[Path, typer.Argument(help="A file or folder of the format --to.")],
    read: Annotated[str | None, typer.Option("--from", help=f"{_FROM}.", show_default=False)] = None,
    write: Annotated[str | None, typer.Option("--to", help=f"{_TO}.", show_default=False)] = None,
    agent: Annotated[str | None, typer.Option(help="In whose words chat formats are, such as qwen3_vl.")] = None,
    per: Annotated[str | None, typer.Option(help="One conversation a step, or an episode.", show_default=False)] = None,
    curate: Annotated[
        str | None, typer.Option(help="Of failures: mask repeated and late turns, or edit the texts.", show_default=False)
    ] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Trajectories from and to other formats; says what was dropped and why."""
    given = {"source": source, "target": target, "read": read, "write": write, "agent": agent, "per": per, "curate": curate}
    config = configured(stage.ConvertConfig(), set_, settings, **given)
    _tell(stage.main(config).to_json(), config.target)


@app.command("convert-union")
def convert_union(
    samples: Annotated[list[Path], typer.Argument(help="JSONL files of samples, the best first.")],
    output: Output = None,
    agent: Annotated[str | None, typer.Option(help="Whose replies they are.", show_default=False)] = None,
    task_files: Annotated[Path | None, typer.Option(help="A folder with OSWorld's task files.", show_default=False)] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """The union of data sets of slime's OSWorld cookbook: tables of tasks, samples to be replayed, statistics."""
    given = {"samples": tuple(samples), "output": output, "agent": agent, "task_files": task_files}
    config = configured(stage.UnionConfig(), set_, settings, **given)
    report, stats = stage.union(config)
    _tell(report.to_json(), config.output)
    _say(f"{stats['union_all_rows']} tasks, {stats['replay_ready_rows']} of them with a task file and samples")


@app.command()
def corpus(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="JSONL, Parquet, webdataset tars, texts, or folders of them.", show_default=False)
    ] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """A corpus for pre-training from files: judged, without what repeats, with a part held out."""
    given = {"sources": tuple(sources) if sources else None, "output": output}
    config = configured(corpus_stage.CorpusConfig(), set_, settings, **given)
    counts = corpus_stage.main(config)
    _say(f"{counts.kept} of {counts.read} documents kept, {counts.held_out} of them held out: {config.output}")
    for reason, count in counts.left_out.most_common():
        _say(f"  {count} left out, {reason} ({counts.named[reason][0]}{', ...' if count > 1 else ''})")


def _tell(report: dict[str, Any], target: Path) -> None:
    """What a conversion kept and dropped."""
    steps = f", {report['steps']} steps" if report["steps"] else ""
    unreadable = f", {report['unreadable_steps']} of them unreadable" if report["unreadable_steps"] else ""
    _say(f"{report['kept']} kept{steps}{unreadable}: {target}")
    if report["dropped"]:
        _say(f"{report['dropped']} dropped:")
    for reason, count in list(report["reasons"].items())[:_SHOWN]:
        first = next((name for name, why in report["names"].items() if why.startswith(reason)), "...")
        _say(f"  {count} ({first}{', ...' if count > 1 else ''}): {reason}")


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
