"""Real outputs of lm-eval from ten repositories: every number is in the warehouse, and every file is accounted for.

Skipped where the folder of data beside the checkout is not there. The files are read here by a script of its own.
"""

from __future__ import annotations

import csv
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.results import ResultsImport, import_results
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect

DATA = Path(__file__).parents[4] / "shared" / "data" / "lm_eval_outputs"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUITES = [load_suite("leaderboard-v2"), load_suite("leaderboard-v1")]

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no folder of data beside the checkout")


def bring_in(store: Store, folder: Path = DATA) -> ResultsImport:
    *_, done = import_results(store, [folder], SUITES, NOW)
    return done


def snapshot(store: Store) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in store.lake.rglob("*.parquet")}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, ResultsImport]:
    store = Store(tmp_path_factory.mktemp("real") / "store")
    done = bring_in(store)
    build(store.lake, store.warehouse, NOW)
    return store, done


def ask(imported: tuple[Store, ResultsImport], sql: str) -> list[tuple[Any, ...]]:
    with connect(imported[0].warehouse) as con:
        return con.execute(sql).fetchall()


def inventory(kind: str) -> Iterator[Path]:
    with (DATA / "INVENTORY.csv").open(newline="") as file:
        yield from (DATA / row["path"] for row in csv.DictReader(file) if row["kind"].startswith(kind))


