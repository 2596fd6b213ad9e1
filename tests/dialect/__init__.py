"""SQLAlchemy's compliance suite for third-party dialects, on ours and on the stock one.

Run by ``make test-dialect``, in a pytest of its own: its plugin changes how all
tests are collected.
"""
