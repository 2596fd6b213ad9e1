"""The commands about backups: backup, verify, restore, prune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hqt_async_db.backup import DatabaseBackup, names, prune_backups, verify_backup
from hqt_async_db.backup.backups import BackupFormat
from hqt_async_db.cli.options import AsJson, Url
from hqt_async_db.cli.printing import print_json, print_table, say
from hqt_async_db.cli.progress import bars
from hqt_async_db.cli.running import run, run_with
from hqt_async_db.errors import BackupError, BackupVerificationError, InvalidInputError

if TYPE_CHECKING:
    from hqt_async_db.backup import RestoredBackup, VerifiedBackup
    from hqt_async_db.connection.manager import DatabaseManager

_WITHOUT_SERVER = {f".{names.SQLITE}", f".{names.ARCHIVE}"}
File = Annotated[Path, typer.Argument(help="The backup.")]
ToolsDir = Annotated[
    Path | None,
    typer.Option(help="Where pg_dump and pg_restore are, if not on PATH or in HQT_PG_BIN."),
]


def backup(
    directory: Annotated[Path, typer.Argument(help="Where to; made if it is missing.")],
    *,
    form: Annotated[
        BackupFormat | None,
        typer.Option(
            "--format",
            help="native (a SQLite file, a pg_dump) or archive (restorable into any database); "
            "by default native where there is one.",
        ),
    ] = None,
    tools_dir: ToolsDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write a new backup, while others go on writing."""

    async def work(db: DatabaseManager) -> Path:
        return await DatabaseBackup(db).backup_database(
            directory, format=form, tools_dir=tools_dir, progress=tell
        )

    with bars() as tell:
        path = run_with(work, url)
    if as_json:
        print_json({"path": path})
    else:
        say(path)


def verify(
    paths: Annotated[list[Path], typer.Argument(help="The backups.")],
    *,
    tools_dir: ToolsDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Restore backups into scratch and compare them; exit with 3 if one is damaged.

    Only what pg_dump wrote needs a database, for its server.
    """
    found: list[VerifiedBackup] = []
    refused: list[BackupError] = []

    async def work(db: DatabaseManager | None = None) -> None:
        for path in paths:
            try:
                found.append(await verify_backup(path, db=db, tools_dir=tools_dir, progress=tell))
            except BackupError as error:  # the others may be whole
                refused.append(error)

    with bars() as tell:
        if url is None or all(path.suffix in _WITHOUT_SERVER for path in paths):
            run(work)
        else:
            run_with(work, url, may_create=True)
    if not as_json:
        for backup in found:
            _tell_verified(backup)
    if refused:
        raise _all_of(refused)
    if as_json:
        print_json({"backups": [_facts(backup) for backup in found]})


def _tell_verified(found: VerifiedBackup) -> None:
    print_table(("table", "rows"), found.rows.items())
    say(
        f"{found.path} is whole: {sum(found.rows.values()):,} rows "
        f"of {found.created_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _facts(found: VerifiedBackup) -> dict[str, Any]:
    return {
        "path": found.path,
        "tables": dict(found.rows),
        "restored_into": found.restored_into,
    }


def _all_of(errors: list[BackupError]) -> BackupError:
    """Return one error that tells of all, one about damage before others."""
    first, *others = sorted(errors, key=lambda one: not isinstance(one, BackupVerificationError))
    for other in others:
        first.add_note("\n".join([str(other), *getattr(other, "__notes__", ())]))
    return first


def restore(
    path: File,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it: what the database holds now is replaced.")
    ] = False,
    tools_dir: ToolsDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Replace what the database holds by a backup, once that is verified."""
    if not yes:
        hint = "a restore replaces everything in the database; add --yes if you mean it"
        raise InvalidInputError(hint, field="yes")

    async def work(db: DatabaseManager) -> RestoredBackup:
        return await DatabaseBackup(db).restore_database(
            path, confirm=True, tools_dir=tools_dir, progress=tell
        )

    with bars() as tell:
        found = run_with(work, url, may_create=True)
    if as_json:
        print_json({"path": path, "tables": dict(found.rows), "safety_backup": found.safety_backup})
        return
    say(f"{sum(found.rows.values()):,} rows restored from {path}")
    if found.safety_backup is not None:
        say(f"what was there before is in {found.safety_backup}")


def prune(
    directory: Annotated[Path, typer.Argument(help="Where the backups are.")],
    *,
    keep: Annotated[int, typer.Option(help="How many of the newest to keep.")] = 7,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete old backups; the newest verified one always stays. It needs no database."""
    del url  # taken as by every command
    deleted = run(lambda: prune_backups(directory, keep))
    if as_json:
        print_json({"deleted": [str(path) for path in deleted]})
        return
    for path in deleted:
        say(f"deleted {path}")
    say(f"{len(deleted)} deleted")
