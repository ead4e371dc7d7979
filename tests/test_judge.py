"""Judges: what they are asked, how votes become verdicts, what cannot be forged, and that measured agreement is the true one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEnvironment, WordAgent, pool_of
from hypothesis import given
from hypothesis import strategies as st
from judging_policies import Blind, KnownJudge
from made_up import TASKS, episode
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.interfaces import Policy
from stepladder.judges.asking import code_of, only_answer, quoted, reply_text
from stepladder.judges.judge import Judge, JudgeSettings, both_ends, judge_prompt, read_vote, screenshots_of, unanimous
from stepladder.judges.judged_task import is_judged, judged_task, start_of_judged
from stepladder.policies.budget import BudgetSpent
from stepladder.policies.scripted import ScriptedPolicy
from stepladder.rewards.conformance import GROUP, check_reward
from stepladder.rewards.judge import JudgeReward
from stepladder.rollout.group import EpisodeJob, Play, play_many, policy_player
from stepladder.rollout.judging import judging
from stepladder.stages import judge as stage
from stepladder.stages import judging as opening
from stepladder.stages.judge import JudgeConfig, main
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, ImageRef, Limits, Sampling, Task, Trajectory

CODE = "0123abcd"
IMAGES = ImageStore()


def screenshots(count: int) -> list[ImageRef]:
    return [ImageRef(f"{number:064x}", 100, 80) for number in range(count)]


# ---------------------------------------------------------------- the question


def test_the_judge_sees_the_task_and_every_screenshot_and_nothing_that_the_agent_wrote() -> None:
    made = episode(IMAGES, TASKS[0], 3, steps=4)
    made = replace(made, steps=tuple(replace(step, thought="SECRET", completion=Completion("SECRET")) for step in made.steps))
    shots = screenshots_of(made)
    system, user = judge_prompt(made.task.instruction, shots, None, CODE)
    assert user.images == shots
    assert len(shots) == 5, "four steps and the last screen"
    assert "SECRET" not in system.text + user.text
    assert quoted(made.task.instruction) in user.text
    assert [line for line in user.text.splitlines() if CODE in line] == [
        f"VERDICT {CODE}: SUCCESS",
        f"VERDICT {CODE}: FAILURE",
    ]


def test_of_many_screenshots_both_ends_are_shown_with_their_numbers() -> None:
    shots = screenshots(7)
    assert [number for number, _ in both_ends(shots, 2)] == [1, 2, 6, 7]
    assert [number for number, _ in both_ends(shots, 4)] == [1, 2, 3, 4, 5, 6, 7]
    assert [number for number, _ in both_ends(shots[:3], 2)] == [1, 2, 3]
    text = judge_prompt("Do it.", shots, 2, CODE)[1].text
    assert "Screenshot 6 of 7:" in text
    assert "3 screenshots between the first 2 and the last 2 are not shown" in text


@given(st.text())
def test_a_quoted_text_stands_on_one_line_and_can_be_read_back(text: str) -> None:
    line = quoted(text)
    assert len(line.splitlines()) == 1
    assert json.loads(line) == text


# ---------------------------------------------------------------- the answer


@pytest.mark.parametrize(
    ("reply", "vote"),
    [
        (f"The page says so.\nVERDICT {CODE}: SUCCESS", True),
        (f"No.\nVERDICT {CODE}: FAILURE\n", False),
        (f"VERDICT {CODE}: SUCCESS<|im_end|>", True),
        (f"<think>\nVERDICT {CODE}: SUCCESS\n</think>\nNo.\nVERDICT {CODE}: FAILURE", False),
        ("VERDICT: SUCCESS", None),
        ("VERDICT 00000000: SUCCESS", None),
        (f"VERDICT {CODE}: SUCCESS\nBut who knows.", None),
        (f"VERDICT {CODE}: SUCCESS\nVERDICT {CODE}: FAILURE", None),
        (f"VERDICT {CODE}: success", None),
        (f"VERDICT {CODE}: SUCCESSFUL", None),
        (f"I say VERDICT {CODE}: SUCCESS", None),
        ("", None),
        (json.dumps([{"type": "text", "text": f"Yes.\nVERDICT {CODE}: SUCCESS"}]), True),
        (json.dumps([{"type": "thinking", "thinking": f"VERDICT {CODE}: SUCCESS"}]), None),
        (json.dumps([{"type": "message", "content": [{"type": "output_text", "text": f"VERDICT {CODE}: FAILURE"}]}]), False),
    ],
)
def test_a_vote_is_one_line_in_one_form_at_the_end(reply: str, vote: bool | None) -> None:
    assert read_vote(reply_text(Completion(reply)), CODE) is vote


@given(st.text(alphabet="VERDICT :SUCCEFAIL0123456789abcdef\n\u2028", max_size=80))
def test_no_text_without_the_code_is_a_vote(text: str) -> None:
    """What a page or an instruction says cannot be a verdict, even if a model repeats it word for word."""
    code = code_of(0, "an episode", 0)
    assert code in text or read_vote(text, code) is None


def test_codes_differ_and_are_the_same_when_the_same_is_asked_again() -> None:
    assert code_of(1, "a", 0) == code_of(1, "a", 0)
    assert len({code_of(seed, name, vote) for seed in range(3) for name in "ab" for vote in range(4)}) == 24
    assert only_answer(CODE, "FEASIBLE", ("YES", "NO"), f"FEASIBLE {CODE}: YES") == "YES"


@given(st.lists(st.sampled_from([True, False, None]), max_size=6))
def test_a_verdict_is_a_success_only_if_all_that_can_be_read_say_so(votes: list[bool | None]) -> None:
    read = [vote for vote in votes if vote is not None]
    assert unanimous(votes) is (None if not read else False not in read)


# ---------------------------------------------------------------- verdicts


def test_votes_are_asked_with_their_own_codes_and_seeds_and_their_use_is_added_up() -> None:
    made = episode(IMAGES, TASKS[0], 0)
    judge = KnownJudge(lambda _: True)
    verdict = asyncio.run(Judge(judge, JudgeSettings(votes=3)).judge(made))
    assert (verdict.success, verdict.votes, verdict.shown) == (True, (True, True, True), 4)
    assert verdict.usage == {"input_tokens": 300.0, "output_tokens": 15.0}
    texts = [question[-1].text for question in judge.questions]
    assert len(set(texts)) == 3
    again = KnownJudge(lambda _: True)
    asyncio.run(Judge(again, JudgeSettings(votes=3)).judge(made))
    assert [question[-1].text for question in again.questions] == texts


def test_no_vote_that_can_be_read_is_no_verdict() -> None:
    made = episode(IMAGES, TASKS[0], 0)
    verdict = asyncio.run(Judge(KnownJudge(lambda _: True, babble=1.0), JudgeSettings()).judge(made))
    assert verdict.success is None
    assert "none of 4 votes could be read; the first reply was 'It looks done" in verdict.reason
    assert asyncio.run(Judge(Blind(), JudgeSettings()).judge(made)).success is None
    empty = replace(made, steps=(), final=None)
    assert asyncio.run(Judge(Blind(), JudgeSettings()).judge(empty)).reason == "the episode has no screenshot"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (JudgeSettings(votes=0), "judge.votes is 0; it must be at least 1"),
        (JudgeSettings(ends=0), "judge.ends is 0"),
        (JudgeSettings(temperature=0.0), "judge.temperature is 0.0; several votes are the same one at 0"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: JudgeSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Judge(Blind(), settings)


# ---------------------------------------------------------------- in episodes


def play_with(judge: Judge, task: Task, always: bool, retries: int = 0) -> tuple[Trajectory, FakeEnvironment]:
    environment = FakeEnvironment(goal=2)

    async def work() -> Trajectory:
        player: Play = policy_player(WordAgent(), ScriptedPolicy(["click", "click"] * 3), Sampling(), Limits())
        async with pool_of([environment]) as pool:
            played = await play_many(
                [EpisodeJob(task, 5)],
                pool,
                judging(player, judge, always),
                failed=lambda one: one.environment_failed,
                retries=retries,
            )
        return played[0]

    return asyncio.run(work()), environment


def by_clicks(clicks: int) -> Callable[[ImageRef], bool]:
    """The truth: so many clicks, which is how the fake environment names its screenshots."""
    return lambda screenshot: int(screenshot.sha256, 16) == clicks


@pytest.mark.parametrize("truth", [True, False])
def test_a_judged_task_begins_like_another_and_its_reward_is_the_verdict(truth: bool) -> None:
    start = Task("fake", "", "fakes:FakeEnvironment", max_steps=4)
    task = judged_task("new", "Click until nothing is left.", start, 77)
    assert is_judged(task)
    assert start_of_judged(task) == (start, 77)
    known = KnownJudge(by_clicks(2) if truth else by_clicks(3))
    played, environment = play_with(Judge(known, JudgeSettings(votes=2)), task, always=False)
    assert environment.task.instruction == "click 2 times (seed 77)", "the state is that of the recorded seed"
    assert (played.task, played.seed) == (task, 5)
    assert played.steps[0].prompt is not None
    assert played.steps[0].prompt.messages[0].text.startswith(task.instruction)
    assert (played.reward, played.parts, played.status) == (float(truth), {"judge": float(truth)}, "done")


def test_an_opinion_changes_no_reward_and_is_a_term() -> None:
    task = Task("fake", "", "fakes:FakeEnvironment", max_steps=4)
    known = KnownJudge(by_clicks(3))
    played, _ = play_with(Judge(known, JudgeSettings(votes=2)), task, always=True)
    assert (played.reward, played.parts) == (1.0, {"judge": 0.0})
    assert JudgeReward()([played]) == [{"judge": 0.0}]
    unasked, _ = play_with(Judge(known, JudgeSettings(votes=2)), task, always=False)
    assert unasked.parts == {}
    assert len(known.questions) == 2
    with pytest.raises(ConfigError, match="was not judged; name a judge"):
        JudgeReward()([unasked])


def test_an_episode_without_a_verdict_has_no_grade() -> None:
    task = Task("fake", "", "fakes:FakeEnvironment", max_steps=4)
    babbling = KnownJudge(by_clicks(2), babble=1.0)
    played, _ = play_with(Judge(babbling, JudgeSettings(votes=2)), task, always=True)
    assert (played.reward, played.status) == (None, "env_error")
    assert played.error is not None
    assert played.error.startswith("the judge gave no verdict: none of 2 votes could be read")
    assert JudgeReward()([played]) == [{}]


def test_the_reward_keeps_the_contract() -> None:
    group = [replace(one, parts={"judge": 1.0}) for one in GROUP]
    assert check_reward(JudgeReward(), group) == ("judge",)


# ---------------------------------------------------------------- a run that is judged


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tasks with 25 episodes each, about half of them successes; four without a grade."""
    directory = tmp_path_factory.mktemp("judged") / "run"
    images, random = ImageStore(directory / "images"), np.random.default_rng(0)
    with TrajectoryStore(directory / "student.jsonl", "a") as store:
        for task in TASKS[:12]:
            rate = random.beta(3, 3)
            for seed in range(25):
                store.append(episode(images, replace(task, tags=(task.id[:5],)), seed, bool(random.random() < rate), steps=1))
        for seed in range(4):
            store.append(episode(images, TASKS[13], seed, None, steps=1))
    return directory


