"""A run directory: what was asked, where it ran, what it measured, how far it came.

config.json        the resolved configuration; a run directory holds one configuration for good
defaults.json      what the settings would have been if nobody had set any, where the stage tells
environment.json   every start of the run: time, command line, seeds, git state, versions, machine
metrics.jsonl      one line a measurement, append-only
phases.json        stages done, their running time over all restarts, their results
run.lock           the process that is running it
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from stepladder.appending import append_whole
from stepladder.config import ConfigError, field_names, to_dict
from stepladder.errors import UserError
from stepladder.locks import ExclusiveLock
from stepladder.tracking.trackers import Trackers

PACKAGES = ("stepladder", "numpy", "scipy", "pillow", "miniwob", "torch", "transformers", "tokenizers", "safetensors")


class RunError(UserError, ValueError):
    """A file of a run directory that cannot be read; the message names it and its line."""


class Run:
    """Makes the directory, or goes on in it after an interruption.

    `config` is a configuration dataclass or a plain mapping. A directory that was started with another configuration is refused
    with a ConfigError that names the differing settings; settings named in `may_change` (dotted; a group stands for all below
    it) may differ, for they change how the work is done and not its outcome. `trackers` are told of every measurement, too
    (`stepladder.tracking`). `defaults` are those of the configuration, kept for reports as they were at the first start; a setting
    that a directory of an earlier version does not know is taken to have had its default.
    Raises Locked while another process runs it, PluginError for a tracker that is not there.
    """

    def __init__(
        self,
        directory: Path | str,
        config: Any = None,
        seeds: Mapping[str, Any] | None = None,
        may_change: Sequence[str] = (),
        trackers: Sequence[str] = (),
        defaults: Any = None,
    ) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = ExclusiveLock(self.directory / "run.lock", f"the run directory {self.directory}")
        self._mutex = threading.Lock()
        self._metrics: int | None = None
        self._trackers: Trackers | None = None
        try:
            plain = config if config is None or isinstance(config, Mapping) else to_dict(config)
            self._trackers = Trackers(trackers, self.directory, plain or {})
            if plain is not None:
                self._check_config(plain, may_change, {} if defaults is None else _settings(defaults))
            if defaults is not None and not (self.directory / "defaults.json").exists():
                write_json(self.directory / "defaults.json", to_dict(defaults))
            self._record_start(dict(seeds or {}))
            self._phases = read_phases(self.directory)
            self._open_metrics()
        except BaseException:
            self.close()
            raise

    def phase(self, name: str) -> Phase:
        """The stage `name`, done or not. Use it as a context manager around the work that is left."""
        return Phase(self, name)

    def log(self, step: int, phase: str = "", **values: float | int | str) -> None:
        """Append one measurement, written out before this returns. Keys that `read_metrics` sets itself cannot be values."""
        if self._metrics is None:
            raise ValueError(f"the run in {self.directory} is closed")
        if "time" in values:
            raise ValueError("'time' is set by the run itself; give the value another name")
        line = json.dumps({"step": int(step), "phase": phase, "time": round(time.time(), 3), **values}, default=float)
        append_whole(self._metrics, line.encode() + b"\n")
        if self._trackers is not None:
            self._trackers.log(int(step), phase, values)

    def metrics(self, phase: str | None = None) -> list[dict[str, Any]]:
        return read_metrics(self.directory, phase)

    @property
    def seconds(self) -> float:
        """Running time of all phases so far, without the time between restarts."""
        with self._mutex:
            return float(sum(state["seconds"] for state in self._phases.values()))

    def close(self) -> None:
        """Let go of the directory. May be called twice."""
        if self._metrics is not None:
            os.close(self._metrics)
            self._metrics = None
        if self._trackers is not None:
            self._trackers.close()
        self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_config(self, config: Mapping[str, Any], may_change: Sequence[str], defaults: Mapping[str, Any]) -> None:
        path = self.directory / "config.json"
        if path.exists():
            old, new = flatten(json.loads(path.read_text())), flatten(json.loads(json.dumps(config, default=str)))
            old = {name: value for name, value in defaults.items() if name in new} | old
            differing = [
                f"{name} was {old.get(name, 'not there')!r} and is now {new.get(name, 'not there')!r}"
                for name in sorted(old.keys() | new.keys())
                if old.get(name) != new.get(name) and not any(name == free or name.startswith(f"{free}.") for free in may_change)
            ]
            if differing:
                raise ConfigError(
                    f"{self.directory} was started with other settings: {'; '.join(differing)}. "
                    "Use another directory, or remove this one"
                )
        write_json(path, config)

    def _record_start(self, seeds: dict[str, Any]) -> None:
        path = self.directory / "environment.json"
        starts = json.loads(path.read_text())["starts"] if path.exists() else []
        starts.append({**describe_machine(), "seeds": seeds})
        write_json(path, {"starts": starts})

    def _open_metrics(self) -> None:
        path = self.directory / "metrics.jsonl"
        self._metrics = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._metrics, whole)
            warnings.warn(f"{path} ended in the middle of a line; its last {len(data) - whole} bytes were cut off", stacklevel=4)

    def _state(self, name: str) -> dict[str, Any]:
        with self._mutex:
            return dict(self._phases.get(name, {"done": False, "seconds": 0.0, "result": {}}))

    def _save_phase(self, name: str, state: dict[str, Any]) -> None:
        with self._mutex:
            self._phases[name] = state
            write_json(self.directory / "phases.json", self._phases)


class Phase:
    """One resumable stage of a run.

        with run.phase("collect") as phase:
            if not phase.done:
                collect(...)
                phase.result["episodes"] = 640

    The clock runs inside the `with` block only, is saved every `BEAT` seconds, and so survives a kill; a phase that was done
    before stays as it was. Leaving the block without an exception makes the phase done and keeps `result` (plain JSON values).
    """

    BEAT = 2.0

    def __init__(self, run: Run, name: str) -> None:
        self.name = name
        self._run = run
        state = run._state(name)
        self.done: bool = state["done"]
        self.result: dict[str, Any] = state["result"]
        self._before: float = state["seconds"]
        self._started: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def seconds(self) -> float:
        """Running time of this phase over all restarts."""
        return self._before + (time.monotonic() - self._started if self._started is not None else 0.0)

    def __enter__(self) -> Phase:
        if not self.done:
            self._started = time.monotonic()
            self._save()
            self._thread = threading.Thread(target=self._beat, name=f"phase {self.name}", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._before, self._started, self._thread = self.seconds, None, None
        self._stop.clear()
        self.done = kind is None
        self._save()

    def _beat(self) -> None:
        while not self._stop.wait(self.BEAT):
            self._save()

    def _save(self) -> None:
        result = self.result if self.done else {}
        self._run._save_phase(self.name, {"done": self.done, "seconds": round(self.seconds, 3), "result": result})


def _settings(defaults: Any) -> dict[str, Any]:
    """By dotted names. What a mapping with keys of the user's own holds is none."""
    found, names = flatten(to_dict(defaults)), set(field_names(defaults))
    return {name: value for name, value in found.items() if name in names}


