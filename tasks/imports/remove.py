"""Takes an imported board out of the lake again: the rows of one source and era, never those of runs.

Works under the lock of builds, so that nothing is compacted meanwhile. The file that vouches for the rows goes first:
killed at any line, rows are there whole or not at all. What compaction has joined with other rows stays.
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
class Forgotten:
    """What was taken out: nothing where there was no such import."""

    source: str
    era: str | None
    n_rows: int


def forget_board(store: Store, name: str, era: str | None) -> Forgotten:
    """Take out all that was imported as `import:<name>` in an era; the era may be left out where there is one only.

    Raises ImportFileError, and takes nothing out, for a name or era that is not there, for several eras, for outputs of
    lm-eval, and for what was compacted; LakeError for a damaged file.
    """
    source = f"import:{name}"
    if source == RESULTS_SOURCE:
        raise ImportFileError("--name: outputs of lm-eval cannot be taken out of a store again, boards can.")
    with lock_builds(store.warehouse):
        found = _read_keys(store)
        era = _choose_era(name, era, {key for keys in found.values() for key in keys})
        chosen = {file: keys[source, era] for file, keys in found.items() if (source, era) in keys}
        _check_not_compacted(store, {file: found[file] for file in chosen})
        _remove(store, chosen)
    return Forgotten(source, era, sum(chosen.values()))


def _read_keys(store: Store) -> dict[str, dict[Key, int]]:
    """How many rows each file of imports has of each source and era; paths are relative to the table's folder."""
    found: dict[str, dict[Key, int]] = {}
    folder = store.lake / IMPORTS.name
    for path in list_paths(store.lake, IMPORTS.name):
        keys = found.setdefault(str(path.relative_to(folder)), {})
        check_readable([path])
        for row in pq.ParquetFile(path).read(["source", "era"]).to_pylist():
            key = row["source"], row["era"]
            keys[key] = keys.get(key, 0) + 1
    return found


def _choose_era(name: str, era: str | None, keys: Iterable[Key]) -> str | None:
    keys = set(keys)
    eras = sorted(each or "" for source, each in keys if source == f"import:{name}")
    if not eras:
        names = sorted({source.removeprefix("import:") for source, _ in keys if source != RESULTS_SOURCE})
        raise ImportFileError(f"--name: no board was imported as {name!r}. There is: {', '.join(names) or 'none'}.")
    if era is None and len(eras) > 1:
        raise ImportFileError(f"--era: {name} was imported in {len(eras)} eras; name one: {', '.join(eras)}.")
    if era is not None and era not in eras:
        raise ImportFileError(f"--era: {name} was not imported in era {era!r}. There is: {', '.join(eras)}.")
    return era or eras[0]


def _check_not_compacted(store: Store, chosen: Mapping[str, Mapping[Key, int]]) -> None:
    scores = read_listing(store.lake, IMPORTED_SCORES.name).replaced
    if any(len(keys) > 1 or "/" in file or file in scores for file, keys in chosen.items()):
        raise ImportFileError(
            f"{store.lake}: these rows were joined with others when the lake was compacted, and cannot be taken out any"
            " more; nothing was. Take a copy of the store from before the import, or import into a new store."
        )


def _remove(store: Store, files: Iterable[str]) -> None:
    """Remove files of imports, and then the scores that were written with each under the same name."""
    for file in files:
        (store.lake / IMPORTS.name / file).unlink()
        sync(store.lake / IMPORTS.name)
        (store.lake / IMPORTED_SCORES.name / file).unlink(missing_ok=True)
