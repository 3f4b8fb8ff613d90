"""How many rows the splits of a dataset have: by the store's cache, else by the dataset's card on the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from nightboard.profiles.models.suite import DatasetSpec
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import HubError, HubUnavailable
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import DatasetPin

# By configuration and split. A dataset with one configuration may leave its name out.
Rows = dict[tuple[str | None, str], int]


@dataclass
class RowCounts:
    """Asks the cache of `store`, where there is one, then `hub`: once for each dataset, and no more once it is away."""

    store: Store | None
    hub: Hub
    is_away: bool = False
    _of_cards: dict[str, Rows] = field(default_factory=dict)

    def count(self, dataset: DatasetSpec, config: str | None, split: str) -> int | None:
        """Rows of a split; None where neither knows them."""
        sha = dataset.sha or self._read_pin(dataset.id)
        rows = self._read_cache(dataset.id, sha, config) if self.store and sha else {}
        if not rows and not self.is_away:
            rows = self._ask_card(dataset.id, sha)
        return rows.get((config, split), rows.get((None, split)) if len({name for name, _ in rows}) == 1 else None)

    def _read_pin(self, dataset_id: str) -> str | None:
        path = self.store.pin_file(dataset_id) if self.store else None
        return DatasetPin.read(path).sha if path and path.exists() else None

    def _read_cache(self, dataset_id: str, sha: str, config: str | None) -> Rows:
        """What `datasets` wrote down when it built the cache."""
        assert self.store
        rows: Rows = {}
        for path in self.store.dataset_dir(dataset_id, sha).glob(f"*/*/*/{sha}/dataset_info.json"):
            try:
                info = json.loads(path.read_text())
                if config in (None, info["config_name"]):
                    rows |= {(config, name): int(split["num_examples"]) for name, split in info["splits"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return rows

    def _ask_card(self, dataset_id: str, sha: str | None) -> Rows:
        if dataset_id not in self._of_cards:
            self._of_cards[dataset_id] = {}
            try:
                self._of_cards[dataset_id] = self.hub.dataset_rows(dataset_id, sha)
            except HubUnavailable:
                self.is_away = True
            except HubError:
                pass
        return self._of_cards[dataset_id]
