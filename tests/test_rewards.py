"""Rewards: the cookbook's numbers, signals off a trajectory, format, length, totals; a broken environment has no reward."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.config import ConfigError
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.errors import NotConforming
from stepladder.images import ImageStore
from stepladder.interfaces import Reward
from stepladder.plugins import PluginError
from stepladder.policies.scripted import ScriptedPolicy
from stepladder.rewards import REWARDS, build_reward, reward_class
from stepladder.rewards.combine import WeightedReward, total
from stepladder.rewards.conformance import GROUP, check_reward
from stepladder.rewards.format import FormatReward
from stepladder.rewards.length import LengthReward, overlong
from stepladder.rewards.outcome import OutcomeReward
from stepladder.rewards.shaped import (
    PRESETS,
    PartialWeights,
    ShapedReward,
    StepSignals,
    clamped,
    efficiency,
    grounded,
    partial_score,
    penalties,
    refused,
    screen_change,
    shaped,
    step_signals,
    tool_calling,
    tree_change,
)
from stepladder.rollout.episode import run_episode
from stepladder.types import (
    ACTION_KINDS,
    FAILED_ENVIRONMENT,
    STATUSES,
    Action,
    Completion,
    Element,
    ImageRef,
    Limits,
    Observation,
    Sampling,
    Status,
    Step,
    Task,
    Trajectory,
)

DOCS = Path(__file__).parent.parent / "docs"
TASK = Task("t", "Press OK.", "forms", max_steps=10)
ALL = [OutcomeReward(), ShapedReward(), FormatReward(), LengthReward(128, 32), WeightedReward({"outcome": 1.0, "format": 0.1})]


def about(value: float) -> Any:
    return pytest.approx(value, abs=1e-12)


def signal(kind: str = "click", **values: Any) -> dict[str, Any]:
    """A `step_signal` as the cookbook's environment writes it."""
    record = {
        "step": 1,
        "action_type": kind,
        "action_parsed": True,
        "action_executed": True,
        "action_error": None,
        "target_element": None,
        "action_jittered": False,
        "fallback_used": False,
        "coordinate": None,
        "a11y_grounded": False,
        "screen_diff": 0.0,
        "screen_changed": 0.0,
        "screen_hash": "0123456789ab",
        "screen_hash_changed": 0.0,
        "a11y_delta": 0.0,
        "a11y_changed": 0.0,
        "terminal_changed": 0.0,
        "env_reward": 0.0,
    }
    assert values.keys() <= record.keys()
    return {**record, **values}


def read(*records: dict[str, Any]) -> list[StepSignals]:
    return [StepSignals.of(record) for record in records]


EPISODE = read(
    signal("click", coordinate=[10, 20], a11y_grounded=True, screen_diff=0.02, a11y_delta=0.5),
    signal("click", coordinate=[10, 20], a11y_grounded=True),
    signal("write", terminal_changed=1.0),
    signal("unknown", action_parsed=False, action_executed=False, fallback_used=True),
    signal("WAIT", screen_diff=0.02),
)


def episode(
    steps: list[Step], final: Observation | None = None, status: Status = "done", reward: float | None = 1.0, task: Task = TASK
) -> Trajectory:
    return Trajectory("t-0", task, tuple(steps), final, status, reward)


def screen(number: int, text: str = "", tree: tuple[Element, ...] | None = None) -> Observation:
    return Observation(ImageRef(f"{number:064x}", 100, 100), tree, text, "", f"s{number}")


# ------------------------------------------------------------------------------------------------------- the cookbook's numbers


def test_the_presets_are_the_cookbooks() -> None:
    assert list(asdict(PRESETS["reward"].weights).values()) == [0.10, 0.15, 0.30, 0.25, 0.05, 0.05, 0.05, 0.05]
    assert sum(asdict(PRESETS["reward"].weights).values()) == about(1.0)
    assert list(asdict(PRESETS["grpo_config"].weights).values()) == [0.10, 0.15, 0.10, 0.15, 0.05, 0.05, 0.05, 0.05]
    assert [preset.complexity for preset in PRESETS.values()] == ["medium", "low"]
    two = episode([Step(screen(0), Action("click", 5, 5)), Step(screen(1), Action("done"))], screen(1))
    fitting = {name: ShapedReward(name)([two])[0]["tool_calling"] for name in PRESETS}
    assert fitting == {"reward": about(0.8 / 3 + 0.4 * 2 / 5 + 0.1), "grpo_config": about(0.8 / 3 + 0.4 + 0.1)}
    assert ShapedReward("grpo_config", complexity="medium")([two])[0]["tool_calling"] == fitting["reward"]


