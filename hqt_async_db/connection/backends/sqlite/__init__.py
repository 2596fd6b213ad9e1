"""SQLite: a dialect of one hop per statement, and a queue for its writers."""
