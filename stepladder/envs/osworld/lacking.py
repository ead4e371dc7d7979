"""What a task needs and is not there: a setup step, a getter, a metric, a file, a program."""

from __future__ import annotations

from stepladder.interfaces import EnvironmentFailure


class Lacks(EnvironmentFailure):
    """The task cannot be played here, and `what` says why ("metric compare_table"). The episode ends as `env_error`, never as 0."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"what this task needs is not here: {what}" + (f" ({hint})" if hint else ""))
        self.what, self.hint = what, hint
