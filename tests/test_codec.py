"""The nouns as JSON: what is written is read back, for every noun; what was not written is refused by name."""

from __future__ import annotations

import json
import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder import types
from stepladder.codec import decode_array, encode_array, from_json, to_json

TEXT = st.text(max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
INTS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6).map(lambda items: np.array(items, dtype=np.int32))
FLOATS = st.lists(st.floats(width=32), max_size=6).map(lambda items: np.array(items, dtype=np.float32))
BOX = st.tuples(NUMBER, NUMBER, NUMBER, NUMBER)
IMAGE = st.builds(types.ImageRef, TEXT, st.integers(1, 9999), st.integers(1, 9999))
ELEMENT = st.builds(types.Element, TEXT, TEXT, TEXT, st.none() | BOX, st.tuples() | st.tuples(TEXT), st.integers(-1, 9))
OBSERVATION = st.builds(
    types.Observation, st.none() | IMAGE, st.none() | st.lists(ELEMENT, max_size=2).map(tuple), TEXT, TEXT, TEXT, st.booleans()
)
ACTION = st.builds(
    types.Action,
    st.sampled_from(types.ACTION_KINDS),
    st.none() | NUMBER,
    st.none() | NUMBER,
    text=TEXT,
    keys=st.lists(TEXT, max_size=2).map(tuple),
    amount=NUMBER,
    args=st.dictionaries(TEXT, JSON, max_size=2),
)
TASK = st.builds(types.Task, TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=2), max_steps=st.integers(1, 99))
MESSAGE = st.builds(
    types.Message, st.sampled_from(typing.get_args(types.Role)), st.lists(TEXT | IMAGE, max_size=3).map(tuple), st.none() | INTS
)
SPANS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=2).map(tuple)
PROMPT = st.builds(types.Prompt, st.lists(MESSAGE, max_size=2).map(tuple), st.none() | INTS, SPANS)
COMPLETION = st.builds(
    types.Completion,
    TEXT,
    st.none() | INTS,
    st.none() | FLOATS,
    st.sampled_from(["stop", "length"]),
    entropies=st.none() | FLOATS,
)
STEP = st.builds(
    types.Step,
    OBSERVATION,
    st.none() | ACTION,
    TEXT,
    st.none() | PROMPT,
    st.none() | COMPLETION,
    st.none() | TEXT,
    st.dictionaries(TEXT, NUMBER, max_size=2),
)
TRAJECTORY = st.builds(
    types.Trajectory,
    TEXT,
    TASK,
    st.lists(STEP, max_size=2).map(tuple),
    st.none() | OBSERVATION,
    st.sampled_from(types.STATUSES),
    st.none() | NUMBER,
    st.dictionaries(TEXT, NUMBER, max_size=2),
    seed=st.integers(0, 2**40),
)


def same(first: Any, second: Any) -> bool:
    """Equality that looks into arrays, which dataclasses cannot compare."""
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and first.tobytes() == second.tobytes()
    if hasattr(first, "__dataclass_fields__"):
        return type(first) is type(second) and all(same(getattr(first, n), getattr(second, n)) for n in first.__dataclass_fields__)
    if isinstance(first, (tuple, list)):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    return bool(first == second) and type(first) is type(second)


@settings(max_examples=150, deadline=None)
@given(TRAJECTORY)
def test_a_trajectory_comes_back_as_it_was(trajectory: types.Trajectory) -> None:
    text = json.dumps(to_json(trajectory), ensure_ascii=False)
    assert same(from_json(types.Trajectory, json.loads(text)), trajectory)


@settings(deadline=None)
@given(FLOATS | INTS)
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    assert same(decode_array(encode_array(array)), array)


def test_defaults_are_left_out_and_the_schema_never_is() -> None:
    task = types.Task("a", "b", "c")
    assert to_json(task) == {"id": "a", "instruction": "b", "env": "c"}
    trajectory = types.Trajectory("t", task, (), None, "done", None)
    assert to_json(trajectory)["schema"] == types.TRAJECTORY_SCHEMA
    assert to_json(types.Action("wait", x=0.0)) == {"kind": "wait", "x": 0.0}
    assert to_json(types.Action("wait", amount=0)) == {"kind": "wait", "amount": 0}, "an int 0 is not the default 0.0"
    assert to_json({"a": np.float32(0.5), "b": (1, 2)}) == {"a": 0.5, "b": [1, 2]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "a", "instruction": "b", "envv": "c"}, "Task has no field 'envv'; did you mean 'env'?"),
        ({"id": "a", "instruction": "b"}, "Task: .*missing 1 required positional argument: 'env'"),
        ({"id": 1, "instruction": "b", "env": "c"}, r"Task\.id must be str, not int"),
        ({"id": "a", "instruction": "b", "env": "c", "max_steps": True}, r"Task\.max_steps must be int, not bool"),
        ({"id": "a", "instruction": "b", "env": "c", "tags": "x"}, r"Task\.tags must be a list, not str"),
        ([], "Task must be an object, not list"),
    ],
)
def test_what_is_wrong_is_named(record: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(types.Task, record)


@pytest.mark.parametrize("text", ["", "int32", "int8:AAAA", "int32:A", "float32:%%%%"])
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"array|base64|Invalid|padding|buffer"):
        decode_array(text)