def test_the_partial_score_by_hand() -> None:
    score, components = partial_score(EPISODE)
    assert components == {
        "action_parse_valid": about(4 / 5),
        "action_executed": about(4 / 5),
        "a11y_grounding": about(2 / 5),
        # 4 types of 3; 5 steps fit "medium"; click and wait are two modalities, "write" is none
        "tool_calling": about(0.4 + 0.4 + 0.2),
        "efficiency": about(10 / 15),
        "screen_diff": about(0.04 / 5),
        "a11y_delta": about(0.5 / 5),
        "terminal_changed": about(1 / 5),
    }
    assert score == about(0.08 + 0.12 + 0.12 + 0.25 + 0.05 * 10 / 15 + 0.05 * (0.008 + 0.1 + 0.2))
    score, _ = partial_score(EPISODE, PRESETS["grpo_config"].weights, max_steps=8)
    assert score == about(0.08 + 0.12 + 0.04 + 0.15 + 0.05 * 3 / 8 + 0.05 * (0.008 + 0.1 + 0.2))


def test_the_penalties_and_the_shaped_reward_by_hand() -> None:
    taken_off = penalties(EPISODE)
    assert taken_off == {
        "repeat_penalty": about(0.08),
        "invalid_penalty": about(0.06),
        "fallback_penalty": about(0.1),
        "wait_penalty": about(0.06),
    }
    assert shaped(1.0, 0.5, taken_off) == about(1.0 + 0.15 - 0.3)
    assert shaped(0.0, 0.5, taken_off, alpha=0.1) == about(0.05 - 0.3)
    assert (clamped(0.85), clamped(1.2), clamped(-0.25)) == (0.85, 1.0, 0.0)


def test_penalties_have_ceilings() -> None:
    worst = read(*[signal("unknown", fallback_used=True)] * 10)
    assert penalties(worst) == {
        "repeat_penalty": 0.30,  # 9 of 10 would be 0.36
        "invalid_penalty": 0.15,
        "fallback_penalty": 0.5,
        "wait_penalty": 0.0,
    }
    assert penalties(read(*[signal("wait")] * 10))["wait_penalty"] == about(0.3)


def test_a_single_step_is_neither_repeat_nor_invalid_but_may_be_fallback_and_wait() -> None:
    assert set(penalties([]).values()) == {0.0}
    assert penalties(read(signal("unknown", fallback_used=True))) == {
        "repeat_penalty": 0.0,
        "invalid_penalty": 0.0,
        "fallback_penalty": 0.5,
        "wait_penalty": 0.0,
    }
    assert penalties(read(signal("WAIT")))["wait_penalty"] == about(0.3)


def test_a_repeat_has_type_and_place_of_the_step_before() -> None:
    def repeats(*records: dict[str, Any]) -> float:
        return penalties(read(*records))["repeat_penalty"] / 0.40 * len(records)

    here, there = {"coordinate": [1, 2]}, {"coordinate": [1, 3]}
    assert repeats(signal(**here), signal(**here)) == about(1)
    assert repeats(signal(**here), signal(**there)) == 0
    assert repeats(signal(**here), signal("rightclick", **here)) == 0
    assert repeats(signal(**here), signal("wait"), signal(**here)) == 0, "only the step before counts"
    assert repeats(signal("write"), signal("write")) == about(1), "no place and no place are the same place"


@pytest.mark.parametrize(("turns", "expected"), [(-1, 1.0), (0, 1.0), (1, 14 / 15), (15, 0.0), (40, 0.0)])
def test_efficiency(turns: int, expected: float) -> None:
    assert efficiency(turns, 15) == about(expected)
    assert partial_score(EPISODE, turns=turns)[1]["efficiency"] == about(expected)


