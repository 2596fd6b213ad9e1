"""What every test of the suite starts from."""

from __future__ import annotations

import gc
import os
import time

import pytest
from hypothesis import settings

from tests.servers.shared import SharedServers

pytest_plugins = ["tests.fixtures.backends", "tests.fixtures.leaks", "tests.fixtures.managers"]

# Before the oldest objects are looked at once more.
_YOUNGER_COLLECTIONS = 300
_SERVERS = pytest.StashKey[SharedServers]()
# The machine may be busy, so no deadline per example; a failure prints how to repeat it.
settings.register_profile("hqt", deadline=None, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run: a local time far from UTC, no database of the user's, our servers."""
    os.environ["TZ"] = "EST5EDT,M3.2.0,M11.1.0"
    time.tzset()
    os.environ.pop("HQT_DATABASE_URL", None)
    settings.load_profile("hqt")
    if not hasattr(config, "workerinput"):
        servers = config.stash[_SERVERS] = SharedServers()
        if config.getoption("numprocesses", None):
            servers.prepare()  # while the workers start and collect


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage where tests are read, which stay."""
    if hasattr(session.config, "workerinput"):
        gc.disable()


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives as long as the run, and often the rest, too.

    To look through all of it again and again took a quarter of the time.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _YOUNGER_COLLECTIONS)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that the run started."""
    if _SERVERS in config.stash:
        config.stash[_SERVERS].close()
