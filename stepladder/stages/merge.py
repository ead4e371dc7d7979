"""Parameter interpolation: one checkpoint whose weights are a weighted mean of others (UI-TARS-2, arXiv 2509.02544).

    stepladder merge runs/forms/checkpoint runs/browser/checkpoint --weights 0.5,0.5 --output runs/merged

The checkpoints are of one architecture and one vocabulary, and best of one origin: experts that were trained from the same weights,
each on its own domain.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.renderer import Renderer
from stepladder.run import describe_machine, write_json
from stepladder.stages.agent_options import FILE as AGENT_FILE
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import load_policy
from stepladder.train.averaging import WeightedSum

#: What was merged, with which weights; in the directory of the merged checkpoint.
MERGE_FILE = "stepladder_merge.json"
#: Entries of a model's configuration that say nothing about its architecture.
OF_NO_ACCOUNT = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "use_cache")
#: How far from 1 the sum of the weights may be.
ROUNDING = 1e-6
#: Names that a message lists at most.
SHOWN = 3


@dataclass(frozen=True)
class MergeConfig:
    """`weights` has a number for each of the `checkpoints`, and their sum is 1 (none: all alike). A weight may be negative: 2 and
    -1 go beyond the first checkpoint, away from the second. `output` is the merged checkpoint, a directory that is not there yet.
    """

    checkpoints: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()
    output: Path = Path("runs/merged")

    @property
    def shares(self) -> tuple[float, ...]:
        """The weight of each checkpoint."""
        return self.weights or tuple(1 / len(self.checkpoints) for _ in self.checkpoints)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if len(self.checkpoints) < 2:
            raise ConfigError(f"checkpoints: {len(self.checkpoints)} given; give at least two directories")
        if self.weights and len(self.weights) != len(self.checkpoints):
            raise ConfigError(f"weights: {len(self.weights)} given for {len(self.checkpoints)} checkpoints; give one for each")
        if not all(map(math.isfinite, self.shares)) or abs(sum(self.shares) - 1) > ROUNDING:
            raise ConfigError(f"weights are {', '.join(f'{one:g}' for one in self.shares)}; they must be finite and their sum 1")
        for path in self.checkpoints:
            if not path.is_dir():
                raise ConfigError(f"checkpoints: {path} is no directory")
        if self.output.exists():
            raise ConfigError(f"output: {self.output} is there already; name a new directory")


def main(config: MergeConfig) -> Path:
    """Write the merged checkpoint and return its directory. Raises ConfigError for checkpoints that do not belong together."""
    config.check()
    first, images = config.checkpoints[0], ImageStore()
    model, renderer = load_policy(first, images)
    mean = WeightedSum()
    mean.add(model.state_dict(), config.shares[0])
    for path, share in zip(config.checkpoints[1:], config.shares[1:], strict=True):
        other, its = load_policy(path, images)
        _check_alike(first, model, renderer, path, other, its)
        try:
            mean.add(other.state_dict(), share)
        except ValueError as error:
            raise ConfigError(f"checkpoints: {first} and {path}: {error}") from error
    model.load_state_dict(mean.total)
    partial = config.output.with_name(f"{config.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_checkpoint(partial, model, renderer.processor)
    if (first / AGENT_FILE).exists():
        AgentOptions.of_checkpoint(first).save(partial)
    write_json(partial / MERGE_FILE, {"checkpoints": list(map(str, config.checkpoints)), "weights": list(config.shares), **_when()})
    partial.replace(config.output)
    return config.output


def _check_alike(
    first: Path,
    model: Qwen3VLForConditionalGeneration,
    renderer: Renderer,
    path: Path,
    other: Qwen3VLForConditionalGeneration,
    its: Renderer,
) -> None:
    """Raises ConfigError that names what differs."""
    ours, theirs = _leaves(model.config.to_dict()), _leaves(other.config.to_dict())
    differing = [
        f"{name} is {theirs.get(name)!r}, not {ours.get(name)!r}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise ConfigError(f"checkpoints: {path} has another architecture than {first}: {_some(differing)}")
    one, two = model.state_dict(), other.state_dict()
    lacking = [name for name in {**one, **two} if name not in one or name not in two or one[name].shape != two[name].shape]
    if lacking:
        raise ConfigError(f"checkpoints: {path} has other tensors than {first}: {_some(lacking)}")
    if not renderer.reads_alike(its):
        raise ConfigError(f"checkpoints: {path} has another vocabulary or other visual tokens than {first}")
    for what, mine, others in (
        ("another chat template", renderer.processor.chat_template, its.processor.chat_template),
        ("another picture preprocessing", _pictures(renderer), _pictures(its)),
        ("other agent options", _agent(first), _agent(path)),
    ):
        if mine != others:
            raise ConfigError(f"checkpoints: {path} has {what} than {first}; they are not asked in the same way")


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """The entries of a model's configuration by dotted name."""
    if not isinstance(value, Mapping):
        return {prefix.rstrip("."): value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if name not in OF_NO_ACCOUNT:
            found |= _leaves(inner, f"{prefix}{name}.")
    return found


def _pictures(renderer: Renderer) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(renderer.processor.image_processor.to_json_string())
    return settings


def _agent(path: Path) -> dict[str, Any]:
    return to_dict(AgentOptions.of_checkpoint(path))


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return "; ".join(names[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _when() -> dict[str, Any]:
    machine = describe_machine()
    return {name: machine[name] for name in ("time", "packages")}
