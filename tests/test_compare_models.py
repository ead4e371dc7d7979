"""The page that compares three models: its commands, against servers on loopback that answer as the APIs do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from api_servers import Replaying, Reply, serving
from test_api_policies import CALL, CLICK, chat, message, response
from test_docs import blocks
from typer.testing import CliRunner

from stepladder import cli

TOOL_CALL = '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [500, 500]}}\n</tool_call>'


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("compare-models.md", "bash") for line in block.splitlines()]
    claude, openai, qwen = (
        Replaying([Reply(message(CLICK))]),
        Replaying([Reply(response(CALL))]),
        Replaying([Reply(chat(TOOL_CALL))]),
    )
    with serving(claude) as one, serving(openai) as two, serving(qwen) as three:
        for name, url in (("ANTHROPIC", one), ("OPENAI", two)):
            monkeypatch.setenv(f"{name}_BASE_URL", url)
            monkeypatch.setenv(f"{name}_API_KEY", "sk-test")
        port = three.rpartition(":")[2]
        for command in commands:
            words = shlex.split(re.sub(r"127\.0\.0\.1([:-])8000", rf"127.0.0.1\g<1>{port}", command))
            assert words.pop(0) == "stepladder"
            if words[0] == "eval":
                words += ["--set", "baselines=idle", "--set", "environments=3"]
            run = CliRunner().invoke(cli.app, words)
            assert run.exit_code == 0, f"{command}\n{run.output}\n{run.exception}"
            assert "n = 6" in run.output or words[0] == "compare", run.output
    assert "6" in run.output, "all starts were played by both"
    assert all(server.asked for server in (claude, openai, qwen))
