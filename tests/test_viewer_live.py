"""Episodes that are being played, as the viewer shows them: files that appear, change and go, and the events of a run."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEnvironment, WordAgent, pool_of
from starlette.testclient import TestClient
from viewer_run import make_run

from stepladder.policies.random import RandomPolicy
from stepladder.rollout.group import EpisodeJob, run_many
from stepladder.rollout.live import LiveScreens
from stepladder.run import Run
from stepladder.stages import evaluate as stage
from stepladder.stages.evaluate import EvaluateConfig
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, Limits, Message, Prompt, Sampling, Task
from stepladder.viewer import events as events_module
from stepladder.viewer.events import Changes, event_stream
from stepladder.viewer.live_screens import is_running
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import make_app

TASK = Task("fake", "", "fake", max_steps=3)


class Clicker:
    """Clicks, and notes before each reply what the files in a directory say."""

    name, version = "clicker", 0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seen: list[dict[str, Any]] = []

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> tuple[Prompt, Completion]:
        self.seen += [json.loads(path.read_text()) for path in sorted(self.directory.glob("live/*.json"))]
        return Prompt(tuple(messages)), Completion("click")


def play(live: LiveScreens, policy: Clicker, jobs: int = 1) -> None:
    async def all_of_them() -> None:
        async with pool_of([FakeEnvironment(goal=2) for _ in range(jobs)]) as pool:
            await run_many(
                [EpisodeJob(TASK, seed, "g") for seed in range(jobs)],
                pool,
                WordAgent(),
                policy,
                sampling=Sampling(),
                limits=Limits(),
                live=live,
            )

    asyncio.run(all_of_them())


def test_an_episode_is_shown_at_every_turn_and_then_no_more(tmp_path: Path) -> None:
    policy = Clicker(tmp_path)
    play(LiveScreens(tmp_path, "episodes"), policy)
    first, second = policy.seen
    assert (first["slot"], first["store"], first["task"], first["seed"], first["step"]) == ("episodes-0", "episodes", "fake", 0, 0)
    assert first["id"] == "fake-0-g-0"
    assert first["instruction"] == "click 2 times (seed 0)", "what the environment made of the task"
    assert first["screenshot"] == {"sha256": "0" * 64, "width": 100, "height": 80}
    assert (first["action"], second["action"], second["step"]) == (None, {"kind": "click"}, 1)
    assert second["screenshot"]["sha256"] == f"{1:064x}"
    assert first["process"] == os.getpid()
    assert list((tmp_path / "live").iterdir()) == []


def test_episodes_at_the_same_time_have_places_of_their_own(tmp_path: Path) -> None:
    policy = Clicker(tmp_path)
    play(LiveScreens(tmp_path, "episodes"), policy, jobs=3)
    assert {one["slot"] for one in policy.seen} == {f"episodes-{number}" for number in range(3)}
    assert list((tmp_path / "live").iterdir()) == []


def test_what_a_killed_run_has_left_is_tidied_up(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    for name in ("episodes-0.json", "episodes-17.json", "episodes-2-0.json", "other-0.json"):
        (tmp_path / "live" / name).write_text("{}")
    LiveScreens(tmp_path, "episodes")
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == ["episodes-2-0.json", "other-0.json"]


def test_a_disk_that_is_full_ends_no_episode(tmp_path: Path) -> None:
    (tmp_path / "live").write_text("no directory")
    policy = Clicker(tmp_path)
    with pytest.warns(UserWarning, match="episodes cannot be watched") as told:
        play(LiveScreens(tmp_path, "episodes"), policy)
    assert len(told) == 1, "it is told once"


def test_screens_of_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "first", seeds=1, attempts=1)
    live = LiveScreens(tmp_path / "run", "episodes")
    with TrajectoryStore(tmp_path / "run" / "episodes.jsonl") as store:
        step = next(iter(store)).steps[0]
    runs = Runs([tmp_path])
    client = TestClient(make_app(runs), base_url="http://127.0.0.1")
    with live.episode(TASK, 5, "fake-5-first-0", "first") as watch:
        asyncio.run(watch(FakeEnvironment(), step.observation, [step]))  # type: ignore[arg-type]
        (screen,) = client.get("/api/live/run/screens").json()["screens"]
        assert (screen["slot"], screen["seed"], screen["step"], screen["thought"]) == ("episodes-0", 5, 1, step.thought)
        assert screen["action"]["kind"] == "click"
        assert client.get(screen["screenshot"]["url"]).status_code == 200
        path = tmp_path / "run/live/episodes-0.json"
        record = json.loads(path.read_text())
        dead = os.fork()
        if dead == 0:
            os._exit(0)
        os.waitpid(dead, 0)
        for changed, shown in (
            ({"process": dead}, 0),
            ({"process": dead, "machine": "another"}, 1),
            ({"updated": time.time() - 7200}, 0),
            ({"updated": "now"}, 0),
            ({"screenshot": {"sha256": "../x"}, "action": "none", "thought": 5}, 1),
        ):
            path.write_text(json.dumps(record | changed))
            assert len(client.get("/api/live/run/screens").json()["screens"]) == shown, changed
        path.write_text('{"slot": ')
        assert client.get("/api/live/run/screens").json()["screens"] == []
    assert client.get("/api/live/run/screens").json() == {
        "total": 0,
        "screens": [],
        "running": False,
        "rollouts": None,
    }
    runs.close()


def test_whether_a_run_goes_on(tmp_path: Path) -> None:
    with Run(tmp_path / "run", {"a": 1}):
        runs = Runs([tmp_path])
        (run,) = runs.all()
        run.refresh()
        assert is_running(run)
        with pytest.raises(Exception, match="in use by"):
            Run(tmp_path / "run", {"a": 1})
    with Run(tmp_path / "another", {}):  # a lock of the same process, but another one
        assert not is_running(run)
    (tmp_path / "run/run.lock").write_text("1\n")  # a process that lives and holds no lock of this run's
    assert not is_running(run)
    runs.close()


def test_events_tell_what_is_new(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "first", seeds=1, attempts=2)
    runs = Runs([tmp_path])
    (run,) = runs.all()
    changes = Changes(run)
    first = {event["type"]: event for event in changes.look()}
    assert first["count"] == {"type": "count", "trajectories": 2, "successes": 1, "graded": 2}
    assert "trajectory" not in first
    assert first["running"] == {"type": "running", "running": False}
    assert changes.look() == []
    with (
        Run(tmp_path / "run", {"algo": {"name": "grpo"}, "lr": 1e-5}) as going,
        TrajectoryStore(tmp_path / "run/episodes.jsonl", "a") as store,
    ):
        assert [event["type"] for event in changes.look()] == ["running"]
        store.append(replace(store.get("press-0-first-0"), id="new", reward=1.0))
        going.log(60, "rl", entropy=0.1)
        alarm = {"time": 1.8e9, "step": 60, "phase": "rl", "kind": "length_drift", "message": "m", "trajectories": []}
        with (tmp_path / "run/alarms.jsonl").open("a") as file:
            file.write(json.dumps(alarm) + "\n")
        found = {event["type"]: event for event in changes.look()}
        assert found["count"]["trajectories"] == 3
        assert found["trajectory"]["trajectory"]["id"] == "new"
        assert (found["metrics"]["step"], found["metrics"]["metrics"]) == (60, {"entropy": 0.1})
        assert found["alarm"]["alarm"]["kind"] == "length_drift"
        live = LiveScreens(tmp_path / "run", "episodes")
        with live.episode(TASK, 5, "x", "first") as watch:
            step = store.get("new").steps[0]
            asyncio.run(watch(FakeEnvironment(), step.observation, []))  # type: ignore[arg-type]
            assert [event["type"] for event in changes.look()] == ["screens"]
        assert [event["type"] for event in changes.look()] == ["screens"]
    assert [event["type"] for event in changes.look()] == ["running", "end"]
    runs.close()


def test_the_stream_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run", "first", seeds=1, attempts=1)
    monkeypatch.setattr(events_module, "LOOK", 0.01)
    monkeypatch.setattr(events_module, "HEARTBEAT", 0.05)
    runs = Runs([tmp_path])
    (run,) = runs.all()

    async def first_lines(count: int) -> list[bytes]:
        found = []
        stream = event_stream(run)
        async for line in stream:
            found.append(line)
            if len(found) == count:
                await stream.aclose()  # type: ignore[attr-defined]
                break
        return found

    lines = asyncio.run(first_lines(7))
    assert lines[0] == b'data: {"type":"hello"}\n\n'
    assert all(line.endswith(b"\n\n") and line.count(b"\n") == 2 for line in lines)
    assert lines[-1] == b": still here\n\n"
    runs.close()


def test_an_evaluation_can_be_followed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real evaluation in another thread, looked at as a browser looks at it."""
    looked = threading.Event()

    class Patient(RandomPolicy):
        """Does nothing after its first turns until somebody has looked on: the evaluation would be over by then."""

        turns = 0

        async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
            self.turns += 1
            while self.turns > 4 and not looked.is_set():
                await asyncio.sleep(0.01)
            return await super().generate(messages, sampling)

    monkeypatch.setattr(stage, "RandomPolicy", Patient)
    output = tmp_path / "eval"
    output.mkdir()
    runs = Runs([output])
    client = TestClient(make_app(runs), base_url="http://127.0.0.1")
    config = EvaluateConfig(tasks="forms", policy="random", baselines=(), episodes=2, output=output, environments=2, max_steps=4)
    evaluation = threading.Thread(target=stage.main, args=(config, False))
    evaluation.start()
    screens: list[dict[str, Any]] = []
    counts: list[int] = []
    while evaluation.is_alive():
        found = client.get("/api/live/eval/screens")
        if found.status_code == 200:
            screens += found.json()["screens"]
            if any(screen["step"] > 0 for screen in screens):
                looked.set()
            counts.append(client.get("/api/runs").json()["runs"][0]["trajectories"])
        time.sleep(0.01)
    evaluation.join()
    assert {screen["store"] for screen in screens} == {"random"}
    assert any(screen["step"] > 0 and screen["action"] is not None for screen in screens)
    assert counts == sorted(counts)
    answer = client.get("/api/live/eval/screens").json()
    assert (answer["screens"], answer["running"]) == ([], False)
    with TrajectoryStore(output / "random.jsonl") as store:
        assert {screen["id"] for screen in screens} <= set(store.ids())
        until = time.monotonic() + 20  # new stores are looked for every two seconds
        while client.get("/api/runs/eval/trajectories").json()["total"] != len(store):
            assert time.monotonic() < until, "the viewer does not find the episodes"
            time.sleep(0.1)
    runs.close()


def test_how_busy_an_asynchronous_run_is(tmp_path: Path) -> None:
    with Run(tmp_path / "run", {}) as run:
        run.log(1, "rollouts", queue=2, environment_use=0.25)
        run.log(2, "rollouts", queue=1, environment_use=0.5)
        client = TestClient(make_app(Runs([tmp_path])), base_url="http://127.0.0.1")
        told = client.get("/api/live/run/screens").json()
    assert told["rollouts"] == {"queue": 1.0, "environment_use": 0.5, "step": 2.0}
    assert told["running"]
