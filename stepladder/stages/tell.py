"""Demonstrations of which part shows a policy document: what supervised training learns from before the document is internalised.

    stepladder with-document --demonstrations runs/collect --document rules.md --output runs/told
    stepladder sft --set demonstrations=runs/told --output runs/sft

The output has the form that `stepladder collect` writes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from stepladder.config import ConfigError
from stepladder.data.policy_documents import SHOWN, told
from stepladder.store import TrajectoryStore

STORE = "trajectories.jsonl"


@dataclass(frozen=True)
class TellConfig:
    """`demonstrations` is a directory that `stepladder collect` wrote. A `share` of them, drawn by their ids, gets the text of
    `document` in front of its instruction."""

    demonstrations: Path = Path("runs/collect")
    document: Path | None = None
    output: Path = Path("runs/told")
    share: float = 0.5

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share is {self.share}; it is a share, 0 to 1")
        if self.document is None or not self.document.is_file():
            raise ConfigError(f"document: {self.document} is no file; name a text with the rules")
        if not (self.demonstrations / STORE).is_file():
            raise ConfigError(f"demonstrations: {self.demonstrations} holds no {STORE}; make it with `stepladder collect`")
        if self.output.resolve() == self.demonstrations.resolve():
            raise ConfigError(f"output is {self.output}, the demonstrations themselves; name another directory")


def main(config: TellConfig) -> tuple[int, int]:
    """Write the demonstrations into `config.output`, whole or not at all. Returns (demonstrations, those with the document). Raises
    ConfigError."""
    config.check()
    assert config.document is not None
    source, output, share = config.demonstrations, config.output, config.share
    text = config.document.read_text(encoding="utf-8")
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    count = shown = 0
    with TrajectoryStore(source / STORE) as store, TrajectoryStore(partial / STORE, "a") as written:
        for one in store:
            changed = told(one, text, share)
            count, shown = count + 1, shown + (SHOWN in changed.extra)
            written.append(changed)
    for name in ("regions.jsonl", "visited.jsonl"):
        if (source / name).exists():
            shutil.copyfile(source / name, partial / name)
    if (source / "images").is_dir():
        shutil.copytree(source / "images", partial / "images", copy_function=_link)
    shutil.rmtree(output, ignore_errors=True)
    partial.replace(output)
    return count, shown


def _link(source: str, target: str) -> None:
    """One file under two names, or on another file system a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