def finite(value: object) -> object:
    """What is no finite number (`N/A`, NaN, an infinite perplexity) is null in the warehouse."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def test_every_file_is_in_the_warehouse_or_in_the_list(imported: tuple[Store, ResultsImport]) -> None:
    _, done = imported
    assert {each.file for each in done.imported} == {str(path) for path in inventory("results")}
    assert done.n_read == done.n_files == 358
    samples = [*inventory("samples")]
    left_out = {each.where.removesuffix(f":{each.where.rpartition(':')[2]}") for each in done.left_out}
    left_out |= {each.where for each in done.left_out}
    listed = [path for path in samples if str(path) in left_out]
    assert len(listed) == len(done.left_out) == 26
    assert sum(each.n_samples_files for each in done.imported) == len(samples) - 26
    assert all(each.reason.endswith(".") for each in done.left_out)


def test_every_number_of_every_results_file_is_in_task_scores(imported: tuple[Store, ResultsImport]) -> None:
    """Nothing more either: as many rows as there are numbers."""
    found = defaultdict(dict)
    for evaluation, task, metric, chosen, value, stderr in ask(
        imported, "select evaluation_id, task, metric, filter, value, stderr from task_scores"
    ):
        found[evaluation][task, metric, chosen] = value, stderr
    n_numbers = 0
    for each in imported[1].imported:
        scores = dict(found[each.evaluation_id])
        for task, values in json.loads(Path(each.file).read_text())["results"].items():
            for key, value in values.items():
                if isinstance(value, str) or "_stderr" in key or key in ("sample_len", "sample_count"):
                    continue
                metric, chosen = key.split(",") if "," in key else (key, "none")
                stderr = values.get(f"{metric}_stderr,{chosen}", values.get(f"{metric}_stderr"))
                assert scores.pop((task, metric, chosen)) == (finite(value), finite(stderr))
                n_numbers += 1
        assert scores == {}
    assert n_numbers > 2000


def test_settings_are_those_that_stand_in_the_files(imported: tuple[Store, ResultsImport]) -> None:
    columns = "evaluation_id, task, n_samples, n_shot, task_version, task_hash"
    rows = {(row[0], row[1]): row[2:] for row in ask(imported, f"select distinct {columns} from task_scores")}
    for each in imported[1].imported:
        content = json.loads(Path(each.file).read_text())
        for task, version in content["versions"].items():
            if (each.evaluation_id, task) not in rows:
                continue
            n_samples, n_shot, found, task_hash = rows[each.evaluation_id, task]
            counts = content.get("n-samples", {}).get(task, {})
            assert n_samples == counts.get("effective")
            assert n_shot == content.get("n-shot", {}).get(task, content["config"].get("num_fewshot"))
            assert found == str(version)
            assert task_hash == content.get("task_hashes", {}).get(task)


def test_models_are_those_that_stand_in_the_files(imported: tuple[Store, ResultsImport]) -> None:
    rows = {
        row[0]: row[1:] for row in ask(imported, "select evaluation_id, model_id, revision, precision from imports")
    }
    for each in imported[1].imported:
        config = json.loads(Path(each.file).read_text())["config"]
        arguments = json.dumps(config["model_args"]) if isinstance(config["model_args"], dict) else config["model_args"]
        model, revision, precision = rows[each.evaluation_id]
        assert f"={model}" in arguments or f'"{model}"' in arguments
        assert revision == (config.get("model_sha") or None)
        assert (precision == "4bit") == ("load_in_4bit" in arguments)
        if config.get("model_dtype"):
            assert precision == config["model_dtype"].removeprefix("torch.")


def test_every_sample_of_every_samples_file_is_in_samples(imported: tuple[Store, ResultsImport]) -> None:
    """By file: the number of documents, and the sum of each metric."""
    left_out = {re.sub(r":\d+$", "", each.where) for each in imported[1].left_out}
    found = Counter(
        {(row[0], row[1]): row[2] for row in ask(imported, "select task, metric, count(*) from samples group by all")}
    )
    sums: dict[tuple[str, str], float] = dict.fromkeys(found, 0.0)
    counts: Counter[tuple[str, str]] = Counter()
    paths = [path for path in inventory("samples") if str(path) not in left_out]
    # Some runs were committed twice.
    distinct = {(_results_beside(path)[0].read_bytes(), path.read_bytes()): path for path in paths}
    for path in distinct.values():
        task = re.sub(r"^samples_|_\d{4}-\d\d-\d\dT[\d.-]+jsonl$", "", path.name)
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            for metric in ("acc", "acc_norm", "exact_match", "mae", "micro_f1", "macro_f1"):
                if metric in sample:
                    counts[task, metric] += 1
                    value = finite(sample[metric])
                    sums[task, metric] += value if isinstance(value, int | float) else 0
    assert counts == found
    for task, metric, total in ask(imported, "select task, metric, sum(value) from samples group by all"):
        assert math.isclose(total or 0, sums[task, metric], abs_tol=1e-9)


def test_importing_again_changes_nothing(imported: tuple[Store, ResultsImport]) -> None:
    store, done = imported
    before = snapshot(store)
    again = bring_in(store)
    assert not any(each.is_new for each in again.imported)
    assert [(each.file, each.n_samples_files) for each in again.imported] == [
        (each.file, each.n_samples_files) for each in done.imported
    ]
    assert again.left_out == done.left_out
    assert snapshot(store) == before


def test_no_two_evaluations_are_of_one_content(imported: tuple[Store, ResultsImport]) -> None:
    contents = {Path(each.file).read_bytes() for each in imported[1].imported}
    assert ask(imported, "select count(*), count(distinct evaluation_id) from evaluations") == [(len(contents),) * 2]


def test_benchmarks_that_are_whole_are_scored_and_nothing_else(imported: tuple[Store, ResultsImport]) -> None:
    """By a look at each file: all tasks of a benchmark, with all samples."""
    whole = []
    for each in imported[1].imported:
        counts = json.loads(Path(each.file).read_text()).get("n-samples", {})
        if counts.get("leaderboard_ifeval", {}).get("effective") == 541:
            whole.append((each.evaluation_id, "ifeval"))
        hard = [counts[task]["effective"] for task in counts if re.fullmatch(r"leaderboard_math_\w+_hard", task)]
        if sum(hard) == 1324:
            whole.append((each.evaluation_id, "math_lvl_5"))
    assert sorted(ask(imported, "select evaluation_id, benchmark from benchmark_scores")) == sorted(whole)
    assert len(whole) == 3


def test_damaged_copies_of_real_files_give_no_error_and_nothing_half(tmp_path: Path) -> None:
    """Bytes cut off or flipped in small files of every layout, results and samples."""
    chance = random.Random(11)
    results = [path for path in inventory("results") if path.stat().st_size < 60_000]
    samples = [path for path in inventory("samples") if path.stat().st_size < 200_000]
    folder = tmp_path / "damaged"
    for number in range(200):
        chosen = chance.choice(samples if number % 2 else results)
        pair = [chosen] if number % 2 == 0 else [chosen, *_results_beside(chosen)]
        for path in pair:
            data = bytearray(path.read_bytes())
            if path is chosen:
                at = chance.randrange(len(data))
                if chance.random() < 0.4:
                    del data[at:]
                else:
                    data[at] ^= chance.randrange(1, 256)
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            (folder / str(number) / path.name).write_bytes(data)
    store = Store(tmp_path / "store")
    done = bring_in(store, folder)
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        sql = """
            select count(*) from (
                select evaluation_id, task, count(distinct doc_id) as n from samples group by all
            ) join (select distinct evaluation_id, task, n_samples from task_scores) using (evaluation_id, task)
            where n != n_samples
        """
        assert con.execute(sql).fetchall() == [(0,)]
    assert len(done.left_out) > 50
    assert len(done.imported) > 50


def _results_beside(samples: Path) -> list[Path]:
    stamp = re.search(r"\d{4}-\d\d-\d\dT[\d-]+\.\d+", samples.name)
    return [*samples.parent.glob(f"results_{stamp[0]}.json")] if stamp else []
