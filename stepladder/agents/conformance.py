"""Whether an agent keeps the contract of `stepladder.interfaces.Agent`, law 1 above all; for tests of one's own agent.

check_agent(PlainAgent(), tolerance=0.5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from random import Random
from typing import Any

from stepladder.errors import NotConforming
from stepladder.interfaces import Agent, ParseError
from stepladder.types import Action, ImageRef, Message, Observation, Step, Task

SCREEN = Observation(screenshot=ImageRef("0" * 64, 160, 210))
TASK = Task("conformance", "Press the button “Okay”.", "forms")
#: One of every kind, on `SCREEN`.
ACTIONS = (
    Action("click", x=10, y=20),
    Action("click", x=159, y=209),
    Action("click"),
    Action("double_click", x=40, y=50),
    Action("triple_click", x=40, y=50),
    Action("right_click", x=40, y=50, keys=("ctrl",)),
    Action("middle_click", x=40, y=50),
    Action("move", x=0, y=0),
    Action("drag", x=10, y=20, x2=100, y2=150),
    Action("mouse_down", x=10, y=20),
    Action("mouse_up", x=10, y=20),
    Action("scroll", x=80, y=100, amount=-3),
    Action("type", text="hello world"),
    Action("type", text='Größe "5", {x} <b>\n\\'),
    Action("key", keys=("ctrl", "a")),
    Action("key_down", keys=("shift",)),
    Action("key_up", keys=("shift",)),
    Action("wait", seconds=1.5),
    Action("call", name="open", args={"path": "a.txt"}),
    Action("done", text="42"),
    Action("done"),
    Action("fail", text="It is not there."),
)
_PLACES = ("x", "y", "x2", "y2")
_JUNK = (
    "",
    " ",
    "\n",
    "\0",
    "{",
    "}",
    "[[[[",
    "<tool_call>",
    "</tool_call>",
    "click",
    "null",
    "NaN",
    "1e999",
    "é" * 1000,
    '{"a": ' * 500,
)


def check_agent(
    agent: Agent, actions: Sequence[Action] = ACTIONS, observation: Observation = SCREEN, *, tolerance: float = 0.5
) -> tuple[Action, ...]:
    """The actions that the dialect can say. Raises NotConforming for the first part of the contract that `agent` breaks.

    Places may come back up to `tolerance` pixels away. An action for which `format` raises ValueError is one that the dialect
    cannot say; at least one must be left.
    """
    if not isinstance(agent.name, str) or not agent.name:
        raise NotConforming(f"`name` must be a text that is not empty, not {agent.name!r}")
    if not isinstance(agent.stop, tuple) or not all(isinstance(text, str) and text for text in agent.stop):
        raise NotConforming(f"`stop` must be a tuple of texts that are not empty, not {agent.stop!r}")
    replies = [(action, reply) for action in actions if (reply := _reply(agent, action, observation)) is not None]
    if not replies:
        raise NotConforming(f"`format` can say none of {len(actions)} actions")
    for action, reply in replies:
        _check_round_trip(agent, action, reply, observation, tolerance)
    for text in [*_JUNK, *_damaged([reply for _, reply in replies])]:
        _parse(agent, text, observation)
    sayable = tuple(action for action, _ in replies)
    _check_prompt(agent, sayable, observation)
    return sayable


def _reply(agent: Agent, action: Action, observation: Observation) -> str | None:
    try:
        reply = agent.format("", action, observation)
    except ValueError:
        return None
    if not isinstance(reply, str):
        raise NotConforming(f"format of {action} must give a text, not {reply!r}")
    return reply


def _check_round_trip(agent: Agent, action: Action, reply: str, observation: Observation, tolerance: float) -> None:
    parsed = _parse(agent, reply, observation)
    if parsed is None:
        raise NotConforming(f"law 1: {action} is said as {reply!r}, which `parse` does not read")
    for name in (field.name for field in fields(Action)):
        said, read = getattr(action, name), getattr(parsed, name)
        if said == read or (name in _PLACES and None not in (said, read) and abs(said - read) <= tolerance):
            continue
        raise NotConforming(f"law 1: {action} is said as {reply!r} and read as {parsed}: `{name}` differs")


def _parse(agent: Agent, text: str, observation: Observation) -> Action | None:
    """The action that is read, None for a ParseError."""
    try:
        found: Any = agent.parse(text, observation)
    except ParseError:
        return None
    except Exception as error:
        raise NotConforming(f"parse of {text[:200]!r} raises {error!r}; it may raise ParseError alone") from error
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str) and isinstance(found[1], Action)):
        raise NotConforming(f"parse of {text[:200]!r} must give (thought, action), not {found!r}")
    return found[1]


def _damaged(replies: Sequence[str]) -> list[str]:
    """Replies cut off, doubled, and with characters changed: what a model writes when it goes wrong."""
    random = Random(0)
    texts = []
    for reply in replies:
        texts += [reply[:end] for end in range(0, len(reply), max(1, len(reply) // 20))]
        texts += [reply + reply, reply[::-1]]
        for _ in range(20):
            place = random.randrange(max(len(reply), 1))
            texts.append(reply[:place] + random.choice('"{}[]<>,:\\0-9eé\n') + reply[place + 1 :])
    return texts


def _check_prompt(agent: Agent, actions: Sequence[Action], observation: Observation) -> None:
    steps = [Step(observation, action) for action in actions] + [Step(observation, error="no action")]
    for count in (0, 1, len(steps)):
        messages = agent.prompt(TASK, steps[:count], observation)
        where = f"prompt after {count} steps"
        if not (isinstance(messages, tuple) and messages and all(isinstance(message, Message) for message in messages)):
            raise NotConforming(f"{where} must give a tuple of Message, not {messages!r}")
        if messages[-1].role != "user" or observation.screenshot not in messages[-1].images:
            raise NotConforming(f"{where} must end with a message of the user that shows the present screenshot")
        again = agent.prompt(TASK, steps[:count], observation)
        if [(message.role, message.content) for message in messages] != [(message.role, message.content) for message in again]:
            raise NotConforming(f"{where} differs from call to call; it may depend on its arguments alone (law 3)")
