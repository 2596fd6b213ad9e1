"""Rows on their way into a database, all or none."""
