"""What carrying out an action has in common everywhere: that it may be impossible, and how long a `wait` takes."""

from __future__ import annotations

from stepladder.types import Action

#: The longest a `wait` action takes, in seconds.
MAX_WAIT = 10.0


class CannotDo(ValueError):
    """An action that this screen or keyboard cannot carry out; the message is told to the agent."""


def waiting_time(action: Action) -> float:
    """Seconds from 0 to MAX_WAIT that a `wait` takes, 0 for any other action."""
    return min(action.seconds, MAX_WAIT) if action.kind == "wait" and action.seconds > 0 else 0.0
