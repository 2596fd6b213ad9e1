"""${message}

Revision ID: ${up_revision}
Revises:${' ' if down_revision else ''}${down_revision | comma,n}
Create Date: ${create_date}
"""
# ruff: noqa: INP001 - an __init__.py here would shadow the alembic package

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
% for line in sorted((imports or "").splitlines()):
${line}
% endfor

revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}
% if "text(" in (upgrades or "") + (downgrades or ""):


def text(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Return text in code-point order; the collation depends on the server."""
    mariadb = getattr(op.get_context().dialect, "is_mariadb", False)
    collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
    kind = sa.Text if length is None else sa.String
    on_mysql: sa.String = mysql.LONGTEXT(charset="utf8mb4", collation=collation)
    if length is not None:
        on_mysql = mysql.VARCHAR(length, charset="utf8mb4", collation=collation)
    variants = kind(length).with_variant(kind(length, collation="C"), "postgresql")
    return variants.with_variant(on_mysql, "mysql", "mariadb")
% endif


def upgrade() -> None:
    """Apply the change."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo the change."""
    ${downgrades if downgrades else "pass"}
