"""Pairs of replies, and replies judged one by one, as files: kept with their pictures, read again, shown."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.codec import from_json, to_json
from stepladder.compare.forks import Forks, PreferencePair
from stepladder.compare.ranked import RankedPair
from stepladder.compare.replies import JudgedReply, counts
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.store import TrajectoryStore
from stepladder.types import Prompt, Trajectory

T = TypeVar("T")
PAIRS_FILE, REPLIES_FILE, RANKED_FILE = "pairs.jsonl", "replies.jsonl", "ranked.jsonl"
#: One start in this many is held back: its pairs measure and do not train.
HELD_BACK = 10


class HasStart(Protocol):
    """Something that comes from episodes of one start."""

    @property
    def task(self) -> str: ...
    @property
    def seed(self) -> int: ...


def stores_of(path: Path) -> list[Path]:
    """The stores of episodes of a run's directory, or the one that `path` is."""
    if path.is_dir():
        return sorted(path.glob("rollouts-*.jsonl")) or sorted(path.glob("trajectories*.jsonl"))
    return [path] if path.suffix == ".jsonl" and path.exists() else []


class TooFewPairs(ConfigError):
    """There is nothing, or not enough, to learn from."""


def write_pairs(runs: Sequence[Path], output: Path, found: Forks) -> None:
    """Write the pairs that were `found` in the episodes of `runs`, with their pictures, into `output`. Raises TooFewPairs where
    there is none."""
    if not found.pairs:
        raise TooFewPairs(f"runs: there is no pair in {', '.join(map(str, runs))}: {_reasons(found.left_out)}")
    _copy_pictures(runs, output, ((pair.prompt, pair.failure) for pair in found.pairs))
    _write(output / PAIRS_FILE, found.pairs)


def write_replies(runs: Sequence[Path], output: Path, judged: Sequence[JudgedReply], left_out: Counter[str]) -> None:
    """Write replies that were judged one by one, with their pictures, into `output`. Raises TooFewPairs where not some are good
    and some bad."""
    good, bad = counts(judged)
    if not good or not bad:
        raise TooFewPairs(
            f"runs: {', '.join(map(str, runs))} hold {good} good replies and {bad} bad ones; both are needed: {_reasons(left_out)}"
        )
    _copy_pictures(runs, output, ((one.prompt, one.source) for one in judged))
    _write(output / REPLIES_FILE, judged)


def write_ranked(runs: Sequence[Path], output: Path, ranked: Sequence[RankedPair], left_out: Counter[str]) -> None:
    """Write what a reward model learns from, with its pictures, into `output`. Raises TooFewPairs where there is nothing."""
    if not ranked:
        raise TooFewPairs(f"runs: there is no pair in {', '.join(map(str, runs))}: {_reasons(left_out)}")
    answers = [answer for pair in ranked for answer in (pair.chosen, pair.rejected)]
    _copy_pictures(runs, output, ((answer.prompt, answer.source) for answer in answers))
    _write(output / RANKED_FILE, ranked)


def read_ranked(path: Path) -> list[RankedPair]:
    """What a reward model learns from, of a file or of the directory that holds it. Raises UserError, naming file and line."""
    return _read(path / RANKED_FILE if path.is_dir() else path, RankedPair, "ranked pair")


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a file, or of the directory that holds it. Raises UserError, naming file and line, for what is no pair."""
    return _read(path / PAIRS_FILE if path.is_dir() else path, PreferencePair, "pair")


def read_replies(path: Path) -> list[JudgedReply]:
    """The judged replies of a file, or of the directory that holds it. Raises UserError, naming file and line, for what is
    none."""
    return _read(path / REPLIES_FILE if path.is_dir() else path, JudgedReply, "judged reply")


def held_back(pair: HasStart) -> bool:
    """Whether a pair, or a judged reply, measures and does not train: decided by a hash of its start alone, so all pairs of a
    start go together."""
    digest = hashlib.sha256(f"{pair.task} {pair.seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_BACK == 0


def show_pairs(pairs: Sequence[PreferencePair], limit: int) -> None:
    """Print counts, and the first `limit` pairs with both replies and where they come from."""
    console = Console()
    made = sum(pair.made for pair in pairs)
    kinds = ", ".join(f"{count} of {kind}" for kind, count in Counter(pair.kind for pair in pairs).most_common())
    starts = len({(pair.task, pair.seed) for pair in pairs})
    console.print(
        f"{len(pairs)} pairs ({kinds}) from {starts} starts; {made} preferred replies were written and not sampled",
        highlight=False,
        soft_wrap=True,
    )
    for number, pair in enumerate(pairs[:limit]):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        asked = next((message.text.strip() for message in pair.prompt.messages if message.role == "user"), "")
        table.add_row("asked", escape(asked))
        table.add_row("preferred", f"[green]{escape(pair.chosen.text.strip())}[/green]")
        table.add_row("", f"[dim]{escape(pair.source)}, step {pair.source_step}{', written' if pair.made else ''}[/dim]")
        table.add_row("rejected", f"[red]{escape(pair.rejected.text.strip())}[/red]")
        table.add_row("", f"[dim]{escape(pair.failure)}, step {pair.step}[/dim]")
        console.print(f"\n[bold]{number + 1}  {pair.kind}[/bold]  {escape(pair.task)}, seed {pair.seed}", highlight=False)
        console.print(table)


def episodes_of(runs: Sequence[Path]) -> Iterator[Trajectory]:
    """All episodes in `runs`, which are directories or stores. A start that several runs have played is one start."""
    for path in dict.fromkeys(store for run in runs for store in stores_of(run)):
        with TrajectoryStore(path) as store:
            yield from store


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def _reasons(left_out: Counter[str]) -> str:
    return "; ".join(f"{count} times {reason}" for reason, count in left_out.most_common()) or "they hold no episode"


def _copy_pictures(runs: Sequence[Path], output: Path, prompts: Iterable[tuple[Prompt, str]]) -> None:
    """Every picture of the prompts, each with the name of what it belongs to, into `output`. Raises ConfigError for one that no
    run has."""
    images = [ImageStore(folder / "images", cache=0) for folder in dict.fromkeys(map(_folder, runs))]
    target = ImageStore(output / "images", cache=0)
    for prompt, name in prompts:
        for picture in prompt.images:
            if picture not in target:
                source = next((store for store in images if picture in store), None)
                if source is None:
                    raise ConfigError(f"runs: picture {picture.sha256[:12]} of {name} is in no images/ beside its store")
                target.put(source.get(picture))


def _write(path: Path, items: Iterable[Any]) -> None:
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(to_json(item), ensure_ascii=False) + "\n")
    temporary.replace(path)


def _read(path: Path, kind: type[T], what: str) -> list[T]:
    if not path.exists():
        raise UserError(f"{path} does not exist; `stepladder prefer` makes it")
    items = []
    for number, line in enumerate(
        path.read_text(encoding="utf-8").split("\n"), start=1
    ):  # JSON lets other line ends stand in texts
        if not line.strip():
            continue
        try:
            items.append(from_json(kind, json.loads(line), what))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is no {what}: {error}") from error
    return items
