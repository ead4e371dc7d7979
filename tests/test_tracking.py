"""Trackers of a run's measurements: what they are told, and that none of them can end a run."""

from __future__ import annotations

import json
import shlex
import struct
import sys
import time
import types
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_docs import blocks
from typer.testing import CliRunner
from wandb.proto.wandb_internal_pb2 import Record

from stepladder import cli
from stepladder.plugins import PluginError
from stepladder.run import Run
from stepladder.stages import demo, evaluate, flywheel, rl, sft
from stepladder.stages.rl_config import RlConfig
from stepladder.tracking.trackers import metric_name, run_identifier

HERE = "test_tracking"


class Remembering:
    """A tracker that keeps what it is told, by the directory of the run."""

    told: ClassVar[dict[Path, list[Any]]] = {}

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.lines = self.told.setdefault(directory, [])
        self.lines.append(("opened", dict(config)))

    def log(self, step: int, phase: str, values: Mapping[str, float | int | str]) -> None:
        self.lines.append((step, phase, dict(values)))

    def close(self) -> None:
        self.lines.append("closed")


class NeverOpens:
    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        raise OSError("no such host")


class Moody(Remembering):
    """Fails at every odd step, and in the end."""

    def log(self, step: int, phase: str, values: Mapping[str, float | int | str]) -> None:
        if step % 2:
            raise RuntimeError("try again later")
        super().log(step, phase, values)

    def close(self) -> None:
        raise RuntimeError("nobody there")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])
    Remembering.told.clear()


def test_a_tracker_of_ones_own_is_told_everything(tmp_path: Path) -> None:
    with Run(tmp_path, {"lr": 0.1}, trackers=(f"{HERE}:Remembering",)) as run:
        assert Remembering.told == {}, "opened by the first measurement"
        run.log(1, "rl", loss=0.5, note="warm")
        run.log(2, "rl", loss=0.25)
    assert Remembering.told[tmp_path] == [
        ("opened", {"lr": 0.1}),
        (1, "rl", {"loss": 0.5, "note": "warm"}),
        (2, "rl", {"loss": 0.25}),
        "closed",
    ]


