"""A ladder that is killed ten times, at any moments, ends with the weights of one that is not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from test_ladder import SMALL

from stepladder.config import override
from stepladder.run import read_phases
from stepladder.stages import ladder
from stepladder.stages.ladder_config import LadderConfig

KILLS = 10
#: Seconds in which a process starts; a kill before that would find nothing begun.
STARTING = 8.0
#: Tasks drawn in memory, one environment at a time (several end in an order that depends on the clock), a state after every update.
SETTINGS = SMALL | {
    "tasks": "forms:click-button,fill-field",
    "options": {"height": 224},
    "measure.question_tokens": 8,
    "measure.page_tokens": 8,
    "measure.thought_tokens": 8,
    "pretrain.save_every": 1,
    "preference.play.environments": 1,
    "preference.save_every": 1,
    "reasoning.environments": 1,
    "reasoning.updates": 2,
    "reasoning.save_every": 1,
    "reasoning.replay": 2,
    "flywheel.environments": 1,
    "online.environments": 1,
    "online.updates": 2,
    "online.save_every": 1,
    **{
        f"{rung}.save_every": 1
        for rung in ("instruction", "perception", "cloning", "thoughts", "flywheel.train", "refinement.train")
    },
}


def settings(output: Path) -> LadderConfig:
    return override(replace(LadderConfig(), output=output), [f"{name}={value}" for name, value in SETTINGS.items()])


def checkpoints(output: Path) -> dict[str, Path]:
    """The weights of every rung."""
    return {str(path.parent.relative_to(output)): path for path in sorted(output.rglob("model.safetensors"))}


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0])
def test_a_ladder_killed_at_ten_random_moments_ends_with_the_same_weights(tmp_path: Path, seed: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begun = time.monotonic()
    ladder.main(settings(whole), show=False)
    took = time.monotonic() - begun
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; import test_ladder_killed as killed\n"
        "killed.ladder.main(killed.settings(Path(sys.argv[2])), show=False)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(Path(__file__).parent), str(killed)]
    moments = random.Random(seed)
    found: list[tuple[float, list[str]]] = []
    for _ in range(KILLS):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        wait = STARTING + moments.uniform(0.0, 2.0) * took / (KILLS + 1)
        try:
            process.wait(wait)
            raise AssertionError(f"it had ended before kill {len(found) + 1}, with code {process.returncode}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        found.append((wait, [name for name, state in read_phases(killed).items() if state["done"]] if killed.exists() else []))
    print(f"{took:.0f} s undisturbed; killed after", *(f"{wait:.1f} s ({len(done)} phases done)" for wait, done in found))
    ladder.main(settings(killed), show=False)
    expected, others = checkpoints(whole), checkpoints(killed)
    assert expected.keys() == others.keys()
    assert len(expected) >= 12
    for name, path in expected.items():
        ours, theirs = load_file(path), load_file(others[name])
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in ours), name
