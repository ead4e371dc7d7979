"""Thoughts before actions: levels, plans, a checked teacher, recoveries from own failures, and what training makes of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import renderer

from stepladder.agents.markdown_reply import Sections
from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.agents.replies import write_reply
from stepladder.agents.thought_levels import LEVELS, REQUESTS, at_level, level_of
from stepladder.config import ConfigError
from stepladder.data.demonstrations import DemonstratedStep, Demonstrations, held_back
from stepladder.data.regions import RegionStore
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore, share_pictures
from stepladder.interfaces import ContextFull
from stepladder.rollout.demonstrate import run_demonstration, same_state
from stepladder.rollout.pool import PoolSettings
from stepladder.seeds import HELDOUT
from stepladder.stages import reason
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.reason_config import ReasonConfig
from stepladder.stages.reason_work import REASONING
from stepladder.stages.sft import SftConfig
from stepladder.stages.sft import main as train
from stepladder.store import TrajectoryStore
from stepladder.thoughts.plan import PlanSettings, with_plan
from stepladder.thoughts.recovery import find_fork, noticed, recorded
from stepladder.thoughts.same_action import same_action
from stepladder.thoughts.teacher import Teacher, TeacherSettings
from stepladder.thoughts.wording import in_words, part_of_screen
from stepladder.train.batch import collate
from stepladder.train.mixtures import ROW_LENGTH, ActingMixture, Kit, Share
from stepladder.train.sample import ROW, from_step
from stepladder.types import (
    Action,
    Completion,
    ImageRef,
    Limits,
    Message,
    Observation,
    Prompt,
    Region,
    Sampling,
    Step,
    Task,
    Trajectory,
)

SCREEN = ImageRef("a" * 64, 300, 300)
SEND = Region("Send", "button", (10, 250, 60, 20), (10, 250, 60, 20), "button")
NAME = Region("Hi", "textbox", (10, 10, 100, 20), (10, 10, 100, 20), "textbox", ("focused",))
CLOSE = Region("Close", "button", (200, 250, 60, 20), (200, 250, 60, 20), "button")
REGIONS = (SEND, NAME, CLOSE)
TASK = Task("send", 'Send "Hi".', "forms", max_steps=5)
FULL = QwenVLAgent(thought="full")


def known(_: ImageRef) -> Sequence[Region]:
    return REGIONS


def solved(name: str = "send-0", **changes: Any) -> Trajectory:
    steps = (
        Step(Observation(SCREEN, state_key="a"), Action("type", text="Hi"), 'The field is empty.\nAction: Type "Hi".'),
        Step(
            Observation(SCREEN, state_key="b"), Action("click", 20, 260), 'The text is written.\nAction: Click the "Send" button.'
        ),
        Step(Observation(SCREEN, state_key="c"), Action("click", 220, 260)),
    )
    return Trajectory(name, TASK, steps, None, "done", 1.0, **changes)


# ---------------------------------------------------------------------------------------------------------------- levels


WORDS = st.text("abc XYZ.,;\"'é", min_size=1).map(lambda text: " ".join(text.split())).filter(bool)


@given(WORDS | st.just(""), WORDS | st.just(""), WORDS | st.just(""))
def test_each_level_holds_the_one_before_it(observation: str, thought: str, action: str) -> None:
    said = Sections(observation, thought, action)
    assert Sections.of(said.text) == said or (observation and not thought)
    for level in LEVELS:
        kept = Sections.of(at_level(said.text, level))
        assert kept.action == action
        assert kept.thought == ("" if level == "action" else thought)
        assert kept.observation == (observation if level == "observation" else "")
        assert LEVELS.index(level_of(at_level(said.text, level))) <= LEVELS.index(level)
        assert at_level(at_level(said.text, level), level) == at_level(said.text, level)


@given(st.text())
def test_any_text_has_its_levels(text: str) -> None:
    assert level_of(text) in LEVELS
    for level in LEVELS:
        assert LEVELS.index(level_of(at_level(text, level))) <= LEVELS.index(level)


@pytest.mark.parametrize("level", LEVELS)
def test_an_agent_asks_for_a_level_and_writes_no_more(level: str) -> None:
    agent = QwenVLAgent(thought="full", level=level)  # type: ignore[arg-type]
    thought = Sections("I see a button.", "It must be clicked.", "Click it.").text
    seen = Observation(SCREEN)
    reply = agent.format(thought, Action("click", 20, 260), seen)
    assert agent.parse(reply, seen)[0] == at_level(thought, level)
    assert agent.prompt(TASK, (), seen)[-1].text.endswith(REQUESTS[level])
    assert ("<think>" in reply) == (level != "action")
    unasked = FULL.prompt(TASK, (), seen)[-1].text
    assert agent.prompt(TASK, (), seen)[-1].text == f"{unasked}\n{REQUESTS[level]}"


def test_a_level_needs_an_agent_that_thinks() -> None:
    with pytest.raises(ConfigError, match=r"agent: level is 'action'.*thought must be \"full\""):
        AgentOptions(level="action").build()


# ------------------------------------------------------------------------------------------------------- the oracle's plan


def test_a_plan_says_what_is_done_what_comes_next_and_where() -> None:
    planned = with_plan(solved(), known, "observation")
    first, second, third = (Sections.of(step.thought) for step in planned.steps)
    assert first.observation == 'I see textbox "Hi", focused; button "Send"; button "Close".'
    assert first.thought == (
        'Done: 0 of 3. The field is empty. Next: type "Hi". Then: click the "Send" button; click the button "Close".'
    )
    assert second.thought == (
        'Done: 1 of 3, type "Hi". The text is written. Next: click the "Send" button. It is at the bottom left. '
        'Then: click the button "Close".'
    )
    assert third == replace(
        third,
        thought='Done: 2 of 3, click the "Send" button. Next: click the button "Close". It is at the bottom right.',
        action='Click the button "Close".',
    )
    assert [step.action for step in planned.steps] == [step.action for step in solved().steps]
    assert not any(Sections.of(step.thought).observation for step in with_plan(solved(), known, "thought").steps)


def test_a_plan_can_leave_out_what_comes_later_and_count_the_rest() -> None:
    bare = with_plan(solved(), known, "thought", PlanSettings(later=0, reasons=False)).steps[0].thought
    assert bare == 'Done: 0 of 3. Next: type "Hi".\nAction: Type "Hi".'
    one = with_plan(solved(), known, "thought", PlanSettings(later=1)).steps[0].thought
    assert 'Then: click the "Send" button; 1 more.' in one
    near = with_plan(solved(), known, "observation", PlanSettings(elements=1)).steps[1].thought
    assert near.startswith('Observation:\nI see button "Send".\n')


def test_what_an_element_is_is_said_where_the_action_does_not_say_it() -> None:
    for line, said in (
        ("Click it.", 'It is the button "Send" at the bottom left.'),
        ('Choose "Send".', "It is the button at the bottom left."),
        ('Click the "Send" button.', "It is at the bottom left."),
        ("Click the empty place.", "It is at the middle center."),
    ):
        x, y = (150, 150) if "empty" in line else (20, 260)
        step = Step(Observation(SCREEN), Action("click", x, y), f"Action: {line}")
        assert with_plan(replace(solved(), steps=(step,)), known, "thought").steps[0].thought.split("\n")[0].endswith(f". {said}")


def test_leading_wrong_steps_are_no_part_of_the_plan() -> None:
    planned = with_plan(solved(parts={"mistakes": 1.0}), known, "thought")
    assert planned.steps[0] == solved().steps[0] or planned.steps[0].thought == solved().steps[0].thought
    assert planned.steps[1].thought.startswith("Done: 0 of 2. The text is written.")


def test_every_plan_can_be_said_and_read_back(tmp_path: Path) -> None:
    """Of real forms, in three dialects' common form: `format` accepts it and `parse` gives it back."""

    async def main() -> None:
        images = ImageStore(tmp_path)
        for task in FormsEnvironment.tasks():
            store = RegionStore(tmp_path / f"{task.id.replace('/', '-')}.jsonl")
            trajectory, regions = await run_demonstration(FormsEnvironment(images), task, 3, limits=Limits(), regions=True)
            for step, seen in zip(trajectory.steps, regions, strict=True):
                if seen is not None and step.observation.screenshot is not None:
                    store.append(step.observation.screenshot, seen)
            for step in with_plan(trajectory, store.get, "observation").steps:
                reply = write_reply(FULL, step.thought, step.actions, step.observation)
                assert FULL.parse(reply, step.observation)[0] == step.thought
                assert Sections.of(step.thought).observation
                assert Sections.of(step.thought).thought

    asyncio.run(main())


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Action("click", 20, 260), 'click the button "Send"'),
        (Action("double_click", 150, 150), "double-click an empty place"),
        (Action("click"), "click"),
        (Action("drag", 20, 15, 220, 260), 'drag the textbox "Hi" to the button "Close"'),
        (Action("scroll", amount=-2), "scroll down"),
        (Action("scroll", amount=2, name="horizontal"), "scroll right"),
        (Action("type", text="a " * 40), f'type "{"a " * 18}a..."'),
        (Action("key", keys=("ctrl", "a")), "press ctrl+a"),
        (Action("call", name="open", args={"file": "x"}), 'call open with "{"file": "x"}"'),
        (Action("done", text="7"), 'answer "7"'),
        (Action("done"), "say that the task is done"),
        (Action("fail"), "give up"),
        (Action("wait", seconds=1), "wait"),
    ],
)
def test_actions_in_words(action: Action, words: str) -> None:
    planned = with_plan(replace(solved(), steps=(Step(Observation(SCREEN), action),)), known, "thought")
    assert planned.steps[0].thought.startswith(f"Next: {words}.")


