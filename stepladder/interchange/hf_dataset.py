"""Parquet as Hugging Face `datasets` and TRL read it: messages of typed parts, pictures embedded.

messages      list of {role, content: list of {type: "image" or "text", text}}
images        list of {bytes, path}, which `datasets` decodes as its Image feature
trajectory, step, task, instruction, reward     where a sample is from

What is read may have plain texts with `<image>` in the place of parts, and one "image" or "image_url" parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from stepladder.images import ImageStore
from stepladder.interchange.chat import (
    PLACE,
    Conversation,
    Dialect,
    conversations,
    from_places,
    keep_conversations,
    learned_replies,
)
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import kind_of, read_picture
from stepladder.interchange.report import Report
from stepladder.interchange.sharegpt import ABOUT
from stepladder.types import ImageRef, Message

#: A row group ends at this many rows or bytes of pictures, which bounds what writer and reader hold in memory.
ROWS, BYTES = 64, 32 * 2**20
_STRING = {"dtype": "string", "_type": "Value"}
_FEATURES = {
    "messages": [{"role": _STRING, "content": [{"type": _STRING, "text": _STRING}]}],
    "images": [{"_type": "Image"}],
    "trajectory": _STRING,
    "step": {"dtype": "int64", "_type": "Value"},
    "task": _STRING,
    "instruction": _STRING,
    "reward": {"dtype": "float64", "_type": "Value"},
}
_PART = pyarrow.struct([("type", pyarrow.string()), ("text", pyarrow.string())])
_TURN = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.list_(_PART))])
_PICTURE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
SCHEMA = pyarrow.schema(
    [
        ("messages", pyarrow.list_(_TURN)),
        ("images", pyarrow.list_(_PICTURE)),
        ("trajectory", pyarrow.string()),
        ("step", pyarrow.int64()),
        ("task", pyarrow.string()),
        ("instruction", pyarrow.string()),
        ("reward", pyarrow.float64()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def read(source: Path, into: TrajectoryFolder, report: Report, dialect: Dialect) -> None:
    """A Parquet file, or all of them in a folder. Raises ConvertError."""
    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise ConvertError(f"{source} has no Parquet file")
    for path in files:
        keep_conversations(_read_file(path, into, report, many=len(files) > 1), dialect, into, report)


def rows_of(path: Path, columns: list[str] | None = None, batch: int = 8) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, a few in memory at a time. Raises ConvertError."""
    try:
        with parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            for found in file.iter_batches(batch_size=batch, columns=columns):
                yield from found.to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise ConvertError(f"{path} is no Parquet file that can be read: {error}") from error


def _read_file(path: Path, into: TrajectoryFolder, report: Report, many: bool) -> Iterator[tuple[str, Conversation]]:
    for number, row in enumerate(rows_of(path), start=1):
        where = f"{path.name}, row {number}" if many else f"row {number}"
        try:
            yield where, read_row(row, path.parent, into.images, f"{path.stem}-{number}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            report.drop_for(where, error)


def read_row(row: Mapping[str, Any], folder: Path, images: ImageStore, name: str) -> Conversation:
    """One row. Raises OSError, ValueError, KeyError, TypeError, AttributeError."""
    entries = list(row.get("images") or ([row["image"]] if row.get("image") else []))
    turns = [*(row.get("prompt") or []), *(row.get("completion") or [])] or row["messages"]
    texts = []
    for turn in turns:
        content = turn["content"]
        if not isinstance(content, str):
            parts = [_part(part, entries) for part in content or []]
            content = "".join(parts)
        texts.append((turn["role"], content))
    refs: Iterator[ImageRef] = iter([images.put(read_picture(entry, folder)) for entry in entries])
    messages = [from_places(role, text, refs) for role, text in texts]
    left = sum(1 for _ in refs)
    if left:
        raise ConvertError(f"there are {len(entries)} pictures and {len(entries) - left} places for them")
    about = {key: row[key] for key in ABOUT if row.get(key) is not None}
    return Conversation(tuple(messages), learned_replies(messages), {"trajectory": name, **about})


def _part(part: Mapping[str, Any], entries: list[Any]) -> str:
    """The text of one part; a picture that stands in the part itself joins `entries`."""
    kind = part.get("type")
    if kind == "text":
        return str(part.get("text") or "")
    if kind == "image_url":
        address = part["image_url"]
        entries.append(address["url"] if isinstance(address, Mapping) else address)
        return PLACE
    if kind == "image":
        if part.get("image"):
            entries.append(part["image"])
        return PLACE
    raise ConvertError(f"the type of a part is {kind!r}; it must be text, image or image_url")


def write(source: TrajectoryFolder, target: Path, report: Report, dialect: Dialect) -> None:
    """Samples into the Parquet file `target`. Raises ConvertError."""
    if target.exists():
        raise ConvertError(f"{target} is there already; write into another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    with parquet.ParquetWriter(partial, SCHEMA, compression="zstd") as file:
        rows: list[dict[str, Any]] = []
        size = 0
        for conversation in conversations(source, dialect, report, masks=False):
            try:
                row = write_row(conversation, source.images)
            except KeyError as error:
                report.drop(str(conversation.about["trajectory"]), str(error))
                continue
            rows.append(row)
            size += sum(len(image["bytes"]) for image in row["images"])
            report.count(sum(conversation.learned))
            if len(rows) >= ROWS or size >= BYTES:
                file.write_table(pyarrow.Table.from_pylist(rows, SCHEMA))
                rows, size = [], 0
        if rows:
            file.write_table(pyarrow.Table.from_pylist(rows, SCHEMA))
    partial.replace(target)


def write_row(conversation: Conversation, images: ImageStore) -> dict[str, Any]:
    """The row of a conversation. Raises KeyError for a picture that is not there."""
    pictures = [(image, images.get(image)) for image in conversation.images]
    return {
        "messages": [{"role": message.role, "content": _parts(message)} for message in conversation.messages],
        "images": [{"bytes": data, "path": f"{image.sha256}.{kind_of(data)}"} for image, data in pictures],
        **{key: conversation.about.get(key) for key in ABOUT},
    }


def _parts(message: Message) -> list[dict[str, str | None]]:
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": None} for part in message.content
    ]
