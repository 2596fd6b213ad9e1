"""Run one server as a child, and end it when the process that asked for it ends.

Run as a script with a JSON specification as its only argument. It prints the
server's process id, then waits for the first of two events: the server ends,
or standard input is closed - which happens whenever the parent goes, be it by
Ctrl-C or by SIGKILL. In the second case it ends the server and removes its
files. It uses nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_PATIENCE_S = 5.0


def run(specification: dict[str, Any]) -> int:
    """Run the server to its end and return its exit status."""
    with Path(specification["log"]).open("ab") as log:
        server = subprocess.Popen(
            specification["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=specification["directory"],
            env=os.environ | specification["environment"],
            process_group=0,
            **specification["identity"],
        )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    abandoned = threading.Event()

    def end(*_: object) -> None:
        abandoned.set()
        _end(server, specification["end_signal"])

    def end_with_parent() -> None:
        sys.stdin.read()  # nothing ever comes; it returns when the parent is gone
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_parent, daemon=True).start()
    status = server.wait()
    if abandoned.is_set():
        shutil.rmtree(specification["directory"], ignore_errors=True)
    return status


def _end(server: subprocess.Popen[bytes], number: int) -> None:
    _signal_group(server, signal.SIGCONT)  # a frozen process takes no other signal
    server.send_signal(number)
    timer = threading.Timer(_PATIENCE_S, _signal_group, (server, signal.SIGKILL))
    timer.daemon = True
    timer.start()


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        return  # it has ended meanwhile, which is what we want


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