@pytest.mark.parametrize(
    ("complexity", "count", "fitting"),
    [
        ("low", 1, 1 / 2),
        ("low", 2, 1.0),
        ("low", 5, 1.0),
        ("low", 8, 5 / 8),
        ("low", 20, 0.5),
        ("medium", 4, 4 / 5),
        ("medium", 12, 1.0),
        ("medium", 15, 12 / 15),
        ("high", 9, 9 / 10),
        ("high", 25, 1.0),
        ("high", 60, 0.5),
    ],
)
def test_tool_calling_asks_for_a_fitting_number_of_steps(complexity: str, count: int, fitting: float) -> None:
    assert tool_calling(read(*[signal()] * count), complexity) == about(0.4 / 3 + 0.4 * fitting + 0.1)


def test_tool_calling_asks_for_several_types_and_modalities() -> None:
    def varied(*kinds: str) -> float:
        return tool_calling(read(*map(signal, kinds)), "low") - 0.4

    assert varied("click", "click") == about(0.4 / 3 + 0.1)
    assert varied("click", "doubleclick") == about(0.8 / 3 + 0.1), "two types of one modality"
    assert varied("write", "press") == about(0.8 / 3), "the cookbook's words for typing and keys are no modality"
    assert varied("hotkey", "typewrite") == about(0.8 / 3 + 0.2)
    assert varied("type", "key") == about(0.8 / 3 + 0.2), "ours are"
    assert varied("WAIT", "scroll", "dragTo", "click") == about(0.4 + 0.2)
    assert tool_calling([]) == 0.0


def test_without_the_tree_its_components_are_0_and_the_other_weights_stay() -> None:
    everything = read(*[signal(kind, a11y_grounded=True, a11y_delta=1.0) for kind in ("click", "type", "key", "drag", "scroll")])
    full, _ = partial_score(everything, turns=0)
    score, components = partial_score(everything, turns=0, a11y=False)
    assert (components["a11y_grounding"], components["a11y_delta"]) == (0.0, 0.0)
    assert score == about(full - 0.35) == about(0.55)


def test_no_steps() -> None:
    score, components = partial_score([])
    assert components == {**dict.fromkeys(components, 0.0), "efficiency": 1.0}
    assert score == about(0.05)


# ------------------------------------------------------------------------------------------------- the signals of a trajectory


def test_signals_are_named_after_actions_and_judged_by_what_came_next() -> None:
    steps = [
        Step(screen(0), Action("click", 5, 5)),
        Step(screen(1), Action("type", text="a")),
        Step(screen(1, "no field has the focus"), error="no action"),
        Step(screen(1, "no field has the focus"), Action("drag", 1, 2, 3, 4)),
        Step(screen(1, "total 0"), Action("wait", seconds=1)),
    ]
    found = step_signals(episode(steps, final=screen(1, "total 0")))
    assert [one.action_type for one in found] == ["click", "type", "unknown", "drag", "wait"]
    assert [one.action_parsed for one in found] == [True, True, False, True, True]
    assert [one.action_executed for one in found] == [True, False, False, False, True]
    assert [one.coordinate for one in found] == [(5, 5), None, None, (1, 2, 3, 4), None]
    assert [one.screen_diff for one in found] == [1, 0, 0, 0, 0]
    assert not any(one.fallback_used or one.terminal_changed for one in found)


def test_every_kind_of_action_has_the_modality_that_it_says() -> None:
    words = {kind: [word for word in ("click", "type", "key", "scroll", "drag", "wait") if word in kind] for kind in ACTION_KINDS}
    assert all(len(found) <= 1 for found in words.values())
    assert {kind for kind, found in words.items() if not found} == {"move", "mouse_down", "mouse_up", "call", "done", "fail"}
    waiting = episode([Step(screen(0), Action("wait", seconds=1))] * 2, screen(0))
    terms = ShapedReward(complexity="low")([waiting])[0]
    assert terms["wait_penalty"] == about(0.3)
    assert terms["tool_calling"] == about(0.4 / 3 + 0.4 + 0.1), "waiting is a modality"


