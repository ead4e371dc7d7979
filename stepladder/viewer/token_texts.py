"""The text of single tokens, read from the tokenizer.json of a checkpoint without any tokenizer library.

Byte-level vocabularies (those of Qwen, Llama 3, GPT and Stepladder's own models) are understood: their entries spell each byte as
one printable character. Of other vocabularies no text is told.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.viewer.tails import read_object

#: The largest tokenizer.json that is read, in bytes.
_LARGEST = 64 << 20


class TokenTexts:
    """Texts by checkpoint directory, each read once when it is first asked for."""

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._read: dict[Path, dict[int, str]] = {}
        self._lock = threading.Lock()

    def of(self, checkpoint: Path) -> Mapping[int, str]:
        """Token id -> text; empty where the checkpoint's tokenizer is not there or not understood."""
        with self._lock:
            if checkpoint not in self._read:
                while len(self._read) >= self._most:
                    self._read.pop(next(iter(self._read)))
                self._read[checkpoint] = token_texts(read_object(checkpoint / "tokenizer.json", _LARGEST))
            return self._read[checkpoint]


def token_texts(tokenizer: Mapping[str, Any]) -> dict[int, str]:
    """Token id -> text of the content of a tokenizer.json. Bytes that are only a part of a character are written as \\xe2."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = tokenizer.get("added_tokens")
    if not isinstance(vocabulary, dict) or not _is_byte_level(tokenizer.get("decoder")):
        return {}
    bytes_of = {character: byte for byte, character in enumerate(byte_characters())}
    found: dict[int, str] = {}
    for entry, number in vocabulary.items():
        if isinstance(number, int):
            spelled = [bytes_of.get(character) for character in entry]
            known = [byte for byte in spelled if byte is not None]
            found[number] = bytes(known).decode("utf-8", "backslashreplace") if len(known) == len(spelled) else entry
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            found[token["id"]] = str(token.get("content", ""))
    return found


def byte_characters() -> list[str]:
    """The character that stands for each byte: itself where it is printable and no space, else one of those from 256 on.

    Source: the byte-level BPE of GPT-2 (A. Radford et al., "Language models are unsupervised multitask learners", 2019).
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _is_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    if decoder.get("type") == "Sequence":
        return any(map(_is_byte_level, decoder.get("decoders", [])))
    return decoder.get("type") == "ByteLevel"


def checkpoint_of(config: Mapping[str, Any]) -> str | None:
    """The checkpoint directory that a configuration names as what acts or what is trained."""
    for name in ("checkpoint", "policy"):
        value = config.get(name)
        if isinstance(value, str) and value:
            return value.removeprefix("local:")
    return None
