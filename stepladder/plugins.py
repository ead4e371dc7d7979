"""Plug-ins by name: an entry of a table, or `package.module:Class` for one that no table knows. Nothing is imported before."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from stepladder.errors import UserError


class PluginError(UserError, ValueError):
    """A plug-in that is not there; the message names it and the nearest one that is."""


def load(name: str, table: Mapping[str, str], what: str) -> Any:
    """What stands at `table[name]`, or at `name` itself when it is a dotted path. `what` ("environment") is for the message.

    Raises PluginError when it is not there, and whatever its module raises when it is imported.
    """
    module, separator, attribute = table.get(name, name).partition(":")
    if not separator:
        known = f"known: {', '.join(table)}, or package.module:Class"
        raise PluginError(f"unknown {what} {name!r}; {_hint(name, table, known)}")
    try:
        holder = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and lacks something else
        raise PluginError(f"{what} {name!r}: there is no module {error.name!r}") from error
    except ValueError as error:  # an empty or otherwise impossible module name
        raise PluginError(f"{what} {name!r}: {module!r} is no module name") from error
    if not hasattr(holder, attribute):
        raise PluginError(
            f"{what} {name!r}: module {module!r} has no {attribute!r}; {_hint(attribute, vars(holder), 'see its source')}"
        )
    return getattr(holder, attribute)


def _hint(name: str, known: Mapping[str, Any], otherwise: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
