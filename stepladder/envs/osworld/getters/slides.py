"""Getters of what slides hold: sounds and images of a presentation on the machine."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from stepladder.envs.osworld.apart import TooMuch, apart
from stepladder.envs.osworld.getters.state import Got, State, file

_BACKGROUND = "{http://schemas.openxmlformats.org/presentationml/2006/main}bgPr"
_IMAGE = "{http://schemas.openxmlformats.org/drawingml/2006/main}blip"
_EMBEDDED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}embed"
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
#: Whether a relation is the one that is looked for, given a slide.
Wanted = Callable[[ElementTree.Element, ElementTree.Element], bool]


async def audio_in_slide(state: State, described: Mapping[str, Any]) -> Got | None:
    """The first sound of a slide, counted from 0, in the presentation or linked to it."""
    return await _part_of_slide(state, described, "sound")


async def background_image_in_slide(state: State, described: Mapping[str, Any]) -> Got | None:
    """The image that is the background of a slide, counted from 0."""
    return await _part_of_slide(state, described, "background")


def sound(content: bytes, number: int) -> bytes | str | None:
    """As `_find`, the first sound of a slide."""
    return _find(content, number, lambda _, relation: "audio" in relation.get("Type", ""))


def background(content: bytes, number: int) -> bytes | str | None:
    """As `_find`, the image behind a slide."""
    return _find(content, number, _is_background)


def _is_background(slide: ElementTree.Element, relation: ElementTree.Element) -> bool:
    images = [image.get(_EMBEDDED) for behind in slide.iter(_BACKGROUND) for image in behind.iter(_IMAGE)]
    return bool(images) and "image" in relation.get("Type", "") and relation.get("Id") == images[0]


async def _part_of_slide(state: State, described: Mapping[str, Any], work: str) -> Got | None:
    content = await state.machine.read(described["ppt_file_path"])
    if content is None:
        return None
    try:
        found = await apart(f"{__name__}:{work}", content, int(described["slide_index"]) + 1)
    except TooMuch:
        return None
    if isinstance(found, str):
        return await file(state, found, described["dest"])
    return None if found is None else Got(described["dest"], found)


def _find(content: bytes, number: int, wanted: Wanted) -> bytes | str | None:
    """What a relation of a slide leads to: bytes of the presentation itself, or a path on the machine."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            slide = ElementTree.fromstring(archive.read(f"ppt/slides/slide{number}.xml"))
            relations = ElementTree.fromstring(archive.read(f"ppt/slides/_rels/slide{number}.xml.rels"))
            relation = next((one for one in relations.iter(_RELATIONS) if wanted(slide, one)), None)
            target = "" if relation is None else relation.get("Target", "")
            if target.startswith("file://"):
                return unquote(target.removeprefix("file://"))
            return archive.read(posixpath.normpath(posixpath.join("ppt/slides", target)).lstrip("/")) if target else None
    except Exception:  # no presentation, one without such a slide, or whatever else the agent left
        return None
