"""Trajectories from one format into another.

    stepladder convert results/ runs/theirs --from osworld
    stepladder convert runs/eval/checkpoint.jsonl results/ --to osworld
    stepladder convert runs/theirs data/train.jsonl --to sharegpt --agent qwen3_vl

Conversions stream: one trajectory is in memory at a time. What was dropped, and why, is printed and stands in `convert.json` in (or
beside) the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.agents.setup import Given, set_up
from stepladder.config import ConfigError
from stepladder.interchange.chat import Dialect, Per
from stepladder.interchange.curation import TurnMask
from stepladder.interchange.folder import TrajectoryFolder
from stepladder.interchange.report import Report
from stepladder.interfaces import Agent
from stepladder.plugins import load
from stepladder.run import write_json

STEPLADDER = "stepladder"
#: Loaded by name, so that what needs no PyArrow works without it.
READERS = {
    "osworld": "stepladder.interchange.osworld_results:read",
    "agentnet": "stepladder.interchange.agentnet:read",
    "sharegpt": "stepladder.interchange.sharegpt:read",
    "hf": "stepladder.interchange.hf_dataset:read",
    "ui-tars": "stepladder.interchange.ui_tars:read",
    "cookbook": "stepladder.interchange.cookbook:read",
}
WRITERS = {
    "osworld": "stepladder.interchange.osworld_results:write",
    "agentnet": "stepladder.interchange.agentnet:write",
    "sharegpt": "stepladder.interchange.sharegpt:write",
    "sharegpt-classic": "stepladder.interchange.sharegpt:write_classic",
    "hf": "stepladder.interchange.hf_dataset:write",
    "ui-tars": "stepladder.interchange.ui_tars:write",
    "cookbook-sft": "stepladder.interchange.cookbook:write",
    "cookbook-replay": "stepladder.interchange.cookbook:write_replay",
}
#: From one format of tasks to the other.
TASKS = {
    ("cookbook-tasks", "osworld-tasks"): "stepladder.interchange.cookbook_tasks:to_files",
    ("osworld-tasks", "cookbook-tasks"): "stepladder.interchange.cookbook_tasks:from_files",
}
UNION = "stepladder.interchange.union:build_union"
#: Formats in which trajectories stand as chat messages, in the words of an agent.
CHAT = frozenset((*READERS, *WRITERS)) - {"osworld", "agentnet"}


@dataclass(frozen=True)
class ConvertConfig:
    """`source` is of the format `read` and becomes `target` of the format `write`; one of the two is "stepladder", a folder with
    trajectories.jsonl and images/ (or, to read, any file of trajectories with images/ beside it).

    Chat formats are in the words of `agent` (`stepladder.agents.AGENTS`, or `package.module:Class`), which is made with
    `agent_options`, one conversation a step or an episode (`per`). Trajectories that come without a reward get `reward`. `curate`
    does turn-aware masking (`interchange.curation`) of failures, with the turns of `turns`: "mask" as a loss mask, "edit" by
    cutting the texts of a chat format."""

    source: Path = Path()
    target: Path = Path()
    read: str = STEPLADDER
    write: str = STEPLADDER
    agent: str | None = None
    agent_options: Mapping[str, Given] = field(default_factory=dict)
    per: Per = "step"
    reward: float | None = None
    curate: Literal["none", "mask", "edit"] = "none"
    turns: TurnMask = field(default_factory=TurnMask)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if (self.read, self.write) not in TASKS:
            for option, name, formats in (("--from", self.read, READERS), ("--to", self.write, WRITERS)):
                if name not in (STEPLADDER, *formats):
                    known = ", ".join((STEPLADDER, *formats, *(f"{first} (to {second})" for first, second in TASKS)))
                    raise ConfigError(f"{option} is {name!r}; there are {known}")
            if STEPLADDER not in (self.read, self.write):
                raise ConfigError(f"from {self.read} to {self.write} goes by way of {STEPLADDER}: convert into that first")
            if self.read == self.write and self.curate != "mask":
                raise ConfigError(f"from {self.read} to {self.write} there is nothing to do; say --from, --to or --curate mask")
            if self.curate != "none" and self.read != STEPLADDER:
                raise ConfigError(f"curate: trajectories of {STEPLADDER} are curated; read those of {self.read} first")
            if self.curate == "edit" and self.write not in CHAT:
                raise ConfigError(f"curate: {self.write} has no texts to be cut; write a chat format, or use --curate mask")
        if self.read in CHAT or self.write in CHAT:
            if self.agent is None:
                raise ConfigError("agent: say in whose words the conversations are, such as --agent qwen3_vl")
            make_agent(self.agent, self.agent_options)
        if not self.source.exists():
            raise ConfigError(f"source: there is no {self.source}")


@dataclass(frozen=True)
class UnionConfig:
    """`samples` are JSONL files of the cookbook, the best first; `tables` its Parquet files of tasks; `task_files` a folder with
    OSWorld's task files. `agent` and `agent_options` as in `ConvertConfig`."""

    samples: tuple[Path, ...] = ()
    output: Path = Path("runs/union")
    agent: str = "qwen3_vl"
    agent_options: Mapping[str, Given] = field(default_factory=dict)
    tables: tuple[Path, ...] = ()
    task_files: Path | None = None


