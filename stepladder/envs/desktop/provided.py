"""Files that a sandbox is given to read, copied to a place that its user can reach: the program inside, and what it imports."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
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
    sources = {package / path.name: path for path in sorted((_HERE / "guest").glob("*.py"))}
    sources[Path("openbox.xml")] = _HERE / "openbox.xml"
    library = Path(found.origin).parent
    sources |= {
        Path("jeepney") / path.relative_to(library): path for path in sorted(library.rglob("*.py")) if "tests" not in path.parts
    }
    files = {name: path.read_bytes() for name, path in sources.items()}
    # Nothing of the packages around it is wanted inside.
    files |= {parent / "__init__.py": b"" for parent in list(package.parents)[:-1]}
    return kept_directory("guest", files, 0o644, _compile)


def _compile(directory: Path) -> None:
    subprocess.run([guest_python(), "-m", "compileall", "-q", str(directory)], check=False, stdout=subprocess.DEVNULL)


def kept_directory(name: str, files: Mapping[Path, bytes], mode: int, finish: Callable[[Path], None] | None = None) -> Path:
    """A directory of the cache with these files (paths below it) in this mode, named by its content and made when it is not there,
    for everybody to read. `finish` adds what follows from the files."""
    digest = hashlib.sha256(f"{mode:o}".encode())
    for path, content in files.items():
        digest.update(str(path).encode() + b"\0" + content + b"\0")
    target = cache_directory() / f"{name}-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    partial = Path(tempfile.mkdtemp(prefix=f"{name}-partial-", dir=cache_directory()))
    for path, content in files.items():
        copy = partial / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        copy.chmod(mode)
    if finish is not None:
        finish(partial)
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
