"""Reinforcement learning end to end: what a run leaves, that it learns, and that no kill changes what comes out of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapters import changed_layers
from fakes import FakeEnvironment
from safetensors.torch import load_file
from torch import Tensor
from trainers import first_trainer
from typer.testing import CliRunner

from stepladder import cli
from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.algos import ALGORITHMS, algorithm_class
from stepladder.algos.algorithm import Algorithm
from stepladder.algos.grpo import Grpo
from stepladder.algos.opd import Opd
from stepladder.algos.ppo import Ppo
from stepladder.algos.reinforce import Reinforce
from stepladder.algos.rloo import Rloo
from stepladder.algos.sdpo import Sdpo
from stepladder.codec import to_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.lora import LoraSettings
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.rollout.curriculum import Played
from stepladder.rollout.uncertain import UncertainTasks
from stepladder.run import read_metrics
from stepladder.stages import memory_check, rl_learner
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.player import Player
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_learner import Learner
from stepladder.store import TrajectoryStore
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Action, Group, Observation, Task, Trajectory

SIZES = SmallModel(hidden=48, layers=1, heads=2, key_value_heads=1, vision_hidden=32, vision_layers=1, vision_heads=2)
FORMS = RlConfig(
    tasks="forms:click-button,dismiss-dialog",
    algo=Grpo(reward="reward", kl=0.01, updates=2),
    rewards={"outcome": 1.0, "format": 0.5},
    ranks=1,
    updates=4,
    groups=2,
    group_size=4,
    first=0,
    seeds=4,
    replay=2,
    max_tokens=3,
    max_steps=3,
    environments=1,
    validation=2,
    evaluate_every=2,
    save_every=2,
    warmup=1,
    optimizer=OptimizerConfig(lr=1e-3),
)
SIDES = replace(
    FORMS,
    tasks="env:test_rl:Sides",
    algo=Grpo(),
    rewards={},
    updates=1,
    group_size=6,
    replay=0,
    max_tokens=1,
    environments=6,
    validation=1,
)


class Clicks(QwenVLAgent):
    """Takes any reply for a click somewhere, so that a model with random weights succeeds now and then."""

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        place = zlib.crc32(text.encode("utf-8", "replace"))
        return "", Action("click", place % 160, place // 160 % 210)


class Sides(FakeEnvironment):
    """A blank page whose reward is 1 for a click on its left half: about half of all replies."""

    broken: tuple[int, ...] = ()

    def __init__(self, images: ImageStore) -> None:
        super().__init__(images, goal=1)
        self.page = images.put_pixels(np.full((96, 96, 3), 255, dtype=np.uint8))

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task("left", "left", "test_rl:Sides", max_steps=1)]

    async def reset(self, task: Task, seed: int) -> Observation:
        if seed in self.broken:
            raise EnvironmentFailure("the page is gone")
        self.actions.clear()
        return await super().reset(task, seed)

    async def evaluate(self) -> float:
        return float(bool(self.actions) and (self.actions[-1].x or 0) < 80)

    def _observe(self) -> Observation:
        return Observation(self.page, done=bool(self.actions))


def click_anywhere() -> None:
    AgentOptions.build = lambda self: Clicks(self.screenshots, self.thought, self.system, self.grid)  # type: ignore[method-assign]


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


def checkpoint(
    directory: Path, seed: int = 0, screenshots: int = 1, text: str = "Click the button. Enter the text. Select the option."
) -> Path:
    tokenizer = build_tokenizer([text] * 5, 400)
    save_checkpoint(
        directory, build_model(SIZES, tokenizer, seed), ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    )
    AgentOptions(screenshots=screenshots).save(directory)
    return directory


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("rl") / "start")


@pytest.fixture(scope="module")
def undisturbed(start: Path) -> Path:
    """The directory of a whole run on forms, with everything on that a run has to remember."""
    config = replace(FORMS, checkpoint=start, output=start.parent / "undisturbed")
    assert main(config, show=False) == config.output / "checkpoint"
    return config.output


def weights(directory: Path) -> dict[str, Tensor]:
    return load_file(directory / "model.safetensors")


def episodes(directory: Path) -> list[Trajectory]:
    with TrajectoryStore(directory / "rollouts-0.jsonl") as store:
        return list(store)


def mixed(group: Group) -> bool:
    """Some succeeded and some did not."""
    return len({member.reward for member in group}) > 1


def contents(directory: Path) -> dict[str, Any]:
    """Every episode by its id, but for how long anything took."""
    records = {item.id: to_json(item) for item in episodes(directory)}
    for record in records.values():
        for step in record["steps"]:
            step.pop("seconds", None)
    return records


def figures(directory: Path) -> list[dict[str, Any]]:
    """What was measured in each update."""
    return [record for record in read_metrics(directory, "rl") if record["step"] > 0]


def measurements(directory: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if "time" not in name and "seconds" not in name}
        for record in read_metrics(directory)
        if record["phase"] != "environments"  # how often they were lent depends on what was played before
    ]


def run_disturbed(config: RlConfig, failures: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends twice, when so many episodes in all were written, and goes on."""
    appended, append = 0, TrajectoryStore.append

    def failing(store: TrajectoryStore, trajectory: Trajectory) -> None:
        nonlocal appended
        appended += 1
        if appended in failures:
            raise OSError("the disk is full")
        append(store, trajectory)

    with monkeypatch.context() as patch:
        patch.setattr(TrajectoryStore, "append", failing)
        for _ in failures:
            with pytest.raises(OSError, match="the disk is full"):
                main(config, show=False)
        main(config, show=False)


