"""Configurations are frozen or plain dataclasses; this file overrides, checks, prints and hashes them.

An override is `dotted.name=value`. Unknown names are an error that names the nearest valid one (law 10). Below a setting that is a
mapping any name goes, and sets that entry alone: `options.tree=true`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stepladder.errors import UserError

T = TypeVar("T")


#: How values that are written as Python literals look.
LITERALS: dict[type, str] = {
    Mapping: "a dict such as {'height': 224}",
    dict: "a dict such as {'a': 1}",
    list: "a list such as [1, 2]",
}


class ConfigError(UserError, ValueError):
    """A configuration that cannot be; the message names the field and what would be right."""


def override(config: T, assignments: Iterable[str]) -> T:
    """`config` with every "dotted.name=value" applied, in order. Raises ConfigError."""
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"{assignment!r} is no override; write name=value")
        config = _set(config, name.strip().split("."), text.strip(), name.strip(), config)
    return config


def field_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted name that `override` accepts for this configuration."""
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        if dataclasses.is_dataclass(value):
            yield from field_names(value, f"{prefix}{spec.name}.")
        else:
            yield prefix + spec.name


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dict of a configuration, fit for JSON; paths become strings."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(config), default=str)))


def digest(config: Any) -> str:
    """Twelve hex digits that are equal for equal configurations."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def _set(config: Any, path: list[str], text: str, name: str, root: Any) -> Any:
    hints = typing.get_type_hints(type(config))
    if path[0] not in hints:
        names = list(field_names(root))
        prefix = name.removesuffix(".".join(path))
        here = [prefix + spec.name for spec in dataclasses.fields(config)]  # `root` does not list a group that is None
        near = difflib.get_close_matches(name, [*names, *here], n=1) or [n for n in names if n.endswith(path[-1])][:1]
        hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(names)}"
        raise ConfigError(f"unknown setting {name!r}; {hint}")
    current = getattr(config, path[0])
    if len(path) > 1:
        if current is None:
            current = _group_defaults(hints[path[0]])
        if isinstance(current, Mapping):
            changed = _set_entry(current, path[1:], text, name, _hint_of_entries(hints[path[0]]))
            return dataclasses.replace(config, **{path[0]: changed})
        if not dataclasses.is_dataclass(current):
            raise ConfigError(f"{name!r}: {path[0]!r} has no settings below it")
        return dataclasses.replace(config, **{path[0]: _set(current, path[1:], text, name, root)})
    if dataclasses.is_dataclass(current):
        inner = ", ".join(f"{path[0]}.{inner_name}" for inner_name in field_names(current))
        raise ConfigError(f"{name!r} is a group of settings; set one of {inner}")
    return dataclasses.replace(config, **{path[0]: parse_value(hints[path[0]], text, name)})


def _group_defaults(hint: Any) -> Any:
    """What an optional group of settings, or an optional mapping, begins as once something below it is set; None for others."""
    kinds = typing.get_args(hint)
    groups = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    if groups:
        return typing.cast(Any, groups[0])()
    return {} if any((typing.get_origin(kind) or kind) in (Mapping, dict) for kind in kinds) else None


def _set_entry(current: Mapping[str, Any], path: list[str], text: str, name: str, hint: Any) -> dict[str, Any]:
    """A copy of the mapping `current`, whose values are of the type `hint`, with the entry at `path` set."""
    if not path[0]:
        raise ConfigError(f"{name!r} lacks a name before or after a dot; write such as options.height=224")
    if len(path) == 1:
        return {**current, path[0]: parse_entry(hint, text, name)}
    below = current.get(path[0], {})
    if not isinstance(below, Mapping) or (hint is not Any and (typing.get_origin(hint) or hint) not in (Mapping, dict)):
        raise ConfigError(f"{name!r}: {path[0]!r} has no settings below it")
    return {**current, path[0]: _set_entry(below, path[1:], text, name, _hint_of_entries(hint))}


def _hint_of_entries(hint: Any) -> Any:
    """The type of a mapping's values; Any where `hint` does not say."""
    for kind in (hint, *typing.get_args(hint)):
        if typing.get_origin(kind) in (Mapping, dict):
            return typing.get_args(kind)[1]
    return Any


def parse_entry(hint: Any, text: str, name: str) -> Any:
    """A value of a mapping. Where no type is given: true and false, then what Python reads as a literal, then the text itself."""
    if hint is not Any:
        return parse_value(hint, text, name)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse_value(hint: Any, text: str, name: str) -> Any:
    """`text` as a value of the annotated type `hint`. Raises ConfigError that names the setting."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in inner:
            return None
        return parse_value(next(kind for kind in inner if kind is not type(None)), text, name)
    if origin is typing.Literal:
        if text not in inner:
            raise ConfigError(f"{name} is {text!r}; it must be one of {', '.join(map(str, inner))}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(f"{name} is {text!r}; it must be true or false")
        return text.lower() in ("true", "1")
    if hint in (int, float, str, Path):
        try:
            return hint(text)
        except ValueError:
            raise ConfigError(f"{name} is {text!r}; it must be {'a whole number' if hint is int else 'a number'}") from None
    if origin is tuple:
        parts = [part.strip() for part in text.strip("()[]").split(",") if part.strip()]
        kinds = [inner[0]] * len(parts) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) != len(parts):
            raise ConfigError(f"{name} needs {len(kinds)} values separated by commas, not {len(parts)}")
        return tuple(parse_value(kind, part, name) for kind, part in zip(kinds, parts, strict=True))
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ConfigError(f"{name} is {text!r}; a Python literal is needed here") from None
    kind = origin or hint
    if kind is not Any and isinstance(kind, type) and not isinstance(value, kind):
        raise ConfigError(f"{name} is {text!r}; it must be {LITERALS.get(kind, kind.__name__)}")
    return value
