"""The applications of pocket desktops: how they are started, what their windows are called, and when they are ready."""

from __future__ import annotations

import difflib
import functools
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from stepladder.envs.desktop.xserver import Window
from stepladder.interfaces import EnvironmentFailure

_OFFICE = ("--norestore", "--nologo", "--nolockcheck")
_GTK = "[Settings]\ngtk-cursor-blink=0\ngtk-enable-animations=0\ngtk-recent-files-enabled=0\n"
#: Files of every home: nothing blinks and nothing moves by itself, so that equal states look equal.
SKELETON: Mapping[str, str] = {
    ".config/gtk-3.0/settings.ini": _GTK,
    ".config/gtk-4.0/settings.ini": _GTK,
    ".gtkrc-2.0": "gtk-cursor-blink=0\n",
    ".config/user-dirs.dirs": "".join(
        f'XDG_{name}_DIR="$HOME/{folder}"\n'
        for name, folder in (("DESKTOP", "Desktop"), ("DOCUMENTS", "Documents"), ("DOWNLOAD", "Downloads"))
    ),
    ".Xresources": "XTerm*cursorBlink: false\n",
    "Desktop/.keep": "",
    "Documents/.keep": "",
    "Downloads/.keep": "",
}


@dataclass(frozen=True)
class Application:
    """`command` starts it (files to open are added), `package` is Debian's, `window` is the class of its main window (compared
    without case), `accessible` whether it shows an accessibility tree, `files` what its home has from the start, `seeded`
    whether a first start writes so much that a home is kept for it."""

    name: str
    command: tuple[str, ...]
    package: str
    window: str
    accessible: bool = True
    seeded: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def owns(self, window: Window) -> bool:
        """Whether a window belongs to it."""
        return any(self.window.lower() in name.lower() for name in window.classes)

    def version(self) -> str:
        """What is installed. Raises EnvironmentFailure that says how to install it."""
        if shutil.which(self.command[0]) is None:
            raise EnvironmentFailure(f"{self.name} is not installed: apt-get install {self.package}")
        return _version(self.package)


@functools.cache
def _version(package: str) -> str:
    if shutil.which("dpkg-query") is None:
        return "unknown"
    told = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _office(name: str, flag: str, package: str, window: str) -> Application:
    return Application(name, ("soffice", *_OFFICE, flag), package, window, files=_OFFICE_FILES)


#: Without the questions and hints of a first start.
_OFFICE_SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<item oor:path="/org.openoffice.Office.Common/Misc"><prop oor:name="ShowTipOfTheDay"><value>false</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Misc"><prop oor:name="FirstRun"><value>false</value></prop></item>
<item oor:path="/org.openoffice.Setup/Product"><prop oor:name="ooSetupLastVersion"><value>100.0</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Save/Document"><prop oor:name="WarnAlienFormat"><value>false</value></prop></item>
<item oor:path="/org.openoffice.Office.Impress/Misc/NewDoc"><prop oor:name="AutoPilot"><value>false</value></prop></item>
</oor:items>
"""
_OFFICE_FILES = {".config/libreoffice/4/user/registrymodifications.xcu": _OFFICE_SETTINGS}

APPLICATIONS: dict[str, Application] = {
    application.name: application
    for application in (
        Application("mousepad", ("mousepad",), "mousepad", "mousepad"),
        Application("thunar", ("thunar",), "thunar", "thunar"),
        Application("pcmanfm", ("pcmanfm",), "pcmanfm", "pcmanfm", accessible=False),
        Application("galculator", ("galculator",), "galculator", "galculator"),
        Application("xterm", ("xterm", "-fa", "Monospace", "-fs", "11"), "xterm", "xterm", accessible=False, seeded=False),
        _office("calc", "--calc", "libreoffice-calc", "libreoffice-calc"),
        _office("writer", "--writer", "libreoffice-writer", "libreoffice-writer"),
        _office("impress", "--impress", "libreoffice-impress", "libreoffice-impress"),
        Application(
            "chromium",
            (
                *("chromium", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--test-type"),
                *("--password-store=basic", "--force-renderer-accessibility", "--disable-features=Translate", "--start-maximized"),
            ),
            "chromium",
            "chromium",
        ),
    )
}


def application(name: str) -> Application:
    """Raises ValueError that names the nearest one there is."""
    if name not in APPLICATIONS:
        near = difflib.get_close_matches(name, APPLICATIONS, n=1)
        known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(APPLICATIONS)}"
        raise ValueError(f"there is no application {name!r}; {known}")
    return APPLICATIONS[name]