def assert_equal(found: Path, expected: Path) -> None:
    """No episode lost, none counted twice, the same weights and the same figures."""
    one, other = contents(found), contents(expected)
    assert one.keys() == other.keys()
    assert one == other
    lines = (found / "rollouts-0.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["id"] for line in lines})
    for name in ("model", "critic"):
        states = [torch.load(directory / "state.pt", weights_only=True)[name] or {} for directory in (found, expected)]
        assert states[0].keys() == states[1].keys()
        assert [key for key, value in states[1].items() if not torch.equal(states[0][key], value)] == []
    exported = weights(expected / "checkpoint")
    assert all(torch.equal(value, exported[name]) for name, value in weights(found / "checkpoint").items())
    assert measurements(found) == measurements(expected)


# ---------------------------------------------------------------- what a run leaves


def test_a_run_on_forms_leaves_measurements_and_its_best_weights(undisturbed: Path, start: Path) -> None:
    records = figures(undisturbed)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert sum(record["kept"] for record in records) > 4
    for record in records:
        assert {"pg", "kl", "entropy", "grad_norm", "rate", "reward", "term/reward", "term/task", "term/format"} <= record.keys()
        assert record["correction"] == pytest.approx(1.0, abs=0.05), "training and sampling agree on what was probable"
        assert record["term/task"] == pytest.approx(record["reward"])
        assert record["ratio_max"] > 1.0, "the second update from a batch knows of the first"
    assert ["validation" in record for record in records] == [False, True, False, True]
    best = torch.load(undisturbed / "best.pt", weights_only=True)
    exported = weights(undisturbed / "checkpoint")
    assert all(torch.equal(value, best["model"][name]) for name, value in exported.items())
    assert AgentOptions.of_checkpoint(undisturbed / "checkpoint") == AgentOptions()
    state, before = torch.load(undisturbed / "state.pt", weights_only=True), weights(start)
    assert (state["step"], state["standing"]["update"]) == (8, 4)
    changed = {name for name, value in before.items() if not torch.equal(value, state["model"][name])}
    assert changed
    assert all(name.startswith("model.language_model") for name in changed)


def test_groups_without_signal_are_played_again_and_all_are_counted(undisturbed: Path) -> None:
    """Dynamic sampling, recomputed from the episodes alone."""
    updates: dict[int, dict[int, dict[str, Group]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for episode in episodes(undisturbed):
        update, _, number = episode.group.partition("/")[0].partition(".")
        updates[int(update)][int(number)][episode.group].append(episode)
        versions = {step.completion.version for step in episode.steps if step.completion is not None}
        assert versions == {int(update)}, "it was played with the latest weights"
    assert sorted(updates) == [0, 1, 2, 3]
    for record, update in zip(figures(undisturbed), (updates[number] for number in range(4)), strict=True):
        groups = [group for groups in update.values() for group in groups.values()]
        members = [episode for group in groups for episode in group]
        assert all(sorted(episode.index for episode in group) == [0, 1, 2, 3] for group in groups)
        assert all(len({(episode.task.id, episode.seed) for episode in group}) == 1 for group in groups)
        assert record["kept"] == sum(map(mixed, groups)) + record["replayed"]
        assert record["kept"] + record["flat"] == len(groups)
        assert (record["episodes"], record["failed"]) == (len(members), 0)
        assert record["reward"] == pytest.approx(np.mean([episode.reward for episode in members]))
        assert record["steps"] == pytest.approx(np.mean([len(episode.steps) for episode in members]))
        first = sum(map(mixed, update[0].values()))
        assert not (1 in update and first >= 2), "no second round when the first was enough"
        assert 1 in update or first + record["replayed"] >= 2, "a second round when the first was not enough"
    assert {len(rounds) for rounds in updates.values()} == {1, 2}
    assert sum(record["replayed"] for record in figures(undisturbed)) > 0


@pytest.mark.parametrize("known", [1, pytest.param(9, marks=pytest.mark.learning)])
def test_a_probed_run_goes_on_with_the_episodes_that_it_has(start: Path, tmp_path: Path, known: int) -> None:
    """Killed while it probed, and later: nothing is played twice, and the groups are those of a run that was not."""
    config = replace(SIDES, checkpoint=start, groups=8, rounds=1, seeds=20, probe=2, expand=False, validation=0, environments=1)
    whole, part = tmp_path / "whole", tmp_path / "part"
    main(replace(config, output=whole), show=False)
    lines = (whole / "rollouts-0.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 2 * 9, "some groups are played whole"
    part.mkdir()
    (part / "rollouts-0.jsonl").write_bytes(b"".join(lines[: 2 * known]))
    shutil.copytree(whole / "images", part / "images")
    main(replace(config, output=part), show=False)
    assert_equal(part, whole)


def test_the_last_weights_are_exported_where_they_are_asked_for(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = iter([1.0, 0.0])
    play = Player.greedily

    async def graded(player: Player, jobs: Any) -> list[Trajectory]:
        success = next(falling)
        return [replace(trajectory, reward=success) for trajectory in await play(player, jobs)]

    monkeypatch.setattr(Player, "greedily", graded)
    config = replace(SIDES, checkpoint=start, output=tmp_path, groups=8, export="last")
    main(config, show=False)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    last = torch.load(tmp_path / "state.pt", weights_only=True)
    exported = weights(tmp_path / "checkpoint")
    assert best["update"] == 0, "validation went down"
    assert all(torch.equal(value, last["model"][name]) for name, value in exported.items())
    assert any(not torch.equal(value, best["model"][name]) for name, value in exported.items())


def test_of_a_start_that_is_always_solved_only_the_first_members_are_played(start: Path, tmp_path: Path) -> None:
    config = replace(SIDES, checkpoint=start, output=tmp_path, groups=16, rounds=1, seeds=20, probe=2, expand=False, validation=0)
    main(config, show=False)
    groups: dict[str, Group] = defaultdict(list)
    for episode in episodes(tmp_path):
        groups[episode.group].append(episode)
    for group in groups.values():
        group.sort(key=lambda episode: episode.index)
        solved = all(episode.success for episode in group[:2])
        assert [episode.index for episode in group] == list(range(2 if solved else 6)), "a failure among the first two: all six"
    assert {len(group) for group in groups.values()} == {2, 6}
    record = figures(tmp_path)[0]
    assert record["episodes"] == sum(map(len, groups.values()))
    assert (record["kept"], record["flat"]) == (sum(map(mixed, groups.values())), sum(not mixed(one) for one in groups.values()))


def test_a_finished_run_is_not_done_again_and_other_settings_are_refused(undisturbed: Path, start: Path) -> None:
    config = replace(FORMS, checkpoint=start, output=undisturbed)
    before = (undisturbed / "metrics.jsonl").read_bytes()
    assert main(replace(config, environments=3, save_every=7, max_seconds=9.0), show=False) == undisturbed / "checkpoint"
    assert (undisturbed / "metrics.jsonl").read_bytes() == before
    for changed, message in (
        (replace(config, group_size=5), "group_size was 4 and is now 5"),
        (replace(config, algo=replace(FORMS.algo, kl=0.5)), r"algo\.kl was 0\.01 and is now 0\.5"),
        (replace(config, algo=Rloo(reward="reward", kl=0.01, updates=2)), "algorithm was 'grpo' and is now 'rloo'"),
        (replace(config, tasks="forms:click-button"), "task_set was"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(changed, show=False)


def test_a_finished_run_goes_on_when_more_updates_are_asked_for(undisturbed: Path, start: Path, tmp_path: Path) -> None:
    config = replace(FORMS, checkpoint=start, output=tmp_path)
    main(replace(config, updates=2), show=False)
    assert [record["step"] for record in figures(tmp_path)] == [1, 2]
    main(config, show=False)
    assert_equal(tmp_path, undisturbed)


# ---------------------------------------------------------------- kills


def _episodes(directory: Path) -> int:
    path = directory / "rollouts-0.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    undisturbed: Path, start: Path, tmp_path: Path
) -> None:
    """In the middle of the first group while a line was being written, later, and as soon as there is a saved state."""
    output = tmp_path / "killed"
    moments: list[Callable[[], bool]] = [
        lambda: _episodes(output) >= 2,
        lambda: _episodes(output) >= 19,
        lambda: (output / "state.pt").exists(),
    ]
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from dataclasses import replace; import test_rl\n"
        "test_rl.click_anywhere()\n"
        "test_rl.main(replace(test_rl.FORMS, checkpoint=Path(sys.argv[2]), output=Path(sys.argv[3])), show=False)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(Path(__file__).parent), str(start), str(output)]
    for moment in moments:
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not moment():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (output / "checkpoint").exists()
        assert _episodes(output) < len(contents(undisturbed))
        if moment is moments[0]:
            with (output / "rollouts-0.jsonl").open("rb+") as file:
                file.truncate(file.seek(0, os.SEEK_END) - 40)
    main(replace(FORMS, checkpoint=start, output=output), show=False)
    assert_equal(output, undisturbed)


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(Ppo(critic_warmup=1), marks=pytest.mark.learning),
        pytest.param(Grpo(), marks=pytest.mark.learning),
        Ppo(critic="separate", level="step", critic_warmup=2, critic_settled=0.1),
        pytest.param(Sdpo(feedback=("screenshot",), top_k=10, policy_gradient=0.5), marks=pytest.mark.learning),
    ],
    ids=["ppo", "several screenshots", "a critic of its own", "self-distillation"],
)
def test_a_run_that_fails_in_between_goes_on_with_all_it_had(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm
) -> None:
    begun = checkpoint(tmp_path / "start", screenshots=3) if isinstance(algorithm, Grpo) else start
    config = replace(
        FORMS, checkpoint=begun, algo=algorithm, rewards={}, replay=0, updates=3, validation=0, output=tmp_path / "whole"
    )
    main(config, show=False)
    run_disturbed(replace(config, output=tmp_path / "disturbed"), (3, 16), monkeypatch)
    assert_equal(tmp_path / "disturbed", tmp_path / "whole")


@pytest.mark.learning
def test_adapters_alone_learn_and_a_run_that_fails_in_between_goes_on_with_them(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        FORMS,
        checkpoint=start,
        algo=Grpo(kl=0.01, reference_refresh=1),
        rewards={},
        replay=0,
        updates=3,
        lora=LoraSettings(rank=2),
        output=tmp_path / "whole",
    )
    main(config, show=False)
    assert changed_layers(start, tmp_path / "whole" / "checkpoint") <= set(config.lora.targets)
    run_disturbed(replace(config, output=tmp_path / "disturbed"), (3, 16), monkeypatch)
    assert_equal(tmp_path / "disturbed", tmp_path / "whole")


# ---------------------------------------------------------------- learning


def test_it_learns_on_which_side_to_click(start: Path, tmp_path: Path) -> None:
    optimizer = OptimizerConfig(lr=1.5e-2, adam_lr=1.5e-2)
    config = replace(SIDES, checkpoint=start, output=tmp_path, updates=14, groups=4, group_size=8, optimizer=optimizer)
    main(config, show=False)
    rewards = [record["reward"] for record in figures(tmp_path)]
    assert 0.2 < rewards[0] < 0.7
    assert np.mean(rewards[-3:]) > 0.85


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_makes_an_update(start: Path, tmp_path: Path, name: str) -> None:
    teacher = checkpoint(tmp_path / "teacher", seed=1) if name == "opd" else None
    main(replace(SIDES, checkpoint=start, output=tmp_path / "rl", algo=algorithm_class(name)(), teacher=teacher), show=False)
    (record,) = figures(tmp_path / "rl")
    assert record["grad_norm"] > 0
    assert ("anchored" in record) == (name == "gigpo")
    if name == "sdpo":
        assert record["distill"] == pytest.approx(record["divergence"], rel=0.05)
    else:
        assert record["correction"] == pytest.approx(1.0, abs=0.05)
    assert ("value" in record) == (name == "ppo")
    if name in ("grpo", "dapo", "gspo", "cispo", "ppo"):
        assert (record["ratio_max"], record["approx_kl_k1"]) == (1.0, 0.0), "one update from a batch: the ratio is exactly one"
    before = weights(start)
    last = torch.load(tmp_path / "rl" / "best.pt", weights_only=True)
    assert last["update"] in (0, 1)
    assert before.keys() == weights(tmp_path / "rl" / "checkpoint").keys()


def test_a_run_ends_without_progress_and_when_its_time_is_up(start: Path, tmp_path: Path) -> None:
    config = replace(SIDES, checkpoint=start, updates=50, evaluate_every=1, optimizer=OptimizerConfig(lr=1e-9, adam_lr=1e-9))
    main(replace(config, output=tmp_path / "patience", patience=2), show=False)
    assert [record["step"] for record in figures(tmp_path / "patience")] == [1, 2]
    assert torch.load(tmp_path / "patience" / "best.pt", weights_only=True)["update"] == 0
    main(replace(config, output=tmp_path / "time", max_seconds=0.0), show=False)
    assert [record["step"] for record in figures(tmp_path / "time")] == [1]


def test_a_broken_environment_is_counted_and_is_no_failure_of_the_agent(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sides, "broken", (0, 2))
    config = replace(SIDES, checkpoint=start, output=tmp_path, groups=4, rounds=1, expand=False, validation=0, save_every=1)
    main(config, show=False)
    (record,) = figures(tmp_path)
    graded = [item.reward for item in episodes(tmp_path) if item.seed not in (0, 2)]
    assert all(item.status == "env_error" and item.reward is None for item in episodes(tmp_path) if item.seed in (0, 2))
    assert (record["episodes"], record["failed"], len(graded)) == (24, 12, 12)
    assert record["kept"] <= 2
    assert record["reward"] == pytest.approx(np.mean(graded))
    success = torch.load(tmp_path / "state.pt", weights_only=True)["standing"]["curriculum"]["success"]["left"]
    assert min(success, record["reward"]) > 0.2, "broken pages do not make the task look harder"


# ---------------------------------------------------------------- the learning half alone


@pytest.fixture(scope="module")
def groups(undisturbed: Path) -> list[Group]:
    """Two groups in which some succeeded and some did not."""
    found: dict[str, Group] = defaultdict(list)
    for trajectory in episodes(undisturbed):
        found[trajectory.group].append(trajectory)
    return [group for group in found.values() if mixed(group)][:2]


def learner(undisturbed: Path, start: Path, **settings: Any) -> Learner:
    config = replace(FORMS, checkpoint=start, rewards={}, bf16=False, **settings)
    return Learner(config, AgentOptions().build(), ImageStore(undisturbed / "images"))


def parameters(learner: Learner) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in learner.trainer.named_parameters()}


def test_a_batch_in_which_every_group_is_flat_changes_nothing_at_all(undisturbed: Path, start: Path, groups: list[Group]) -> None:
    """Not even later: the optimizer's memory of earlier updates does not go on by itself."""
    taught = learner(undisturbed, start, algo=Grpo(kl=0.1, entropy=0.1))
    assert taught.learn(groups)["grad_norm"] > 0
    flat = [[replace(member, reward=reward) for member in group] for group, reward in zip(groups, (0.0, 1.0), strict=True)]
    kept = [group for group in flat if taught.algorithm.keep(group)]
    before, step = parameters(taught), taught.trainer.step_count
    momentum = [
        {k: v.clone() for k, v in state.items() if k == "momentum_buffer"}
        for o in taught.trainer.optimizers
        for state in o.state.values()
    ]
    assert taught.learn(kept) == {}
    assert all(torch.equal(before[name], value) for name, value in parameters(taught).items())
    assert taught.trainer.step_count == step
    after = [state for o in taught.trainer.optimizers for state in o.state.values()]
    assert all(torch.equal(value, new[name]) for old, new in zip(momentum, after, strict=True) for name, value in old.items())


def test_equal_outcomes_of_the_whole_batch_change_nothing_either(undisturbed: Path, start: Path, groups: list[Group]) -> None:
    """REINFORCE keeps every group; what it compares with is the mean of the batch."""
    taught = learner(undisturbed, start, algo=Reinforce())
    assert taught.learn(groups)["grad_norm"] > 0
    before = parameters(taught)
    equal = [[replace(member, reward=1.0) for member in group] for group in groups]
    assert all(taught.algorithm.keep(group) for group in equal)
    assert taught.learn(equal) == {}
    assert all(torch.equal(before[name], value) for name, value in parameters(taught).items())


def test_a_teacher_with_another_vocabulary_is_refused(undisturbed: Path, start: Path, tmp_path: Path) -> None:
    stranger = checkpoint(tmp_path / "stranger", text="Another language altogether, of which the student has never heard.")
    with pytest.raises(ConfigError, match="another vocabulary or other visual tokens"):
        learner(undisturbed, start, algo=Opd(), teacher=stranger)
    learner(undisturbed, start, algo=Opd(), teacher=checkpoint(tmp_path / "relative", seed=1))


def test_warming_up_the_critic_leaves_the_policy_alone(undisturbed: Path, start: Path, groups: list[Group]) -> None:
    taught = learner(undisturbed, start, algo=Ppo(critic_warmup=2, updates=2, kl=0.1, entropy=0.1))
    for moved in (False, False, True):
        before = parameters(taught)
        taught.learn(groups)
        changed = {name.startswith("critic.") for name, value in parameters(taught).items() if not torch.equal(before[name], value)}
        assert changed == ({True, False} if moved else {True})


def test_the_same_groups_in_smaller_pieces_give_the_same_losses(undisturbed: Path, start: Path, groups: list[Group]) -> None:
    algorithm = Ppo(kl=0.1, entropy=0.1)
    found = [learner(undisturbed, start, algo=algorithm, micro_batch=size).learn(groups) for size in (64, 3, 1)]
    for one in found[1:]:
        assert one == pytest.approx(found[0], rel=1e-3, abs=1e-5)


def test_terms_of_rewards_are_named_and_a_failed_environment_has_none(undisturbed: Path, start: Path, groups: list[Group]) -> None:
    config = replace(FORMS, checkpoint=start, rewards={"outcome": 2.0, "format": 0.5})
    taught = Learner(config, AgentOptions().build(), ImageStore(undisturbed / "images"))
    group = [replace(groups[0][0], reward=1.0), replace(groups[0][1], status="env_error", reward=None)]
    first, second = taught.with_terms(group)
    assert first.parts == {"task": 1.0, "format": 0.0, "reward": 2.0}
    assert second.parts == {}
    assert taught.algorithm.rewards([first, second]).tolist() == pytest.approx([2.0, np.nan], nan_ok=True)


def test_the_learning_rate_rises_and_falls_by_updates(start: Path, tmp_path: Path) -> None:
    config = replace(SIDES, checkpoint=start, algo=Grpo(updates=2), updates=10, warmup=2, decay=0.5)
    schedule = Learner(config, AgentOptions().build(), ImageStore(tmp_path)).trainer.schedule
    factors = [schedule.factor(step) for step in range(20)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0], "two updates of two optimizer steps"
    assert factors[3:11] == [1.0] * 8
    assert factors[11:] == pytest.approx([0.9 - 0.1 * step for step in range(9)])


def test_more_updates_are_another_run_where_the_learning_rate_falls(start: Path, tmp_path: Path) -> None:
    config = replace(SIDES, checkpoint=start, output=tmp_path, validation=0, decay=0.5)
    main(config, show=False)
    with pytest.raises(ConfigError, match="updates was 1"):
        main(replace(config, updates=2), show=False)


def test_the_curriculum_begins_with_the_validation(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[Played]] = []
    update = UncertainTasks.update

    def note(curriculum: UncertainTasks, played: Any) -> None:
        told.append(list(played))
        update(curriculum, played)

    monkeypatch.setattr(UncertainTasks, "update", note)
    main(replace(SIDES, checkpoint=start, output=tmp_path, validation=4), show=False)
    before = read_metrics(tmp_path, "rl")[0]
    assert told[0] == [Played("left", before["validation"])]
    assert len(told) > 1, "then come the groups that were played"


# ---------------------------------------------------------------- mistakes, and the command line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0; it must be at least 1")
            for name in ("updates", "groups", "group_size", "rounds", "environments")
        ),
        *(({name: 0}, f"{name} is 0; it must be at least 1") for name in ("ranks", "micro_batch", "evaluate_every", "save_every")),
        ({"replay": -1}, "replay is -1; it must be at least 0"),
        ({"patience": -1}, "patience is -1; it must be at least 0"),
        ({"ranks": 3, "seeds": 2}, "seeds is 2; it must be at least 3"),
        ({"probe": 6}, "probe is 6; it must be at least 0 and less than group_size, 6"),
        ({"decay": 1.5}, r"decay is 1\.5; it is a share of the updates"),
        ({"temperature": 0.0}, r"temperature is 0\.0; exploration needs one above 0"),
        ({"checkpoint": Path("nowhere")}, "checkpoint: nowhere is no directory; make one with `stepladder sft`"),
        ({"algo": Grpo(aggregation="token-maen")}, "algo.aggregation is 'token-maen'; did you mean 'token-mean'"),
        ({"algo": Grpo(reward="shaped")}, "algo.reward is 'shaped'; without `rewards` there is no other term than 'task'"),
        ({"first": 989_999, "seeds": 2}, "2 from 989999 on are not all among them"),
        ({"algo": Opd()}, "algo: opd needs a teacher; set teacher to a checkpoint directory"),
        ({"algo": Opd(), "teacher": Path("nobody")}, "teacher: nobody is no directory"),
    ],
)
def test_impossible_settings_are_named_before_anything_is_written(
    start: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        main(replace(SIDES, **{"checkpoint": start, "output": tmp_path / "rl", **settings}), show=False)
    assert not (tmp_path / "rl").exists()


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["rl", *arguments])
    return result.exit_code, result.output if result.exception is None or result.exit_code == 0 else str(result.exception)