def test_parts_of_the_screen() -> None:
    assert [part_of_screen(SCREEN, x, y) for x, y in ((0, 0), (150, 150), (299, 299), (500, -3))] == [
        "top left",
        "middle center",
        "bottom right",
        "top right",
    ]
    assert in_words(Action("scroll", amount=-1, name="horizontal"), ()) == "scroll left"


# ----------------------------------------------------------------------------------------------------------------- stage


def write(directory: Path, trajectories: Sequence[Trajectory], name: str = "trajectories.jsonl") -> Path:
    with TrajectoryStore(directory / name, "a") as store:
        for one in trajectories:
            store.append(one)
    return directory


def read(directory: Path, name: str = "trajectories.jsonl") -> list[Trajectory]:
    with TrajectoryStore(directory / name) as store:
        return list(store)


def test_the_stage_writes_each_episode_once_and_goes_on(tmp_path: Path) -> None:
    ones = [solved(f"send-{number}", seed=number) for number in range(3)]
    failed = replace(solved("lost"), reward=0.0)
    source = write(tmp_path / "collect", [*ones[:2], failed])
    RegionStore(source / "regions.jsonl").append(SCREEN, REGIONS)
    config = ReasonConfig(demonstrations=source, output=tmp_path / "reason", level="observation")
    first = reason.main(config, show=False)
    assert (first.episodes, first.thoughts, first.left_out) == (2, 6, {"it is no success": 1})
    before = (config.output / "trajectories.jsonl").read_bytes()
    assert reason.main(config, show=False) == first
    assert (config.output / "trajectories.jsonl").read_bytes() == before
    write(source, ones[2:])
    second = reason.main(config, show=False)
    assert (second.episodes, second.thoughts) == (3, 9)
    assert (config.output / "trajectories.jsonl").read_bytes().startswith(before)
    assert json.loads((config.output / "reason.json").read_text())["thoughts"] == 9
    assert all('I see textbox "Hi"' in one.steps[0].thought for one in read(config.output))
    again = replace(config, demonstrations=config.output, output=tmp_path / "twice")
    assert reason.main(again, show=False).left_out == {"it has thoughts already": 3}
    with pytest.raises(ConfigError, match="level was"):
        reason.main(replace(config, level="thought"), show=False)


