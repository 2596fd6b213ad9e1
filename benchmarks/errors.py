"""What ends a run, each with a message of one line."""

from __future__ import annotations


class BenchmarkError(Exception):
    """The benchmarks cannot do what was asked; the message says why."""


class WrongWorkError(BenchmarkError):
    """Somebody's work is not in the database, or not what was asked for.

    Figures of work that was not done mean nothing, so the run ends.
    """
