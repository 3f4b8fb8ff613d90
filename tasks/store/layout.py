"""The layout of a store: the name of every folder and file in it. Reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightboard.tasks.errors import TaskError

# In an attempt's folder: what is to run, who holds it, that its job is alive, its progress, its log, how it
# ended.
SPEC_FILE = "spec.json"
OWNER_FILES = "owner.*.json"
HEARTBEAT_FILE = "alive"
PROGRESS_FILE = "progress.json"
LOG_FILE = "log.txt"
OUTCOME_FILE = "outcome.json"
# In the folder of a finished benchmark: its files with their hashes, and the hashes of its documents.
MANIFEST_FILE = "manifest.json"
DOCUMENTS_FILE = "documents.json"
# In a launch's folder: its jobs, their ids, how many may run at once, that nothing of it runs any more.
LAUNCH_FILE = "launch.json"
SUBMISSION_FILE = "submission.json"
PARALLELISM_FILE = "parallelism.json"
CLOSED_FILE = "closed.json"
# The first letters of an id, which are shown and which commands take for it.
SHOWN_ID = 8
# In a dataset's folder of the cache: which of its configurations are complete.
COMPLETE_FILE = "complete.json"


def owner_file(number: int) -> str:
    """The file of an attempt's n-th owner, from 1."""
    return OWNER_FILES.replace("*", str(number))


def name_attempt(evaluation_id: str, shard: str, attempt: int) -> str:
    """The lake file with an attempt's row, without suffix."""
    return f"{evaluation_id}-{shard}-{attempt}"


class StoreError(TaskError):
    """The store cannot be read or written; the message says what to do."""


def escape_id(repo_id: str) -> str:
    """Turn a Hub id into one path component; `--` is not legal inside an id, so no two ids collide."""
    return repo_id.replace("/", "--")


@dataclass(frozen=True)
class Store:
    """A store's folders and files. All paths in a store come from here."""

    root: Path

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def launches(self) -> Path:
        return self.root / "launches"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def pins(self) -> Path:
        return self.root / "pins"

    @property
    def prefect(self) -> Path:
        """The history of runs, if no Prefect server is configured."""
        return self.root / "prefect"

    def notified_file(self, board: str) -> Path:
        """The causes of failures that people were told of."""
        return self.root / "notified" / f"{board}.json"

    @property
    def launch_lock(self) -> Path:
        """Held while jobs are launched: one flow at a time."""
        return self.launches / "lock"

    @property
    def models(self) -> Path:
        return self.cache / "models"

    @property
    def wanted_models(self) -> Path:
        """One file per process that has reserved models in the cache."""
        return self.cache / "wanted"

    @property
    def cache_lock(self) -> Path:
        return self.cache / "lock"

    def launch_dir(self, launch_id: str) -> Path:
        return self.launches / launch_id

    def submit_dir(self, launch_id: str) -> Path:
        """Files of submitit for a launch: its script, the pickled calls, the output of its jobs."""
        return self.launch_dir(launch_id) / "submitit"

    def pin_file(self, dataset_id: str) -> Path:
        """The pinned commit of a dataset."""
        return self.pins / f"{escape_id(dataset_id)}.json"

    def shards_file(self, evaluation_id: str) -> Path:
        """How the evaluation is split into shards; written once."""
        return self.runs / evaluation_id / "parts.json"

    def freed_file(self, evaluation_id: str) -> Path:
        """The attempts at the evaluation that no longer count; replaced by each `nightboard retry`."""
        return self.runs / evaluation_id / "freed.json"

    def shard_dir(self, evaluation_id: str, shard: str) -> Path:
        return self.runs / evaluation_id / shard

    def work_dir(self, evaluation_id: str, shard: str) -> Path:
        """Answers and finished benchmarks; outlives the attempts."""
        return self.shard_dir(evaluation_id, shard) / "work"

    def attempt_dir(self, evaluation_id: str, shard: str, attempt: int) -> Path:
        return self.shard_dir(evaluation_id, shard) / str(attempt)

    def model_dir(self, fingerprint: str) -> Path:
        """The files of a model; the fingerprint names their content."""
        return self.models / fingerprint

    def dataset_dir(self, dataset_id: str, sha: str) -> Path:
        """A `datasets` cache that holds exactly one revision of one dataset."""
        return self.cache / "datasets" / escape_id(dataset_id) / sha

    @property
    def nltk_dir(self) -> Path:
        return self.cache / "nltk_data"

    def lake_file(self, table: str, name: str) -> Path:
        """A file of a lake table, before it is compacted."""
        return self.lake / table / f"{name}.parquet"

    def relative(self, path: Path) -> str:
        """`path` as it is written into records, so that a store can be moved."""
        return str(path.relative_to(self.root))