def test_a_torn_line_is_written_again(tmp_path: Path) -> None:
    """As after a kill in the middle of a line."""
    source = write(tmp_path / "collect", [solved(f"send-{number}", seed=number) for number in range(3)])
    config = ReasonConfig(demonstrations=source, output=tmp_path / "reason")
    reason.main(config, show=False)
    whole = (config.output / "trajectories.jsonl").read_bytes()
    (config.output / "trajectories.jsonl").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="cut off"):
        found = reason.main(config, show=False)
    assert found.episodes == 3
    assert (config.output / "trajectories.jsonl").read_bytes() == whole


def test_pictures_are_shared_and_regions_and_visits_taken_over(tmp_path: Path) -> None:
    source = write(tmp_path / "collect", [solved()])
    picture = source / "images" / "ab" / "abc.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    (source / "visited.jsonl").write_text("")
    reason.main(ReasonConfig(demonstrations=source, output=tmp_path / "reason"), show=False)
    shared = tmp_path / "reason" / "images" / "ab" / "abc.png"
    assert shared.samefile(picture)
    assert (tmp_path / "reason" / "visited.jsonl").exists()
    share_pictures(source / "images", tmp_path / "reason" / "images")
    share_pictures(tmp_path / "nowhere", tmp_path / "reason" / "images")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"by": "magic"}, "by is 'magic'; it must be one of oracle, teacher, reflection"),
        ({"level": "action"}, "level is 'action'; it must be one of thought, observation"),
        ({"parallel": 0}, "parallel is 0"),
        ({"plan": PlanSettings(later=-1)}, r"plan\.later is -1"),
        ({"by": "teacher"}, r"teacher\.policy is missing"),
        ({"by": "teacher", "teacher": TeacherSettings("oracle")}, r"teacher\.policy: 'oracle' is a baseline"),
        ({"teacher": TeacherSettings("openai:http://x")}, "by is 'oracle'"),
        ({"by": "teacher", "teacher": TeacherSettings("openai:http://x", max_tokens=0)}, r"teacher\.max_tokens is 0"),
        ({"by": "teacher", "teacher": TeacherSettings("openai:http://x", temperature=-1.0)}, r"teacher\.temperature is -1"),
        ({"by": "reflection"}, "rollouts: name the runs"),
        ({"rollouts": (Path("runs/rl"),)}, "rollouts: failures are reflected on with by=reflection"),
        ({"by": "reflection", "rollouts": (Path("runs/nowhere"),)}, "rollouts: runs/nowhere does not exist"),
        ({"demonstrations": Path("runs/nowhere")}, "demonstrations: runs/nowhere is no directory"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = replace(ReasonConfig(demonstrations=write(tmp_path / "collect", [solved()]), output=tmp_path / "reason"), **changes)
    with pytest.raises(ConfigError, match=message):
        reason.main(config, show=False)
    with pytest.raises(ConfigError, match="holds the demonstrations themselves"):
        reason.main(ReasonConfig(demonstrations=tmp_path / "collect", output=tmp_path / "collect"), show=False)


# --------------------------------------------------------------------------------------------------------------- a teacher


class Teaching:
    """Writes the thought `said` with the code it was told, and does `does` when asked for the next action."""

    name, version = "teaching", 0

    def __init__(self, said: str = "It comes next.", does: Action | None = None, end: str = "") -> None:
        self.said, self.does, self.end = said, does, end
        self.asked: list[str] = []

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        text = messages[-1].text
        self.asked.append(text)
        if self.said == "too long":
            raise ContextFull
        code = re.search(r"THOUGHT (\w+):", text)
        if code is not None:
            lines = [
                f"OBSERVATION {code[1]}: A form." if f"OBSERVATION {code[1]}" in text else "",
                f"THOUGHT {code[1]}: {self.said}",
            ]
            return Prompt(messages), Completion("\n".join(filter(None, lines)) + self.end)
        right = solved().steps[self.asked_step].action
        assert right is not None
        return Prompt(messages), Completion(FULL.format("", self.does or right, Observation(SCREEN)))

    asked_step = 1


def taught(policy: Teaching, level: str = "thought", **settings: Any) -> tuple[str, str]:
    teacher = Teacher(policy, FULL, TeacherSettings("teaching", **settings), level)  # type: ignore[arg-type]
    return asyncio.run(teacher.thought(TASK, solved().steps, 1, known, "send-0#1"))


def test_a_teacher_writes_a_thought_that_leads_to_the_action() -> None:
    policy = Teaching(end="<|im_end|>")
    assert taught(policy) == ('It comes next.\nAction: Click the "Send" button.', "")
    question, check = policy.asked
    assert '1. "type \\"Hi\\""' in question
    assert 'the button "Send", at 20, 260, bottom left' in question
    assert check.endswith("Answer with the action that it leads to.")
    assert '"It comes next."' in check
    assert taught(Teaching(), "observation")[0].startswith("Observation:\nA form.\n\nThought:\nIt comes next.")


@pytest.mark.parametrize(
    ("policy", "settings", "reason_"),
    [
        (Teaching(does=Action("click", 220, 260)), {}, "the thought leads to another action"),
        (Teaching(said=""), {}, "the reply has no thought in the form asked for"),
        (Teaching(said="<tool_call>"), {}, "the thought holds markup"),
        (Teaching(said="x" * 50), {"characters": 49}, "the thought is too long"),
        (Teaching(said="too long"), {}, "the question does not fit the teacher's context"),
    ],
)
def test_a_thought_that_does_not_do_is_left_out_with_the_reason(policy: Teaching, settings: dict[str, Any], reason_: str) -> None:
    assert taught(policy, **settings) == ("", reason_)


def test_without_the_check_one_question_is_asked() -> None:
    policy = Teaching(does=Action("click", 220, 260))
    assert taught(policy, check=False)[1] == ""
    assert len(policy.asked) == 1


@given(st.text())
def test_whatever_a_teacher_says_is_a_thought_or_left_out(text: str) -> None:
    thought, reason_ = taught(Teaching(said=text))
    assert bool(thought) != bool(reason_)
    if thought:
        assert Sections.of(thought).action == 'Click the "Send" button.'
        assert FULL.parse(FULL.format(thought, Action("click", 20, 260), Observation(SCREEN)), Observation(SCREEN))[0] == thought


class EverySecond(Teaching):
    """A class of one's own that a run names; its thoughts of places lead elsewhere."""

    def __init__(self, agent: Any) -> None:
        super().__init__(does=Action("type", text="Hi"))


def test_steps_without_a_thought_become_history(tmp_path: Path) -> None:
    source = write(tmp_path / "collect", [solved()])
    RegionStore(source / "regions.jsonl").append(SCREEN, REGIONS)
    config = ReasonConfig(
        demonstrations=source, output=tmp_path / "reason", by="teacher", teacher=TeacherSettings("test_reason:EverySecond")
    )
    found = reason.main(config, show=False)
    assert (found.thoughts, found.left_out) == (1, {"the thought leads to another action": 2})
    (one,) = read(config.output)
    assert [step.imitated for step in one.steps] == ["reply", "nothing", "nothing"]
    assert one.extra[REASONING]["by"] == "teacher"
    assert reason.main(config, show=False) == found


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Action("click", 12, 252), Action("click", 65, 268), True),
        (Action("click", 20, 260), Action("click", 220, 260), False),
        (Action("click", 150, 150), Action("click", 155, 150), True),
        (Action("click", 150, 150), Action("click", 190, 150), False),
        (Action("click", 20, 260), Action("double_click", 20, 260), False),
        (Action("click", 20, 260), Action("click"), False),
        (Action("click"), Action("click"), True),
        (Action("type", text="a"), Action("type", text="a "), True),
        (Action("type", text="a"), Action("type", text="b"), False),
        (Action("scroll", amount=-2), Action("scroll", amount=-5), True),
        (Action("scroll", amount=-2), Action("scroll", amount=2), False),
        (Action("drag", 20, 260, 220, 260), Action("drag", 30, 260, 230, 260), True),
        (Action("drag", 20, 260, 220, 260), Action("drag", 30, 260, 30, 20), False),
        (Action("call", name="f", args={"a": 1}), Action("call", name="f", args={"a": 2}), False),
    ],
)
def test_when_two_actions_come_to_the_same(first: Action, second: Action, same: bool) -> None:
    assert same_action(first, second, Observation(SCREEN), REGIONS) == same
    assert same_action(second, first, Observation(SCREEN), REGIONS) == same