def test_refusals_change_nothing_and_say_so() -> None:
    assert refused(screen(0), screen(0, "there is no key 'foo'"))
    assert refused(screen(0, "outside"), screen(0, "outside")), "the same refusal twice"
    assert not refused(screen(0), screen(1, "alert dialog: hello"))
    assert not refused(screen(0), screen(0))
    assert not refused(screen(0, "outside"), screen(0))
    assert not refused(Observation(text="$"), Observation(text="$ ls")), "nothing to compare"
    bare = replace(screen(0), state_key="")
    assert refused(bare, replace(bare, text="no"))
    assert not refused(bare, replace(screen(1, "a dialog"), state_key=""))
    assert not refused(screen(0), replace(screen(0, "a new tab"), url="b"))


def test_output_counts_as_a_change_of_the_terminal_and_a_refusal_does_not() -> None:
    def changed(before: str, after: Observation) -> float:
        return step_signals(episode([Step(screen(0, before), Action("key", keys=("enter",)))], after))[0].terminal_changed

    assert changed("", screen(1, "total 0")) == 1
    assert changed("total 0", screen(1, "total 0")) == 0
    assert changed("outside", screen(1)) == 0
    assert changed("", screen(0, "there is no such key")) == 0


def test_a_click_is_grounded_on_what_stands_at_the_bottom_of_the_tree() -> None:
    tree = (
        Element("RootWebArea", box=(0, 0, 100, 100)),
        Element("button", "OK", box=(10, 10, 30, 20), parent=0),
        Element("StaticText", "OK", box=(20, 15, 10, 10), parent=1),
        Element("listbox", box=(50, 50, 40, 40), parent=0),
        Element("option", "a", box=(50, 50, 40, 20), parent=3),
        Element("combobox", box=(10, 70, 30, 20), parent=0),
        Element("option", "folded up", parent=5),
    )
    assert grounded(Action("click", 12, 12), tree)
    assert grounded(Action("double_click", 25, 20), tree)
    assert grounded(Action("scroll", 60, 55, amount=1), tree)
    assert grounded(Action("click", 12, 72), tree)
    assert not grounded(Action("click", 60, 80), tree), "beside every option of the list"
    assert not grounded(Action("click", 40, 10), tree), "boxes end before their right edge"
    assert not grounded(Action("click", 5, 5), tree), "the page is no target"
    assert not grounded(Action("click"), tree)
    assert not grounded(Action("type", text="OK"), tree)
    assert not grounded(Action("click", 12, 12), None)


def test_the_screen_changes_by_the_cookbooks_measure_where_there_are_pictures() -> None:
    images = ImageStore()
    white = np.full((128, 128, 3), 255, dtype=np.uint8)
    half = white.copy()
    half[:64] = 0
    shown = [Observation(images.put_pixels(pixels), state_key=str(number)) for number, pixels in enumerate([white, half])]
    # Half of it goes from white to black; the filter mixes the two rows at the edge but keeps their mean.
    assert screen_change(*shown, images) == pytest.approx(0.5, abs=1e-3)
    assert screen_change(shown[0], replace(shown[0], state_key="x"), images) == 0.0
    assert screen_change(*shown) == 1.0, "without pictures the file decides"
    assert screen_change(shown[0], Observation(state_key="1"), images) == 0.0
    assert screen_change(Observation(state_key="0"), Observation(state_key="1")) == 1.0
    with pytest.raises(KeyError, match="is not in"):
        screen_change(*shown, ImageStore())
    click = episode([Step(shown[0], Action("click", 1, 1))], shown[1])
    assert ShapedReward(images=images)([click])[0]["screen_diff"] == pytest.approx(0.5, abs=1e-3)


def test_the_tree_changes_by_its_length() -> None:
    one = (Element("button", "OK"),)  # "button OK ", 10 characters and the end of the line
    assert tree_change(one, one) == 0.0
    assert tree_change(one, (Element("button", "OKOK"),)) == about(2 / 11)
    assert tree_change(one, (Element("button", "OK"), *one * 9)) == 1.0
    assert tree_change(one, ()) == 1.0
    assert (tree_change((), one), tree_change(None, one), tree_change(one, None)) == (0.0, 0.0, 0.0)


