"""ShareGPT as LLaMA-Factory reads it: one sample a line (or an entry of one array), pictures as paths, `<image>` where they stand.

    {"messages": [{"role": "user", "content": "<image>Close the dialog."}, ...], "images": ["images/0a1b.png"]}
    {"conversations": [{"from": "human", "value": "<image>Close the dialog."}, ...], "system": "...", "images": [...]}

`dataset_info.json` beside the file says which columns hold what; it is read where it is and written or added to. LLaMA-Factory
learns every reply of a sample; with samples per step set its `mask_history: true`, so that the replies of the prompt are not
learned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.images import ImageStore
from stepladder.interchange.chat import (
    Conversation,
    Dialect,
    conversations,
    from_places,
    keep_conversations,
    learned_replies,
    with_places,
)
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import checked_path, kind_of, read_picture
from stepladder.interchange.records import fields_of, read_records
from stepladder.interchange.report import Report
from stepladder.run import write_json
from stepladder.types import ImageRef, Message

INFO, PICTURES = "dataset_info.json", "images"
#: Columns of ours that say where a sample is from; LLaMA-Factory does not look at them.
ABOUT = ("trajectory", "step", "task", "instruction", "reward")


@dataclass(frozen=True)
class Columns:
    """The names of columns and of the words in them; the defaults are those of the two forms without an entry in
    dataset_info.json."""

    messages: str = ""
    images: str = "images"
    system: str = "system"
    role: str = ""
    content: str = ""
    roles: Mapping[str, str] | None = None


def read(source: Path, into: TrajectoryFolder, report: Report, dialect: Dialect) -> None:
    """A file, or every file that dataset_info.json in a folder names. Raises ConvertError."""
    described = _described(source if source.is_dir() else source.parent)
    if source.is_dir() and not described:
        raise ConvertError(f"{source} has no {INFO}; name the file of samples itself")
    files = [source.parent / source.name] if source.is_file() else [source / checked_path(name) for name in described]
    if not source.is_dir() and not source.is_file():
        raise ConvertError(f"{source} is no file")
    for path in files:
        columns = described.get(path.name, Columns())
        keep_conversations(_read_file(path, columns, into, report, many=len(files) > 1), dialect, into, report)


def _described(folder: Path) -> dict[str, Columns]:
    """Columns of each file that dataset_info.json names."""
    path = folder / INFO
    if not path.is_file():
        return {}
    try:
        entries = [dict(entry) for entry in dict(json.loads(path.read_text())).values()]
        found = {}
        for entry in entries:
            columns, tags = entry.get("columns", {}), entry.get("tags", {})
            roles = {str(tags[f"{role}_tag"]): role for role in ("user", "assistant", "system") if f"{role}_tag" in tags}
            found[str(entry.get("file_name", ""))] = Columns(
                columns.get("messages", ""),
                columns.get("images", "images"),
                columns.get("system", "system"),
                tags.get("role_tag", ""),
                tags.get("content_tag", ""),
                roles or None,
            )
    except (ValueError, TypeError, AttributeError) as error:
        raise ConvertError(f"{path} is no description of data sets: {error}") from error
    return {name: columns for name, columns in found.items() if name}


def _read_file(
    path: Path, columns: Columns, into: TrajectoryFolder, report: Report, many: bool
) -> Iterator[tuple[str, Conversation]]:
    for place, row in read_records(path, report):
        where = f"{path.name}, {place}" if many else place
        try:
            yield where, read_row(fields_of(row), columns, path.parent, into.images, f"{path.stem}-{place.removeprefix('line ')}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            report.drop_for(where, error)


def read_row(row: Mapping[str, Any], columns: Columns, folder: Path, images: ImageStore, name: str) -> Conversation:
    """One sample, whose pictures lie below `folder`. Raises OSError, ValueError, KeyError, TypeError, AttributeError."""
    classic = columns.messages == "" and "messages" not in row
    turns = row[columns.messages or ("conversations" if classic else "messages")]
    role, content = columns.role or ("from" if classic else "role"), columns.content or ("value" if classic else "content")
    entries = row.get(columns.images) or []
    refs: Iterator[ImageRef] = iter([images.put(read_picture(entry, folder)) for entry in entries])
    messages: list[Message] = []
    if row.get(columns.system):
        messages.append(Message("system", (str(row[columns.system]),)))
    for turn in turns:
        said = str(turn[role])
        messages.append(from_places((columns.roles or {}).get(said, said), turn[content], refs))
    left = sum(1 for _ in refs)
    if left:
        raise ConvertError(f"there are {len(entries)} pictures and {len(entries) - left} places for them")
    about = {key: row[key] for key in ABOUT if row.get(key) is not None}
    return Conversation(tuple(messages), learned_replies(messages), {"trajectory": name, **about})


def write(source: TrajectoryFolder, target: Path, report: Report, dialect: Dialect, classic: bool = False) -> None:
    """Samples into the JSONL file `target`, pictures into images/ beside it. `classic` writes the older form. Raises
    ConvertError."""
    if target.exists():
        raise ConvertError(f"{target} is there already; write into another file")
    (target.parent / PICTURES).mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        for conversation in conversations(source, dialect, report, masks=False):
            try:
                row = write_row(conversation, target.parent, source.images, classic)
            except (ValueError, KeyError) as error:
                report.drop(f"{conversation.about['trajectory']}, {conversation.about['step']}", str(error))
                continue
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            report.count(sum(conversation.learned))
    _describe(target, classic)


def write_classic(source: TrajectoryFolder, target: Path, report: Report, dialect: Dialect) -> None:
    """`write` in the older form."""
    write(source, target, report, dialect, classic=True)


def write_row(conversation: Conversation, folder: Path, images: ImageStore, classic: bool = False) -> dict[str, Any]:
    """The row of a conversation, its pictures written below `folder`. Raises ValueError, KeyError for a picture that is not
    there."""
    texts = [(message.role, with_places(message)) for message in conversation.messages]
    row: dict[str, Any] = {}
    if classic:
        names = {"user": "human", "assistant": "gpt", "tool": "observation"}
        if texts and texts[0][0] == "system":
            row["system"] = texts.pop(0)[1]
        row["conversations"] = [{"from": names[role], "value": text} for role, text in texts]
    else:
        row["messages"] = [{"role": role, "content": text} for role, text in texts]
    row["images"] = [put_picture(image, folder, images) for image in conversation.images]
    return {**row, **{key: conversation.about.get(key) for key in ABOUT}}


def put_picture(image: ImageRef, folder: Path, images: ImageStore) -> str:
    """Write a picture to images/ below `folder`, unless it is there, and return its path from `folder`."""
    data = images.get(image)
    name = f"{PICTURES}/{image.sha256}.{kind_of(data)}"
    if not (folder / name).exists():
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return name


def _describe(target: Path, classic: bool) -> None:
    path = target.parent / INFO
    known = json.loads(path.read_text()) if path.is_file() else {}
    columns = {"messages": "conversations" if classic else "messages", "images": "images"}
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    if classic:
        columns["system"] = "system"
    else:
        tags = {name: name.removesuffix("_tag") for name in (*tags, "system_tag")}
    known[target.stem] = {"file_name": target.name, "formatting": "sharegpt", "columns": columns, "tags": tags}
    write_json(path, known)