# -------------------------------------------------------------------------------------------------------------- reflection


def forms_pair(tmp_path: Path, wrong: Action) -> tuple[Trajectory, Trajectory]:
    """A success of a real form, and a failure of the same start that did `wrong` at its second step and then nothing more."""
    task = next(task for task in FormsEnvironment.tasks() if task.id == "forms-login" or task.id.endswith("login"))

    async def main() -> tuple[Trajectory, Trajectory]:
        images = ImageStore(tmp_path / "rollouts" / "images")
        success, _ = await run_demonstration(FormsEnvironment(images), task, 5, limits=Limits())
        environment = FormsEnvironment(images)
        seen = await environment.reset(task, 5)
        steps = []
        for action in (success.steps[0].action, wrong, Action("wait", seconds=0.0)):
            assert action is not None
            steps.append(Step(seen, action))
            seen = await environment.step(action)
        failure = Trajectory("lost", environment.task, tuple(steps), seen, "max_steps", 0.0, seed=5, policy="student")
        return success, failure

    return asyncio.run(main())


def reflected(tmp_path: Path, failure: Trajectory, success: Trajectory, **changes: Any) -> tuple[reason.Reasoned, Path]:
    source = write(tmp_path / "collect", [success])
    write(tmp_path / "rollouts", [failure], "student.jsonl")
    share_pictures(tmp_path / "rollouts" / "images", source / "images")
    config = ReasonConfig(
        demonstrations=source,
        output=tmp_path / "reflected",
        by="reflection",
        rollouts=(tmp_path / "rollouts",),
        pool=PoolSettings(memory=0, load=0),
    )
    config = replace(config, **changes)
    found = reason.main(config, show=False)
    lines = (config.output / "trajectories.jsonl").read_bytes()
    assert reason.main(config, show=False) == found
    assert (config.output / "trajectories.jsonl").read_bytes() == lines
    return found, config.output


