"""`stepladder validate` finds unsound tasks: solutions that fail, tasks that doing nothing solves. What was right is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.interfaces import EnvironmentFailure
from stepladder.seeds import HELDOUT
from stepladder.stages import validate
from stepladder.stages.validate import FILE, ValidateConfig, seeds_of
from stepladder.types import Observation, Task

runner = CliRunner()
resets: list[int] = []


class Wrong(FormsEnvironment):
    """A form that is solved by doing nothing on seed 0, cannot be solved on seed 1 and breaks on held-out seeds."""

    @classmethod
    def tasks(cls, kinds: Iterable[str] | None = None) -> list[Task]:
        return [Task("wrong", "", "test_validate:Wrong", {"kind": "login"}, max_steps=10)]

    async def reset(self, task: Task, seed: int) -> Observation:
        resets.append(seed)
        self.seed = seed
        if seed >= HELDOUT:
            raise EnvironmentFailure("it broke")
        login = next(one for one in FormsEnvironment.tasks() if one.id.endswith("login"))
        return await super().reset(login, seed)

    async def evaluate(self) -> float:
        return 1.0 if self.seed == 0 else 0.0


def test_sound_tasks_are_sound(tmp_path: Path) -> None:
    result = runner.invoke(cli.app, ["validate", "--tasks", "forms", "--seeds", "3", "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    count = len(FormsEnvironment.tasks())
    assert f"{count} tasks, {count * 9} of {count * 9} as they should be" in result.output


def test_unsound_tasks_are_named(tmp_path: Path) -> None:
    arguments = ["validate", "--tasks", "env:test_validate:Wrong", "--seeds", "3", "--output", str(tmp_path / "run")]
    result = runner.invoke(cli.app, arguments)
    assert result.exit_code == 1
    for said in (
        "wrong, seed 0: idle scored 1, not 0",
        "wrong, seed 0: gives_up scored 1, not 0",
        "wrong, seed 1: oracle scored 0, not 1",
        f"wrong, seed {HELDOUT}: oracle has no grade, not 1: it broke",
        "1 tasks, 3 of 9 as they should be",
    ):
        assert said in result.output.replace("\n", " ")
    resets.clear()
    assert "3 of 9" in runner.invoke(cli.app, arguments).output
    assert set(resets) == {0, 1, HELDOUT}  # every start had something wrong


def test_what_was_right_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ValidateConfig(tasks="forms:login", output=tmp_path / "run", seeds=2)
    first = validate.main(config, show=False)
    (tmp_path / "run" / FILE).open("a").write('{"task": "cut o')

    def none(*_: object) -> None:
        raise AssertionError("nothing is left to be tried")

    monkeypatch.setattr(validate, "_try", none)
    assert validate.main(config, show=False) == first


def test_half_of_the_seeds_are_held_out() -> None:
    assert seeds_of(5) == [0, 1, 2, HELDOUT, HELDOUT + 1]
    with pytest.raises(ConfigError, match="seeds is 0"):
        validate.main(ValidateConfig(seeds=0))
