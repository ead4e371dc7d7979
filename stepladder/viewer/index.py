"""The index of a run's trajectories: an SQLite file `view.sqlite` in the run directory, brought up to date as stores grow.

It holds what lists show and where each trajectory stands in its file. It is a cache: it is made anew when it does not fit, and lies
in memory (and the temporary files of SQLite) where the run directory cannot be written. What the index file of a store
(`stepladder.store`) tells is taken from there, so that no trajectory is read to list it; only lines beyond it are parsed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.types import TRAJECTORY_SCHEMA
from stepladder.viewer.tails import batches, parsed, parsed_together, whole_lines

FILE = "view.sqlite"
#: Raised whenever the tables change; an older file is made anew.
_VERSION = 1
_TABLES = """
create table stores (number integer primary key, name text unique, inode integer, size integer, read integer, index_read integer,
    last text, unreadable integer, indexed integer);
create table trajectories (number integer primary key, store integer, id text, task text, seed integer, status text, reward real,
    steps integer, member_of text, place integer, policy text, offset integer, length integer);
"""
_KEYS = """
create unique index if not exists by_id on trajectories (store, id);
create index if not exists by_start on trajectories (task, seed);
create index if not exists by_group on trajectories (store, member_of) where member_of != '';
"""
_INSERT = """insert or replace into trajectories (store, id, task, seed, status, reward, steps, member_of, place, policy, offset,
    length) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE = """update stores set inode = ?, size = ?, read = ?, index_read = ?, last = ?, unreadable = ?, indexed = ?
    where number = ?"""
_SETTINGS = ("synchronous = off", "temp_store = memory", "cache_size = -16000", "trusted_schema = off")
#: Lines that are taken up between two looks at the clock.
_BATCH = 2000
#: Whole numbers beyond this are no sensible seeds or lengths, and SQLite has none beyond twice this.
_LARGEST = 1 << 62
_Row = tuple[int, str, str, int, str, float | None, int, str, int, str, int, int]


@dataclass(frozen=True, slots=True)
class StoreState:
    """How far a store is known: `read` of its `size` bytes, `unreadable` lines that are no trajectories."""

    name: str
    size: int
    read: int
    unreadable: int


class RunIndex:
    """Safe for many threads. `stores` maps names to files as `stepladder.viewer.directory` finds them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.RLock()
        self._states: dict[str, _Reading] = {}
        self._numbers: dict[int, str] = {}
        self.version = 0
        self._connection = self._open()

    def refresh(self, stores: Mapping[str, Path], seconds: float = 1.0) -> bool:
        """Take up what is new in the stores, for about so many seconds; whether all of it was. `version` rises when there was
        something."""
        with self._lock:
            until = time.monotonic() + seconds
            if self._states.keys() == stores.keys() and not any(self._states[name].behind(path) for name, path in stores.items()):
                return True
            try:
                return self._take_up(stores, until)
            except sqlite3.OperationalError as error:
                if "locked" in str(error):  # another viewer is at it
                    return False
                self._connection = self._anew()
            except sqlite3.DatabaseError:
                self._connection = self._anew()
            return False

    def select(self, query: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query over the tables `trajectories` and `stores`."""
        with self._lock:
            return self._connection.execute(query, tuple(values)).fetchall()

    def number_of(self, store: str) -> int | None:
        """The number of a store in the tables; None before anything of it is known."""
        with self._lock:
            state = self._states.get(store)
            return None if state is None else state.number

    def name_of(self, number: int) -> str:
        """The name of the store with a number."""
        with self._lock:
            if number not in self._numbers:  # another viewer has found it
                self._numbers |= {row["number"]: row["name"] for row in self.select("select number, name from stores")}
            return self._numbers[number]

    def states(self) -> list[StoreState]:
        with self._lock:
            return [StoreState(name, state.size, state.read, state.unreadable) for name, state in self._states.items()]

    def share(self) -> float | None:
        """The share of all bytes that is known, None when that is all but the last lines, which may still be written."""
        with self._lock:
            size, read = sum(one.size for one in self._states.values()), sum(one.read for one in self._states.values())
            left = any(not state.complete for state in self._states.values())
        return read / size if left and size else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # ----------------------------------------------------------------------------------------------------------- internals

    def _open(self) -> sqlite3.Connection:
        path = self.directory / FILE
        if not path.is_symlink():  # a link could lead out of the run
            try:
                return _connected(path)
            except sqlite3.Error:
                pass
            try:
                if path.exists():
                    path.unlink()
                    return _connected(path)
            except (OSError, sqlite3.Error):
                pass
        return _connected(None)

    def _anew(self) -> sqlite3.Connection:
        """An empty index in place of one that is damaged, or that cannot be written any more."""
        self._connection.close()
        self._states, self._numbers = {}, {}
        self.version += 1
        path = self.directory / FILE
        try:
            if not path.is_symlink():
                path.unlink(missing_ok=True)
                return _connected(path)
        except (OSError, sqlite3.Error):
            pass
        return _connected(None)

    def _take_up(self, stores: Mapping[str, Path], until: float) -> bool:
        connection = self._connection
        complete = True
        connection.execute("begin immediate")
        try:
            self._forget_others(stores)
            for name, path in stores.items():
                state = self._states[name] = self._reading(name)
                self._numbers[state.number] = name
                complete = state.take_up(path, connection, until) and complete
                state.save(connection)
            if complete:
                _make_keys(connection)
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            self._states, self._numbers = {}, {}
            raise
        self.version += 1
        return complete

    def _reading(self, name: str) -> _Reading:
        """The state of a store as the tables have it; another viewer may have gone on with it."""
        query = "select number, inode, size, read, index_read, last, unreadable, indexed from stores where name = ?"
        row = self._connection.execute(query, (name,)).fetchone()
        if row is None:
            number = self._connection.execute("insert into stores values (null, ?, 0, 0, 0, 0, '', 0, 0)", (name,)).lastrowid
            assert number is not None
            return _Reading(number)
        number, inode, size, read, index_read, last, unreadable, complete = row
        return _Reading(number, inode, size, read, index_read, last, unreadable, bool(complete))

    def _forget_others(self, stores: Mapping[str, Path]) -> None:
        for number, name in self._connection.execute("select number, name from stores").fetchall():
            if name not in stores:
                self._connection.execute("delete from trajectories where store = ?", (number,))
                self._connection.execute("delete from stores where number = ?", (number,))
                self._states.pop(name, None)


