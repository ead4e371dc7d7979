"""Preference training with other losses, in rounds, and from choices of people and judges, on a page that a click solves or not."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from judging_policies import Asked
from killing import killed_at
from safetensors.torch import load_file
from test_rl import checkpoint, click_anywhere

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.compare.choices import Choice, append_choice, pairs_of_choices, read_choices, to_compare
from stepladder.compare.replies import of_episodes, of_pairs
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.judges.better import better_of, read_better
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.run import read_metrics, read_phases
from stepladder.seeds import train_seeds
from stepladder.stages import prefer as stage
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.choosing import choose
from stepladder.stages.measure import Playing, measure
from stepladder.stages.prefer_config import IpoSettings, KtoSettings, PlaySettings, PreferConfig, SimpoSettings
from stepladder.stages.preference_learner import PreferenceLearner
from stepladder.stages.preference_pairs import read_pairs, read_replies
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import ImageRef, Observation, Sampling, Trajectory

TASKS = "env:test_rl:Sides"
PLAY = PlaySettings(tasks=TASKS, starts=3, attempts=6, first=100, max_tokens=1, environments=6)


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Iterator[None]:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """start/ is a checkpoint that has learned nothing yet, sampled-0.jsonl its episodes, six from each of eight starts."""
    folder = tmp_path_factory.mktemp("rounds")
    starts = [(task, seed) for task in load_tasks(TASKS, "train") for seed in train_seeds(8, 14)]
    measure(folder, checkpoint(folder / "start"), starts, Playing(trials=6, max_tokens=1, ranks=1, environments=6))
    return folder


def settings(played: Path, output: Path, **changes: object) -> PreferConfig:
    config = PreferConfig(
        runs=(played / "sampled-0.jsonl",),
        checkpoint=played / "start",
        output=output,
        ranks=1,
        bf16=False,
        batch=4,
        epochs=3,
        score_every=50,
        save_every=2,
        optimizer=OptimizerConfig(lr=1e-3, adam_lr=1e-3),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def episodes(played: Path) -> list[Trajectory]:
    with TrajectoryStore(played / "sampled-0.jsonl") as store:
        return list(store)


# ------------------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize(
    ("loss", "first"),
    [
        ({"loss": "ipo", "ipo": IpoSettings(average=False), "beta": 0.5}, 1.0),
        ({"loss": "dpo", "curve": "hinge"}, 1.0),
        ({"loss": "simpo", "simpo": SimpoSettings(gamma=0.0)}, None),
        ({"loss": "kto"}, 0.5),
        ({"loss": "kto", "kto": KtoSettings(unpaired=True)}, 0.5),
    ],
    ids=["ipo", "hinge", "simpo", "kto", "kto unpaired"],
)
def test_every_loss_moves_away_from_what_failed(loss: dict[str, object], first: float | None, played: Path, tmp_path: Path) -> None:
    stage.main(settings(played, tmp_path, **loss), show=False)
    records = [record for record in read_metrics(tmp_path, "prefer") if record["step"] > 0]
    if first is not None:
        assert records[0]["loss"] == pytest.approx(first, abs=1e-3), "before the first update the policy is the reference"
    assert records[-1]["loss"] < records[0]["loss"]
    before = records[0].get("margin", 0.0)
    assert max(record.get("margin", before) for record in records[-3:]) > before + 0.01
    assert (tmp_path / "checkpoint" / "model.safetensors").exists()


def test_replies_that_are_judged_alone_are_those_of_graded_episodes(played: Path, tmp_path: Path) -> None:
    everything = episodes(played)
    broken = replace(everything[0], id="broken", status="env_error", reward=None)
    judged, left_out = of_episodes([*everything, broken])
    assert left_out == {"environment failed": 1}
    assert [(one.source, one.good) for one in judged] == [(one.id, one.success) for one in everything]
    only_successes = [one for one in everything if one.success]
    with TrajectoryStore(tmp_path / "successes.jsonl", "a") as store:
        for one in only_successes:
            store.append(one)
    config = settings(played, tmp_path / "out", runs=(tmp_path / "successes.jsonl",), loss="kto", kto=KtoSettings(unpaired=True))
    with pytest.raises(ConfigError, match=rf"hold {len(only_successes)} good replies and 0 bad ones; both are needed"):
        stage.main(config, show=False)


@pytest.mark.learning
def test_a_killed_run_of_kto_ends_with_the_same_weights(played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"loss": "kto", "kto": KtoSettings(unpaired=True), "epochs": 1}
    expected = load_file(stage.main(settings(played, tmp_path / "whole", **changes), show=False) / "model.safetensors")
    with killed_at(monkeypatch, PreferenceLearner, 3):
        stage.main(settings(played, tmp_path / "killed", **changes), show=False)
    found = load_file(stage.main(settings(played, tmp_path / "killed", **changes), show=False) / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


# ------------------------------------------------------------------------------------------------------------------- rounds


def test_rounds_play_with_the_newest_weights_and_can_be_killed(
    played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(played, tmp_path / "whole", rounds=2, play=PLAY, epochs=1)
    final = stage.main(config, show=False)
    expected = load_file(final / "model.safetensors")
    rounds = [tmp_path / "whole" / f"round-{number}" for number in range(2)]
    assert all(torch.equal(v, expected[k]) for k, v in load_file(rounds[1] / "checkpoint" / "model.safetensors").items())
    seeds = []
    for directory in rounds:
        with TrajectoryStore(directory / "play" / "sampled-0.jsonl") as store:
            fresh = list(store)
        seeds.append({one.seed for one in fresh})
        assert {pair.failure for pair in read_pairs(directory)} <= {one.id for one in fresh}
    assert not seeds[0] & seeds[1]
    assert [record["n"] for record in read_metrics(tmp_path / "whole", "rounds")] == [18, 18]
    second = json.loads((rounds[1] / "config.json").read_text())
    assert second["checkpoint"] == str(rounds[0] / "checkpoint")
    updates, update = 0, PreferenceLearner.update

    def killed(learner: PreferenceLearner, drawn: list[int]) -> dict[str, float]:
        nonlocal updates
        updates += 1
        if "round-1" in str(learner.config.output) and updates > 1:
            raise KeyboardInterrupt
        return update(learner, drawn)

    config = replace(config, output=tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(PreferenceLearner, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.main(config, show=False)
    found = load_file(stage.main(config, show=False) / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_rounds_end_where_there_is_no_pair_and_wait_for_people(played: Path, tmp_path: Path) -> None:
    alone = settings(played, tmp_path / "alone", rounds=3, play=replace(PLAY, starts=1, attempts=1))
    final = stage.main(alone, show=False)
    ended = read_phases(tmp_path / "alone")["round 0: learn"]["result"]["ended"]
    assert ended.startswith("runs: there is no pair in ")
    expected = load_file(played / "start" / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in load_file(final / "model.safetensors").items())
    waiting = settings(played, tmp_path / "people", rounds=1, play=PLAY, preferred_by="choices", epochs=1)
    with pytest.raises(ConfigError, match=r"round-0/choices\.jsonl is not there yet; write it, as with `stepladder choose"):
        stage.main(waiting, show=False)
    stored = tmp_path / "people" / "round-0" / "play" / "sampled-0.jsonl"
    count = choose(tmp_path / "people" / "round-0" / "choices.jsonl", (stored,), "anna", per_start=3, ask=lambda _: "1")
    assert count == 9
    stage.main(waiting, show=False)
    chosen = {(one.first, one.second) for one in read_choices(tmp_path / "people" / "round-0" / "choices.jsonl")}
    assert {(pair.source, pair.failure) for pair in read_pairs(tmp_path / "people" / "round-0")} <= chosen


# ------------------------------------------------------------------------------------------------------------------ choices


def test_a_choice_is_a_preference_whatever_the_grades_say(played: Path) -> None:
    compared = to_compare(episodes(played), per_start=2)
    choices = [Choice(first.id, second.id, "second", "anna") for first, second in compared]
    found = pairs_of_choices([*choices, replace(choices[0], chosen="neither")], episodes(played), QwenVLAgent())
    assert found.left_out["neither was chosen"] == 1
    assert len(found.pairs) > 5
    preferred = {(choice.second, choice.first) for choice in choices}
    assert {(pair.source, pair.failure) for pair in found.pairs} <= preferred
    known = {one.id: one for one in episodes(played)}
    assert any(known[pair.failure].success and not known[pair.source].success for pair in found.pairs)
    assert len(of_pairs(found.pairs)) == 2 * len(found.pairs)
    with pytest.raises(UserError, match="names the episode 'nobody', which is in none of the stores"):
        pairs_of_choices([Choice("nobody", choices[0].first, "first")], known.values(), QwenVLAgent())
    other = next(one for one in known.values() if one.seed != known[choices[0].first].seed)
    with pytest.raises(UserError, match="which began at another start"):
        pairs_of_choices([Choice(choices[0].first, other.id, "first")], known.values(), QwenVLAgent())


def test_a_person_is_asked_about_nothing_twice(played: Path, tmp_path: Path) -> None:
    answers, asked = iter(["x", "2", "n", "q"]), []

    def ask(question: str) -> str:
        asked.append(question)
        return next(answers)

    path = tmp_path / "choices.jsonl"
    assert choose(path, (played / "sampled-0.jsonl",), "anna", per_start=1, ask=ask) == 2
    assert [(one.chosen, one.by) for one in read_choices(path)] == [("second", "anna"), ("neither", "anna")]
    left = choose(path, (played / "sampled-0.jsonl",), "bert", per_start=1, ask=lambda _: "1")
    assert left == len(to_compare(episodes(played), 1))
    assert len({frozenset((one.first, one.second)) for one in read_choices(path)}) == left
    with pytest.raises(ConfigError, match="runs: nowhere holds no episodes"):
        choose(path, (Path("nowhere"),), "anna")


@given(st.lists(st.builds(Choice, st.text(), st.text(), st.sampled_from(["first", "second", "neither"]), st.text())))
def test_choices_are_read_as_they_were_written(choices: list[Choice]) -> None:
    choices = [one for one in choices if one.first != one.second]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "choices.jsonl"
        path.touch()
        for choice in choices:
            append_choice(path, choice)
        assert read_choices(path) == choices


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_what_is_no_choice_is_named(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "choices.jsonl"
        path.write_text('{"first": "a", "second": "b", "chosen": "first"}\n' + text, encoding="utf-8")
        said = ""
        try:
            assert read_choices(path)[0] == Choice("a", "b", "first")
        except UserError as error:
            said = str(error)
        assert said == "" or re.search(r"choices.jsonl, line \d+ (is no choice|compares)", said)


# ------------------------------------------------------------------------------------------------------------------- judges


class Comparing(Asked):
    """Answers with `says` (FIRST, SECOND, NEITHER), or babbles; with `fair` it prefers the attempt whose pictures sort last."""

    def __init__(self, agent: object = None, says: str = "FIRST", fair: bool = False) -> None:
        super().__init__(name="comparing")
        self.says, self.fair = says, fair

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        code = re.search(r"BETTER ([0-9a-f]{8}): FIRST", text)
        assert code is not None
        half = len(images) // 2
        says = ("FIRST" if images[0].sha256 > images[half].sha256 else "SECOND") if self.fair else self.says
        return "no idea" if says == "babble" else f"I looked.\nBETTER {code[1]}: {says}"


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        (Comparing(says="FIRST"), "neither"),
        (Comparing(says="SECOND"), "neither"),
        (Comparing(says="NEITHER"), "neither"),
        (Comparing(says="babble"), "neither"),
        (Comparing(fair=True), "second"),
    ],
)
def test_a_judge_counts_only_where_both_orders_agree(judge: Comparing, expected: str, played: Path) -> None:
    first, second = episodes(played)[:2]

    def seen(one: Trajectory, sha256: str) -> Trajectory:
        shown = Observation(ImageRef(sha256, 9, 9))
        return replace(one, steps=tuple(replace(step, observation=shown) for step in one.steps), final=None)

    pair = seen(first, "1" * 64), seen(second, "2" * 64)
    settings_ = JudgeSettings("any", votes=2)
    assert asyncio.run(better_of(Judge(judge, settings_), *pair)) == expected
    exchanged = {"first": "second", "second": "first"}.get(expected, "neither")
    assert asyncio.run(better_of(Judge(judge, settings_), *reversed(pair))) == exchanged
    assert len({question[-1].text for question in judge.questions}) == 4, "every vote has a code of its own"


@given(st.text(), st.sampled_from(["0123abcd", ""]))
def test_a_reply_without_the_code_is_no_answer(text: str, code: str) -> None:
    assert read_better(text, "ffffffff") is None or "BETTER ffffffff: " in text
    assert read_better(f"BETTER {code}: FIRST\n{text}\nBETTER ffffffff: SECOND", "ffffffff") in (None, "SECOND")


def test_a_judge_writes_the_choices_that_are_learned_from(played: Path, tmp_path: Path) -> None:
    judge = JudgeSettings("test_prefer_rounds:ByChance", votes=1)
    config = settings(played, tmp_path, preferred_by="judge", judge=judge, comparisons=3, epochs=1)
    stage.main(config, show=False)
    choices = read_choices(tmp_path / "choices.jsonl")
    assert read_phases(tmp_path)["choices"]["result"]["choices"] == len(choices) == 24
    preferred = {(c.first, c.second) if c.chosen == "first" else (c.second, c.first) for c in choices if c.chosen != "neither"}
    assert preferred
    assert {(pair.source, pair.failure) for pair in read_pairs(tmp_path)} <= preferred


class ByChance(Asked):
    """Prefers one of two attempts by the code that it is asked with: at random, and so in both orders alike every other time."""

    def answer(self, text: str, images: tuple[ImageRef, ...], sampling: Sampling) -> str:
        code = re.search(r"BETTER ([0-9a-f]{8}): FIRST", text)
        assert code is not None
        return f"BETTER {code[1]}: {'FIRST' if int(code[1][0], 16) % 2 else 'SECOND'}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "ppo"}, "loss is 'ppo'; it must be one of dpo, ipo, kto, simpo"),
        ({"curve": "flat"}, "curve is 'flat'; it must be one of sigmoid, hinge"),
        ({"simpo": SimpoSettings(beta=0.0)}, r"simpo\.beta is 0\.0; it must be above 0"),
        ({"simpo": SimpoSettings(gamma=-1.0)}, r"simpo\.gamma is -1\.0; it must be at least 0"),
        ({"kto": KtoSettings(0.0, 0.0)}, r"kto\.good_weight and kto\.bad_weight are both 0"),
        ({"loss": "kto", "label_smoothing": 0.1}, "label_smoothing is 0.1; kto has none"),
        (
            {"loss": "kto", "kto": KtoSettings(unpaired=True), "preferred_by": "choices"},
            r"kto\.unpaired learns from the tasks' own checks",
        ),
        ({"preferred_by": "choices"}, "choices: None is no file; `stepladder choose` writes one"),
        ({"preferred_by": "judge"}, r"judge\.policy is missing: preferred_by is 'judge'"),
        ({"rounds": 1, "play": replace(PLAY, temperature=0.0)}, r"play\.temperature is 0\.0"),
        ({"rounds": 1, "play": replace(PLAY, starts=0)}, r"play\.starts is 0; it must be at least 1"),
        ({"rounds": -1}, "rounds is -1; it must be at least 0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str, played: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        stage.main(settings(played, tmp_path / "out", **change), show=False)


def test_replies_are_read_as_they_were_written(played: Path, tmp_path: Path) -> None:
    stage.main(settings(played, tmp_path, loss="kto", kto=KtoSettings(unpaired=True), epochs=1, batch=48), show=False)
    assert len(read_replies(tmp_path)) == len(episodes(played))
    (tmp_path / "replies.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"replies.jsonl, line 1 is no judged reply"):
        read_replies(tmp_path)
