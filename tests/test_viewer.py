"""The viewer's API: what it answers about a run, a trajectory, groups, comparisons, measurements and pictures."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from viewer_run import ALL_ACTIONS, TASK, episode, make_run, press

from stepladder.compare.divergence import align, divergence
from stepladder.images import ImageStore
from stepladder.results import summarise
from stepladder.run import Run, read_metrics
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Element, Observation, Step, Task, Trajectory
from stepladder.viewer.comparison import side_by_side
from stepladder.viewer.listing import advantages
from stepladder.viewer.metrics import Series, thinned
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import ViewerSettings, make_app
from stepladder.viewer.token_texts import byte_characters, token_texts


class Asked:
    """The API of a viewer."""

    def __init__(self, *directories: Path) -> None:
        self.runs = Runs(directories)
        self.client = TestClient(make_app(self.runs), base_url="http://127.0.0.1")

    def get(self, *parts: str, **query: object) -> Any:
        answer = self.client.get(self.path(*parts, **query))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def error(self, *parts: str, **query: object) -> tuple[int, str]:
        answer = self.client.get(self.path(*parts, **query))
        return answer.status_code, answer.json()["error"]

    def path(self, *parts: str, **query: object) -> str:
        return "/api/" + "/".join(quote(part, safe="") for part in parts) + (f"?{urlencode(query)}" if query else "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of equal starts."""
    made = tmp_path_factory.mktemp("runs")
    make_run(made / "first", "first", many=30)
    make_run(made / "second", "second")
    return made


@pytest.fixture(scope="module")
def asked(folder: Path) -> Iterator[Asked]:
    asked = Asked(folder)
    yield asked
    asked.runs.close()


def stored(directory: Path, store: str = "episodes") -> list[Trajectory]:
    with TrajectoryStore(directory / f"{store}.jsonl") as found:
        return list(found)


def test_the_list_of_runs(asked: Asked, folder: Path) -> None:
    answer = asked.get("runs")
    first, second = answer["runs"]
    assert (answer["total"], first["id"], second["id"]) == (2, "first", "second")
    trajectories = stored(folder / "first")
    graded = [one for one in trajectories if one.reward is not None]
    assert (first["trajectories"], first["graded"], first["successes"]) == (
        len(trajectories),
        len(graded),
        sum(one.success for one in graded),
    )
    assert first["headline"]["rate"] == first["successes"] / first["graded"]
    assert first["headline"]["low"] < first["headline"]["rate"] < first["headline"]["high"]
    assert first["kind"] == "rl"
    assert first["alarms"] == 1
    assert first["latest"]["step"] == 59
    assert 2 <= len(first["curve"]) <= 60
    assert first["started"] <= first["updated"]
    assert first["indexing"] is None


def test_a_run(asked: Asked, folder: Path) -> None:
    run = asked.get("runs", "first")
    assert run["config"] == {"algo": {"name": "grpo"}, "lr": 1e-5}
    assert run["machine"]["machine"]["cores"] >= 1
    assert run["phases"]["rl"]["done"] is True
    (store,) = run["stores"]
    assert (store["id"], store["trajectories"], store["unreadable"], set(store["policies"])) == ("episodes", 42, 0, {"first", ""})
    assert {one["phase"]: (one["keys"], one["steps"]) for one in run["metrics"]} == {
        "rl": (["entropy", "reward/format", "reward/mean"], 59),
        "sft": (["loss"], 59),
    }
    (alarm,) = run["alarms"]
    assert alarm["trajectories"] == [{"store": "episodes", "id": "press-0-first-0"}]
    assert asked.get("runs", "first", "trajectories", *alarm["trajectories"][0].values())["id"] == "press-0-first-0"


def test_tasks_are_counted_as_a_report_counts_them(asked: Asked, folder: Path) -> None:
    trajectories = [one for one in stored(folder / "first") if one.task == TASK]
    seeds = sorted({one.seed for one in trajectories})
    (wanted,) = summarise(trajectories, [TASK], seeds, policy="", task_set="", seconds=0, trials=4).tasks
    answer = asked.get("runs", "first", "tasks")
    found = {row["task"]: row for row in answer["tasks"]}[TASK.id]
    assert answer["total"] == 2
    for name in ("n", "successes", "rate", "low", "high", "missing", "statuses", "steps"):
        assert found[name] == pytest.approx(getattr(wanted, name)), name
    assert found["missing"] == {"env_error": 1}


