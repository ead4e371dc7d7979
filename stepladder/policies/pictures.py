"""Pictures as requests carry them: base64 text, scaled to a display where the model is told of one."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict

import numpy as np
from PIL import Image

from stepladder.images import ImageStore, encode_png
from stepladder.types import ImageRef

_STARTS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


#: (left, top, right, bottom) in pixels of a picture.
Cut = tuple[float, float, float, float]


class Pictures:
    """The pictures of `images`, all brought to `size` (width, height in pixels) when it is given. The texts of the last `kept`
    are remembered, for the turns of an episode show them again. Safe for several threads."""

    def __init__(self, images: ImageStore, size: tuple[int, int] | None = None, kept: int = 64) -> None:
        self._images, self._size, self._kept = images, size, kept
        self._texts: OrderedDict[tuple[ImageRef, Cut | None], tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def encoded(self, ref: ImageRef, cut: Cut | None = None) -> tuple[str, str]:
        """(media type, base64 text) of a picture, or of a part of it. Raises KeyError for one that the store does not have."""
        with self._lock:
            if (ref, cut) in self._texts:
                self._texts.move_to_end((ref, cut))
                return self._texts[ref, cut]
        data = self._data(ref, cut)
        found = media_type(data), base64.b64encode(data).decode("ascii")
        with self._lock:
            self._texts[ref, cut] = found
            while len(self._texts) > self._kept:
                self._texts.popitem(last=False)
        return found

    def data_url(self, ref: ImageRef) -> str:
        kind, text = self.encoded(ref)
        return f"data:{kind};base64,{text}"

    def _data(self, ref: ImageRef, cut: Cut | None) -> bytes:
        size = self._size or (ref.width, ref.height)
        if cut is None and size == (ref.width, ref.height):
            return self._images.get(ref)
        scaled = Image.fromarray(self._images.load(ref)).resize(size, Image.Resampling.LANCZOS, box=cut)
        return encode_png(np.asarray(scaled))


def media_type(data: bytes) -> str:
    """Of an encoded picture, by how it begins; "image/png" for an unknown beginning."""
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), "image/png")


def from_data_url(url: str) -> bytes:
    """The bytes of a data URL in base64. Raises ValueError for any other URL."""
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError(f"a picture must be a data URL, data:image/png;base64,..., and not {url[:32]!r}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the data URL holds no base64: {error}") from error
