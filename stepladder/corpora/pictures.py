"""Pictures as files of corpora hold them: bytes, a path beside the file, a data URL, or a reference into a store of ours."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from stepladder.codec import from_json
from stepladder.images import ImageStore
from stepladder.types import ImageRef

#: Where documents that were written by us have their pictures, beside their file.
FOLDER = "images"
#: The longest data URL that is decoded, in characters.
_LONGEST_URL = 64 * 2**20


def stored_picture(entry: Any, folder: Path, into: ImageStore) -> ImageRef:
    """Keep the picture that `entry` means in `into`. Paths begin at `folder` and never lead out of it.

    Raises ValueError for what is no picture and for a path that leads elsewhere, OSError for a file that is not there, and KeyError
    for a reference to a picture that is not in `folder`.
    """
    if isinstance(entry, Mapping) and "sha256" in entry:
        image = from_json(ImageRef, entry)
        if len(image.sha256) != 64 or not set(image.sha256) <= set("0123456789abcdef"):
            raise ValueError(f"{image.sha256[:40]!r} is no SHA-256 of a picture")
        return image if image in into else into.put(ImageStore(folder / FOLDER).get(image))
    try:
        return into.put(_bytes(entry, folder))
    except Image.DecompressionBombError as error:
        raise ValueError(f"not a picture that is read: {error}") from error


def _bytes(entry: Any, folder: Path) -> bytes:
    if isinstance(entry, Mapping):
        entry = entry["bytes"] if entry.get("bytes") is not None else entry.get("path")
    if isinstance(entry, bytes):
        return entry
    if not isinstance(entry, str):
        raise ValueError(f"a picture must be bytes, a path or a data URL, not {type(entry).__name__}")
    if entry.startswith("data:"):
        return _decoded(entry)
    if "://" in entry[:16]:
        raise ValueError(f"{entry[:80]!r} is a picture elsewhere; fetch it first and name the file")
    parts = PurePosixPath(entry).parts
    if not parts or entry.startswith(("/", "\\")) or ".." in parts or "\0" in entry:
        raise ValueError(f"{entry[:80]!r} is no path inside the folder; it must be relative and have no '..'")
    path = folder / entry
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{entry[:80]!r} leads out of {folder} by a link")
    return path.read_bytes()


def _decoded(url: str) -> bytes:
    head, comma, payload = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ValueError(f"a data URL must begin with 'data:image/png;base64,', not {url[:40]!r}")
    if len(payload) > _LONGEST_URL:
        raise ValueError(f"a picture of {len(payload)} characters; at most {_LONGEST_URL} are read")
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a data URL that is no base64: {error}") from error
