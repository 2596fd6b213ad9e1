"""Archives made by hand, as whoever knows the format can make them."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

from hqt_async_db.backup.archives.archive import MANIFEST, SEAL
from hqt_async_db.backup.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path


def rebuilt(path: Path, members: dict[str, bytes]) -> None:
    """Write a zip file with these members and a seal that fits."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = SEAL + b"0" * 64
    content = path.read_bytes()[: -len(SEAL) - 64]
    path.write_bytes(content + SEAL + hashlib.sha256(content).hexdigest().encode())


def members_of(path: Path) -> dict[str, bytes]:
    """Return what an archive holds."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def put_rows(path: Path, table: str, rows: bytes, *, backend: str | None = None) -> None:
    """Give a table other rows, which the manifest then tells of, perhaps as another backend's."""
    members = members_of(path) | {f"{table}.jsonl": rows}
    manifest = Manifest.parse(members[MANIFEST])
    count, sha256 = rows.count(b"\n"), hashlib.sha256(rows).hexdigest()
    tables = tuple(
        replace(entry, rows=count, sha256=sha256) if entry.table == table else entry
        for entry in manifest.tables
    )
    told = replace(manifest, tables=tables, backend=backend or manifest.backend)
    members[MANIFEST] = told.to_bytes()
    rebuilt(path, members)
