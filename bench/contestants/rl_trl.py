"""TRL's trainers as contestants of `bench/rl.py`: each is a process of the interpreter in which TRL is installed."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from contestants.rl_updates import OPTIMIZER, Reading, Setting
from contestants.rl_workload import Workload


class Trl:
    """GRPOTrainer or SFTTrainer in the interpreter `python`. Raises RuntimeError when it cannot be started."""

    def __init__(self, name: str, workload: Workload, kind: str, setting: Setting, python: Path) -> None:
        self.name, self.setting = name, setting
        root = Path(__file__).resolve().parents[2]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by `close`
        self.process = subprocess.Popen(
            [str(python), str(root / "bench" / "contestants" / "trl_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"},
        )
        order = {"directory": str(workload.directory), "kind": kind, "bf16": setting.bf16, "frozen": setting.frozen}
        order |= {"vision": setting.vision, "pieces": setting.pieces, "rate": OPTIMIZER.lr}
        order |= {"betas": [OPTIMIZER.beta1, OPTIMIZER.beta2], "max_grad_norm": OPTIMIZER.max_grad_norm}
        try:
            self.about = self._ask(order)
        except RuntimeError:
            self.close()
            raise
        self.updates = 0

    def update(self, number: int) -> Reading:
        """Portion `number` of the workload; portions are learned in order."""
        assert number == self.updates, f"portion {self.updates} is the next one, not {number}"
        self.updates += 1
        return Reading(**self._ask({"update": number}))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait(30)
            self.errors.seek(0)
            raise RuntimeError(f"TRL ended: {(self.errors.read().strip().splitlines() or ['without a word'])[-1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