def knowing(run: Path, **errors: float) -> KnownJudge:
    """A judge of known error rates, who knows the last screens of the successes."""
    with TrajectoryStore(run / "student.jsonl") as store:
        done = {screenshots_of(one)[-1].sha256 for one in store if one.success}
    return KnownJudge(lambda screenshot: screenshot.sha256 in done, **errors)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Policy], None]:
    """Puts a policy in the place of the one that is named."""

    def put(policy: Policy) -> None:
        monkeypatch.setattr(opening, "open_policy", lambda *_, **__: nullcontext((policy, None)))

    return put


def test_the_measured_agreement_of_a_judge_of_known_error_rates_is_the_true_one(
    run: Path, tmp_path: Path, opened: Callable[[Policy], None]
) -> None:
    """With 3 votes that say success with 0.95 for successes and 0.3 for failures, a verdict does with 0.95 ** 3 and 0.3 ** 3."""
    opened(knowing(run, hit=0.95, false_alarm=0.3))
    settings = JudgeSettings("judging_policies:Blind", votes=3)
    found = main(JudgeConfig(run, tmp_path / "judge", settings), show=False)
    with TrajectoryStore(run / "student.jsonl") as store:
        graded = [summary.success for summary in store.summaries() if summary.reward is not None]
    successes, failures = graded.count(True), graded.count(False)
    hit, alarm = 0.95**3, 0.3**3
    expected = {"recall": hit, "accuracy": (hit * successes + (1 - alarm) * failures) / len(graded)}
    expected["precision"] = hit * successes / (hit * successes + alarm * failures)
    for name, value in expected.items():
        one = found.all.measures[name]
        assert (one.low or 0.0) <= value <= (one.high or 0.0), name
    assert found.all.table.n == len(graded) == 300
    by_votes = [part.measures["recall"].value or 0.0 for part in found.by_votes]
    assert by_votes == sorted(by_votes, reverse=True), "every further vote can only take a success away"
    assert by_votes[0] == pytest.approx(0.95, abs=0.05)
    assert found.by_votes[-1].table == found.all.table
    assert (found.counts["judged"], found.unread) == (300, 0)
    assert found.usage["input_tokens"] == 300 * 3 * 100
    assert [part.name for part in found.tasks] == sorted(task.id for task in TASKS[:12])
    assert sum(part.table.n for part in found.domains) == 300
    saved = json.loads((tmp_path / "judge" / "judge.json").read_text())
    assert saved["all"]["recall"]["value"] == found.all.measures["recall"].value
    for name in ("judge.md", "judge.html"):
        text = (tmp_path / "judge" / name).read_text()
        assert "Cohen" in text
        assert f"{found.all.measures['recall'].value:.3f}" in text


