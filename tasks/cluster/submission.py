"""Passes a call to its job: the command that a job runs, and the pickle that it reads."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission, JobPaths

from nightboard.tasks.cluster.executor import Call

# submitit itself waits so long for a call to get its job's name.
NAMED_WITHIN_S = 60.0


# ------------------------------------------------------------------------------------------------- a job's first step

# -P: no module is imported from the folder where a flow was started, such as a file submitit.py.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def make_command(python: str, folder: Path) -> str:
    """The command line of a job whose call lies in `folder`."""
    return f"{python} -P -u -m nightboard.tasks.evaluation.job_process {shlex.quote(str(folder))}"


class LocalSubmitter(submitit.LocalExecutor):  # type: ignore[misc]
    """submitit's local executor with this command."""

    @property
    def _submitit_command_str(self) -> str:
        return make_command(self.python, self.folder)


class SlurmSubmitter(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit's SLURM executor with this command."""

    @property
    def _submitit_command_str(self) -> str:
        return make_command(self.python, self.folder)


def find_call(folder: Path) -> Path:
    """Where submitit, in a job, reads what this job is to run. Names are given after the submission: waits for it."""
    path = Path(JobPaths(folder, job_id=submitit.JobEnvironment().job_id).submitted_pickle)
    deadline = time.monotonic() + NAMED_WITHIN_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    return path


def run_call(folder: Path) -> None:
    """Unpickle the call of this job and run it."""
    from submitit.core.submission import process_job  # imports numpy

    process_job(folder)


def pickles_without_job(folder: Path) -> list[Path]:
    """Calls that submitit has written but not yet given a job's name; it does so only after sbatch."""
    return [path for path in folder.glob("*.pkl") if re.fullmatch(r"[0-9a-f]{32}", path.stem)]


def name_pickles(folder: Path, calls: Mapping[str, Call]) -> None:
    """Give each job its call under the name where submitit looks for it. Others may be doing the same."""
    targets = {job_id: JobPaths(folder, job_id=job_id).submitted_pickle for job_id in calls}
    missing = {job_id: path for job_id, path in targets.items() if not path.exists()}
    if not missing:
        return
    sources: dict[str, Path] = {}
    for path in pickles_without_job(folder):
        with contextlib.suppress(FileNotFoundError):
            sources[repr(DelayedSubmission.load(path).args)] = path
    for job_id, target in missing.items():
        if source := sources.get(repr(calls[job_id].arguments)):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(source, target)
