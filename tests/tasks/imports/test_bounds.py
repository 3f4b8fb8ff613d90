"""Files that would fill the memory, never end, or hold what no machine can tell: refused in one message."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightboard.profiles.loading.load import validate_paths
from nightboard.tasks.imports import lm_eval_samples as samples_file
from nightboard.tasks.imports import table_files as table_file
from nightboard.tasks.imports.cells import RowError, read_text, read_time
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.lm_eval_results import BrokenFileError, read_bytes
from nightboard.tasks.imports.lm_eval_samples import list_samples
from nightboard.tasks.imports.table_files import TableFile
from nightboard.tasks.imports.table_source import Tables


def write(path: Path, **columns: pa.Array) -> TableFile:
    pq.write_table(pa.table(columns), path, compression="zstd")
    return TableFile.local(path)


def repeat(text: str, n_rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, "int8")), [text])


def test_a_small_file_of_millions_of_rows_is_refused_before_they_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", model=repeat("a/b", 2_000_000), rank=pa.array(np.ones(2_000_000, "int8")))
    assert file.path.stat().st_size < 100_000
    with pytest.raises(ImportFileError, match=r"x\.parquet: has 2,000,000 rows, more than the limit of 1,000,000\."):
        next(file.read())


def test_a_small_file_of_long_texts_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", model=repeat("a" * 2_000_000, 10_000))
    assert file.path.stat().st_size < 100_000
    with pytest.raises(ImportFileError, match=r"bytes of text when unpacked"):
        list(file.read())


def test_many_columns_count_as_many_rows_do(tmp_path: Path) -> None:
    columns = {f"c{number}": pa.nulls(900_000, pa.int8()) for number in range(23)}
    with pytest.raises(ImportFileError, match=r"900,000 rows of 23 columns"):
        next(write(tmp_path / "x.parquet", **columns).read())


def test_a_table_has_a_largest_width_and_length_of_cells(tmp_path: Path) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text("," * 100_000 + "\n1\n")
    for file in (
        TableFile.local(wide),
        write(tmp_path / "x.parquet", **{f"c{n}": pa.array(["a"]) for n in range(1001)}),
    ):
        with pytest.raises(ImportFileError, match=r"columns, more than the limit of 1,000"):
            list(file.read())
    with pytest.raises(RowError, match=r"model: is too long \(got 10,001 characters"):
        read_text({"model": "a" * 10_001}, "model")


def test_lists_are_no_cells_and_all_else_is_read_as_it_was(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.parquet",
        model=pa.array(["a/b", None]), score=pa.array([1.5, 2.5]), day=pa.array([0, 1], pa.date32()),
        kind=pa.array(["x", "y"]).dictionary_encode(), large=pa.array(["p", "q"], pa.large_string()),
        answers=pa.array([[None] * 100_000, []]), raw=pa.array([b"x", b"y"]),
    )  # fmt: skip
    (place, first), (_, second) = file.read()
    assert place == f"{tmp_path / 'x.parquet'}:1"
    assert first == {"model": "a/b", "score": 1.5, "day": datetime(1970, 1, 1).date(), "kind": "x", "large": "p"}
    assert isinstance(second, dict)
    assert second["model"] is None


@pytest.mark.parametrize(
    "column",
    [pa.array([9_223_372_036_854_775], pa.timestamp("ms")), pa.array([0], pa.timestamp("us", "Mars/Olympus"))],
    ids=["far", "unknown zone"],
)
def test_times_out_of_range_and_unknown_zones_are_import_errors(tmp_path: Path, column: pa.Array) -> None:
    file = write(tmp_path / "x.parquet", model=pa.array(["a/b"]), date=column)
    with pytest.raises(ImportFileError, match=r"x\.parquet: has a time out of range or in an unknown zone"):
        list(file.read())


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"])
def test_a_time_that_no_zone_change_survives_is_none(text: str) -> None:
    assert read_time(text) is None
    assert read_time("2025-01-01T00:00:00+02:00") == datetime(2024, 12, 31, 22, tzinfo=UTC)


def test_texts_have_limits_of_bytes_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImportFileError, match=r"it has 1,099,511,627,776 bytes, more than the limit"):
        next(TableFile.local(tmp_path / "sparse.csv").read())
    monkeypatch.setattr(table_file, "MOST_ROWS", 2)
    for name, text in {
        "x.csv": "a\n1\n2\n3\n",
        "x.json": '[{"a":1},{"a":2},{"a":3}]',
        "x.jsonl": '{"a":1}\n' * 3,
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ImportFileError, match="has more than 2 rows"):
            list(TableFile.local(tmp_path / name).read())
    monkeypatch.setattr(samples_file, "_MOST_LINE_BYTES", 10)
    (tmp_path / "samples_x.jsonl").write_text('{"doc_id": 1}\n')
    with pytest.raises(BrokenFileError, match="is longer than the limit of 10 bytes"):
        list(list_samples(tmp_path / "samples_x.jsonl"))


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, Path.mkdir], ids=lambda each: each.__name__)
def test_what_is_no_file_is_refused_by_every_reader(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = Path("x.yaml")
    make(path)
    with pytest.raises(ImportFileError, match="not a regular file"):
        next(TableFile.local(path).read())
    for read in (read_bytes, lambda each: next(list_samples(each))):
        with pytest.raises(BrokenFileError, match="not a regular file"):
            read(path)
    if make is Path.mkdir:
        return
    with pytest.raises(ImportFileError, match="not a regular file"):
        next(Tables.local(path).files[0].read())
    (mistake,) = validate_paths([path])
    assert "not a regular file" in mistake
    (mistake,) = validate_paths([tmp_path])
    assert "not a regular file" in mistake


def test_aliases_of_aliases_are_counted(tmp_path: Path) -> None:
    levels = [f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "x.yaml").write_text("board: x\nlaughs:\n  - &a0 [lol, lol]\n" + "\n".join(levels) + "\n")
    (mistake,) = validate_paths([tmp_path / "x.yaml"])
    assert "has more than 50,000 values when its aliases are expanded" in mistake


def test_a_profile_has_a_largest_size_and_depth(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("board: x\n" + "#" * 2**20)
    (mistake,) = validate_paths([tmp_path / "x.yaml"])
    assert "more than the limit of 1,048,576" in mistake
    (tmp_path / "x.yaml").write_text("board: " + "[" * 20_000)
    (mistake,) = validate_paths([tmp_path / "x.yaml"])
    assert "nested too deeply" in mistake
    for number in ("0x" + "f" * 9000, "0o" + "7" * 9000, "9" * 9000):
        (tmp_path / "x.yaml").write_text(f"watchlist: x\nmodels: [a/b]\nmax_params_b: {number}\n")
        mistakes = validate_paths([tmp_path / "x.yaml"])
        assert any("max_params_b: is not a YAML value" in each for each in mistakes)
        assert max(map(len, mistakes)) < 300
