"""JSON for the nouns: `to_json` and `from_json` are exact inverses for every dataclass of `stepladder.types`.

Fields that hold their default are left out, arrays are written as "int32:<base64, little-endian>", unknown fields are an error.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
_PLAIN = (str, int, float, bool, type(None))
#: Equal to no field's value: such a field is always written.
_NEVER = object()


def encode_array(array: np.ndarray) -> str:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return f"{array.dtype.name}:{base64.b64encode(little.tobytes()).decode('ascii')}"


def decode_array(text: str) -> np.ndarray:
    """Raises ValueError for anything that `encode_array` cannot have written."""
    dtype, separator, payload = text.partition(":")
    if not separator or dtype not in ("int32", "float32"):
        raise ValueError(f"an array must start with 'int32:' or 'float32:', not {text[:20]!r}")
    return np.frombuffer(base64.b64decode(payload, validate=True), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def to_json(value: Any) -> Any:
    """Plain dicts, lists, strings and numbers for a dataclass (or a container of them)."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    defaults = _defaults(typing.cast(Any, kind))
    if defaults is not None:
        record = {}
        for name, default in defaults:
            item = getattr(value, name)
            if not (type(item) is type(default) and item == default):
                record[name] = to_json(item)
        return record
    if isinstance(value, np.ndarray):
        return encode_array(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], record: Any, where: str = "") -> T:
    """The dataclass `kind` from what `to_json` wrote. Raises ValueError that names the field at fault."""
    where = where or kind.__name__
    if not isinstance(record, Mapping):
        raise ValueError(f"{where} must be an object, not {type(record).__name__}")
    hints = _hints(typing.cast(Any, kind))
    unknown = [key for key in record if key not in hints]
    if unknown:
        near = difflib.get_close_matches(unknown[0], hints, n=1)
        raise ValueError(f"{where} has no field {unknown[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    values = {key: _decode(hints[key], item, f"{where}.{key}") for key, item in record.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...] | None:
    """(name, value that is left out) of every field of a dataclass; None for any other class."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple((spec.name, _NEVER if spec.name == "schema" else _default(spec)) for spec in dataclasses.fields(kind))


def _default(spec: dataclasses.Field[Any]) -> Any:
    if spec.default is not dataclasses.MISSING:
        return spec.default
    return spec.default_factory() if spec.default_factory is not dataclasses.MISSING else _NEVER


def _decode(hint: Any, item: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(hint), item, where)
    if origin is np.ndarray:
        if not isinstance(item, str):
            raise ValueError(f"{where} must be an encoded array, not {type(item).__name__}")
        return decode_array(item)
    if origin is tuple:
        if not isinstance(item, list):
            raise ValueError(f"{where} must be a list, not {type(item).__name__}")
        inner = typing.get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_decode(inner[0], part, f"{where}[{i}]") for i, part in enumerate(item))
        if len(inner) != len(item):
            raise ValueError(f"{where} must have {len(inner)} entries, not {len(item)}")
        return tuple(_decode(kind, part, f"{where}[{i}]") for i, (kind, part) in enumerate(zip(inner, item, strict=True)))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, item, where)
    if origin is typing.Literal:
        if item not in typing.get_args(hint):
            raise ValueError(f"{where} is {item!r}; it must be one of {', '.join(map(str, typing.get_args(hint)))}")
        return item
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    if hint in (str, int, float, bool) and (not isinstance(item, hint) or (hint is int and isinstance(item, bool))):
        raise ValueError(f"{where} must be {hint.__name__}, not {type(item).__name__}")
    return item


def _decode_union(kinds: tuple[Any, ...], item: Any, where: str) -> Any:
    if item is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return _decode(kinds[0], item, where)
    if isinstance(item, Mapping):
        for kind in kinds:
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                return _decode(kind, item, where)
    for kind in kinds:
        if isinstance(kind, type) and isinstance(item, kind):
            return item
    raise ValueError(f"{where} cannot be {type(item).__name__}")