def test_a_real_episode() -> None:
    """Forms with their tree: a click on a field, a text into it, a click beside the screen, nonsense, giving an answer."""
    images, agent = ImageStore(), QwenVLAgent(thought="none", grid=1)
    environment = FormsEnvironment(images, tree=True)
    task = environment.tasks(["login"])[0]
    shown = asyncio.run(environment.reset(task, 0))
    field = next(element for element in shown.tree or () if element.role == "textbox")
    assert field.box is not None
    center = (field.box[0] + field.box[2] / 2, field.box[1] + field.box[3] / 2)
    actions = [Action("click", *center), Action("type", text="abc"), Action("key", keys=("f7",)), None, Action("done")]
    replies = ["nonsense" if action is None else agent.format("", action, shown) for action in actions]
    played = asyncio.run(
        run_episode(environment, agent, ScriptedPolicy(replies), task, 0, sampling=Sampling(), limits=Limits(max_steps=5))
    )
    assert [step.action is not None for step in played.steps] == [True, True, True, False, True]
    found = step_signals(played, images)
    assert [one.action_executed for one in found] == [True, True, False, False, True], [
        step.observation.text for step in played.steps
    ]
    assert [one.a11y_grounded for one in found] == [True, False, False, False, False]
    assert 0 < found[1].screen_diff < 0.05
    assert 0 < found[1].a11y_delta < 0.2
    terms = ShapedReward(images=images)([played])[0]
    assert (terms["action_parse_valid"], terms["action_executed"]) == (about(4 / 5), about(3 / 5))


# --------------------------------------------------------------------------------------------------------------- the rewards


def test_the_terms_of_the_shaped_reward() -> None:
    success = episode([Step(screen(0), Action("click", 5, 5)), Step(screen(1), Action("done"))], screen(1))
    terms = ShapedReward()([success])[0]
    assert list(terms) == [
        "task",
        "action_parse_valid",
        "action_executed",
        "a11y_grounding",
        "tool_calling",
        "efficiency",
        "screen_diff",
        "a11y_delta",
        "terminal_changed",
        "partial",
        "repeat_penalty",
        "invalid_penalty",
        "fallback_penalty",
        "wait_penalty",
        "shaped",
        "shaped_clamped",
    ]
    assert terms["efficiency"] == about(8 / 10), "of the task's own max_steps"
    assert ShapedReward(max_steps=4)([success])[0]["efficiency"] == about(1 / 2)
    assert terms["shaped"] > 1 == terms["shaped_clamped"], "clamping would hide the partial credit of a success"


def test_the_shaped_reward_leaves_failures_apart_that_clamping_makes_equal() -> None:
    lazy = episode([Step(screen(0), Action("wait"))] * 4, screen(0), "max_steps", 0.0)
    silent = episode([Step(screen(0), error="no action")] * 4, screen(0), "parse_error", 0.0)
    first, second = ShapedReward()([lazy, silent])
    assert first["shaped_clamped"] == second["shaped_clamped"] == 0.0
    assert 0 > first["shaped"] != second["shaped"] < 0


def test_the_task_reward_alone_decides_about_success() -> None:
    """What a flywheel keeps: no term of any reward changes the grade, however good the shaped reward looks."""
    kinds = ("click", "drag", "scroll", "double_click", "click")
    steps = [Step(screen(number), Action(kind, number, 1)) for number, kind in enumerate(kinds)]
    failure = episode(steps, screen(9), "max_steps", 0.45)
    terms = ShapedReward()([failure])[0]
    assert terms["shaped"] > 0.5 > terms["task"]
    assert not replace(failure, parts=terms).success


@pytest.mark.parametrize("reward", ALL, ids=lambda reward: type(reward).__name__)
@pytest.mark.parametrize("status", STATUSES)
def test_an_environment_that_failed_gives_no_reward_and_not_0(reward: Reward, status: Status) -> None:
    steps = [Step(screen(0), Action("click", 1, 1))]
    graded, ungraded = reward([episode(steps, screen(1), status, 0.0), episode(steps, None, status, None)])
    assert ungraded == {}
    assert (graded == {}) == (status in FAILED_ENVIRONMENT)
    assert math.isnan(total(ungraded, "task"))