def test_trackers_that_fail_are_told_of_once_and_the_run_goes_on(tmp_path: Path) -> None:
    names = tuple(f"{HERE}:{name}" for name in ("NeverOpens", "Moody", "Remembering"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with Run(tmp_path, trackers=names) as run:
            for step in range(5):
                run.log(step, "sft", loss=1.0)
    said = [str(warning.message) for warning in seen]
    assert len(said) == 2
    assert f"tracker '{HERE}:Moody' failed" in " ".join(said)
    assert f"tracker '{HERE}:NeverOpens' could not be opened and is left out: OSError: no such host" in said
    assert [record["step"] for record in run.metrics()] == [0, 1, 2, 3, 4], "metrics.jsonl has everything"
    told = [line[0] for line in Remembering.told[tmp_path] if isinstance(line, tuple) and line[0] != "opened"]
    assert sorted(told) == [0, 0, 1, 2, 2, 3, 4, 4], "one was told all of it, the other the even steps"


def test_trackers_that_are_not_there_are_refused_before_the_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        Run(tmp_path, trackers=("tensorbord",))
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "stepladder.tracking.wandb", raising=False)
    with pytest.raises(ModuleNotFoundError):
        Run(tmp_path, trackers=("wandb",))
    monkeypatch.setattr(sys, "argv", ["stepladder", "eval", "random", "--set", "track=wandb", "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        cli.main()
    with Run(tmp_path):  # it was let go of
        pass


def test_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.delitem(sys.modules, "stepladder.tracking.trackio", raising=False)
    output = str(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["stepladder", "eval", "idle", "-t", "forms:login", "--set", "track=trackio", "-o", output])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "pip install 'stepladder[track]'" in capsys.readouterr().err


def test_names_and_identifiers(tmp_path: Path) -> None:
    assert metric_name("environments of a/b, 3", "pool/lent %") == "environments_of_a/b_3/pool/lent_"
    assert metric_name("", "loss") == "run/loss"
    assert run_identifier(tmp_path) == run_identifier(tmp_path)
    (tmp_path / "other").mkdir()
    assert run_identifier(tmp_path) != run_identifier(tmp_path / "other")
    (tmp_path / "tracking.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tracking\.json holds no id"):
        run_identifier(tmp_path)


# ------------------------------------------------------------------------------------------------------- the known ones


def test_tensorboard(tmp_path: Path) -> None:
    for start in (0, 3):  # a run that is gone on with
        with Run(tmp_path, trackers=("tensorboard",)) as run:
            for step in range(start, start + 3):
                run.log(step, "rl", reward=step / 4, note="a text")
                run.log(step, "environments of a", lent=step)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["rl/reward", "environments_of_a/lent"]
    assert [(one.step, one.value) for one in events.Scalars("rl/reward")] == [(step, step / 4) for step in range(6)]
    assert [one.value for one in events.Scalars("environments_of_a/lent")] == list(range(6))


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("PROJECT", "ladders")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "home"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a tracker that failed would warn
        with Run(tmp_path, {"optimizer": {"lr": 0.1}}, trackers=("wandb",)) as run:
            run.log(7, "rl", reward=0.25, note="a text")
            run.log(1, "sft", loss=2)
    written = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(written) == 1
    records = whole(written[0])
    started = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (started.project, started.run_id, started.display_name) == ("ladders", run_identifier(tmp_path), str(tmp_path))
    assert {item.key: json.loads(item.value_json) for item in started.config.update}["optimizer"] == {"lr": 0.1}
    rows = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    logged = [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item} for row in rows]
    assert [{key: value for key, value in row.items() if not key.startswith("_")} for row in logged] == [
        {"rl/step": 7, "rl/reward": 0.25, "rl/note": "a text"},
        {"sft/step": 1, "sft/loss": 2.0},
    ]
    axes = [record.metric for record in records if record.WhichOneof("record_type") == "metric"]
    assert {axis.glob_name: axis.step_metric for axis in axes if axis.glob_name} == {"rl/*": "rl/step", "sft/*": "sft/step"}


def whole(path: Path, seconds: float = 60) -> list[Any]:
    """The records once the last one is there: a process of its own writes them, a little after the run is closed."""
    for _ in range(round(seconds / 0.1)):
        records = read_wandb(path)
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} is not whole after {seconds} s")


def read_wandb(path: Path) -> list[Any]:
    """The records of Weights & Biases's file: after 7 bytes the log format of LevelDB, blocks of 32 KiB in which every piece has
    its checksum, length and kind (1 whole, 2 first, 3 middle, 4 last) before it."""
    data, place, records, pieces = path.read_bytes(), 7, [], b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        pieces += data[place + 7 : place + 7 + length]
        place += 7 + length
        if place > len(data):
            break  # still being written
        if kind in (1, 4):
            records.append(Record.FromString(pieces))
            pieces = b""
    return records


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls; the package itself opens a server."""
    calls: list[Any] = []

    def init(
        project: str, name: str | None = None, config: dict[str, Any] | None = None, resume: str = "never"
    ) -> types.SimpleNamespace:
        calls.append((project, name, config, resume))
        return types.SimpleNamespace(log=log, finish=lambda: calls.append("finished"))

    def log(metrics: dict[str, Any], step: int | None = None) -> None:
        calls.append((metrics, step))

    fake = types.ModuleType("trackio")
    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.delitem(sys.modules, "stepladder.tracking.trackio", raising=False)
    run_directory = tmp_path / "demo"
    with Run(run_directory, {"lr": 0.1}, trackers=("trackio",)) as run:
        run.log(7, "rl", reward=0.25, note="a text")
    monkeypatch.delitem(sys.modules, "stepladder.tracking.trackio")
    assert calls == [
        ("stepladder", f"demo-{run_identifier(run_directory)}", {"lr": 0.1}, "allow"),
        ({"rl/step": 7, "rl/reward": 0.25, "rl/note": "a text"}, None),
        "finished",
    ]


# -------------------------------------------------------------------------------------------------------------- stages


def test_an_evaluation_is_tracked_and_may_change_its_trackers(tmp_path: Path) -> None:
    config = evaluate.EvaluateConfig(
        tasks="forms:login", policy="oracle", baselines=(), episodes=2, output=tmp_path / "eval", environments=1
    )
    evaluate.main(config, show=False)
    assert Remembering.told == {}
    evaluate.main(replace(config, episodes=3, track=(f"{HERE}:Remembering",)), show=False)
    lines = Remembering.told[tmp_path / "eval"]
    success = next(line for line in lines if line[1] == "success of oracle")
    assert (success[0], success[2]["success"], success[2]["n"]) == (3, 1.0, 3)
    assert lines[-1] == "closed"


def test_training_stages_hand_on_their_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track = (f"{HERE}:Remembering",)
    for number, run in enumerate(
        (
            sft._open_run(sft.SftConfig(output=tmp_path / "0", track=track)),
            rl._open_run(RlConfig(output=tmp_path / "1", tasks="forms:login", track=track)),
        )
    ):
        with run:
            run.log(1, "x", loss=1.0)
        assert (1, "x", {"loss": 1.0}) in Remembering.told[tmp_path / str(number)]
    asked: list[Any] = []
    for stage in (sft, flywheel, rl, evaluate):
        monkeypatch.setattr(stage, "main", lambda config, show: asked.append(config.track))
    config = demo.DemoConfig(output=tmp_path / "demo", track=track)
    demo._clone(config, False)
    demo._turn(config, False)
    demo._reinforce(config, False)
    demo._evaluate(config, "idle", False)
    assert asked == [track] * 4
    asked.clear()
    demo._clone(replace(config, track=(), sft=replace(config.sft, track=("tensorboard",))), False)
    assert asked == [("tensorboard",)]


def test_the_setting_on_the_command_line() -> None:
    for command in ("sft", "rl", "flywheel", "eval", "demo"):
        result = CliRunner().invoke(cli.app, [command, "--set", "track=tensorboard,wandb", "--settings"])
        assert result.exit_code == 0, result.output
        assert "\ntrack=('tensorboard', 'wandb')\n" in result.output


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands have the options that it says, and its tracker works."""
    for line in blocks("tracking.md", "bash")[0].splitlines()[1:]:
        assert CliRunner().invoke(cli.app, [*shlex.split(line)[1:], "--settings"]).exit_code == 0, line
    (tmp_path / "printing.py").write_text(blocks("tracking.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    with Run(tmp_path / "mine", trackers=("printing:Printing",)) as run:
        run.log(3, "rl", reward=0.5)
    assert capsys.readouterr().out == "mine rl 3 {'reward': 0.5}\nmine is over\n"
