"""Run the benchmarks: ``python -m benchmarks --help``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Not above: the processes that scale starts import this file too.
    from benchmarks.cli import main

    sys.exit(main(sys.argv[1:]))
