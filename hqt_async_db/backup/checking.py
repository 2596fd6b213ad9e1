"""Files compared with their manifests, before anything of them is used."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from hqt_async_db.backup.formats.unpacking import open_file
from hqt_async_db.backup.manifest import (
    MOST_BYTES,
    Manifest,
    is_ours,
    manifest_of_directory,
    manifest_of_file,
)
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import BackupVerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hqt_async_db.backup.manifest import TableEntry

_BLOCK_BYTES: Final = 1_048_576


async def require_manifests(
    tables: Mapping[Path, str],
    *,
    is_required: bool,
    directory: Path | None = None,
    form: str | None = None,
) -> dict[Path, TableEntry]:
    """Compare files with what their manifests say, where there are any; return that.

    A manifest of a file's own goes before the one of its directory.

    Args:
        tables: Names of tables by file.
        is_required: Whether a file without a manifest is refused.
        directory: Where all that its manifest tells of must be, if there is one.
        form: The format of the files that must be there; None is any.

    Raises:
        BackupVerificationError: A manifest is damaged or required and missing,
            or its file is missing, another table's or not the one that was written.
    """
    async with WorkThread("checksum") as thread:
        listed: dict[Path, dict[str, TableEntry]] = {}
        found: dict[Path, TableEntry] = {}
        for path, table in tables.items():
            entry = await thread.run(_entry_of, path, listed)
            if entry is None:
                if is_required:
                    msg = f"{path.name}: no manifest tells what it should hold"
                    raise BackupVerificationError(msg)
                continue
            if entry.table != table:
                msg = f"{path.name}: its manifest tells of {entry.table}, not of {table}"
                raise BackupVerificationError(msg)
            digest = hashlib.sha256()
            async with thread.lending(open_file, path) as file:
                while block := await thread.run(file.read, _BLOCK_BYTES):
                    await thread.run(digest.update, block)
            if digest.hexdigest() != entry.sha256:
                msg = (
                    f"{path.name}: it is not what its manifest tells of; it was changed or damaged"
                )
                raise BackupVerificationError(msg)
            found[path] = entry
        if directory is not None:
            await thread.run(_refuse_missing, tables, manifest_of_directory(directory), form)
        return found


def _entry_of(path: Path, listed: dict[Path, dict[str, TableEntry]]) -> TableEntry | None:
    """Return what the manifests tell of a file, None if they do not."""
    own = manifest_of_file(path)
    if own.exists():
        return _entries(own).get(path.name) or _refuse_unknown(path)
    shared = manifest_of_directory(path.parent)
    if shared not in listed:
        listed[shared] = _entries(shared) if shared.exists() else {}
    return listed[shared].get(path.name)


def _refuse_unknown(path: Path) -> TableEntry:
    msg = f"{path.name}: the manifest beside it is of another file"
    raise BackupVerificationError(msg)


def _refuse_missing(tables: Mapping[Path, str], manifest: Path, form: str | None) -> None:
    there = {path.name for path in tables}
    listed = _entries(manifest) if manifest.exists() else {}
    # Another format may be exported into the same directory.
    missing = {
        name
        for name, entry in listed.items()
        if name not in there
        and (form is None or name.removeprefix(entry.table).split(".")[1:2] == [form])
    }
    if missing:
        msg = f"files of the manifest are missing: {', '.join(sorted(missing))}"
        raise BackupVerificationError(msg)


def _entries(path: Path) -> dict[str, TableEntry]:
    """Return what a manifest tells, by file."""
    with open_file(path) as file:
        content = file.read(MOST_BYTES + 1)
    if not is_ours(content):
        msg = f"{path} is no manifest of ours; move it away, or the files to be imported"
        raise BackupVerificationError(msg)
    manifest = Manifest.parse(content)
    return {entry.file: entry for entry in manifest.tables if entry.file is not None}
