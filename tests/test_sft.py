"""Supervised training end to end on forms: it learns, it resumes exactly after SIGKILL, and ranks do not change what it learns."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from adapters import changed_layers
from safetensors.torch import load_file
from trainers import first_trainer

from stepladder.config import ConfigError, override
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import VISITED_FILE
from stepladder.data.screens import screen
from stepladder.images import ImageStore
from stepladder.models.lora import LoraSettings
from stepladder.models.small import SmallModel
from stepladder.rollout.group import policy_player
from stepladder.run import read_metrics, read_phases
from stepladder.stages import memory_check, sft_setup
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.collect import CollectConfig
from stepladder.stages.collect import main as collect
from stepladder.stages.evaluate import evaluate
from stepladder.stages.local_policy import open_checkpoint
from stepladder.stages.sft import PhaseConfig, SftConfig, main
from stepladder.stages.sft_setup import build_learner, build_mixture
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train import batch
from stepladder.train.mixtures import Share
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Limits, Observation, Sampling, Step

LOOK = {"ce": 0.0, "word": 1.0, "letters": 0.5, "centre": 4.0}
TINY = SftConfig(
    ranks=1,
    save_every=3,
    questions=2,
    practice_questions=3,
    ignore_above=0.0,
    screens=20,
    model=SmallModel(hidden=48, layers=1, heads=2, key_value_heads=1, vision_hidden=32, vision_layers=2, vision_heads=2),
    copying=PhaseConfig(steps=4, batch=8, lr=1e-3, score_every=2),
    perception=PhaseConfig(steps=6, batch=6, practice=2, lr=1e-3, score_every=3, **LOOK),
    cloning_frozen=PhaseConfig(steps=4, batch=6, practice=3, copies=2, lr=1e-3, score_every=2, decay=0.0),
    cloning=PhaseConfig(steps=12, batch=6, practice=1, lr=1e-3, score_every=4, word=0.3, letters=0.1, centre=1.0),
)


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sft") / "collect"
    config = CollectConfig(tasks="forms:login,click-button", output=directory, episodes=60, workers=1, options={"height": 224})
    collect(config, show=False)
    return directory


@pytest.fixture(scope="module")
def undisturbed(demonstrations: Path) -> Path:
    return main(replace(TINY, demonstrations=demonstrations, output=demonstrations.parent / "undisturbed"), show=False)


def weights(checkpoint: Path) -> dict[str, object]:
    return load_file(checkpoint / "model.safetensors")


def test_every_phase_runs_and_the_checkpoint_knows_its_agent(undisturbed: Path) -> None:
    phases = read_phases(undisturbed.parent)
    assert list(phases) == ["copying", "perception", "cloning_frozen", "cloning"]
    assert all(state["done"] for state in phases.values())
    assert AgentOptions.of_checkpoint(undisturbed) == AgentOptions()
    assert {record["phase"] for record in read_metrics(undisturbed.parent)} == set(phases)
    before = weights(undisturbed.parent / "untrained")
    assert any(not before[name].equal(value) for name, value in weights(undisturbed).items())  # type: ignore[attr-defined]


@pytest.mark.parametrize("moment", [pytest.param("perception.state", marks=pytest.mark.learning), "cloning.state"])
def test_a_killed_training_ends_with_the_same_weights(demonstrations: Path, undisturbed: Path, tmp_path: Path, moment: str) -> None:
    output = tmp_path / "killed"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from dataclasses import replace; from test_sft import TINY, main\n"
        "main(replace(TINY, demonstrations=Path(sys.argv[2]), output=Path(sys.argv[3])), show=False)"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(demonstrations), str(output)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 180
    while not (output / moment).exists():
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "checkpoint").exists()
    resumed = main(replace(TINY, demonstrations=demonstrations, output=output), show=False)
    expected = weights(undisturbed)
    found = weights(resumed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.equal(found[name]), name  # type: ignore[attr-defined]


def test_adapters_alone_learn_where_they_are_asked_for(demonstrations: Path, undisturbed: Path, tmp_path: Path) -> None:
    config = replace(TINY, demonstrations=demonstrations, checkpoint=undisturbed, output=tmp_path, lora=LoraSettings(rank=2))
    off = PhaseConfig(steps=0, batch=1, lr=1.0)
    found = main(replace(config, copying=off, perception=off, cloning_frozen=off), show=False)
    assert changed_layers(undisturbed, found) == set(LoraSettings().targets)
    assert (found / "adapter" / "adapter_model.safetensors").exists()


def divided(demonstrations: Path, checkpoint: Path, output: Path) -> SftConfig:
    """Copying and cloning by two ranks, each with half of the language model."""
    off = PhaseConfig(steps=0, batch=1, lr=1.0)
    config = replace(TINY, demonstrations=demonstrations, checkpoint=checkpoint, output=output, ranks=2, bf16=False)
    return replace(config, shard=True, perception=off, cloning=off, optimizer=OptimizerConfig(kind="adamw"))


@pytest.mark.parametrize("lora", [LoraSettings(), pytest.param(LoraSettings(rank=2), marks=pytest.mark.learning)])
def test_a_model_divided_among_ranks_learns_what_a_whole_one_learns(
    demonstrations: Path, undisturbed: Path, tmp_path: Path, lora: LoraSettings
) -> None:
    config = replace(divided(demonstrations, undisturbed, tmp_path / "divided"), lora=lora)
    found = weights(main(config, show=False))
    whole = main(replace(config, shard=False, ranks=1, output=tmp_path / "whole"), show=False)
    expected = weights(whole)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-5), name  # type: ignore[arg-type]
    started = weights(undisturbed)
    assert any(not started[name].equal(value) for name, value in found.items())  # type: ignore[attr-defined]
    for phase in ("copying", "cloning_frozen"):
        one, two = (read_metrics(run, phase)[-1] for run in (config.output, whole.parent))
        assert one["ce"] == pytest.approx(two["ce"], abs=1e-5)
    assert not list(config.output.glob("*.state"))


@pytest.mark.learning
def test_a_killed_training_of_a_divided_model_goes_on(demonstrations: Path, undisturbed: Path, tmp_path: Path) -> None:
    config = divided(demonstrations, undisturbed, tmp_path / "whole")
    expected = weights(main(config, show=False))
    output = tmp_path / "killed"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_sft import divided, main\n"
        "if __name__ == '__main__': main(divided(*map(Path, sys.argv[2:])), show=False)"
    )
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, str(tmp_path / "program.py"), str(Path(__file__).parent), str(demonstrations), str(undisturbed)]
    process = subprocess.Popen([*command, str(output)], start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(output.glob("cloning_frozen.state/update-*[0-9]")):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = weights(main(replace(config, output=output), show=False))
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranks": 1}, "ranks is 1"),
        ({"perception": TINY.perception}, r"say perception\.steps=0"),
        ({"cloning": TINY.cloning}, r"say cloning\.steps=0"),
    ],
)
def test_what_cannot_be_divided_is_told(demonstrations: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(replace(divided(demonstrations, tmp_path, tmp_path / "run"), **changes), show=False)  # type: ignore[arg-type]


@pytest.mark.learning
def test_two_ranks_learn_from_the_same_updates(demonstrations: Path, tmp_path: Path) -> None:
    losses = []
    for ranks in (1, 2):
        config = replace(TINY, demonstrations=demonstrations, output=tmp_path / str(ranks), ranks=ranks, bf16=False)
        main(config, show=False)
        losses.append([record["ce"] for record in read_metrics(config.output, "copying")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.learning
def test_accumulation_changes_no_loss(demonstrations: Path, tmp_path: Path) -> None:
    losses = []
    for pieces in (1, 3):
        config = replace(TINY, demonstrations=demonstrations, output=tmp_path / str(pieces), bf16=False)
        phases = {name: replace(getattr(TINY, name), accumulate=pieces) for name in ("copying", "perception", "cloning")}
        main(replace(config, **phases), show=False)
        records = read_metrics(config.output)
        losses.append([record[key] for record in records for key in ("ce", "word", "centre") if key in record])
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)


@pytest.mark.learning
def test_the_order_of_collection_changes_no_weight(demonstrations: Path, undisturbed: Path, tmp_path: Path) -> None:
    turned = tmp_path / "collect"
    shutil.copytree(demonstrations, turned, ignore=shutil.ignore_patterns("*.index", "*.lock"))
    lines = (turned / "trajectories.jsonl").read_text().splitlines(keepends=True)
    (turned / "trajectories.jsonl").write_text("".join(reversed(lines)))
    found = weights(main(replace(TINY, demonstrations=turned, output=tmp_path / "sft"), show=False))
    for name, value in weights(undisturbed).items():
        assert value.equal(found[name]), name  # type: ignore[attr-defined]


@pytest.mark.learning
def test_a_history_of_several_screenshots_can_be_learned(demonstrations: Path, tmp_path: Path) -> None:
    config = replace(TINY, demonstrations=demonstrations, output=tmp_path / "sft", agent=AgentOptions(screenshots=2))
    checkpoint = main(config, show=False)
    assert AgentOptions.of_checkpoint(checkpoint).screenshots == 2
    assert [record["ce"] > 0 for record in read_metrics(config.output, "cloning")] == [True] * 3


def test_pages_that_were_only_seen_are_asked_about(demonstrations: Path, tmp_path: Path) -> None:
    data = tmp_path / "collect"
    shutil.copytree(demonstrations, data)
    regions, images = RegionStore(data / "regions.jsonl"), ImageStore(data / "images")
    pixels, seen = screen(Random(5), "train", 1, 160, 224)
    page = images.put_pixels(pixels)
    regions.append(page, seen)
    with TrajectoryStore(data / "trajectories.jsonl") as store, TrajectoryStore(data / VISITED_FILE, "a") as visited:
        collected = list(store)
        alike = [one for one in collected if one.task.id == collected[0].task.id]
        for number, trajectory in enumerate(alike[:2]):
            screens = (trajectory.steps[0].observation, Observation(page))
            visited.append(replace(trajectory, steps=(Step(screens[0]),), final=screens[1], id=f"visit-{number}", policy="visit"))
    config = replace(TINY, demonstrations=data, cloning=replace(TINY.cloning, practice=1, visits=2))
    config = replace(config, perception=replace(TINY.perception, batch=3, practice=1, visits=2))
    learner = build_learner(config, Share())
    assert learner.visited.pages == {trajectory.task.id: (page,)}, "what is demonstrated is no visit, and a page is there once"
    looked_at = build_mixture("perception", config.perception, learner, config).micro_batches(0)[0].batch
    assert page in looked_at.images
    assert len(looked_at.images) == 2
    for visits in (2, 0):
        mixture = build_mixture("cloning", replace(config.cloning, visits=visits), learner, config)
        drawn = [page in mixture.micro_batches(step)[0].batch.images for step in range(3)]
        assert drawn == [visits > 0] * 3
    with pytest.raises(ConfigError, match="practice is 5 and visits 2; they are parts of the batch of 6"):
        build_mixture("cloning", replace(config.cloning, practice=5), learner, config)


def test_what_cannot_be_learned_from_is_told(demonstrations: Path, tmp_path: Path) -> None:
    phase = replace(TINY.cloning, practice=7)
    with pytest.raises(ConfigError, match=r"cloning: practice is 7"):
        main(replace(TINY, demonstrations=demonstrations, output=tmp_path / "practice", cloning=phase), show=False)
    phase = replace(TINY.copying, batch=2, accumulate=3)
    with pytest.raises(ConfigError, match=r"copying: batch 2 is too small"):
        main(replace(TINY, demonstrations=demonstrations, output=tmp_path / "batch", copying=phase), show=False)
    collect(CollectConfig(tasks="forms:click-button", output=tmp_path / "few", episodes=2, workers=1), show=False)
    with pytest.raises(ConfigError, match="held back for validation"):
        main(replace(TINY, demonstrations=tmp_path / "few", output=tmp_path / "few-sft"), show=False)


def test_missing_demonstrations_and_unknown_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stepladder collect"):
        main(replace(TINY, demonstrations=tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"cloning\.steps"):
        override(TINY, ["cloning.step=3"])
    with pytest.raises(ConfigError, match=r"keeps no attention, .* cloning_frozen.pointing=0, cloning.pointing=0"):
        main(replace(SftConfig(), demonstrations=tmp_path, output=tmp_path / "sft", activation_checkpointing=True))


def test_a_changed_setting_is_refused_in_an_old_directory(undisturbed: Path, demonstrations: Path) -> None:
    same = replace(TINY, demonstrations=demonstrations, output=undisturbed.parent)
    assert main(same, show=False) == undisturbed
    with pytest.raises(ConfigError, match="questions was 2 and is now 3"):
        main(replace(same, questions=3), show=False)


LEARN = replace(
    TINY,
    seed=1,
    model=SmallModel(hidden=96, layers=2, heads=4, key_value_heads=2, vision_hidden=64, vision_layers=2, vision_heads=2),
    copying=PhaseConfig(steps=0, batch=1, lr=1e-3),
    perception=PhaseConfig(steps=120, batch=16, lr=3e-3, score_every=60, **LOOK),
    cloning_frozen=PhaseConfig(steps=0, batch=1, lr=1e-3),
    cloning=PhaseConfig(steps=250, batch=16, lr=3e-3, score_every=50, goal=0.99, word=0.3, centre=1.0),
)


@pytest.mark.learning
def test_behaviour_cloning_learns_to_dismiss_dialogs(tmp_path: Path) -> None:
    spec, options = "forms:dismiss-dialog", {"height": 224}
    collect(
        CollectConfig(tasks=spec, output=tmp_path / "collect", episodes=400, workers=1, mistakes=0.0, options=options), show=False
    )
    trained = main(replace(LEARN, demonstrations=tmp_path / "collect", output=tmp_path / "sft"), show=False)
    tasks, rates = load_tasks(spec, "heldout"), []
    for checkpoint in (trained.parent / "untrained", trained):
        images = ImageStore()
        with (
            open_checkpoint(checkpoint, images, "policy") as (policy, agent),
            TrajectoryStore(tmp_path / f"{checkpoint.name}.jsonl", "a") as store,
        ):
            play = policy_player(agent, policy, Sampling(0.0, max_tokens=32), Limits())
            result = asyncio.run(
                evaluate(tasks, range(10**6, 10**6 + 40), play, store, images, policy="policy", options=options, show=False)
            )
        rates.append(result.rate)
    assert rates[0] is not None
    assert rates[1] is not None
    assert rates[0] < 0.05
    assert rates[1] > 0.2


def test_activation_checkpointing_reaches_the_trainer(
    demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in (False, True):
        config = replace(TINY, demonstrations=demonstrations, output=tmp_path / str(wanted), activation_checkpointing=wanted)
        made = first_trainer(monkeypatch, lambda config=config: main(config, show=False))
        assert made.activation_checkpointing == wanted


def test_what_will_not_fit_is_refused_before_it_begins(
    demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, demonstrations=demonstrations, output=tmp_path / "sft")
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 1e5)
    with pytest.raises(ConfigError, match=r"will not fit: needs about .* are free; try "):
        main(config, show=False)
    assert not (config.output / "checkpoint").exists()


def test_all_that_learns_is_on_the_device(
    demonstrations: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, demonstrations=demonstrations, output=tmp_path / "sft", checkpoint=undisturbed)
    monkeypatch.setattr(sft_setup, "device_of", lambda device: torch.device("meta"))
    made = first_trainer(monkeypatch, lambda: main(config, show=False))
    assert {parameter.device.type for _, parameter in made.named_parameters()} == {"meta"}


def test_pictures_that_are_drawn_for_a_question_are_prepared_before_they_are_forgotten(
    demonstrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large ones are otherwise prepared when they are needed; these are in memory alone."""
    monkeypatch.setattr(batch, "LARGEST_PREPARED", 0)
    config = replace(TINY, demonstrations=demonstrations, kinds={"marks": 1.0})
    learner = build_learner(config, Share())
    mixture = build_mixture("cloning", config.cloning, learner, config)
    found = [one.batch for step in range(3) for one in mixture.micro_batches(step)]
    assert learner.renderer.images is not None
    forgotten = [any(image not in learner.renderer.images for image in one.images) for one in found]
    assert any(forgotten), "nothing was drawn"
    assert all(one.prepared().pixel_values is not None for one in found)
