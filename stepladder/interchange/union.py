"""The union of several data sets of slime's OSWorld cookbook: its tasks, and a buffer of samples to be replayed.

osworld_tasks_all.parquet       every task that some file names
osworld_tasks_train.parquet     those with a task file, not of Windows, with a sample to be replayed
osworld_replay_train.jsonl      the samples, each once, with the system message that the agent has today
osworld_train_stats.json        how many of what

A sample with a reply that the agent cannot read is dropped. Of two with the same task and messages the one of the better file is
kept. Files are read twice and samples are never held in memory, only a digest of each; the tasks are.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.envs.osworld.task_file import load_tasks
from stepladder.images import ImageStore
from stepladder.interchange.chat import Dialect, read_conversation
from stepladder.interchange.cookbook import base_task_id, read_row, task_id_of, texts_of
from stepladder.interchange.cookbook_tasks import config_of, read_configs, row_of, write_rows
from stepladder.interchange.folder import ConvertError
from stepladder.interchange.pictures import data_url
from stepladder.interchange.records import fields_of, read_records
from stepladder.interchange.report import Report
from stepladder.interfaces import Agent
from stepladder.run import write_json
from stepladder.types import ImageRef, Observation, Task

ALL, TRAIN, REPLAY, STATS = (
    "osworld_tasks_all.parquet",
    "osworld_tasks_train.parquet",
    "osworld_replay_train.jsonl",
    "osworld_train_stats.json",
)
#: The rank of the first file; each one after it has one less, the sixth and later 0.
BEST = 5


@dataclass
class _Found:
    """`best` maps the digest of a sample to (rank, its place in the order of reading), `tasks` are all ids."""

    tasks: set[str] = field(default_factory=set)
    best: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    input_samples: int = 0
    dropped_parse: int = 0
    deduped: int = 0
    per_dataset: Counter[str] = field(default_factory=Counter)


def build_union(
    samples: Sequence[Path],
    target: Path,
    report: Report,
    agent: Agent,
    tables: Sequence[Path] = (),
    task_files: Path | None = None,
) -> dict[str, Any]:
    """Write the four files into the folder `target`. `samples` are JSONL files, the best first; `tables` are Parquet files whose
    task files come before those of the folder `task_files`. What the statistics say. Raises ConvertError, TaskError."""
    for name in (ALL, TRAIN, REPLAY, STATS):
        if (target / name).exists():
            raise ConvertError(f"{target / name} is there already; write into another folder")
    found = _Found()
    distilled: dict[str, dict[str, Any]] = {}
    for path in tables:
        for name, domain, config in read_configs(path, report):
            found.tasks.add(name)
            if config is not None:
                distilled.setdefault(name, {"domain": domain, **config} if domain else config)
    files = {} if task_files is None else {base_task_id(str(one.setup["id"])): one for one in load_tasks(task_files)}
    for number, place, row, rank, path in _rows(samples, report):
        _look(row, path.parent, number, place, rank, found, report, agent)
    target.mkdir(parents=True, exist_ok=True)
    replayed = _write_replay(samples, target / REPLAY, found, report, agent)
    rows = [_task_row(name, distilled, files) for name in sorted(found.tasks)]
    ready = [row for row in rows if row["has_task_config"] and row["platform"] != "windows"]
    train = [row for row in ready if row["task_id"] in replayed]
    write_rows(rows, target / ALL)
    write_rows(train, target / TRAIN)
    stats = {
        "union_task_ids": len(found.tasks),
        "task_config_distill": len(distilled),
        "task_config_osworld": len(files),
        "union_all_rows": len(rows),
        "union_ready_rows": len(ready),
        "replay_ready_rows": len(train),
        "platform_counts": dict(Counter(row["platform"] for row in rows)),
        "replay_stats": {
            "input_samples": found.input_samples,
            "kept_samples": len(found.best),
            "dropped_parse": found.dropped_parse,
            "deduped": found.deduped,
            "per_dataset": dict(found.per_dataset),
        },
    }
    write_json(target / STATS, stats)
    return stats


def _rows(samples: Sequence[Path], report: Report) -> Iterator[tuple[int, str, Any, int, Path]]:
    """(number, place, row, rank, file) of every row of every file."""
    number = 0
    for order, path in enumerate(samples):
        for place, row in read_records(path, report):
            number += 1
            yield number, f"{path.name}, {place}", row, max(BEST - order, 0), path


def _look(row: Any, folder: Path, number: int, place: str, rank: int, found: _Found, report: Report, agent: Agent) -> None:
    """Whether a row is a sample, and whether it is the best of those that are equal."""
    found.input_samples += 1
    try:
        task = base_task_id(task_id_of(fields_of(row)))
        if not task:
            raise ConvertError("it names no task")
        found.tasks.add(task)
        images = ImageStore()
        conversation = read_row(row, folder, images, place)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        report.drop_for(place, error)
        return
    try:
        read_conversation(conversation, Dialect(agent), place)
    except ValueError as error:
        found.dropped_parse += 1
        report.drop(place, str(error))
        return
    digest = _digest(task, _messages(row, agent, conversation.images))
    before = found.best.get(digest)
    if before is not None:
        found.deduped += 1
        report.drop(place, "the same sample stands elsewhere")
    if before is None or rank > before[0]:
        found.best[digest] = (rank, number)


def _messages(row: Mapping[str, Any], agent: Agent, images: Sequence[ImageRef]) -> list[dict[str, Any]]:
    """The messages of a row with the system message of the agent, if it has one."""
    kept = ("role", "content", "step_loss_mask")
    turns = [{key: turn[key] for key in kept if key in turn} for turn in texts_of(row)]
    shown = Observation(images[0] if images else None)
    system = next((one.text for one in agent.prompt(Task("", "", "osworld"), (), shown) if one.role == "system"), None)
    others = [turn for turn in turns if turn["role"] != "system"]
    return others if system is None else [{"role": "system", "content": system}, *others]


def _digest(task: str, messages: Sequence[Mapping[str, Any]]) -> bytes:
    return hashlib.sha1(json.dumps([task, messages], sort_keys=True).encode()).digest()


def _write_replay(samples: Sequence[Path], target: Path, found: _Found, report: Report, agent: Agent) -> set[str]:
    """Write the best of each sample; the tasks that have one."""
    chosen = {number for _, number in found.best.values()}
    replayed: set[str] = set()
    with target.open("w", encoding="utf-8") as file:
        for number, _, row, rank, path in _rows(samples, Report()):
            if number not in chosen:
                continue
            images, name = ImageStore(), task_id_of(row)
            conversation = read_row(row, path.parent, images, "")
            messages = _messages(row, agent, conversation.images)
            record = {
                "messages": messages,
                "images": [data_url(images.get(image)) for image in conversation.images],
                "reward": 1.0,
                "task_id": base_task_id(name),
                "num_steps": sum(turn["role"] == "assistant" for turn in messages),
                "original_task_id": name,
                "source_dataset": path.stem,
                "quality_rank": rank,
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            report.count(record["num_steps"])
            found.per_dataset[path.stem] += 1
            replayed.add(base_task_id(name))
    return replayed


def _task_row(name: str, distilled: Mapping[str, dict[str, Any]], files: Mapping[str, Task]) -> dict[str, Any]:
    if name in distilled:
        return row_of(name, distilled[name], "distill_data")
    if name in files:
        return row_of(name, config_of(files[name]), "osworld_repo", str(files[name].setup["domain"]))
    return row_of(name, None, "missing")
