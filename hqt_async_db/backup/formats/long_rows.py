"""Rows that are too long for a file that is to be read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hqt_async_db.backup.formats.encode import Format


def longest_row(content: bytes, form: Format) -> int:
    """Return the bytes of the longest row, without the line feed that ends it.

    Args:
        content: Canonical text of whole rows.
        form: What it is; a quoted field of CSV may have line feeds.
    """
    longest = start = counted = quotes = 0
    while (end := content.find(b"\n", counted)) >= 0:
        if form == "csv":
            quotes += content.count(b'"', counted, end)
        counted = end + 1
        if quotes % 2 == 0:
            longest = max(longest, end - start)
            start = counted
    return longest
