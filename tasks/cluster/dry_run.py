"""The dry executor: writes everything that would be submitted, and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from nightboard.tasks.cluster.executor import Call, JobReport, Resources, Started
from nightboard.tasks.store.records import Submission


class DryExecutor:
    """Writes what would be submitted and starts nothing: for measurements, and to inspect a launch."""

    name = "dry"

    def max_array_size(self) -> int | None:
        """No bound."""
        return None

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """Pickle every call as submitit would."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, call in enumerate(calls):
            DelayedSubmission(call.function, *call.arguments).dump(folder / f"{name}_{index}_submitted.pkl")
        return [Started(job_id=f"dry_{name}_{index}", process=None) for index in range(len(calls))]

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport]:
        """All jobs are over, because none was started; reported as cancelled, so that this run does not retry them."""
        report = JobReport("UNKNOWN", is_over=True, ending="cancelled", reason="a dry executor starts nothing")
        return {job_id: report for submission in submissions for job_id in submission.job_ids if job_id}

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> None:
        """Nothing was started."""
        return

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """Nothing runs."""

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Nothing runs."""

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """Nothing waits."""
