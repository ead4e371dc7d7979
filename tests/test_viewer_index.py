"""The viewer's index of a run: right whatever stands beside the store, brought up to date, made anew when it does not fit."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepladder.store import TrajectoryStore
from stepladder.types import Observation, Step, Task, Trajectory
from stepladder.viewer import index as index_module
from stepladder.viewer.directory import contents
from stepladder.viewer.index import FILE, RunIndex
from stepladder.viewer.runs import Runs

Row = tuple[str, str, int, str, float | None, int, str, int, str]


def trajectory(number: int, name: str = "one") -> Trajectory:
    step = Step(Observation(text="ä" * (number % 7), state_key=str(number)))
    return Trajectory(
        f"{name}-{number}",
        Task(f"task-{number % 3}", "Do it.", "fake"),
        (step,) * (number % 4),
        None,
        "env_error" if number % 5 == 4 else "done",
        None if number % 5 == 4 else float(number % 2),
        group=f"group/{number // 4}",
        index=number % 4,
        seed=number // 4,
        policy="student",
    )


def write(path: Path, numbers: Sequence[int], name: str = "one") -> None:
    with TrajectoryStore(path, "a") as store:
        for number in numbers:
            store.append(trajectory(number, name))


def rows(index: RunIndex) -> list[Row]:
    columns = "id, task, seed, status, reward, steps, member_of, place, policy"
    return [tuple(row) for row in index.select(f"select {columns} from trajectories order by number")]


def expected(path: Path) -> list[Row]:
    with TrajectoryStore(path) as store:
        return [(s.id, s.task, s.seed, s.status, s.reward, s.steps, s.group, s.index, s.policy) for s in store.summaries()]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write(tmp_path / "run" / "episodes.jsonl", range(50))
    return tmp_path / "run" / "episodes.jsonl"


def indexed(store: Path) -> RunIndex:
    index = RunIndex(store.parent)
    assert index.refresh({"episodes": store})
    return index


def test_the_index_of_the_store_and_its_lines_tell_the_same(store: Path) -> None:
    from_index = indexed(store)
    places = from_index.select("select offset, length from trajectories order by number")
    data = store.read_bytes()
    for place, row in zip(places, expected(store), strict=True):
        assert json.loads(data[place["offset"] : place["offset"] + place["length"]])["id"] == row[0]
    from_index.close()
    store.with_name("episodes.jsonl.index").unlink()
    (store.parent / FILE).unlink()
    from_lines = indexed(store)
    assert rows(from_lines) == expected(store)
    assert [tuple(one) for one in places] == [
        tuple(one) for one in from_lines.select("select offset, length from trajectories order by number")
    ]


def test_it_goes_on_where_it_was(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = indexed(store)
    version = index.version
    assert index.refresh({"episodes": store})
    assert index.version == version, "nothing was new"
    parsed: list[str] = []
    one_line = index_module._row
    monkeypatch.setattr(index_module, "_row", lambda record, *rest: (parsed.append(record["id"]), one_line(record, *rest))[1])
    write(store, range(50, 53))
    index.close()
    index = indexed(store)
    assert parsed == ["one-50", "one-51", "one-52"], "no line was read twice"
    assert rows(index) == expected(store)


def test_a_line_that_is_being_written_waits(store: Path) -> None:
    index = indexed(store)
    line = json.dumps(json.loads(store.read_bytes().split(b"\n")[0]) | {"id": "last"}).encode()
    with store.open("ab") as file:
        file.write(line[:100])
        file.flush()
        assert index.refresh({"episodes": store})
        assert len(rows(index)) == 50
        assert index.share() is None
        file.write(line[100:] + b"\n")
    assert index.refresh({"episodes": store})
    assert rows(index)[-1][0] == "last"


def test_another_store_in_its_place(store: Path) -> None:
    index = indexed(store)
    os.replace(store, store.with_name("old"))
    store.with_name("episodes.jsonl.index").unlink()
    write(store, range(80), "other")
    assert index.refresh({"episodes": store})
    assert rows(index) == expected(store)
    data = store.read_bytes()
    with store.open("r+b") as file:  # the same file with other contents of the same length
        file.write(data.replace(b"other-", b"third-"))
    index.close()
    os.truncate(store, len(data) - 1)
    with store.open("ab") as file:
        file.write(b"\n")
    with store.open("ab") as file:
        file.write(data.split(b"\n")[0].replace(b"other-0", b"added") + b"\n")
    index = RunIndex(store.parent)
    assert index.refresh({"episodes": store})
    assert {row[0].split("-")[0] for row in rows(index)} == {"third", "added"}


def test_an_index_file_of_another_store_is_not_believed(store: Path) -> None:
    beside = store.with_name("episodes.jsonl.index")
    header, first, *others = beside.read_bytes().split(b"\n")
    shifted = json.loads(first) | {"offset": 3}
    beside.write_bytes(b"\n".join([header, json.dumps(shifted).encode(), *others]))
    assert rows(indexed(store)) == expected(store)


def test_what_is_no_trajectory_is_counted_and_passed_over(store: Path) -> None:
    lines = store.read_bytes().splitlines(keepends=True)
    whole = json.loads(lines[0])
    strange = [
        b"no json\n",
        b"[1, 2]\n",
        json.dumps(whole | {"schema": 99}).encode() + b"\n",
        json.dumps(whole | {"id": 5}).encode() + b"\n",
        json.dumps(whole | {"id": "s", "seed": 1 << 70}).encode() + b"\n",
        json.dumps(whole | {"id": "t", "steps": "many"}).encode() + b"\n",
        b'{"a":' * 100_000 + b"\n",
    ]
    half = json.dumps(whole | {"id": "half \ud800"}).encode() + b"\n"
    store.write_bytes(b"".join([*strange, half, *lines]))
    store.with_name("episodes.jsonl.index").unlink()
    index = indexed(store)
    assert [state.unreadable for state in index.states()] == [len(strange)]
    assert [row[0] for row in rows(index)][:2] == ["half ?", "one-0"]
    assert len(rows(index)) == 51


def test_of_an_id_that_repeats_the_last_counts(store: Path) -> None:
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(b"".join([*lines, lines[3].replace(b'"reward":1.0', b'"reward":0.25')]))
    store.with_name("episodes.jsonl.index").unlink()
    index = indexed(store)
    assert len(rows(index)) == 50
    assert rows(index)[-1][:5] == ("one-3", "task-0", 0, "done", 0.25)
    with store.open("ab") as file:
        file.write(lines[5])
    assert index.refresh({"episodes": store})
    assert len(rows(index)) == 50
    assert rows(index)[-1][0] == "one-5"


def test_a_large_store_is_taken_up_in_portions(store: Path) -> None:
    store.with_name("episodes.jsonl.index").unlink()
    write_more = store.read_bytes()
    store.write_bytes(write_more + b"".join(line.replace(b'"one-', b'"two-') + b"\n" for line in write_more.splitlines()))
    index = RunIndex(store.parent)
    looks, shares = 0, []
    while not index.refresh({"episodes": store}, seconds=0.0):
        looks += 1
        shares.append(index.share())
    assert looks >= 1
    assert all(share is not None and 0 < share < 1 for share in shares)
    assert index.share() is None
    assert len(rows(index)) == 100


@pytest.mark.parametrize("damage", ["garbage", "older", "damaged"])
def test_an_index_that_does_not_fit_is_made_anew(store: Path, damage: str) -> None:
    indexed(store).close()
    path = store.parent / FILE
    if damage == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "older":
        with sqlite3.connect(path) as connection:
            connection.execute("pragma user_version = 77")
            connection.execute("drop table trajectories")
    else:
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        path.write_bytes(data)
    index = RunIndex(store.parent)
    for _ in range(3):
        if index.refresh({"episodes": store}):
            break
    assert rows(index) == expected(store)


def test_nothing_needs_write_permission(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def refuse(path: object, **options: object) -> sqlite3.Connection:
        if path:
            raise sqlite3.OperationalError("unable to open database file")
        return connect("", **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", refuse)
    before = sorted(path.name for path in store.parent.iterdir())
    assert rows(indexed(store)) == expected(store)
    assert sorted(path.name for path in store.parent.iterdir()) == before


def test_an_index_that_can_only_be_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed(store).close()
    write(store, [50])
    connect = sqlite3.connect

    def read_only(path: object, **options: object) -> sqlite3.Connection:
        return connect(f"file:{path}?mode=ro" if path else "", uri=True, **options)  # type: ignore[call-overload, no-any-return]

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(self)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    monkeypatch.setattr(Path, "unlink", refuse)
    index = RunIndex(store.parent)
    for _ in range(3):
        if index.refresh({"episodes": store}):
            break
    assert len(rows(index)) == 51


def test_a_link_is_not_followed_to_write(store: Path, tmp_path: Path) -> None:
    (store.parent / FILE).symlink_to(tmp_path / "elsewhere")
    assert rows(indexed(store)) == expected(store)
    assert not (tmp_path / "elsewhere").exists()


def test_two_viewers_of_one_run(store: Path) -> None:
    first, second = indexed(store), indexed(store)
    write(store, range(50, 60))
    assert first.refresh({"episodes": store})
    assert second.refresh({"episodes": store})
    assert rows(first) == rows(second) == expected(store)


def test_what_belongs_to_a_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run / "rl" / "rollouts.jsonl", range(3))
    (run / "rl" / "config.json").write_text("{}")
    (run / "rl" / "metrics.jsonl").write_text('{"step": 0, "phase": "rl", "time": 1.0}\n')
    (run / "collect").mkdir()
    (run / "collect" / "regions.jsonl").write_text('{"image": "", "regions": []}\n')
    (run / "collect" / "notes.jsonl").write_text('{"schema": 1, "text": "no trajectory"}\n')
    (run / "rl" / "images" / "ab").mkdir(parents=True)
    write(run / "rl" / "images" / "hidden.jsonl", range(3))
    outside = tmp_path / "outside"
    write(outside / "secret.jsonl", range(3))
    (run / "linked.jsonl").symlink_to(outside / "secret.jsonl")
    (run / "folder").symlink_to(outside)
    found = contents(run)
    assert list(found.stores) == ["rl/rollouts"]
    assert list(found.parts) == ["rl"]
    assert found.images == [run / "rl" / "images"]


def test_runs_of_a_folder_and_their_names(tmp_path: Path) -> None:
    for name in ("a/eval", "b/eval", "b/other"):
        write(tmp_path / name / "episodes.jsonl", range(1))
    (tmp_path / "a" / "empty").mkdir()
    runs = Runs([tmp_path / "a", tmp_path / "b" / "eval", tmp_path / "b"])
    assert [(run.id, run.directory) for run in runs.all()] == [
        ("eval", tmp_path / "a/eval"),
        ("eval-2", tmp_path / "b/eval"),
        ("other", tmp_path / "b/other"),
    ]
    assert runs.include(tmp_path / "b" / "other") == "other"
    runs.read_ahead().join(60)
    assert [run.index.share() for run in runs.all()] == [None] * 3
    assert all(len(rows(run.index)) == 1 for run in runs.all())
    runs.close()
