"""Pictures as other formats hold them: files, data URLs, bytes in a table. Names from elsewhere never lead out of their folder."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stepladder.interchange.folder import ConvertError

_KINDS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
#: The longest data URL that is decoded, in characters: a screenshot of 4K as PNG is a third of it.
_LONGEST_URL = 64 * 2**20


def checked_path(name: str) -> str:
    """A relative path that stays below its folder. Raises ConvertError for any other."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or "\0" in name:
        raise ConvertError(f"{name!r} is no path inside the folder; it must be relative and have no '..'")
    return name


def read_picture(entry: Any, folder: Path) -> bytes:
    """The bytes of a picture that is given as a path below `folder`, a data URL, or {"bytes", "path"}.

    Raises ConvertError for anything else and for a path that leads elsewhere, OSError for a file that is not there.
    """
    if isinstance(entry, Mapping):
        if isinstance(entry.get("bytes"), bytes):
            return bytes(entry["bytes"])
        entry = entry.get("path")
    if not isinstance(entry, str):
        raise ConvertError(f"a picture must be a path, a data URL or bytes, not {type(entry).__name__}")
    if entry.startswith("data:"):
        return _decoded(entry)
    if "://" in entry[:16]:
        raise ConvertError(f"{entry[:80]!r} is a picture elsewhere; fetch it first and name the file")
    path = folder / checked_path(entry)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConvertError(f"{entry!r} leads out of {folder} by a link")
    return path.read_bytes()


def data_url(data: bytes) -> str:
    return f"data:image/{kind_of(data)};base64,{base64.b64encode(data).decode('ascii')}"


def kind_of(data: bytes) -> str:
    """png, jpeg or webp, by the first bytes."""
    return next((kind for start, kind in _KINDS if data.startswith(start)), "png")


def _decoded(url: str) -> bytes:
    head, comma, payload = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ConvertError(f"a data URL must begin with 'data:image/png;base64,', not {url[:40]!r}")
    if len(payload) > _LONGEST_URL:
        raise ConvertError(f"a picture of {len(payload)} characters; at most {_LONGEST_URL} are read")
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise ConvertError(f"a data URL that is no base64: {error}") from error
