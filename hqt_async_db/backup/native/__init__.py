"""Backups of the databases' own kinds: SQLite files, and what pg_dump writes."""