def test_a_failure_is_replayed_and_the_oracle_leads_on(tmp_path: Path) -> None:
    success, failure = forms_pair(tmp_path, Action("type", text="zzz"))
    found, output = reflected(tmp_path, failure, success)
    assert (found.episodes, found.taken_over, found.left_out) == (1, 1, {})
    recovery = next(one for one in read(output) if one.id == "lost~recovered")
    assert recovery.success
    assert [step.imitated for step in recovery.steps[:2]] == ["nothing", "nothing"]
    assert {step.imitated for step in recovery.steps[2:]} == {"reply"}
    assert recovery.steps[1].action == Action("type", text="zzz")
    thought = Sections.of(recovery.steps[2].thought).thought
    assert thought.startswith('The last step was wrong: type "zzz".')
    assert "Next: " in thought
    regions, images = RegionStore(output / "regions.jsonl"), ImageStore(output / "images")
    for step in recovery.steps:
        assert step.observation.screenshot in images
        assert step.observation.screenshot in regions
    demonstrated = Demonstrations(
        [replace(recovery, id=next(f"id-{n}" for n in range(99) if not held_back(f"id-{n}")))], regions.get
    )
    assert [step.index for steps in demonstrated.train.values() for step in steps] == list(range(2, len(recovery.steps)))


