"""Plug-ins by name or dotted path: what is not there is named with the nearest that is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stepladder.agents import agent_class
from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.envs import environment_class
from stepladder.plugins import PluginError
from stepladder.policies import policy_class
from stepladder.policies.random import RandomPolicy


def test_a_name_of_the_table_and_a_dotted_path_lead_to_the_class() -> None:
    assert agent_class("qwen_vl") is agent_class("stepladder.agents.qwen_vl:QwenVLAgent") is QwenVLAgent
    assert policy_class("random") is RandomPolicy
    assert environment_class("fakes:FakeEnvironment").__name__ == "FakeEnvironment"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("from", "unknown environment 'from'; did you mean 'forms'?"),
        (
            "xyz",
            "unknown environment 'xyz'; known: miniwob, page, bridge, desk, osworld, forms, reasoning, or package.module:Class",
        ),
        ("no_such_module:Foo", "there is no module 'no_such_module'"),
        ("json.no_such:Foo", "there is no module 'json.no_such'"),
        ("json:JSONDecoderr", "module 'json' has no 'JSONDecoderr'; did you mean 'JSONDecoder'?"),
        (":Foo", "'' is no module name"),
    ],
)
def test_what_is_not_there_is_named(name: str, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        environment_class(name)
    assert message in str(caught.value)


def test_a_module_that_lacks_another_keeps_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacking_plugin.py").write_text("import a_module_that_is_not_installed\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        environment_class("lacking_plugin:Foo")
