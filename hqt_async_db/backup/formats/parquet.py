"""Parquet files made of canonical CSV lines, by Arrow and outside of the GIL."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.formats.rows import BOM
from hqt_async_db.errors import ConfigurationError
from hqt_async_db.models.types import Double, Flag, Int32, Int64, Money, RowId, UtcDateTime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column

# Of CSV text: so many rows are in memory at a time, and make a row group.
_GROUP_BYTES: Final = 1_048_576


def load_arrow() -> None:
    """Import Arrow, which takes a moment: for a thread.

    Raises:
        ConfigurationError: The extra is not installed; names it.
    """
    try:
        import pyarrow.csv  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError:
        msg = "Parquet needs an extra: pip install 'hqt-async-db[parquet]'"
        raise ConfigurationError(msg) from None


class ParquetFile:
    """Turns CSV lines into a Parquet file, some thousands of rows at a time.

    Times are microseconds in UTC, money is decimal128(28, 8), a double that
    is NULL is no NaN, and JSON is text.

    Args:
        columns: The columns of the lines; Arrow must be loaded.
    """

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra

        self._schema = pa.schema([(column.name, _arrow_type(column)) for column in columns])
        self._out = _Out()
        self._pool = _memory_pool()
        self._writer = parquet.ParquetWriter(self._out, self._schema, memory_pool=self._pool)
        self._blocks: list[bytes] = []
        self._size = 0

    def compress(self, block: bytes) -> bytes:
        """Return what is ready after some lines."""
        self._blocks.append(block)
        self._size += len(block)
        if self._size >= _GROUP_BYTES:
            self._write_group()
        return self._out.take()

    def flush(self) -> bytes:
        """Return the last rows and the end of the file."""
        if self._size:  # blocks may be empty
            self._write_group()
        self._writer.close()
        return self._out.take()

    def _write_group(self) -> None:
        lines = b"".join(self._blocks)
        self._blocks.clear()
        self._size = 0
        self._writer.write_table(_table(lines, self._schema, self._pool))


class _Out(io.RawIOBase):
    """What Arrow takes for the file: it keeps what is written until that is taken."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, content: Any) -> int:
        self._written.append(bytes(content))
        self._position += len(self._written[-1])
        return len(self._written[-1])

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


def _memory_pool() -> Any:
    """Return what gives freed memory back: Arrow's default keeps it for each thread."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    if "jemalloc" in pa.supported_memory_backends():  # as on Linux
        return pa.jemalloc_memory_pool()
    return pa.default_memory_pool()


def _table(lines: bytes, schema: Any, pool: Any) -> Any:
    """Return the rows of CSV lines; NULL is nothing, the empty text is quoted."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import csv  # noqa: PLC0415 - an extra

    if lines.startswith(BOM):  # Arrow takes one off, which here is text
        lines = BOM + lines
    return csv.read_csv(
        pa.BufferReader(lines),
        read_options=csv.ReadOptions(
            use_threads=False, column_names=schema.names, block_size=len(lines) + 1
        ),
        parse_options=csv.ParseOptions(
            newlines_in_values=b'"' in lines,
            ignore_empty_lines=False,  # a row of one column that is NULL
        ),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            timestamp_parsers=[csv.ISO8601],
        ),
        memory_pool=pool,
    )


def _arrow_type(column: Column[Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    kinds: list[tuple[Any, Any]] = [
        ((RowId, Int64), pa.int64()),
        (Int32, pa.int32()),
        (Double, pa.float64()),
        (Money, pa.decimal128(28, 8)),
        (Flag, pa.bool_()),
        (UtcDateTime, pa.timestamp("us", "UTC")),
    ]
    for kind, arrow in kinds:
        if isinstance(column.type, kind):
            return arrow
    python = getattr(column.type, "python_type", str)
    of_python: dict[type, Any] = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return of_python.get(python, pa.string())
