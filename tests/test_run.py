"""The run directory: one configuration, one process, clocks that survive a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stepladder.config import ConfigError
from stepladder.locks import Locked
from stepladder.run import Run, describe_machine, git_state, read_metrics, read_phases, write_json


@dataclass(frozen=True)
class Train:
    lr: float = 1e-3
    steps: int = 10


@dataclass(frozen=True)
class Config:
    train: Train = field(default_factory=Train)
    workers: int = 2
    out: Path = Path("runs/x")


@dataclass(frozen=True)
class Given(Config):
    weights: Mapping[str, float] = field(default_factory=lambda: {"a": 1.0})


def test_a_run_writes_its_configuration_and_where_it_ran(tmp_path: Path) -> None:
    with Run(tmp_path / "run", Config(), seeds={"train": 0}):
        pass
    with Run(tmp_path / "run", Config()):
        pass
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {
        "train": {"lr": 1e-3, "steps": 10},
        "workers": 2,
        "out": "runs/x",
    }
    starts = json.loads((tmp_path / "run" / "environment.json").read_text())["starts"]
    assert len(starts) == 2
    assert starts[0]["seeds"] == {"train": 0}
    assert starts[0]["packages"]["numpy"]
    assert starts[0]["machine"]["cores"] >= 1


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    Run(tmp_path, Config()).close()
    with pytest.raises(ConfigError, match=r"train\.lr was 0\.001 and is now 0\.1"):
        Run(tmp_path, Config(train=Train(lr=0.1)))
    changed = replace(Config(), workers=4)
    with pytest.raises(ConfigError, match="workers was 2 and is now 4"):
        Run(tmp_path, changed)
    Run(tmp_path, changed, may_change=["workers"]).close()
    Run(tmp_path, Config(train=Train(lr=0.1)), may_change=["workers", "train"]).close()
    assert json.loads((tmp_path / "config.json").read_text())["train"]["lr"] == 0.1


def test_a_run_of_an_earlier_version_goes_on_with_the_defaults_of_what_is_new(tmp_path: Path) -> None:
    Run(tmp_path, {"train": {"lr": 1e-3}, "out": "runs/x", "weights": {"a": 1.0}}).close()
    given = Given()
    with pytest.raises(ConfigError, match=r"train\.steps was 10 and is now 20"):
        Run(tmp_path, replace(given, train=Train(steps=20)), defaults=Given())
    with pytest.raises(ConfigError, match=r"weights\.b was 'not there' and is now 2"):
        Run(tmp_path, replace(given, weights={"a": 1.0, "b": 2.0}), defaults=Given())
    with pytest.raises(ConfigError, match=r"train\.steps was 'not there'"):
        Run(tmp_path, given)
    Run(tmp_path, given, defaults=Given()).close()
    with pytest.raises(ConfigError, match="workers was 2 and is now 3"):
        Run(tmp_path, replace(given, workers=3), defaults=Given(workers=3))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path), pytest.raises(Locked, match=f"run directory .* is in use by process {os.getpid()}"):
        Run(tmp_path)


def test_metrics_of_a_repeated_stretch_replace_the_earlier_ones(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        for step in range(5):
            run.log(step, "sft", loss=float(step))
        run.log(4, "sft", success=0.5)
        run.log(0, "eval", success=0.1)
    with Run(tmp_path) as run:
        for step in range(2, 4):
            run.log(step, "sft", loss=10.0 + step)
        records = run.metrics("sft")
        assert [(record["step"], record["loss"]) for record in records] == [(0, 0.0), (1, 1.0), (2, 12.0), (3, 13.0)]
        assert len(run.metrics()) == 5
        with pytest.raises(ValueError, match="'time'"):
            run.log(1, time=3)
    with pytest.raises(ValueError, match="closed"):
        run.log(1, loss=1)


def test_a_torn_measurement_is_cut_off_and_told(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.log(1, loss=1.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert len(read_metrics(tmp_path)) == 1
    with pytest.warns(UserWarning, match="cut off"):
        run = Run(tmp_path)
    with run:
        run.log(2, loss=0.5)
        assert [record["step"] for record in run.metrics()] == [1, 2]
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match="line 1 is no measurement"):
        read_metrics(tmp_path)


def test_a_phase_is_done_once_and_keeps_its_result(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        with run.phase("collect") as phase:
            assert not phase.done
            time.sleep(0.05)
            phase.result["episodes"] = 3
        assert phase.done
    with Run(tmp_path) as run:
        again = run.phase("collect")
        assert again.done
        assert again.result == {"episodes": 3}
        assert 0.05 <= again.seconds < 1
        with again:
            time.sleep(0.02)
        assert run.phase("collect").seconds == again.seconds, "a finished phase has no clock"
        assert run.seconds == again.seconds


def test_a_failed_phase_keeps_its_time_and_is_not_done(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        failing = run.phase("sft")

        def fail() -> None:
            with failing:
                failing.result["half"] = 1
                time.sleep(0.05)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        with run.phase("sft") as phase:
            assert not phase.done
            assert phase.result == {}
            time.sleep(0.05)
        assert phase.seconds >= 0.1


KILLED = """
import sys, time
from stepladder.run import Phase, Run
Phase.BEAT = 0.02
with Run(sys.argv[1]) as run, run.phase("sft") as phase:
    while phase.seconds < 0.3:
        time.sleep(0.01)
    print("running", flush=True)
    time.sleep(60)
"""


def test_running_time_survives_sigkill_and_the_time_between_is_not_counted(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = read_phases(tmp_path)["sft"]
    assert 0.2 < saved["seconds"] < 10
    assert saved["done"] is False
    time.sleep(0.3)
    with Run(tmp_path) as run:
        assert run.phase("sft").seconds == saved["seconds"]
        with run.phase("sft") as phase:
            assert phase.seconds < saved["seconds"] + 0.2


def test_git_state_is_told_or_absent(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run(["git", "-C", str(tmp_path), "add", "a"], check=True)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(tmp_path), *identity, "commit", "-qm", "a"], check=True)
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == {**state, "dirty": True}


def test_the_machine_is_described_where_there_is_no_processor_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert describe_machine()["machine"]["cores"] == os.cpu_count()


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"rate": float("nan")})
    assert not (tmp_path / "a.json").exists()
