"""The connection layer: sessions, isolation, concurrency, cancellation, life and end."""
