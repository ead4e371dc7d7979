"""ScreenSpot: one picture, one instruction, one place to click. Versions 1 and 2 write boxes as (left, top, width, height), Pro as
(left, top, right, bottom), all in pixels of the picture.

Sources: SeeClick (arXiv 2401.10935), OS-Atlas (arXiv 2410.23218) for version 2, ScreenSpot-Pro (arXiv 2504.07981).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stepladder.benchmarks.agentnet import BenchmarkError, picture
from stepladder.images import ImageStore
from stepladder.types import Action, Box, Observation, Step, Task

NAME = "screenspot"
Version = Literal["v1", "v2", "pro"]
#: What the pictures of versions 1 and 2 come from, by platform.
PLATFORMS = {
    "windows": "desktop",
    "macos": "desktop",
    "ios": "mobile",
    "android": "mobile",
    "shop": "web",
    "forum": "web",
    "gitlab": "web",
    "tool": "web",
}


@dataclass(frozen=True)
class Target:
    """One question. `box` is (left, top, width, height) in pixels; `groups` are the tables that it counts in: name -> value."""

    id: str
    task: Task
    observation: Observation
    box: Box
    groups: Mapping[str, str]


def load(folder: Path, images: ImageStore, version: Version | None = None) -> list[Target]:
    """The targets of the JSON files in `folder` (or in its `annotations/`), their pictures known to `images`.

    The version is told by the records where it is not given: those of Pro have "img_size". Raises BenchmarkError.
    """
    where = folder / "annotations" if (folder / "annotations").is_dir() else folder
    files = sorted(where.glob("*.json"))
    if not files:
        raise BenchmarkError(f"{where} holds no JSON file with targets")
    found = [target for path in files for target in _file(path, folder, images, version)]
    if not found:
        raise BenchmarkError(f"the files of {where} list no target")
    return found


def _file(path: Path, folder: Path, images: ImageStore, version: Version | None) -> list[Target]:
    try:
        records = json.loads(path.read_text())
        if not isinstance(records, list):
            raise ValueError(f"a list of targets is needed, not {type(records).__name__}")
        return [_target(record, f"{path.stem}-{number}", folder, images, version) for number, record in enumerate(records)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _target(record: Mapping[str, Any], name: str, folder: Path, images: ImageStore, version: Version | None) -> Target:
    pro = "img_size" in record if version is None else version == "pro"
    screenshot = images.put_file(_picture(folder, str(record["img_filename"])))
    one, two, three, four = (float(number) for number in record["bbox"])
    box = (one, two, three - one, four - two) if pro else (one, two, three, four)
    if box[2] <= 0 or box[3] <= 0:
        form = "left, top, right, bottom" if pro else "left, top, width, height"
        raise ValueError(f"{name}: the box {record['bbox']} as ({form}) holds no pixel; is it of another version?")
    if pro:
        groups = {name: str(record.get(name, "")) for name in ("group", "application", "platform")}
        groups["ui_type"] = str(record.get("ui_type", ""))
    else:
        source = str(record["data_source"])
        groups = {"platform": PLATFORMS.get(source, source), "source": source, "ui_type": str(record["data_type"])}
        groups["platform and type"] = f"{groups['platform']} {groups['ui_type']}"
    task = Task(str(record.get("id", name)), str(record["instruction"]), NAME)
    return Target(task.id, task, Observation(screenshot), box, groups)


def _picture(folder: Path, name: str) -> Path:
    for place in ("images", "", "screenspot_imgs", "screenspotv2_image"):  # the last two are those of the published archives
        with suppress(FileNotFoundError):
            return picture(folder / place, name)
    raise FileNotFoundError(f"no picture {name!r} in {folder} or its images/")


def gold(target: Target) -> Step:
    """A click into the middle of the box."""
    left, top, width, height = target.box
    return Step(target.observation, Action("click", left + width / 2, top + height / 2))


def is_inside(action: Action, box: Box) -> bool:
    """Whether an action points into a box, its edges included. One without a place does not."""
    if action.x is None or action.y is None:
        return False
    left, top, width, height = box
    return left <= action.x <= left + width and top <= action.y <= top + height