def test_tokens_of_the_wrong_step_weigh_nothing_and_those_of_the_recovery_do(tmp_path: Path) -> None:
    success, failure = forms_pair(tmp_path, Action("type", text="zzz"))
    _, output = reflected(tmp_path, failure, success)
    recovery = next(one for one in read(output) if one.id == "lost~recovered")
    agent = QwenVLAgent(screenshots=3, thought="full")
    render = renderer(ImageStore(output / "images"))
    sample = from_step(render, agent, recovery.task, recovery.steps, 2)
    weights = sample.fields[ROW["w_ce"]]
    reply = write_reply(agent, recovery.steps[2].thought, recovery.steps[2].actions, recovery.steps[2].observation)
    learned = render.decode(sample.tokens[weights == 1])
    assert learned.startswith(reply)
    assert set(weights) == {0.0, 1.0}
    assert '"text": "zzz"' in render.decode(sample.tokens[weights == 0])
    assert '"text": "zzz"' not in learned
    for wrong in (0, 1):
        masked = from_step(render, agent, recovery.task, recovery.steps, wrong)
        assert not masked.fields[ROW["w_ce"]].any()


def test_without_replay_the_recovery_is_one_recorded_step(tmp_path: Path) -> None:
    success, failure = forms_pair(tmp_path, Action("wait", seconds=0.0))
    found, output = reflected(tmp_path, failure, success, replay=False)
    assert (found.episodes, found.thoughts) == (1, 1)
    recovery = next(one for one in read(output) if one.id == "lost~recovered")
    assert [step.imitated for step in recovery.steps] == ["nothing", "nothing", "reply"]
    assert recovery.steps[2].action == success.steps[1].action
    assert recovery.parts["curated"] == 1.0
    assert Sections.of(recovery.steps[2].thought).thought.startswith("The last step was wrong: wait. It has changed nothing.")


