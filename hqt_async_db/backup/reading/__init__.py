"""Ways to read rows as canonical text: one for any database, and quicker ones."""
