"""The dialects of the APIs' computer tools with their policies, in whole episodes against servers that replay answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from api_servers import Replaying, Reply, serving

from stepladder.agents.anthropic import AnthropicAgent
from stepladder.agents.openai_computer import OpenAIComputerAgent
from stepladder.agents.replies import read_completion
from stepladder.images import ImageStore
from stepladder.interfaces import ParseError
from stepladder.policies.anthropic import AnthropicPolicy
from stepladder.policies.openai_responses import OpenAIResponsesPolicy
from stepladder.rollout.episode import run_episode
from stepladder.types import Action, Completion, Limits, Observation, Sampling, Task, Trajectory

IMAGES = ImageStore()
PICTURE = IMAGES.put_pixels(np.full((40, 64, 3), 200, dtype=np.uint8))
TASK = Task("t", "Count the files.", "still", max_steps=9)
CLICK = Action("click", 32.0, 20.0)


class Recorder:
    """An environment whose screen stays as it is, and which keeps what it was told to do."""

    def __init__(self) -> None:
        self.actions: list[Action] = []

    async def reset(self, task: Task, seed: int) -> Observation:
        return Observation(PICTURE)

    async def step(self, action: Action) -> Observation:
        self.actions.append(action)
        return Observation(PICTURE, text=f"{len(self.actions)} done.")

    async def evaluate(self) -> float:
        return 1.0

    async def close(self) -> None:
        pass


def play(agent: Any, make: Any, replies: list[Reply]) -> tuple[Trajectory, list[Action], list[dict[str, Any]]]:
    """(episode, what was done, what the server was asked)."""
    environment, server = Recorder(), Replaying(replies)
    with serving(server) as url:

        async def main() -> Trajectory:
            policy = make("model", agent, IMAGES, key="sk-test", url=url)
            try:
                return await run_episode(environment, agent, policy, TASK, 0, sampling=Sampling(), limits=Limits())
            finally:
                await policy.close()

        trajectory = asyncio.run(main())
    return trajectory, environment.actions, server.asked


def claude(*content: dict[str, Any], stop: str = "end_turn") -> Reply:
    said = {"id": "msg", "type": "message", "role": "assistant", "content": list(content), "stop_reason": stop}
    return Reply({**said, "usage": {"input_tokens": 1, "output_tokens": 1}})


def tool(identity: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "computer", "input": given}


def openai(*output: dict[str, Any], incomplete: str = "") -> Reply:
    status = {"status": "incomplete", "incomplete_details": {"reason": incomplete}} if incomplete else {"status": "completed"}
    return Reply({"id": "r", **status, "output": list(output), "usage": {"input_tokens": 1, "output_tokens": 1}})


def call(identity: str, **batch: Any) -> dict[str, Any]:
    return {"type": "computer_call", "id": f"cu_{identity}", "call_id": identity, "pending_safety_checks": [], **batch}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


@pytest.mark.parametrize(
    ("agent", "make", "cut", "clicked", "end"),
    [
        (
            AnthropicAgent(width=32, height=20),
            AnthropicPolicy,
            [
                claude({"type": "text", "text": "First I look where"}, stop="max_tokens"),
                claude({"type": "text", "text": "This is not [INFEASIBLE], but"}, stop="max_tokens"),
            ],
            claude(tool("a", action="left_click", coordinate=[16, 10]), stop="max_tokens"),
            claude({"type": "text", "text": "7"}),
        ),
        (
            OpenAIComputerAgent(width=32, height=20),
            OpenAIResponsesPolicy,
            [
                openai({"type": "reasoning", "id": "rs", "summary": []}, incomplete="max_output_tokens"),
                openai(said("This is not [INFEASIBLE], but"), incomplete="max_output_tokens"),
            ],
            openai(call("a", actions=[{"type": "click", "button": "left", "x": 16, "y": 10}]), incomplete="max_output_tokens"),
            openai(said("7")),
        ),
    ],
    ids=["anthropic", "openai"],
)
def test_a_reply_that_was_cut_off_is_no_end(agent: Any, make: Any, cut: list[Reply], clicked: Reply, end: Reply) -> None:
    trajectory, done, asked = play(agent, make, [*cut, clicked, end])
    assert trajectory.status == "done"
    assert done == [CLICK, Action("done", text="7")], "a call that is whole counts, a beginning of a text does not"
    assert [step.error for step in trajectory.steps] == [
        *["the reply was cut off at its limit of tokens before it called a tool"] * 2,
        *[None, None],
    ]
    assert "could not be read: the reply was cut off" in json.dumps(asked[1]), "the model is told"
    assert make is not OpenAIResponsesPolicy or trajectory.steps[0].completion.finish == "length"  # type: ignore[union-attr]


def test_replies_that_are_never_brought_to_an_end_end_the_episode() -> None:
    cut = claude({"type": "text", "text": "I think"}, stop="max_tokens")
    trajectory, done, _ = play(AnthropicAgent(width=32, height=20), AnthropicPolicy, [cut] * 3)
    assert (trajectory.status, done, len(trajectory.steps)) == ("parse_error", [], 3)


def test_an_unreadable_reply_that_was_cut_off_says_so() -> None:
    agent = AnthropicAgent(width=32, height=20)
    for finish, words in (
        ("length", "the reply was cut off at its limit of tokens: the reply must"),
        ("abort", "the reply was broken off: the reply must"),
        ("stop", "the reply must"),
    ):
        with pytest.raises(ParseError) as caught:
            read_completion(agent, Completion('[] "', finish=finish), Observation(PICTURE))  # type: ignore[arg-type]
        assert str(caught.value).startswith(words)
        assert caught.value.position == 2


def test_an_episode_with_anthropic() -> None:
    agent = AnthropicAgent(width=32, height=20, screenshots=2, chunk=1)
    trajectory, done, asked = play(agent, AnthropicPolicy, [
        claude({"type": "text", "text": "I look."}, tool("a", action="screenshot")),
        claude(tool("b", action="left_click", coordinate=[16, 10]), tool("c", action="type", text="x")),
        claude(tool("d", action="explode")),
        claude({"type": "text", "text": "7"}),
    ])  # fmt: skip
    assert (trajectory.status, trajectory.agent) == ("done", "anthropic")
    assert done == [Action("wait"), CLICK, Action("type", text="x"), Action("done", text="7")]
    assert [step.error is not None for step in trajectory.steps] == [False, False, True, False]
    assert all(body["tools"] == [agent.tool()] for body in asked)
    turns = asked[-1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3 + ["user"]
    for reply, answer in zip(turns[1::2], turns[2::2], strict=True):
        called = [block["id"] for block in reply["content"] if block["type"] == "tool_use"]
        assert [block["tool_use_id"] for block in answer["content"] if block["type"] == "tool_result"] == called
    assert turns[-1]["content"][0]["is_error"]
    assert json.dumps(turns).count('"base64"') == 2


@pytest.mark.parametrize("version", ["computer", "computer_use_preview"])
def test_an_episode_with_openai(version: Any) -> None:
    agent = OpenAIComputerAgent(version, width=32, height=20, screenshots=2)
    click = {"type": "click", "button": "left", "x": 16, "y": 10}
    first = {"action": click} if version == "computer_use_preview" else {"actions": [click, {"type": "type", "text": "x"}]}
    trajectory, done, asked = play(agent, OpenAIResponsesPolicy, [
        openai({"type": "reasoning", "id": "rs", "summary": []}, call("a", **first)),
        openai(call("b", action={"type": "screenshot"})),
        openai({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "[INFEASIBLE] No files."}]}),
    ])  # fmt: skip
    assert trajectory.status == "gave_up"
    typed = [Action("type", text="x")] if version == "computer" else []
    assert done == [CLICK, *typed, Action("wait"), Action("fail", text="No files.")]
    assert all(body["tools"] == [agent.tool()] for body in asked)
    assert [item.get("type", "user") for item in asked[1]["input"]] == [
        *("user", "reasoning", "computer_call", "computer_call_output", "user")
    ]
    opening, called, answered, *_ = asked[2]["input"]
    assert "What you did before:\nStep 1: " in opening["content"][1]["text"]
    assert (called["call_id"], answered["call_id"]) == ("b", "b")


@pytest.mark.parametrize("agent", [AnthropicAgent(), OpenAIComputerAgent()], ids=["anthropic", "openai"])
def test_a_thought_beside_an_action_is_text_that_the_apis_take_back(agent: Any) -> None:
    """Steps that another agent played have no completion: their replies are made up, and must pass as the API's own."""
    seen = Observation(PICTURE)
    for action in (CLICK, replace(CLICK, keys=("ctrl",)), Action("call", name="run", args={"x": [1]})):
        blocks = json.loads(agent.format("So.", action, seen))
        assert [block["type"] for block in blocks] in (
            ["text", "tool_use"], ["message", "computer_call"], ["message", "function_call"],
        )  # fmt: skip
