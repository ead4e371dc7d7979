"""Screenshots and their thumbnails, as answers that a browser may keep for good: a picture is named by its content."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

#: How files begin, and what they are; others are not sent.
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
#: Pixels of the largest picture of which a thumbnail is made.
_LARGEST = 64_000_000
_NARROWEST, _WIDEST = 16, 1600


class NoPicture(Exception):
    """A file that is no picture, or a size that cannot be; the message says which."""


def read_picture(path: Path) -> tuple[bytes, str]:
    """(the file's bytes, its media type). Raises NoPicture, OSError."""
    data = path.read_bytes()
    return data, media_type(data)


def media_type(data: bytes) -> str:
    """Of an encoded picture, by its first bytes. Raises NoPicture."""
    for start, kind in _KINDS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise NoPicture("it is no PNG, JPEG, GIF or WebP")


class Thumbnails:
    """Pictures made narrower; the last ones, `most` bytes of them, are kept. Safe for many threads."""

    def __init__(self, most: int = 32 << 20) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[tuple[str, int], tuple[bytes, str]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, path: Path, width: int) -> tuple[bytes, str]:
        """(bytes, media type) of the picture in `path` at `width` pixels, or as it is where it is no wider. Raises NoPicture,
        OSError."""
        if not _NARROWEST <= width <= _WIDEST:
            raise NoPicture(f"width is {width}; it must be {_NARROWEST} to {_WIDEST} pixels")
        with self._lock:
            if (digest, width) in self._kept:
                self._kept.move_to_end((digest, width))
                return self._kept[digest, width]
        made = _narrowed(*read_picture(path), width)
        with self._lock:
            if (digest, width) not in self._kept:
                self._kept[digest, width] = made
                self._size += len(made[0])
            while self._size > self._most and len(self._kept) > 1:
                self._size -= len(self._kept.popitem(last=False)[1][0])
        return made


def _narrowed(data: bytes, kind: str, width: int) -> tuple[bytes, str]:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width <= width:
                return data, kind
            if picture.width * picture.height > _LARGEST:
                raise NoPicture(f"{picture.width} x {picture.height} pixels are too many for a thumbnail")
            picture.draft("RGB", (width, width))  # a JPEG is decoded at a fraction of its size
            small = picture.convert("RGB")
            small.thumbnail((width, max(1, round(width * small.height / small.width))), Image.Resampling.LANCZOS)
    except (OSError, Image.DecompressionBombError, ValueError) as error:
        raise NoPicture(f"it cannot be read: {error}") from error
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=82, method=2)
    return buffer.getvalue(), "image/webp"
