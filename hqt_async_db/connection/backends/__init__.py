"""Backends: what differs between the database systems."""