def test_the_algorithm_is_chosen_and_set_on_the_command_line() -> None:
    code, output = command("--algo", "gspo", "--set", "algo.clip_high=0.5", "--set", "algo.dr=true", "--settings")
    assert code == 0
    lines = output.splitlines()
    for line in ("algo.clip_high=0.5", "algo.clip_low=0.0003", "algo.dr=True", "algo.aggregation=seq-mean-token-sum-norm"):
        assert line in lines
    assert "algo.lam=0.95" in command("--algo", "ppo", "--settings")[1].splitlines()
    assert "algo.clip_high=0.28" in command("--algo", "stepladder.algos.dapo:Dapo", "--settings")[1].splitlines()
    assert "did you mean 'grpo'" in command("--algo", "grpoo")[1]
    assert "unknown setting 'algo.lamb'; did you mean 'algo.lam'?" in command("--algo", "ppo", "--set", "algo.lamb=1")[1]
    assert "algo: opd needs a teacher" in command("--algo", "opd", "--checkpoint", str(Path(__file__).parent))[1]


def test_a_run_is_started_on_the_command_line(start: Path, tmp_path: Path) -> None:
    asked = {"updates": 1, "groups": 1, "group_size": 2, "validation": 0, "ranks": 1, "environments": 2, "max_tokens": 1}
    settings = [part for name, value in asked.items() for part in ("--set", f"{name}={value}")]
    options = ["--algo", "rloo", "--checkpoint", str(start), "--tasks", "env:test_rl:Sides", "--output", str(tmp_path / "rl")]
    code, output = command(*options, *settings)
    assert code == 0, output
    assert f"checkpoint: {tmp_path / 'rl' / 'checkpoint'}" in output
    assert json.loads((tmp_path / "rl" / "config.json").read_text())["algorithm"] == "rloo"


def test_activation_checkpointing_reaches_the_trainer(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (False, True):
        config = replace(SIDES, checkpoint=start, algo=Grpo(), activation_checkpointing=wanted)
        made = first_trainer(monkeypatch, lambda config=config: Learner(config, AgentOptions().build(), ImageStore(tmp_path)))
        assert made.activation_checkpointing == wanted


def test_what_will_not_fit_is_refused_before_it_begins(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 1e5)
    with pytest.raises(ConfigError, match=r"will not fit: needs about .* are free; try "):
        main(replace(SIDES, checkpoint=start, output=tmp_path / "rl", algo=Grpo()), show=False)


def test_all_that_learns_is_on_the_device(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SIDES, checkpoint=start, algo=Grpo())
    monkeypatch.setattr(rl_learner, "device_of", lambda device: torch.device("meta"))
    made = first_trainer(monkeypatch, lambda: Learner(config, AgentOptions().build(), ImageStore(tmp_path)))
    assert {parameter.device.type for _, parameter in made.named_parameters()} == {"meta"}
