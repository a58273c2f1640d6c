"""The files of a sweep: a part a chunk, each there whole or not at all, and the one table that they become.

A sweep that was killed at any moment goes on at the parts it lacks. When all are there they are joined, row group by
row group, into results.parquet, and go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bot.adapters.process_lock import only_one
from bot.errors import Refused

RESULTS: Final = "results.parquet"
FACTS: Final = b"twtrader"  # the key of our metadata in a Parquet file


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Parts 0.. of the sweep in `folder`, with the columns of `schema`."""

    folder: Path
    schema: pa.Schema

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder while the block runs.

        Raises:
            Refused: another process computes the same sweep.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(only_one(self.folder / "sweep"))
            except Refused as busy:
                raise Refused(f"{self.folder.name} is being computed: {busy}") from busy
            for torn in self.folder.glob("*.tmp"):  # of a process that was killed: we hold the lock
                torn.unlink()
            yield

    def path(self, index: int) -> Path:
        """Where part `index` lies."""
        return self.folder / f"part-{index:06d}.parquet"

    def read(self, index: int, rows: int) -> pa.Table | None:
        """Part `index`, or None when it is not there or not whole: it is computed again then."""
        try:
            table = pq.read_table(self.path(index))
        except (FileNotFoundError, pa.ArrowInvalid, OSError):
            return None
        return table if table.num_rows == rows and table.schema.equals(self.schema) else None

    def write(self, index: int, table: pa.Table) -> None:
        """Keep part `index`."""
        _write(self.path(index), lambda path: pq.write_table(table, path, compression="zstd"))

    def join(self, count: int, facts: Mapping[str, Any]) -> Path:
        """All `count` parts as one file with `facts` in its metadata; the parts go."""
        told = self.folder / RESULTS
        schema = self.schema.with_metadata({FACTS: json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()})

        def copy(path: Path) -> None:
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for index in range(count):
                    writer.write_table(pq.read_table(self.path(index)).replace_schema_metadata(schema.metadata))

        _write(told, copy)
        for part in self.folder.glob("part-*.parquet"):
            part.unlink()
        return told

    def finished(self) -> bool:
        """Whether the table is there: it is only written when all parts are."""
        return (self.folder / RESULTS).exists()


def read_facts(path: Path) -> dict[str, Any]:
    """The metadata that `join` wrote.

    Raises:
        Refused: the file is no table of a sweep.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    if FACTS not in metadata:
        raise Refused(f"{path}: no table of a sweep")
    facts: dict[str, Any] = json.loads(metadata[FACTS])
    return facts


def _write(path: Path, fill: Callable[[Path], None]) -> None:
    """Write a file so that it is there whole or not at all, kill -9 and power cut included."""
    torn = path.with_name(f"{path.name}.tmp")
    fill(torn)
    with torn.open("rb+") as file:
        os.fsync(file.fileno())
    torn.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
