"""Files as others write them: pandas, Windows, spreadsheets."""

from __future__ import annotations

import pytest

from hqt_async_db.errors import ImportDataError
from tests.unit.test_backup_decode import read


@pytest.mark.parametrize(
    ("form", "text"), [("csv", b"id,count\n1.0,-7.00\n2,\n"),
                       ("jsonl", b'{"id":1.0,"count":-7.0}\n{"id":2,"count":null}\n'),
                       ("json", b'[{"id":1.0,"count":-7.0},{"id":2,"count":null}]')]
)  # fmt: skip
def test_integers_may_be_whole_doubles(form: str, text: bytes) -> None:
    """As pandas writes them where others of the column are missing."""
    assert read(form, text) == [{"id": 1, "count": -7}, {"id": 2, "count": None}]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        *(("csv", value) for value in ("1.5", "1.", ".0", "1.0e1", "1e3", "9007199254740993.0")),
        *(("jsonl", value) for value in ("1.5", "9007199254740992.0", "1e300")),
    ],
)
def test_integers_are_no_other_doubles(form: str, value: str) -> None:
    text = f"id\n{value}\n" if form == "csv" else f'{{"id":{value}}}\n'
    with pytest.raises(ImportDataError) as caught:
        read(form, text.encode())
    assert (caught.value.row, caught.value.column) == (1, "id")


@pytest.mark.parametrize("blank", [b"", b"\r", b"  ", b"\t \r"])
def test_blank_lines_between_objects_are_nothing(blank: bytes) -> None:
    text = b"\n".join([blank, b'{"id":1}\r', blank, blank, b'{"id":2}', blank])
    assert read("jsonl", text) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize("bad", [b"\xff", b"\0"])
def test_line_feeds_between_quotes_end_no_row(size: int, bad: bytes) -> None:
    text = b'id,name\n1,"a\n""b""\nc"\n2,"d\n\n"\n3,"e\n' + bad + b'"\n'
    with pytest.raises(ImportDataError) as caught:
        read("csv", text, size=size)
    assert caught.value.row == 3