def evaluated(directory: Path, played: dict[str, list[Trajectory]], rung: str | None = None) -> Asked:
    """The viewer of an evaluation with these stores, and with a report where there is a rung."""
    with Run(directory, {"baselines": ["random"]}):
        for name, trajectories in played.items():
            with TrajectoryStore(directory / f"{name}.jsonl", "a") as store:
                for one in trajectories:
                    store.append(one)
    if rung is not None:
        last = {"rung": rung, "success": 0.5, "low": 0.1, "high": 0.9, "n": 4}
        (directory / "report.json").write_text(json.dumps({"rungs": [last]}))
    return Asked(directory)


def alone(images: ImageStore, seed: int, reward: float | None, policy: str, index: int = 0) -> Trajectory:
    """An episode that belongs to no group."""
    return replace(episode(images, seed, (press("Open"),), reward, policy, index), group="")


def test_repeated_starts_widen_the_headline_as_they_widen_the_table(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "run/images")
    asked = evaluated(tmp_path / "run", {"agent": [alone(images, 1, float(index < 3), "agent", index) for index in range(4)]})
    run = asked.get("runs", "run")
    (row,) = asked.get("runs", "run", "tasks")["tasks"]
    assert run["stores"][0]["starts"] == 1
    assert (run["headline"]["low"], run["headline"]["high"]) == (row["low"], row["high"])
    assert row["high"] - row["low"] > 0.8
    asked.runs.close()


def test_the_headline_names_the_store_of_its_episodes(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "run/images")
    stores = {name: [alone(images, 1, 1.0, name)] for name in ("checkpoint", "random")}
    asked = evaluated(tmp_path / "run", stores, rung="checkpoint")
    assert asked.get("runs", "run")["headline"]["store"] == "checkpoint"
    asked.runs.close()
    (tmp_path / "demo/evaluate").mkdir(parents=True)
    (tmp_path / "run").rename(tmp_path / "demo/evaluate/cloned")
    (tmp_path / "demo/evaluate/cloned/report.json").rename(tmp_path / "demo/report.json")
    for rung, store in (("cloned", "evaluate/cloned/checkpoint"), ("another", None)):
        (tmp_path / "demo/config.json").write_text("{}")
        report = json.loads((tmp_path / "demo/report.json").read_text())
        report["rungs"][-1]["rung"] = rung
        (tmp_path / "demo/report.json").write_text(json.dumps(report))
        asked = Asked(tmp_path / "demo")
        assert asked.get("runs", "demo")["headline"]["store"] == store
        asked.runs.close()


def test_what_was_played_again_is_not_missing(tmp_path: Path) -> None:
    """Of two trials a start: one failed and was played again, one failed twice and lacks both, one lacks one of them."""
    images = ImageStore(tmp_path / "run/images")
    rewards = {1: (None, 1.0, 0.0), 2: (None, None, None), 3: (None, None, 1.0)}
    trajectories = [
        alone(images, seed, reward, "agent", index) for seed, its in rewards.items() for index, reward in enumerate(its)
    ]
    asked = evaluated(tmp_path / "run", {"agent": trajectories})
    (row,) = asked.get("runs", "run", "tasks")["tasks"]
    (wanted,) = summarise(trajectories, [TASK], list(rewards), policy="agent", task_set="", seconds=0, trials=2).tasks
    for name in ("n", "rate", "low", "high", "missing", "statuses"):
        assert row[name] == pytest.approx(getattr(wanted, name)), name
    assert row["missing"] == {"env_error": 3}
    asked.runs.close()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, lambda one: True),
        ({"task": "scroll-down"}, lambda one: one.task.id == "scroll-down"),
        ({"status": "max_steps"}, lambda one: one.status == "max_steps"),
        ({"status": "env_error,done"}, lambda one: one.status in ("env_error", "done")),
        ({"reward": "1..1"}, lambda one: one.reward == 1),
        ({"reward": "0..0.499"}, lambda one: one.reward is not None and one.reward <= 0.499),
        ({"reward": "0.5.."}, lambda one: one.reward is not None and one.reward >= 0.5),
        ({"reward": "none"}, lambda one: one.reward is None),
        ({"step": "4"}, lambda one: len(one.steps) >= 4),
        ({"step": "2..3"}, lambda one: 2 <= len(one.steps) <= 3),
        ({"policy": "first"}, lambda one: one.policy == "first"),
        ({"group": "update-0/press/1"}, lambda one: one.group == "update-0/press/1"),
        ({"seed": "2"}, lambda one: one.seed == 2),
        ({"q": "PRESS/1"}, lambda one: "press/1" in one.group),
        ({"q": "0_"}, lambda one: False),
        ({"q": "%"}, lambda one: False),
        ({"store": "episodes", "task": "scroll-down", "reward": "1"}, lambda one: one.task.id == "scroll-down" and one.reward == 1),
    ],
)
def test_filters(asked: Asked, folder: Path, query: dict[str, str], wanted: Any) -> None:
    answer = asked.get("runs", "first", "trajectories", limit=1000, **query)
    ids = [one.id for one in stored(folder / "first") if wanted(one)]
    assert [one["id"] for one in answer["trajectories"]] == ids
    assert answer["total"] == len(ids)


