"""Which versions of SQLite can damage a file, and who is told."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from hqt_async_db.connection.backends.sqlite import versions
from hqt_async_db.connection.backends.sqlite.versions import known_bugs, report_known_bugs


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.44.5", "3.50.6", "3.51.0", "3.51.2"])
def test_versions_with_the_bug(version: str) -> None:
    (sentence,) = known_bugs(_numbers(version))
    assert sentence.startswith(f"SQLite {version} has the WAL-reset bug")


@pytest.mark.parametrize("version", ["3.6.23", "3.44.6", "3.50.7", "3.51.3", "3.52.0", "4.0.0"])
def test_versions_without(version: str) -> None:
    assert known_bugs(_numbers(version)) == []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_a_version_is_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_reported", set())
    for version in ((3, 40, 1), (3, 40, 1), (3, 51, 3), (3, 51, 2)):
        report_known_bugs(version)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert ["3.40.1" in message for message in caplog.messages] == [True, False]


def test_nothing_is_printed_where_logging_is_not_configured() -> None:
    program = (
        "from hqt_async_db.connection.backends.sqlite import versions;"
        "versions.report_known_bugs((3, 40, 1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=15
    )
    assert (done.stdout, done.stderr) == (b"", b"")
