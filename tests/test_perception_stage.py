"""Perception as a benchmark and as training data: right answers score 1, interruptions lose nothing, further kinds are drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_sft import TINY
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent
from stepladder.stages import perception as stage
from stepladder.stages.collect import CollectConfig
from stepladder.stages.collect import main as collect
from stepladder.stages.perception_sources import stored_screens
from stepladder.stages.sft_setup import build_learner, build_mixture
from stepladder.store import TrajectoryStore
from stepladder.train.mixtures import Share
from stepladder.types import Action, Completion, Element, Message, Observation, Prompt, Sampling, Step, Task, Trajectory


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("perception") / "collect"
    settings = CollectConfig(tasks="forms:login,click-button", output=directory, episodes=60, workers=1, options={"height": 224})
    collect(settings, show=False)
    return directory


def config(folder: Path, **settings: Any) -> stage.PerceptionConfig:
    return stage.PerceptionConfig(**{"output": folder / "run", "screens": 2, "ignore_above": 0.0, **settings})


class Yes:
    """Says "yes" to everything, and remembers how many pictures it was shown."""

    name = "yes"
    version = 0
    asked = 0
    fails_at = 10**9
    pictures: set[int]

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        type(self).pictures = set()

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        type(self).asked += 1
        if type(self).asked >= self.fails_at:
            raise OSError("no more")
        shown = [image for message in messages for image in message.images]
        self.pictures.add(len(shown))
        return Prompt(messages), Completion(self.agent.format("", Action("done", text="yes"), Observation(shown[-1])))


def test_the_right_answers_score_1_on_every_source(demonstrations: Path, tmp_path: Path) -> None:
    settings = config(tmp_path, pages=demonstrations, seen=True)
    result = stage.main(settings, show=False)
    scores = {(one["kind"], one["source"], one["measure"]): one for one in result["scores"]}
    assert {kind for kind, _, _ in scores} == set(stage.KINDS)
    assert {source for _, source, _ in scores} == {
        "real pages",
        "known words, fonts and sizes",
        "held-out words",
        "held-out fonts",
        "held-out sizes",
    }
    for (_, _, measure), one in scores.items():
        assert one["value"] == (None if not one["n"] else 0.0 if measure == "character_error_rate" else 1.0)
        assert one["low"] <= (one["value"] or 0.0) <= one["high"]
    assert json.loads((tmp_path / "run/result.json").read_text()) == result
    for name in ("report.html", "report.md"):
        assert "Perception by source" in (tmp_path / "run" / name).read_text()
    images = ImageStore(tmp_path / "run/images")
    with TrajectoryStore(tmp_path / "run/items.jsonl") as store:
        items = list(store)
        assert len(items) == result["questions"]
        for item in items:
            assert all(step.observation.screenshot in images for step in item.steps if step.observation.screenshot)
    again = stage.main(settings, show=False)
    assert again["questions_hash"] == result["questions_hash"]


def test_a_policy_is_asked_once_for_everything_and_sees_both_screenshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(
        tmp_path,
        policy="test_perception_stage:Yes",
        dialect="qwen_vl",
        kinds=("existence", "change"),
        concurrency=1,
        agent={"screenshots": 1},
    )
    monkeypatch.setattr(Yes, "asked", 0)
    monkeypatch.setattr(Yes, "fails_at", 4)
    with pytest.raises(OSError, match="no more"):
        stage.main(settings, show=False)
    monkeypatch.setattr(Yes, "fails_at", 10**9)
    result = stage.main(settings, show=False)
    assert Yes.asked == result["questions"] + 1, "three answered, one failed, the others asked"
    assert Yes.pictures == {1, 2}
    correct = [one for one in result["scores"] if one["measure"] == "correct"]
    right = {kind: sum(round(one["value"] * one["n"]) for one in correct if one["kind"] == kind) for kind in settings.kinds}
    with TrajectoryStore(tmp_path / "run/items.jsonl") as store:
        yes = sum(item.task.check["text"] == "yes" for item in store)
    assert right == {"existence": yes, "change": 0}
    assert yes > 0


def test_desktops_are_asked_about_by_their_trees(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "desk/images")
    shots = [images.put_pixels(np.full((120, 200, 3), 240 + number, np.uint8)) for number in range(3)]
    tree = (Element("push button", "Save", box=(10, 10, 60, 20)), Element("check box", "News", box=(10, 60, 60, 20)))
    trees = [tree, (tree[0], replace(tree[1], states=("checked",))), None]
    steps = tuple(Step(Observation(shot, one), Action("wait")) for shot, one in zip(shots, trees, strict=True))
    with TrajectoryStore(tmp_path / "desk/trajectories.jsonl", "a") as store:
        store.append(Trajectory("one", Task("t", "do", "desk"), steps, None, "done", 1.0))
    screens = stored_screens(tmp_path / "desk", seen=True, ignore_above=0.0)
    assert {screen.image for screen in screens} == set(shots[:2]), "nothing is known of a screenshot without a tree"
    result = stage.main(config(tmp_path, desktops=tmp_path / "desk", seen=True, synthetic=False), show=False)
    scores = {one["kind"]: one["value"] for one in result["scores"] if one["measure"] == "correct" and one["n"]}
    assert scores == dict.fromkeys(("grounding", "state", "description", "caption", "existence", "change", "marks"), 1.0)
    with TrajectoryStore(tmp_path / "run/items.jsonl") as store:
        (change,) = [item.task.check["text"] for item in store if item.task.check["kind"] == "change"]
    assert change == 'checkbox "News" is now checked'
    with pytest.raises(ConfigError, match="held back"):
        stored_screens(tmp_path / "desk", seen=False, ignore_above=0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ("naming",)}, "naming"),
        ({"kinds": ()}, "there are grounding"),
        ({"screens": 0}, "screens is 0"),
        ({"synthetic": False}, "nothing to ask"),
        ({"policy": "no/such/checkpoint"}, "no/such"),
        ({"pages": Path("nowhere")}, "stepladder collect"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stage.main(config(tmp_path, **settings), show=False)


def test_the_command(tmp_path: Path) -> None:
    command = ["bench", "perception", "--output", str(tmp_path / "run"), "--set", "screens=1", "--set", "kinds=marks"]
    shown = CliRunner().invoke(cli.app, command)
    assert shown.exit_code == 0, shown.output
    assert "marks" in shown.output
    assert "4 questions, 0 answers unreadable" in shown.output


@pytest.mark.learning
def test_further_kinds_are_mixed_into_training(demonstrations: Path) -> None:
    settings = replace(TINY, demonstrations=demonstrations, seed=0)
    plain = build_learner(settings, Share())
    mixed = replace(settings, kinds={"marks": 2.0, "change": 2.0, "caption": 1.0})
    learner = build_learner(mixed, Share())
    phase = replace(mixed.cloning, practice=4)
    drawn = build_mixture("cloning", phase, learner, mixed).micro_batches(1)[0].batch
    usual = build_mixture("cloning", phase, plain, settings).micro_batches(1)[0].batch
    assert len(drawn.images) > len(usual.images), "pictures with marks, and screens before a change"
    store = learner.renderer.images
    assert store is not None
    known = {screen.image for screen in learner.screens._drawn.values()}
    known |= {screen.before.image for screen in learner.screens._drawn.values() if screen.before is not None}
    left = [image for image in drawn.images if image in store and image not in known and not learner.demonstrations.knows(image)]
    assert left == [], "pictures that were drawn for a question are forgotten"
    with pytest.raises(ConfigError, match="naming"):
        build_mixture("cloning", phase, learner, replace(mixed, kinds={"naming": 1.0}))


def test_kinds_are_named_as_in_the_documentation() -> None:
    page = (Path(__file__).parent.parent / "docs/perception.md").read_text()
    assert all(f"`{kind}`" in page for kind in stage.KINDS)
