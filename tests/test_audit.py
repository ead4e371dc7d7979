"""`stepladder audit` finds checks that pay for what was not done, keeps the episodes that prove it, and is fair to sound ones."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stepladder import cli_audit
from stepladder.audit.findings import Allowed, Summary, load_allowed, summarise
from stepladder.audit.known import KNOWN
from stepladder.audit.probes import Outcome, ProbeSettings
from stepladder.audit.wrong import displaced, neighbour, other_arguments, other_key, other_text, wrong_actions
from stepladder.config import ConfigError
from stepladder.envs.desktop.desk.environment import DeskEnvironment
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.stages import audit
from stepladder.stages.audit import EVIDENCE, OUTCOMES, AuditConfig, read_outcomes
from stepladder.store import TrajectoryStore
from stepladder.types import Action, ImageRef, Observation, Region, Task

runner = CliRunner()
SCREEN = ImageRef("0" * 64, 100, 80)
resets: list[tuple[str, int]] = []
fails: set[int] = set()


class Note:
    """A note to be written and sent with Enter; a click ticks a box or nothing. How it is graded depends on the task."""

    TICK = (10.0, 50.0, 10.0, 10.0)

    def __init__(self, images: ImageStore) -> None:
        self.images = images
        self.text, self.sent, self.ticked, self.gave_up, self.ended = "", False, False, False, False
        self.task = Task("", "", "")

    @classmethod
    def tasks(cls, names: Iterable[str] | None = None) -> list[Task]:
        kinds = ("sound", "idle", "early", "prefix", "anything", "box", "partial", "impossible", "single")
        return [Task(name, f"write it ({name})", "test_audit:Note", max_steps=5) for name in kinds]

    async def reset(self, task: Task, seed: int) -> Observation:
        resets.append((task.id, seed))
        self.task = task
        self.word = f"note{seed}"
        self.text, self.sent, self.ticked, self.gave_up, self.ended = "", False, False, False, False
        return self._observe()

    async def step(self, action: Action) -> Observation:
        if action.kind == "type":
            self.text += action.text
        elif action.kind == "key" and action.keys == ("enter",):
            self.sent = True
        elif action.kind == "key" and action.keys == ("backspace",):
            self.text = self.text[:-1]
        elif action.kind == "click" and action.x is not None and action.y is not None:
            self.ticked ^= 10 <= action.x <= 20 and 50 <= action.y <= 60
        elif action.kind in ("done", "fail"):
            self.gave_up, self.ended = action.kind == "fail", True
        return self._observe()

    async def evaluate(self) -> float:
        if self.task.id == "sound" and int(self.word[4:]) in fails:
            raise EnvironmentFailure("it broke")
        right = self.text == self.word and self.sent and not self.ticked
        return {
            "idle": 1.0,
            "early": float(self.text == self.word and not self.gave_up),
            "single": float(self.text == self.word and not self.ticked),
            "prefix": float(self.text.startswith(self.word) and self.sent),
            "anything": float(self.sent),
            "box": float(self.text == self.word and self.sent),
            "partial": 1.0 if right else 0.2 * bool(self.text),
            "impossible": float(self.gave_up),
        }.get(self.task.id, float(right))

    async def regions(self) -> tuple[Region, ...]:
        return (Region("Copy", "checkbox", self.TICK, self.TICK, "checkbox"),)

    async def close(self) -> None: ...

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        if self.task.id == "impossible":
            yield "", Action("fail", text="no")
            return
        yield "", Action("type", text=self.word)
        if self.task.id == "single":
            return
        yield "", Action("wait", seconds=0.0)
        yield "", Action("key", keys=("enter",))
        yield "", Action("done")

    def _observe(self) -> Observation:
        state = (self.text, self.sent, self.ticked)
        pixels = np.frombuffer(Random(repr(state)).randbytes(80 * 100 * 3), np.uint8).reshape(80, 100, 3)
        return Observation(self.images.put_pixels(pixels), state_key=repr(state), done=self.ended)


def audited(directory: Path, **settings: Any) -> Summary:
    given = {"tasks": "env:test_audit:Note", "output": directory, "seeds": 2, **settings}
    return audit.main(AuditConfig(**given), show=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    directory = tmp_path_factory.mktemp("audit") / "run"
    probes = ProbeSettings(wrong=None, after=("typed",))
    return directory, audited(directory, probes=probes)


def found(summary: Summary, task: str) -> set[tuple[str, str, str]]:
    return {(one.probe, one.way, one.severity) for one in summary.findings if one.task == task}


def test_a_sound_task_has_no_finding(run: tuple[Path, Summary]) -> None:
    summary = run[1]
    assert found(summary, "sound") == set()
    cells = next(row for row in summary.rows if row.task == "sound").cells
    assert cells["oracle"] == (2, 2)
    for probe in ("idle", "gives_up", "random", "stopped_early", "wrong_argument", "perturbed"):
        assert cells[probe][0] == 0 < cells[probe][1], "it was tried, and earned nothing"


def test_what_earns_something_is_found(run: tuple[Path, Summary]) -> None:
    summary = run[1]
    assert {("idle", "", "success"), ("gives_up", "", "success"), ("random", "", "success")} <= found(summary, "idle")
    assert ("stopped_early", "1 early", "success") in found(summary, "early")
    assert ("wrong_argument", "key", "success") in found(summary, "early"), "another key than Enter, and it is not needed"
    assert found(summary, "prefix") == {
        ("wrong_argument", "text_longer", "success"),
        *(("perturbed", way, "success") for way in ("typed", "clicked")),
    }
    assert found(summary, "anything") == {
        *(("wrong_argument", way, "success") for way in ("text_longer", "text_changed")),
        *(("perturbed", way, "success") for way in ("typed", "erased", "clicked")),
    }
    assert found(summary, "box") == {("perturbed", "clicked", "success")}, "a box was ticked that nobody asked for"


def test_partial_credit_is_told_apart(run: tuple[Path, Summary]) -> None:
    severities = {(one.probe, one.severity, one.reward) for one in run[1].findings if one.task == "partial"}
    assert severities == {(probe, "partial", 0.2) for probe in ("stopped_early", "wrong_argument", "perturbed")}


def test_giving_up_on_what_cannot_be_done_is_no_finding_but_its_share_is_told(run: tuple[Path, Summary]) -> None:
    summary = run[1]
    assert found(summary, "impossible") == set()
    assert summary.infeasible == ("impossible",)
    trivial = {one.probe: one for one in summary.trivial}
    # the impossible one by design, and the one that pays for everything
    assert trivial["gives_up"].rate.rate == pytest.approx(2 / 9)
    assert trivial["idle"].rate.rate == pytest.approx(1 / 9)
    assert trivial["gives_up"].n == 18


def test_what_changes_nothing_says_nothing(run: tuple[Path, Summary]) -> None:
    outcomes = [one for its in read_outcomes(run[0] / OUTCOMES).values() for one in its if one.task == "anything"]
    undone = [one for one in outcomes if one.way == "undone"]
    assert {one.void for one in undone} == {"it changed nothing"}
    assert {one.reward for one in undone} == {None}


def test_before_the_only_action_there_is_nothing_to_erase_or_to_undo(run: tuple[Path, Summary]) -> None:
    assert found(run[1], "single") == set()
    outcomes = [one for its in read_outcomes(run[0] / OUTCOMES).values() for one in its if one.task == "single"]
    assert {one.way for one in outcomes if one.probe == "perturbed"} == {"typed", "clicked"}
    assert not any(one.probe == "stopped_early" for one in outcomes), "it would be idle"


def test_harm_after_the_end_is_reported_and_no_finding(run: tuple[Path, Summary]) -> None:
    cells = next(row for row in run[1].rows if row.task == "prefix").cells
    assert cells["perturbed_after"] == (2, 2)
    assert not any(one.probe == "perturbed_after" for one in run[1].findings)


def test_findings_come_with_their_evidence(run: tuple[Path, Summary]) -> None:
    directory, summary = run
    images = ImageStore(directory / "images")
    with TrajectoryStore(directory / EVIDENCE) as store:
        for one in summary.findings:
            assert one.evidence
            for name in one.evidence:
                trajectory = store.get(name)
                assert (trajectory.task.id, trajectory.reward) == (one.task, one.reward)
                assert trajectory.final is not None
                assert trajectory.final.screenshot is not None
                assert trajectory.final.screenshot in images
        assert any(one.policy == "oracle" for one in store), "the solution stands beside them"
        shown = {
            seen.screenshot.sha256
            for one in store
            for seen in (*(step.observation for step in one.steps), one.final)
            if seen is not None and seen.screenshot is not None
        }
    assert {path.stem for path in (directory / "images").glob("*/*.png")} == shown, "no picture of what was in order is kept"
    page = (directory / "audit.html").read_text()
    assert page.count('<article class="strip">') == len(summary.findings)
    assert "one letter of the text changed" in page
    assert "data:image/png;base64," in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    told = json.loads((directory / "audit.json").read_text())
    assert (told["open"], told["infeasible"]) == (len(summary.findings), ["impossible"])


def test_pictures_of_others_in_the_directory_stay(tmp_path: Path) -> None:
    """A play or a recording may have the same directory, with its pictures in the same folder."""
    others = ImageStore(tmp_path / "images").put_pixels(np.full((80, 100, 3), 7, np.uint8))
    (tmp_path / audit.PASSING / "ab").mkdir(parents=True)  # what an audit left that was killed
    summary = audited(tmp_path, seeds=1, probes=ProbeSettings(wrong=1))
    assert summary.findings
    assert others in ImageStore(tmp_path / "images")
    assert not (tmp_path / audit.PASSING).exists()


def test_an_audit_that_is_done_is_not_done_again(run: tuple[Path, Summary]) -> None:
    directory, summary = run
    (directory / OUTCOMES).open("a").write('[{"task": "cut o')
    resets.clear()
    assert audited(directory, probes=ProbeSettings(wrong=None, after=("typed",))) == summary
    assert resets == []
    with pytest.raises(ConfigError, match=r"probes\.random was 4 and is now 1"):
        audited(directory, probes=ProbeSettings(random=1, wrong=None, after=("typed",)))


def test_starts_whose_environment_failed_are_tried_again(tmp_path: Path) -> None:
    fails.add(1)
    try:
        first = audited(tmp_path / "run", tasks="env:test_audit:Note")
    finally:
        fails.clear()
    assert first.errors["it broke"] > 0
    assert sum(row.missing for row in first.rows) == sum(first.errors.values())
    resets.clear()
    second = audited(tmp_path / "run", tasks="env:test_audit:Note")
    assert set(resets) == {("sound", 1)}
    assert second.errors == {}
    assert found(second, "sound") == set()


def test_the_command_line_says_what_it_found_and_what_is_known(tmp_path: Path) -> None:
    allow = tmp_path / "allow.json"
    reason = "a note may go on"
    entries = [{"task": "pre*", "probe": "wrong_argument", "way": "text_longer", "reason": reason}]
    entries += [{"task": "nothing", "probe": "idle", "reason": "there is none"}]
    allow.write_text(json.dumps(entries))
    arguments = ["--tasks", "env:test_audit:Note", "--seeds", "1", "--output", str(tmp_path / "run"), "--allow", str(allow)]
    result = runner.invoke(cli_audit.app, [*arguments, "--set", "probes.wrong=none"])
    output = result.output.replace("\n", " ")
    assert result.exit_code == 1
    assert "early: stopped early (1 early): 1 of 1 episode earned something, at most 1; counts as a success" in output
    assert f"known to be right: {reason}" in output
    assert "giving up at once earns 11.1 % of this set by design: 1 of 9 tasks cannot be done" in output
    assert "the allowance for nothing, idle, covers nothing" in output
    told = json.loads(runner.invoke(cli_audit.app, [*arguments, "--set", "probes.wrong=none", "--json"]).output)
    assert told["open"] == len(told["findings"]) - 1


def test_what_stepladder_knows_and_no_finding_needs_is_told_of_audited_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, elsewhere = Allowed("sou*", "idle", "it was once so"), Allowed("desk/web-*", "idle", "it was once so")
    monkeypatch.setattr(audit, "KNOWN", (stale, elsewhere))
    summary = audited(tmp_path / "run", seeds=1, probes=ProbeSettings(wrong=1))
    assert summary.unused == (stale,)
    assert [one["task"] for one in json.loads((tmp_path / "run/audit.json").read_text())["unused_allowances"]] == ["sou*"]


def test_a_set_without_findings_ends_well(tmp_path: Path) -> None:
    result = runner.invoke(cli_audit.app, ["--tasks", "forms:login,choose-radio", "--seeds", "1", "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "2 tasks, 0 findings, 0 of them without a reason" in result.output


def test_chance_is_a_finding_only_when_it_is_surely_more_than_is_allowed() -> None:
    def clicks(wins: int, n: int) -> list[Outcome]:
        return [Outcome("t", 0, "random", number=number, reward=float(number < wins)) for number in range(n)]

    assert summarise(clicks(1, 10)).findings == ()
    surely = summarise(clicks(4, 10)).findings
    assert [(one.probe, one.earned, one.n) for one in surely] == [("random", 4, 10)]
    assert 0.05 < surely[0].low < 0.4 < surely[0].high
    assert summarise(clicks(4, 10), most_chance=0.2).findings == ()
    assert summarise(clicks(1, 10)).trivial[0].rate.rate == 0.1


def test_a_solution_that_fails_says_nothing_about_its_variations(tmp_path: Path) -> None:
    fails.clear()
    outcomes = [Outcome("t", 0, "oracle", reward=0.0), Outcome("t", 0, "idle", reward=0.0)]
    assert summarise(outcomes).rows[0].unsolved == 1
    assert summarise([Outcome("t", 0, "idle", reward=0.0)]).without_solution == ("t",)


# ---------------------------------------------------------------------------------------------------------- wrong arguments


def test_every_kind_of_action_has_its_wrong_arguments() -> None:
    boxes = [(0.0, 0.0, 20.0, 10.0), (0.0, 20.0, 20.0, 10.0), (60.0, 60.0, 20.0, 10.0)]
    ways = (
        (Action("click", x=5, y=5), {"neighbour", "displaced"}),
        (Action("drag", x=5, y=5, x2=50, y2=50), {"end"}),
        (Action("scroll", x=5, y=5, amount=-3), {"reversed"}),
        (Action("type", text="Anna\n"), {"text_changed", "text_longer"}),
        (Action("type", text="/"), {"text_longer"}),
        (Action("done", text="42"), {"text_changed", "text_longer"}),
        (Action("key", keys=("ctrl", "s")), {"key"}),
        (Action("call", name="add", args={"a": 1}), {"argument"}),
    )
    for action, expected in ways:
        made = dict(wrong_actions(action, SCREEN, boxes, Random(0)))
        assert set(made) == expected
        for changed in made.values():
            assert changed != action
            assert changed.kind == action.kind
    for action in (Action("wait", seconds=1.0), Action("done"), Action("fail"), Action("click")):
        assert list(wrong_actions(action, SCREEN, boxes, Random(0))) == []


def test_a_displaced_click_is_near_and_misses_what_was_meant() -> None:
    wide = [(0.0, 0.0, 60.0, 10.0)]
    for seed in range(50):
        place = displaced(30, 5, SCREEN, wide, Random(seed))
        assert place is not None
        assert place[1] > 10 or place[0] > 60, "outside the box"
        assert 0 <= place[0] <= 99
        assert 0 <= place[1] <= 79
    assert displaced(50, 40, SCREEN, [(0.0, 0.0, 100.0, 80.0)], Random(0)) is None, "it fills the screen"


def test_the_neighbour_is_one_of_the_three_nearest() -> None:
    boxes = [(10.0 * number, 0.0, 8.0, 8.0) for number in range(8)]
    chosen = {neighbour(4, 4, boxes, Random(seed)) for seed in range(40)}
    assert chosen == {(14.0, 4.0), (24.0, 4.0), (34.0, 4.0)}
    assert neighbour(4, 4, boxes[:1], Random(0)) is None


def test_a_changed_text_differs_in_one_letter_of_its_kind() -> None:
    for seed in range(50):
        changed = other_text("Ab 12.txt\n", Random(seed))
        assert changed is not None
        pairs = [(old, new) for old, new in zip("Ab 12.txt\n", changed, strict=True) if old != new]
        assert len(pairs) == 1
        old, new = pairs[0]
        assert (old.isdigit(), old.isupper(), old.islower()) == (new.isdigit(), new.isupper(), new.islower())
    assert other_text("--\n", Random(0)) is None


def test_other_keys_and_arguments() -> None:
    assert [other_key(key) for key in ("Down", "enter", "s", "z", "Z", "9", "f9")] == ["up", "escape", "t", "a", "A", "0", "escape"]
    assert other_arguments({"count": 2}, Random(0)) == {"count": 3}
    assert other_arguments({"on": True}, Random(0)) == {"on": False}
    assert other_arguments({"rows": []}, Random(0)) is None


# ------------------------------------------------------------------------------------------------------------- what is known


def test_what_is_known_has_a_reason_and_names_tasks_that_exist() -> None:
    tasks = [task.id for task in (*DeskEnvironment.tasks(), *FormsEnvironment.tasks())]
    for one in KNOWN:
        assert len(one.reason) > 20
        assert any(one.covers(task, one.probe, one.way) for task in tasks), one
    entries = [(one.task, one.probe, one.way) for one in KNOWN]
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("{}", "must hold a list of entries"),
        ('["a"]', "entry 1 must be an object of texts"),
        ('[{"task": "a", "probe": "idle"}]', "entry 1 lacks 'reason'"),
        ('[{"task": "a", "probe": "idel", "reason": "b"}]', "entry 1 names the probe 'idel'; there are oracle, idle"),
        ('[{"task": "a", "probe": "idle", "reason": "b", "why": "c"}]', "entry 1 has 'why'"),
    ],
)
def test_allow_lists_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "allow.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_allowed(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_allowed(tmp_path / "nothing.json")


def test_allowances_are_patterns() -> None:
    one = Allowed("desk/web-*", "perturbed", "why", "ty*")
    assert one.covers("desk/web-form", "perturbed", "typed")
    assert not one.covers("desk/web-form", "perturbed", "undone")
    assert not one.covers("desk/editor-write", "perturbed", "typed")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"most_chance": 2.0}, "most_chance is 2.0"),
        ({"probes": ProbeSettings(random=-1)}, "probes.random is -1"),
        ({"probes": ProbeSettings(harms=("type",))}, "probes.harms holds 'type'; there are typed, erased"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        replace(AuditConfig(), **wrong).check()
