"""The suites, one file each; see :mod:`benchmarks.suite`."""
