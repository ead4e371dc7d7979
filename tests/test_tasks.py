"""Task sets by name: splits of their authors are kept, mistakes are named."""

from __future__ import annotations

import pytest

from stepladder.errors import TaskError
from stepladder.tasks import check_demonstrators, load_tasks
from stepladder.types import Task


class Marked:
    """An environment whose tasks are marked by their author."""

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task(name, "", "test_tasks:Marked", split=name) for name in ("train", "heldout", "all")]


class Twice:
    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task("a", "", "test_tasks:Twice", split=split) for split in ("train", "all")]


def test_a_task_marked_for_one_split_is_never_given_for_the_other() -> None:
    for split, other in (("train", "heldout"), ("heldout", "train")):
        found = load_tasks("env:test_tasks:Marked", split)
        assert [task.id for task in found] == [name for name in ("train", "heldout", "all") if name != other]
        assert {task.split for task in found} == {split}
    assert [task.split for task in load_tasks("env:test_tasks:Marked")] == ["train", "heldout", "all"]


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("miniwob@demo:click-test", "all", "asks for a named set and for single tasks"),
        ("forms@x", "all", "only miniwob and reasoning have named sets"),
        ("forms:login,login", "all", "holds the task 'forms-login' twice; ids must differ"),
        ("env:test_tasks:Twice", "train", "holds the task 'a' twice"),
        ("forms:logn", "all", "'forms:logn': .*did you mean"),
        ("miniwob:click-tset", "all", "'miniwob:click-tset': .*did you mean 'click-test'"),
        ("page:", "all", "write page:FILE.jsonl"),
    ],
)
def test_what_cannot_be_had_is_named(spec: str, split: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_tasks(spec, split)


def test_tasks_of_one_id_may_stand_in_different_splits() -> None:
    assert [task.split for task in load_tasks("env:test_tasks:Twice", "heldout")] == ["heldout"]


def test_environments_without_solve_cannot_demonstrate() -> None:
    check_demonstrators(load_tasks("forms:login"))
    with pytest.raises(TaskError, match=r"'test_tasks:Marked' cannot demonstrate its tasks: it has no method solve\(\)"):
        check_demonstrators(load_tasks("env:test_tasks:Marked"))
