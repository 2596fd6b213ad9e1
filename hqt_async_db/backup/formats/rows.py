"""Rows on their way in: from text, column by column, off the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from hqt_async_db.backup.breaks import Breaks
from hqt_async_db.backup.formats.decode import Decoder, Nothing, UnfitValueError
from hqt_async_db.errors import ImportDataError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy import Column, Dialect, Table

    from hqt_async_db.backup.formats.decode import Form

# So many objects are parsed in well under a millisecond, and are too few for the garbage
# collector to be called.
PIECE_ROWS: Final = 200
# No text of a table comes near it; a file without a line feed must not fill the memory.
MAX_ROW_BYTES: Final = 64 * 1024 * 1024
# What is written of a row: brackets and commas of a file come on top.
LONGEST_WRITTEN_BYTES: Final = MAX_ROW_BYTES - 1024

BOM: Final = b"\xef\xbb\xbf"


class UnfitForBackendError(ImportDataError):
    """A value that its column may have, and another backend can hold."""


class Batch:
    """Some rows, column by column, as Python values that their columns hold.

    Times for SQLite are the text that it stores.

    Args:
        first_row: Number of the first of them.
        size: How many they are.
        decode: Returns the values; called once, when they are asked for.
        text: The rows as CSV that PostgreSQL reads itself, each line ended,
            if they are known to be.

    Attributes:
        first_row: Number of the first of them, counted from 1 for the first
            row of data; a header does not count.
        size: The number of rows.
        text: As above.
    """

    __slots__ = ("_decode", "_values", "first_row", "size", "text")

    def __init__(
        self,
        first_row: int,
        size: int,
        decode: Callable[[], list[list[Any]]],
        text: bytes | None = None,
    ) -> None:
        self.first_row = first_row
        self.size = size
        self.text = text
        self._decode = decode
        self._values: list[list[Any]] | None = None

    @property
    def values(self) -> list[list[Any]]:
        """Return a list for each column of the reader; for a thread.

        Raises:
            ImportDataError: A value does not fit.
        """
        if self._values is None:
            self._values = self._decode()
        return self._values


class RowReader(Protocol):
    """Rows to be read once.

    Attributes:
        columns: What the rows have, known before the first of them; none if
            there is no row.
    """

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """Return the columns."""

    def __aiter__(self) -> AsyncIterator[Batch]:
        """Yield the rows.

        Raises:
            ImportDataError: A row does not fit its table.
        """


class Source:
    """What is read, for whom, and what is told when it does not fit.

    Args:
        table: Where the rows are to go.
        name: What to call the source in an error, a file's name for example.
        dialect: The backend that the values must fit, too.
        form: How values are written.
        formula_guard: Whether text was marked against spreadsheets.
        may_exceed: Whether rows may have columns that the table has not, as
            long as nothing is lost with them: as long as they are NULL.
    """

    def __init__(  # noqa: PLR0913 - options by keyword
        self,
        table: Table,
        name: str,
        dialect: Dialect,
        form: Form,
        *,
        formula_guard: bool = False,
        may_exceed: bool = False,
    ) -> None:
        self.table = table
        self.name = name
        self.breaks = Breaks()
        self.dialect = dialect
        self.formula_guard = formula_guard
        self._form = form
        self._may_exceed = may_exceed
        self._decoders: list[Decoder | Nothing] = []
        self._next_row = 1

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """Return the columns that :meth:`start` was told, none before."""
        return tuple(one.column for one in self._decoders if isinstance(one, Decoder))

    @property
    def next_row(self) -> int:
        """Return the number of the next row to be decoded."""
        return self._next_row

    def start(self, names: Sequence[str]) -> None:
        """Look up the columns of the rows to come.

        Raises:
            ImportDataError: One is unknown or named twice.
        """
        # By what the database calls them, as they are written; a model may call them otherwise.
        columns = {column.name: column for column in self.table.columns}
        for index, name in enumerate(names):
            if name not in columns and not self._may_exceed:
                known = ", ".join(columns)
                self.refuse(f"{self.table.name} has no such column; it has {known}", column=name)
            if name in names[:index]:
                self.refuse("the column is there twice", column=name)
        self._decoders = [
            Decoder(columns[name], self.dialect, self._form, guard=self.formula_guard)
            if name in columns
            else Nothing(self.table.name, name)
            for name in names
        ]

    def batch(self, values: Sequence[Sequence[Any]]) -> Batch:
        """Return the next rows, decoded.

        Args:
            values: Texts, or what JSON was parsed to, by column.

        Raises:
            ImportDataError: A value does not fit; the first row counts.
        """
        first, size = self._next_row, len(values[0])
        decoded = self.decoded(first, values)
        self._next_row += size
        return Batch(first, size, lambda: decoded)

    def text_batch(
        self, text: bytes, size: int, split: Callable[[], Sequence[Sequence[str]]]
    ) -> Batch:
        """Return the next rows as text, to be decoded if somebody asks for it.

        Args:
            text: As for :class:`Batch`.
            size: How many rows it has.
            split: Returns the texts of values by column.
        """
        first = self._next_row
        self._next_row += size
        return Batch(first, size, lambda: self.decoded(first, split()), text)

    def decoded(self, first_row: int, values: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Return the values of some rows, or refuse the first that does not fit."""
        decoded, unfit = [], []
        for decoder, column in zip(self._decoders, values, strict=True):
            self.breaks.take()
            try:
                found = decoder.decode(column if type(column) is list else list(column))
            except UnfitValueError as error:
                unfit.append((error, decoder.name))
                continue
            if found is not None:
                decoded.append(found)
        if unfit:
            first, name = min(unfit, key=lambda found: found[0].index)
            kind = UnfitForBackendError if first.fits_elsewhere else ImportDataError
            self.refuse(first.reason, row=first_row + first.index, column=name, kind=kind)
        return decoded

    def refuse(
        self,
        reason: str,
        *,
        row: int | None = None,
        column: str | None = None,
        kind: type[ImportDataError] = ImportDataError,
    ) -> NoReturn:
        """Raise ImportDataError for the file, a row or a value; ``reason`` shows no value."""
        msg = f"{place(self.name, row, column)}: {reason}"
        raise kind(msg, source=self.name, row=row, column=column)


def place(source: str, row: int | None, column: str | None) -> str:
    """Return where in a source something is, for people."""
    shown = None if column is None else column if len(column) <= 80 else f"{column[:80]}..."  # noqa: PLR2004
    return ", ".join(
        [source]
        + ([] if row is None else [f"row {row}"])
        + ([] if shown is None else [f"column {shown!r}"])
    )