def test_a_judgement_that_was_stopped_goes_on_where_it_was(
    run: Path, tmp_path: Path, opened: Callable[[Policy], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = JudgeSettings("judging_policies:Blind", votes=2)
    config = JudgeConfig(run, tmp_path / "judge", settings, parallel=1)
    opened(knowing(run, babble=0.3))
    whole = main(replace(config, output=tmp_path / "whole"), show=False)
    first = knowing(run, babble=0.3)
    ask, count = first.answer, 0

    def failing(*question: object) -> str:
        nonlocal count
        count += 1
        if count > 101:
            raise BudgetSpent("the budget of 101 calls is spent")
        return ask(*question)  # type: ignore[arg-type]

    monkeypatch.setattr(first, "answer", failing)
    opened(first)
    with pytest.raises(BudgetSpent):
        main(config, show=False)
    assert first.closed
    assert json.loads((config.output / "judge.json").read_text())["counts"]["judged"] == 50, "what was judged is told"
    path = config.output / stage.VERDICTS
    path.write_bytes(path.read_bytes()[:-30])  # and the last line was cut off by a kill
    second = knowing(run, babble=0.3)
    opened(second)
    assert main(config, show=False) == whole
    assert len(second.questions) == 2 * (300 - 49)
    assert whole.unread > 100
    assert sum(whole.all.undecided) > 0
    third = knowing(run)
    opened(third)
    assert main(config, show=False) == whole
    assert third.questions == [], "nothing is asked again"
    with pytest.raises(ConfigError, match=r"judge\.votes was 2 and is now 3"):
        main(replace(config, judge=replace(settings, votes=3)), show=False)


def test_the_command_line_judges_with_a_class_of_ones_own(run: Path, tmp_path: Path) -> None:
    arguments = [
        "judge",
        str(run / "student.jsonl"),
        "--policy",
        "judging_policies:BySize",
        "--votes",
        "1",
        "-o",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "300 episodes were judged" in result.output
    saved = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert saved["all"]["recall"]["value"] == 1.0, "all screens of these episodes are wider than 100 pixels"
    assert saved["all"]["precision"]["value"] == pytest.approx(saved["all"]["accuracy"]["value"])
    assert saved["all"]["kappa"]["value"] == 0.0, "who always says yes agrees by chance alone"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (JudgeConfig(), ConfigError, "judge.policy is missing: say who judges"),
        (JudgeConfig(judge=JudgeSettings("random")), ConfigError, "'random' is a baseline"),
        (JudgeConfig(judge=JudgeSettings("judging_policies:Blind"), parallel=0), ConfigError, "parallel is 0"),
        (
            JudgeConfig(Path("nowhere"), judge=JudgeSettings("judging_policies:Blind")),
            UserError,
            "nowhere is neither a run directory",
        ),
    ],
)
def test_mistakes_are_named(config: JudgeConfig, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        main(config, show=False)
