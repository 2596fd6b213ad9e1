"""MySQL and MariaDB: what their servers do to a transaction, and what they leave running."""
