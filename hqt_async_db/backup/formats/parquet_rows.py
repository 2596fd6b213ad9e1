"""Parquet to rows, some of a row group at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from hqt_async_db.backup.formats.parquet import load_arrow
from hqt_async_db.backup.formats.rows import PIECE_ROWS
from hqt_async_db.backup.formats.unpacking import open_file
from hqt_async_db.backup.threads import WorkThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import Column

    from hqt_async_db.backup.formats.rows import Batch, Source

# Arrow reads a column of a group as a whole.
_MOST_GROUP_BYTES: Final = 512 * 1024 * 1024
# What the text of so many rows at once may take.
_MOST_PIECE_BYTES: Final = 16 * 1024 * 1024
# Text that is none, times beyond Python's, zones that nobody knows.
_NO_VALUES: Final = (ValueError, ArithmeticError, LookupError)


class ParquetReader:
    """The rows of a Parquet file; see :class:`RowReader`."""

    def __init__(self, source: Source, thread: WorkThread) -> None:
        self._source = source
        self._thread = thread
        self._file: Any = None
        self._parquet: Any = None
        # The same, which has each text once.
        self._lengths: Any = None
        self._batches: Any = None

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """Return the columns."""
        return self._source.columns

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Yield the rows."""
        for group in range(self._parquet.num_row_groups):
            most = await self._rows_at_once(group)
            await self._thread.run(self._begin, group, most)
            while (batch := await self._thread.run(self._next)) is not None:
                yield batch

    def open(self, path: Path, *, follows_links: bool) -> None:
        """Open the file; for the thread, as are the two below."""
        load_arrow()
        from pyarrow import parquet  # noqa: PLC0415 - an extra

        self._file = open_file(path, follows_links=follows_links)
        self._parquet = self._read(lambda: parquet.ParquetFile(self._file, pre_buffer=False))
        metadata = self._parquet.metadata
        for index in range(metadata.num_row_groups):
            if metadata.row_group(index).total_byte_size > _MOST_GROUP_BYTES:
                self._source.refuse(f"has a row group of more than {_MOST_GROUP_BYTES} bytes")
        self._source.start(self._read(lambda: self._parquet.schema_arrow.names))
        # Whoever names another column has been refused, so all the others are nested.
        names = [column.name for column in self.columns]
        texts = [leaf.path for leaf in self._leaves() if leaf.physical_type == "BYTE_ARRAY"]
        self._lengths = self._read(
            lambda: parquet.ParquetFile(
                self._file,
                metadata=metadata,
                pre_buffer=False,
                read_dictionary=[path for path in texts if path in names],
            )
        )

    def _leaves(self) -> list[Any]:
        schema = self._parquet.schema
        return [schema.column(index) for index in range(len(schema))]

    async def _rows_at_once(self, group: int) -> int:
        """Return how many rows of a group hold a bounded amount of text.

        A value that a dictionary has once takes its length in every row that refers to it.
        """
        longest = await self._thread.run(self._bounds, group)
        if sum(longest.values()) * PIECE_ROWS > _MOST_PIECE_BYTES:
            for name in [name for name in longest if name in self._source.table.columns]:
                longest[name] = await self._thread.run(self._longest, group, name)
        return max(1, min(PIECE_ROWS, _MOST_PIECE_BYTES // max(1, sum(longest.values()))))

    def _bounds(self, group: int) -> dict[str, int]:
        """Return what a value of each column of a group takes at most: all of the column."""
        chunks = self._parquet.metadata.row_group(group)
        return {
            leaf.path: chunks.column(index).total_uncompressed_size
            for index, leaf in enumerate(self._leaves())
            if leaf.physical_type in {"BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"}
        }

    def _longest(self, group: int, name: str) -> int:
        """Return the length of the longest text of a column of a group."""
        table = self._read(
            lambda: self._lengths.read_row_group(group, columns=[name], use_threads=False)
        )
        return max((_longest(part) for part in table.column(0).chunks), default=0)

    def _begin(self, group: int, most: int) -> None:
        self._batches = self._read(
            lambda: self._parquet.iter_batches(most, row_groups=[group], use_threads=False)
        )

    def _next(self) -> Batch | None:
        self._source.breaks.take()
        rows = self._read(lambda: next(self._batches, None))
        if rows is None:
            return None
        return self._source.batch(
            [self._values(*named) for named in zip(rows.schema.names, rows.columns, strict=True)]
        )

    def _values(self, name: str, column: Any) -> list[Any]:
        """Return Python's values of a column, or refuse the first that it has none for."""
        values = None
        with suppress(*_NO_VALUES):
            values = _values(column)
        return self._refuse_value(name, column) if values is None else values

    def _refuse_value(self, name: str, column: Any) -> NoReturn:
        """Refuse it out of reach of the errors that show it."""
        reason, index = "is out of range", 0
        for index in range(len(column)):
            try:
                _values(column.slice(index, 1))
            except UnicodeDecodeError:
                reason = "is not valid UTF-8"
                break
            except _NO_VALUES:
                break
        self._source.refuse(reason, row=self._source.next_row + index, column=name)

    def _read(self, read: Any) -> Any:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        try:
            return read()
        except (pa.ArrowException, OSError, UnicodeDecodeError):  # names have to be text
            failed = True
        if failed:
            self._source.refuse("is no Parquet file, or damaged", row=None)
        return None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _values(column: Any) -> list[Any]:
    """Return Python's values, times without their zone, which is UTC in Arrow."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    if pa.types.is_timestamp(column.type):
        # What is no whole microsecond is cut off, and a product beyond 64 bits refused.
        column = column.cast(pa.timestamp("us"), safe=column.type.unit != "ns")
    values: list[Any] = column.to_pylist()
    return values


def _longest(texts: Any) -> int:
    """Return how many bytes the longest of some texts has at most."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import compute  # noqa: PLC0415 - an extra

    entries = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
    if pa.types.is_fixed_size_binary(entries.type) or pa.types.is_decimal(entries.type):
        return int(entries.type.byte_width)
    with suppress(pa.ArrowNotImplementedError):
        return compute.max(compute.binary_length(entries)).as_py() or 0
    return int(entries.nbytes)


@asynccontextmanager
async def read_parquet(
    path: Path, source: Source, *, follows_links: bool
) -> AsyncIterator[ParquetReader]:
    """Lend the rows of a Parquet file.

    Args:
        path: The file.
        source: What it is.
        follows_links: Whether it may be a symbolic link.

    Raises:
        ImportDataError: It is no Parquet file, or has other columns.
        ConfigurationError: The extra is not installed.
    """
    async with WorkThread("parquet") as thread:
        reader = ParquetReader(source, thread)
        try:
            await thread.run(reader.open, path, follows_links=follows_links)
            yield reader
        finally:
            await thread.run(reader.close)
