"""Questions to SQLite databases whose bytes are in memory: programs' profiles, and what agents leave."""

from __future__ import annotations

import sqlite3
from typing import Any


class NoDatabase(ValueError):
    """The bytes are no SQLite database, or lack what was asked for."""


def rows(content: bytes, question: str) -> list[tuple[Any, ...]]:
    """The rows that a question gives. What a write-ahead log of its own still holds is not in them. Raises NoDatabase."""
    connection = sqlite3.connect(":memory:")
    try:
        # Bytes 18 and 19 say that there is a write-ahead log, which a database in memory cannot have.
        connection.deserialize(content[:18] + b"\x01\x01" + content[20:] if content[18:20] == b"\x02\x02" else content)
        return connection.execute(question).fetchall()
    except (sqlite3.Error, ValueError, OverflowError) as error:
        raise NoDatabase(str(error)) from error
    finally:
        connection.close()
