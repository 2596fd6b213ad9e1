"""The portable archive: rows of every table, for any backend."""
