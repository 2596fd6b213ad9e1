"""JSON Lines to rows: an object per line, all with the keys of the first."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from hqt_async_db.backup.formats.rows import BOM, MAX_ROW_BYTES, PIECE_ROWS
from hqt_async_db.models.types import Money
from hqt_async_db.models.types.json_values import UnfitJsonError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hqt_async_db.backup.formats.rows import Batch, Source

_KEY: Final = re.compile(rb'"\s*:')
_SPACES_BEFORE: Final = (b" :", b"\t:", b"\n:", b"\r:")
_DIGITS: Final = bytes(48 if 48 <= code <= 57 else code for code in range(256))  # noqa: PLR2004 - 0 for 0 to 9
_MANY_DIGITS: Final = b"0" * 19


def _count_keys(text: bytes) -> int:
    """Return how many keys a text has, at least: strings may hold what looks like one."""
    if any(space in text for space in _SPACES_BEFORE):
        return len(_KEY.findall(text))
    return text.count(b'":')


def _has_long_integer(text: bytes) -> bool:
    """Tell whether a text may hold an integer that orjson would take for a double."""
    text, end = text.translate(_DIGITS), 0
    while (start := text.find(_MANY_DIGITS, end)) >= 0:
        end = start + len(_MANY_DIGITS)
        while text[end : end + 1] == b"0":
            end += 1
        if text[start - 1 : start] != b"." and text[end : end + 1] not in {b".", b"e", b"E"}:
            return True
    return False


class JsonObjects:
    """Parses objects that were told apart by somebody else, and decodes them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names: tuple[str, ...] = ()
        self._money: tuple[str, ...] = ()

    def batch(self, texts: Sequence[bytes]) -> Batch:
        """Return rows of a few objects, at least one.

        Raises:
            ImportDataError: One of them is no JSON object, or does not fit.
        """
        objects = self._parsed(texts)
        if not self._names:
            self._source.start(tuple(objects[0]))
            self._names = tuple(objects[0])
            columns = self._source.columns
            self._money = tuple(c.name for c in columns if isinstance(c.type, Money))
        self._source.breaks.take()
        if self._money:
            self._keep_digits(objects, texts)
        if set(map(tuple, objects)) != {self._names}:
            objects = [self._in_order(*numbered) for numbered in enumerate(objects)]
        # A view of each object besides would have the garbage collector look at all
        # that the process holds.
        return self._source.batch([list(map(itemgetter(name), objects)) for name in self._names])

    def _parsed(self, texts: Sequence[bytes]) -> list[Any]:
        joined = b",".join(texts)
        objects: list[Any] = []
        with suppress(orjson.JSONDecodeError):
            objects = orjson.loads(b"[" + joined + b"]")
        self._source.breaks.take()
        if len(objects) != len(texts) or set(map(type, objects)) != {dict} or not objects[0]:
            return [self._looked_at(*numbered) for numbered in enumerate(texts)]
        # As many keys as there are parsed: none is there twice.
        if _count_keys(joined) == sum(map(len, objects)) and not _has_long_integer(joined):
            return objects
        return [self._looked_at(*numbered) for numbered in enumerate(texts)]

    def _looked_at(self, index: int, text: bytes) -> dict[str, Any]:
        """Return one object, or say what is wrong with it."""
        self._source.breaks.take()
        reason = "is no JSON object on a line of its own"
        row: Any = None
        try:
            row = orjson.loads(text)
            if _count_keys(text) != len(row) or _has_long_integer(text):
                row = parse(text.decode())
        except UnfitJsonError as unfit:
            reason, row = str(unfit), None
        except (orjson.JSONDecodeError, TypeError):
            row = None
        if not isinstance(row, dict) or not row:
            self._source.refuse(reason, row=self._source.next_row + index)
        return row

    def _keep_digits(self, objects: Sequence[dict[str, Any]], texts: Sequence[bytes]) -> None:
        """Read money that is written as a number again: a double has fewer digits."""
        for row, text in zip(objects, texts, strict=True):
            if any(type(row.get(name)) is float for name in self._money):
                exact = json.loads(text, parse_float=str)
                row.update({name: exact[name] for name in self._money if name in exact})

    def _in_order(self, index: int, row: dict[str, Any]) -> dict[str, Any]:
        for name in self._names:
            if name not in row:
                reason = "the row lacks the column, which the first row has"
                self._source.refuse(reason, row=self._source.next_row + index, column=name)
        for name in row:
            if name not in self._names:
                reason = "the first row has no such column"
                self._source.refuse(reason, row=self._source.next_row + index, column=name)
        return {name: row[name] for name in self._names}


class JsonLines:
    """Tells lines apart, whatever the blocks that they come in."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._objects = JsonObjects(source)
        self._rest: list[bytes] = []
        self._is_first = True

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
            if sum(map(len, self._rest)) > MAX_ROW_BYTES:
                reason = f"is longer than {MAX_ROW_BYTES} bytes"
                self._source.refuse(reason, row=self._source.next_row)
            return []
        lines = b"".join([*self._rest, complete]).split(b"\n")
        self._rest = [rest]
        return self._batches(lines)

    def end(self) -> list[Batch]:
        """Return what is left when there is no further block."""
        lines, self._rest = [b"".join(self._rest)], []
        return self._batches(lines)

    def _batches(self, lines: list[bytes]) -> list[Batch]:
        if b"" in lines:
            lines = [line for line in lines if line]
        return [
            self._objects.batch(lines[start : start + PIECE_ROWS])
            for start in range(0, len(lines), PIECE_ROWS)
        ]