def test_where_the_environment_comes_to_other_states_the_record_is_used(tmp_path: Path) -> None:
    success, failure = forms_pair(tmp_path, Action("wait", seconds=0.0))
    shown = {step.observation.state_key: f"elsewhere-{number}" for number, step in enumerate((*success.steps, *failure.steps))}

    def moved(one: Trajectory) -> Trajectory:
        steps = tuple(
            replace(step, observation=replace(step.observation, state_key=shown[step.observation.state_key])) for step in one.steps
        )
        return replace(one, steps=steps)

    found, output = reflected(tmp_path, moved(failure), moved(success))
    assert (found.episodes, found.thoughts) == (1, 1)
    recovery = next(one for one in read(output) if one.id == "lost~recovered")
    assert len(recovery.steps) == 3


@pytest.mark.parametrize(
    ("change", "reason_"),
    [
        ({"seed": HELDOUT}, "not a training seed"),
        ({"seed": 6}, "nobody succeeded from this start"),
        ({"status": "env_error", "reward": None}, "environment failed"),
    ],
)
def test_failures_that_are_no_case(change: dict[str, Any], reason_: str, tmp_path: Path) -> None:
    success, failure = forms_pair(tmp_path, Action("wait", seconds=0.0))
    found, output = reflected(tmp_path, replace(failure, **change), success)
    assert found.left_out == {reason_: 1}
    assert [one.id for one in read(output)] == [success.id]


def test_a_failure_that_ended_with_its_mistake_is_left_out(tmp_path: Path) -> None:
    success, failure = forms_pair(tmp_path, Action("fail"))
    ended = replace(failure, steps=failure.steps[:2], status="gave_up")
    found, _ = reflected(tmp_path, ended, success)
    assert found.left_out == {"it ended with its mistake": 1}


def test_a_fork_lies_where_a_success_parts_last() -> None:
    right = solved("right")
    steps = (*right.steps[:2], replace(right.steps[2], action=Action("click", 150, 150)))
    wrong = replace(solved("wrong"), steps=steps, reward=0.0, final=Observation(SCREEN, state_key="d"))
    elsewhere = [replace(step, observation=Observation(SCREEN, state_key=f"{n}")) for n, step in enumerate(right.steps)]
    early = replace(solved("early"), steps=(replace(right.steps[0], action=Action("wait")), *elsewhere[1:]))
    fork = find_fork(wrong, [early, right])
    assert fork is not None
    assert (fork.success.id, fork.at) == ("right", 2)
    assert fork.after is wrong.final
    nowhere = replace(right, final=Observation(SCREEN, state_key="e"))
    assert recorded(fork, [nowhere]).reason == "no recovery is recorded, and the right action no longer applies"
    assert find_fork(wrong, []) is None
    assert find_fork(right, [right]) is None


def test_what_a_mistake_is_called() -> None:
    step = Step(Observation(SCREEN, state_key="a"), Action("click", 20, 260), "Action: Click it.")
    found = noticed(step, Observation(SCREEN, state_key="b"), ())
    assert found == "The last step was wrong: click it. That is not what was asked for."
    assert noticed(step, step.observation, ()).endswith("It has changed nothing.")
    assert (
        noticed(Step(Observation(), error="no call"), Observation(), ()) == "The last reply could not be read, so nothing was done."
    )
    assert same_state(Observation(text="a"), Observation(text="a"))
    assert not same_state(Observation(text="a"), Observation(text="b"))


# --------------------------------------------------------------------------------------------------------- thought dropout


