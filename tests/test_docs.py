"""What the documentation tells people to type works as it says."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from made_up import TASKS, episode
from typer.testing import CliRunner

from stepladder import cli
from stepladder.algos import ALGORITHMS, algorithm_class
from stepladder.algos.algorithm import Algorithm
from stepladder.algos.credit import NOTHING
from stepladder.config import ConfigError, field_names, override
from stepladder.envs.desktop.desk.environment import DeskEnvironment
from stepladder.images import ImageStore
from stepladder.rollout.pool import PoolSettings
from stepladder.stages.audit import AuditConfig
from stepladder.stages.collect import CollectConfig
from stepladder.stages.convert import ConvertConfig, UnionConfig
from stepladder.stages.corpus import CorpusConfig
from stepladder.stages.demo import DemoConfig
from stepladder.stages.evaluate import EvaluateConfig
from stepladder.stages.export import ExportConfig
from stepladder.stages.flywheel import FlywheelConfig
from stepladder.stages.judge import JudgeConfig
from stepladder.stages.label import LabelConfig
from stepladder.stages.perception import PerceptionConfig
from stepladder.stages.prefer import PreferConfig
from stepladder.stages.pretrain_config import PretrainConfig
from stepladder.stages.propose import ProposeConfig
from stepladder.stages.reason_config import ReasonConfig
from stepladder.stages.record import RecordConfig
from stepladder.stages.refine import RefineConfig
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.search import SearchConfig
from stepladder.stages.serve import ServeConfig
from stepladder.stages.serve_desktop import ServeDesktopConfig
from stepladder.stages.serve_model import ServeModelConfig
from stepladder.stages.sft import SftConfig
from stepladder.stages.tell import TellConfig
from stepladder.stages.validate import ValidateConfig
from stepladder.stages.view import ViewConfig

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = (sys.executable, "-c", "import sys; from stepladder.cli import main; main()")
ALGORITHM_PAGES = sorted((ROOT / "docs/algorithms").glob("*.md"))
#: Of every command with --set.
CONFIGURATIONS = [
    *(
        EvaluateConfig(),
        FlywheelConfig(),
        CollectConfig(),
        SftConfig(),
        DemoConfig(),
        ValidateConfig(),
        AuditConfig(),
        RecordConfig(),
    ),
    *(ServeConfig(), ServeModelConfig(), ServeDesktopConfig(), ConvertConfig(), UnionConfig(), CorpusConfig()),
    *(AuditConfig(), ViewConfig(), ExportConfig(), JudgeConfig(), ProposeConfig(), ReasonConfig()),
    *(RefineConfig(), PreferConfig(), PerceptionConfig(), PretrainConfig()),
    *(SearchConfig(), LabelConfig(), TellConfig()),
    *(RlConfig(algo=algorithm_class(name)()) for name in ALGORITHMS),
]


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a page of docs/."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / name).read_text(), flags=re.DOTALL)


def run(arguments: Sequence[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def stepladder(line: str, folder: Path) -> str:
    """A command line of the documentation, in this process; what it loads of the reader's own files is forgotten again."""
    words = shlex.split(line)
    assert words[0] == "stepladder"
    loaded = set(sys.modules)
    sys.path.insert(0, "")
    try:
        with contextlib.chdir(folder):
            done = CliRunner().invoke(cli.app, words[1:], catch_exceptions=False)
    finally:
        sys.path.remove("")
        for name in set(sys.modules) - loaded:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
    assert done.exit_code == 0, f"{line}: {done.output}"
    return done.output


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:stepladder|tests|bench|dev|docs)/[\w./]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_your_own_application(tmp_path: Path) -> None:
    (tmp_path / "calculator.py").write_text(blocks("own-application.md", "python")[0])
    commands = blocks("own-application.md", "bash")[0].strip().splitlines()
    assert "1 tasks, 6 of 6 as they should be" in stepladder(commands[0], tmp_path)
    stepladder(commands[1], tmp_path)
    found = json.loads((tmp_path / "runs/random/report.json").read_text())
    assert (found["rungs"][0]["n"], found["rungs"][0]["success"]) == (1, 0.0)


