"""The flywheel: what a turn adds to the data, when it ends, and that what was sampled is learned token by token."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import model_for, renderer

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.config import ConfigError
from stepladder.data.regions import RegionStore
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.run import read_metrics
from stepladder.stages import flywheel
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.collect import CollectConfig
from stepladder.stages.collect import main as collect
from stepladder.stages.flywheel import FlywheelConfig
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.sample import from_step
from stepladder.types import Completion, Limits, Prompt, Trajectory

TASKS = "forms:click-button,choose-radio"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> FlywheelConfig:
    directory = tmp_path_factory.mktemp("flywheel")
    collect(CollectConfig(tasks=TASKS, output=directory / "collect", episodes=3, workers=1), show=False)
    checkpoint = directory / "checkpoint"
    render = renderer()
    save_checkpoint(checkpoint, model_for(render), render.processor)
    AgentOptions().save(checkpoint)
    return FlywheelConfig(checkpoint=checkpoint, demonstrations=directory / "collect", tasks=TASKS, ranks=1, turns=3)


def successes(images: ImageStore, regions: RegionStore, seeds: range) -> list[Trajectory]:
    """Demonstrations told as if a policy had sampled them, in tokens that no tokenizer would choose."""

    async def play() -> list[Trajectory]:
        environment = FormsEnvironment(images)
        found = []
        for task in load_tasks(TASKS, split="train"):
            for seed in seeds:
                told, seen = await run_demonstration(environment, task, seed, limits=Limits(), regions=True)
                for step, its in zip(told.steps, seen, strict=True):
                    if step.observation.screenshot is not None and its is not None:
                        regions.append(step.observation.screenshot, its)
                found.append(told)
        return found

    render, agent = renderer(images), QwenVLAgent(system="none", grid=10)
    sampled = []
    for told in asyncio.run(play()):
        steps = []
        for number, step in enumerate(told.steps):
            prompt = render.render(agent.prompt(told.task, told.steps[:number], step.observation))
            tokens = np.arange(40, 47, dtype=np.int32)
            reply = Completion(render.decode(tokens), tokens, np.full(7, -0.25, np.float32))
            steps.append(replace(step, prompt=Prompt(prompt.messages, prompt.tokens, prompt.image_spans), completion=reply))
        sampled.append(replace(told, id=f"{told.id}-student", steps=tuple(steps), policy="student", group="turn-0"))
    return sampled


def played(directory: Path, extra: int = 2) -> list[Trajectory]:
    """A turn that was played: successes, a failure, and an episode whose environment broke."""
    images, regions = ImageStore(directory / "images"), RegionStore(directory / "regions-0.jsonl")
    kept = successes(images, regions, range(100, 100 + extra))
    lost = replace(successes(images, regions, range(300, 301))[0], id="lost", reward=0.0)
    broken = replace(kept[0], id="broken", reward=None, status="env_error", seed=778)
    with TrajectoryStore(directory / "rollouts-0.jsonl", "a") as store:
        for trajectory in (*kept, lost, broken):
            store.append(trajectory)
    return kept


def test_a_turn_adds_its_successes_with_their_pictures_and_regions(config: FlywheelConfig, tmp_path: Path) -> None:
    config = replace(config, output=tmp_path)
    kept = played(tmp_path / "turn-0")
    counts = flywheel._gather(config, tmp_path / "turn-0", 0)
    assert counts == {"kept": 4, "no success": 1, "environment failed": 1}
    data = tmp_path / "turn-0" / "data"
    images, regions = ImageStore(data / "images"), RegionStore(data / "regions.jsonl")
    with (
        TrajectoryStore(data / "trajectories.jsonl") as store,
        TrajectoryStore(config.demonstrations / "trajectories.jsonl") as old,
    ):
        assert set(store.ids()) == {*old.ids(), *(one.id for one in kept)}
        for trajectory in store:
            for step in trajectory.steps:
                screen = step.observation.screenshot
                assert screen is not None
                assert images.load(screen).shape == (screen.height, screen.width, 3)
                assert screen in regions
        shown = {step.observation.screenshot for one in store for step in one.steps}
    with TrajectoryStore(tmp_path / "turn-0" / "rollouts-0.jsonl") as rollouts:
        lost = rollouts.get("lost").steps[0].observation.screenshot
    assert lost is not None
    assert lost not in shown
    assert len(regions.get(lost)) > 1, "what is on the screen of a failure is known all the same"
    assert lost in images
    played(tmp_path / "turn-1", extra=3)
    counts = flywheel._gather(config, tmp_path / "turn-1", 1)
    assert (counts["kept"], counts["duplicate"]) == (2, 4), "what the turn before had kept is known"


def test_what_was_sampled_is_learned_token_by_token(config: FlywheelConfig, tmp_path: Path) -> None:
    config = replace(config, output=tmp_path)
    played(tmp_path / "turn-0")
    flywheel._gather(config, tmp_path / "turn-0", 0)
    render, agent = renderer(ImageStore(tmp_path / "turn-0" / "data" / "images")), QwenVLAgent(system="none", grid=10)
    with TrajectoryStore(tmp_path / "turn-0" / "data" / "trajectories.jsonl") as store:
        sampled = [one for one in store if one.policy == "student"]
    for trajectory in sampled:
        sample = from_step(render, agent, trajectory.task, trajectory.steps, 0)
        assert sample.tokens[sample.trained].tolist() == list(range(40, 47))
        assert (sample.field("logprobs")[sample.trained] == np.float32(-0.25)).all()


def test_of_a_teacher_the_actions_are_learned_and_not_the_tokens(config: FlywheelConfig, tmp_path: Path) -> None:
    config = replace(config, output=tmp_path, teacher=config.checkpoint)
    played(tmp_path / "turn-0")
    flywheel._gather(config, tmp_path / "turn-0", 0)
    with TrajectoryStore(tmp_path / "turn-0" / "data" / "trajectories.jsonl") as store:
        taught = [one for one in store if one.policy == "student"]
    assert len(taught) == 4
    assert all(step.completion is None and step.prompt is None and step.action is not None for one in taught for step in one.steps)


class Made:
    """Stands in for playing and training: every checkpoint succeeds as often as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: FlywheelConfig, rates: list[float]) -> None:
        self.rates, self.trained, self.players = rates, 0, list[Path]()
        monkeypatch.setattr(flywheel, "run_ranks", self.run_ranks)
        monkeypatch.setattr(flywheel.sft, "main", self.train)
        self.config = config

    def run_ranks(self, function: Any, ranks: int, config: FlywheelConfig, directory: Path, checkpoint: Path, *rest: Any) -> None:
        if function is flywheel._play:
            self.players.append(checkpoint)
            played(directory, extra=1)
            return
        turn = int(directory.name.removeprefix("turn-"))
        good = round(100 * self.rates[turn])
        template = successes(ImageStore(), RegionStore(directory / "none.jsonl"), range(1))[0]
        with TrajectoryStore(directory / "validation-0.jsonl", "a") as store:
            for number in range(100):
                reward = 1.0 if number < good else 0.0
                store.append(replace(template, id=f"validation-{number}", seed=number, reward=reward))

    def train(self, settings: Any, show: bool) -> Path:
        self.trained += 1
        checkpoint: Path = settings.output / "checkpoint"
        render = renderer()
        save_checkpoint(checkpoint, model_for(render, seed=self.trained), render.processor)
        AgentOptions().save(checkpoint)
        return checkpoint


