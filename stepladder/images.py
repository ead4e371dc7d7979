"""Pictures by content: stored once, named by the SHA-256 of their encoded bytes, decoded only where they are needed (law 9)."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stepladder.types import ImageRef

#: The signature of a PNG file, then the length and the name of its first chunk, which gives the size.
_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
#: The whole last chunk: its length, its name, its checksum.
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
#: The longest side of a picture, in pixels; far more than any screen has.
LARGEST_SIDE = 32768

Pixels = npt.NDArray[np.uint8]


class ImageStore:
    """Pictures on disk under `root/ab/abcd....png`, or in memory when `root` is None. Safe for many threads and processes.

    `cache` is the number of decoded pictures kept in memory.
    """

    def __init__(self, root: Path | str | None = None, cache: int = 256) -> None:
        self.root = Path(root) if root is not None else None
        self._memory: dict[str, bytes] = {}
        self._files: dict[str, Path] = {}
        self._known: set[str] = set()
        self._decoded: OrderedDict[str, Pixels] = OrderedDict()
        self._cache = cache
        self._lock = threading.Lock()

    def put(self, data: bytes, persist: bool = True) -> ImageRef:
        """Store an encoded picture (PNG, JPEG, WebP); with `persist` False in memory only. Raises ValueError when `data` is no
        picture."""
        digest = hashlib.sha256(data).hexdigest()
        width, height = _size(data)
        if self.root is None or not persist:
            self._memory[digest] = data
        elif digest not in self._known:
            path = self._path(digest)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
                temporary.write_bytes(data)
                temporary.replace(path)
            self._known.add(digest)
        return ImageRef(digest, width, height)

    def put_pixels(self, pixels: Pixels) -> ImageRef:
        """Store uint8[height, width, 3] as PNG."""
        return self.put(encode_png(pixels))

    def put_file(self, path: Path) -> ImageRef:
        """A picture that stays where it is, for as long as this object lives. Raises OSError, and ValueError for what is no
        picture."""
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        width, height = _size(data)
        self._files[digest] = path
        return ImageRef(digest, width, height)

    def get(self, ref: ImageRef) -> bytes:
        """The encoded bytes. Raises KeyError that names the picture when it is not here."""
        if ref.sha256 in self._memory:
            return self._memory[ref.sha256]
        if ref.sha256 in self._files:
            return self._files[ref.sha256].read_bytes()
        if self.root is not None:
            path = self._path(ref.sha256)
            if path.exists():
                return path.read_bytes()
        raise KeyError(f"picture {ref.sha256[:12]} ({ref.width}x{ref.height}) is not in {self.root or 'this memory store'}")

    def forget(self, ref: ImageRef) -> None:
        """Drop a picture from memory; a stored file stays."""
        self._memory.pop(ref.sha256, None)
        with self._lock:
            self._decoded.pop(ref.sha256, None)

    def load(self, ref: ImageRef) -> Pixels:
        """Decoded pixels uint8[height, width, 3]; do not write into them."""
        with self._lock:
            if ref.sha256 in self._decoded:
                self._decoded.move_to_end(ref.sha256)
                return self._decoded[ref.sha256]
        pixels = decode(self.get(ref))
        with self._lock:
            self._decoded[ref.sha256] = pixels
            while len(self._decoded) > self._cache:
                self._decoded.popitem(last=False)
        return pixels

    def __contains__(self, ref: ImageRef) -> bool:
        if ref.sha256 in self._memory or ref.sha256 in self._files:
            return True
        return self.root is not None and self._path(ref.sha256).exists()

    def _path(self, digest: str) -> Path:
        assert self.root is not None
        return self.root / digest[:2] / f"{digest}.png"


def share_pictures(source: Path, target: Path) -> None:
    """Make the pictures below `source` those of `target`, too: each file under two names, or on another file system a copy. What is
    there already stays."""
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        place = target / path.relative_to(source)
        if path.is_dir() or place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:
            temporary = place.with_name(f"{place.name}.{os.getpid()}")
            shutil.copyfile(path, temporary)
            temporary.replace(place)


def encode_png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """uint8[height, width, 3] of an encoded picture. Raises ValueError when it is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"not a picture: {error}") from error


def difference_hash(pixels: Pixels, size: int = 8) -> str:
    """Perceptual hash of a screenshot as hex: size*size bits, each "is this cell brighter than its right neighbour".

    Two screens that look alike differ in few bits (`hamming_distance`). Source: the "dHash" of N. Krawetz, hackerfactor.com, 2013.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((size + 1, size), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits((grey[:, :-1] > grey[:, 1:]).reshape(-1)).tobytes().hex()


def hamming_distance(first: str, second: str) -> int:
    """Number of differing bits of two equally long hex hashes. Raises ValueError when their lengths differ."""
    if len(first) != len(second):
        raise ValueError(f"hashes of {len(first)} and {len(second)} hex digits cannot be compared")
    return (int(first, 16) ^ int(second, 16)).bit_count()


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded picture. Raises ValueError when it is none."""
    if data.startswith(_PNG_START):  # far quicker than opening the file for each screenshot
        return _png_size(data)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except OSError as error:
        raise ValueError(f"not a picture: {error}") from error


def _png_size(data: bytes) -> tuple[int, int]:
    """The size that the header tells; a file without its end was cut off."""
    if not data.endswith(_PNG_END):
        raise ValueError(f"not a picture: a PNG of {len(data)} bytes without its end (IEND)")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise ValueError(f"not a picture: a PNG of {width} x {height} pixels; each side must be 1 to {LARGEST_SIDE}")
    return width, height
