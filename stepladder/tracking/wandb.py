"""Weights & Biases. Its own environment variables say where to: WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from stepladder.tracking.trackers import Value, metric_name, run_identifier

PROJECT = "stepladder"


class WandbTracker:
    """One run of Weights & Biases for a run directory, gone on with at every start. Each phase counts its own steps, in
    "phase/step"."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=str(directory),
            id=run_identifier(directory),
            resume="allow",
            dir=str(directory),
            config=dict(config),
            settings=wandb.Settings(console="off"),  # a progress bar's every frame would be kept
        )
        self._phases: set[str] = set()

    def log(self, step: int, phase: str, values: Mapping[str, Value]) -> None:
        own_step = metric_name(phase, "step")
        if phase not in self._phases:
            self._phases.add(phase)
            self._run.define_metric(own_step, hidden=True)
            self._run.define_metric(metric_name(phase, "") + "*", step_metric=own_step)
        named = {metric_name(phase, key): value if isinstance(value, str) else float(value) for key, value in values.items()}
        self._run.log({own_step: step, **named})

    def close(self) -> None:
        self._run.finish()