def test_lists_are_sorted_and_cut(asked: Asked) -> None:
    def ids(**query: object) -> list[str]:
        return [one["id"] for one in asked.get("runs", "first", "trajectories", **query)["trajectories"]]

    everything = asked.get("runs", "first", "trajectories")["trajectories"]
    for name in ("task", "seed", "status", "steps", "group", "index", "policy", "id"):
        found = asked.get("runs", "first", "trajectories", sort=name)["trajectories"]
        assert [one[name] for one in found] == sorted(one[name] for one in everything), name
        assert ids(sort=f"-{name}") == list(reversed(ids(sort=name))), name
    whole = ids(sort="-reward")
    assert [part for offset in range(0, 42, 5) for part in ids(sort="-reward", offset=offset, limit=5)] == whole
    assert ids(offset=42) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"sort": "color"}, "sort is 'color'; it must be one of"),
        ({"sort": "id; drop table trajectories"}, "sort is"),
        ({"limit": "1001"}, "limit is 1001; it may be 1000 at most"),
        ({"limit": "-1"}, "limit is '-1'; it must be a whole number"),
        ({"offset": "x"}, "offset is 'x'"),
        ({"reward": "high"}, "reward is 'high'; write"),
        ({"seed": "one"}, "seed is 'one'"),
    ],
)
def test_queries_that_mean_nothing(asked: Asked, query: dict[str, str], message: str) -> None:
    status, error = asked.error("runs", "first", "trajectories", **query)
    assert status == 400
    assert message in error


def test_what_is_not_there(asked: Asked) -> None:
    for parts, message in (
        (("runs", "third"), "there is no run 'third'; there are 'first', 'second'"),
        (("runs", "first", "trajectories", "rollouts", "x"), "has no store 'rollouts'; there are 'episodes'"),
        (("runs", "first", "trajectories", "episodes", "x"), "has no trajectory 'x'"),
        (("runs", "first", "groups", "episodes", "x"), "has no group 'x'"),
        (("runs", "first", "colors"), "no such address"),
        (("runs", "first", "trajectories", "episodes", "press-0-first-0", "tree", "99"), "there is no step 99; there are 9"),
        (("images", "first", "0" * 64), "no picture"),
        (("images", "first", "../../config.json"), "64 hex digits"),
        (("live", "third"), "no run"),
    ):
        status, error = asked.error(*parts)
        assert status == 404, parts
        assert message in error
    status, error = asked.error("runs", "first", "metrics", phase="dpo")
    assert status == 404
    assert "those of" in error
    assert "rl" in error


