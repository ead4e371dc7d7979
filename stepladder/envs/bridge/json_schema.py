"""JSON Schema of the nouns: what `stepladder.codec.from_json` takes for a dataclass, so that the two cannot drift apart."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number"}


def json_schema(kind: type) -> dict[str, Any]:
    """The schema of a dataclass, its docstring as the description. Raises TypeError for a field of a type that has no schema."""
    hints = typing.get_type_hints(kind)
    properties, required = {}, []
    for spec in dataclasses.fields(kind):
        properties[spec.name] = _schema(hints[spec.name])
        if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            required.append(spec.name)
        elif isinstance(spec.default, (str, int, float, bool)):
            properties[spec.name]["default"] = spec.default
    return {
        "title": kind.__name__,
        "description": inspect.getdoc(kind) or "",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema(hint: Any) -> dict[str, Any]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if hint is type(None):
        return {"type": "null"}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(one) for one in inner]}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _schema(inner[0])}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_schema(one) for one in inner], "minItems": len(inner), "maxItems": len(inner)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object"}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return json_schema(hint)
    raise TypeError(f"{hint} has no JSON schema")
