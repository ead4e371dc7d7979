"""Inverse dynamics: transitions, when two actions are the same, the stage, and what unlabelled recordings add to cloning."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lamps import SIZE, WORDS, LampsEnvironment
from safetensors.torch import load_file
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.data.transitions import Transition, as_item, relabelled, same_action, transitions
from stepladder.images import ImageStore
from stepladder.models.small import SmallModel
from stepladder.seeds import heldout_seeds
from stepladder.stages import label as stage
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.inverse_model import InverseModel, split
from stepladder.stages.label import LabelConfig
from stepladder.stages.measure import Playing, measure
from stepladder.stages.sft import PhaseConfig, SftConfig
from stepladder.stages.sft import main as sft
from stepladder.stats import compare_paired
from stepladder.store import TrajectoryStore
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Action, ImageRef, Observation, Step, Task, Trajectory

TASK = Task("t", "do it", "test")
SIZES = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=2, vision_hidden=48, vision_layers=1, vision_heads=2, screen=SIZE)


def shown(name: str, width: int = 100) -> Observation:
    return Observation(ImageRef(name * 64, width, 80))


def episode(*names: str, actions: Sequence[Action | None] = (), final: str | None = None) -> Trajectory:
    done = actions or [Action("click", 5, 5)] * len(names)
    steps = tuple(Step(shown(name), action) for name, action in zip(names, done, strict=True))
    return Trajectory("e", TASK, steps, None if final is None else shown(final), "done", 1.0)


def test_transitions_are_pairs_of_screens_that_differ() -> None:
    assert [one.index for one in transitions(episode("a", "b", "b", "c"))] == [0, 2]
    assert [one.index for one in transitions(episode("a", "b", final="c"))] == [0, 1]
    assert transitions(episode("a")) == []
    assert transitions(Trajectory("e", TASK, (), shown("a"), "done", 1.0)) == []
    smaller = replace(episode("a", "b"), final=shown("c", width=50))
    assert [one.index for one in transitions(smaller)] == [0], "screens of two sizes cannot be compared"
    ended = episode("a", "b", actions=(Action("wait", seconds=1.0), Action("done")), final="c")
    assert transitions(ended) == []
    unknown = episode("a", "b", actions=(None, None))
    assert [one.action for one in transitions(unknown)] == [None]
    several = episode("a", "b", final="c")
    several = replace(several, steps=(replace(several.steps[0], more=(Action("wait"),)), several.steps[1]))
    assert [one.index for one in transitions(several)] == [1]


def test_an_item_shows_both_screens_and_says_the_action() -> None:
    item = as_item(Transition(shown("a"), shown("b"), Action("click", 30, 40), "e", 0))
    assert [step.imitated for step in item.steps] == ["nothing", "reply"]
    agent = AgentOptions(screenshots=2).build()
    messages = agent.prompt(item.task, item.steps[:1], item.steps[1].observation)
    assert [image.sha256[0] for message in messages for image in message.images] == ["a", "b"]
    assert "do it" not in "".join(message.text for message in messages), "the task is not told"
    with pytest.raises(ValueError, match="e#0: it is not known what was done there"):
        as_item(Transition(shown("a"), shown("b"), None, "e", 0))


NUMBERS = st.floats(0, 200)
ACTIONS = st.one_of(
    st.builds(lambda kind, x, y: Action(kind, x, y), st.sampled_from(("click", "double_click", "move")), NUMBERS, NUMBERS),
    st.builds(lambda text: Action("type", text=text), st.text(max_size=5)),
    st.builds(lambda amount: Action("scroll", 5, 5, amount=amount), st.sampled_from((-3.0, -1.0, 2.0))),
    st.builds(lambda x, y: Action("drag", 5, 5, x2=x, y2=y), NUMBERS, NUMBERS),
    st.just(Action("click")),
)


@given(ACTIONS, ACTIONS, st.floats(0, 50))
def test_sameness_is_reflexive_and_symmetric_and_keeps_to_the_tolerance(first: Action, second: Action, tolerance: float) -> None:
    assert same_action(first, first, 0.0)
    assert same_action(first, second, tolerance) == same_action(second, first, tolerance)
    if first.kind != second.kind or first.text != second.text:
        assert not same_action(first, second, tolerance)
    elif first.x is not None and second.x is not None and first.kind != "drag" and first.kind != "scroll":
        assert first.y is not None
        assert second.y is not None
        distance = math.hypot(first.x - second.x, first.y - second.y)
        assert abs(distance - tolerance) < 1e-6 or same_action(first, second, tolerance) == (distance <= tolerance)


def test_places_that_are_missing_and_directions() -> None:
    assert not same_action(Action("click"), Action("click", 1, 1), 100.0)
    assert not same_action(Action("scroll", 5, 5, amount=1), Action("scroll", 5, 5, amount=-1), 9.0)
    assert same_action(Action("scroll", 5, 5, amount=1), Action("scroll", 5, 5, amount=3), 9.0)
    assert not same_action(Action("drag", 5, 5, 9, 9), Action("drag", 5, 5, 9, 30), 9.0)


def test_a_recording_becomes_a_demonstration() -> None:
    recording = replace(episode("a", "b", "b", "c", actions=(None,) * 4, final="d"), reward=None)
    said = Action("click", 1, 2)
    answers = [(said, -0.01), (None, -math.inf), (said, -2.0), (said, 0.0)]
    found, kept, doubtful = relabelled(recording, answers, -0.1)
    assert (kept, doubtful) == (2, 1)
    assert [step.observation.screenshot.sha256[0] for step in found.steps if step.observation.screenshot] == ["a", "b", "c"]
    assert [step.imitated for step in found.steps] == ["reply", "nothing", "reply"]
    assert found.parts["curated"] == 1.0
    assert found.reward is None, "nobody has graded it"
    cut, kept, _ = relabelled(recording, [answers[0], answers[1], (None, -math.inf), answers[3]], -0.1)
    assert (len(cut.steps), kept) == (1, 1), "behind what could not be read nothing is known of the past"


def test_whole_trajectories_are_held_back() -> None:
    many = [replace(episode("a", "b", final="c"), id=f"e{number}") for number in range(20)]
    learned, held_out = split(many, 0.25)
    assert len({one.source for one in held_out}) == 5
    assert not {one.source for one in learned} & {one.source for one in held_out}
    assert len(split(many[:2], 0.01)[1]) == 2
    with pytest.raises(ConfigError, match="1 of 2 show a screen before and after an action; two are needed"):
        split([many[0], episode("a")], 0.5)


# ---------------------------------------------------------------------------------------------------------------- the stage


def demonstrate(directory: Path, words: Sequence[str], seeds: Sequence[int], name: str = "demo", known: bool = True) -> Path:
    async def play() -> None:
        environment = LampsEnvironment(ImageStore(directory / "images"))
        with TrajectoryStore(directory / "trajectories.jsonl", "a") as store:
            for task in environment.tasks():
                if task.setup["word"] not in words:
                    continue
                for seed in seeds:
                    observation = await environment.reset(task, seed)
                    _, action = await anext(environment.solve())
                    steps = (Step(observation, action if known else None),)
                    final = await environment.step(action)
                    identifier = f"{task.id}-{seed}-{name}"
                    reward = 1.0 if known else None
                    store.append(Trajectory(identifier, task, steps, final, "done", reward, seed=seed, policy=name))

    asyncio.run(play())
    return directory


def settings(labelled: Path, recorded: Path, output: Path, **changes: object) -> LabelConfig:
    config = LabelConfig(
        recordings=(recorded,),
        demonstrations=labelled,
        output=output,
        model=SIZES,
        ranks=1,
        bf16=False,
        steps=6,
        batch=8,
        score_every=3,
        save_every=2,
        confidence=-100.0,
        tolerance=10.0,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lamps")
    few = demonstrate(folder / "few", WORDS[:18], range(2))
    return few, demonstrate(folder / "recordings", WORDS[:4], range(5, 7), "recorded", known=False)


@pytest.fixture(scope="module")
def labelled(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("labelled")
    stage.main(settings(*data, output), show=False)
    return output


def test_a_run_leaves_demonstrations_that_training_reads(labelled: Path, data: tuple[Path, Path]) -> None:
    report = json.loads((labelled / "report.json").read_text())
    assert report["accuracy"]["n"] == 4
    assert report["recordings"] == 8
    assert report["true_accuracy"] is None, "the recordings say nothing of what was done"
    with TrajectoryStore(labelled / "labelled.jsonl") as store:
        recorded = list(store)
    assert {one.policy for one in recorded} == {"inverse-dynamics"}
    assert all(one.reward is None for one in recorded)
    images = ImageStore(labelled / "data" / "images")
    with TrajectoryStore(labelled / "data" / "trajectories.jsonl") as store:
        everything = list(store)
    readable = [one for one in recorded if one.steps]
    assert len(everything) == 36 + len(readable)
    assert all(step.observation.screenshot in images for one in everything for step in one.steps)  # type: ignore[operator]


@pytest.mark.learning
def test_a_run_that_was_killed_ends_with_the_same_weights(
    labelled: Path, data: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = InverseModel.train

    def killed(model: InverseModel, run: object, show: bool) -> None:
        step = model.trainer.step

        def stopped(batches: object) -> dict[str, float]:
            if model.trainer.step_count == 5:
                raise KeyboardInterrupt
            return step(batches)  # type: ignore[arg-type]

        model.trainer.step = stopped  # type: ignore[method-assign, assignment]
        export(model, run, show)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(InverseModel, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.main(settings(*data, tmp_path), show=False)
    assert not (tmp_path / "checkpoint").exists()
    stage.main(settings(*data, tmp_path), show=False)
    first, second = (load_file(path / "checkpoint" / "model.safetensors") for path in (labelled, tmp_path))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert (labelled / "labelled.jsonl").read_bytes() == (tmp_path / "labelled.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": AgentOptions(screenshots=1)}, "agent.screenshots is 1; the inverse model must be shown 2"),
        ({"recordings": ()}, "recordings: none is given"),
        ({"recordings": (Path("nowhere"),)}, "recordings: nowhere holds no trajectories"),
        ({"held_out": 0.0}, "held_out is 0.0"),
        ({"confidence": 0.5}, "confidence is 0.5; it is a log-probability"),
        ({"batch": 1, "ranks": 2}, "batch is 1; 2 ranks"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str, data: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        stage.main(settings(*data, tmp_path, **change), show=False)


def test_the_command_has_its_settings() -> None:
    shown_ = CliRunner().invoke(cli.app, ["label", "recordings", "--demonstrations", "few", "--settings"])
    assert shown_.exit_code == 0, shown_.output
    assert "demonstrations=few" in shown_.output


# ---------------------------------------------------------------------------------------------------------------- learning


def clone(demonstrations: Path, output: Path, seed: int) -> Path:
    off = PhaseConfig(steps=0, batch=1, lr=1e-3)
    cloning = PhaseConfig(steps=400, batch=24, lr=2e-3, warmup=10, decay=0.5, score_every=400, goal=2.0, pointing=0.3)
    config = SftConfig(
        demonstrations=demonstrations,
        output=output,
        seed=seed,
        ranks=1,
        bf16=False,
        questions=0,
        screens=1,
        ignore_above=0.0,
        model=SIZES,
        copying=off,
        perception=off,
        cloning_frozen=off,
        cloning=cloning,
    )
    return sft(config, show=False)


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_recordings_without_actions_add_what_few_demonstrations_lack(seed: int, tmp_path: Path) -> None:
    """Demonstrations know half of the words; the recordings have all of them, and what was clicked can be seen on them."""
    few = demonstrate(tmp_path / "few", WORDS[:18], range(4))
    recordings = demonstrate(tmp_path / "recordings", WORDS, range(100, 108), "recorded")
    config = settings(few, recordings, tmp_path / "label", steps=500, batch=24, score_every=50, seed=seed, confidence=-0.1)
    config = replace(config, optimizer=OptimizerConfig(lr=2e-3), save_every=1000)
    found = stage.main(config, show=False)
    print(f"\nseed {seed}: accuracy {found.accuracy}, kept {found.kept_accuracy}, on recordings {found.true_accuracy}")
    starts = [(task, held) for task in LampsEnvironment.tasks() for held in heldout_seeds(4)]
    playing = Playing(trials=1, max_tokens=40, seed=seed, ranks=1, environments=32)
    success = {}
    for name, demonstrations in (("few", few), ("with recordings", tmp_path / "label" / "data")):
        checkpoint = clone(demonstrations, tmp_path / name, seed)
        measured = measure(tmp_path / f"measured {name}", checkpoint, starts, playing)
        print(f"{name}: {measured.greedy}")
        with TrajectoryStore(tmp_path / f"measured {name}" / "greedy-0.jsonl") as store:
            success[name] = {(one.task, one.seed): one.success for one in store.summaries()}
    gain = compare_paired(success["few"], success["with recordings"])
    print(gain)
    assert found.accuracy.low > 0.6
    assert gain.low > 0.1
