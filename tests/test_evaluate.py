"""Evaluation: every episode asked for is counted once or named as missing; an interrupted one goes on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeEnvironment, WordAgent

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.codec import from_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, EnvironmentFailure
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.plugins import PluginError
from stepladder.policies.scripted import FixedActionPolicy, last_observation
from stepladder.results import Result
from stepladder.rollout.group import EpisodeJob, Play, policy_player
from stepladder.rollout.live import LiveScreens
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.evaluate import (
    EvaluateConfig,
    baseline_player,
    evaluate,
    main,
    oracle_player,
    policy_name,
)
from stepladder.stages.policies import BASELINES
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Limits, Message, Observation, Prompt, Sampling, Task

TASKS = [Task(name, "", "fakes:FakeEnvironment", max_steps=3) for name in ("one", "two")]


def clicking() -> Play:
    agent = WordAgent()
    return policy_player(agent, FixedActionPolicy(agent, Action("click"), "clicks"), Sampling(), Limits())


def run(play: Play, path: Path, seeds: range, policy: str = "clicks", tasks: list[Task] = TASKS, **options: object) -> Result:
    with TrajectoryStore(path, "a") as store:
        return asyncio.run(
            evaluate(tasks, seeds, play, store, ImageStore(), policy=policy, environments=3, options=options, retries=1, show=False)
        )


class Shouting(QwenVLAgent):
    """An agent of one's own, as `test_evaluate:Shouting`."""

    name = "shouting"


class Other:
    """A policy of one's own, as `test_evaluate:Other`: always clicks in the middle, in the dialect of the agent it is given."""

    name = "mine"
    version = 0

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        return Prompt(messages), Completion(self.agent.format("", Action("click", 80, 100), last_observation(messages)))


class Broken(FakeEnvironment):
    """Two tasks whose checks are broken."""

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task(name, "", "test_evaluate:Broken") for name in ("one", "two")]

    async def evaluate(self) -> float:
        raise EnvironmentFailure(f"the check is broken: <b>{self.task.id}</b>")


def timeless(found: Result) -> Result:
    return replace(found, seconds=0.0, tasks=tuple(replace(part, seconds=0.0) for part in found.tasks))


