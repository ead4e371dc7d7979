"""The loss mask of supervised training: what `Step.imitated` leaves out of the imitation loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up import TASKS, episode
from small_models import renderer

from stepladder.agents.qwen3_vl import Qwen3VLAgent
from stepladder.agents.replies import thought_length, write_reply
from stepladder.data.demonstrations import Demonstrations, held_back
from stepladder.errors import TaskError
from stepladder.images import ImageStore
from stepladder.interchange.curation import TurnMask
from stepladder.train.sample import ROW, Sample, from_step
from stepladder.types import Action, Completion, Step, Trajectory

AGENT = Qwen3VLAgent(thought="thinking")
THOUGHT = "I see a form — «ö» 試.\nAction: Click the button."


def made(images: ImageStore, **more: Any) -> Trajectory:
    one = episode(images, TASKS[0], 1, steps=3)
    steps = tuple(replace(step, action=Action("click", x=20, y=80), thought=THOUGHT, **more) for step in one.steps)
    return replace(one, steps=steps)


def learned(sample: Sample, render: Any) -> str:
    return str(render.decode(sample.tokens[sample.fields[ROW["w_ce"]] > 0]))


def test_only_the_reasoning_is_learned() -> None:
    images = ImageStore()
    render = renderer(images)
    texts = {}
    for imitated in ("reply", "thought", "nothing"):
        trajectory = made(images, imitated=imitated)
        sample = from_step(render, AGENT, trajectory.task, trajectory.steps, 2)
        texts[imitated] = learned(sample, render)
        assert np.isnan(sample.fields[ROW["looks_at"]]).all() == (imitated != "reply")
    reply = write_reply(AGENT, THOUGHT, (Action("click", x=20, y=80),), made(images).steps[0].observation)
    assert texts["reply"].startswith(reply)
    assert reply.startswith(texts["thought"])
    assert "試" in texts["thought"]
    assert "Action:" not in texts["thought"]
    step = made(images).steps[0]
    assert thought_length(AGENT, step) - len(texts["thought"]) <= 2  # the token that reaches over the border is not learned
    assert texts["nothing"] == ""


def test_of_a_sampled_reply_only_known_reasoning_is_learned() -> None:
    """What was sampled stands as it is; its reasoning is learned where it is where the agent writes it."""
    images = ImageStore()
    render = renderer(images)
    trajectory = made(images, imitated="thought")
    step: Step = trajectory.steps[0]
    said = write_reply(AGENT, step.thought, step.actions, step.observation)
    prompt = render.render(AGENT.prompt(trajectory.task, (), step.observation))
    for text, expected in ((said, True), (said.replace("<thinking>\n", "<thinking> "), False)):
        sampled = replace(step, prompt=prompt, completion=Completion(text, render.reply(text)))
        sample = from_step(render, AGENT, trajectory.task, (sampled,), 0)
        assert ("試" in learned(sample, render)) == expected
        assert "Action" not in learned(sample, render)


def test_which_steps_are_demonstrated() -> None:
    images = ImageStore()
    named = [replace(made(images), id=f"one-{number}") for number in range(100)]
    train = next(one for one in named if not held_back(one.id))
    held = next(one for one in named if held_back(one.id))
    masks = ("reply", "thought", "nothing")

    def masked(one: Trajectory) -> Trajectory:
        return replace(one, steps=tuple(replace(step, imitated=mask) for step, mask in zip(one.steps, masks, strict=True)))

    found = Demonstrations([masked(train), masked(held)], lambda _: ())
    assert [step.step.imitated for steps in found.train.values() for step in steps] == ["reply", "thought"]
    assert [step.step.imitated for step in found.validation] == ["reply"]


def test_a_failure_is_learned_from_only_when_it_was_curated() -> None:
    images = ImageStore()
    named = [replace(made(images), id=f"one-{number}", reward=0.0) for number in range(10)]
    lost = next(one for one in named if not held_back(one.id))
    with pytest.raises(TaskError, match="no successful step"):
        Demonstrations([lost], lambda _: ())
    found = Demonstrations([TurnMask(early=1, late=2).apply(lost)], lambda _: ())
    assert [step.step.imitated for steps in found.train.values() for step in steps] == ["reply", "reply", "thought"]
