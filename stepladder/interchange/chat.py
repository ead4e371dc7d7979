"""Between trajectories and chat messages: what all formats of supervised data have in common.

A conversation is messages with pictures in them and a word for each on whether it is to be learned. It is written with the
agent's own `prompt` and reply, so that a model that learns from it is later asked in the very same words (law 3), and read with
the agent's own parser: a text that the dialect cannot read is no sample.

per step      one conversation a step: the prompt as the agent shows it at that step, and the reply
per episode   one conversation a trajectory: every turn with its picture. Only for dialects whose prompts extend one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Literal

from stepladder.agents.replies import read_reply, thought_length, write_reply
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.report import Report
from stepladder.interfaces import Agent, ParseError
from stepladder.types import ImageRef, Message, Observation, Role, Status, Step, Task, Trajectory

Per = Literal["step", "episode"]
#: Where a picture stands in a text.
PLACE = "<image>"
_ENDS: dict[str, Status] = {"done": "done", "fail": "gave_up"}
_INSTRUCTION = "\x02instruction\x03"
ROLES: dict[str, Role] = {
    **dict.fromkeys(("system",), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation"), "tool"),
}


@dataclass(frozen=True)
class Dialect:
    """How conversations are written and read. `agent` must show whole episodes for `per` "episode": give it as many `screenshots`
    as an episode has steps. With `edit` a reply of which only the thought is to be learned is cut off after it; without, it is
    masked. `reward` is that of trajectories that come without one."""

    agent: Agent
    per: Per = "step"
    edit: bool = False
    reward: float | None = None


@dataclass(frozen=True)
class Conversation:
    """`learned` says for each message whether it is to be learned, of the assistant's only. `about` says where it is from:
    "trajectory", "step" (of the last turn; None for a whole episode), "task", "instruction", "reward"; what a format does not
    know is missing."""

    messages: tuple[Message, ...]
    learned: tuple[bool, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(image for message in self.messages for image in message.images)


# -------------------------------------------------------------------------------------------------------------------- writing


def conversations(source: TrajectoryFolder, dialect: Dialect, report: Report, masks: bool) -> Iterator[Conversation]:
    """Everything in `source`, in order. `masks` says whether the format can leave single messages out of the loss; where it cannot,
    conversations that need it are dropped. Messages of a prompt are never learned, only the reply."""
    for trajectory in source:
        trajectory = _in_own_words(trajectory)
        made = _per_step(trajectory, dialect, report) if dialect.per == "step" else _per_episode(trajectory, dialect, report)
        for conversation in made:
            replies = [word for message, word in zip(conversation.messages, conversation.learned, strict=True) if _answers(message)]
            targets = replies if dialect.per == "episode" else replies[-1:]
            if not any(targets) or not (all(targets) or masks):
                why = "some of its replies are not to be learned" if any(targets) else "none of its replies is to be learned"
                report.drop(_name(conversation), why if any(targets) or masks else f"{why}, and this format has no mask")
                continue
            yield conversation


def _answers(message: Message) -> bool:
    return message.role == "assistant"


def _in_own_words(trajectory: Trajectory) -> Trajectory:
    """What was done, without the tokens and words in which another model said it."""
    return replace(trajectory, steps=tuple(replace(step, prompt=None, completion=None) for step in trajectory.steps))


def _about(trajectory: Trajectory, step: int | None) -> dict[str, Any]:
    return {
        "trajectory": trajectory.id,
        "step": step,
        "task": trajectory.task.id,
        "instruction": trajectory.task.instruction,
        "reward": trajectory.reward,
    }


def _name(conversation: Conversation) -> str:
    step = conversation.about.get("step")
    return f"{conversation.about['trajectory']}" + ("" if step is None else f", step {step}")


def _per_step(trajectory: Trajectory, dialect: Dialect, report: Report) -> Iterator[Conversation]:
    for index, step in enumerate(trajectory.steps):
        where = f"{trajectory.id}, step {index}"
        if step.action is None:
            report.drop(where, "its reply could not be read and says no action")
            continue
        if step.imitated == "nothing":
            report.drop(where, "masked: nothing of it is to be learned")
            continue
        try:
            messages = dialect.agent.prompt(trajectory.task, trajectory.steps[:index], step.observation)
            text, learned = _reply(dialect, step)
        except ValueError as error:
            report.drop(where, str(error))
            continue
        yield Conversation(
            (*messages, Message("assistant", (text,))), (*(False for _ in messages), learned), _about(trajectory, index)
        )


def _reply(dialect: Dialect, step: Step) -> tuple[str, bool]:
    """(text, whether it is to be learned) of a step with an action. Raises ValueError for what the dialect cannot say."""
    text = write_reply(dialect.agent, step.thought, step.actions, step.observation)
    if step.imitated == "reply":
        return text, True
    if not dialect.edit:
        return text, False
    kept = text[: thought_length(dialect.agent, step)].rstrip() if step.imitated == "thought" else ""
    return kept, bool(kept)


def _per_episode(trajectory: Trajectory, dialect: Dialect, report: Report) -> Iterator[Conversation]:
    if not trajectory.steps:
        report.drop(trajectory.id, "it has no step")
        return
    unread = [index for index, step in enumerate(trajectory.steps) if step.action is None]
    if unread:
        report.drop(trajectory.id, f"the reply of step {unread[0]} could not be read; write it per step")
        return
    try:
        whole = _whole(trajectory, dialect)
    except ValueError as error:
        report.drop(trajectory.id, str(error))
        return
    yield whole


def _whole(trajectory: Trajectory, dialect: Dialect) -> Conversation:
    """Raises ValueError for a dialect that shows an episode in another way."""
    messages: tuple[Message, ...] = ()
    learned: tuple[bool, ...] = ()
    for index, step in enumerate(trajectory.steps):
        prompt = dialect.agent.prompt(trajectory.task, trajectory.steps[:index], step.observation)
        full = write_reply(dialect.agent, step.thought, step.actions, step.observation)
        before = [(message.role, message.content) for message in messages]
        if [(message.role, message.content) for message in prompt[: len(before)]] != before:
            raise ValueError(f"{dialect.agent.name} does not show an episode as one growing conversation; write it per step")
        messages = (*prompt, Message("assistant", (full,)))
        learned += (*(False for _ in range(len(prompt) - len(learned))), _reply(dialect, step)[1])
    if dialect.edit:
        texts = iter([_reply(dialect, step)[0] for step in trajectory.steps])
        messages = tuple(Message("assistant", (next(texts),)) if _answers(message) else message for message in messages)
        left = [not _answers(message) or message.text != "" for message in messages]
        messages, learned = tuple(compress(messages, left)), tuple(compress(learned, left))
    return Conversation(messages, learned, _about(trajectory, None))


# -------------------------------------------------------------------------------------------------------------------- reading


def keep_conversations(found: Iterable[tuple[str, Conversation]], dialect: Dialect, into: TrajectoryFolder, report: Report) -> None:
    """Trajectories of conversations, of which each comes with its place. Neighbours that say that they are steps of one trajectory
    become one. One with a reply that cannot be read is dropped with the reason."""
    open_: Trajectory | None = None
    for place, conversation in found:
        try:
            part = read_conversation(conversation, dialect, place)
        except (ValueError, TypeError) as error:
            report.drop(place, str(error))
            continue
        step = conversation.about.get("step")
        if open_ is not None and type(step) is int and part.id == open_.id and step >= len(open_.steps):
            new = step + 1 - len(open_.steps)  # more than one where the sample of a step between is missing
            open_ = replace(part, steps=(*open_.steps, *part.steps[-new:]))
            continue
        if open_ is not None:
            report.keep(into, open_)
        open_ = part
    if open_ is not None:
        report.keep(into, open_)


def read_conversation(conversation: Conversation, dialect: Dialect, place: str) -> Trajectory:
    """The turns of a conversation that are shown with a picture. A past reply that is not to be learned may be in other words, as
    OpenCUA shows them, and is then left out. Raises ValueError that says which message cannot be read."""
    steps: list[Step] = []
    seen: Observation | None = None
    last_reply = max((number for number, message in enumerate(conversation.messages) if _answers(message)), default=0)
    for number, (message, learned) in enumerate(zip(conversation.messages, conversation.learned, strict=True)):
        if _answers(message):
            if seen is not None:
                try:
                    steps.append(_step(dialect.agent, message.text, seen, learned, number))
                except ParseError:
                    if number == last_reply or (learned and conversation.about.get("step") is None):
                        raise
            seen = None
        elif message.images:
            if len(message.images) > 1:
                raise ValueError(f"message {number} shows {len(message.images)} pictures; a turn shows one")
            seen = Observation(message.images[0], text=message.text.strip() if steps else "")
    if not steps:
        raise ValueError("no reply of the assistant comes after a picture")
    about = conversation.about
    if about.get("step") is not None:  # the others are its history
        steps[:-1] = [replace(step, imitated="nothing") for step in steps[:-1]]
    last = steps[-1].actions[-1:]
    status = _ENDS.get(last[0].kind, "max_steps") if last else "max_steps"
    reward = about.get("reward")
    identifier = str(about.get("trajectory") or place)
    return Trajectory(
        id=identifier,
        task=Task(
            str(about.get("task") or identifier),
            str(about.get("instruction") or _instruction(dialect.agent, conversation, steps[0].observation)),
            "chat",
            max_steps=len(steps),
        ),
        steps=tuple(steps),
        final=None,
        status=status,
        reward=dialect.reward if reward is None else min(max(float(reward), 0.0), 1.0),
        agent=dialect.agent.name,
        extra=dict(conversation.extra),
    )


def _step(agent: Agent, text: str, seen: Observation, learned: bool, number: int) -> Step:
    try:
        thought, actions = read_reply(agent, text, seen)
    except ParseError as error:
        raise ParseError(f"message {number} is no reply of {agent.name}: {error}", error.position) from error
    return Step(seen, actions[0], thought, more=actions[1:], imitated="reply" if learned else "nothing")


def _instruction(agent: Agent, conversation: Conversation, seen: Observation) -> str:
    """What is asked: the user's first text, without the words that the agent puts around an instruction where they stand there."""
    asked = next((message.text for message in conversation.messages if message.role == "user" and message.text.strip()), "")
    for message in agent.prompt(Task("", _INSTRUCTION, "chat"), (), seen):
        before, mark, after = message.text.partition(_INSTRUCTION)
        if message.role == "user" and mark and asked.startswith(before) and asked.endswith(after):
            return asked[len(before) : len(asked) - len(after)].strip()
    return asked.strip()


# -------------------------------------------------------------------------------------------------------------- texts with places


def with_places(message: Message) -> str:
    """The text of a message with `PLACE` where its pictures are. Raises ValueError for a text that contains such a word itself."""
    if any(isinstance(part, str) and PLACE in part for part in message.content):
        raise ValueError(f"a text contains {PLACE!r}, which would be taken for a picture")
    return "".join(part if isinstance(part, str) else PLACE for part in message.content)


def from_places(role: str, text: str, images: Iterator[ImageRef]) -> Message:
    """The message of a text with places. Raises ConvertError for an unknown role, and when there are too few pictures."""
    if role not in ROLES:
        raise ConvertError(f"the role is {role!r}; it must be one of {', '.join(ROLES)}")
    content: list[str | ImageRef] = []
    for number, part in enumerate(str(text).split(PLACE)):
        if number:
            image = next(images, None)
            if image is None:
                raise ConvertError(f"there are more places {PLACE} than pictures")
            content.append(image)
        if part:
            content.append(part)
    return Message(ROLES[role], tuple(content))


def learned_replies(messages: Sequence[Message]) -> tuple[bool, ...]:
    """Every reply of the assistant, where a format says nothing else."""
    return tuple(_answers(message) for message in messages)