def read_phases(directory: Path | str) -> dict[str, dict[str, Any]]:
    """Name -> {"done", "seconds", "result"} of a run directory; empty where nothing has run."""
    path = Path(directory) / "phases.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def read_metrics(directory: Path | str, phase: str | None = None) -> list[dict[str, Any]]:
    """The measurements of a run directory in order, of one phase or of all.

    A run that was killed repeats the steps after its last checkpoint. What it logs then takes the place of what it had logged
    before: of one phase and step the later values count, and when the step number falls back, the later steps are forgotten.
    """
    path = Path(directory) / "metrics.jsonl"
    kept: dict[str, dict[int, dict[str, Any]]] = {}
    if not path.exists():
        return []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            step, name = record["step"], record["phase"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}, line {number} is no measurement: {error!r}") from error
        steps = kept.setdefault(name, {})
        while steps and next(reversed(steps)) > step:
            steps.popitem()
        steps[step] = {**steps.get(step, {}), **record}
    records = [record for name, steps in kept.items() if phase in (None, name) for record in steps.values()]
    return sorted(records, key=lambda record: record["time"])


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step, so that a reader or a kill never meets half of it. Raises ValueError for NaN and infinity,
    which JSON does not have."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")
    temporary.replace(path)


def describe_machine() -> dict[str, Any]:
    """Time, command, git state, versions and machine of this process, fit for JSON."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "pid": os.getpid(),
        "command": sys.argv,
        "git": git_state(Path(__file__).parent),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := package_version(name)) is not None},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": _cores(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
    }


def package_version(name: str) -> str | None:
    """The installed version of a distribution, None when it is not installed; nothing is imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_state(directory: Path) -> dict[str, Any] | None:
    """{"commit", "dirty"} of the git checkout around `directory`; None when it is none or git is not installed."""
    try:
        commit = _git(directory, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(directory, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(directory: Path, *arguments: str) -> str:
    result = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True, timeout=20)
    return result.stdout.strip()


def _cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted names; an empty mapping is a value."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat
