"""OSWorld's file cache, under its own names: a cache that a user has filled elsewhere makes the tasks that download work."""

from __future__ import annotations

import os
import posixpath
import uuid
from pathlib import Path

from stepladder.envs.osworld.lacking import Lacks

#: Where OSWorld's file cache is looked for when no other place is named.
CACHE = "OSWORLD_CACHE"


class FileCache:
    """The files of one task in `<root>/<task id>/`: downloads as `<uuid5 of the address>_<name>`, files of the cloud by the name
    that the task gives them. What an episode keeps is held in memory, so that the cache is only read."""

    def __init__(self, root: Path | None, task: str) -> None:
        self.folder = None if root is None else root / task
        self._kept: dict[str, bytes] = {}

    def downloaded(self, url: str, path: str) -> bytes:
        """What OSWorld's setup would have downloaded from `url` to be put at `path`. Raises Lacks."""
        return self._file(download_name(url, path), url)

    def uploaded(self, path: str) -> bytes:
        """A file that a task wants to be copied onto the machine, by its name. Raises Lacks."""
        return self._file(path, path)

    def cloud(self, url: str, name: str) -> bytes:
        """What OSWorld's grading would have downloaded from `url` under this name. Raises Lacks."""
        return self._file(name, url)

    def has_download(self, url: str, path: str) -> bool:
        return self._there(download_name(url, path))

    def has_upload(self, path: str) -> bool:
        return self._there(path)

    def has_cloud(self, name: str) -> bool:
        return self._there(name)

    def keep(self, name: str, content: bytes) -> None:
        """Keep what a command wrote, for the getter `cache_file`."""
        self._kept[name] = content

    def kept(self, name: str) -> bytes | None:
        return self._kept.get(name)

    def _there(self, name: str) -> bool:
        return self.folder is not None and (self.folder / _plain(name)).is_file()

    def _file(self, name: str, url: str) -> bytes:
        if self.folder is None or not self._there(name):
            where = "no cache was named" if self.folder is None else f"{self.folder / _plain(name)} is missing"
            raise Lacks(f"file {url}", f"{where}; OSWorld keeps it there after its first run")
        return (self.folder / _plain(name)).read_bytes()


def cache_folder(named: str | os.PathLike[str] | None) -> Path | None:
    """The folder that is named, or the one of the environment variable OSWORLD_CACHE, or none."""
    found = named if named is not None else os.environ.get(CACHE)
    return None if found is None else Path(found)


def download_name(url: str, path: str) -> str:
    """The name of a download in OSWorld's cache."""
    return f"{uuid.uuid5(uuid.NAMESPACE_URL, url)}_{posixpath.basename(path)}"


def _plain(name: str) -> str:
    """A name within the task's folder, whatever a task file says."""
    return posixpath.basename(name.replace("\\", "/")) or "unnamed"
