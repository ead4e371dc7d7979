"""What kind of task it is: how reports group tasks, and which cannot be done at all."""

from __future__ import annotations

from stepladder.types import Task

#: The tag of tasks that cannot be done, and the function that grades them in OSWorld's files.
INFEASIBLE = "infeasible"


def is_infeasible(task: Task) -> bool:
    """Whether the task is marked as one that cannot be done, and is solved by giving up."""
    return INFEASIBLE in task.tags or task.check.get("func") == INFEASIBLE


def domain_of(task: Task) -> str:
    """What the task is filed under: OSWorld's domain, else its first tag, else what its id begins with, else its environment."""
    if task.setup.get("domain"):
        return str(task.setup["domain"])
    tag = next((tag for tag in task.tags if tag != INFEASIBLE), None)
    if tag is not None:
        return tag
    prefix, colon, _ = task.id.partition(":")
    return prefix if colon else task.env
