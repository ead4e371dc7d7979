"""Pairs of replies as a file: made from the stored episodes of runs, kept with their pictures, read again, shown."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.codec import from_json, to_json
from stepladder.compare.forks import PairKind, PreferencePair, find_pairs
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory

PAIRS_FILE = "pairs.jsonl"
#: One start in this many is held back: its pairs measure and do not train.
HELD_BACK = 10


def stores_of(path: Path) -> list[Path]:
    """The stores of episodes of a run's directory, or the one that `path` is."""
    if path.is_dir():
        return sorted(path.glob("rollouts-*.jsonl")) or sorted(path.glob("trajectories*.jsonl"))
    return [path] if path.suffix == ".jsonl" and path.exists() else []


def write_pairs(
    runs: Sequence[Path], output: Path, agent: Agent, kinds: Sequence[PairKind], per_failure: int
) -> tuple[int, Counter[str]]:
    """Make the pairs of all episodes in `runs` and write them, with their pictures, into `output`. (Number of pairs, why others are
    none.) A start that several runs have played is one start. Raises ConfigError where there is no pair, StoreError for what cannot
    be read."""
    found = find_pairs(_trajectories(runs), agent, kinds, per_failure)
    if not found.pairs:
        reasons = "; ".join(f"{count} times {reason}" for reason, count in found.left_out.most_common())
        raise ConfigError(f"runs: there is no pair in {', '.join(map(str, runs))}: {reasons or 'they hold no episode'}")
    images = [ImageStore(folder / "images", cache=0) for folder in dict.fromkeys(map(_folder, runs))]
    target = ImageStore(output / "images", cache=0)
    for pair in found.pairs:
        for picture in pair.prompt.images:
            if picture not in target:
                source = next((store for store in images if picture in store), None)
                if source is None:
                    raise ConfigError(f"runs: picture {picture.sha256[:12]} of {pair.failure} is in no images/ beside its store")
                target.put(source.get(picture))
    temporary = output / f"{PAIRS_FILE}.partial"
    with temporary.open("w", encoding="utf-8") as file:
        for pair in found.pairs:
            file.write(json.dumps(to_json(pair), ensure_ascii=False) + "\n")
    temporary.replace(output / PAIRS_FILE)
    return len(found.pairs), found.left_out


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a file, or of the directory that holds it. Raises UserError, naming file and line, for what is no pair."""
    path = path / PAIRS_FILE if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path} does not exist; `stepladder prefer` makes it")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            pairs.append(from_json(PreferencePair, json.loads(line), "pair"))
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}, line {number} is no pair: {error}") from error
    return pairs


def held_back(pair: PreferencePair) -> bool:
    """Whether a pair measures and does not train: decided by a hash of its start alone, so all pairs of a start go together."""
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


def _trajectories(runs: Sequence[Path]) -> Iterator[Trajectory]:
    for path in dict.fromkeys(store for run in runs for store in stores_of(run)):
        with TrajectoryStore(path) as store:
            yield from store


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent
