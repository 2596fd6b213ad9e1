"""The text of values and rows: the same bytes on every backend."""