def weights(checkpoint: Path) -> bytes:
    return (checkpoint / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("rates", "turns", "best"),
    [
        ([0.2, 0.5, 0.8, 0.95], 3, 3),  # always clearly better: all turns are made
        ([0.2, 0.5, 0.51, 0.9], 2, 2),  # a turn within the uncertainty ends it; its weights were still the best
        ([0.5, 0.4, 0.9, 0.9], 1, 0),  # worse: the first checkpoint is exported
    ],
)
def test_it_ends_when_a_turn_no_longer_helps(
    config: FlywheelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rates: list[float], turns: int, best: int
) -> None:
    config = replace(config, output=tmp_path / "run")
    made = Made(monkeypatch, config, rates)
    final = flywheel.main(config, show=False)
    assert made.trained == turns
    expected = config.checkpoint if best == 0 else config.output / f"turn-{best - 1}" / "sft" / "checkpoint"
    assert weights(final) == weights(expected)
    logged = read_metrics(config.output, "flywheel")
    assert [record["success"] for record in logged] == rates[: turns + 1]
    assert all(record["low"] < record["success"] < record["high"] for record in logged)


def test_a_second_start_goes_on_and_plays_nothing_again(
    config: FlywheelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, output=tmp_path / "run", turns=1)
    made = Made(monkeypatch, config, [0.1, 0.4, 0.8])
    flywheel.main(config, show=False)
    assert (made.trained, len(made.players)) == (1, 1)
    flywheel.main(config, show=False)
    assert (made.trained, len(made.players)) == (1, 1)
    final = flywheel.main(replace(config, turns=2), show=False)
    assert (made.trained, len(made.players)) == (2, 2)
    assert weights(final) == weights(config.output / "turn-1" / "sft" / "checkpoint"), "more turns may find a better one"
    with pytest.raises(ConfigError, match="starts was 40"):
        flywheel.main(replace(config, starts=5), show=False)