def test_a_trajectory(asked: Asked, folder: Path) -> None:
    wanted = stored(folder / "first")[0]
    page = asked.get("runs", "first", "trajectories", "episodes", wanted.id)
    assert page["task"]["instruction"] == TASK.instruction
    assert page["task"]["max_steps"] == 6
    assert (page["status"], page["reward"], page["parts"], page["group"]) == ("done", 0.0, dict(wanted.parts), wanted.group)
    assert [step["actions"][0]["kind"] for step in page["steps"]] == [action.kind for action in ALL_ACTIONS]
    for number, (step, one) in enumerate(zip(page["steps"], wanted.steps, strict=True)):
        assert one.completion is not None
        assert one.completion.logprobs is not None
        assert one.completion.tokens is not None
        assert one.prompt is not None
        assert (step["number"], step["thought"], step["raw"]) == (number, one.thought, one.completion.text)
        assert step["seconds"] == pytest.approx(dict(one.seconds))
        assert [token["id"] for token in step["tokens"]] == one.completion.tokens.tolist()
        assert [token["logprob"] for token in step["tokens"]] == pytest.approx(one.completion.logprobs.tolist())
        assert one.completion.entropies is not None
        assert [token["entropy"] for token in step["tokens"]] == pytest.approx(one.completion.entropies.tolist())
        assert [token["advantage"] for token in step["tokens"]] == one.extra["advantages"]
        assert [token["text"] for token in step["tokens"]] == [None] * len(step["tokens"]), "there is no tokenizer"
        assert step["prompt"]["tokens"] == 340
        assert [message["role"] for message in step["prompt"]["messages"]] == ["system", "user"]
        image, text = step["prompt"]["messages"][1]["parts"]
        assert image["image"] == step["observation"]["screenshot"]["url"]
        assert text == {"text": TASK.instruction}
        assert "advantages" not in step["extra"]
    assert page["advantage_kind"] == "logged"
    assert page["neighbours"] == {"previous": None, "next": "press-0-first-1"}
    assert {(one["run"], one["id"]) for one in page["same_start"]} == {
        *(("first", f"press-0-first-{index}") for index in (1, 2, 3)),
        *(("second", f"press-0-second-{index}") for index in range(4)),
    }
    assert asked.client.get(page["steps"][0]["observation"]["screenshot"]["url"]).headers["content-type"] == "image/png"
    assert page["final"]["tree"] is True


def test_its_trees(asked: Asked, folder: Path) -> None:
    wanted = stored(folder / "first")[0]
    here = ("runs", "first", "trajectories", "episodes", wanted.id, "tree")
    for number, seen in enumerate([*(step.observation for step in wanted.steps), wanted.final]):
        assert seen is not None
        assert seen.tree is not None
        elements = asked.get(*here, str(number))["elements"]
        assert [(one["role"], one["name"], one["value"], tuple(one["box"])) for one in elements] == [
            (one.role, one.name, one.value, one.box) for one in seen.tree
        ]
        assert [one["parent"] for one in elements] == [one.parent for one in seen.tree]
    assert asked.error(*here, "-1")[0] == 400


def test_what_other_versions_or_enemies_have_written_is_shown_as_far_as_it_can(tmp_path: Path) -> None:
    image = {"sha256": "../../../etc/passwd", "width": "wide", "height": None}
    steps: list[Any] = [
        {"observation": {"screenshot": image, "tree": [{"role": 5, "parent": 7, "box": [1, 2]}, 3]}, "action": "jump", "more": 4},
        {"observation": None, "completion": {"text": "a", "tokens": "int32:????", "logprobs": [math.nan]}, "extra": []},
        {"observation": {"screenshot": "none"}, "prompt": {"messages": [{"content": [5, None]}, 7], "tokens": "x"}, "new": True},
        "no step",
        {"completion": {"text": "b", "tokens": [1, 2], "logprobs": [math.nan]}, "action": {"kind": "fly", "x": math.inf}},
    ]
    record = {
        "id": "strange",
        "task": {"id": "t"},
        "steps": steps,
        "final": 3,
        "status": "won",
        "reward": 1,
        "schema": 1,
        "future": 1,
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "episodes.jsonl").write_text(json.dumps(record) + "\n")
    asked = Asked(tmp_path / "run")
    page = asked.get("runs", "run", "trajectories", "episodes", "strange")
    assert [len(step["actions"]) for step in page["steps"]] == [0, 0, 0, 0, 1]
    assert page["steps"][4]["tokens"] == [
        {"id": 1, "text": None, "logprob": None, "entropy": None, "advantage": None, "divergence": None},
        {"id": 2, "text": None, "logprob": None, "entropy": None, "advantage": None, "divergence": None},
    ]
    assert page["steps"][4]["actions"] == [{"kind": "fly", "x": None}]
    assert page["steps"][1]["tokens"] is None
    address = page["steps"][0]["observation"]["screenshot"]["url"]
    assert asked.client.get(address).status_code == 404
    elements = asked.get("runs", "run", "trajectories", "episodes", "strange", "tree", "0")["elements"]
    assert [(one["parent"], one["box"]) for one in elements] == [(-1, None), (-1, None)]
    assert asked.error("compare", a="run/episodes/strange", b="run/episodes/strange")[0] == 500


