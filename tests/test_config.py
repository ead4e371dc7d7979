"""Configurations: every kind of value, and unknown names at every depth."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from stepladder.config import ConfigError, digest, field_names, override, parse_value, to_dict


@dataclass(frozen=True)
class Optimizer:
    rate: float = 1e-3
    kind: Literal["adamw", "muon"] = "muon"


@dataclass(frozen=True)
class Phase:
    optimizer: Optimizer = field(default_factory=Optimizer)
    steps: int = 10


@dataclass(frozen=True)
class Config:
    phase: Phase = field(default_factory=Phase)
    extra: Phase | None = None
    output: Path = Path("runs")
    options: Mapping[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "12", 12),
        (int, "-3", -3),
        (float, "1e-3", 1e-3),
        (float, "2", 2.0),
        (str, "a=b", "a=b"),
        (Path, "runs/x", Path("runs/x")),
        (bool, "true", True),
        (bool, "True", True),
        (bool, "0", False),
        (int | None, "none", None),
        (int | None, "4", 4),
        (typing.Union[None, int], "4", 4),  # noqa: UP007
        (Optional[str], "None", None),  # noqa: UP045
        (Literal["a", "b"], "b", "b"),
        (tuple[int, ...], "1, 2,3", (1, 2, 3)),
        (tuple[int, ...], "", ()),
        (tuple[str, ...], "(random,idle)", ("random", "idle")),
        (tuple[int, float], "[1, 2]", (1, 2.0)),
        (dict[str, int], "{'a': 1}", {"a": 1}),
        (Mapping[str, Any], '{"height": 224}', {"height": 224}),
        (list[int], "[1, 2]", [1, 2]),
        (Any, "5", 5),
    ],
)
def test_values_of_every_kind(hint: Any, text: str, value: Any) -> None:
    found = parse_value(hint, text, "name")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("hint", "text", "message"),
    [
        (int, "1.5", "name is '1.5'; it must be a whole number"),
        (float, "fast", "name is 'fast'; it must be a number"),
        (bool, "yes", "name is 'yes'; it must be true or false"),
        (Literal["a", "b"], "c", "name is 'c'; it must be one of a, b"),
        (int | None, "nothing", "name is 'nothing'; it must be a whole number"),
        (tuple[int, int], "1", "name needs 2 values separated by commas, not 1"),
        (tuple[int, ...], "1,x", "name is 'x'; it must be a whole number"),
        (Mapping[str, Any], "5", "name is '5'; it must be a dict such as {'height': 224}"),
        (Mapping[str, Any], "{height: 224}", "a Python literal is needed here"),
        (dict[str, int], "[1]", "it must be a dict"),
        (list[int], "(1, 2)", "it must be a list"),
        (Mapping[str, Any], "__import__('os')", "a Python literal is needed here"),
    ],
)
def test_values_that_cannot_be_are_named(hint: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value(hint, text, "name")
    assert message in str(caught.value)


def test_overrides_apply_in_order_and_leave_the_rest() -> None:
    changed = override(Config(), ["phase.steps=3", " phase.optimizer.rate = 0.5 ", "phase.steps=4", "options={'a': 1}"])
    assert changed == Config(phase=Phase(Optimizer(rate=0.5), 4), options={"a": 1})
    assert override(Config(), []) == Config()


@dataclass(frozen=True)
class Mapped:
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: dict[str, int] | None = None
    phase: Phase = field(default_factory=Phase)


@pytest.mark.parametrize(
    ("assignments", "changed"),
    [
        (["options.tree=true"], Mapped(options={"tree": True})),
        (["options.tree=False", "options.isolation=none"], Mapped(options={"tree": False, "isolation": "none"})),
        (["options={'a': 1}", "options.b=1e-3"], Mapped(options={"a": 1, "b": 1e-3})),
        (["options.a=None", "options.sizes=[1, 2]"], Mapped(options={"a": None, "sizes": [1, 2]})),
        (["options.machine=http://127.0.0.1:5000"], Mapped(options={"machine": "http://127.0.0.1:5000"})),
        (["options.inner.name=docker", "options.inner.count=2"], Mapped(options={"inner": {"name": "docker", "count": 2}})),
        (["options.code=__import__('os')"], Mapped(options={"code": "__import__('os')"})),
        (["weights.a=2"], Mapped(weights={"a": 2.0})),
        (["terms.format.scale=2"], Mapped(terms={"format": {"scale": 2}})),
        (["limits.a=2", "limits.b=3"], Mapped(limits={"a": 2, "b": 3})),
    ],
)
def test_entries_of_a_mapping_are_set_one_by_one(assignments: list[str], changed: Mapped) -> None:
    before = Mapped()
    assert override(before, assignments) == changed
    assert before == Mapped()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["weights.a=much"], "weights.a is 'much'; it must be a number"),
        (["weights.a.b=1"], "'weights.a.b': 'a' has no settings below it"),
        (["options.tree=true", "options.tree.depth=3"], "'options.tree.depth': 'tree' has no settings below it"),
        (["terms.format=2"], "terms.format is '2'; it must be a dict"),
        (["limits.a=1.5"], "limits.a is '1.5'; it must be a whole number"),
        (["options.=3"], "'options.' lacks a name before or after a dot"),
        (["options..a=3"], "'options..a' lacks a name before or after a dot"),
    ],
)
def test_entries_that_cannot_be_are_named(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(Mapped(), assignments)
    assert message in str(caught.value)


def test_an_optional_group_begins_with_its_defaults() -> None:
    changed = override(Config(), ["extra.optimizer.kind=adamw", "extra.steps=2"])
    assert changed.extra == Phase(Optimizer(kind="adamw"), 2)
    assert list(field_names(changed))[3:6] == ["extra.optimizer.rate", "extra.optimizer.kind", "extra.steps"]
    assert "extra" in list(field_names(Config()))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("phase", "'phase' is no override; write name=value"),
        ("outptu=x", "unknown setting 'outptu'; did you mean 'output'?"),
        ("phase.stesp=3", "unknown setting 'phase.stesp'; did you mean 'phase.steps'?"),
        ("phase.optimizer.rat=3", "did you mean 'phase.optimizer.rate'?"),
        ("phase.optimiser.rate=3", "did you mean 'phase.optimizer.rate'?"),
        ("extra.stesp=3", "did you mean 'extra.steps'?"),
        ("rate=3", "unknown setting 'rate'; did you mean 'phase.optimizer.rate'?"),
        ("zzz=3", "unknown setting 'zzz'; valid: phase.optimizer.rate, phase.optimizer.kind, phase.steps, extra, output, options"),
        ("output.name=3", "'output.name': 'output' has no settings below it"),
        ("phase.optimizer=3", "'phase.optimizer' is a group of settings; set one of "),
        ("options=5", "options is '5'; it must be a dict"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(Config(), [assignment])
    assert message in str(caught.value)


def test_equal_configurations_have_equal_digests() -> None:
    assert to_dict(Config())["output"] == "runs"
    assert digest(Config()) == digest(Config(output=Path("runs")))
    assert digest(Config()) != digest(override(Config(), ["phase.steps=11"]))
