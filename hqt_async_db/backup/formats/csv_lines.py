"""CSV to rows: a header, then as many fields a row; NULL is nothing, ``""`` is the empty text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from hqt_async_db.backup.formats.canonical import canonical_lines
from hqt_async_db.backup.formats.from_csv import QUOTED_EMPTY
from hqt_async_db.backup.formats.rows import BOM, MAX_ROW_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hqt_async_db.backup.formats.rows import Batch, Source

# What takes well under a millisecond in C.
_PART_BYTES: Final = 49_152
_FIELD: Final = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",]*))(,|\Z)')


class CsvLines:
    """Tells records apart, whatever the blocks that they come in."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names: tuple[str, ...] = ()
        self._rest: list[bytes] = []
        self._is_first = True
        # Lines of a record with a line feed between quotes.
        self._open: list[str] = []
        self._open_size = 0
        self._is_after_blank = False
        self._canonical: re.Pattern[bytes] | None = None

    def feed(self, block: bytes) -> list[Batch]:
        """Return the rows that are complete with this block.

        Raises:
            ImportDataError: A row does not fit.
        """
        if self._is_first and block.startswith(BOM):
            self._source.refuse("begins with a byte order mark; save it as plain UTF-8")
        self._is_first = False
        complete, feed, rest = block.rpartition(b"\n")
        if not feed:
            self._rest.append(rest)
            self._limit(sum(map(len, self._rest)))
            return []
        content = b"".join([*self._rest, complete])
        self._rest = [rest]
        return self._batches(content)

    def end(self) -> list[Batch]:
        """Return what is left when there is no further block."""
        content, self._rest = b"".join(self._rest), []
        batches = self._batches(content) if content else []
        if self._open:
            self._refuse("ends between quotes")
        if not self._names:
            self._source.refuse("has no header")
        return batches

    def _batches(self, content: bytes) -> list[Batch]:
        if not self._names:
            head, feed, content = content.partition(b"\n")
            self._start(self._text(head).removesuffix("\r"))
            if not feed:
                return []
        batches = []
        for part in _parts(content):
            self._source.breaks.take()
            batch = self._as_it_is(part) or self._decoded(part)
            if batch is not None:
                batches.append(batch)
        return batches

    def _as_it_is(self, part: bytes) -> Batch | None:
        """Return rows that PostgreSQL can read itself, None if there is a doubt."""
        if self._canonical is None or self._open or self._is_after_blank:
            return None
        lines = part + b"\n"
        if not self._canonical.fullmatch(lines):
            return None
        return self._source.text_batch(
            lines, lines.count(b"\n"), lambda: self._plain(part.decode())
        )

    def _plain(self, text: str) -> list[list[str]]:
        """Return the fields of lines without quotes by column, none if they are uneven."""
        width = len(self._names)
        fields = text.replace("\n", ",\n,").split(",")
        ends = fields[width :: width + 1]
        if len(fields) % (width + 1) != width or len(ends) != text.count("\n"):
            return []
        if set(ends) - {"\n"}:
            return []
        return [fields[place :: width + 1] for place in range(width)]

    def _decoded(self, part: bytes) -> Batch | None:
        text = self._text(part)
        is_usual = '"' not in text and "\r" not in text
        if text and is_usual and not self._open and not self._is_after_blank:
            columns = self._plain(text)
            if columns:
                return self._source.batch(columns)
        rows = self._rows(text.split("\n"))
        if not rows:
            return None
        self._refuse_uneven(rows)
        return self._source.batch(list(zip(*rows, strict=True)))

    def _start(self, head: str) -> None:
        names = self._fields(head, 0)
        self._source.start(names)
        self._names = tuple(names)
        self._canonical = canonical_lines(self._source)

    def _text(self, content: bytes) -> str:
        text, valid = "", len(content)
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            # Refused below: this error holds the whole text, and must not come along.
            valid = error.start
        if valid < len(content):
            self._refuse_encoding(content[:valid])
        if "\0" in text:
            index, _ = self._records_in(text.partition("\0")[0])
            self._refuse("contains a NUL character", index)
        return text

    def _refuse_encoding(self, before: bytes) -> NoReturn:
        line = before.rpartition(b"\n")[2]
        field = line.count(b",")
        index, is_quoted = self._records_in(before.decode())
        is_plain = field < len(self._names) and b'"' not in line and not is_quoted
        self._refuse("is not valid UTF-8", index, self._names[field] if is_plain else None)

    def _records_in(self, text: str) -> tuple[int, bool]:
        """Return how many records end in a text, and whether it ends between quotes."""
        ended, is_quoted = 0, bool(self._open)
        *lines, last = text.split("\n")
        for line in lines:
            is_quoted ^= bool(line.count('"') % 2)
            ended += not is_quoted
        return ended, is_quoted ^ bool(last.count('"') % 2)

    def _rows(self, lines: Sequence[str]) -> list[list[str]]:
        rows: list[list[str]] = []
        for line in lines:
            self._source.breaks.take()
            record = self._record(line, len(rows))
            if record is not None:
                rows.append(record)
        return rows

    def _record(self, line: str, index: int) -> list[str] | None:
        """Return the fields of the record that ends with a line, None if none does."""
        if self._open or line.count('"') % 2:
            self._open.append(line)
            self._open_size += len(line)
            self._limit(self._open_size)
            if len(self._open) == 1 or line.count('"') % 2 == 0:
                return None
            line = "\n".join(self._open)
            self._open, self._open_size = [], 0
        line = line.removesuffix("\r")
        if not line and len(self._names) != 1:
            self._is_after_blank = True
            return None
        if self._is_after_blank:
            self._refuse("comes after an empty line", index)
        return line.split(",") if '"' not in line else self._fields(line, index)

    def _fields(self, record: str, index: int) -> list[str]:
        fields: list[str] = []
        end, separator = 0, ","
        while separator:
            found = _FIELD.match(record, end)
            if found is None:
                name = self._names[len(fields)] if len(fields) < len(self._names) else None
                self._refuse("has a quote where none may be", index, name)
            quoted, plain, separator = found.groups()
            if quoted is None:
                fields.append(plain)
            else:
                fields.append(quoted.replace('""', '"') or QUOTED_EMPTY)
            end = found.end()
        return fields

    def _refuse_uneven(self, rows: Sequence[Sequence[str]]) -> None:
        width = len(self._names)
        if set(map(len, rows)) == {width}:
            return
        index = next(index for index, row in enumerate(rows) if len(row) != width)
        count = len(rows[index])
        name = self._names[count] if count < width else None
        self._source.refuse(
            f"has {count} fields, the header {width}",
            row=self._source.next_row + index,
            column=name,
        )

    def _limit(self, size: int) -> None:
        if size > MAX_ROW_BYTES:
            self._refuse(f"is longer than {MAX_ROW_BYTES} bytes; is a quote left open?")

    def _refuse(self, reason: str, index: int = 0, name: str | None = None) -> NoReturn:
        """Refuse the row that is so many after the next one, or the header."""
        row = self._source.next_row + index if self._names else None
        self._source.refuse(reason, row=row, column=name)


def _parts(content: bytes) -> Iterator[bytes]:
    """Yield whole lines, 48 KB and more of them."""
    start = 0
    while start >= 0:
        end = content.find(b"\n", start + _PART_BYTES)
        yield content[start : end if end >= 0 else None]
        start = end + 1 if end >= 0 else -1