def test_groups_and_their_advantages(asked: Asked, folder: Path) -> None:
    answer = asked.get("runs", "first", "groups")
    assert answer["total"] == 3
    first = answer["groups"][0]
    assert (first["group"], first["n"], first["rewards"]) == ("update-0/press/0", 4, [0.0, 1.0, 0.0, None])
    group = asked.get("runs", "first", "groups", "episodes", "update-0/press/0")
    assert group["instruction"] == TASK.instruction
    assert [one["id"] for one in group["members"]] == [f"press-0-first-{index}" for index in range(4)]
    assert [one["advantage"] for one in group["members"]] == first["advantages"]
    assert group["advantage_kind"] == "group-normalised"


def test_advantages_are_those_of_grpo() -> None:
    torch = pytest.importorskip("torch")
    grpo = pytest.importorskip("stepladder.algos.advantages").grpo_advantages
    for rewards in ([0.0, 1.0, 0.0, None], [0.3, 0.9, 0.1], [1.0, 1.0], [0.1 + 0.2, 0.3, None], [None, None], [0.5]):
        values = torch.tensor([math.nan if one is None else one for one in rewards], dtype=torch.float64)
        wanted = grpo(values, torch.zeros(len(rewards), dtype=torch.int64)).tolist()
        found = advantages(rewards)
        assert [one is None for one in found] == [one is None for one in rewards]
        assert [one or 0.0 for one in found] == pytest.approx(wanted)


def test_comparing(asked: Asked, folder: Path) -> None:
    def side(run: str, index: int) -> str:
        return "/".join(quote(part, safe="") for part in (run, "episodes", f"press-1-{run}-{index}"))

    answer = asked.get("compare", a=side("first", 1), b=side("second", 1), c=side("first", 0))
    sides = [stored(folder / "first")[5], stored(folder / "second")[5], stored(folder / "first")[4]]
    assert [one["id"] for one in answer["sides"]] == [one.id for one in sides]
    parted = divergence(sides[0], sides[1])
    assert parted is not None
    assert answer["why"][1] == {"reason": parted.reason, "basis": parted.basis}
    for number, one in enumerate(sides):
        assert [row[number] for row in answer["rows"] if row[number] is not None] == list(range(len(one.steps)))
    for number in (1, 2):
        pairs = [(row[0], row[number]) for row in answer["rows"] if row[0] is not None or row[number] is not None]
        assert pairs == align(sides[0].steps, sides[number].steps)
    assert asked.error("compare", a=side("first", 1))[0] == 400
    assert "URL-encoded" in asked.error("compare", a="first", b="second")[1]
    assert asked.error("compare", a=side("first", 1), b=side("first", 9))[0] == 404


def test_where_trajectories_part_among_all_rows() -> None:
    images = ImageStore()
    same = episode(images, 0, (press("Open"), press("Save"), Action("done")), 1.0, "a")
    assert side_by_side([same, same])["divergence"] is None
    other = episode(images, 0, (press("Open"), press("Close"), Action("done")), 0.0, "b")
    shorter = episode(images, 0, (press("Open"),), 0.0, "c")
    found = side_by_side([same, other, shorter])
    assert found["rows"][found["divergence"]] == [1, 1, None], "the same state, in which they did different things"
    assert found["rows"][:2] == [[0, 0, 0], [1, 1, None]]


def test_measurements_are_those_of_the_run(asked: Asked, folder: Path) -> None:
    answer = asked.get("runs", "first", "metrics", phase="rl", points=5000)
    wanted = read_metrics(folder / "first", "rl")
    assert {key: [tuple(point) for point in series] for key, series in answer["series"].items()} == {
        key: [(record["step"], record[key]) for record in wanted] for key in ("reward/mean", "reward/format", "entropy")
    }
    thin = asked.get("runs", "first", "metrics", phase="rl", points=10)["series"]["entropy"]
    assert 5 <= len(thin) <= 12
    assert [thin[0][0], thin[-1][0]] == [0, 59]
    assert asked.error("runs", "first", "metrics", points="1")[0] == 400


