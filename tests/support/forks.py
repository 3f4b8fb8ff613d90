"""A process that is forked from the tests and runs one function."""

from __future__ import annotations

import multiprocessing
import os


class Fork(multiprocessing.get_context("fork").Process):  # type: ignore[misc]
    """Ends with its function: 0, or 1 where that raised.

    What libraries that other tests have imported do at the end of a process (threads of Prefect's, say) is not for a
    process that has none of their threads: it fails there, or waits.
    """

    def run(self) -> None:
        super().run()
        os._exit(0)
