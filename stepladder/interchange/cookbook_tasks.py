"""The task tables of slime's OSWorld cookbook, and OSWorld's task files, which are tasks of Stepladder (`osworld:FOLDER`).

task_id, prompt (the same), domain, instruction, task_config (OSWorld's task file as text), task_config_source ("distill_data",
"osworld_repo", "missing"), has_task_config, platform ("ubuntu", "windows", "unknown")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow
from pyarrow import parquet

from stepladder.envs.osworld.task_file import load_tasks, make_task
from stepladder.interchange.cookbook import base_task_id
from stepladder.interchange.folder import ConvertError
from stepladder.interchange.hf_dataset import rows_of
from stepladder.interchange.report import Report
from stepladder.run import write_json
from stepladder.types import Task

SCHEMA = pyarrow.schema(
    [
        *((name, pyarrow.string()) for name in ("task_id", "prompt", "domain", "instruction", "task_config", "task_config_source")),
        ("has_task_config", pyarrow.bool_()),
        ("platform", pyarrow.string()),
    ]
)
#: Snapshots of OSWorld that are Windows machines.
_WINDOWS = ("excel", "word", "powerpoint")
_WINDOWS_PATHS = ('"C:\\\\', '"C:/', "\\\\Users\\\\")
_BATCH = 256


def row_of(name: str, config: Mapping[str, Any] | None, source: str, domain: str = "") -> dict[str, Any]:
    """The row of a task, with OSWorld's task file of it where there is one."""
    row = {"task_id": name, "prompt": name, "domain": domain, "instruction": "", "task_config": "{}"}
    if config is None:
        return {**row, "task_config_source": "missing", "has_task_config": False, "platform": "unknown"}
    apps = config.get("related_apps")
    row["domain"] = str(config.get("domain") or domain or (apps[0] if isinstance(apps, list) and apps else ""))
    row["instruction"] = str(config.get("instruction", ""))
    text = json.dumps({**config, "id": name}, ensure_ascii=False)
    windows = str(config.get("snapshot", "")).lower() in _WINDOWS or any(mark in text for mark in _WINDOWS_PATHS)
    return {
        **row,
        "task_config": text,
        "task_config_source": source,
        "has_task_config": True,
        "platform": "windows" if windows else "ubuntu",
    }


def write_rows(rows: Iterable[Mapping[str, Any]], target: Path) -> int:
    """How many there were. Raises ConvertError when the file is there already."""
    if target.exists():
        raise ConvertError(f"{target} is there already; write into another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    count, batch = 0, []
    with parquet.ParquetWriter(partial, SCHEMA, compression="zstd") as file:
        for row in rows:
            batch.append(dict(row))
            count += 1
            if len(batch) == _BATCH:
                file.write_table(pyarrow.Table.from_pylist(batch, SCHEMA))
                batch = []
        file.write_table(pyarrow.Table.from_pylist(batch, SCHEMA))
    partial.replace(target)
    return count


def read_configs(path: Path, report: Report) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """(task id, domain, task file or None) of each row of a table. Rows without an id are dropped. Raises ConvertError."""
    for number, row in enumerate(rows_of(path, batch=_BATCH), start=1):
        name = base_task_id(str(row.get("task_id") or row.get("id") or ""))
        if not name:
            report.drop(f"{path.name}, row {number}", "it has no task_id")
            continue
        try:
            config = json.loads(row.get("task_config") or "{}")
            if not isinstance(config, dict):
                raise ValueError(f"an object is needed, not {type(config).__name__}")
        except (ValueError, TypeError) as error:
            report.drop(f"{path.name}, row {number}", f"task_config: {error}")
            continue
        yield name, str(row.get("domain") or ""), config or None


def read_tasks(path: Path, report: Report) -> Iterator[Task]:
    """The tasks of a table that have a task file. Raises ConvertError, TaskError for a task file that is none."""
    for name, domain, config in read_configs(path, report):
        if config is None:
            report.drop(name, "it has no task_config")
            continue
        yield make_task({**config, "id": name}, str(config.get("domain") or domain), f"{path}, task {name}")


def config_of(task: Task) -> dict[str, Any]:
    """OSWorld's task file of a task. Raises ConvertError for a task of another environment."""
    if task.env != "osworld" or "id" not in task.setup:
        raise ConvertError(f"{task.id} is a task of {task.env!r}; only OSWorld's have a task file")
    setup = {key: value for key, value in task.setup.items() if key != "domain"}
    return {**setup, "instruction": task.instruction, "evaluator": dict(task.check)}


def to_files(source: Path, target: Path, report: Report) -> None:
    """A table into task files, `<domain>/<id>.json`. Raises ConvertError."""
    for task in read_tasks(source, report):
        domain, name = str(task.setup["domain"]) or "tasks", str(task.setup["id"])
        for part in (domain, name):
            if PurePosixPath(part).name != part or part in ("", ".", ".."):
                raise ConvertError(f"{source}: {part!r} cannot be the name of a file; task ids and domains must be plain names")
        path = target / domain / f"{name}.json"
        if path.exists():
            raise ConvertError(f"{path} is there already; write into another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, config_of(task))
        report.count()


def from_files(source: Path, target: Path, report: Report) -> None:
    """Task files below a folder into a table. Raises ConvertError, TaskError."""
    tasks = load_tasks(source)
    rows = (row_of(str(task.setup["id"]), config_of(task), "osworld_repo", str(task.setup["domain"])) for task in tasks)
    report.kept += write_rows(rows, target)
