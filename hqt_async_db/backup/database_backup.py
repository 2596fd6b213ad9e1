"""DatabaseBackup: backup, export and import of one database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from hqt_async_db.backup import backups, export, imports, restore, statistics, verify
from hqt_async_db.backup.imports import ImportOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from hqt_async_db.backup.backups import BackupFormat
    from hqt_async_db.backup.export import AnyPath, FileFormat
    from hqt_async_db.backup.imports import CsvImportChoices, ImportChoices
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.restore import RestoredBackup
    from hqt_async_db.backup.verify import VerifiedBackup
    from hqt_async_db.connection.manager import DatabaseManager


class _Options(TypedDict):
    """What every export of one table takes."""

    columns: Iterable[str] | None
    progress: ProgressCallback | None
    filters: Mapping[str, Any]


class DatabaseBackup:
    """Everything that leaves a database as files, or comes back from them.

    Exports see one consistent snapshot while others go on writing, keep no
    more than some blocks of rows in memory and the event loop free. A file
    appears under its name whole or not at all, with mode 0600 and, in a
    directory that is made where it is missing, 0700. Beside a file lies its
    manifest, ``users.csv.manifest.json``; the files of
    :meth:`export_all_tables` share one, ``manifest.json``. It holds the
    revision of the schema, the number of rows and the SHA-256 of each file.

    The name decides about compression: ``users.csv.gz``, ``users.csv.zst``.
    The same rows make the same bytes on every backend, but in Parquet.

    Args:
        db: The database.
    """

    def __init__(self, db: DatabaseManager) -> None:
        self._db = db

    async def backup_database(
        self,
        directory: AnyPath,
        *,
        format: BackupFormat | None = None,  # noqa: A002 - the word that users expect
        tools_dir: AnyPath | None = None,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Back up the database; see :func:`~hqt_async_db.backup.backups.backup_database`."""
        return await backups.backup_database(
            self._db, directory, format=format, tools_dir=tools_dir, progress=progress
        )

    async def verify_backup(
        self,
        path: AnyPath,
        *,
        tools_dir: AnyPath | None = None,
        progress: ProgressCallback | None = None,
    ) -> VerifiedBackup:
        """Verify a backup; see :func:`~hqt_async_db.backup.verify.verify_backup`."""
        return await verify.verify_backup(path, db=self._db, tools_dir=tools_dir, progress=progress)

    async def restore_database(
        self,
        path: AnyPath,
        *,
        confirm: bool = False,
        timeout_s: float = 30.0,
        tools_dir: AnyPath | None = None,
        progress: ProgressCallback | None = None,
    ) -> RestoredBackup:
        """Restore a backup; see :func:`~hqt_async_db.backup.restore.restore_database`."""
        return await restore.restore_database(
            self._db,
            path,
            confirm=confirm,
            timeout_s=timeout_s,
            tools_dir=tools_dir,
            progress=progress,
        )

    async def export_table_to_json(
        self,
        table: str,
        path: AnyPath,
        /,
        *,
        columns: Iterable[str] | None = None,
        progress: ProgressCallback | None = None,
        **filters: Any,
    ) -> int:
        """Write the rows of a table as one JSON array, a line for each.

        Money is text there, which keeps it exact; times are ISO 8601 in UTC.

        Args:
            table: Name of the table.
            path: The file; one that is there is replaced at the end, unless
                it is one of :meth:`export_all_tables`, whose manifest names it.
            columns: Names of the columns, in their order; None for all.
            progress: Called now and then, and at the end.
            filters: ``column=value``; None asks for NULL, and JSON takes no
                other value.

        Returns:
            The number of rows, which are in the order of the primary key.

        Raises:
            InvalidInputError: There is no such table or column, a value does
                not fit it, or the file is one of an export of all tables.
            BackupError: The file could not be written.
            StorageFullError: There is no space left.
        """
        options: _Options = {"columns": columns, "progress": progress, "filters": filters}
        return await export.export_table(self._db, table, path, "json", **options)

    async def export_table_to_jsonl(
        self,
        table: str,
        path: AnyPath,
        /,
        *,
        columns: Iterable[str] | None = None,
        progress: ProgressCallback | None = None,
        **filters: Any,
    ) -> int:
        """Write the rows of a table as JSON Lines, one object a line.

        Its values are those of :meth:`export_table_to_json`, as are the arguments.
        """
        options: _Options = {"columns": columns, "progress": progress, "filters": filters}
        return await export.export_table(self._db, table, path, "jsonl", **options)

    async def export_table_to_csv(
        self,
        table: str,
        path: AnyPath,
        /,
        *,
        columns: Iterable[str] | None = None,
        progress: ProgressCallback | None = None,
        formula_guard: bool = False,
        **filters: Any,
    ) -> int:
        """Write the rows of a table as CSV, with a header.

        NULL is nothing, the empty text ``""``; what else is as for
        :meth:`export_table_to_json`.

        Args:
            table: As there, like ``path``, ``columns``, ``progress`` and ``filters``.
            path: The file.
            columns: Their names.
            progress: The callback.
            formula_guard: Put a ``'`` before text that a spreadsheet would
                take for a formula, and before text that begins with one. The
                manifest says so, and an import takes it off.
            filters: ``column=value``.
        """
        options: _Options = {"columns": columns, "progress": progress, "filters": filters}
        return await export.export_table(
            self._db, table, path, "csv", formula_guard=formula_guard, **options
        )

    async def export_table_to_parquet(
        self,
        table: str,
        path: AnyPath,
        /,
        *,
        columns: Iterable[str] | None = None,
        progress: ProgressCallback | None = None,
        **filters: Any,
    ) -> int:
        """Write the rows of a table as Parquet; needs the extra ``parquet``.

        Columns have their types: microseconds in UTC, decimal128(28, 8), double,
        int64, bool, and text for JSON. The arguments are those of
        :meth:`export_table_to_json`.

        Raises:
            ConfigurationError: The extra is not installed.
        """
        options: _Options = {"columns": columns, "progress": progress, "filters": filters}
        return await export.export_table(self._db, table, path, "parquet", **options)

    async def export_all_tables(
        self,
        directory: AnyPath,
        format: FileFormat = "json",  # noqa: A002 - the name it has had
        *,
        compression: str | None = None,
        formula_guard: bool = False,
        progress: ProgressCallback | None = None,
    ) -> dict[str, int]:
        """Write every table to a file of its own, all of the same moment.

        Files are replaced together at the end, ``manifest.json`` last: where
        it does not fit the files, an import notices. Manifests that single
        files of these names had are removed.

        Args:
            directory: Where to; made if it is missing.
            format: ``json``, ``jsonl``, ``csv`` or ``parquet``.
            compression: ``gzip``, ``zstd`` (an extra) or None; not for Parquet.
            formula_guard: As for :meth:`export_table_to_csv`, for CSV only.
            progress: Called now and then, and at the end of each table.

        Returns:
            The number of rows by table, those referenced before those that
            refer.

        Raises:
            InvalidInputError: The format or the compression is unknown, or
                formulas are to be guarded against in another format than CSV.
            ConfigurationError: An extra is not installed.
            BackupError: A file could not be written.
        """
        return await export.export_all_tables(
            self._db,
            directory,
            format,
            compression=compression,
            formula_guard=formula_guard,
            progress=progress,
        )

    async def import_table_from_json(
        self, table: str, path: AnyPath, /, **options: Unpack[ImportChoices]
    ) -> int:
        """Read the rows of a table from a JSON array of objects, all or none.

        Every object has the keys of the first, each the name of a column. A
        column that is missing gets its default. Rows are checked as they are
        read, and constraints before anything is committed. A manifest beside
        the file is compared with it before. On SQLite the rows wait in a
        temporary file, so that other writers wait for the last step only.

        Args:
            table: Name of the table.
            path: The file; ``.gz`` and ``.zst`` are decompressed.
            options: ``replace=True`` updates the rows whose primary key the
                file has, and deletes the others, which is refused where one
                of those is referenced; ``upsert=True`` only updates;
                ``require_manifest=True`` refuses a file without a manifest;
                ``progress`` is called now and then, and at the end.

        Returns:
            The number of rows read.

        Raises:
            ImportDataError: The file, or a row of it, does not fit; names the
                row, counted from 1, and the column. Nothing was written.
            BackupVerificationError: The file is not what its manifest says.
            InvalidInputError: There is no such table.
            ConfigurationError: An extra is not installed.
        """
        return await imports.import_table(self._db, table, path, "json", ImportOptions(**options))

    async def import_table_from_jsonl(
        self, table: str, path: AnyPath, /, **options: Unpack[ImportChoices]
    ) -> int:
        """Read the rows of a table from JSON Lines, one object a line.

        What else is as for :meth:`import_table_from_json`.
        """
        return await imports.import_table(self._db, table, path, "jsonl", ImportOptions(**options))

    async def import_table_from_csv(
        self, table: str, path: AnyPath, /, **options: Unpack[CsvImportChoices]
    ) -> int:
        """Read the rows of a table from CSV in UTF-8 whose header names columns.

        A field that is empty is NULL, one that is ``""`` the empty text. Times
        are ISO 8601, in UTC where they have no zone. The first row after the
        header is row 1. What else is as for :meth:`import_table_from_json`.

        Args:
            table: Name of the table.
            path: The file.
            options: As there; ``formula_guard=True`` takes the apostrophe off
                that text begins with. Where a manifest tells of it, it is
                taken off, or left, as that says.
        """
        return await imports.import_table(self._db, table, path, "csv", ImportOptions(**options))

    async def import_table_from_parquet(
        self, table: str, path: AnyPath, /, **options: Unpack[ImportChoices]
    ) -> int:
        """Read the rows of a table from Parquet; needs the extra ``parquet``.

        What else is as for :meth:`import_table_from_json`.
        """
        return await imports.import_table(
            self._db, table, path, "parquet", ImportOptions(**options)
        )

    async def import_all_tables(
        self,
        directory: AnyPath,
        format: FileFormat | None = None,  # noqa: A002 - the name it has in exports
        **options: Unpack[ImportChoices],
    ) -> dict[str, int]:
        """Read every table that has a file in a directory, in one transaction.

        The order of the files does not matter; one that is a symbolic link is
        refused. What else is as for :meth:`import_table_from_json`.

        Args:
            directory: Where the files are, named ``<table>.<format>``.
            format: ``json``, ``jsonl``, ``csv`` or ``parquet``; None for any.
            options: As there, for the tables that have a file.

        Returns:
            The number of rows by table.
        """
        return await imports.import_all_tables(
            self._db, directory, format, ImportOptions(**options)
        )

    async def get_database_stats(self) -> dict[str, Any]:
        """Return how many rows there are, how large they are and from when.

        Counts and times are of one moment. Every table is read once, so that
        a large database takes some seconds. Sizes include the indexes; MySQL
        and MariaDB know them only roughly.

        Returns:
            ``total_rows``, ``tables`` (rows of each), ``size_bytes`` (of the
            database), ``table_bytes`` (of each; None where this SQLite cannot
            tell), ``oldest`` and ``newest`` (of each: when its first and its
            last row are from, None without any), ``time_columns`` (which
            column of each says so: ``created_at``, ``timestamp`` or
            ``entry_time``; None where a model of one's own has none of them).
        """
        return await statistics.get_database_stats(self._db)
