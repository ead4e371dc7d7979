"""Parquet as a source of documents; a few rows are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import parquet

from stepladder.corpora.read import Columns, CorpusError, Raw

_ROWS = 64


def read_rows(path: Path, start: int, columns: Columns) -> Iterator[Raw]:
    """See `stepladder.corpora.read.Reader`. Row groups before `start` are not read at all, and only columns that matter are."""
    try:
        with parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            there = [name for name in columns.names if name in file.schema_arrow.names]
            if columns.text not in there and columns.images not in there:
                raise CorpusError(f"{path} has no column {columns.text!r}; it has {', '.join(file.schema_arrow.names)}")
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            first = 0
            while first < len(sizes) and sum(sizes[: first + 1]) <= start:
                first += 1
            if first == len(sizes):
                return
            number = sum(sizes[:first])
            for batch in file.iter_batches(batch_size=_ROWS, row_groups=list(range(first, len(sizes))), columns=there):
                skipped = min(batch.num_rows, max(0, start - number))
                for place, row in enumerate(batch.slice(skipped).to_pylist(), start=number + skipped + 1):
                    yield Raw(f"row {place}", row)
                number += batch.num_rows
    except (OSError, pyarrow.ArrowException) as error:
        raise CorpusError(f"{path} is no Parquet file that can be read: {error}") from error