def test_environments_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [line.partition("  #")[0].strip() for line in blocks("serve.md", "bash")[0].strip().splitlines()]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for line in (commands[0], commands[2].replace("8765", port)):
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    words = shlex.split(commands[1].removesuffix(" &").replace("8765", port))
    server = subprocess.Popen(
        [*PROGRAM, *words[1:]], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            time.sleep(0.1)
        stepladder(commands[3], tmp_path)
    finally:
        server.terminate()
        server.wait(20)
    found = json.loads((tmp_path / "runs/bridged/report.json").read_text())
    assert found["rungs"][0]["n"] == 2


def test_your_own_page(tmp_path: Path) -> None:
    (tmp_path / "newsletter.html").write_text(blocks("your-own-page.md", "html")[0])
    lines = blocks("your-own-page.md", "json")[0]
    (tmp_path / "tasks.jsonl").write_text(lines)
    (tmp_path / "checks.py").write_text(blocks("your-own-page.md", "python")[0])
    commands = blocks("your-own-page.md", "bash")[0].strip().splitlines()
    assert "2 tasks, task set" in stepladder(commands[0], tmp_path)
    assert "runs/mine/report.html" in stepladder(commands[1].replace("--episodes 3", "--episodes 1"), tmp_path)
    found = json.loads((tmp_path / "runs/mine/report.json").read_text())
    assert found["rungs"][0]["n"] == 2
    assert set(found["baselines"]) == {"idle", "give_up"}
    task = {**json.loads(lines.splitlines()[0]), "check": {"python": "checks:subscribed"}}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    stepladder("stepladder eval random --tasks page:tasks.jsonl --episodes 1 --output runs/python", tmp_path)
    found = json.loads((tmp_path / "runs/python/report.json").read_text())
    assert (found["rungs"][0]["n"], found["rungs"][0]["success"]) == (1, 0.0)


def test_an_environment_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(blocks("add-an-environment.md", "python")[0])
    evaluate, collect = blocks("add-an-environment.md", "bash")[0].strip().splitlines()
    stepladder(evaluate, tmp_path)
    found = json.loads((tmp_path / "runs/counter/report.json").read_text())
    assert (found["rungs"][0]["success"], found["rungs"][0]["n"]) == (1.0, 5)
    # Its workers look for the reader's file where the command was started, which must be a process of its own for that.
    assert "20 demonstrations" in run([*PROGRAM, *shlex.split(collect)[1:]], tmp_path)
    run([sys.executable, "-c", blocks("add-an-environment.md", "python")[1]], tmp_path)


def test_an_agent_of_ones_own(tmp_path: Path) -> None:
    agent, play, check = blocks("add-an-agent.md", "python")
    (tmp_path / "plain.py").write_text(agent)
    (tmp_path / "play.py").write_text(play)
    lines = run([sys.executable, "play.py"], tmp_path).splitlines()
    assert lines[0].endswith("None")
    assert "unknown action 'jump'" in lines[1]
    assert len(lines) == 3
    assert run([sys.executable, "-c", check], tmp_path) == "['click', 'done', 'type']\n"
    stepladder("stepladder eval random --set dialect=plain:PlainAgent --tasks forms:login --episodes 1", tmp_path)


def test_evaluation_in_python(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(blocks("evaluation.md", "python")[0])
    assert run([sys.executable, "program.py"], tmp_path).split()[3] == "10"


def settings_of(config: Any) -> dict[str, str]:
    """Every setting, as `--settings` prints it, on one line."""
    found = {}
    for name in field_names(config):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = " ".join(str(value).split())
    return found


def settings_in_tables(page: Path) -> dict[str, str]:
    """The settings that a page lists with their defaults; several in one row have their defaults in the same order."""
    found: dict[str, str] = {}
    for table in re.findall(r"^\| setting \| default \| \|\n.*\n((?:\|.*\n)+)", page.read_text(), flags=re.MULTILINE):
        for row in table.splitlines():
            named, default = (cell.strip() for cell in row.split("|")[1:3])
            names = re.findall(r"`([\w.]+)`", named)
            found |= zip(names, default.split(", ") if len(names) > 1 else [default], strict=True)
    return found


def test_every_algorithm_has_a_page() -> None:
    assert {page.stem for page in ALGORITHM_PAGES} == {*ALGORITHMS, "README", "dpo"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_settings_of_an_algorithm(name: str) -> None:
    """Those that are listed exist and have these defaults; listed are its own and those in which it differs from `Algorithm`. What
    the text names besides exists."""
    algorithm, page = algorithm_class(name)(), ROOT / f"docs/algorithms/{name}.md"
    settings, listed = settings_of(RlConfig(algo=algorithm)), settings_in_tables(page)
    assert listed == {setting: settings.get(setting) for setting in listed}
    general = {spec.name: spec.default for spec in fields(Algorithm)}
    special = {f"algo.{spec.name}" for spec in fields(algorithm) if general.get(spec.name, ...) != getattr(algorithm, spec.name)}
    assert special <= set(listed)
    assert set(re.findall(r"`(algo\.\w+)`", page.read_text())) <= set(settings)


def test_settings_that_all_algorithms_share() -> None:
    listed = settings_in_tables(ROOT / "docs/algorithms/README.md")
    elsewhere = {f"algo.{name}" for name in ("clip_low", "clip_high", "dual_clip", "aggregation", "whiten", "correction_cap")}
    assert {f"algo.{spec.name}" for spec in fields(Algorithm)} - set(listed) == elsewhere
    for name in ALGORITHMS:
        settings = settings_of(RlConfig(algo=algorithm_class(name)()))
        assert listed == {setting: settings.get(setting) for setting in listed}, name


def test_table_of_algorithms() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|(.*)\|$", (ROOT / "docs/algorithms/README.md").read_text(), flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == list(ALGORITHMS)
    for name, page, cells in rows:
        algorithm: Algorithm = algorithm_class(name)()
        _, _, clip, aggregation, needs = (cell.strip() for cell in cells.split("|"))
        clips = float(algorithm.clip_low), float(algorithm.clip_high)
        assert page == name
        assert clip == "none" if algorithm.loss_kind == "reinforce" else tuple(map(float, clip.split(","))) == clips
        assert aggregation == f"`{algorithm.aggregation}`"
        assert needs == {"": "", "values": "a critic", "teacher": "a teacher", "self_teacher": "itself"}["".join(algorithm.needs)]


def test_settings_of_the_flywheel() -> None:
    settings, listed = settings_of(FlywheelConfig()), settings_in_tables(ROOT / "docs/flywheel.md")
    assert listed
    assert listed == {setting: settings.get(setting) for setting in listed}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_in_the_text_are_accepted(page: Path) -> None:
    """Those that the text names with `--set` are settings of some command, and of its desktops where the page is about them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for shown in re.findall(r"`([^`]*--set [^`]+)`", text):
        words = shlex.split(shown)
        assignments = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        if "..." in shown or assignments == ["name=value"]:
            continue  # a form and no example
        accepted = []
        for config in CONFIGURATIONS:
            with contextlib.suppress(ConfigError):
                accepted.append(override(config, assignments))
        assert accepted, f"{page.name} says {shown}"
        if page.name == "desktops.md":
            assert isinstance(accepted[0], EvaluateConfig)
            assert DeskEnvironment(ImageStore(), **accepted[0].options)


def test_watching_a_desktop_in_python() -> None:
    program = blocks("desktops.md", "python")[0]
    assert "sleep(600)" in program
    said = subprocess.run(
        [sys.executable, "-c", program.replace("sleep(600)", "sleep(0)")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert re.fullmatch(r"vncviewer 127\.0\.0\.1:\d+, password \w{8}\n", said.stdout), said.stderr


def test_settings_of_curricula_judges_and_proposals() -> None:
    for page, config in (("curricula", RlConfig()), ("judges", JudgeConfig()), ("task-generation", ProposeConfig())):
        settings, listed = settings_of(config), settings_in_tables(ROOT / f"docs/{page}.md")
        assert len(listed) >= 6
        assert listed == {setting: settings.get(setting) for setting in listed}


def test_settings_of_refinement_and_preferences() -> None:
    for page, config in (("refine", RefineConfig()), ("algorithms/dpo", PreferConfig()), ("corpora", CorpusConfig())):
        settings, listed = settings_of(config), settings_in_tables(ROOT / f"docs/{page}.md")
        assert len(listed) >= 8
        assert listed == {setting: settings.get(setting) for setting in listed}


def test_settings_of_search_labels_and_documents() -> None:
    for page, config in (("search", SearchConfig()), ("label", LabelConfig()), ("policy-documents", RlConfig())):
        settings, listed = settings_of(config), settings_in_tables(ROOT / f"docs/{page}.md")
        assert len(listed) >= 3
        assert listed == {setting: settings.get(setting) for setting in listed}


def test_settings_of_calls() -> None:
    settings = {name: value for name, value in settings_of(EvaluateConfig()).items() if name.startswith("api.")}
    assert settings_in_tables(ROOT / "docs/models-elsewhere.md") == settings


def test_settings_of_plays() -> None:
    settings, listed = settings_of(ViewConfig()), settings_in_tables(ROOT / "docs/play.md")
    assert listed
    assert listed == {setting: settings.get(setting) for setting in listed}


def test_settings_of_the_pool() -> None:
    settings, listed = settings_of(PoolSettings()), settings_in_tables(ROOT / "docs/pool.md")
    assert {f"pool.{name}": float(value) for name, value in settings.items()} == {
        name: float(value) for name, value in listed.items() if name != "environments"
    }


def test_the_pool_in_python(tmp_path: Path) -> None:
    page = blocks("pool.md", "python")[0]
    (tmp_path / "program.py").write_text(page)
    lines = run([sys.executable, "program.py"], tmp_path).splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["1.0"] * 3
    counts = set(ast.literal_eval(lines[3]))
    assert counts <= set(re.findall(r"`(\w+)`", (ROOT / "docs/pool.md").read_text()))


@pytest.fixture
def fading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The algorithm of the documentation can be imported."""
    (tmp_path / "fading.py").write_text(blocks("algorithms/README.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fading", raising=False)


@pytest.mark.usefixtures("fading")
@pytest.mark.parametrize(
    "page",
    [
        *ALGORITHM_PAGES,
        *(ROOT / f"docs/{name}.md" for name in ("search", "label", "policy-documents")),
        *(
            ROOT / f"docs/{name}.md"
            for name in (
                "corpora",
                "curricula",
                "flywheel",
                "judges",
                "merge",
                "models-elsewhere",
                "planning-a-cluster",
                "play",
                "pool",
                "reasoning",
                "refine",
            )
        ),
    ],
    ids=lambda page: page.stem,
)
def test_commands_are_accepted(page: Path) -> None:
    """Their options, algorithms and settings exist; nothing is run."""
    lines = [line for block in blocks(str(page.relative_to(ROOT / "docs")), "bash") for line in block.splitlines()]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "stepladder"
        result = CliRunner().invoke(cli.app, [*words[1:], "--settings"])
        assert result.exit_code == 0, f"{line}: {result.output} {result.exception}"


@pytest.mark.usefixtures("fading")
def test_an_algorithm_of_ones_own() -> None:
    algorithm: Algorithm = algorithm_class("fading:Fading")(fade=0.5)
    images = ImageStore()
    group = [episode(images, TASKS[0], 0, success, steps=3) for success in (True, False, None)]
    assert algorithm.keep(group)
    assert not algorithm.keep(group[1:])
    won, lost, broken = algorithm.credit([group], {})[0]
    assert [credit.advantage for credit in won] == [0.25, 0.5, 1.0]
    assert [credit.advantage for credit in lost] == [-0.25, -0.5, -1.0]
    assert broken == [NOTHING] * 3
    assert algorithm.objective().kind == "reinforce"
