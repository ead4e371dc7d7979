"""The picture that Xvfb keeps in a file (`-fbdir`), an X window dump: reading it asks nobody.

The file belongs to the sandbox's user, so programs inside can cut it short. It is read and not mapped, since touching a mapped page
that is no longer there would end this process.
"""

from __future__ import annotations

import os
import struct

import numpy as np
import numpy.typing as npt

from stepladder.interfaces import EnvironmentFailure

#: Words of the dump's header: its own size, ..., height, ..., bytes a line, ..., colours.
_HEADER = struct.Struct(">25I")
_SIZE, _WIDTH, _HEIGHT, _BITS, _LINE, _COLOURS = 0, 4, 5, 11, 12, 19
#: The largest frame that is believed, in bytes.
_LARGEST = 64 << 20


class FrameBuffer:
    """The screen of an Xvfb with 24 bits a pixel, the pointer drawn in. Raises EnvironmentFailure for any other file."""

    def __init__(self, path: str) -> None:
        try:
            self._file: int | None = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise EnvironmentFailure(f"the X server's frame file cannot be read: {error}") from error
        try:
            header = _HEADER.unpack(self._read(0, _HEADER.size))
            self.width, self.height, self._line = header[_WIDTH], header[_HEIGHT], header[_LINE]
            self._start, self._bytes = header[_SIZE] + header[_COLOURS] * 12, self._line * self.height
            if header[_BITS] != 32 or self._line < self.width * 4 or not 0 < self._bytes <= _LARGEST:
                raise EnvironmentFailure(f"the X server's frame file has {header[_BITS]} bits a pixel; 32 are needed")
        except EnvironmentFailure:
            self.close()
            raise

    def raw(self) -> bytes:
        """The bytes of the whole screen, blue, green, red and a filler for each pixel. For comparing."""
        return self._read(self._start, self._bytes)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8[height, width, 3], red, green, blue."""
        lines = np.frombuffer(self.raw(), np.uint8).reshape(self.height, self._line)
        return np.ascontiguousarray(lines[:, : self.width * 4].reshape(self.height, self.width, 4)[:, :, 2::-1])

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _read(self, start: int, count: int) -> bytes:
        if self._file is None:
            raise EnvironmentFailure("the desktop was closed")
        try:
            found = os.pread(self._file, count, start)
        except OSError as error:
            raise EnvironmentFailure(f"the X server's frame file cannot be read: {error}") from error
        if len(found) < count:
            raise EnvironmentFailure("the X server's frame file was cut short")
        return found
