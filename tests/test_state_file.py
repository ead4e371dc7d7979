"""Saved states: what a disk has lost part of is not taken, the one before is; and updates that are not finite change nothing."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_rl import FORMS, checkpoint, click_anywhere, weights

from stepladder.alarms import read_alarms
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_learner import Learner
from stepladder.stages.rl_loop import NeverFinite
from stepladder.train.state_file import StateFile, TornState
from stepladder.types import Group


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


def test_the_state_before_is_taken_when_the_newest_is_torn(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.pt")
    assert file.load() is None
    for update in range(3):
        file.save({"weights": torch.full((1000,), float(update)), "update": update})
    newest = file.load()
    assert newest is not None
    assert newest["update"] == 2
    data = file.path.read_bytes()
    for torn in (data[: len(data) // 2], b"", data[:1000] + bytes(len(data) - 1000)):
        file.path.write_bytes(torn)
        found = file.load()
        assert found is not None
        assert found["update"] == 1
        assert torch.equal(found["weights"], torch.ones(1000))
    file.previous.write_bytes(b"nothing")
    with pytest.raises(TornState, match=r"state.pt and .*state.previous.pt cannot be read"):
        file.load()


def test_a_save_that_fails_costs_neither_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a fallback, when the state before is the only one that can be read."""
    file = StateFile(tmp_path / "state.pt")
    for update in range(2):
        file.save({"update": update})
    file.path.write_bytes(b"torn")
    assert file.load() == {"update": 0}

    def full(state: object, handle: Any) -> None:
        handle.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            file.save({"update": 1})
    assert file.load() == {"update": 0}
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "state.previous.pt"}
    file.save({"update": 1})
    assert (file.load(), torch.load(file.previous)) == ({"update": 1}, {"update": 0})


def test_a_run_with_a_torn_state_goes_on_from_the_one_before(tmp_path: Path) -> None:
    config = replace(FORMS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "whole", save_every=1)
    main(config, show=False)
    torn = replace(config, output=tmp_path / "torn", updates=3)
    main(torn, show=False)
    state = tmp_path / "torn" / "state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    main(replace(torn, updates=4), show=False)
    whole, found_again = weights(tmp_path / "whole" / "checkpoint"), weights(tmp_path / "torn" / "checkpoint")
    assert all(torch.equal(found_again[name], value) for name, value in whole.items())


def test_updates_that_are_not_finite_are_left_out_and_several_of_them_roll_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(FORMS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", updates=6, save_every=1)
    config = replace(config, rollback=2, validation=0)
    learn, calls, seen = Learner.learn, [0], list[torch.Tensor]()

    def broken(self: Learner, groups: Sequence[Group]) -> dict[str, float]:
        calls[0] += 1
        if calls[0] in (2, 4, 5):
            if calls[0] == 5:  # what a broken update may leave behind
                with torch.no_grad():
                    next(self.model.parameters()).fill_(float("nan"))
            raise FloatingPointError(f"the gradient of update {calls[0]} is not finite")
        figures = learn(self, groups)
        seen.append(torch.stack([one.double().sum() for one in self.model.parameters()]).sum())
        return figures

    monkeypatch.setattr(Learner, "learn", broken)
    main(config, show=False)
    told = read_metrics(config.output, "rl")
    assert [one["step"] for one in told if one.get("skipped")] == [2, 4, 5]
    alarms = [one for one in read_alarms(config.output) if one.kind == "not_finite"]
    assert [one.step for one in alarms] == [2, 4, 5]
    assert [("left out" in one.message, "again" in one.message) for one in alarms] == [(True, False), (True, False), (True, True)]
    assert all(torch.isfinite(one).all() for one in weights(config.output / "checkpoint").values())
    assert len(seen) == 3


def test_a_run_whose_gradients_are_never_finite_ends_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(FORMS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", updates=20, save_every=1)
    config = replace(config, rollback=1, validation=0, group_size=2, max_steps=1)

    def broken(self: Learner, groups: Sequence[Group]) -> dict[str, float]:
        raise FloatingPointError("the gradient of update 0 is not finite")

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "learn", broken)
        with pytest.raises(NeverFinite, match=r"update 4: .* 3 times; lower optimizer\.lr"):
            main(config, show=False)
    assert not (config.output / "checkpoint").exists()
    main(replace(config, updates=2), show=False)
    assert all(torch.isfinite(one).all() for one in weights(config.output / "checkpoint").values())
