"""What the documentation tells people to type works as it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a page of docs/."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / name).read_text(), flags=re.DOTALL)


def run(arguments: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def stepladder(line: str, folder: Path) -> str:
    """A command line of the documentation."""
    words = shlex.split(line)
    assert words[0] == "stepladder"
    return run([sys.executable, "-c", "import sys; from stepladder.cli import main; main()", *words[1:]], folder)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:stepladder|tests|bench|dev|docs)/[\w./]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


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
    assert set(found["baselines"]) == {"idle"}
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
    assert "20 demonstrations" in stepladder(collect, tmp_path)
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