def main(config: ConvertConfig) -> Report:
    """Convert, write convert.json, and return what was done. Raises ConfigError, ConvertError, StoreError."""
    config.check()
    report = Report()
    place = config.target.with_name(f"{config.target.name}.convert.json")
    if (config.read, config.write) in TASKS:
        load(TASKS[config.read, config.write], {}, "format")(config.source, config.target, report)
    elif config.write == STEPLADDER:
        place = config.target / "convert.json"
        with TrajectoryFolder(config.target, "a") as into:
            _into(config, into, report)
    else:
        change = config.turns.apply if config.curate != "none" else None
        with TrajectoryFolder(config.source, change=change) as source:
            longest = max((summary.steps for summary in source.store.summaries()), default=1)
            dialect = _dialect(config, config.write, longest)
            load(WRITERS[config.write], {}, "format")(source, config.target, report, *dialect)
    write_json(place, {"source": str(config.source), "read": config.read, "write": config.write, **report.to_json()})
    return report


def union(config: UnionConfig) -> tuple[Report, dict[str, Any]]:
    """The union of cookbook files; what was dropped, and the statistics. Raises ConfigError, ConvertError, TaskError."""
    if not config.samples:
        raise ConfigError("samples: name at least one JSONL file of samples")
    report = Report()
    agent = make_agent(config.agent, config.agent_options)
    stats = load(UNION, {}, "format")(config.samples, config.output, report, agent, config.tables, config.task_files)
    write_json(config.output / "convert.json", report.to_json())
    return report, stats


def _into(config: ConvertConfig, into: TrajectoryFolder, report: Report) -> None:
    if config.read != STEPLADDER:
        load(READERS[config.read], {}, "format")(config.source, into, report, *_dialect(config, config.read, 1))
        return
    with TrajectoryFolder(config.source, change=config.turns.apply) as source:
        if source.path.resolve() == into.path.resolve():
            raise ConfigError(f"target: {config.target} is the source itself; write into another folder")
        for trajectory in source.copy(into):
            report.keep(into, trajectory)


def _dialect(config: ConvertConfig, name: str, longest: int) -> Sequence[Dialect]:
    """The dialect of a chat format; none for others."""
    if name not in CHAT or config.agent is None:
        return ()
    options = dict(config.agent_options)
    if config.per == "episode":
        options.setdefault("screenshots", max(longest, 1))
    return (Dialect(make_agent(config.agent, options), config.per, config.curate == "edit", config.reward),)


def make_agent(name: str, options: Mapping[str, Given]) -> Agent:
    """Raises PluginError, and ConfigError for options that the agent does not have."""
    return set_up(name, options, where="agent_options").build()
