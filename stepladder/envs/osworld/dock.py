"""The dock of OSWorld's machine, at the left of the screen: a click on an icon starts a program. Below them are the icons of the
windows that are open; a click hides a window or shows it again.

It is drawn by tint2. Where that is not installed there is no dock, and Ctrl+Alt+T still opens a terminal.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from stepladder.envs.desktop.applications import APPLICATIONS
from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.sandbox import HOME
from stepladder.interfaces import EnvironmentTimeout

PROGRAM = "tint2"
_LOG = "dock"
_FOLDER = f"{HOME}/.config/tint2"
#: Seconds within which the dock must be painted.
_SECONDS = 20.0
#: Pixels: the largest icon, what is between icons, what is beside them to the screen's edge and to the windows.
_ICON, _GAP, _MARGIN = 48, 6, 10
#: Where icons lie. A path instead of a name halves the time that the dock takes to come.
_ICONS = "/usr/share/icons"
_FOLDERS = ("hicolor/48x48/apps", "Adwaita/48x48/legacy", "hicolor/64x64/apps", "hicolor/128x128/apps")


@dataclass(frozen=True)
class Entry:
    """A program of the dock: its name, the command that starts it, its icon's name in the theme, and the program that must be
    installed for it to be there."""

    name: str
    command: tuple[str, ...]
    icon: str
    program: str


def _entry(name: str, application: str, icon: str) -> Entry:
    command = APPLICATIONS[application].command
    return Entry(name, command, icon, command[0])


#: From the top. Chromium is started as tasks start it, so that both have one profile.
ENTRIES = (
    Entry("Chromium", ("google-chrome",), "chromium", "chromium"),
    Entry("Thunderbird", ("thunderbird",), "thunderbird", "thunderbird"),
    _entry("Files", "thunar", "system-file-manager"),
    _entry("Terminal", "xterm", "utilities-terminal"),
    Entry("LibreOffice Writer", APPLICATIONS["writer"].command, "libreoffice-writer", "lowriter"),
    Entry("LibreOffice Calc", APPLICATIONS["calc"].command, "libreoffice-calc", "localc"),
    Entry("LibreOffice Impress", APPLICATIONS["impress"].command, "libreoffice-impress", "loimpress"),
    Entry("GIMP", ("gimp",), "gimp", "gimp"),
    Entry("VLC", ("vlc",), "vlc", "vlc"),
    Entry("Sound", ("pavucontrol",), "audio-volume-high", "pavucontrol"),
)


def installed() -> list[Entry]:
    """What the dock of this machine shows; nothing where there is no dock."""
    return [entry for entry in ENTRIES if shutil.which(entry.program)] if shutil.which(PROGRAM) else []


def icon_size(height: int, entries: int) -> int:
    """Width and height of an icon, in pixels: on a low screen they are smaller. A quarter of its height is left for the icons of
    windows."""
    return min(_ICON, height * 3 // 4 // max(1, entries) - _GAP)


def width(height: int, entries: int) -> int:
    """How much of the screen's width the dock takes, in pixels."""
    return icon_size(height, entries) + 2 * _MARGIN


def place(entry: int, height: int, entries: int) -> tuple[int, int]:
    """The middle of an icon, in pixels of the screen."""
    size = icon_size(height, entries)
    return _MARGIN + size // 2, _GAP + entry * (size + _GAP) + size // 2


async def start(desktop: Desktop) -> None:
    """Start the dock, if it is installed. Raises EnvironmentFailure when it does not start."""
    entries = installed()
    if not entries:
        return
    files = {f"{place}.desktop": _desktop_entry(entry) for place, entry in enumerate(entries)}
    files["tint2rc"] = _settings(desktop.settings.height, [desktop.inside(f"{_FOLDER}/{name}") for name in files])
    await asyncio.gather(*(desktop.guest.write(desktop.inside(f"{_FOLDER}/{name}"), text.encode()) for name, text in files.items()))
    command = [PROGRAM, "-c", desktop.inside(f"{_FOLDER}/tint2rc")]
    await desktop.guest.spawn(command, log=_LOG, cwd=desktop.inside(HOME), may_be_ended=True)


async def painted(desktop: Desktop) -> None:
    """Wait until the dock that was started can be seen; before any program has a window. Raises EnvironmentTimeout."""
    entries = installed()
    until = time.monotonic() + _SECONDS
    # The screen behind it is black.
    while entries and not desktop.pixels()[:, : width(desktop.settings.height, len(entries))].any():
        if time.monotonic() > until:
            log = (await desktop.guest.log(_LOG))[-500:]
            raise EnvironmentTimeout(f"the dock was not there within {_SECONDS:g} s; log: {log or 'empty'}")
        await asyncio.sleep(0.01)


def _desktop_entry(entry: Entry) -> str:
    paths = [f"{_ICONS}/{folder}/{entry.icon}.png" for folder in _FOLDERS]
    icon = next((path for path in paths if os.path.exists(path)), entry.icon)
    return f"[Desktop Entry]\nType=Application\nName={entry.name}\nExec={shlex.join(entry.command)}\nIcon={icon}\n"


def _settings(height: int, launchers: Sequence[str]) -> str:
    """tint2's own. What is told of a background comes before what uses it. Windows leave room for the dock, and nothing in it moves
    or comes late, so that equal states look equal."""
    size = icon_size(height, len(launchers))
    settings = {
        "rounded": "0",
        "border_width": "0",
        "background_color": "#2c2c2c 100",
        "panel_items": "LT",
        "panel_position": "center left vertical",
        "panel_size": f"100% {width(height, len(launchers))}",
        "panel_background_id": "1",
        "panel_layer": "top",
        "strut_policy": "follow_size",
        "wm_menu": "0",
        "mouse_effects": "0",
        "startup_notifications": "0",
        "launcher_padding": f"{_GAP} {_MARGIN} {_GAP}",
        "launcher_icon_size": str(size),
        "launcher_icon_theme": "Adwaita",
        "launcher_tooltip": "1",
        "tooltip_show_timeout": "0",
        "tooltip_hide_timeout": "0",
        "tooltip_background_id": "1",
        "tooltip_padding": "6 4",
        "tooltip_font": "sans 9",
        "tooltip_font_color": "#ffffff 100",
        "taskbar_mode": "single_desktop",
        "taskbar_padding": f"{_GAP} {_MARGIN} {_GAP}",
        "task_text": "0",
        "task_icon": "1",
        "task_centered": "1",
        "task_maximum_size": f"{size} {size}",
        "mouse_left": "toggle_iconify",
        **dict.fromkeys(("mouse_middle", "mouse_right", "mouse_scroll_up", "mouse_scroll_down"), "none"),
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join([*lines, *(f"launcher_item_app = {path}" for path in launchers)]) + "\n"
