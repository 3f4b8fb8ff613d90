"""What a node of these tests loads first: it counts the model's calls, and brings the trouble that a test asks for.

The folder that holds it under the name sitecustomize.py is put on the nodes' PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

NODE_CODE = Path(__file__)


def install(folder: Path) -> None:
    """Let `open_model` give models that write a line a call to <folder>/calls."""
    module = importlib.import_module("nightboard.tasks.evaluation.job")
    load = module.open_model

    def load_counted(run: Any) -> Any:
        model = load(run)
        call = model._model_call

        def counted(*arguments: Any, **options: Any) -> Any:
            with (folder / "calls").open("a") as file:
                file.write(f"{os.getpid()}\n")
            if (pause := folder / "slow").exists():
                time.sleep(float(pause.read_text()))
            hold = folder / "hold"
            with contextlib.suppress(FileNotFoundError):
                while len((folder / "calls").read_text().splitlines()) >= int(hold.read_text()):
                    time.sleep(0.1)
            if (greedy := folder / "greedy").exists():
                greedy.unlink()
                kept = [bytearray(50_000_000) for _ in range(200)]
                time.sleep(len(kept))
            return call(*arguments, **options)

        model._model_call = counted
        return model

    module.open_model = load_counted


if __name__ == "sitecustomize" and "nightboard.tasks.evaluation.job_process" in sys.orig_argv:
    install(Path(os.environ["COUNTED"]))