def test_format() -> None:
    good, bad = Step(screen(0), Action("wait")), Step(screen(0), error="no action")
    group = [episode([good] * 4), episode([bad, good, good, good]), episode([bad] * 3), episode([])]
    assert [terms["format"] for terms in FormatReward()(group)] == [0.0, -0.25, -1.0, 0.0]
    assert [terms["format"] for terms in FormatReward(share=False)(group)] == [0.0, -1.0, -1.0, 0.0]


@pytest.mark.parametrize(("length", "expected"), [(0, 0.0), (96, 0.0), (97, -1 / 32), (112, -0.5), (128, -1.0), (160, -2.0)])
def test_length(length: int, expected: float) -> None:
    assert overlong(length, 128, 32) == about(expected)
    assert overlong(length, 128, 32, factor=0.5) == about(expected / 2)
    reply = Completion("x", np.zeros(length, dtype=np.int32))
    steps = [Step(screen(0), Action("wait"), completion=completion) for completion in (reply, None, Completion("x"))]
    assert LengthReward(128, 32)([episode(steps[:1]), episode(steps), episode([])]) == [
        {"length": about(expected)},
        {"length": about(expected / 3)},
        {"length": 0.0},
    ]


def test_a_weighted_total() -> None:
    reward = WeightedReward({"outcome": 1.0, "format": 0.5, "length": 2}, {"length": {"limit": 100, "buffer": 50}})
    steps = [Step(screen(0), completion=Completion("x", np.zeros(75, dtype=np.int32)), error="no action"), Step(screen(0))]
    terms = reward([episode(steps, reward=0.75)])[0]
    assert terms == {"task": 0.75, "format": -0.5, "length": -0.25, "reward": about(0.75 - 0.25 - 0.5)}
    both = WeightedReward({"outcome": 0.0, "shaped": 1.0})([episode(steps)])[0]
    assert both["reward"] == both["shaped"], "they share the term `task`"


class Other:
    main = "task"

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        return [{"task": 0.5} for _ in group]


class Nameless:
    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        return [{"quiet": 1.0} for _ in group]


def test_terms_of_one_name_must_agree() -> None:
    with pytest.raises(ConfigError, match="test_rewards:Other' gives a term 'task', which another reward gives as well"):
        WeightedReward({"outcome": 1.0, "test_rewards:Other": 1.0})([episode([])])


def test_a_total_that_is_not_there_is_named() -> None:
    assert total({"task": 0.5, "shaped": 0.75}, "shaped") == 0.75
    with pytest.raises(ConfigError, match=r"no term 'shape'; did you mean 'shaped'\?"):
        total({"task": 0.5, "shaped": 0.75}, "shape")


# ------------------------------------------------------------------------------------------------------------ names, options


def test_rewards_by_name() -> None:
    assert reward_class("shaped") is reward_class("stepladder.rewards.shaped:ShapedReward") is ShapedReward
    assert isinstance(build_reward("outcome"), OutcomeReward)
    options = {"length": {"limit": 64, "buffer": 16}, "weighted": {"weights": {"outcome": 1.0}}}
    for name in REWARDS:
        assert isinstance(build_reward(name, **options.get(name, {})), Reward)
    assert isinstance(build_reward("test_rewards:Nameless"), Nameless)
    reward = build_reward("shaped", preset="grpo_config", weights={"efficiency": 0.5})
    assert isinstance(reward, ShapedReward)
    assert reward.weights == PartialWeights(a11y_grounding=0.10, tool_calling=0.15, efficiency=0.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shape", {}, "unknown reward 'shape'; did you mean 'shaped'?"),
        ("shaped", {"alpa": 1}, "reward 'shaped' has no option 'alpa'; did you mean 'alpha'?"),
        ("outcome", {"scale": 1}, "reward 'outcome' has no option 'scale'; there are none"),
        ("shaped", {"preset": "grpo_conf"}, "reward 'shaped': preset is 'grpo_conf'; did you mean 'grpo_config'?"),
        ("shaped", {"weights": {"a11y_grounded": 1}}, "a weight is 'a11y_grounded'; did you mean 'a11y_grounding'?"),
        ("shaped", {"weights": {"efficiency": math.inf}}, "efficiency is inf; it must be a finite number"),
        ("shaped", {"alpha": math.nan}, "alpha is nan; it must be a finite number"),
        ("shaped", {"complexity": "mid"}, "complexity is 'mid'; it must be one of low, medium, high"),
        ("shaped", {"max_steps": 0}, "max_steps is 0; it must be 1 or more"),
        ("length", {"buffer": 1}, "reward 'length' needs the option 'limit'"),
        ("length", {"limit": 10, "buffer": 11}, "buffer is 11; it must be from 1 to limit, which is 10"),
        ("length", {"limit": 10, "buffer": 1, "factor": -1}, "factor is -1; it must be 0 or more"),
        ("weighted", {"weights": {}}, "weights is empty"),
        ("weighted", {"weights": {"outcom": 1}}, "unknown reward 'outcom'; did you mean 'outcome'?"),
        ("weighted", {"weights": {"outcome": math.nan}}, "the weight of 'outcome' is nan"),
        ("weighted", {"weights": {"format": 1}, "options": {"formt": {}}}, "options are for 'formt', which has no weight; did you"),
        ("weighted", {"weights": {"test_rewards:Nameless": 1}}, "does not say which term is weighted"),
    ],
)
def test_what_cannot_be_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, PluginError)) as caught:
        build_reward(name, **options)
    assert message in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- conformance


