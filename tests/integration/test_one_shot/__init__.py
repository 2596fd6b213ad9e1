"""One-shot calls: their short way does what the plain one does."""
