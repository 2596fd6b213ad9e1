"""The revision scripts: where they lie, and which of them lead where."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic.runtime.migration import MigrationStep, RevisionStep
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from hqt_async_db.errors import ConfigurationError, InvalidInputError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.script import Script

_PACKAGE: Final = Path(__file__).resolve().parents[1]
# In a wheel the scripts lie inside the package; in a checkout, which an
# editable install points to, beside it.
_PLACES: Final = (_PACKAGE / "_alembic", _PACKAGE.parent / "alembic")


@dataclass(frozen=True, slots=True)
class Revision:
    """One step in the history of the schema.

    Attributes:
        revision: Identifier, as the database stores it.
        down_revision: The revision before it, None for the first.
        description: First line of the script's docstring.
        is_head: Whether it is the newest one that this version knows.
        is_current: Whether the database is at it; None if none was asked.
    """

    revision: str
    down_revision: str | None
    description: str
    is_head: bool
    is_current: bool | None = None


def script_location() -> Path:
    """Return the directory that holds ``env.py`` and ``versions``.

    Raises:
        ConfigurationError: The installation lacks the migration scripts.
    """
    for place in _PLACES:
        # Beside an installed package, "alembic" is the library of that name.
        if (place / "versions").is_dir() and (place / "env.py").is_file():
            return place
    msg = "the migration scripts are missing from this installation of hqt-async-db; reinstall it"
    raise ConfigurationError(msg)


async def load_scripts() -> ScriptDirectory:
    """Read and execute every revision script, in a thread.

    Raises:
        ConfigurationError: As :func:`script_location`.
    """
    return await asyncio.to_thread(_load)


def _load() -> ScriptDirectory:
    scripts = ScriptDirectory(script_location())
    head_of(scripts)  # alembic reads the files when first asked something
    return scripts


def head_of(scripts: ScriptDirectory) -> str:
    """Return the newest revision; there is exactly one."""
    head = scripts.get_current_head()
    if head is None:
        msg = f"there is no revision in {scripts.versions}"
        raise ConfigurationError(msg)
    return head


def history_of(scripts: ScriptDirectory) -> list[Revision]:
    """Return every revision, newest first."""
    head = head_of(scripts)
    return [describe(script, head) for script in scripts.walk_revisions()]


def describe(script: Script, head: str) -> Revision:
    """Return what users see of a script."""
    down = script.down_revision
    return Revision(
        revision=script.revision,
        down_revision=down if isinstance(down, str) else None,
        description=script.doc,
        is_head=script.revision == head,
    )


def refuse_unknown(scripts: ScriptDirectory, current: str | None) -> None:
    """Refuse a database that a newer version, or something else, migrated.

    Raises:
        SchemaMismatchError: No script has the revision ``current``.
    """
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        msg = (
            f"the database is at revision {current}, which this version of hqt-async-db does "
            f"not know (its newest is {head_of(scripts)}); a newer version, or another program, "
            "made this schema: install that version, or restore a backup from before. If it is "
            "the revision of another Alembic project, give that project a version_table of its own"
        )
        raise SchemaMismatchError(msg)


def upgrade_steps(scripts: ScriptDirectory, target: str, current: str | None) -> list[RevisionStep]:
    """Return the steps that lead from ``current`` up to ``target``, in order.

    Raises:
        InvalidInputError: ``target`` is no revision at or above ``current``.
    """
    with _refusing("upgrade", target, current):
        # "()" rather than None: a relative target counts from the very base.
        found = list(scripts.iterate_revisions(target, current or (), implicit_base=True))
        if not found and resolve(scripts, target) != current:
            msg = "it is below; downgrade instead"
            raise RevisionError(msg)
        return [
            MigrationStep.upgrade_from_script(scripts.revision_map, script)
            for script in reversed(found)
        ]


def downgrade_steps(
    scripts: ScriptDirectory, target: str, current: str | None
) -> list[RevisionStep]:
    """Return the steps that lead from ``current`` down to ``target``, in order.

    Raises:
        InvalidInputError: ``target`` is no revision at or below ``current``.
    """
    with _refusing("downgrade", target, current):
        found = scripts.iterate_revisions(current, target, select_for_downgrade=True)
        return [
            MigrationStep.downgrade_from_script(scripts.revision_map, script) for script in found
        ]


def resolve(scripts: ScriptDirectory, target: str) -> str | None:
    """Return the full identifier of ``target``, or None for ``base``.

    Raises:
        InvalidInputError: No script, or more than one, matches ``target``.
    """
    with _refusing("stamp", target, None):
        if target == "base":
            return None
        return scripts.get_revision(target).revision


@contextmanager
def _refusing(verb: str, target: str, current: str | None) -> Iterator[None]:
    if not target:
        msg = f"cannot {verb} to a revision without a name"  # alembic would take it for "base"
        raise InvalidInputError(msg, field="revision")
    try:
        yield
    # alembic only asserts that "name-n" is none of the revisions below the first one.
    except (CommandError, RevisionError, AssertionError) as error:
        why = str(error) or "there is no such revision"
        msg = f"cannot {verb} from {current or 'base'} to {target!r}: {why}"
        raise InvalidInputError(msg, field="revision") from None
