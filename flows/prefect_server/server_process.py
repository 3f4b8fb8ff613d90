"""The process `prefect server start` runs in: it ends with the process that started it, even when that one is killed.

Started by server.py as `python -m nightboard.flows.prefect_server.server_process ARGUMENTS`, with a pipe as its
standard input.
Imports nothing of nightboard.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

GRACE_S = 5.0


def main() -> None:
    """Become `prefect server start ARGUMENTS`."""
    threading.Thread(target=end_with_parent, daemon=True, name="end-with-parent").start()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    from prefect.cli import app

    app()


def end_with_parent() -> None:
    """Wait for the pipe to close: the kernel does that for every way a process can end, on Linux and macOS alike."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
