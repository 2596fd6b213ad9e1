"""Executors: how the statements of repositories run, in a session or as one shot."""
