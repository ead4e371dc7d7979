"""What an agent is shown of the past (law 3).

Rollout, training and evaluation all build their prompts here: the last `screenshots` pictures stand in the prompt as turns with
the replies they got, and everything older is a line of text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepladder.types import ImageRef, Message, Observation, Step


def window(
    steps: Sequence[Step],
    observation: Observation,
    *,
    screenshots: int,
    describe: Callable[[Step], str],
    reply: Callable[[Step], str],
    opening: Callable[[list[str], Observation], str],
    follow_up: Callable[[Step, Observation], str],
) -> tuple[Message, ...]:
    """User and assistant messages that end with the user message for `observation`.

    `describe` gives the text line of a step that is older than the window, `reply` the assistant's text of a step inside it,
    `opening` the text beside the first picture from the lines of older steps, and `follow_up` the text beside a later picture
    (often empty) from the step before it. A reply that was sampled keeps its token ids (law 2). `screenshots` counts the current
    picture. Raises ValueError when it is less than one.
    """
    if screenshots < 1:
        raise ValueError(f"screenshots is {screenshots}; the current screenshot is always shown, so it must be at least 1")
    first = max(0, len(steps) - (screenshots - 1))
    lines = [f"Step {number}: {describe(step)}" for number, step in enumerate(steps[:first], start=1)]
    messages: list[Message] = []
    shown = [step.observation for step in steps[first:]] + [observation]
    for offset, seen in enumerate(shown):
        text = opening(lines, seen) if offset == 0 else follow_up(steps[first + offset - 1], seen)
        messages.append(user_message(seen, text))
        if offset < len(shown) - 1:
            messages.append(assistant_message(steps[first + offset], reply))
    return tuple(messages)


def user_message(observation: Observation, text: str) -> Message:
    """What the user shows and says. The picture comes first, so that several questions about one picture share a prefix."""
    content: list[str | ImageRef] = []
    if observation.screenshot is not None:
        content.append(observation.screenshot)
    if text:
        content.append(text)
    return Message("user", tuple(content))


def assistant_message(step: Step, reply: Callable[[Step], str]) -> Message:
    """The answer of a past step: what was sampled, with its token ids, or what `reply` says for a step without a completion."""
    if step.completion is not None:
        return Message("assistant", (step.completion.text,), tokens=step.completion.tokens)
    return Message("assistant", (reply(step),))