def test_tasks_that_fail_get_more_of_a_turn(config: FlywheelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, output=tmp_path, tasks="forms:click-button,login", starts=4, ranks=1)
    template = successes(ImageStore(), RegionStore(tmp_path / "none.jsonl"), range(1))[0]
    with TrajectoryStore(tmp_path / "turn-1" / "validation-0.jsonl", "a") as store:
        for kind, failures in (("click-button", 0), ("login", 5)):
            task = replace(template.task, id=f"forms-{kind}")
            for seed in range(10):
                store.append(replace(template, id=f"{kind}-{seed}", task=task, seed=seed, reward=float(seed >= failures)))
    asked: list[Any] = []
    monkeypatch.setattr(flywheel, "_play_jobs", lambda rank, config, path, checkpoint, jobs, *rest, **more: asked.extend(jobs))
    flywheel._play(0, 1, config, tmp_path / "turn-1", config.checkpoint, 1)
    seeds = {kind: sorted({job.seed for job in asked if job.task.id == f"forms-{kind}"}) for kind in ("click-button", "login")}
    assert {kind: len(found) for kind, found in seeds.items()} == {"click-button": 1, "login": 7}
    first = config.first + 16
    assert seeds["login"] == list(range(first, first + 7)), "a turn has four times `starts` seeds of its own"
    weights = flywheel._weights(replace(config, train=replace(config.train, weights={"forms-login": 3.0})), tmp_path / "turn-1")
    assert weights == pytest.approx({"forms-click-button": 2 / 7, "forms-login": 3 * 12 / 7})
    asked.clear()
    flywheel._play(0, 1, replace(config, focus=0.0), tmp_path / "turn-1", config.checkpoint, 1)
    assert len({job.seed for job in asked if job.task.id == "forms-click-button"}) == 4


def test_the_teacher_plays_in_the_first_turn_alone(config: FlywheelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tmp_path / "teacher"
    render = renderer()
    save_checkpoint(teacher, model_for(render, 5), render.processor)
    config = replace(config, output=tmp_path / "run", turns=2, teacher=teacher)
    made = Made(monkeypatch, config, [0.1, 0.4, 0.8])
    flywheel.main(config, show=False)
    assert made.players == [teacher, config.output / "turn-0" / "sft" / "checkpoint"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attempts": 0}, "attempts is 0; it must be at least 1"),
        ({"focus": -1.0}, "focus is -1.0; it must be at least 0"),
        (
            {"first": 989_990},
            r"first, with 3 turns of 160 seeds each \(starts \* 4\): .* 480 from 989990 on are not all among them",
        ),
        ({"validation": 20_000}, "validation: there are .* validation seeds"),
        ({"checkpoint": Path("nowhere")}, "checkpoint: nowhere is no directory"),
        ({"teacher": Path("nobody")}, "teacher: nobody is no directory"),
        ({"options": {"hight": 224}}, "no option 'hight'; did you mean 'height'"),
    ],
)
def test_settings_that_cannot_be_are_refused(config: FlywheelConfig, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        flywheel.main(replace(config, **change), show=False)
