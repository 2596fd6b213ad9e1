"""Values written on every backend, read over a new connection, and compared."""
