"""The libraries that are compared, one file each.

A file here with a tuple ``PEERS`` of :class:`~benchmarks.peers.peer.Peer`
classes takes part; one whose library is not installed is reported as absent.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.peers.peer import Peer


def load_peers() -> tuple[list[type[Peer]], dict[str, str]]:
    """Return the peers that are installed, and the reason for each that is not."""
    peers: list[type[Peer]] = []
    absent: dict[str, str] = {}
    for found in pkgutil.iter_modules(__path__):
        try:
            module = importlib.import_module(f"{__name__}.{found.name}")
        except ImportError as error:
            absent[found.name.replace("_", " ")] = str(error)
        else:
            peers += getattr(module, "PEERS", ())
    return peers, absent
