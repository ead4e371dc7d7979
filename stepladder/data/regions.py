"""The regions of screenshots, in a file beside the trajectories: one JSON line a screenshot, keyed by the picture's SHA-256."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from stepladder.types import Box, ImageRef, Region

_START = re.compile(rb'\{"image":"([0-9a-f]{64})","regions":')


class RegionStore:
    """Append-only. A line that was cut off at the end of the file, as a killed writer leaves it, is ignored and later replaced.

    Opening only finds where each screenshot's line is; regions are decoded when they are asked for, and the last `cache` answers
    are kept. One process may write at a time. Raises ValueError, naming file and line, for lines that are no regions.
    """

    def __init__(self, path: Path | str, cache: int = 4096) -> None:
        self.path = Path(path)
        self._lines: dict[str, bytes] = {}
        self._cache: OrderedDict[str, tuple[Region, ...]] = OrderedDict()
        self._cache_size = cache
        self._whole = 0
        self._checked = False
        if self.path.exists():
            self._load(self.path.read_bytes())

    def append(self, image: ImageRef | str, regions: Iterable[Region]) -> None:
        """Keep the regions of a screenshot. A screenshot that is here already keeps what it has: equal pictures, equal regions."""
        digest = _digest(image)
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{digest!r} is no SHA-256 of a picture: 64 lower-case hex digits are needed")
        if digest in self._lines:
            return
        rows = [_row(region) for region in regions]
        line = f'{{"image":"{digest}","regions":{json.dumps(rows, ensure_ascii=False, separators=(",", ":"))}}}\n'.encode()
        self._drop_torn_tail()
        with self.path.open("ab") as file:
            file.write(line)
        self._lines[digest] = line

    def get(self, image: ImageRef | str) -> tuple[Region, ...]:
        """The regions of a screenshot. Raises KeyError when nothing is known about it."""
        digest = _digest(image)
        if digest in self._cache:
            self._cache.move_to_end(digest)
            return self._cache[digest]
        if digest not in self._lines:
            raise KeyError(f"{self.path} has no regions of picture {digest[:12]}")
        try:
            rows = json.loads(self._lines[digest])["regions"]
            regions = tuple(_region(*row) for row in rows)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self.path}, picture {digest[:12]}: not a list of regions ({error})") from error
        self._cache[digest] = regions
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return regions

    def __contains__(self, image: ImageRef | str) -> bool:
        return _digest(image) in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def digests(self) -> tuple[str, ...]:
        """SHA-256 of every screenshot whose regions are known, sorted."""
        return tuple(sorted(self._lines))

    def _load(self, data: bytes) -> None:
        self._whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[: self._whole].splitlines(keepends=True), start=1):
            start = _START.match(line)
            if start is None:
                raise ValueError(f"{self.path}, line {number}: must begin with a picture's SHA-256, not {line[:40]!r}")
            self._lines.setdefault(start[1].decode(), line)

    def _drop_torn_tail(self) -> None:
        if self._checked:
            return
        self._checked = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > self._whole:
            with self.path.open("r+b") as file:
                file.truncate(self._whole)


def _digest(image: ImageRef | str) -> str:
    return image.sha256 if isinstance(image, ImageRef) else image


def _row(region: Region) -> list[Any]:
    target = None if region.target is None else _numbers(region.target)
    return [region.text, region.kind, _numbers(region.box), target, region.target_kind, list(region.states)]


def _numbers(box: Box) -> list[float]:
    """Hundredths of a pixel are enough; whole numbers are written as such."""
    return [int(value) if value == int(value) else round(value, 2) for value in box]


def _region(text: str, kind: str, box: list[float], target: list[float] | None, target_kind: str, states: list[str]) -> Region:
    if len(box) != 4 or (target is not None and len(target) != 4):
        raise ValueError("a box has four numbers")
    place = cast(Box, tuple(box))
    return Region(text, kind, place, None if target is None else cast(Box, tuple(target)), target_kind, tuple(states))