@dataclass
class _Reading:
    """One store: bytes `read` of it, bytes `index_read` of its index file, `last` is a digest of the last line that was read."""

    number: int
    inode: int = 0
    size: int = 0
    read: int = 0
    index_read: int = 0
    last: str = ""
    unreadable: int = 0
    complete: bool = False

    def save(self, connection: sqlite3.Connection) -> None:
        values = (self.inode, self.size, self.read, self.index_read, self.last, self.unreadable, self.complete, self.number)
        connection.execute(_UPDATE, values)

    def behind(self, path: Path) -> bool:
        """Whether the file is not as it was, or has not been read to its end."""
        try:
            state = path.stat()
        except OSError:
            return False
        return not self.complete or (state.st_ino, state.st_size) != (self.inode, self.size)

    def take_up(self, path: Path, connection: sqlite3.Connection, until: float) -> bool:
        """Insert the new trajectories, until that time at the latest; whether all whole lines are known then."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return True
        try:
            state = os.fstat(handle)
            if state.st_ino != self.inode or state.st_size < self.read or not self._fits(handle):
                connection.execute("delete from trajectories where store = ?", (self.number,))
                self.read, self.index_read, self.last, self.unreadable = 0, 0, "", 0
            self.inode, self.size = state.st_ino, state.st_size
            before = self.read
            complete = self._from_index(path, handle, connection, until) and self._from_lines(handle, connection, until)
            complete = complete or self.read == self.size
            if self.read > before:
                self.last = _digest(handle, self.read)
            self.complete = complete
            return complete
        finally:
            os.close(handle)

    def _fits(self, handle: int) -> bool:
        """Whether the file still has what was read last: one of another run may have taken its place."""
        return self.read == 0 or _digest(handle, self.read) == self.last

    def _from_index(self, path: Path, data: int, connection: sqlite3.Connection, until: float) -> bool:
        """Take up what the store's own index file tells without a gap; whether it was read to its end."""
        index = path.with_name(f"{path.name}.index")
        if self.read == self.size:
            return True
        try:
            handle = os.open(index, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return True
        try:
            size = os.fstat(handle).st_size
            if self.index_read > size:
                self.index_read = 0
            for batch in batches(whole_lines(handle, self.index_read, size), _BATCH):
                rows, whole = self._fitting(batch)
                if rows and not _is_there(data, rows[-1]):
                    connection.execute("delete from trajectories where store = ?", (self.number,))
                    self.read, self.index_read = 0, size  # it is of another store: the file itself tells
                    return True
                connection.executemany(_INSERT, rows)
                if not whole:
                    return True
                if time.monotonic() > until:
                    return False
            return True
        finally:
            os.close(handle)

    def _fitting(self, lines: Sequence[bytes]) -> tuple[list[_Row], bool]:
        """(the rows of lines of the index file that go on without a gap, as far as the store itself had been written; whether these
        are all of them)."""
        rows: list[_Row] = []
        for line, record in zip(lines, parsed_together(lines), strict=True):
            row = _indexed(record, self.number)
            if row is not None and row[10] >= self.read:  # else the header, or known already
                if row[10] != self.read or row[10] + row[11] > self.size:
                    return rows, False
                rows.append(row)
                self.read += row[11]
            self.index_read += len(line)
        return rows, True

    def _from_lines(self, handle: int, connection: sqlite3.Connection, until: float) -> bool:
        """Take up what stands beyond the index, line by line."""
        for batch in batches(whole_lines(handle, self.read, self.size), 64):
            rows = []
            for line in batch:
                row = _summarised(line, self.number, self.read)
                self.unreadable += row is None
                rows += [] if row is None else [row]
                self.read += len(line)
            connection.executemany(_INSERT, rows)
            if time.monotonic() > until:
                return False
        return True


def _connected(path: Path | None) -> sqlite3.Connection:
    """A connection to an index with its tables. Raises sqlite3.Error."""
    connection = sqlite3.connect(path or "", timeout=2.0, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        for setting in _SETTINGS:
            connection.execute(f"pragma {setting}")
        if connection.execute("pragma user_version").fetchone()[0] != _VERSION:
            _make_tables(connection)
        connection.execute("select count(*) from stores").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    """In place of those of another version."""
    connection.execute("begin immediate")
    found = connection.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'").fetchall()
    for (table,) in found:
        quoted = table.replace('"', '""')
        connection.execute(f'drop table "{quoted}"')
    for statement in filter(None, map(str.strip, _TABLES.split(";"))):
        connection.execute(statement)
    connection.execute(f"pragma user_version = {_VERSION}")
    connection.execute("commit")


def _make_keys(connection: sqlite3.Connection) -> None:
    """Once all rows are there: that is quicker than before. Of trajectories with the same id in a store the last one stays."""
    statements = [statement for statement in map(str.strip, _KEYS.split(";")) if statement]
    try:
        for statement in statements:
            connection.execute(statement)
    except sqlite3.IntegrityError:
        connection.execute("delete from trajectories where number not in (select max(number) from trajectories group by store, id)")
        for statement in statements:
            connection.execute(statement)


def _indexed(record: dict[str, Any] | None, store: int) -> _Row | None:
    """The row of the object in a line of an index file."""
    if record is None or "offset" not in record:
        return None
    offset, length = record["offset"], record.get("length")
    if type(offset) is not int or type(length) is not int or offset < 0 or not 0 < length < _LARGEST:
        return None
    return _row(record, record.get("task"), record.get("steps"), store, offset, length)


def _is_there(data: int, row: _Row) -> bool:
    """Whether the store (an open file) has the trajectory of a row where the row says."""
    line = os.pread(data, row[11], row[10])
    record = parsed(line) if line.endswith(b"\n") else None
    return record is not None and type(record.get("id")) is str and storable(record["id"]) == row[1]


def _summarised(line: bytes, store: int, offset: int) -> _Row | None:
    """The row of a line of a store; None where it is no trajectory that this version reads."""
    record = parsed(line)
    if record is None or type(record.get("schema")) is not int or record["schema"] > TRAJECTORY_SCHEMA:
        return None
    task, steps = record.get("task"), record.get("steps")
    if not isinstance(task, dict) or not isinstance(steps, list):
        return None
    return _row(record, task.get("id"), len(steps), store, offset, len(line))


def _row(record: Mapping[str, Any], task: Any, steps: Any, store: int, offset: int, length: int) -> _Row | None:
    """The row of a summary whose values are of the right kinds, None of any other: nothing here may stop a list."""
    identifier, status, group, policy = record.get("id"), record.get("status"), record.get("group", ""), record.get("policy", "")
    seed, place, reward = record.get("seed", 0), record.get("index", 0), record.get("reward")
    if not (type(identifier) is type(task) is type(status) is type(group) is type(policy) is str):
        return None
    if not (type(seed) is type(place) is type(steps) is int and max(abs(seed), abs(place), abs(steps)) < _LARGEST):
        return None
    if reward is not None:
        if type(reward) is not float and type(reward) is not int:
            return None
        reward = float(reward) if abs(reward) < _LARGEST else None
    row = (store, identifier, task, seed, status, reward, steps, group, place, policy, offset, length)
    if identifier.isascii() and task.isascii() and status.isascii() and group.isascii() and policy.isascii():
        return row  # nearly all are
    return tuple(storable(value) if type(value) is str else value for value in row)  # type: ignore[return-value]


def storable(text: str) -> str:
    """A text as the index keeps it: halves of characters, which UTF-8 does not have, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _digest(handle: int, end: int) -> str:
    """A digest of what stands before byte `end`."""
    start = max(0, end - 4096)
    return hashlib.blake2b(os.pread(handle, end - start, start), digest_size=16).hexdigest()
