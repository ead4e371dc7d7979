"""Collecting demonstrations: every one of them once, whoever is killed in between."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from processes import is_running

from stepladder.codec import to_json
from stepladder.config import ConfigError
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import VISITED_FILE
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.rollout.demonstrate import Seen, run_demonstration
from stepladder.rollout.group import EpisodeJob
from stepladder.stages import collect as stage
from stepladder.stages.collect import CHUNK, CollectConfig, JobQueue, collect, has_mistake, main
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Limits

FORMS = "forms:login,check-boxes"


def content(directory: Path) -> dict[str, Any]:
    """The demonstrations by id, without how long anything took: what "the same set" means."""
    with TrajectoryStore(directory / "trajectories.jsonl") as store:
        records = {item.id: to_json(item) for item in store}
    for record in records.values():
        for step in record["steps"]:
            step.pop("seconds", None)
    return records


def jobs(spec: str, episodes: int) -> list[EpisodeJob]:
    return [EpisodeJob(task, seed) for task in load_tasks(spec, "train") for seed in range(episodes)]


def test_the_queue_keeps_pages_on_their_task_and_loses_nothing() -> None:
    asked = jobs(FORMS, 60)
    queue, taken, sizes, task = JobQueue(asked, slots=4), [], [], ""
    while piece := queue.take(task):
        assert len({job.task.id for job in piece}) == 1
        assert task in ("", piece[0].task.id) or len(taken) == 60, "another task only when its own is done"
        task = piece[0].task.id
        taken += piece
        sizes.append(len(piece))
    assert taken == asked
    assert sizes[0] == 1 + 120 // 8
    assert max(sizes) <= CHUNK
    assert sizes[-1] == 1
    queue.add(asked[:1])
    assert queue.take("") == asked[:1]
    assert queue.take("") == []


def test_mistakes_depend_on_task_and_seed_alone() -> None:
    drawn = [has_mistake("a", seed, 0.25) is not None for seed in range(2000)]
    assert drawn == [has_mistake("a", seed, 0.25) is not None for seed in range(2000)]
    assert 0.2 < sum(drawn) / 2000 < 0.3
    assert not any(has_mistake("a", seed, 0.0) for seed in range(100))
    assert all(has_mistake("a", seed, 1.0) for seed in range(100))


def test_demonstrations_have_pictures_and_regions_and_are_collected_once(tmp_path: Path) -> None:
    config = CollectConfig(tasks=FORMS, output=tmp_path, episodes=8, environments=2, mistakes=0.5)
    found = main(config, show=False)
    assert sum(found.kept.values()) + sum(found.rejected.values()) == 16
    assert sum(found.kept.values()) >= 12
    assert found.missing == {}
    images, regions = ImageStore(tmp_path / "images"), RegionStore(tmp_path / "regions.jsonl")
    records = content(tmp_path)
    with TrajectoryStore(tmp_path / "trajectories.jsonl") as store:
        assert len(store) == sum(found.kept.values())
        for item in store:
            assert item.success
            assert item.task.split == "train"
            assert item.task.instruction
            for step in item.steps:
                assert step.observation.screenshot in images
                assert regions.get(step.observation.screenshot)
        assert any(item.parts.get("mistakes") for item in store)
    assert json.loads((tmp_path / "collected.json").read_text())["kept"] == dict(found.kept)
    again = main(config, show=False)
    assert (again.kept, again.rejected) == (found.kept, found.rejected)
    assert content(tmp_path) == records
    more = main(CollectConfig(tasks=FORMS, output=tmp_path, episodes=9, environments=1, workers=1, mistakes=0.5), show=False)
    assert sum(more.kept.values()) + sum(more.rejected.values()) == 18


def test_visited_pages_are_looked_at_and_nothing_is_done(tmp_path: Path) -> None:
    config = CollectConfig(tasks=FORMS, output=tmp_path, episodes=2, visits=5, workers=1)
    found = main(config, show=False)
    assert found.visited.total() == 10
    assert found.kept.total() + found.rejected.total() == 4
    images, regions = ImageStore(tmp_path / "images"), RegionStore(tmp_path / "regions.jsonl")
    with TrajectoryStore(tmp_path / "trajectories.jsonl") as store:
        demonstrated = {(item.task.id, item.seed) for item in store}
    with TrajectoryStore(tmp_path / VISITED_FILE) as store:
        visits = list(store)
    for visit in visits:
        assert (visit.steps, visit.reward, visit.task.split) == ((), None, "train")
        assert visit.final is not None
        assert visit.final.screenshot in images
        assert regions.get(visit.final.screenshot)
    assert len({(visit.task.id, visit.seed) for visit in visits} - demonstrated) == 10
    again = main(replace(config, visits=6), show=False)
    assert (again.visited.total(), again.kept) == (12, found.kept)
    with pytest.raises(ConfigError, match="visits is 5 with regions off"):
        main(replace(config, regions=False), show=False)
    with pytest.raises(ConfigError, match="go up to 100000; with visits they must end below 100000"):
        main(replace(config, first=99_999), show=False)


def test_known_pictures_are_not_looked_at_again() -> None:
    async def regions(known: Container[str]) -> tuple[list[str], list[Seen]]:
        environment = FormsEnvironment(ImageStore())
        task = load_tasks("forms:check-boxes", "train")[0]
        item, seen = await run_demonstration(environment, task, 3, limits=Limits(), regions=True, known=known)
        return [step.observation.screenshot.sha256 for step in item.steps if step.observation.screenshot], seen

    pictures, seen = asyncio.run(regions(()))
    assert len(pictures) == len(seen) > 1
    assert [picture for picture, one in zip(pictures, seen, strict=True) if one] == list(dict.fromkeys(pictures))
    again, seen = asyncio.run(regions({pictures[0]}))
    assert again == pictures
    assert [picture for picture, one in zip(pictures, seen, strict=True) if one] == list(dict.fromkeys(pictures))[1:]


@pytest.mark.parametrize("success", [True, False])
def test_a_worker_knows_only_the_pictures_whose_regions_the_parent_keeps(tmp_path: Path, success: bool) -> None:
    ours, theirs = multiprocessing.Pipe()
    workplace = stage._Workplace(theirs, stage.Orders(tmp_path, 0.0, True, 1, {}))
    job = jobs("forms:login", 1)[0]
    demonstration = asyncio.run(workplace._play(FormsEnvironment(ImageStore()), job))
    assert workplace.known == set(), "nothing has been sent"
    trajectory = replace(demonstration[0], reward=float(success))
    workplace._send((trajectory, demonstration[1]))
    sent = ours.recv()[1][0]
    pictures = {step.observation.screenshot.sha256 for step in sent.steps}
    assert workplace.known == (pictures if success else set())


def test_impossible_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mistakes is 1\.5"):
        main(CollectConfig(output=tmp_path, mistakes=1.5))
    with pytest.raises(ConfigError, match="workers"):
        main(CollectConfig(output=tmp_path, workers=0))
    with pytest.raises(ValueError, match="did you mean 'miniwob'"):
        main(CollectConfig(output=tmp_path, tasks="miniwop"))
    main(CollectConfig(tasks="forms:login", output=tmp_path, episodes=1), show=False)
    with pytest.raises(ConfigError, match=r"mistakes was 0\.25 and is now 0"):
        main(CollectConfig(tasks="forms:login", output=tmp_path, episodes=1, mistakes=0.0), show=False)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    asked = jobs(FORMS, 60)
    collect(asked, tmp_path / "whole", show=False)
    result: list[stage.Collected] = []
    thread = Thread(target=lambda: result.append(collect(asked, tmp_path / "hurt", show=False)))
    thread.start()
    victim = _wait_for(lambda: _children(os.getpid(), "spawn_main"))
    _wait_for(lambda: (tmp_path / "hurt" / "trajectories.jsonl").exists() and _lines(tmp_path / "hurt") > 3)
    os.kill(victim[0], signal.SIGKILL)
    thread.join(120)
    assert sum(result[0].kept.values()) + sum(result[0].rejected.values()) == len(asked)
    assert content(tmp_path / "hurt") == content(tmp_path / "whole")


def test_a_mistake_of_the_program_ends_the_collection(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="'colour'"):
        collect(jobs("forms:login", 2), tmp_path, options={"colour": 1}, show=False)


def test_kill_and_resume_in_a_real_browser_gives_the_undisturbed_set(tmp_path: Path) -> None:
    tasks = "miniwob:click-button,enter-text,click-checkboxes"
    asked = ["--tasks", tasks, "--episodes", "25", "--set", "environments=2"]
    _command(asked, tmp_path / "whole").wait()
    for kills in range(3):
        process = _command(asked, tmp_path / "killed")
        known = _lines(tmp_path / "killed")
        _wait_for(lambda process=process, known=known: _lines(tmp_path / "killed") > known + 5 or process.poll() is not None)
        family = _descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _wait_for(lambda family=family: not any(is_running(pid) for pid in family))
        assert kills or len(content(tmp_path / "killed")) < 75
    assert _command(asked, tmp_path / "killed").wait() == 0
    whole, killed = content(tmp_path / "whole"), content(tmp_path / "killed")
    assert killed.keys() == whole.keys()
    assert killed == whole
    assert len(whole) >= 70


def _command(arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "stepladder", "collect", "--output", str(output), *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _lines(directory: Path) -> int:
    path = directory / "trajectories.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _children(pid: int, command: str = "") -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if command in _command_line(child)]


def _descendants(pid: int) -> list[int]:
    return [one for child in _children(pid) for one in (child, *_descendants(child))] if is_running(pid) else []


def _command_line(pid: int) -> str:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text().replace("\0", " ") if path.exists() else ""


def _wait_for(condition: Any, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value
