"""The entry point of a job's process: `python -P -m nightboard.tasks.evaluation.job_process FOLDER`.

Checks that no other user can have written the pickle before it is read. Then the job locks its GPUs and calls
submitit's main function.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nightboard.tasks.cluster.local_gpus import CHOICE, VISIBLE, claim_gpus
from nightboard.tasks.cluster.submission import find_call, run_call
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.trust import check_trust, limit_umask


def main(folder: Path) -> int:
    """Run the call of this job; 1 when it is not to be trusted."""
    # store/launches/<launch>/submitit
    root = folder.parents[2]
    limit_umask(root)
    try:
        check_trust(find_call(folder), root)
        if CHOICE in os.environ:
            os.environ[VISIBLE] = claim_gpus(os.environ)
            print(f"{VISIBLE}={os.environ[VISIBLE]}", flush=True)
    except StoreError as error:
        print(f"nightboard: {error}", file=sys.stderr, flush=True)
        return 1
    run_call(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
