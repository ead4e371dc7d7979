"""Metrics of music: the tags of an MP3."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import left
from stepladder.envs.osworld.metrics.rules import holds

#: The frames of ID3 (2.3 and 2.4, then 2.2) by the names of tags.
_FRAMES = {
    "title": ("TIT2", "TT2"),
    "artist": ("TPE1", "TP1"),
    "album": ("TALB", "TAL"),
    "albumartist": ("TPE2", "TP2"),
    "composer": ("TCOM", "TCM"),
    "genre": ("TCON", "TCO"),
    "date": ("TDRC", "TYER", "TYE"),
    "tracknumber": ("TRCK", "TRK"),
    "discnumber": ("TPOS", "TPA"),
    "language": ("TLAN", "TLA"),
    "copyright": ("TCOP", "TCR"),
}
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")


def check_mp3_meta(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Rules {method, ref} by the names of tags; several values of one are joined by commas, none is an empty text."""
    tags = left(result, _tags)
    if tags is None:
        return 0.0
    for name, rule in rules.items():
        if name not in _FRAMES:
            raise ValueError(f"the tag {name!r} is not known; known: {', '.join(_FRAMES)}")
        found = next((tags[frame] for frame in _FRAMES[name] if frame in tags), "")
        if not holds(found, rule):
            return 0.0
    return 1.0


def _tags(file: io.BytesIO) -> dict[str, str]:
    """The texts of the ID3 version 2 frames at the start of a file. Raises ValueError when it has no such tag."""
    head = file.read(10)
    if head[:3] != b"ID3" or head[3] not in (2, 3, 4):
        raise ValueError("there is no ID3 tag")
    version, flags = head[3], head[5]
    body = file.read(_seven_bits(head[6:10]))
    if flags & 0x80 and version < 4:
        body = body.replace(b"\xff\x00", b"\xff")  # so written that no player takes it for sound
    if flags & 0x40 and version > 2:
        body = body[_seven_bits(body[:4]) if version == 4 else int.from_bytes(body[:4], "big") + 4 :]
    return {name: _text(content) for name, content in _frames(body, version) if name.startswith("T") and content}


def _frames(body: bytes, version: int) -> Iterator[tuple[str, bytes]]:
    width, head = (3, 6) if version == 2 else (4, 10)
    at = 0
    while at + head <= len(body) and body[at] != 0:
        name, size = body[at : at + width].decode("latin-1"), body[at + width : at + 2 * width]
        length = _seven_bits(size) if version == 4 else int.from_bytes(size, "big")
        content = body[at + head : at + head + length]
        if version == 4 and body[at + 9] & 0x02:
            content = content.replace(b"\xff\x00", b"\xff")
        yield name, content[4:] if version == 4 and body[at + 9] & 0x01 else content
        at += head + length


def _seven_bits(size: bytes) -> int:
    number = 0
    for one in size:
        number = number << 7 | one & 0x7F
    return number


def _text(content: bytes) -> str:
    encoding = _ENCODINGS[content[0]] if content[0] < len(_ENCODINGS) else "latin-1"
    return ",".join(one.lstrip("\ufeff") for one in content[1:].decode(encoding, errors="replace").split("\0") if one)