def test_a_run_that_was_killed_repeats_steps(tmp_path: Path) -> None:
    with Run(tmp_path / "run", {"a": 1}) as run:
        for step in range(6):
            run.log(step, "rl", loss=float(step), extra=1.0)
        run.log(3, "rl", loss=30.0)
        asked = Asked(tmp_path)
        seen = asked.get("runs", "run", "metrics", phase="rl", points=100)["series"]
        assert seen == {"loss": [[0, 0], [1, 1], [2, 2], [3, 30]], "extra": [[0, 1], [1, 1], [2, 1], [3, 1]]}
        assert [record["loss"] for record in read_metrics(tmp_path / "run")] == [0, 1, 2, 30]
        run.log(4, "rl", loss=math.nan)
        with (tmp_path / "run/metrics.jsonl").open("a") as file:
            file.write('no json\n{"step": "x", "phase": "rl"}\n{"step": 5, "phase": "rl", "time": 1, "loss": true}\n{"step": 6')
        assert asked.get("runs", "run", "metrics", phase="rl", points=100)["series"]["loss"][-1] == [3, 30]


def test_no_peak_is_lost_when_a_series_is_thinned() -> None:
    series = Series()
    random = np.random.default_rng(0)
    for step, value in enumerate(random.normal(size=10_000)):
        series.add(step, value)
    series.values[7777], series.values[1234] = 99.0, -99.0
    points = thinned(series, 400)
    assert len(points) <= 402
    assert (7777, 99.0) in points
    assert (1234, -99.0) in points
    assert points == sorted(points)


def test_pictures_and_thumbnails(asked: Asked, folder: Path) -> None:
    page = asked.get("runs", "first", "trajectories", "episodes", "press-0-first-0")
    address = page["steps"][0]["observation"]["screenshot"]["url"]
    whole = asked.client.get(address)
    digest = address.rpartition("/")[2]
    assert whole.content == (folder / "first" / "images" / digest[:2] / f"{digest}.png").read_bytes()
    assert "immutable" in whole.headers["cache-control"]
    small = asked.client.get(address, params={"width": 160})
    assert (small.headers["content-type"], Image.open(io.BytesIO(small.content)).size) == ("image/webp", (160, 100))
    assert asked.client.get(address, params={"width": 160}).content == small.content
    assert asked.client.get(address, params={"width": 1000}).content == whole.content, "it is not made larger"
    assert asked.client.get(address, params={"width": "1e3"}).status_code == 400
    assert asked.client.get(address, params={"width": 5}).status_code == 415
    name = "ab" * 32
    (folder / "first" / "images" / "ab").mkdir(exist_ok=True)
    (folder / "first" / "images" / "ab" / f"{name}.png").write_text("<html><script>alert(1)</script>")
    for query in ({}, {"width": 160}):
        answer = asked.client.get(f"/api/images/first/{name}", params=query)
        assert answer.status_code == 415, "a file that is no picture is not sent"
        assert b"script" not in answer.content


def test_what_is_written_meanwhile_is_shown(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "first", seeds=1, attempts=1)
    asked = Asked(tmp_path)
    assert asked.get("runs", "run", "trajectories")["total"] == 1
    with TrajectoryStore(tmp_path / "run" / "episodes.jsonl", "a") as store:
        first = store.get("press-0-first-0")
        store.append(replace(first, id="another", index=1, reward=1.0))
        assert [one["id"] for one in asked.get("runs", "run", "trajectories")["trajectories"]] == ["press-0-first-0", "another"]
        assert asked.get("runs", "run", "trajectories", "episodes", "another")["neighbours"]["previous"] == "press-0-first-0"
    page = asked.get("runs", "run", "trajectories", "episodes", "another")
    assert page["advantage"] == pytest.approx(math.sqrt(0.5), abs=1e-5)


