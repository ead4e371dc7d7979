"""`stepladder doctor`: every part that Stepladder needs, whether it is here, and what to do when it is not."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stepladder.envs.browser.find import find_chromium
from stepladder.envs.browser.host import BrowserHost
from stepladder.interfaces import EnvironmentFailure
from stepladder.plugins import load
from stepladder.run import describe_machine, package_version

FONTS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts", Path("/Library/Fonts"))


@dataclass(frozen=True)
class Finding:
    """One part: "ok", "missing" (something will not work) or "note" (it will, less well); `remedy` says what to do."""

    state: str
    part: str
    detail: str
    remedy: str = ""


def examine() -> bool:
    """Print every finding; whether nothing is missing."""
    console = Console()
    colours = {"ok": "green", "missing": "bold red", "note": "yellow"}
    complete = True
    for check in (_packages, _browser, _desktop, _fonts, _machine):
        for finding in check():
            complete = complete and finding.state != "missing"
            mark = f"[{colours[finding.state]}]{finding.state:8}[/]"
            console.print(f"{mark}{escape(finding.part):22} {escape(finding.detail)}", soft_wrap=True, highlight=False)
            if finding.remedy:
                console.print(f"{'':8}{'':22} {escape(finding.remedy)}", style="dim", soft_wrap=True, highlight=False)
    return complete


def _packages() -> Iterator[Finding]:
    yield Finding("ok", "Python", platform.python_version())
    for name, extra, purpose in (
        ("torch", "train", "training and local models"),
        ("transformers", "train", "training and local models"),
        ("tokenizers", "train", "training and local models"),
        ("safetensors", "train", "training and local models"),
        ("miniwob", "browser", "MiniWoB++ tasks"),
    ):
        version = package_version(name) if importlib.util.find_spec(name) is not None else None
        if version is not None:
            yield Finding("ok", name, version)
        else:
            yield Finding("missing", name, f"needed for {purpose}", f"pip install 'stepladder[{extra}]'")


def _browser() -> Iterator[Finding]:
    try:
        path = find_chromium()
    except EnvironmentFailure as error:
        yield Finding("missing", "Chromium", "needed for browser tasks", str(error))
        return
    try:
        version, frames, seconds = asyncio.run(_start_browser(path))
    except EnvironmentFailure as error:
        yield Finding("missing", "Chromium", f"{path} does not start", str(error))
        return
    yield Finding("ok", "Chromium", f"{version} at {path}, starts in {seconds:.2f} s")
    if frames:
        yield Finding("ok", "frames on request", "steps are quick and screenshots settled")
    else:
        yield Finding("note", "frames on request", "this browser lacks them; steps are slower", "install chromium-headless-shell")


async def _start_browser(path: Path) -> tuple[str, bool, float]:
    host = BrowserHost(path)
    started = time.monotonic()
    try:
        await host.start()
        return host.version, host.begin_frames, time.monotonic() - started
    finally:
        await host.close()


def _desktop() -> Iterator[Finding]:
    purpose = "needed for desktop tasks alone"
    if any(importlib.util.find_spec(name) is None for name in ("Xlib", "jeepney")):
        yield Finding("note", "desktop", f"python-xlib or jeepney is not installed; {purpose}", "pip install 'stepladder[desktop]'")
        return
    desktop_class = load("stepladder.envs.desktop.desktop:Desktop", {}, "part")  # here, because it imports both

    async def start() -> float:
        started = time.monotonic()
        desktop = await desktop_class.start()
        await desktop.close()
        return time.monotonic() - started

    try:
        yield Finding("ok", "desktop", f"sandboxed, up in {asyncio.run(start()):.2f} s")
    except EnvironmentFailure as error:
        yield Finding("note", "desktop", f"does not start; {purpose}", str(error))


def _fonts() -> Iterator[Finding]:
    if any(next(folder.rglob("LiberationSans*"), None) is not None for folder in FONTS if folder.is_dir()):
        yield Finding("ok", "fonts", "Liberation")
    else:
        remedy = "install the package fonts-liberation (liberation-fonts elsewhere)"
        yield Finding("note", "fonts", "Liberation is not installed; pages look different from those of published results", remedy)


def _machine() -> Iterator[Finding]:
    machine = describe_machine()["machine"]
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield _enough("processor", machine["cores"], 2, "cores", f", {machine['processor']}")
    yield _enough("memory", machine["memory_gib"], 6, "GiB")
    yield _enough("disk", round(free), 5, "GiB", " free here")


def _enough(part: str, value: float, wanted: float, unit: str, more: str = "") -> Finding:
    if value >= wanted:
        return Finding("ok", part, f"{value:g} {unit}{more}")
    return Finding("note", part, f"{value:g} {unit}{more}", f"the demonstration wants {wanted:g} {unit}")
