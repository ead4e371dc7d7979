"""Where Chromium is: an explicit path, the environment variable STEPLADDER_CHROMIUM, PATH, or Playwright's download folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from stepladder.interfaces import EnvironmentFailure

VARIABLE = "STEPLADDER_CHROMIUM"

#: Names looked up on PATH, best first: only the headless shell offers begin-frame control.
NAMES = (
    "chromium-headless-shell",
    "chrome-headless-shell",
    "headless_shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)

INSTALL = (
    "install one of:\n"
    "  apt-get install chromium-headless-shell            (Debian)\n"
    "  python -m pip install playwright && python -m playwright install --with-deps chromium-headless-shell   (Ubuntu and others)\n"
    f"or set {VARIABLE} to the path of a Chromium, Chrome or headless shell binary"
)


class ChromiumNotFound(EnvironmentFailure):
    """No Chromium on this machine; the message says how to install one."""


def find_chromium(path: str | os.PathLike[str] | None = None) -> Path:
    """The Chromium binary to start. `path` is a file or a name on PATH and wins over everything else.

    Raises ChromiumNotFound, which names every place that was looked at and the command that installs a browser.
    """
    if path is not None:
        return _explicit(os.fspath(path), "the `chromium` option")
    if os.environ.get(VARIABLE):
        return _explicit(os.environ[VARIABLE], f"the environment variable {VARIABLE}")
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    for candidate in _playwright_downloads():
        return candidate
    raise ChromiumNotFound(
        f"no Chromium found: none of {', '.join(NAMES)} is on PATH and {playwright_cache()} holds none; {INSTALL}"
    )


def has_begin_frames(path: Path) -> bool:
    """Whether the name says headless shell, the only build with begin-frame control. The host verifies it when it starts."""
    return "headless" in path.resolve().name or "headless" in path.name


def playwright_cache() -> Path:
    """Playwright's download folder on this system (PLAYWRIGHT_BROWSERS_PATH when set)."""
    configured = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    if configured and configured != "0":
        return Path(configured)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ms-playwright"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ms-playwright"


def _explicit(path: str, origin: str) -> Path:
    found = shutil.which(path)
    if found is None:
        raise ChromiumNotFound(f"{origin} is {path!r}, which is no program that can be started; {INSTALL}")
    return Path(found)


def _playwright_downloads() -> Iterator[Path]:
    """Binaries in Playwright's cache: headless shells before full browsers, newest first."""
    patterns = (
        "chromium_headless_shell-*/chrome-*/headless_shell",
        "chromium_headless_shell-*/chrome-*/chrome-headless-shell",
        "chromium-*/chrome-*/chrome",
        "chromium-*/chrome-*/Chromium.app/Contents/MacOS/Chromium",
    )
    for pattern in patterns:
        for candidate in sorted(playwright_cache().glob(pattern), key=_revision, reverse=True):
            if os.access(candidate, os.X_OK):
                yield candidate


def _revision(path: Path) -> int:
    """The number in ".../chromium-1187/..."; 0 where there is none."""
    for part in path.parts:
        prefix, separator, number = part.rpartition("-")
        if separator and prefix.startswith("chromium") and number.isdigit():
            return int(number)
    return 0
