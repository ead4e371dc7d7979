"""Pairs of replies at the steps where successes and failures part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from made_up import TASKS

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.compare.forks import REGRET, PreferencePair, find_pairs, still_applies
from stepladder.types import Action, Completion, Element, ImageRef, Message, Observation, Prompt, Step, Trajectory

AGENT = QwenVLAgent(thought="full")
SCREEN = ImageRef("0" * 64, 100, 100)


def click(x: int) -> Action:
    return Action("click", x=x, y=10)


def episode(name: str, states: str, clicks: Sequence[int], reward: float | None, **changes: object) -> Trajectory:
    """A step a letter, which is its state; what is said at a step is the place that is clicked."""
    steps = tuple(
        Step(
            Observation(SCREEN, state_key=state),
            click(x),
            f"Action: Click {x}",
            Prompt((Message("user", (f"{name} {states[:number]}", SCREEN)),)),
            Completion(f"click {x}"),
        )
        for number, (state, x) in enumerate(zip(states, clicks, strict=True))
    )
    return Trajectory(name, TASKS[0], steps, None, "done", reward, **changes)  # type: ignore[arg-type]


def said(pairs: Sequence[PreferencePair]) -> list[tuple[str, int, str, str, str, int]]:
    return [(p.failure, p.step, p.chosen.text, p.rejected.text, p.source, p.source_step) for p in pairs]


def test_a_correction_stands_at_the_fork_in_the_prompt_of_the_failure() -> None:
    right, wrong = episode("right", "abcd", [1, 2, 3, 4], 1.0), episode("wrong", "abxy", [1, 9, 8, 7], 0.0)
    found = find_pairs([right, wrong], AGENT, ("correction",))
    assert said(found.pairs) == [("wrong", 1, "click 2", "click 9", "right", 1)]
    assert found.pairs[0].prompt is wrong.steps[1].prompt
    assert not found.left_out


def test_a_failure_is_paired_with_the_success_that_parts_from_it_last() -> None:
    early, late = episode("early", "aef", [5, 6, 7], 1.0), episode("late", "abcd", [1, 2, 3, 4], 1.0)
    wrong = episode("wrong", "abcx", [1, 2, 9, 8], 0.0)
    assert said(find_pairs([early, late, wrong], AGENT, ("correction",)).pairs) == [("wrong", 2, "click 3", "click 9", "late", 2)]
    both = find_pairs([early, late, wrong], AGENT, ("correction",), per_failure=2)
    assert [(pair.source, pair.step) for pair in both.pairs] == [("late", 2), ("early", 0)]


def test_a_reflection_is_a_recorded_recovery_where_one_saw_the_same_state() -> None:
    wrong = episode("wrong", "abxy", [1, 9, 8, 7], 0.0)
    right, recovered = episode("right", "abc", [1, 2, 3], 1.0), episode("recovered", "abxb", [1, 9, 4, 2], 1.0)
    found = find_pairs([right, wrong, recovered], AGENT, ("reflection",), per_failure=2)
    assert ("wrong", 2, "click 4", "click 8", "recovered", 2) in said(found.pairs)
    assert not any(pair.made for pair in found.pairs)


def test_a_reflection_is_what_a_success_said_where_the_mistake_has_changed_nothing() -> None:
    right, wrong = episode("right", "abc", [1, 2, 3], 1.0), episode("wrong", "abb", [1, 9, 8], 0.0)
    found = find_pairs([right, wrong], AGENT)
    assert said(found.pairs) == [
        ("wrong", 1, "click 2", "click 9", "right", 1),
        ("wrong", 2, "click 2", "click 8", "right", 1),
    ]
    assert [pair.kind for pair in found.pairs] == ["correction", "reflection"]


def test_a_reflection_is_written_where_nobody_was_but_the_right_button_is_still_there() -> None:
    tree = (Element("button", "Send", box=(0, 0, 20, 20)),)
    shown = episode("right", "abc", [1, 2, 3], 1.0), episode("wrong", "abx", [1, 9, 8], 0.0)
    right, wrong = (
        replace(one, steps=tuple(replace(step, observation=replace(step.observation, tree=tree)) for step in one.steps))
        for one in shown
    )
    (pair,) = find_pairs([right, wrong], AGENT, ("reflection",)).pairs
    assert (pair.kind, pair.step, pair.made, pair.rejected.text) == ("reflection", 2, True, "click 8")
    thought, action = AGENT.parse(pair.chosen.text, wrong.steps[2].observation)
    assert thought == f"{REGRET}\nAction: Click 2"
    assert (action.kind, action.x) == ("click", 2)


def test_whether_an_action_still_applies() -> None:
    button = Element("button", "Send", box=(0, 0, 20, 20))
    page = Element("window", "Mail", box=(0, 0, 200, 200))
    before = Observation(tree=(page, button), state_key="a")
    assert still_applies(click(5), before, replace(before, state_key="b"))
    assert still_applies(Action("type", text="x"), before, before)
    assert not still_applies(Action("type", text="x"), before, replace(before, state_key="b"))
    gone = replace(before, state_key="b", tree=(page,))
    covered = replace(before, state_key="b", tree=(page, button, Element("dialog", "Sure?", box=(0, 0, 20, 20))))
    moved = replace(before, state_key="b", tree=(page, replace(button, box=(0, 5, 20, 20))))
    disabled = replace(before, state_key="b", tree=(page, replace(button, states=("disabled",))))
    assert not any(still_applies(click(5), before, after) for after in (gone, covered, moved, disabled))
    assert not still_applies(click(5), replace(before, tree=None), replace(before, state_key="b"))


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([], "nobody succeeded from this start"),
        ([episode("right", "ab", [1, 2], 1.0, seed=3)], "nobody succeeded from this start"),
        ([episode("right", "acd", [1, 2, 3], 1.0)], "no step at which it did something else in the same state"),
        ([episode("right", "z", [1], 1.0)], "no step at which it did something else in the same state"),
    ],
)
def test_where_there_is_no_fork_there_is_no_pair(others: list[Trajectory], reason: str) -> None:
    found = find_pairs([*others, episode("wrong", "abx", [1, 9, 8], 0.0)], AGENT)
    assert found.pairs == []
    assert found.left_out == {reason: 1}


def test_broken_environments_have_failed_nobody() -> None:
    right, broken = episode("right", "ab", [1, 2], 1.0), episode("broken", "ax", [9, 8], None)
    found = find_pairs([right, replace(broken, status="env_error")], AGENT)
    assert (found.pairs, found.left_out) == ([], {"environment failed": 1})


def test_a_reply_that_chance_decides_about_is_in_no_pair() -> None:
    """The same click on the same screen, in equal prompts, led to success once and to failure once."""

    def asked(one: Trajectory) -> Trajectory:
        prompt = Prompt((Message("user", ("the same", SCREEN)),))
        return replace(one, steps=tuple(replace(step, prompt=prompt) for step in one.steps))

    lucky, other = asked(episode("lucky", "a", [1], 1.0)), asked(episode("other", "a", [2], 1.0, seed=1))
    unlucky, worse = asked(episode("unlucky", "a", [1], 0.0, seed=1)), asked(episode("worse", "a", [3], 0.0))
    found = find_pairs([lucky, worse], AGENT, ("correction",))
    assert [(pair.chosen.text, pair.rejected.text) for pair in found.pairs] == [("click 1", "click 3")]
    found = find_pairs([lucky, worse, other, unlucky], AGENT, ("correction",))
    assert found.pairs == []
    assert found.left_out["a reply that is preferred in one pair and rejected in another"] == 2


def test_the_same_pair_is_kept_once() -> None:
    def asked(one: Trajectory) -> Trajectory:
        return replace(one, steps=tuple(replace(step, prompt=Prompt((Message("user", ("hm",)),))) for step in one.steps))

    episodes = [asked(episode(name, "a", [x], reward)) for name, x, reward in (("r", 1, 1.0), ("w1", 9, 0.0), ("w2", 9, 0.0))]
    found = find_pairs(episodes, AGENT, ("correction",))
    assert said(found.pairs) == [("w1", 0, "click 1", "click 9", "r", 0)]
    assert found.left_out == {"the same pair again": 1}


def test_a_reply_that_was_no_action_is_rejected() -> None:
    right, wrong = episode("right", "ab", [1, 2], 1.0), episode("wrong", "aa", [9, 8], 0.0)
    babble = replace(wrong.steps[0], action=None, completion=Completion("hm"), error="there is no call")
    found = find_pairs([right, replace(wrong, steps=(babble,))], AGENT)
    assert said(found.pairs) == [("wrong", 0, "click 1", "hm", "right", 0)]
    assert found.left_out == {"it ended with its mistake: nothing to reflect on": 1}
