"""Manifests: what a set of files holds, checked against itself and against them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.errors import BackupVerificationError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT_VERSION: Final = 1
# What an import or a restore reads into memory at most; one of ours has a few KB.
MOST_BYTES: Final = 1_048_576
_CHECKSUM: Final = "checksum"
_VERSION: Final = "format_version"
# What came later than the rest of an entry; written only where it is known.
_LATER: Final = {"formula_guard": bool, "columns": str}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def _library_version() -> str:
    try:
        return importlib.metadata.version("hqt-async-db")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"


_LIBRARY_VERSION: Final = _library_version()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """One table of a manifest.

    Attributes:
        table: Name of the table.
        rows: How many rows there are of it.
        file: Name of its file, in the manifest's directory; None where all
            tables share one.
        sha256: Hash of that file, as it is on the disk. Without a file of its
            own: of the table's canonical JSON Lines, or None.
        formula_guard: Whether the text of its CSV is marked against
            spreadsheets; None where it is no CSV.
        columns: What the text of its rows depends on, for a table of the
            application's own in a backup; None where the revision tells.
    """

    table: str
    rows: int
    file: str | None = None
    sha256: str | None = None
    formula_guard: bool | None = None
    columns: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What some files hold, and when, by what and from where they were made.

    Attributes:
        kind: ``export``, or the kind of backup.
        created_at: When, in UTC.
        backend: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``.
        revision: The revision of the schema, None if it was never stamped.
        tables: The tables, those referenced before those that refer.
        file: Name of the one file of all tables, if there is one.
        sha256: Hash of that file.
        library_version: Which version of this library wrote them.
        format_version: Which version of this format it is.
    """

    kind: str
    backend: str
    revision: str | None
    tables: tuple[TableEntry, ...]
    file: str | None = None
    sha256: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    library_version: str = _LIBRARY_VERSION
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Return its text, which carries a checksum of itself."""
        content = asdict(self) | {
            "created_at": self.created_at.isoformat(),
            "tables": [_told(asdict(entry)) for entry in self.tables],
        }
        return _text(content | {_CHECKSUM: hashlib.sha256(_text(content)).hexdigest()})

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Return the manifest of a text; a single changed byte is refused.

        Raises:
            BackupVerificationError: It is no manifest, it was changed, or a
                newer version of this library wrote it.
        """
        values = _parsed(content)
        is_of_version = isinstance(values, dict) and _VERSION in values
        if is_of_version and values[_VERSION] != FORMAT_VERSION:
            msg = "the manifest has a format that this version does not know; use a newer one"
            raise BackupVerificationError(msg)
        manifest = _made_of(values)
        if manifest is None or not _is_text_of(manifest, content):
            msg = "the manifest is damaged, or none of ours"
            raise BackupVerificationError(msg)
        return manifest


def is_ours(content: bytes) -> bool:
    """Tell whether a text may be a manifest of ours, of whatever version or damaged."""
    return not content or f'"{_VERSION}"'.encode() in content


def manifest_of_file(path: Path) -> Path:
    """Return where the manifest of a single file is: ``<name>.manifest.json``.

    Raises:
        InvalidInputError: The path is that of a directory, such as ``.``.
    """
    if not path.name:
        msg = f"{path} is a directory; name a file"
        raise InvalidInputError(msg, field="path")
    return path.with_name(f"{path.name}.manifest.json")


def manifest_of_directory(directory: Path) -> Path:
    """Return where the manifest of a directory's files is: ``manifest.json``."""
    return directory / "manifest.json"


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what is written of an entry."""
    return {name: value for name, value in entry.items() if name not in _LATER or value is not None}


def _parsed(content: bytes) -> Any:
    if len(content) > MOST_BYTES:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _is_text_of(manifest: Manifest, content: bytes) -> bool:
    try:
        return manifest.to_bytes() == content
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape
        return False


def _made_of(values: Any) -> Manifest | None:
    """Return the manifest with these values, None if they are not of the right kind."""
    names = {field.name for field in fields(Manifest)} | {_CHECKSUM}
    if not isinstance(values, dict) or values.keys() != names or not _is_sound(values):
        return None
    tables = values["tables"]
    if not isinstance(tables, list) or not all(map(_is_entry, tables)):
        return None
    try:
        created_at = datetime.fromisoformat(values["created_at"])
    except (TypeError, ValueError):
        return None
    entries = tuple(TableEntry(**entry) for entry in tables)
    given = {name: value for name, value in values.items() if name != _CHECKSUM}
    return Manifest(**given | {"created_at": created_at, "tables": entries})


def _is_sound(values: Mapping[str, Any]) -> bool:
    texts = [values["kind"], values["backend"], values["library_version"], values["revision"] or ""]
    return all(isinstance(text, str) for text in texts) and _is_of_file(values)


def _is_entry(values: Any) -> bool:
    names = {field.name for field in fields(TableEntry)}
    return (
        isinstance(values, dict)
        and values.keys() | _LATER.keys() == names
        and all(isinstance(values.get(name), kind | None) for name, kind in _LATER.items())
        and isinstance(values["table"], str)
        and type(values["rows"]) is int
        and values["rows"] >= 0
        and _is_of_file(values)
    )


def _is_of_file(values: Mapping[str, Any]) -> bool:
    """Tell whether file and hash are a plain name and a hash, or missing."""
    file, sha256 = values["file"], values["sha256"]
    is_name = file is None or (
        isinstance(file, str) and "\0" not in file and PurePath(file).parts == (file,)
        and file not in {".", ".."}
    )  # fmt: skip
    is_hash = sha256 is None or (isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None)
    return is_name and is_hash
