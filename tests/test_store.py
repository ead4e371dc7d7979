"""The trajectory store: nothing finished is lost, nothing is counted twice, whoever is killed when."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.codec import to_json
from stepladder.locks import ExclusiveLock, Locked
from stepladder.store import StoreError, TrajectoryStore
from stepladder.types import Action, Completion, ImageRef, Observation, Prompt, Step, Task, Trajectory

TASK = Task(id="click-test", instruction="Click the button.", env="miniwob")


def trajectory(identifier: str, steps: int = 2, reward: float | None = 1.0, **fields: object) -> Trajectory:
    shown = Observation(screenshot=ImageRef("ab" * 32, 160, 210), text="“quoted”\u2028 and more")
    prompt = Prompt(messages=(), tokens=np.arange(5, dtype=np.int32))
    completion = Completion("text", tokens=np.arange(3, dtype=np.int32), logprobs=np.array([-0.5, -1, 0], dtype=np.float32))
    made = tuple(Step(shown, Action("click", x=float(i), y=2.0), "look", prompt, completion) for i in range(steps))
    return Trajectory(identifier, TASK, made, shown, "done", reward, seed=7, group="g", policy="scripted", **fields)  # type: ignore[arg-type]


def test_written_trajectories_are_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "demos.jsonl"
    written = [trajectory("a"), trajectory("b", steps=0, reward=None), trajectory("c", parts={"x": 2.5})]
    with TrajectoryStore(path, "a") as store:
        for item in written:
            store.append(item)
        assert to_json(store.get("b")) == to_json(written[1])
    reader = TrajectoryStore(path)
    assert [to_json(item) for item in reader] == [to_json(item) for item in written]
    assert reader.ids() == ("a", "b", "c")
    assert "c" in reader
    assert "d" not in reader
    assert reader.repaired is None
    assert reader.skipped is None
    listed = reader.summaries()[1]
    assert (listed.id, listed.task, listed.status, listed.reward, listed.steps) == ("b", "click-test", "done", None, 0)
    assert not listed.success
    assert reader.summaries()[0].success


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 20, width=32), max_size=40), st.booleans())
def test_the_numbers_of_every_token_are_read_back_bit_for_bit(values: list[float], told: bool) -> None:
    entropies = np.asarray(values, dtype=np.float32)
    tokens = np.arange(len(values), dtype=np.int32)
    said = Completion("text", tokens, -entropies, entropies=entropies if told else None)
    whole = replace(trajectory("a"), steps=(Step(Observation(), completion=said),))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "episodes.jsonl"
        with TrajectoryStore(path, "a") as store:
            store.append(whole)
        found = TrajectoryStore(path).get("a").steps[0].completion
    assert found is not None
    assert found.logprobs is not None
    assert found.logprobs.tobytes() == (-entropies).tobytes()
    if told:
        assert found.entropies is not None
        assert found.entropies.dtype == np.float32
        assert found.entropies.tobytes() == entropies.tobytes()
    else:
        assert found.entropies is None, "a server tells none"


def test_mistakes_of_the_caller_are_named(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    with pytest.raises(FileNotFoundError, match=r"demos\.jsonl"):
        TrajectoryStore(path)
    with pytest.raises(ValueError, match="'w'"):
        TrajectoryStore(path, "w")  # type: ignore[arg-type]
    with TrajectoryStore(path, "a") as store:
        store.append(trajectory("a"))
        with pytest.raises(StoreError, match="already holds a trajectory 'a'"):
            store.append(trajectory("a"))
        with pytest.raises(KeyError, match="'b'"):
            store.get("b")
    with pytest.raises(StoreError, match="closed"):
        store.append(trajectory("b"))
    with pytest.raises(StoreError, match="opened to read"):
        TrajectoryStore(path).append(trajectory("b"))


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    with TrajectoryStore(path, "a") as store:
        store.append(trajectory("a"))
        with pytest.raises(Locked, match=f"demos.jsonl is in use by process {os.getpid()}"):
            TrajectoryStore(path, "a")
        assert len(TrajectoryStore(path)) == 1, "readers need no lock"
    with TrajectoryStore(path, "a") as store:
        assert len(store) == 1


def test_a_lock_can_be_taken_again_after_release(tmp_path: Path) -> None:
    lock = ExclusiveLock(tmp_path / "x.lock", "x")
    lock.release()
    lock.release()
    ExclusiveLock(tmp_path / "x.lock", "x").release()


def test_a_store_that_cannot_be_opened_keeps_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        TrajectoryStore(path, "a")
    path.rmdir()
    with TrajectoryStore(path, "a") as store:
        assert len(store) == 0


@pytest.mark.parametrize("keep", [1, 20, -2, -1])
def test_a_torn_tail_is_skipped_by_readers_and_cut_off_by_writers(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "demos.jsonl"
    with TrajectoryStore(path, "a") as store:
        store.append(trajectory("a"))
        store.append(trajectory("b"))
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    path.write_bytes(data[:first] + data[first:][:keep])
    with pytest.warns(UserWarning, match="left out"):
        reader = TrajectoryStore(path)
    assert reader.ids() == ("a",)
    assert reader.skipped is not None
    with pytest.warns(UserWarning, match="cut off"):
        store = TrajectoryStore(path, "a")
    with store:
        assert store.repaired is not None
        assert store.ids() == ("a",)
        store.append(trajectory("b"))
    assert path.read_bytes() == data


def test_a_missing_stale_or_foreign_index_is_rebuilt(tmp_path: Path) -> None:
    path, index = tmp_path / "demos.jsonl", tmp_path / "demos.jsonl.index"
    with TrajectoryStore(path, "a") as store:
        for name in "abc":
            store.append(trajectory(name))
    right = index.read_bytes()
    lines = right.split(b"\n")
    foreign = right.replace(b'"id":"c"', b'"id":"z"')
    for wrong in (b"", b"nonsense\n", right[:-5], b"\n".join(lines[:2]) + b"\n", right + lines[1] + b"\n", foreign):
        index.write_bytes(wrong)
        assert TrajectoryStore(path).ids() == ("a", "b", "c")
        TrajectoryStore(path, "a").close()
        assert TrajectoryStore(path).ids() == ("a", "b", "c")
    index.unlink()
    TrajectoryStore(path, "a").close()
    assert index.read_bytes() == right


def test_the_index_alone_is_enough_to_list(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    with TrajectoryStore(path, "a") as store:
        for name in "abc":
            store.append(trajectory(name))
    data = path.read_bytes()
    path.write_bytes(b"x" * data.index(b"\n") + data[data.index(b"\n") :])  # the first line is spoilt, the last one fits the index
    reader = TrajectoryStore(path)
    assert reader.ids() == ("a", "b", "c")
    with pytest.raises(StoreError, match=r"trajectory 'a' \(byte 0\) is no JSON"):
        reader.get("a")


def test_bad_lines_are_named_by_number_and_place(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    good = json.dumps(to_json(trajectory("a"))) + "\n"
    for bad, message in (
        ("{broken\n", "line 2 .* no JSON"),
        ("[1]\n", "line 2 .* must be an object"),
        ("{}\n", "line 2 .* no schema number"),
        ('{"schema": 1}\n', "line 2 .* is no trajectory"),
        (good, "line 2 .* repeats the id 'a'"),
        (good.replace('"schema": 1', '"schema": 99'), "line 2 .* schema 99 .* reads up to 1"),
    ):
        path.write_text(good + bad)
        with pytest.raises(StoreError, match=message):
            TrajectoryStore(path)
        with pytest.raises(StoreError, match=message):
            TrajectoryStore(path, "a")
    path.write_text(good.replace('"status": "done"', '"status": "fine"'))
    with pytest.raises(StoreError, match=r"status is 'fine'; it must be one of done"):
        TrajectoryStore(path).get("a")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "demos.jsonl"
    with TrajectoryStore(path, "a") as store:
        store.append(trajectory("a"))
        write = os.write

        def half(handle: int, data: memoryview) -> int:
            if len(data) < 200:
                raise OSError(28, "No space left on device")
            return write(handle, data[: len(data) // 2])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            store.append(trajectory("b"))
        monkeypatch.undo()
        assert store.ids() == ("a",)
        store.append(trajectory("b"))
    assert [item.id for item in TrajectoryStore(path)] == ["a", "b"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_any_bytes_after_the_last_newline_cost_nothing(tail: bytes, count: int) -> None:
    tail = tail.replace(b"\n", b"")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demos.jsonl"
        lines = b"".join(json.dumps(to_json(trajectory(str(i)))).encode() + b"\n" for i in range(count))
        path.write_bytes(lines + tail)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            store = TrajectoryStore(path, "a")
        assert len(told) == bool(tail)
        with store:
            store.append(trajectory("next"))
        assert [item.id for item in TrajectoryStore(path)] == [*map(str, range(count)), "next"]


WRITER = """
import sys
from test_store import trajectory
from stepladder.store import TrajectoryStore
with TrajectoryStore(sys.argv[1], "a") as store:
    for number in range(len(store), 10**6):
        store.append(trajectory(f"t{number}", steps=number % 40))
        print(number, flush=True)
"""


def test_sigkill_at_any_moment_loses_at_most_the_line_being_written(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONWARNINGS": "ignore"}
    known = 0
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        told = int(process.stdout.readline())
        time.sleep(0.003 * attempt)  # the moment of the kill differs; there is no condition to wait for
        process.send_signal(signal.SIGKILL)
        told = max([told, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
        process.wait()
        with TrajectoryStore(path, "a") as store:
            assert len(store) in (told + 1, told + 2), "every trajectory whose append returned is here"
            assert store.ids() == tuple(f"t{number}" for number in range(len(store)))
            assert len(store) > known
            known = len(store)
    for number, item in enumerate(TrajectoryStore(path)):
        assert to_json(item) == to_json(trajectory(f"t{number}", steps=number % 40))
