"""Training and evaluation with a judge: tasks that it grades, its opinion as a term, and a real model in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_rl
import torch
from judging_policies import ByCode
from made_up import TASKS, episode

from stepladder.algos.grpo import Grpo
from stepladder.algos.ppo import Ppo
from stepladder.config import ConfigError
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.errors import TaskError
from stepladder.images import ImageStore
from stepladder.judges.judge import JudgeSettings
from stepladder.judges.judged_task import judged_task
from stepladder.judges.proposals import Proposal, write_proposals
from stepladder.rollout.group import group_jobs
from stepladder.run import read_metrics
from stepladder.stages import evaluate, flywheel
from stepladder.stages import judge as judge_stage
from stepladder.stages import propose as propose_stage
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.collect import CollectConfig
from stepladder.stages.collect import main as collect
from stepladder.stages.critic_values import CriticValues
from stepladder.stages.rl import main
from stepladder.stages.rl_learner import Learner
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Sampling

JUDGE = JudgeSettings("judging_policies:ByCode", votes=1)


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    test_rl.click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return test_rl.checkpoint(tmp_path_factory.mktemp("judged") / "start")


@pytest.fixture
def proposed(tmp_path: Path) -> str:
    """Two tasks that begin like forms, of seeds 3 and 4."""
    forms = FormsEnvironment.tasks(("click-button", "dismiss-dialog"))
    tasks = [judged_task(f"new-{one.id}", f"Look at {one.id}", one, seed) for seed, one in enumerate(forms, start=3)]
    write_proposals(tmp_path / "proposed.jsonl", [Proposal(task) for task in tasks])
    return f"proposed:{tmp_path / 'proposed.jsonl'}"


def test_proposed_tasks_are_trained_on_with_the_verdicts_as_rewards(start: Path, tmp_path: Path, proposed: str) -> None:
    config = replace(
        test_rl.FORMS,
        checkpoint=start,
        output=tmp_path / "rl",
        tasks=proposed,
        algo=Grpo(),
        rewards={},
        judge=JUDGE,
        replay=0,
        updates=1,
        groups=4,
        validation=0,
    )
    main(config, show=False)
    episodes = test_rl.episodes(config.output)
    assert {one.reward for one in episodes} == {0.0, 1.0}
    assert all(one.reward == one.parts["judge"] for one in episodes)
    assert {one.task.instruction for one in episodes} == {"Look at forms-click-button", "Look at forms-dismiss-dialog"}
    for task in {one.task.id for one in episodes}:
        of_task = [one for one in episodes if one.task.id == task]
        screens = {one.steps[0].observation.screenshot for one in of_task}
        assert len({one.seed for one in of_task}) > 1
        assert len(screens) == 1, "whatever the seed, the task begins where it was thought up"
    records = test_rl.figures(config.output)
    assert sum(record["kept"] for record in records) > 0
    assert all("grad_norm" in record for record in records if record["kept"])
    with pytest.raises(TaskError, match="a judge grades"):
        main(replace(config, output=tmp_path / "other", judge=JudgeSettings()), show=False)


def test_the_opinion_of_a_judge_is_a_reward_term_and_every_episode_has_one(start: Path, tmp_path: Path) -> None:
    algo, rewards = Grpo(reward="reward"), {"judge": 1.0, "outcome": 0.5}
    config = replace(
        test_rl.FORMS, checkpoint=start, output=tmp_path / "rl", algo=algo, rewards=rewards, judge=JUDGE, replay=0, updates=1
    )
    main(config, show=False)
    episodes = test_rl.episodes(config.output)
    assert {one.parts["judge"] for one in episodes} == {0.0, 1.0}
    assert any(one.reward != one.parts["judge"] for one in episodes), "the task's own grade stays what it was"
    record = test_rl.figures(config.output)[0]
    opinions = [one.parts["judge"] for one in episodes]
    assert record["term/judge"] == pytest.approx(sum(opinions) / len(opinions))
    assert record["term/reward"] == pytest.approx(record["term/judge"] + 0.5 * record["term/task"])
    with pytest.raises(ConfigError, match=r"judge\.policy is missing: rewards name 'judge'"):
        main(replace(config, output=tmp_path / "other", judge=JudgeSettings()), show=False)


def test_proposed_tasks_are_evaluated_without_an_oracle(tmp_path: Path, proposed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    async def close(self: ByCode) -> None:
        closed.append(self.name)

    monkeypatch.setattr(ByCode, "close", close)
    config = evaluate.EvaluateConfig(
        proposed, "random", ("oracle", "idle"), episodes=6, output=tmp_path / "eval", environments=2, judge=JUDGE
    )
    result = evaluate.main(config, show=False)
    assert result.n == 12
    assert 0 < (result.rate or 0.0) < 1
    assert {path.stem for path in config.output.glob("*.jsonl")} == {"metrics", "random", "idle"}
    assert closed
    with pytest.raises(ConfigError, match="have no oracle: a judge grades them"):
        evaluate.main(replace(config, policy="oracle", output=tmp_path / "other"), show=False)
    assert json.loads((config.output / "config.json").read_text())["judge"]["policy"] == JUDGE.policy
    plain = evaluate.EvaluateConfig("forms:click-button", "random", (), episodes=1, output=tmp_path / "plain", environments=1)
    evaluate.main(plain, show=False)
    assert "judge" not in json.loads((plain.output / "config.json").read_text())
    with pytest.raises(TaskError, match="a judge grades"):
        collect(CollectConfig(proposed, tmp_path / "collect"), show=False)


def test_the_flywheel_plays_proposed_tasks(start: Path, tmp_path: Path, proposed: str) -> None:
    config = flywheel.FlywheelConfig(start, tmp_path, proposed, tmp_path / "flywheel", judge=JUDGE, environments=2, max_tokens=3)
    tasks = load_tasks(proposed, "train", judged=True)
    jobs = group_jobs([(task, seed) for task in tasks for seed in range(3)], 2, "turn-0")
    flywheel._play_jobs(0, config, tmp_path / "turn-0" / "rollouts", start, jobs, Sampling(seed=0))
    with TrajectoryStore(tmp_path / "turn-0" / "rollouts-0.jsonl") as store:
        rewards = [one.reward for one in store]
    assert len(rewards) == 12
    assert set(rewards) == {0.0, 1.0}


def test_a_model_in_this_process_can_be_asked(start: Path, tmp_path: Path) -> None:
    """With random weights: it says nothing that could be read, and everything around it works."""
    images = ImageStore(tmp_path / "run" / "images")
    with TrajectoryStore(tmp_path / "run" / "student.jsonl", "a") as store:
        for seed in range(2):
            store.append(episode(images, TASKS[0], seed, seed == 0, steps=1))
    settings = JudgeSettings(str(start), votes=2, max_tokens=4, ends=1)
    config = judge_stage.JudgeConfig(tmp_path / "run", tmp_path / "judge", settings)
    found = judge_stage.main(config, show=False)
    assert (found.counts["judged"], found.votes, found.unread) == (2, 4, 4)
    assert found.all.undecided == (1, 1)
    replies = [json.loads(line)["replies"] for line in (config.output / judge_stage.VERDICTS).read_text().splitlines()]
    assert all(len(of_episode) == 2 and all(of_episode) for of_episode in replies), "it did answer"
    asked = propose_stage.ProposeConfig(tmp_path / "run", tmp_path / "out", str(start), method="screen", max_tokens=4)
    assert propose_stage.main(asked, show=False) == []
    assert len(read_metrics(config.output, "judge")) == 1


def test_a_critic_values_tasks_at_their_first_screen(start: Path, tmp_path: Path) -> None:
    """Its value of a task that was played is what the learner's critic says before the first token."""
    config = replace(
        test_rl.FORMS,
        checkpoint=start,
        output=tmp_path / "ppo",
        algo=Ppo(),
        rewards={},
        replay=0,
        updates=2,
        bf16=False,
        export="last",
    )
    main(config, show=False)
    played = test_rl.episodes(config.output)[0]
    images = ImageStore(config.output / "images")
    learner = Learner(config, AgentOptions().build(), images)
    learner.load_state(torch.load(config.output / "state.pt", weights_only=True))
    expected = learner._scores([[played]])[played.id][0].values
    assert expected is not None
    found = CriticValues(config.output, images).value(played.task, played.steps[0].observation)
    assert found == pytest.approx(float(expected[0]), abs=1e-5)
    assert found != 0.0, "it has learned something"
    asked = propose_stage.ProposeConfig(
        config.output, tmp_path / "out", "judging_policies:Proposer", starts=1, value_low=-9, value_high=9
    )
    one = propose_stage.main(replace(asked, critic=config.output), show=False)[0]
    assert one.value is not None
    assert not one.left_out
    again = propose_stage.main(replace(asked, critic=config.output, value_low=one.value + 1e-6), show=False)[0]
    assert again.left_out.startswith("value outside")
    with pytest.raises(ConfigError, match="is no run of `stepladder rl`"):
        propose_stage.main(replace(asked, critic=tmp_path), show=False)
