"""Getters of files: the machine's, those of OSWorld's cache, and what stands in one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stepladder.envs.osworld.apart import TooMuch, apart
from stepladder.envs.osworld.getters.state import Got, State, file
from stepladder.envs.osworld.lacking import Lacks
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action

#: Where VS Code keeps which folders its windows have open.
_WORKSPACES = "cat /home/user/.config/Code/User/workspaceStorage/*/workspace.json"


async def rule(_: State, described: Mapping[str, Any]) -> Any:
    return described["rules"]


async def vm_file(state: State, described: Mapping[str, Any]) -> Got | list[Got | None] | None:
    """One file, or several with `multi`, of which `gives` says which are wanted (default: the first). What `time_suffix` would
    add to the name of the copy is of no matter here."""
    if not described.get("multi"):
        return await file(state, described["path"], described["dest"])
    pairs = zip(described["path"], described["dest"], strict=True)
    return _chosen([await file(state, path, name) for path, name in pairs], described)


async def cloud_file(state: State, described: Mapping[str, Any]) -> Got | list[Got | None] | None:
    if not described.get("multi"):
        return Got(described["dest"], state.cache.cloud(described["path"], described["dest"]))
    pairs = zip(described["path"], described["dest"], strict=True)
    return _chosen([Got(name, state.cache.cloud(url, name)) for url, name in pairs], described)


def _chosen(found: list[Got | None], described: Mapping[str, Any]) -> Got | list[Got | None] | None:
    """The files that are wanted, in their order; each knows what was fetched with it."""
    beside = {one.name: one.content for one in found if one is not None}
    wanted = sorted(set(described.get("gives", [0])))
    chosen = [None if one is None else replace(one, beside=beside) for one in (found[place] for place in wanted)]
    return chosen[0] if len(chosen) == 1 else chosen


async def cache_file(state: State, described: Mapping[str, Any]) -> Got:
    content = state.cache.kept(described["path"])
    if content is None:
        raise EnvironmentFailure(f"no step of the task has kept {described['path']!r}")
    return Got(described["path"], content)


async def content_from_vm_file(state: State, described: Mapping[str, Any]) -> Any:
    """The last row of a spreadsheet, as texts."""
    if described.get("file_type") != "xlsx" or described.get("file_content") != "last_row":
        raise Lacks(f"getter content_from_vm_file for {described.get('file_type')} {described.get('file_content')}")
    found = await file(state, described["path"], described["path"])
    if found is None:
        return None
    try:
        row: list[str] | None = await apart(f"{__name__}:last_row", found.content)
    except TooMuch:
        return None
    return row


def last_row(content: bytes) -> list[str] | None:
    """The last row of a spreadsheet's active sheet; None of what is no spreadsheet, or an empty one."""
    import openpyxl

    try:
        rows = list(openpyxl.load_workbook(io.BytesIO(content), data_only=True).active.iter_rows(values_only=True))
    except Exception:  # whatever the agent left under this name
        return None
    return [str(value) for value in rows[-1]] if rows else None


async def vlc_config(state: State, described: Mapping[str, Any]) -> Got | None:
    return await file(state, "/home/user/.config/vlc/vlcrc", described["dest"])


async def gimp_config_file(state: State, described: Mapping[str, Any]) -> Got | None:
    return await file(state, f"/home/user/.config/GIMP/2.10/{described['file_name']}", described["dest"])


async def vscode_config(state: State, described: Mapping[str, Any]) -> Got | None:
    """A file of VS Code's, written by a command of OSWorld's extension where one is named; without it, what VS Code itself notes
    of its windows."""
    command = described.get("vscode_extension_command")
    if command:
        await state.machine.activate_window("Visual Studio Code", False, False)
        for action in (Action("key", keys=("ctrl", "shift", "p")), Action("type", text=command), Action("key", keys=("enter",))):
            await state.machine.act(action)
            await state.machine.act(Action("wait", seconds=0.5))
    found = await file(state, described["path"], described["dest"])
    if found is not None or not command:
        return found
    noted = (await state.machine.execute(_WORKSPACES, True)).output
    return Got(described["dest"], noted.encode()) if noted else None