def mixture(dropout: float, thoughts: bool = True, asked: bool = False) -> ActingMixture:
    """On text alone; nothing to look at."""
    text = replace(solved(), steps=tuple(replace(s, observation=Observation(text="a form")) for s in solved().steps[:1]))
    names = [f"id-{number}" for number in range(200)]
    ones = [with_plan(replace(text, id=name, seed=n), known, "thought") if thoughts else text for n, name in enumerate(names)]
    render = renderer()
    agent = AgentOptions(thought="full", level="thought" if asked else "trained")
    bare = SftConfig(agent=agent).bare.build() if dropout else None
    kit = Kit(render, agent.build(), None, 0, Share(), bare=bare)
    pool: Any = None
    return ActingMixture(
        kit,
        Demonstrations(ones, lambda _: ()),
        pool,
        batch=40,
        practice=0,
        questions=0,
        practice_questions=0,
        weights={},
        perceive=False,
        thought_dropout=dropout,
    )


def replies(one: ActingMixture, step: int) -> list[bool]:
    """Whether each sample of an update is asked for the action alone."""
    turns = user_turns(one, step)
    for turn in turns:
        assert (REQUESTS["action"] in turn) == ("<think>" not in turn)
    return [REQUESTS["action"] in turn for turn in turns]


def user_turns(one: ActingMixture, step: int) -> list[str]:
    (micro_batch,) = one.micro_batches(step)
    text = one.kit.renderer.decode(micro_batch.batch.tokens.numpy().reshape(-1))
    return text.split("<|im_start|>user")[1:]


def test_dropout_leaves_out_a_share_of_the_thoughts_and_the_prompt_says_so() -> None:
    one = mixture(0.5)
    asked = [bare for step in range(10) for bare in replies(one, step)]
    assert len(asked) == 400
    assert 150 < sum(asked) < 250
    assert replies(mixture(0.5), 3) == replies(one, 3)
    assert all(replies(mixture(1.0), 0))


def test_where_a_thought_is_asked_for_the_others_are_asked_for_nothing_and_answer_the_call_alone() -> None:
    turns = user_turns(mixture(0.5, asked=True), 0)
    asked = [REQUESTS["thought"] in turn for turn in turns]
    assert 5 < sum(asked) < 35
    for turn, thinks in zip(turns, asked, strict=True):
        assert thinks == ("<think>" in turn) == ("Action:" in turn)
        assert REQUESTS["action"] not in turn


def test_what_has_no_thought_is_shown_by_the_plain_agent() -> None:
    asking, plain = QwenVLAgent(thought="full", level="thought"), QwenVLAgent()
    item = with_plan(solved(), known, "thought")
    for kit, asked in (
        (Kit(renderer(), asking, None, 0, Share()), True),
        (Kit(renderer(), asking, None, 0, Share(), plain=plain), False),
    ):
        text = kit.renderer.decode(kit.item_sample(item).tokens)
        assert (REQUESTS["thought"] in text) == ("<think>" in text) == asked


def test_dropout_changes_no_other_draw_and_without_it_the_data_are_the_plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, dropped = mixture(0.0), mixture(0.3)
    drawn: dict[float, list[list[str]]] = {0.0: [], 0.3: []}
    draw = Demonstrations.draw
    current = 0.0

    def noted(self: Demonstrations, *arguments: Any) -> list[DemonstratedStep]:
        steps = draw(self, *arguments)
        drawn[current].append([step.key for step in steps])
        return steps

    monkeypatch.setattr(Demonstrations, "draw", noted)
    for step in range(3):
        current = 0.0
        asked = replies(plain, step)
        assert not any(asked)
        current = 0.3
        assert any(replies(dropped, step))
    assert drawn[0.0] == drawn[0.3]
    steps = plain.demonstrations.draw(plain.kit.random("acting", 0), 40, {})
    (micro_batch,) = plain.micro_batches(0)
    alone = collate([plain.kit.step_sample(step) for step in steps], plain.kit.renderer, ROW_LENGTH)
    assert micro_batch.batch.tokens.equal(alone.tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thought_dropout": 1.5}, r"thought_dropout is 1\.5"),
        ({"thought_dropout": 0.5}, r"agent\.thought=none writes no thoughts"),
        ({"thought_dropout": 0.5, "agent": AgentOptions(thought="full", level="action")}, r"agent\.level is 'action'"),
    ],
)
def test_settings_of_training_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(SftConfig(demonstrations=tmp_path, output=tmp_path / "sft", **changes), show=False)