def test_every_task_is_played_on_every_seed_and_never_twice(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    found = run(clicking(), path, range(3))
    assert (found.n, found.successes, found.missing) == (6, 6, {})
    assert [part.task for part in found.tasks] == ["one", "two"]
    assert found.tasks[0].steps == 2
    assert found.seeds == (0, 1, 2)
    assert found.task_set
    before = path.read_bytes()
    assert run(clicking(), path, range(3)).n == 6
    assert path.read_bytes() == before
    more = run(clicking(), path, range(5))
    assert more.n == 10
    assert path.read_bytes().startswith(before)
    assert run(clicking(), path, range(1)).n == 2, "fewer seeds count fewer episodes"


def test_a_broken_environment_is_missing_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    found = run(clicking(), path, range(2), faults={"evaluate": "crash"})
    assert (found.n, found.rate, found.missing) == (0, None, {"env_error": 4})
    assert (found.low, found.high) == (0.0, 1.0)
    found = run(clicking(), path, range(2))
    assert (found.n, found.successes, found.missing) == (4, 4, {})
    with TrajectoryStore(path) as store:
        assert sorted(item.index for item in store) == [0, 0, 0, 0, 1, 1, 1, 1]


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    path, whole = tmp_path / "clicks.jsonl", tmp_path / "whole.jsonl"
    agent = WordAgent()

    class Stops(FixedActionPolicy):
        answers = 0

        async def generate(self, messages, sampling):  # type: ignore[no-untyped-def]
            self.answers += 1
            if self.answers > 7:
                raise KeyboardInterrupt
            return await super().generate(messages, sampling)

    stops = policy_player(agent, Stops(agent, Action("click"), "clicks"), Sampling(), Limits())
    with pytest.raises(KeyboardInterrupt):
        run(stops, path, range(4))
    with TrajectoryStore(path) as store:
        assert 0 < len(store) < 8
    assert timeless(run(clicking(), path, range(4))) == timeless(run(clicking(), whole, range(4)))


def test_one_store_holds_one_policy(tmp_path: Path) -> None:
    run(clicking(), tmp_path / "a.jsonl", range(1))
    with pytest.raises(ValueError, match="holds episodes of policy 'clicks'; evaluate 'others' into another store"):
        run(clicking(), tmp_path / "a.jsonl", range(1), policy="others")


def test_the_oracle_and_the_baselines_play(tmp_path: Path) -> None:
    assert run(oracle_player(Limits()), tmp_path / "oracle.jsonl", range(2), policy="oracle").rate == 1.0
    for name in ("random", "give_up", "idle"):
        found = run(baseline_player(name), tmp_path / f"{name}.jsonl", range(3), policy=name)
        assert found.n == 6
    assert found.rate == 0.0
    with pytest.raises(ConfigError, match="no baseline 'clever'"):
        baseline_player("clever")


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_can_be_watched(tmp_path: Path, name: str) -> None:
    shown: list[dict[str, object]] = []

    class Watched(FakeEnvironment):
        async def step(self, action: Action) -> Observation:
            shown.extend(json.loads(path.read_text()) for path in (tmp_path / "live").glob("*.json"))
            return await super().step(action)

        async def evaluate(self) -> float:
            shown.extend(json.loads(path.read_text()) for path in (tmp_path / "live").glob("*.json"))
            return await super().evaluate()

    play = baseline_player(name, live=LiveScreens(tmp_path, name))
    trajectory = asyncio.run(play(Watched(), EpisodeJob(TASKS[0], 4, index=2)))
    assert {one["id"] for one in shown} == {trajectory.id}
    assert {one["policy"] for one in shown} == {name}
    assert shown[0]["step"] == 0
    assert list((tmp_path / "live").iterdir()) == [], "what is over is not shown"


def test_random_clicks_do_not_depend_on_what_else_runs(tmp_path: Path) -> None:
    run(baseline_player("random", 5), tmp_path / "a.jsonl", range(6), policy="random")
    run(baseline_player("random", 5), tmp_path / "b.jsonl", range(5, 6), policy="random")
    with TrajectoryStore(tmp_path / "a.jsonl") as a, TrajectoryStore(tmp_path / "b.jsonl") as b:
        assert [step.action for step in a.get("one-5-random-0").steps] == [step.action for step in b.get("one-5-random-0").steps]


def test_the_stage_writes_results_and_a_report_and_can_be_repeated(tmp_path: Path) -> None:
    config = EvaluateConfig(tasks="forms:login,check-boxes", output=tmp_path, episodes=3, environments=2)
    assert main(config, show=False).policy == "random"
    report = tmp_path / "report.html"
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["rungs"][0]["rung"] == "random"
    assert set(data["baselines"]) == {"idle", "give_up", "oracle"}
    assert data["baselines"]["oracle"]["n"] == 6
    assert min(data["rungs"][0]["seeds"]) >= 1_000_000, "seeds that no training uses"
    assert report.read_text().count("<figure") > 3
    stores = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    main(config, show=False)
    assert stores == {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    oracle = from_json(Result, json.loads((tmp_path / "oracle.json").read_text()))
    assert oracle.rate == 1.0
    assert json.loads((tmp_path / "config.json").read_text())["task_set"] == oracle.task_set
    with pytest.raises(ConfigError, match="tasks was 'forms:login,check-boxes' and is now 'forms:login'"):
        main(replace(config, tasks="forms:login"), show=False)


def test_a_run_that_was_killed_before_its_result_was_written_goes_on(tmp_path: Path) -> None:
    config = EvaluateConfig(tasks="forms:login", output=tmp_path, episodes=3, environments=2, baselines=())
    whole = main(config, show=False)
    for name in ("random.json", "report.json", "report.html"):
        (tmp_path / name).unlink()
    again = main(config, show=False)
    assert again == whole, "nothing is played again and the running time is kept"
    assert again.seconds > 0
    assert from_json(Result, json.loads((tmp_path / "random.json").read_text())) == again


def test_fewer_and_more_episodes_give_their_own_figures(tmp_path: Path) -> None:
    config = EvaluateConfig(tasks="forms:login", output=tmp_path, episodes=3, environments=2, baselines=("idle",))
    for episodes in (3, 1, 4):
        assert main(replace(config, episodes=episodes), show=False).n == episodes
        data = json.loads((tmp_path / "report.json").read_text())
        assert (data["rungs"][0]["n"], data["baselines"]["idle"]["n"]) == (episodes, episodes)
        assert len(data["rungs"][0]["seeds"]) == episodes
        assert data["seconds"] > 0


@pytest.mark.parametrize("name", ["oracle", "Random", "config", "report", "metrics"])
def test_a_checkpoint_is_kept_apart_from_what_else_has_its_name(tmp_path: Path, name: str) -> None:
    assert policy_name(str(tmp_path / name)) == f"checkpoint-{name}"
    assert policy_name(str(tmp_path / "sft" / "checkpoint")) == "checkpoint"
    assert policy_name("oracle") == "oracle"


def test_errors_of_missing_episodes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = EvaluateConfig(tasks="env:test_evaluate:Broken", output=tmp_path, episodes=2, environments=2, baselines=())
    found = main(config, show=False)
    assert (found.n, found.missing) == (0, {"env_error": 4})
    assert found.errors == {"the check is broken: <b>one</b>": 2, "the check is broken: <b>two</b>": 2}
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["rungs"][0]["errors"] == found.errors
    assert data["rungs"][0]["per_task"]["two"]["errors"] == {"the check is broken: <b>two</b>": 2}
    assert "the check is broken: &lt;b&gt;one&lt;/b&gt;" in (tmp_path / "report.html").read_text()
    assert "`the check is broken: <b>two</b>`" in (tmp_path / "report.md").read_text()


def test_a_policy_and_an_agent_of_ones_own(tmp_path: Path) -> None:
    config = EvaluateConfig(
        tasks="forms:login",
        policy="test_evaluate:Other",
        dialect="test_evaluate:Shouting",
        output=tmp_path,
        episodes=2,
        baselines=(),
    )
    assert main(config, show=False).n == 2
    assert main(config, show=False).policy == "test_evaluate.Other"
    with TrajectoryStore(tmp_path / "test_evaluate.Other.jsonl") as store:
        assert {item.agent for item in store} == {"shouting"}
        assert all(step.action is not None and step.action.kind == "click" for item in store for step in item.steps)
    with pytest.raises(ConfigError, match="the agent 'test_evaluate:Shouting' has no option 'volume'"):
        main(replace(config, agent={"volume": "11"}), show=False)
    with pytest.raises(PluginError, match="has no 'Otter'; did you mean 'Other'"):
        main(replace(config, policy="test_evaluate:Otter"), show=False)


def test_a_foreign_checkpoint_speaks_the_published_dialect(tmp_path: Path) -> None:
    assert AgentOptions.of_checkpoint(tmp_path) == AgentOptions(system="full", thought="action", grid=1)
    lengths = [AgentOptions(thought=thought).reply_tokens for thought in ("none", "action", "full")]
    assert lengths == sorted(set(lengths))


def test_impossible_settings_are_named(tmp_path: Path) -> None:
    for name, value in (("episodes", 0), ("environments", 0), ("first", -1), ("strips", -1)):
        with pytest.raises(ConfigError, match=f"{name} is {value}; it must be at least"):
            main(EvaluateConfig(output=tmp_path, **{name: value}))
    with pytest.raises(ConfigError, match="'forms' has no option 'heigth'; did you mean 'height'"):
        main(EvaluateConfig(tasks="forms:login", output=tmp_path, options={"heigth": 224}))
    with pytest.raises(ConfigError, match="baselines: 'magic' is none; there are random, idle, give_up, oracle"):
        main(EvaluateConfig(output=tmp_path, baselines=("magic",)))
    with pytest.raises(ConfigError, match="'nowhere' is neither a checkpoint directory nor one of random"):
        main(EvaluateConfig(output=tmp_path, policy="nowhere"))


def test_a_checkpoint_is_evaluated_with_the_agent_it_was_trained_with(tmp_path: Path) -> None:
    checkpoint = tmp_path / "sft"
    tokenizer = build_tokenizer(["Click the button. Enter the text."] * 5, 600)
    processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    save_checkpoint(checkpoint, build_model(SmallModel(), tokenizer), processor)
    AgentOptions(grid=20, thought="action").save(checkpoint)
    assert AgentOptions.of_checkpoint(checkpoint) == AgentOptions(grid=20, thought="action")
    config = EvaluateConfig(
        tasks="forms:login",
        policy=str(checkpoint),
        baselines=(),
        output=tmp_path / "eval",
        episodes=2,
        max_tokens=4,
        environments=2,
    )
    main(config, show=False)
    data = json.loads((tmp_path / "eval" / "report.json").read_text())
    assert data["rungs"][0]["rung"] == "sft"
    assert data["rungs"][0]["n"] == 2
    with TrajectoryStore(tmp_path / "eval" / "sft.jsonl") as store:
        assert all(step.completion is not None for item in store for step in item.steps)
    recorded = json.loads((tmp_path / "eval" / "config.json").read_text())
    assert recorded["agent"] == {"screenshots": 1, "thought": "action", "system": "none", "grid": 20, "level": "trained"}
    with pytest.raises(ConfigError, match=r"agent\.grid was 20 and is now 10"):
        main(replace(config, agent={"grid": "10", "thought": "action"}), show=False)
    weights = next(checkpoint.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(ConfigError, match="weights was"):
        main(config, show=False)


def test_baselines_on_real_pages(tmp_path: Path) -> None:
    main(EvaluateConfig(tasks="miniwob:click-test,enter-text", output=tmp_path, episodes=3, environments=3), show=False)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["baselines"]["oracle"]["success"] == 1.0
    assert data["baselines"]["idle"]["success"] == 0.0
    assert data["rungs"][0]["missing"] == {}
