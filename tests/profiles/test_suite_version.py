"""A suite's version changes with everything that decides a score and with nothing else; rows fit the lake's tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from nightboard.profiles.declared_rows import era_rows, organization_rows, suite_rows
from nightboard.profiles.loading.load import load_organizations, load_suite
from nightboard.profiles.model_settings import is_watched, narrow, settings_for
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import WatchList
from nightboard.profiles.suite_version import UnpinnedError, hash_json, open_datasets, resolve_suite
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import ERAS, ORGANIZATIONS, SUITES

NOW = datetime(2025, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("leaderboard-v2")


@pytest.fixture(scope="module")
def pins(suite: Suite) -> dict[str, str]:
    return {name: f"{number:040x}" for number, name in enumerate(open_datasets(suite))}


def _change(suite: Suite, key: str, values: dict[str, object]) -> Suite:
    """The suite with keys of one benchmark (`bbh`), one of its tasks (`bbh/navigate`) or its own (``) changed."""
    if not key:
        return suite.model_copy(update=values)
    name, _, task = key.partition("/")
    benchmark = suite.benchmarks[name]
    if task:
        changed = benchmark.tasks[task].model_copy(update=values)
        values = {"tasks": benchmark.tasks | {task: changed}}
    return suite.model_copy(update={"benchmarks": suite.benchmarks | {name: benchmark.model_copy(update=values)}})


NAVIGATE = "bbh/leaderboard_bbh_navigate"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("", {"suite": "other"}),
        ("", {"seed": 1}),
        ("", {"limit": 3}),
        ("bbh", {"shots": 4}),
        ("bbh", {"group": "other"}),
        ("bbh", {"metrics": ("acc",)}),
        ("bbh", {"filter": "strict"}),
        ("bbh", {"aggregate": "pooled"}),
        ("bbh", {"normalize": "benchmark"}),
        ("bbh", {"lower_bound": 0.1}),
        ("math_lvl_5", {"max_new_tokens": 5}),
        (NAVIGATE, {"samples": 1}),
        (NAVIGATE, {"lower_bound": 0.1}),
        (NAVIGATE, {"config": "other"}),
    ],
)
def test_what_decides_a_score_changes_the_version(
    suite: Suite, pins: dict[str, str], key: str, values: dict[str, object]
) -> None:
    assert resolve_suite(_change(suite, key, values), pins)[1] != resolve_suite(suite, pins)[1]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("", {"title": "Other"}),
        ("", {"eras": ()}),
        ("", {"extends": "other"}),
        ("bbh", {"title": "Other"}),
        ("bbh", {"cut_documents": 7}),
        ("bbh", {"cut_documents": None}),
        ("bbh", {"publish_documents": False}),
        (NAVIGATE, {"choices": 9}),
    ],
)
def test_what_decides_nothing_keeps_the_version(
    suite: Suite, pins: dict[str, str], key: str, values: dict[str, object]
) -> None:
    assert resolve_suite(_change(suite, key, values), pins)[1] == resolve_suite(suite, pins)[1]


def test_the_harness_version_and_each_pin_change_the_version(suite: Suite, pins: dict[str, str]) -> None:
    version = resolve_suite(suite, pins)[1]
    newer = suite.model_copy(update={"harness": suite.harness.model_copy(update={"version": "0.4.14"})})
    folders = suite.model_copy(update={"harness": suite.harness.model_copy(update={"task_folders": ()})})
    assert resolve_suite(newer, pins)[1] != version
    assert resolve_suite(folders, pins)[1] == version
    for name in pins:
        assert resolve_suite(suite, pins | {name: "f" * 40})[1] != version


def test_the_version_is_64_hex_digits_and_survives_json(suite: Suite, pins: dict[str, str]) -> None:
    resolved, version = resolve_suite(suite, pins)
    assert len(version) == 64
    assert int(version, 16)
    assert resolve_suite(Suite.model_validate_json(resolved.model_dump_json()), {})[1] == version


def test_records_and_smaller_suites_keep_what_may_not_be_published(suite: Suite) -> None:
    copies = {"record": Suite.model_validate_json(suite.model_dump_json()), "demo": load_suite("demo")}
    for name, copied in copies.items():
        kept = [key for key, benchmark in copied.benchmarks.items() if not benchmark.publish_documents]
        assert kept == ["gpqa"], name


def test_records_of_suites_that_publish_all_stay_as_they_were(suite: Suite) -> None:
    assert "publish_documents" not in suite.benchmarks["bbh"].model_dump_json()


def test_every_dataset_is_pinned_and_a_pin_of_the_profile_wins(suite: Suite, pins: dict[str, str]) -> None:
    resolved, _ = resolve_suite(suite, pins)
    assert open_datasets(resolved) == ()
    assert resolve_suite(resolved, dict.fromkeys(pins, "f" * 40))[0] == resolved


def test_a_dataset_that_nobody_pinned_is_an_error(suite: Suite, pins: dict[str, str]) -> None:
    del pins["SaylorTwift/bbh"]
    with pytest.raises(UnpinnedError, match=r"benchmarks.bbh.dataset: has no commit \(got SaylorTwift/bbh\)"):
        resolve_suite(suite, pins)


def test_hash_json_does_not_depend_on_the_order_of_keys() -> None:
    assert hash_json({"a": 1, "b": [1, "é"]}) == hash_json({"b": [1, "é"], "a": 1})
    assert hash_json([1, 2]) != hash_json([2, 1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        hash_json(float("nan"))


def _as_arrow(table: Table, rows: list[dict[str, object]]) -> pa.Table:
    assert all(set(row) == set(table.arrow.names) for row in rows)
    return pa.Table.from_pylist(rows, schema=table.arrow)


def test_suite_rows_are_one_per_task_with_the_columns_of_the_lake(suite: Suite) -> None:
    rows = suite_rows(suite, "v", NOW)
    table = _as_arrow(SUITES, rows)
    assert table.num_rows == 39
    navigate = next(row for row in rows if row["task"] == "leaderboard_bbh_navigate")
    assert (navigate["benchmark"], navigate["benchmark_position"], navigate["n_samples"]) == ("bbh", 2, 250)
    assert (navigate["task_lower_bound"], navigate["benchmark_lower_bound"], navigate["n_shot"]) == (0.5, 0.0, 3)
    limited = suite_rows(suite.model_copy(update={"limit": 5}), "v", NOW)
    assert {row["n_samples"] for row in limited} == {5}


def test_era_rows_are_one_per_named_task_or_one_without(suite: Suite) -> None:
    rows = era_rows(suite, "v", NOW)
    assert _as_arrow(ERAS, rows).num_rows == 21
    assert [row["task_version"] for row in rows if row["is_current"]] == ["3.0"] * 7
    (alone,) = era_rows(load_suite("demo-multiple-choice"), "v", NOW)
    _as_arrow(ERAS, [alone])
    assert (alone["task"], alone["task_version"], alone["is_current"]) == (None, None, True)


def test_organization_rows_have_the_columns_of_the_lake() -> None:
    organizations = load_organizations()
    rows = organization_rows(organizations, NOW)
    assert _as_arrow(ORGANIZATIONS, rows).num_rows == len(organizations.organizations)


WATCH = WatchList.model_validate(
    {
        "watchlist": "w",
        "organizations": ["acme"],
        "models": ["other/one", {"id": "acme/special", "precision": "float32"}, "acme/tool-GGUF"],
        "include": ["acme/*"],
        "exclude": ["*-GGUF"],
        "precision": "bfloat16",
        "rules": [
            {"match": "acme/*", "chat_template": "never", "precision": "float16"},
            {"match": "acme/s*", "chat_template": "always", "suites": ["small"]},
        ],
    }
)


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("acme/anything", True),
        ("other/one", True),
        ("other/two", False),
        ("acme/x-GGUF", False),
        ("acme/x-gguf", True),
        ("acme/tool-GGUF", False),
        ("acmee/x", False),
        ("ACME/x", False),
    ],
)
def test_is_watched_follows_organizations_models_and_patterns(model_id: str, expected: bool) -> None:
    assert is_watched(WATCH, model_id) is expected


def test_settings_come_from_the_list_then_the_rules_then_the_model() -> None:
    plain, ruled, special = (settings_for(WATCH, name) for name in ("other/one", "acme/a", "acme/special"))
    assert (plain.precision, plain.chat_template, plain.suites) == ("bfloat16", "auto", None)
    assert (ruled.precision, ruled.chat_template, ruled.suites) == ("float16", "never", None)
    assert (special.precision, special.chat_template, special.suites) == ("float32", "always", ("small",))
    assert (special.fewshot_as_multiturn, special.trust_remote_code) == (True, False)


@pytest.mark.parametrize("model_id", ["other/one", "acme/a", "acme/special"])
def test_a_narrowed_list_has_one_model_with_the_settings_that_it_had(model_id: str) -> None:
    alone = narrow(WATCH, [model_id])
    assert settings_for(alone, model_id) == settings_for(WATCH, model_id)
    assert [name for name in ("other/one", "acme/a", "acme/special") if is_watched(alone, name)] == [model_id]
