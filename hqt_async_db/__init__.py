"""Async-first data access for trading systems."""
