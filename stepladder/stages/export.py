"""Write runs as pages that need no server.

stepladder export runs/demo --html site                # open site/index.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepladder.config import ConfigError
from stepladder.stages.view import check_directories
from stepladder.viewer.api import Api
from stepladder.viewer.export import Exported, export
from stepladder.viewer.runs import Runs


@dataclass(frozen=True)
class ExportConfig:
    """The runs in the directories `runs` go into the directory `html`, which is new, empty or an earlier export. Of each store the
    last `most` trajectories are written (None: all). `tokenizer` as in `stepladder.stages.view.ViewConfig`."""

    runs: tuple[Path, ...] = (Path("runs"),)
    html: Path = Path("site")
    most: int | None = None
    tokenizer: Path | None = None


def main(config: ExportConfig) -> Exported:
    """Raises ConfigError."""
    check_directories(config.runs)
    if config.most is not None and config.most < 1:
        raise ConfigError(f"most is {config.most}; it must be at least 1")
    runs = Runs(config.runs)
    try:
        if not runs.all():
            raise ConfigError(f"there is no run in {', '.join(map(str, config.runs))}")
        return export(Api(runs, config.tokenizer), config.html, config.most)
    finally:
        runs.close()
