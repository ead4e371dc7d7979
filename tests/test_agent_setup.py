"""Options of every agent as texts of a command line, what an agent is shown, and what cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import WordAgent
from typer.testing import CliRunner

from stepladder import cli
from stepladder.agents import AGENTS
from stepladder.agents.setup import set_up
from stepladder.agents.with_tree import TreeAgent
from stepladder.config import ConfigError, override
from stepladder.plugins import PluginError
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.evaluate import EvaluateConfig, main
from stepladder.stages.policies import agent_setup, build_agent, reply_tokens


class OptionAgent(WordAgent):
    """An agent with options of every kind, one of them needed and one without an annotation."""

    name = "option"

    def __init__(self, colour: str, share: float = 0.5, loud: bool = False, size: int | None = None, other=None) -> None:  # type: ignore[no-untyped-def]
        if share > 1:
            raise ValueError(f"share is {share}; it must be at most 1")
        self.given = {"colour": colour, "share": share, "loud": loud, "size": size, "other": other}


class OpenAgent(WordAgent):
    """An agent that takes whatever it is given."""

    def __init__(self, **options: Any) -> None:
        self.given = options


OPTION, OPEN = "test_agent_setup:OptionAgent", "test_agent_setup:OpenAgent"


@pytest.mark.parametrize("name", AGENTS)
def test_every_option_of_every_agent_can_be_written(name: str) -> None:
    plain = set_up(name)
    assert plain.options, f"{name} has no options at all"
    assert "screenshots" in plain.options
    for option, value in plain.options.items():
        written = set_up(name, {option: str(value)})
        assert written == plain, f"{option} of {name} written as {str(value)!r}"
        assert type(written.options[option]) is type(value)
    agent = plain.build()
    assert agent.name == name
    json.dumps(plain.options)


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        (
            "anthropic",
            {"version": "20241022", "width": "1024", "zoom": "false"},
            {"version": "20241022", "width": 1024, "zoom": False},
        ),
        ("kimi", {"password": "1234", "thinking": "0"}, {"password": "1234", "thinking": False}),
        ("kimi", {"password": "none"}, {"password": "none"}),
        ("qwen_vl", {"thought": "none", "grid": "5"}, {"thought": "none", "grid": 5}),
        ("qwen3_vl", {"screenshots": "none"}, {"screenshots": None}),
        ("qwen3_vl", {"screenshots": 7, "scale": "999"}, {"screenshots": 7, "scale": 999}),
        ("anthropic", {"version": 20250124}, {"version": "20250124"}),
        (OPTION, {"colour": "1", "share": "1", "size": "none", "other": "[1, 2]"}, {"colour": "1", "share": 1.0, "other": [1, 2]}),
        (OPTION, {"colour": "a=b", "loud": True, "other": "x"}, {"colour": "a=b", "loud": True, "other": "x"}),
        (OPEN, {"one": "1", "two": "two", "three": [3]}, {"one": 1, "two": "two", "three": [3]}),
    ],
)
def test_texts_become_what_the_option_is(name: str, given: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    setup = set_up(name, given)
    assert {option: setup.options[option] for option in found} == found
    assert all(type(setup.options[option]) is type(value) for option, value in found.items())
    agent: Any = setup.build()
    assert not hasattr(agent, "given") or found.items() <= agent.given.items()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("opencua", {"levle": "l1"}, r"agent\.levle: the agent 'opencua' has no option 'levle'; did you mean 'level'"),
        ("kimi", {"x": "1"}, r"agent\.x: the agent 'kimi' has no option 'x'; there are thinking, screenshots, password"),
        ("fakes:WordAgent", {"x": "1"}, "has no option 'x'; there are none"),
        ("opencua", {"level": "l9"}, r"agent\.level of 'opencua' is 'l9'; it must be one of l1, l2, l3"),
        ("anthropic", {"width": "wide"}, r"agent\.width of 'anthropic' is 'wide'; it must be a whole number"),
        ("anthropic", {"width": None}, r"agent\.width of 'anthropic' is None"),
        ("kimi", {"thinking": "maybe"}, r"agent\.thinking of 'kimi' is 'maybe'; it must be true or false"),
        (OPTION, {}, r"agent\.colour: the agent 'test_agent_setup:OptionAgent' needs this option"),
        (OPTION, {"colour": "red", "share": "2"}, "agent 'test_agent_setup:OptionAgent': share is 2.0; it must be at most 1"),
        ("anthropic", {"screenshots": "0"}, "agent 'anthropic': screenshots is 0"),
        ("qwen_vl", {"grid": [1]}, "agent 'qwen_vl': "),
    ],
)
def test_options_that_cannot_be_are_named(name: str, given: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        set_up(name, given).build()


def test_an_agent_that_is_not_there() -> None:
    with pytest.raises(PluginError, match="unknown agent 'opencau'; did you mean 'opencua'"):
        set_up("opencau")


def test_the_number_of_screenshots_has_one_place() -> None:
    assert set_up("kimi", history=7).options["screenshots"] == 7
    with pytest.raises(ConfigError, match=r"history and agent\.screenshots say the same thing"):
        set_up("kimi", {"screenshots": "2"}, history=7)
    with pytest.raises(ConfigError, match="history: the agent 'fakes:WordAgent' has no option for how many screenshots"):
        set_up("fakes:WordAgent", history=2)


@pytest.mark.parametrize(
    ("name", "observe", "built"),
    [
        ("qwen_vl", "screenshot", "qwen_vl"),
        ("qwen_vl", "screenshot_a11y_tree", "qwen_vl+a11y_tree"),
        ("anthropic", "som", "anthropic+som"),
        ("fakes:WordAgent", "som", "words+som"),
        ("computer_13", "a11y_tree", "computer_13"),
        ("osworld_pyautogui", "som", "osworld_pyautogui"),
    ],
)
def test_what_an_agent_is_shown(name: str, observe: str, built: str) -> None:
    setup = set_up(name, observe=observe)
    agent: Any = setup.build()
    assert (agent.name, setup.observe, setup.needs_tree) == (built, observe, observe != "screenshot")
    if not isinstance(agent, TreeAgent) and hasattr(agent, "observation_type"):
        assert (agent.observation_type, setup.options["observation_type"]) == (observe, observe)


def test_the_option_of_an_agent_says_what_it_is_shown() -> None:
    assert set_up("osworld_pyautogui", {"observation_type": "som"}).observe == "som"
    assert set_up("kimi", {"tree_characters": "500"}, observe="screenshot_a11y_tree").build().tree_characters == 500  # type: ignore[attr-defined]
    for name, given, observe, message in (
        ("osworld_pyautogui", {"observation_type": "som"}, "som", r"observe and agent\.observation_type say the same thing"),
        ("kimi", {}, "a11y_tree", "the agent 'kimi' needs a screenshot: screenshot, screenshot_a11y_tree, som"),
        ("kimi", {}, "marks", "observe is 'marks'; it must be one of screenshot, a11y_tree, screenshot_a11y_tree, som"),
        ("osworld_pyautogui", {"observation_type": "marks"}, None, "must be one of screenshot, a11y_tree"),
        ("computer_13", {}, "som", "no word for a marked element, use osworld_pyautogui"),
        ("kimi", {"tree_characters": "500"}, None, "has no option 'tree_characters'"),
    ):
        with pytest.raises(ConfigError, match=message):
            set_up(name, given, observe=observe).build()


def test_options_change_what_a_checkpoint_was_trained_with(tmp_path: Path) -> None:
    AgentOptions(grid=20, thought="action", screenshots=2).save(tmp_path)
    policy = str(tmp_path)
    trained = {"screenshots": 2, "thought": "action", "system": "none", "grid": 20, "level": "trained"}
    assert agent_setup(policy).options == trained
    changed = agent_setup(policy, given={"thought": "full"}, history=3)
    assert changed.options == {**trained, "thought": "full", "screenshots": 3}
    assert reply_tokens(policy, changed) > reply_tokens(policy, agent_setup(policy))
    assert agent_setup("random").options == {"screenshots": 1, "thought": "action", "system": "full", "grid": 1, "level": "trained"}
    assert agent_setup(policy, "qwen3_vl").options["screenshots"] is None, "another dialect has its own"
    agent: Any = build_agent(policy, given={"grid": 5}, observe="som")
    assert (agent.name, agent.coordinates.grid, agent.screenshots) == ("qwen_vl+som", 5, 2)


def test_settings_reach_the_agent_and_the_record(tmp_path: Path) -> None:
    config = EvaluateConfig(tasks="forms:login", policy="test_evaluate:Other", episodes=1, baselines=(), output=tmp_path)
    config = override(config, ["dialect=opencua", "agent.level=l1", "agent.password=007", "agent.screenshots=2", "max_steps=1"])
    assert config.agent == {"level": "l1", "password": "007", "screenshots": "2"}
    assert main(config, show=False).n == 1
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded["dialect"] == "opencua"
    assert recorded["agent"] == {
        **{"level": "l1", "version": "v2", "coordinates": "qwen25", "screenshots": 2, "history": "thought", "password": "007"}
    }
    with pytest.raises(ConfigError, match=r"agent\.level was 'l1' and is now 'l3'"):
        main(replace(config, agent={**config.agent, "level": "l3"}), show=False)
    for wrong in ({"level": "l9"}, {"screenshots": "0"}, {"volume": "11"}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))}"):
            main(replace(config, agent=wrong, output=tmp_path / "never"), show=False)
    assert not (tmp_path / "never").exists(), "what the agent refuses leaves no run behind"


def test_the_command_line_of_an_evaluation(tmp_path: Path) -> None:
    asked = ["eval", "random", "--agent", "anthropic", "--set", "agent.version=20241022", "--observe", "som", "--settings"]
    told = CliRunner().invoke(cli.app, asked).output
    assert all(line in told for line in ("dialect=anthropic", "agent={'version': '20241022'}", "observe=som")), told
    wrong = ["eval", "random", "--env", "forms:login", "--agent", "kimi", "--observe", "a11y_tree", "-o", str(tmp_path / "out")]
    refused = CliRunner().invoke(cli.app, wrong).exception
    assert isinstance(refused, ConfigError)
    assert "needs a screenshot" in str(refused)
