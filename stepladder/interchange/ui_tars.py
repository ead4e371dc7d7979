"""UI-TARS' supervised samples: a list of `{role, content, loss_mask}`, of which a reply with loss_mask 1 is learned.

A file holds one such list, a list of them, or one a line. UI-TARS' own example has the picture's tokens in the place of a picture
and no file for it; here a message with a picture names it in "images", relative to the file, and is read in the same way:

    {"role": "user", "content": "<|vision_start|><|image_pad|><|vision_end|>", "images": ["images/0a1b.png"], "loss_mask": 0}

The first message of each list also has "about", which says what sample it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.images import ImageStore
from stepladder.interchange.chat import PLACE, Conversation, Dialect, conversations, from_places, keep_conversations, with_places
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import read_picture
from stepladder.interchange.records import read_records
from stepladder.interchange.report import Report
from stepladder.interchange.sharegpt import ABOUT, put_picture
from stepladder.types import Message

PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_PICTURES = re.compile(r"<\|vision_start\|>(?:(?!<\|vision_start\|>).)*?<\|vision_end\|>", re.DOTALL)


def read(source: Path, into: TrajectoryFolder, report: Report, dialect: Dialect) -> None:
    """Every list of a file. Raises ConvertError."""
    keep_conversations(_read_file(source, into, report), dialect, into, report)


def _read_file(source: Path, into: TrajectoryFolder, report: Report) -> Iterator[tuple[str, Conversation]]:
    for place, turns in _lists(source, report):
        try:
            yield place, read_list(turns, source.parent, into.images, f"{source.stem}-{place.removeprefix('line ')}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            report.drop_for(place, error)


def _lists(source: Path, report: Report) -> Iterator[tuple[str, Any]]:
    """The entries of a file; one list of messages is one entry."""
    single: list[Any] = []
    for place, record in read_records(source, report):
        if isinstance(record, Mapping):
            single.append(record)
        else:
            yield place, record
    if single:
        yield "line 1", single


def read_list(turns: Sequence[Mapping[str, Any]], folder: Path, images: ImageStore, name: str) -> Conversation:
    """One list. Raises OSError, ValueError, KeyError, TypeError, AttributeError."""
    messages: list[Message] = []
    learned: list[bool] = []
    for number, turn in enumerate(turns):
        text = str(turn["content"])
        if PLACE in text:
            raise ConvertError(f"message {number} contains {PLACE!r}, which is no place of a picture in this format")
        entries = turn.get("images") or []
        places = len(_PICTURES.findall(text))
        if places != len(entries):
            raise ConvertError(f"message {number} has {places} places for pictures and names {len(entries)} files in 'images'")
        refs = iter([images.put(read_picture(entry, folder)) for entry in entries])
        messages.append(from_places(str(turn["role"]), _PICTURES.sub(PLACE, text), refs))
        if turn.get("loss_mask") not in (0, 1):
            raise ConvertError(f"message {number}: loss_mask is {turn.get('loss_mask')!r}; it must be 0 or 1")
        learned.append(messages[-1].role == "assistant" and turn["loss_mask"] == 1)
    about = turns[0].get("about") or {} if turns else {}
    return Conversation(
        tuple(messages), tuple(learned), {"trajectory": name, **{key: about[key] for key in ABOUT if about.get(key) is not None}}
    )


def write(source: TrajectoryFolder, target: Path, report: Report, dialect: Dialect) -> None:
    """One list a line into the JSONL file `target`, pictures into images/ beside it. Raises ConvertError."""
    if target.exists():
        raise ConvertError(f"{target} is there already; write into another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        for conversation in conversations(source, dialect, report, masks=True):
            try:
                turns = write_list(conversation, target.parent, source.images)
            except (ValueError, KeyError) as error:
                report.drop(f"{conversation.about['trajectory']}, {conversation.about['step']}", str(error))
                continue
            file.write(json.dumps(turns, ensure_ascii=False) + "\n")
            report.count(sum(conversation.learned))


def write_list(conversation: Conversation, folder: Path, images: ImageStore) -> list[dict[str, Any]]:
    """The list of a conversation, its pictures written below `folder`. Raises ValueError for a text that holds a picture's
    tokens."""
    turns: list[dict[str, Any]] = []
    for message, learned in zip(conversation.messages, conversation.learned, strict=True):
        if _PICTURES.search(message.text):
            raise ValueError("a text contains the tokens of a picture")
        turn: dict[str, Any] = {"role": message.role, "content": with_places(message).replace(PLACE, PICTURE)}
        if message.images:
            turn["images"] = [put_picture(image, folder, images) for image in message.images]
        turns.append({**turn, "loss_mask": int(learned)})
    turns[0]["about"] = {key: conversation.about.get(key) for key in ABOUT}
    return turns