def test_parts_of_a_run(tmp_path: Path) -> None:
    """A run of several stages has its stores, measurements, alarms and pictures below it."""
    make_run(tmp_path / "demo" / "rl", "first", seeds=1, attempts=2)
    (tmp_path / "demo" / "config.json").write_text('{"last": "rl"}')
    asked = Asked(tmp_path / "demo")
    run = asked.get("runs", "demo")
    assert [store["id"] for store in run["stores"]] == ["rl/episodes"]
    assert {one["phase"] for one in run["metrics"]} == {"rl/rl", "rl/sft"}
    assert run["alarms"][0]["trajectories"] == [{"store": "rl/episodes", "id": "press-0-first-0"}]
    assert "rl/rl" in run["phases"]
    assert run["configs"]["rl"]["lr"] == 1e-5
    page = asked.get("runs", "demo", "trajectories", "rl/episodes", "press-0-first-0")
    assert asked.client.get(page["steps"][0]["observation"]["screenshot"]["url"]).status_code == 200
    assert asked.get("runs", "demo", "groups", "rl/episodes", page["group"])["total"] == 2


def tokenizer_json(texts: list[str]) -> dict[str, Any]:
    characters = byte_characters()
    vocabulary = {"".join(characters[byte] for byte in text.encode()): number for number, text in enumerate(texts)}
    vocabulary[characters[0xE2]] = len(texts)
    added = [{"id": len(texts) + 1, "content": "<|im_end|>"}]
    return {"model": {"type": "BPE", "vocab": vocabulary}, "decoder": {"type": "ByteLevel"}, "added_tokens": added}


def test_the_text_of_tokens(tmp_path: Path) -> None:
    made = tokenizer_json(["click", " the", "“Öffnen”", "\n"])
    assert token_texts(made) == {0: "click", 1: " the", 2: "“Öffnen”", 3: "\n", 4: "\\xe2", 5: "<|im_end|>"}
    assert token_texts({**made, "decoder": {"type": "Metaspace"}}) == {}
    assert token_texts({}) == {}
    tokenizers = pytest.importorskip("tokenizers")
    whole = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={name: n for n, name in enumerate(byte_characters())}, merges=[]))
    whole.decoder = tokenizers.decoders.ByteLevel()
    found = token_texts(json.loads(whole.to_str()))
    assert [found[byte] for byte in range(128)] == [whole.decode([byte]) for byte in range(128)]


@pytest.mark.parametrize("where", ["inside", "moved", "own", "outside", "given"])
def test_the_tokenizer_of_the_checkpoint_is_read_only_within_the_runs(tmp_path: Path, where: str) -> None:
    run = tmp_path / "run"
    names = {"inside": run / "sft/model", "moved": run / "sft/model", "own": run / "checkpoint"}
    checkpoint = names.get(where, tmp_path / "elsewhere")
    checkpoint.mkdir(parents=True)
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer_json(["Hello", " you"])))
    named = {"moved": "/old/place/run/sft/model", "own": "/nowhere", "given": "/nowhere"}.get(where, str(checkpoint))
    (run).mkdir(exist_ok=True)
    (run / "config.json").write_text(json.dumps({"policy": named}))
    with TrajectoryStore(run / "episodes.jsonl", "a") as store:
        said = Completion("Hello you", np.array([0, 1], dtype=np.int32), np.zeros(2, dtype=np.float32))
        store.append(Trajectory("one", Task("t", "", "e"), (Step(Observation(), completion=said),), None, "done", 1.0))
    runs = Runs([run])
    from_elsewhere = checkpoint if where == "given" else None
    texts = [
        token["text"]
        for token in TestClient(make_app(runs, ViewerSettings(tokenizer=from_elsewhere)), base_url="http://127.0.0.1")
        .get("/api/runs/run/trajectories/episodes/one")
        .json()["steps"][0]["tokens"]
    ]
    assert texts == ([None, None] if where == "outside" else ["Hello", " you"])


def test_an_episode_of_many_large_trees_is_quick_enough(tmp_path: Path) -> None:
    """Two hundred steps of a desktop with a thousand elements each: what the page needs is not what `from_json` needs."""
    tree = tuple(Element("button", f"number {n}", box=(float(n), 1.0, 2.0, 3.0), parent=n - 1) for n in range(1000))
    step = Step(Observation(tree=tree, state_key="a"), Action("click", x=1, y=1))
    with TrajectoryStore(tmp_path / "run" / "episodes.jsonl", "a") as store:
        store.append(Trajectory("long", Task("t", "", "e"), (step,) * 200, None, "max_steps", 0.0))
    asked = Asked(tmp_path)
    page = asked.get("runs", "run", "trajectories", "episodes", "long")
    assert len(page["steps"]) == 200
    assert len(asked.get("runs", "run", "trajectories", "episodes", "long", "tree", "199")["elements"]) == 1000
