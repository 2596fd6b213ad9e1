"""The commands about the schema: init, upgrade, downgrade, current, history, check."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hqt_async_db import migrations
from hqt_async_db.cli.options import AsJson, Url
from hqt_async_db.cli.printing import print_json, print_table, say
from hqt_async_db.cli.running import missing_file, run_with
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager

_BASE = "base"


def init(*, url: Url = None, as_json: AsJson = False) -> None:
    """Create the schema in an empty database; do nothing where it is the newest."""

    async def create(db: DatabaseManager) -> str | None:
        await db.create_all()
        return await migrations.current(db)

    revision = run_with(create, url, may_create=True)
    _tell({"revision": revision}, f"The schema is at revision {revision}.", as_json=as_json)


def upgrade(
    revision: Annotated[str, typer.Argument(help="head, a revision, or +1 for the next.")] = "head",
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Bring an older schema up to date. Take a backup before."""
    new_file = missing_file(url)
    applied = run_with(lambda db: migrations.upgrade(db, revision), url, may_create=True)
    _tell_steps("applied", applied, as_json=as_json)
    if new_file is not None and not as_json:
        say(f"The database file {new_file} was not there, and is new.")


def downgrade(
    revision: Annotated[str, typer.Argument(help="base, a revision, or -1 for the one before.")],
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it: what newer revisions added is lost.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Take the schema back; what newer revisions added is lost with its rows."""
    if not yes:
        hint = "a downgrade drops tables or columns with what they hold; add --yes if you mean it"
        raise InvalidInputError(hint, field="yes")
    undone = run_with(lambda db: migrations.downgrade(db, revision), url)
    _tell_steps("undone", undone, as_json=as_json)


def current(*, url: Url = None, as_json: AsJson = False) -> None:
    """Print the revision of the database, base if it has none."""
    revision = run_with(migrations.current, url)
    _tell({"revision": revision}, revision or _BASE, as_json=as_json)


def history(*, url: Url = None, as_json: AsJson = False) -> None:
    """List the revisions that this version knows, the newest first."""
    revisions = run_with(migrations.history, url)
    if as_json:
        print_json([asdict(revision) for revision in revisions])
        return
    print_table(
        ("revision", "after", "what", "current"),
        (
            (one.revision, one.down_revision or _BASE, one.description, bool(one.is_current))
            for one in revisions
        ),
    )


def check(*, url: Url = None, as_json: AsJson = False) -> None:
    """Compare the database with the models; exit with 3 where they differ."""
    run_with(migrations.check, url)
    _tell({"matches": True}, "The schema is the one of the models.", as_json=as_json)


def _tell_steps(done: str, steps: list[migrations.Revision], *, as_json: bool) -> None:
    names = [step.revision for step in steps]
    _tell({done: names}, f"{done}: {', '.join(names) or 'nothing to do'}", as_json=as_json)


def _tell(facts: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        say(sentence)
