"""`stepladder search`, `label` and `with-document`: what is learned from besides demonstrations and rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.cli_options import Output, Settings, ShowSettings, Tasks, configured
from stepladder.compare.choices import CHOICES_FILE
from stepladder.stages import label as label_stage
from stepladder.stages import search as search_stage
from stepladder.stages import tell as tell_stage
from stepladder.stats import Rate

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def search(
    policy: Annotated[
        str | None, typer.Option(help="Who plays: a checkpoint directory, openai:URL[#MODEL], ...", show_default=False)
    ] = None,
    tasks: Tasks = None,
    budget: Annotated[int | None, typer.Option(help="Actions of a search, repeated ones included.", show_default=False)] = None,
    starts: Annotated[int | None, typer.Option(help="Seeds of each task.", show_default=False)] = None,
    critic: Annotated[str | None, typer.Option(help="Who ranks candidates: self, none, or a policy.", show_default=False)] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Best-first tree search while playing, and choices between its branches for `stepladder prefer`."""
    chosen = [*([] if budget is None else [f"search.budget={budget}"]), *(set_ or [])]
    given = {"policy": policy, "tasks": tasks, "starts": starts, "critic": critic, "output": output}
    config = configured(search_stage.SearchConfig(), chosen, settings, **given)
    found = search_stage.main(config)
    _say(f"search: {_rate(found.search)}, {found.actions:.1f} actions a start")
    if found.greedy is not None:
        _say(f"greedy: {_rate(found.greedy)}")
    if found.gain is not None:
        _say(f"gain: {found.gain.difference:+.3f} ({found.gain.low:+.3f} to {found.gain.high:+.3f}), p = {found.gain.p:.2g}")
    if found.failed:
        _say(f"{found.failed} starts have no result: their environment failed")
    _say(f"{found.choices} choices, {found.pairs} pairs: {config.output / CHOICES_FILE}")


@app.command()
def label(
    recordings: Annotated[
        list[Path] | None, typer.Argument(help="Directories with recordings, or stores (.jsonl).", show_default=False)
    ] = None,
    demonstrations: Annotated[
        Path | None, typer.Option(help="A directory of `stepladder collect`: what the labels are learned from.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where the inverse model starts; else a small one from nothing.", show_default=False)
    ] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Actions for recordings that have none: a model says what was done between two screens (inverse dynamics, VPT)."""
    given = {"recordings": tuple(recordings) if recordings else None, "demonstrations": demonstrations}
    config = configured(label_stage.LabelConfig(), set_, settings, **given, checkpoint=checkpoint, output=output)
    found = label_stage.main(config)
    _say(f"labels that are right: {_rate(found.accuracy)}; of the confident ones {_rate(found.kept_accuracy)}")
    if found.true_accuracy is not None:
        _say(f"on the recordings, which say what was done: {_rate(found.true_accuracy)}")
    _say(f"{found.recordings} recordings, {found.kept} labels to be imitated, {found.doubtful} doubtful")
    _say(f"demonstrations: {config.output / label_stage.DATA}")


@app.command("with-document")
def with_document(
    demonstrations: Annotated[Path | None, typer.Option(help="A directory of `stepladder collect`.", show_default=False)] = None,
    document: Annotated[Path | None, typer.Option(help="A text file with the rules.", show_default=False)] = None,
    share: Annotated[float | None, typer.Option(help="Share of the demonstrations that show it.", show_default=False)] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Demonstrations of which part shows a policy document in front of the instruction."""
    given = {"demonstrations": demonstrations, "document": document, "share": share, "output": output}
    config = configured(tell_stage.TellConfig(), set_, settings, **given)
    count, shown = tell_stage.main(config)
    _say(f"{shown} of {count} demonstrations show the document: {config.output}")


def _rate(rate: Rate) -> str:
    share = "none" if rate.rate is None else f"{rate.rate:.3f}"
    return f"{share} ({rate.low:.3f} to {rate.high:.3f}, n = {rate.n})"


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
