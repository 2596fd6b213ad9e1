"""A JSON array of objects to rows, in whatever layout."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from hqt_async_db.backup.formats.json_lines import JsonObjects
from hqt_async_db.backup.formats.rows import BOM, MAX_ROW_BYTES, PIECE_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hqt_async_db.backup.formats.rows import Batch, Source

# Strings first, so that no bracket inside of one counts; the last is one left open.
_TOKEN: Final = re.compile(rb'"(?>[^"\\]+|\\.)*+"|[{}\[\]]|"', re.DOTALL)
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_MAX_DEPTH: Final = 100
# From here on nobody waits for the end of a line.
_LONG_LINE: Final = 1_048_576


class JsonArrayText:
    """Tells the objects of an array apart, whatever the blocks that it comes in.

    An object a line, as this library writes them, takes a quick way.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._objects = JsonObjects(source)
        self._buffer = b""
        self._retry_at = 0
        self._has_begun = False
        self._has_ended = False
        self._expects_comma = False
        self._is_in_lines = True
        self._was_comma = False
        self._pending = 0

    def feed(self, block: bytes) -> list[Batch]:
        """Return the rows that are complete with this block.

        Raises:
            ImportDataError: It is no array of objects, or a row does not fit.
        """
        self._buffer += block
        if len(self._buffer) < self._retry_at:
            return []
        self._begin()
        batches: list[Batch] = []
        if self._has_begun and self._is_in_lines:
            batches += self._in_lines()
            self._is_in_lines &= len(self._buffer) < _LONG_LINE
        if self._has_begun and not self._is_in_lines:
            batches += self._anyhow()
        # A long object is looked at again when there is twice as much of it.
        self._retry_at = 2 * len(self._buffer) if len(self._buffer) > len(block) else 0
        if len(self._buffer) > MAX_ROW_BYTES:
            self._refuse(f"is longer than {MAX_ROW_BYTES} bytes")
        return batches

    def end(self) -> list[Batch]:
        """Return what is left when there is no further block."""
        self._retry_at = 0
        self._is_in_lines = False
        batches = self.feed(b"")
        if not self._has_ended:
            self._refuse("is not complete: the array has no end")
        return batches

    def _begin(self) -> None:
        if self._has_begun:
            return
        if self._buffer.startswith(BOM):
            self._source.refuse("begins with a byte order mark; save it as plain UTF-8")
        start = _end_of_space(self._buffer, 0)
        if start < len(self._buffer):
            if self._buffer[start : start + 1] != b"[":
                self._source.refuse("must be a JSON array of objects")
            after = self._buffer[start + 1 :]
            self._buffer, self._has_begun = after.removeprefix(b"\n"), True

    def _in_lines(self) -> Iterator[Batch]:
        """Yield the rows of lines that hold an object and a comma each."""
        while True:
            lines = self._buffer.split(b"\n", PIECE_ROWS)
            rest = lines.pop()
            if not lines:
                return
            if not all(line[:1] == b"{" and line[-2:] == b"}," for line in lines):
                self._is_in_lines = False
                return
            # Lines may also begin and end like that within one object.
            batch = self._objects.batch_if_alone([line[:-1] for line in lines])
            if batch is None:
                self._is_in_lines = False
                return
            self._was_comma = True
            yield batch
            self._buffer = rest

    def _anyhow(self) -> list[Batch]:
        """Return the rows of the objects that are complete, wherever they are."""
        batches, texts = [], self._texts()
        while piece := list(islice(texts, PIECE_ROWS)):
            batches.append(self._objects.batch(piece))
            self._pending = 0
        return batches

    def _texts(self) -> Iterator[bytes]:
        position = 0
        while True:
            start = _end_of_space(self._buffer, position)
            sign = self._buffer[start : start + 1]
            if sign in (b"", b"{") and not self._expects_comma and not self._has_ended:
                end = _end_of_object(self._buffer, start) if sign else None
                if end is None:
                    break
                if end < 0:
                    self._refuse(f"is nested more than {_MAX_DEPTH} levels deep")
                self._pending += 1
                yield self._buffer[start:end]
                position, self._expects_comma, self._was_comma = end, True, False
            elif not sign:
                break
            else:
                self._punctuate(sign)
                position = start + 1
        self._buffer = self._buffer[position:]

    def _punctuate(self, sign: bytes) -> None:
        if sign == b"," and self._expects_comma and not self._has_ended:
            self._expects_comma, self._was_comma = False, True
        elif sign == b"]" and not self._was_comma and not self._has_ended:
            self._has_ended = True
        else:
            self._refuse("is no JSON object, or stands where none may be")

    def _refuse(self, reason: str) -> None:
        self._source.refuse(reason, row=self._source.next_row + self._pending)


def _end_of_space(text: bytes, start: int) -> int:
    found = _SPACE.match(text, start)
    return start if found is None else found.end()


def _end_of_object(text: bytes, start: int) -> int | None:
    """Return where an object ends, None if it does not yet, -1 if it is too deep."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        sign = token.group()
        if sign in (b"{", b"["):
            depth += 1
            if depth > _MAX_DEPTH:
                return -1
        elif sign in (b"}", b"]"):
            depth -= 1
            if not depth:
                return token.end()
        elif sign == b'"':
            return None
    return None
