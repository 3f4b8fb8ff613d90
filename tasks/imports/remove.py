"""Removes an imported board from the lake: the rows of one source and era, never those of runs (`import remove`).

Works under the lock of builds, so that nothing is compacted meanwhile. The file that marks the rows as complete is
removed first: if the process is killed, rows count completely or not at all. Compacted rows cannot be removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow.parquet as pq

from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.lm_eval_model import SOURCE as RESULTS_SOURCE
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.publish import lock_builds
from nightboard.warehouse.lake.files import check_readable, list_paths, read_listing
from nightboard.warehouse.lake.locks import sync
from nightboard.warehouse.schema.lake_tables import IMPORTED_SCORES, IMPORTS

Key = tuple[str, str | None]
"""Source and era."""


@dataclass(frozen=True)
class RemovedBoard:
    """The removed rows: source, era and number."""

    source: str
    era: str | None
    n_rows: int


def remove_board(store: Store, name: str, era: str | None) -> RemovedBoard:
    """Remove all rows imported as `import:<name>` in an era; the era may be omitted if there is only one.

    Raises ImportFileError, and removes nothing, for an unknown name or era, several eras, outputs of lm-eval, and
    compacted rows; LakeError for a damaged file.
    """
    source = f"import:{name}"
    if source == RESULTS_SOURCE:
        raise ImportFileError("--name: outputs of lm-eval cannot be removed from a store, only boards.")
    with lock_builds(store.warehouse):
        keys_of = _read_keys(store)
        era = _choose_era(name, era, {key for keys in keys_of.values() for key in keys})
        chosen = {file: keys[source, era] for file, keys in keys_of.items() if (source, era) in keys}
        _check_not_compacted(store, {file: keys_of[file] for file in chosen})
        _remove(store, chosen)
    return RemovedBoard(source, era, sum(chosen.values()))


def _read_keys(store: Store) -> dict[str, dict[Key, int]]:
    """Number of rows of each source and era in each file of imports; paths are relative to the table's folder."""
    keys_of: dict[str, dict[Key, int]] = {}
    folder = store.lake / IMPORTS.name
    for path in list_paths(store.lake, IMPORTS.name):
        keys = keys_of.setdefault(str(path.relative_to(folder)), {})
        check_readable([path])
        for row in pq.ParquetFile(path).read(["source", "era"]).to_pylist():
            key = row["source"], row["era"]
            keys[key] = keys.get(key, 0) + 1
    return keys_of


def _choose_era(name: str, era: str | None, keys: Iterable[Key]) -> str | None:
    keys = set(keys)
    eras = sorted(imported or "" for source, imported in keys if source == f"import:{name}")
    if not eras:
        names = sorted({source.removeprefix("import:") for source, _ in keys if source != RESULTS_SOURCE})
        raise ImportFileError(
            f"--name: no board was imported as {name!r}. Imported boards: {', '.join(names) or 'none'}."
        )
    if era is None and len(eras) > 1:
        raise ImportFileError(
            f"--era: is required, because {name} was imported in {len(eras)} eras. Name one: {', '.join(eras)}."
        )
    if era is not None and era not in eras:
        raise ImportFileError(f"--era: {name} was not imported in era {era!r}. Eras: {', '.join(eras)}.")
    return era or eras[0]


def _check_not_compacted(store: Store, chosen: Mapping[str, Mapping[Key, int]]) -> None:
    scores = read_listing(store.lake, IMPORTED_SCORES.name).replaced
    if any(len(keys) > 1 or "/" in file or file in scores for file, keys in chosen.items()):
        raise ImportFileError(
            f"{store.lake}: the rows were merged with others when the lake was compacted, so they cannot be removed;"
            " nothing was removed. Restore the store from before the import, or import into a new store."
        )


def _remove(store: Store, files: Iterable[str]) -> None:
    """Remove files of imports, then the files of scores with the same names."""
    for file in files:
        (store.lake / IMPORTS.name / file).unlink()
        sync(store.lake / IMPORTS.name)
        (store.lake / IMPORTED_SCORES.name / file).unlink(missing_ok=True)
