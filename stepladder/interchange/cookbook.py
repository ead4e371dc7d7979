"""The samples of slime's OSWorld cookbook: SFT and replay JSONL, pictures as data URLs in the row.

    {"messages": [{"role": "user", "content": "<image>\\n..."}, ...], "images": ["data:image/png;base64,..."], "reward": 1.0,
     "task_id": "...", "num_steps": 3, "source_dataset": "...", "quality_rank": 5, "original_task_id": "...", "metadata": {...}}

Its reasoning trajectories, with "thinking" and "images" in each message, are read too. A reply that is not to be learned has
"step_loss_mask": 0, which slime honours. Fields that Stepladder has no place for are kept and written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from stepladder.images import ImageStore
from stepladder.interchange.chat import PLACE, Conversation, Dialect, conversations, from_places, keep_conversations, with_places
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import data_url, read_picture
from stepladder.interchange.records import fields_of, read_records
from stepladder.interchange.report import Report
from stepladder.types import ImageRef

NAME = "cookbook"
Form = Literal["sft", "replay"]
#: From this reward on a trajectory is replayed.
REPLAYED = 0.5
_OWN = ("messages", "conversations", "images")


def read(source: Path, into: TrajectoryFolder, report: Report, dialect: Dialect) -> None:
    """Every row of a JSONL file. Raises ConvertError."""
    keep_conversations(_read_file(source, into, report), dialect, into, report)


def _read_file(source: Path, into: TrajectoryFolder, report: Report) -> Iterator[tuple[str, Conversation]]:
    for place, row in read_records(source, report):
        try:
            yield place, read_row(fields_of(row), source.parent, into.images, f"{source.stem}-{place.removeprefix('line ')}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            report.drop_for(place, error)


def task_id_of(row: Mapping[str, Any]) -> str:
    """The task of a row, by any of the names that the cookbook's files give it; empty where there is none."""
    for holder in (row, _metadata(row)):
        for key in ("task_id", "id"):
            if holder.get(key):
                return str(holder[key])
    return ""


def _metadata(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found = row.get("metadata")
    return found if isinstance(found, Mapping) else {}


def base_task_id(name: str) -> str:
    """Without the "_chunk3" of a part of an episode."""
    return name.rpartition("_chunk")[0] if "_chunk" in name else name


def texts_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row as {role, content, images}, the thinking in the content. Raises KeyError, TypeError, ValueError."""
    found = []
    for number, turn in enumerate(row.get("messages") or row["conversations"]):
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if isinstance(content, list):
            content = "".join(PLACE if "image" in part["type"] else part["text"] for part in content)
        if not isinstance(role, str) or not isinstance(content, str):
            raise ConvertError(f"message {number} must have a role and a content")
        if turn.get("thinking"):
            content = f"<thinking>\n{str(turn['thinking']).strip()}\n</thinking>\n{content}"
        own = [picture for picture in turn.get("images") or [] if picture]
        content = f"{PLACE}\n" * len(own) + content
        found.append({**turn, "role": role, "content": content, "images": own})
    return found


def read_row(row: Mapping[str, Any], folder: Path, images: ImageStore, name: str) -> Conversation:
    """One row. Raises OSError, ValueError, KeyError, TypeError, AttributeError."""
    turns = texts_of(row)
    entries = [*(row.get("images") or []), *(_as_url(entry) for turn in turns for entry in turn["images"])]
    refs: Iterator[ImageRef] = iter([images.put(read_picture(entry, folder)) for entry in entries])
    messages = [from_places(turn["role"], turn["content"], refs) for turn in turns]
    left = sum(1 for _ in refs)
    if left:
        raise ConvertError(f"there are {len(entries)} pictures and {len(entries) - left} places for them")
    learned = tuple(
        message.role == "assistant" and turn.get("step_loss_mask", 1) == 1 for turn, message in zip(turns, messages, strict=True)
    )
    about = {"trajectory": name, "task": task_id_of(row), "reward": row.get("reward", row.get("task_reward", 1.0))}
    about["instruction"] = _metadata(row).get("instruction") or row.get("instruction")
    about |= _metadata(row).get("stepladder") or {}
    return Conversation(tuple(messages), learned, about, {NAME: {key: value for key, value in row.items() if key not in _OWN}})


def _as_url(entry: Any) -> Any:
    """A picture of a reasoning trajectory may be base64 alone."""
    return f"data:image/png;base64,{entry}" if isinstance(entry, str) and not entry.startswith("data:") else entry


def write(source: TrajectoryFolder, target: Path, report: Report, dialect: Dialect, form: Form = "sft") -> None:
    """Rows into the JSONL file `target`; a replay file holds successes only. Raises ConvertError."""
    if target.exists():
        raise ConvertError(f"{target} is there already; write into another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        for conversation in conversations(source, dialect, report, masks=True):
            reward = conversation.about["reward"]
            if form == "replay" and (reward is None or reward < REPLAYED):
                report.drop(_name(conversation), f"its reward is {reward}; only {REPLAYED} and more is replayed")
                continue
            kept = source.store.get(conversation.about["trajectory"]).extra.get(NAME, {})
            try:
                row = write_row(conversation, source.images, kept, form)
            except (ValueError, KeyError) as error:
                report.drop(_name(conversation), str(error))
                continue
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            report.count(sum(conversation.learned))


def write_replay(source: TrajectoryFolder, target: Path, report: Report, dialect: Dialect) -> None:
    """`write` for a replay file."""
    write(source, target, report, dialect, form="replay")


def _name(conversation: Conversation) -> str:
    step = conversation.about["step"]
    return str(conversation.about["trajectory"]) + ("" if step is None else f", step {step}")


def write_row(conversation: Conversation, images: ImageStore, kept: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """The row of a conversation, with the fields that `kept` has from the file that it was read from. Raises ValueError,
    KeyError."""
    messages: list[dict[str, Any]] = []
    for message, learned in zip(conversation.messages, conversation.learned, strict=True):
        turn: dict[str, Any] = {"role": message.role, "content": with_places(message)}
        if message.role == "assistant" and not learned:
            turn["step_loss_mask"] = 0
        messages.append(turn)
    about = conversation.about
    metadata = {"instruction": about["instruction"], **_metadata(kept), "stepladder": dict(about)}
    row = {
        "messages": messages,
        "images": [data_url(images.get(image)) for image in conversation.images],
        "reward": about["reward"] if about["reward"] is not None else 0.0,
        "task_id": about["task"],
        "num_steps": sum(turn["role"] == "assistant" for turn in messages),
        "source_dataset": "stepladder",
        "quality_rank": 5 if (about["reward"] or 0.0) >= REPLAYED else 3,
        "original_task_id": about["task"],
        **kept,
    }
    if form == "sft":
        return {**row, "metadata": metadata}
    return {**row, "task_id": base_task_id(str(row["task_id"])), "metadata": metadata}
