"""Files that a sandbox is given to read, copied to a place that its user can reach: the program inside, and what it imports."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from stepladder.envs.desktop.sandbox import guest_python
from stepladder.interfaces import EnvironmentFailure

_HERE = Path(__file__).parent


def cache_directory() -> Path:
    """Where things are kept that are made once: $STEPLADDER_CACHE, or for root /var/cache/stepladder (sandboxes of root belong to
    "nobody", who must be able to read it), or ~/.cache/stepladder."""
    chosen = os.environ.get("STEPLADDER_CACHE")
    if chosen:
        path = Path(chosen)
    else:
        path = Path("/var/cache/stepladder") if os.geteuid() == 0 else Path.home() / ".cache" / "stepladder"
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    return path


@functools.cache
def guest_directory() -> Path:
    """The directory with the program that runs inside, named by its content. Raises EnvironmentFailure without jeepney."""
    found = importlib.util.find_spec("jeepney")
    if found is None or found.origin is None:
        raise EnvironmentFailure("desktops need jeepney and python-xlib: pip install 'stepladder[desktop]'")
    package = Path("stepladder/envs/desktop/guest")
    files = {package / path.name: path for path in sorted((_HERE / "guest").glob("*.py"))}
    files[Path("openbox.xml")] = _HERE / "openbox.xml"
    library = Path(found.origin).parent
    files |= {
        Path("jeepney") / path.relative_to(library): path for path in sorted(library.rglob("*.py")) if "tests" not in path.parts
    }
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(str(name).encode() + b"\0" + path.read_bytes() + b"\0")
    target = cache_directory() / f"guest-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    partial = Path(tempfile.mkdtemp(prefix="guest-partial-", dir=cache_directory()))
    for name, path in files.items():
        copy = partial / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for parent in list(package.parents)[:-1]:  # nothing of the packages around it is wanted inside
        (partial / parent / "__init__.py").touch()
    subprocess.run([guest_python(), "-m", "compileall", "-q", str(partial)], check=False, stdout=subprocess.DEVNULL)
    make_readable(partial)
    try:
        partial.rename(target)
    except OSError:  # another process was quicker
        shutil.rmtree(partial, ignore_errors=True)
    return target


def make_readable(directory: Path) -> None:
    """Let everybody read a directory and all in it."""
    directory.chmod(0o755)
    for parent, directories, files in os.walk(directory):
        for name in directories:
            (Path(parent) / name).chmod(0o755)
        for name in files:
            path = Path(parent) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
