"""Homes that applications have been started in once: a second start is quicker and asks no questions.

A home is made by starting each application, closing it as a person would, and keeping what it wrote. It is kept in the cache under
a name made of everything that it depends on, and copied into every desktop that starts from it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stepladder.envs.desktop.applications import SKELETON, Application
from stepladder.envs.desktop.desktop import Desktop, DesktopSettings
from stepladder.envs.desktop.launch import launch
from stepladder.envs.desktop.provided import cache_directory, make_readable
from stepladder.envs.desktop.sandbox import HOME
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.locks import ExclusiveLock, Locked

#: Raised when homes are made in another way.
_VERSION = 1
#: The largest home that is kept, in bytes.
_LARGEST = 100 << 20
#: Names that belong to a running program and would confuse the next one.
_TRANSIENT = ("lock", "SingletonLock", "SingletonSocket", "SingletonCookie", ".X11-unix", ".ICEauthority", ".lock")


async def home(applications: Sequence[Application], settings: DesktopSettings, seconds: float = 120.0) -> Path:
    """The directory with the home for these applications, made when it is not there. Raises EnvironmentFailure."""
    seeded = sorted({application.name: application for application in applications}.values(), key=lambda one: one.name)
    key = {
        "version": _VERSION,
        "skeleton": dict(SKELETON),
        "isolation": settings.isolation,
        "applications": [
            [one.name, list(one.command), one.version(), dict(one.files), one.seeded, settings.width, settings.height]
            for one in seeded
        ],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    target = cache_directory() / f"home-{digest}"
    until = time.monotonic() + seconds
    while not target.exists():
        try:
            lock = ExclusiveLock(cache_directory() / f"home-{digest}.lock", "this home")
        except Locked:
            if time.monotonic() > until:
                raise EnvironmentTimeout(f"another process did not finish the home {target} within {seconds:g} s") from None
            await asyncio.sleep(0.1)
            continue
        try:
            if not target.exists():
                await _make(target, seeded, settings)
        finally:
            lock.release()
    return target


async def _make(target: Path, applications: Sequence[Application], settings: DesktopSettings) -> None:
    desktop = await Desktop.start(replace(settings, home=None))
    try:
        files = dict(SKELETON)
        for application in applications:
            files |= application.files
        for name, content in files.items():
            await desktop.guest.write(desktop.inside(f"{HOME}/{name}"), content.encode())
        for application in applications:
            if application.seeded:
                window = await launch(desktop, application, seconds=60.0)
                await desktop.close_window(window)
                await _ended(desktop, application)
        packed = await desktop.guest.run(
            ["tar", "-cf", "-", "-C", desktop.inside(HOME), *(f"--exclude={name}" for name in _TRANSIENT), "."],
            timeout=60.0,
            limit=_LARGEST,
        )
        if packed.returncode or packed.cut:
            raise EnvironmentFailure(f"the home cannot be kept: {packed.errors.strip()[-500:] or 'it is too large'}")
    finally:
        await desktop.close()
    partial = Path(tempfile.mkdtemp(prefix="home-partial-", dir=target.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(packed.content)) as archive:
            _unpack(archive, partial)
        make_readable(partial)
        partial.rename(target)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise EnvironmentFailure(f"the home cannot be kept in {target}: {error}") from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(partial)


def _unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Plain files, directories and links that stay within; early versions of Python 3.11 have no filter for that."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(target, filter="data")
        return
    for member in archive.getmembers():
        inside = not member.name.startswith("/") and ".." not in Path(member.name).parts
        if inside and (member.isdir() or member.isreg()):
            archive.extract(member, target)


async def _ended(desktop: Desktop, application: Application, seconds: float = 10.0) -> None:
    """Wait until no window of it is left and it has written what it writes at its end."""
    until = time.monotonic() + seconds
    while any(application.owns(window) for window in await desktop.windows()):
        if time.monotonic() > until:
            raise EnvironmentTimeout(f"{application.name} did not close within {seconds:g} s")
        await asyncio.sleep(0.05)
    await desktop.settle()
    await asyncio.sleep(0.5)
