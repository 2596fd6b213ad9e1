"""A manifest notices every change of itself."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import BackupVerificationError
from hqt_async_db.backup.manifest import (
    Manifest,
    TableEntry,
    manifest_of_directory,
    manifest_of_file,
)

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = TableEntry(table="users", rows=2, file="users.csv", sha256="0" * 64)
MANIFEST = Manifest(kind="export", backend="sqlite", revision="hqt_0001", tables=(ENTRY,))


def test_it_reads_back() -> None:
    assert Manifest.parse(MANIFEST.to_bytes()) == MANIFEST
    other = replace(MANIFEST, revision=None, file="é.zip", sha256="f" * 64)
    assert Manifest.parse(other.to_bytes()) == other
    marked = replace(MANIFEST, tables=(replace(ENTRY, formula_guard=True), ENTRY))
    assert Manifest.parse(marked.to_bytes()) == marked
    assert marked.to_bytes().count(b"formula_guard") == 1
    of_own = replace(MANIFEST, tables=(replace(ENTRY, columns="id RowId"), ENTRY))
    assert Manifest.parse(of_own.to_bytes()) == of_own
    assert of_own.to_bytes().count(b"columns") == 1


def test_a_changed_byte_or_a_lost_end_is_noticed() -> None:
    content = MANIFEST.to_bytes()
    for index in range(len(content)):
        for changed in (content[:index], _flipped(content, index)):
            with pytest.raises(BackupVerificationError):
                Manifest.parse(changed)
    with pytest.raises(BackupVerificationError):
        Manifest.parse(content + b" ")


def _flipped(content: bytes, index: int) -> bytes:
    flipped = content[index] ^ (1 << random.Random(index).randrange(8))
    return content[:index] + bytes([flipped]) + content[index + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1}, {"rows": "2"}, {"rows": True}, {"file": "../users.csv"},
        {"file": "/etc/passwd"}, {"file": ".."}, {"file": ""}, {"file": "a\0"},
        {"sha256": "f" * 63}, {"table": 5}, {"more": 1}, {"formula_guard": 1},
        {"formula_guard": "no"}, {"columns": ["id"]},
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_are_refused_even_with_a_right_checksum(
    change: dict[str, Any],
) -> None:
    manifest = replace(MANIFEST, tables=())
    content = json.loads(manifest.to_bytes())
    content["tables"] = [json.loads(MANIFEST.to_bytes())["tables"][0] | change]
    with pytest.raises(BackupVerificationError):
        Manifest.parse((json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
    entry: dict[str, Any] = {"table": "users", "rows": 2, "file": None, "sha256": None}
    entry |= change
    if "more" not in entry:
        signed = replace(MANIFEST, tables=(TableEntry(**entry),))
        with pytest.raises(BackupVerificationError):
            Manifest.parse(signed.to_bytes())


@pytest.mark.parametrize("text", ["hqt_0001", "users", "users.csv", "export"])
def test_a_lone_surrogate_is_refused(text: str) -> None:
    content = MANIFEST.to_bytes()
    damaged = content.replace(b'"%s"' % text.encode(), rb'"\ud800"')
    assert damaged != content
    with pytest.raises(BackupVerificationError):
        Manifest.parse(damaged)


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"{}", b"[" * 100_000, b"x" * 2_000_000])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(BackupVerificationError):
        Manifest.parse(content)


def test_a_newer_format_is_named() -> None:
    with pytest.raises(BackupVerificationError, match="newer"):
        Manifest.parse(replace(MANIFEST, format_version=2).to_bytes())


def test_where_it_is(tmp_path: Path) -> None:
    assert manifest_of_file(tmp_path / "u.csv.gz").name == "u.csv.gz.manifest.json"
    assert manifest_of_directory(tmp_path) == tmp_path / "manifest.json"
