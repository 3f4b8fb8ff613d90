"""Where everything lies in a store: every folder and file name. Reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightboard.warehouse.lake.files import is_written
from nightboard.warehouse.schema.columns import Table


class StoreError(Exception):
    """The store cannot be read or written; the message says what to do."""


def escape_id(repo_id: str) -> str:
    """Turn a Hub id into one path component; `--` is not legal inside an id, so no two ids collide."""
    return repo_id.replace("/", "--")


@dataclass(frozen=True)
class Store:
    """A store's folders. All paths of the program come from here."""

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

    def shards_file(self, evaluation_id: str) -> Path:
        """How the evaluation is split into shards; written once."""
        return self.runs / evaluation_id / "parts.json"

    def freed_file(self, evaluation_id: str) -> Path:
        """Which attempts at the evaluation do not count any more; replaced each time somebody frees it."""
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
        return self.cache / "models" / fingerprint

    def dataset_dir(self, dataset_id: str, sha: str) -> Path:
        """A `datasets` cache that holds exactly one revision of one data set."""
        return self.cache / "datasets" / escape_id(dataset_id) / sha

    @property
    def nltk_dir(self) -> Path:
        return self.cache / "nltk_data"

    def is_in_lake(self, table: Table, name: str) -> bool:
        """Whether the lake's file `name`.parquet of a table was ever written; compaction may have moved its rows."""
        return is_written(self.lake, table.name, name)

    def relative(self, path: Path) -> str:
        """`path` as it is written into records, so that a store can be moved."""
        return str(path.relative_to(self.root))
