"""The command line: what a user types, and what a mistake is answered with."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import TASKS, episode
from typer.testing import CliRunner

from stepladder import cli, doctor
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.run import Run
from stepladder.store import TrajectoryStore

runner = CliRunner()


def command(*arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `python -m stepladder`."""
    result = subprocess.run([sys.executable, "-m", "stepladder", *arguments], capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


def test_help_lists_every_command() -> None:
    code, output, _ = command("--help")
    assert code == 0
    for name in (
        "demo",
        "collect",
        "sft",
        "flywheel",
        "rl",
        "eval",
        "compare",
        "tasks",
        "validate",
        "serve",
        "show",
        "doctor",
        "bench",
    ):
        assert name in output


def test_tasks_are_listed_with_their_hash() -> None:
    result = runner.invoke(cli.app, ["tasks", "miniwob:click-test,enter-text"])
    assert result.exit_code == 0
    assert "click-test" in result.output
    assert "2 tasks, task set " in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tasks", "miniwop"), "did you mean 'miniwob'?"),
        (("tasks", "miniwob:click-tset"), "did you mean 'click-test'?"),
        (("collect", "--set", "epsodes=3"), "unknown setting 'epsodes'; did you mean 'episodes'?"),
        (("collect", "--set", "episodes=many"), "episodes is 'many'; it must be a whole number"),
        (("eval", "nowhere"), "'nowhere' is neither a checkpoint directory nor one of random, idle, give_up, oracle"),
        (("eval", "random", "--episodes", "0"), "episodes is 0; it must be at least 1"),
        (("eval", "random", "--set", 'options={"heigth":224}'), "'miniwob' has no option 'heigth'; did you mean 'height'?"),
        (("collect", "--tasks", "forms:login", "--set", 'options={"heigth":224}'), "'forms' has no option 'heigth'"),
        (("eval", "random", "--set", "options=5"), "options is '5'; it must be a dict such as"),
        (("eval", "random", "--tasks", "env:json:Foo"), "module 'json' has no 'Foo'"),
        (("eval", "random", "--tasks", "env:json:JSONDecoder"), "has no class method tasks()"),
        (("tasks", "miniwob@demo:click-test"), "write miniwob@demo or miniwob:click-test"),
        (("tasks", "forms:login,login"), "holds the task 'forms-login' twice"),
        (("tasks", "page:nowhere.jsonl"), "there is no task file nowhere.jsonl"),
        (("show", "nowhere.jsonl"), "there is no trajectory store nowhere.jsonl"),
        (("bench", "nothing"), "there is no benchmark 'nothing'; there are "),
    ],
)
def test_mistakes_of_the_user_end_with_one_line(arguments: tuple[str, ...], message: str) -> None:
    code, _, errors = command(*arguments)
    assert code == 1
    assert message in errors
    assert errors.startswith("error: ")
    assert "Traceback" not in errors


def test_an_unknown_option_is_a_usage_error() -> None:
    code, _, errors = command("collect", "--epsodes", "3")
    assert code == 2
    assert "--episodes" in errors


def test_mistakes_of_the_program_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError("a bug"), ModuleNotFoundError("a bug", name="nmupy")])
def test_errors_that_are_no_users_mistake_are_not_swallowed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(type(error), match="a bug"):
        cli.main()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit):
        cli.main()
    assert "torch is not installed: pip install 'stepladder[train]'" in capsys.readouterr().err


def test_pages_cannot_be_collected_from(tmp_path: Path) -> None:
    record = '{"id": "a", "html": "x", "instruction": "Look.", "check": {"javascript": "true"}}'
    (tmp_path / "tasks.jsonl").write_text(record)
    code, _, errors = command("collect", "--tasks", f"page:{tmp_path / 'tasks.jsonl'}", "--output", str(tmp_path / "run"))
    assert (code, errors) == (1, "error: environment 'page' cannot demonstrate its tasks: it has no method solve()\n")


