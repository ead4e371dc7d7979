"""The past as OpenCUA and Kimi are shown it (law 3): older steps in one message of the assistant, the last ones as turns.

assistant  # Step 1: ...        everything that is older than the window, as text
           # Step 2: ...
user       picture of step 3
assistant  # Step 3: ...
user       the present picture and the instruction
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepladder.types import ImageRef, Message, Observation, Step


def step_history(
    steps: Sequence[Step],
    observation: Observation,
    *,
    screenshots: int,
    instruction: str,
    tell: Callable[[int, Step], str],
    answer: Callable[[int, Step], Message],
) -> tuple[Message, ...]:
    """User and assistant messages that end with the user message for `observation`.

    `tell` gives the text of a step (its number counts from 1) that is older than the last `screenshots` pictures, `answer` the
    assistant's message of a step inside them.
    """
    first = max(0, len(steps) - (screenshots - 1))
    messages: list[Message] = []
    if first:
        messages.append(Message("assistant", ("\n".join(tell(index + 1, steps[index]) for index in range(first)),)))
    for index in range(first, len(steps)):
        messages.append(_shown(steps[index].observation, notes(steps, index, steps[index].observation)))
        messages.append(answer(index + 1, steps[index]))
    said = notes(steps, len(steps), observation)
    messages.append(_shown(observation, f"{instruction}\n{said}" if said else instruction))
    return tuple(messages)


def notes(steps: Sequence[Step], index: int, observation: Observation) -> str:
    """What stands beside the picture of step `index`: a complaint about the reply before it, and what the environment says."""
    error = steps[index - 1].error if index > 0 else None
    complaint = f"Your last reply could not be read: {error}" if error else ""
    return "\n".join(part for part in (complaint, observation.text) if part)


def _shown(observation: Observation, text: str) -> Message:
    content: list[str | ImageRef] = [] if observation.screenshot is None else [observation.screenshot]
    return Message("user", (*content, *([text] if text else [])))
