"""Getters of the machine itself: what commands print, its screen, windows and folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from stepladder.envs.osworld.getters.state import Got, State, file
from stepladder.interfaces import EnvironmentFailure

#: Kinds of videos whose player is asked for.
_VIDEOS = ("3gp", "3gpp", "3gpp2", "avi", "divx", "dv", "fli", "flv", "mp2t", "mp4", "mp4v-es", "mpeg", "mpeg-system", "msvideo")
_STATE = "{https://accessibility.ubuntu.example.org/ns/state}"
#: The session's bus, which a command from outside the session is not told of.
_BUS = "export DBUS_SESSION_BUS_ADDRESS=${DBUS_SESSION_BUS_ADDRESS:-unix:path=/run/user/$(id -u)/bus}"


async def vm_command_line(state: State, described: Mapping[str, Any]) -> str:
    return (await state.machine.execute(described["command"], bool(described.get("shell", False)))).output


async def vm_command_error(state: State, described: Mapping[str, Any]) -> str:
    return (await state.machine.execute(described["command"], bool(described.get("shell", False)))).error


async def vm_terminal_output(state: State, _: Mapping[str, Any]) -> str | None:
    """The text of the terminal that has the focus, or of the only one there is, as the accessibility tree tells it."""
    terminals = list(_tree(await state.machine.accessibility()).iter("terminal"))
    focused = [one for one in terminals if one.get(f"{_STATE}focused") == "true"]
    chosen = focused or (terminals if len(terminals) == 1 else [])
    return (chosen[0].text or "").rstrip() if chosen else None


async def vm_screen_size(state: State, _: Mapping[str, Any]) -> dict[str, int]:
    width, height = state.machine.size
    return {"width": width, "height": height}


async def vm_window_size(state: State, described: Mapping[str, Any]) -> dict[str, int] | None:
    """The size of the first window of a program, by its class in any case; None when it has none."""
    ran = await state.machine.execute(["wmctrl", "-l", "-G", "-x"], False)
    if ran.returncode != 0:
        raise EnvironmentFailure(f"windows cannot be listed: wmctrl says {ran.error.strip() or 'nothing'}")
    for line in ran.output.splitlines():
        fields = line.split(maxsplit=8)  # number, desktop, x, y, width, height, class, machine, title
        if len(fields) >= 7 and described["app_class_name"].lower() in fields[6].lower().split("."):
            return {"width": int(fields[4]), "height": int(fields[5])}
    return None


async def vm_wallpaper(state: State, described: Mapping[str, Any]) -> Got | None:
    """The image behind the desktop, as GNOME is set."""
    ran = await state.machine.execute(f"{_BUS}; gsettings get org.gnome.desktop.background picture-uri", True)
    if ran.returncode != 0:
        raise EnvironmentFailure(f"the wallpaper is not known: gsettings says {ran.error.strip() or 'nothing'}")
    path = unquote(ran.output.strip().strip("'\"").removeprefix("file://"))
    return await file(state, path, described["dest"]) if path else None


async def accessibility_tree(state: State, _: Mapping[str, Any]) -> str:
    return await state.machine.accessibility()


async def list_directory(state: State, described: Mapping[str, Any]) -> Any:
    """The tree below a directory, as OSWorld's server gives it."""
    script = (
        "import json,os,sys\n"
        "def tree(p):\n"
        "    n={'type':'directory' if os.path.isdir(p) else 'file','name':os.path.basename(p)}\n"
        "    if os.path.isdir(p): n['children']=[tree(os.path.join(p,c)) for c in sorted(os.listdir(p))]\n"
        "    return n\n"
        "print(json.dumps(tree(sys.argv[1])))"
    )
    ran = await state.machine.execute(["python3", "-I", "-c", script, described["path"]], False)
    return json.loads(ran.output) if ran.returncode == 0 else None


async def default_video_player(state: State, _: Mapping[str, Any]) -> str:
    """The desktop entries of the players of several kinds of videos, one a line."""
    found = []
    for kind in _VIDEOS:
        ran = await state.machine.execute(["xdg-mime", "query", "default", f"video/{kind}"], False)
        if ran.output.strip():
            found.append(ran.output.strip())
    players = list(dict.fromkeys(found))
    return players[0] if len(players) == 1 else "\n".join(players)


def _tree(text: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise EnvironmentFailure(f"the accessibility tree cannot be read: {error}") from error