def test_evaluation_tells_its_result_and_why_episodes_are_missing(tmp_path: Path) -> None:
    record = {"id": "a", "html": "x", "instruction": "Look.", "check": {"javascript": "documment.title === ''"}}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(record))
    arguments = ["eval", "idle", "--episodes", "1", "--set", "baselines=", "--tasks", f"page:{tmp_path / 'tasks.jsonl'}"]
    code, output, errors = command(*arguments, "--output", str(tmp_path / "broken"))
    assert code == 1
    assert "idle: – (95 % interval 0.0 % to 100.0 %), n = 0, 1 env_error missing" in output
    assert "documment is not defined" in output
    assert "Traceback" not in errors
    record["check"] = {"javascript": "document.title === ''"}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(record))
    code, output, _ = command(*arguments, "--output", str(tmp_path / "mended"))
    assert code == 0
    assert "idle: 100.0 % (95 % interval 20.7 % to 100.0 %), n = 1, no episode missing" in output
    assert f"report: {tmp_path / 'mended' / 'report.html'}" in output


def test_the_agent_of_an_evaluation_is_set() -> None:
    result = runner.invoke(cli.app, ["eval", "--settings", "--set", "agent.system=full", "--set", "agent.grid=1"])
    lines = result.output.splitlines()
    assert "agent={'system': 'full', 'grid': '1'}" in lines
    assert "agent={}" in runner.invoke(cli.app, ["eval", "--settings"]).output.splitlines()
    refused = runner.invoke(cli.app, ["eval", "random", "--tasks", "forms:login", "--set", "agent.gird=1"]).exception
    assert "the agent 'qwen_vl' has no option 'gird'; did you mean 'grid'?" in str(refused)


@pytest.mark.parametrize("name", ["collect", "eval"])
def test_settings_are_listed_and_changed(name: str) -> None:
    result = runner.invoke(cli.app, [name, "--settings", "--episodes", "7", "--set", "environments=3"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "episodes=7" in lines
    assert "environments=3" in lines


def test_collect_tells_what_it_did(tmp_path: Path) -> None:
    arguments = ["collect", "--tasks", "forms:login", "--episodes", "4", "--output", str(tmp_path), "--set", "environments=1"]
    result = runner.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "4 demonstrations in" in result.output
    shown = runner.invoke(cli.app, ["show", str(tmp_path)])
    assert "trajectories.jsonl  4 trajectories, 4 successful" in shown.output


def test_show_lists_and_opens_trajectories(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    with TrajectoryStore(path, "a") as store:
        for seed in range(3):
            store.append(episode(ImageStore(), TASKS[0], seed, success=seed > 0))
    listed = runner.invoke(cli.app, ["show", str(path), "--limit", "2"])
    assert "3 trajectories, 2 successful; done 3" in listed.output
    assert "and 1 more" in listed.output
    identifier = f"click-test-1-{'long-' * 20}0"
    with TrajectoryStore(path, "a") as store:
        store.append(replace(episode(ImageStore(), TASKS[0], 7), id=identifier))
    folded = runner.invoke(cli.app, ["show", str(path)])
    assert "".join(line.split(" ")[0] for line in folded.output.splitlines() if "long-" in line) in identifier
    assert folded.output.count("long-") + folded.output.count("lon\ng-") >= 18
    opened = runner.invoke(cli.app, ["show", str(path), "click-test-1-made-up-0"])
    assert "click (" in opened.output
    assert "Click the Okay button" in opened.output
    unknown = runner.invoke(cli.app, ["show", str(path), "nobody"])
    assert "holds no trajectory 'nobody'" in str(unknown.exception)


def test_show_tells_phases_and_latest_figures_of_a_run(tmp_path: Path) -> None:
    with Run(tmp_path) as run, run.phase("cloning"):
        run.log(10, "cloning", loss=0.125)
    result = runner.invoke(cli.app, ["show", str(tmp_path)])
    assert "done    cloning" in result.output
    assert "loss 0.125" in result.output
    empty = runner.invoke(cli.app, ["show", str(tmp_path.parent)])
    assert "is no run directory" in str(empty.exception)


def test_doctor_is_content_here() -> None:
    result = runner.invoke(cli.app, ["doctor"])
    assert result.exit_code == 0, result.output
    for part in ("Python", "torch", "miniwob", "Chromium", "desktop", "memory", "disk"):
        assert f"ok      {part}" in result.output


def test_doctor_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise EnvironmentFailure("no Chromium found; apt-get install chromium-headless-shell")

    monkeypatch.setattr(doctor, "find_chromium", nowhere)
    monkeypatch.setattr(doctor, "package_version", lambda name: None if name == "torch" else "1.0")
    result = runner.invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "missing torch" in result.output
    assert "pip install 'stepladder[train]'" in result.output
    assert "apt-get install chromium-headless-shell" in result.output
