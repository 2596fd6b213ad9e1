"""What this library costs, beside the bare drivers and beside its neighbours.

``python -m benchmarks`` runs the suites in ``benchmarks/suites``; a further
suite is one more file there. ``benchmarks/peers`` has one file for each
library that is compared. Nothing here is part of the package.
"""
