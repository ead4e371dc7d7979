"""Evaluation: every episode asked for is counted once or named as missing; an interrupted one goes on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import WordAgent

from stepladder.codec import from_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.policies.scripted import FixedActionPolicy
from stepladder.results import Result
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.evaluate import EvaluateConfig, Play, baseline_player, evaluate, main, oracle_player, policy_player
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Limits, Sampling, Task

TASKS = [Task(name, "", "fakes:FakeEnvironment", max_steps=3) for name in ("one", "two")]


def clicking() -> Play:
    agent = WordAgent()
    return policy_player(agent, FixedActionPolicy(agent, Action("click"), "clicks"), Sampling(), Limits())


def run(play: Play, path: Path, seeds: range, policy: str = "clicks", tasks: list[Task] = TASKS, **options: object) -> Result:
    with TrajectoryStore(path, "a") as store:
        return asyncio.run(
            evaluate(tasks, seeds, play, store, ImageStore(), policy=policy, environments=3, options=options, retries=1, show=False)
        )


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
    for name in ("random", "idle"):
        found = run(baseline_player(name), tmp_path / f"{name}.jsonl", range(3), policy=name)
        assert found.n == 6
    assert found.rate == 0.0
    with pytest.raises(ConfigError, match="no baseline 'clever'"):
        baseline_player("clever")


def test_random_clicks_do_not_depend_on_what_else_runs(tmp_path: Path) -> None:
    run(baseline_player("random", 5), tmp_path / "a.jsonl", range(6), policy="random")
    run(baseline_player("random", 5), tmp_path / "b.jsonl", range(5, 6), policy="random")
    with TrajectoryStore(tmp_path / "a.jsonl") as a, TrajectoryStore(tmp_path / "b.jsonl") as b:
        assert [step.action for step in a.get("one-5-random-0").steps] == [step.action for step in b.get("one-5-random-0").steps]


def test_the_stage_writes_results_and_a_report_and_can_be_repeated(tmp_path: Path) -> None:
    config = EvaluateConfig(tasks="forms:login,check-boxes", output=tmp_path, episodes=3, environments=2)
    report = main(config, show=False)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["rungs"][0]["rung"] == "random"
    assert set(data["baselines"]) == {"idle", "oracle"}
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


def test_impossible_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="baselines: 'magic' is none; there are random, idle, oracle"):
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