@pytest.mark.parametrize("reward", ALL, ids=lambda reward: type(reward).__name__)
def test_rewards_keep_the_contract(reward: Reward) -> None:
    names = check_reward(reward)
    assert getattr(reward, "main", None) in names


class Broken(OutcomeReward):
    """Breaks one rule of the contract."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.calls = 0

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        found: list[Any] = super().__call__(group)
        self.calls += 1
        if self.rule == "count":
            return found[:-1]
        if self.rule == "zero":
            return [terms or {"task": 0.0} for terms in found]
        if self.rule == "empty":
            return [{} for _ in found]
        if self.rule == "nan":
            return [{"task": math.nan} if terms else {} for terms in found]
        if self.rule == "none":
            return [{"task": None} if terms else {} for terms in found]
        if self.rule == "names":
            return [{**terms, f"of {index}": 1.0} if terms else {} for index, terms in enumerate(found)]
        if self.rule == "unnamed":
            return [{**terms, "": 1.0} if terms else {} for terms in found]
        if self.rule == "order":
            return [{"task": float(index)} if terms else {} for index, terms in enumerate(found)]
        if self.rule == "calls":
            return [{"task": float(self.calls)} if terms else {} for terms in found]
        if self.rule == "writes":
            for trajectory in group:
                object.__setattr__(trajectory, "parts", {"task": float(self.calls)})
        return found


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("count", "the group of 7 must give a list of 7 dicts"),
        ("zero", r"law 4: trajectory 'conformance-4' \(env_error\)"),
        ("empty", "has a grade; it must have terms"),
        ("nan", "term 'task' must be a finite number, not nan"),
        ("none", "term 'task' must be a finite number, not None"),
        ("names", "they must be the same"),
        ("unnamed", "the name of a term must be a text"),
        ("order", "terms depend on the order of the group"),
        ("calls", "differ from call to call"),
        ("writes", "the reward changed the trajectories"),
    ],
)
def test_what_breaks_the_contract_is_named(rule: str, message: str) -> None:
    group = [replace(trajectory) for trajectory in GROUP]
    with pytest.raises(NotConforming, match=message):
        check_reward(Broken(rule), group)


def test_a_main_term_that_is_not_there_and_a_judge_that_wavers() -> None:
    wrong = OutcomeReward()
    wrong.main = "outcome"
    with pytest.raises(NotConforming, match="`main` is 'outcome'"):
        check_reward(wrong)
    assert check_reward(Broken("calls"), deterministic=False) == ("task",)
    with pytest.raises(NotConforming, match="nothing to check"):
        check_reward(wrong, GROUP[4:])


# --------------------------------------------------------------------------------------------------------------- properties

NUMBERS = st.floats(-200, 400)
ACTIONS = st.builds(
    Action,
    st.sampled_from(ACTION_KINDS),
    x=st.none() | NUMBERS,
    y=st.none() | NUMBERS,
    x2=st.none() | NUMBERS,
    y2=st.none() | NUMBERS,
    text=st.text(max_size=5),
)
ELEMENTS = st.builds(
    Element,
    st.sampled_from(["button", "StaticText", "document"]),
    st.text(max_size=5),
    box=st.none() | st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    parent=st.integers(-1, 5),
)
OBSERVATIONS = st.builds(
    Observation,
    st.none() | st.integers(0, 2).map(lambda number: ImageRef(f"{number:064x}", 100, 100)),
    st.none() | st.lists(ELEMENTS, max_size=4).map(tuple),
    st.sampled_from(["", "no", "alert dialog: yes"]),
    state_key=st.sampled_from(["", "a", "b"]),
)
STEPS = st.builds(
    Step,
    OBSERVATIONS,
    st.none() | ACTIONS,
    completion=st.none() | st.integers(0, 200).map(lambda length: Completion("x", np.zeros(length, dtype=np.int32))),
    error=st.sampled_from([None, None, "no action"]),
)
TRAJECTORIES = st.builds(
    Trajectory,
    st.just("t"),
    st.builds(Task, st.just("t"), st.just("do"), st.just("e"), max_steps=st.integers(0, 12)),
    st.lists(STEPS, max_size=6).map(tuple),
    st.none() | OBSERVATIONS,
    st.sampled_from(STATUSES),
    st.none() | st.floats(0, 1),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(TRAJECTORIES, max_size=4))
def test_any_group_gets_finite_terms_or_none(group: list[Trajectory]) -> None:
    for reward in ALL:
        found = reward(group)
        assert len(found) == len(group)
        for trajectory, terms in zip(group, found, strict=True):
            assert (terms == {}) == (trajectory.environment_failed or trajectory.reward is None)
            assert all(isinstance(value, float) and math.isfinite(value) for value in terms.values())


@settings(deadline=None, max_examples=60)
@given(TRAJECTORIES, st.sampled_from(list(PRESETS)), st.floats(0, 2))
def test_the_shaped_reward_is_the_sum_of_its_terms(trajectory: Trajectory, preset: str, alpha: float) -> None:
    terms = ShapedReward(preset, alpha=alpha)([trajectory])[0]
    nothing = ShapedReward(preset, weights={spec.name: 0.0 for spec in fields(PartialWeights)}, alpha=alpha)([trajectory])[0]
    if not terms:
        assert not nothing
        return
    off = sum(terms[f"{name}_penalty"] for name in ("repeat", "invalid", "fallback", "wait"))
    assert terms["task"] == trajectory.reward
    assert terms["shaped"] == about(terms["task"] + alpha * terms["partial"] - off)
    assert nothing["shaped"] == about(terms["task"] - off), "weights of 0 leave task and penalties"
    assert terms["shaped_clamped"] == min(1.0, max(0.0, terms["shaped"]))
    assert 0 <= terms["partial"] <= 1 + 1e-9
    components = list(terms)[1:9]
    assert all(0 <= terms[name] <= 1 for name in components)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 500), st.integers(1, 200), st.integers(1, 200), st.floats(0, 3))
def test_overlong_falls_evenly(length: int, limit: int, buffer: int, factor: float) -> None:
    buffer = min(buffer, limit)
    assert overlong(length, limit, buffer, factor) == about(min(-(length - (limit - buffer)) / buffer * factor, 0.0))
    assert overlong(length + 1, limit, buffer, factor) <= overlong(length, limit, buffer, factor) <= 0


# -------------------------------------------------------------------------------------------------------------------- docs


def test_a_reward_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, own, check = re.findall(r"```python\n(.*?)```", (DOCS / "rewards.md").read_text(), flags=re.DOTALL)
    exec(first, {"group": [episode([], reward=0.5), episode([], status="timeout", reward=None)]})
    (tmp_path / "patience.py").write_text(own)
    monkeypatch.syspath_prepend(str(tmp_path))
    exec(check, {})
    assert isinstance(build_reward("patience:Patience"), Reward)
    assert WeightedReward({"outcome": 1.0, "patience:Patience": 0.5})([episode([])])[0] == {
        "task": 1.0,
        "steps": 0.0,
        "reward": 1.0,
    }
