"""JSON Lines to rows: an object per line, all with the keys of the first."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from hqt_async_db.backup.formats.rows import BOM, MAX_ROW_BYTES, PIECE_ROWS
from hqt_async_db.models.types import Money
from hqt_async_db.models.types.json_values import UnfitJsonError, fit, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hqt_async_db.backup.formats.rows import Batch, Source

_SPACE: Final = b" \t\r"
_KEY: Final = re.compile(rb'"\s*:')
_SPACES_BEFORE: Final = (b" :", b"\t:", b"\n:", b"\r:")
_DIGITS: Final = bytes(48 if 48 <= code <= 57 else code for code in range(256))  # noqa: PLR2004 - 0 for 0 to 9
_MANY_DIGITS: Final = b"0" * 19
# What json makes of 1e999 is infinity.
_BEYOND: Final = "NaN or infinity", "a number beyond the largest double"


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


def _fault_of(text: bytes) -> str | None:
    """Return what is wrong with a text that orjson does not take, if it is JSON."""
    try:
        fit(json.loads(text.decode()))
    except UnfitJsonError as unfit:
        is_written = any(word in text for word in (b"NaN", b"Infinity"))
        return str(unfit) if is_written else str(unfit).replace(*_BEYOND)
    except UnicodeDecodeError:
        return "is not valid UTF-8"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:
        return None
    return None


class _NoObjectError(Exception):
    """A text is no object by itself."""


class JsonObjects:
    """Parses objects that were told apart by somebody else, and decodes them.

    Args:
        source: What they are.
        where: Where each of them must be, for an error.
    """

    def __init__(self, source: Source, where: str = "") -> None:
        self._source = source
        self._where = where
        # The index of a text that is no object, and what it is instead.
        self._fault = 0, ""
        self._names: tuple[str, ...] = ()
        self._money: tuple[str, ...] = ()

    def batch(self, texts: Sequence[bytes]) -> Batch:
        """Return rows of a few objects, at least one.

        Raises:
            ImportDataError: One of them is no JSON object, or does not fit.
        """
        return self.batch_if_alone(texts) or self._refuse()

    def batch_if_alone(self, texts: Sequence[bytes]) -> Batch | None:
        """Return the same, None if one of the texts is no object by itself.

        Raises:
            ImportDataError: One is, and does not fit.
        """
        with suppress(_NoObjectError):
            return self._batch(texts)
        return None

    def _refuse(self) -> NoReturn:
        index, reason = self._fault
        self._source.refuse(reason, row=self._source.next_row + index)

    def _batch(self, texts: Sequence[bytes]) -> Batch:
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
        parsed: Any = None
        reason: str | None = None
        with suppress(orjson.JSONDecodeError):
            parsed = orjson.loads(text)
        if not isinstance(parsed, dict):
            self._no_object(index, text)
        row: dict[str, Any] = parsed
        try:
            if _count_keys(text) != len(row) or _has_long_integer(text):
                exact: Any = parse(text.decode())
                row = exact
        except UnfitJsonError as unfit:
            reason = str(unfit)
        if reason is None and not row:
            reason = "has no columns"
        if reason is not None:
            self._source.refuse(reason, row=self._source.next_row + index)
        return row

    def _no_object(self, index: int, text: bytes) -> NoReturn:
        """Tell the caller, or whoever imports, why a text is none."""
        fault = _fault_of(text)
        if fault is not None:
            self._source.refuse(fault, row=self._source.next_row + index)
        self._fault = index, f"is no JSON object{self._where}"
        raise _NoObjectError

    def _keep_digits(self, objects: Sequence[dict[str, Any]], texts: Sequence[bytes]) -> None:
        """Read money that is written as a number again: a double has fewer digits."""
        for index, (row, text) in enumerate(zip(objects, texts, strict=True)):
            if any(type(row.get(name)) is float for name in self._money):
                exact: Any = None
                with suppress(ValueError, RecursionError):
                    exact = json.loads(text, parse_float=str)
                if not isinstance(exact, dict):
                    self._no_object(index, text)
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
        self._objects = JsonObjects(source, " on a line of its own")
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
        if b"" in lines or any(map(bytes.isspace, lines)):
            lines = [line for line in lines if line.strip(_SPACE)]
        return [
            self._objects.batch(lines[start : start + PIECE_ROWS])
            for start in range(0, len(lines), PIECE_ROWS)
        ]
