"""Repositories: awaited queries, one class per model."""
