"""Questions with checkable answers: every kind, what is held out, the agent that answers in a box, and the reward."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents.conformance import check_agent
from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.agents.reasoning import ReasoningAgent
from stepladder.config import ConfigError
from stepladder.domains import domain_of
from stepladder.envs.conformance import check_environment
from stepladder.envs.reasoning.arithmetic import add_in_columns, subtract_in_columns
from stepladder.envs.reasoning.environment import ReasoningEnvironment
from stepladder.envs.reasoning.tasks import KINDS, SETS, named_set
from stepladder.errors import TaskError
from stepladder.images import ImageStore, decode
from stepladder.interfaces import Demonstrator, Environment, EnvironmentFailure, ParseError
from stepladder.rewards import build_reward
from stepladder.rewards.conformance import check_reward
from stepladder.seeds import HELDOUT
from stepladder.tasks import load_tasks
from stepladder.types import Action, Completion, Observation, Status, Step, Task, Trajectory
from stepladder.verifiers import sandbox

#: Kinds whose grading starts no process.
QUICK = [name for name, kind in KINDS.items() if "programs" not in kind.tags]
BLANK = Observation(text="Answer with a number.")
LATEX, TOKENS = ReasoningAgent(), ReasoningAgent(box="tokens", system="none")


def environment(**options: Any) -> ReasoningEnvironment:
    return ReasoningEnvironment(ImageStore(), **options)


def task(kind: str) -> Task:
    return ReasoningEnvironment.tasks([kind])[0]


async def graded(env: ReasoningEnvironment, kind: str, seed: int, answer: str | None) -> float:
    """The reward of an answer, None for that of the demonstration."""
    await env.reset(task(kind), seed)
    actions = [Action("done", text=answer)] if answer is not None else [action async for _, action in env.solve()]
    for action in actions:
        shown = await env.step(action)
    assert shown.done
    return await env.evaluate()


# ------------------------------------------------------------------------------------------------------------- environment


def test_protocols() -> None:
    assert isinstance(environment(), Environment)
    assert isinstance(environment(), Demonstrator)


@pytest.mark.parametrize("kind", KINDS)
def test_demonstrations_are_right(kind: str) -> None:
    async def run() -> None:
        env = environment()
        for seed in range(25 if kind in QUICK else 2):
            assert await graded(env, kind, seed, None) == 1.0, env.task
            assert await graded(env, kind, HELDOUT + seed, None) == 1.0, env.task

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["add-2-digits", "divisors", "expression", "which-checked"])
def test_the_contract_is_kept(kind: str) -> None:
    asyncio.run(check_environment(environment, [task(kind)], seeds=(0, HELDOUT)))


def test_no_question_is_for_both_training_and_evaluation() -> None:
    async def questions(kind: str, first: int) -> set[str]:
        env, found = environment(), set()
        for seed in range(first, first + 30):
            await env.reset(task(kind), seed)
            found.add(env.task.instruction)
        return found

    for kind in (name for name in KINDS if KINDS[name].ask is None):
        trained, held_out = asyncio.run(questions(kind, 0)), asyncio.run(questions(kind, HELDOUT))
        assert not trained & held_out, kind
        assert len(held_out) >= 4, kind


def test_one_answer_ends_the_episode_and_nothing_else_does() -> None:
    async def run() -> None:
        env = environment()
        first = await env.reset(task("add-1-digit"), 3)
        assert (first.screenshot, first.text, first.done) == (None, "Answer with a number.", False)
        for action in (Action("click", 5, 5), Action("type", text="7"), Action("wait"), Action("call", name="f")):
            shown = await env.step(action)
            assert not shown.done
            assert f"cannot be answered by '{action.kind}'" in shown.text
        assert await env.evaluate() == 0.0
        shown = await env.step(Action("fail", text=str(env.task.check["answer"])))
        assert (shown.done, await env.evaluate()) == (True, 0.0)
        again = await env.step(Action("done", text=str(env.task.check["answer"])))
        assert (again.done, await env.evaluate()) == (True, 0.0)

    asyncio.run(run())


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in QUICK for seed in (0, 1)])
def test_wrong_answers_are_worth_nothing(kind: str, seed: int) -> None:
    async def run() -> None:
        env = environment()
        await env.reset(task(kind), seed)
        right = env.task.check["answer"]
        said = ", ".join(map(str, right)) if isinstance(right, list) else str(right)
        for wrong in (
            "",
            "17 or 18",
            f"{said} or 18",
            f"{said}, {said}",
            f"not {said}",
            rf"\boxed{{{said}}} \boxed{{{said}}}",
            "?",
        ):
            assert await graded(env, kind, seed, wrong) == 0.0, wrong
        assert await graded(env, kind, seed, rf"So \boxed{{{said}}}.") == 1.0

    asyncio.run(run())


def test_wrong_programs_are_worth_nothing() -> None:
    async def run() -> None:
        env = environment()
        for answer in ("x", "1/0", "while True: pass", ""):
            assert await graded(env, "expression", 0, answer) == 0.0

    asyncio.run(run())


def test_a_broken_sandbox_is_the_environments_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: ["no-such-program"])
    with pytest.raises(EnvironmentFailure, match="sandbox for programs does not start"):
        asyncio.run(graded(environment(isolation="bubblewrap"), "expression", 0, "x"))


def test_screens_show_what_is_asked() -> None:
    async def run() -> None:
        env = environment(width=200, height=240)
        for seed in range(20):
            first = await env.reset(task("count-widgets"), seed)
            assert first.screenshot is not None
            assert decode(env.images.get(first.screenshot)).shape == (240, 200, 3)
            kind = "button" if "buttons" in env.task.instruction else "checkbox"
            found = [region for region in await env.regions() if region.kind == kind]
            assert str(len(found)) == env.task.check["answer"]
            for region in await env.regions():
                assert 0 <= region.box[0] <= region.box[0] + region.box[2] <= 200
                assert 0 <= region.box[1] <= region.box[1] + region.box[3] <= 240
            await env.reset(task("read-order"), seed)
            words = {region.text for region in await env.regions() if region.kind == "word"}
            assert set(env.task.check["answer"].split()) <= words

    asyncio.run(run())


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'divide'"):
        ReasoningEnvironment.tasks(["devide"])
    with pytest.raises(EnvironmentFailure, match="reasoning has no task 'nothing'"):
        asyncio.run(environment().reset(Task("reasoning-nothing", "", "reasoning"), 0))
    with pytest.raises(EnvironmentFailure, match="call reset first"):
        asyncio.run(environment().evaluate())
    with pytest.raises(ValueError, match="160 x 200"):
        environment(width=20)
    with pytest.raises(ValueError, match="isolation is 'wall'"):
        environment(isolation="wall")


def test_task_sets() -> None:
    assert [one.setup["kind"] for one in load_tasks("reasoning")] == list(KINDS)
    assert [one.id for one in load_tasks("reasoning:divide,story")] == ["reasoning-divide", "reasoning-story"]
    arithmetic = load_tasks("reasoning@arithmetic", split="train")
    assert {one.split for one in arithmetic} == {"train"}
    assert {domain_of(one) for one in load_tasks("reasoning")} == {"arithmetic", "programs", "screens"}
    assert all(named_set(name) for name in SETS)
    with pytest.raises(TaskError, match="did you mean 'arithmetic'"):
        load_tasks("reasoning@arithmetics")


@given(st.integers(0, 999), st.integers(0, 999))
def test_thoughts_in_columns(first: int, second: int) -> None:
    def total(thought: str) -> int:
        digits = [line.rstrip(".").partition("=")[2] for line in thought.split()]
        return sum(int(digit) % 10 * 10**place for place, digit in enumerate(digits[:-1])) + int(digits[-1]) * 10 ** (
            len(digits) - 1
        )

    assert total(add_in_columns(first, second)) == first + second
    more, less = max(first, second), min(first, second)
    assert total(subtract_in_columns(more, less)) == more - less


# ------------------------------------------------------------------------------------------------------------------- agent


def test_the_agent_keeps_its_contract() -> None:
    for agent in (LATEX, TOKENS):
        assert {action.kind for action in check_agent(agent)} == {"done"}
    assert "boxed" in LATEX.prompt(task("divide"), (), BLANK)[0].text
    assert [message.role for message in TOKENS.prompt(task("divide"), (), BLANK)] == ["user"]


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from((LATEX, TOKENS)))
def test_what_is_said_is_read_back(thought: str, answer: str, agent: ReasoningAgent) -> None:
    try:
        reply = agent.format(thought, Action("done", text=answer), BLANK)
    except ValueError:
        assert any(part in answer + thought for part in ("{", "}", "\\", "think>", "box")) or answer != answer.strip() or not answer
        return
    assert agent.parse(reply, BLANK) == (thought.strip(), Action("done", text=answer))


@given(st.text(alphabet=r"<think>/\boxed{}|_begin_of_end 42", max_size=60))
def test_any_text_is_an_answer_or_a_parse_error(text: str) -> None:
    try:
        _, action = LATEX.parse(text, BLANK)
    except ParseError:
        return
    assert action.kind == "done"
    assert action.text in text


@pytest.mark.parametrize(
    ("reply", "thought", "answer"),
    [
        ("<think>\n1+1=2\n</think>\n\n<|begin_of_box|>2<|end_of_box|>", "1+1=2", "2"),
        ("1+1=2\n</think>\nIt is $\\boxed{2}$.", "1+1=2\nIt is", "2"),
        ("<think>\\boxed{3}? No.</think><answer>\\boxed{2}</answer>", "\\boxed{3}? No.", "2"),
        ("\\boxed{\\frac{1}{2}}", "", "\\frac{1}{2}"),
    ],
)
def test_replies_as_models_write_them(reply: str, thought: str, answer: str) -> None:
    assert LATEX.parse(reply, BLANK) == (thought, Action("done", text=answer))


@pytest.mark.parametrize(
    "reply", ["42", "<think>\\boxed{42}", "<think>\\boxed{42}</think>", "\\boxed{1} \\boxed{2}", "\\boxed{1} or 2", ""]
)
def test_replies_without_a_final_answer(reply: str) -> None:
    with pytest.raises(ParseError):
        LATEX.parse(reply, BLANK)


def test_the_agents_of_screens_can_answer_too() -> None:
    agent = QwenVLAgent(thought="full", system="none")
    reply = agent.format("7+8=15.", Action("done", text="15"), BLANK)
    assert agent.parse(reply, BLANK) == ("7+8=15.", Action("done", text="15"))
    assert agent.prompt(task("add-1-digit"), (), BLANK)[-1].images == ()


# ------------------------------------------------------------------------------------------------------------------ reward


def episode(reward: float | None, thought: str = "", error: str | None = None, status: Status = "done") -> Trajectory:
    action = None if error else Action("done", text="1")
    step = Step(BLANK, action, thought, completion=Completion("..."), error=error)
    return Trajectory("one", task("divide"), (step,), None, status, reward)


def test_form_counts_for_right_answers_alone() -> None:
    reward = build_reward("verifiable", bonus=0.2, penalty=0.3)
    group = [
        episode(1.0, "7+8=15."),
        episode(1.0),
        episode(0.0, "7+8=15."),
        episode(0.0, error="no box", status="max_steps"),
        episode(0.0, status="gave_up"),
        episode(None, status="env_error"),
    ]
    found = [terms.get("verifiable") for terms in reward(group)]
    assert found == [1.2, 1.0, 0.0, -0.3, -0.3, None]
    check_reward(reward)
    with pytest.raises(ConfigError, match="bonus is -1"):
        build_reward("verifiable", bonus=-1)


@given(
    st.sampled_from((0.0, 1.0)),
    st.text(max_size=5),
    st.none() | st.just("no box"),
    st.sampled_from(("done", "gave_up", "max_steps", "max_tokens", "parse_error")),
    st.floats(0, 10),
    st.floats(0, 10),
)
def test_form_alone_never_passes_0(
    right: float, thought: str, error: str | None, status: Status, bonus: float, penalty: float
) -> None:
    one = episode(right, thought, error, status)
    for name, options in (("verifiable", {"bonus": bonus, "penalty": penalty}), ("format", {})):
        reward = build_reward(name, **options)
        (terms,) = reward([one])
        main = terms[reward.main]  # type: ignore[attr-defined]
        assert main <= 0 or right == 1.0
        assert name == "format" or right == 0.0 or main >= 1.0 - penalty


def test_questions_differ_from_seed_to_seed() -> None:
    random = Random(0)
    for kind in KINDS.values():
        if kind.make is not None:
            made = {problem.question for _ in range(40) if (problem := kind.make(random)) is not None}
            assert len(made) > 8
