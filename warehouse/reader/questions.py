"""Ask the current warehouse: the ranking, and other questions whose SQL is in queries/.

SQL that a reader wrote is run by `user_sql.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from nightboard.warehouse.builder.sql_models import SQL_FOLDER
from nightboard.warehouse.reader.connection import QueryError, explained, list_values
from nightboard.warehouse.reader.result import Result
from nightboard.warehouse.reader.sql_errors import sort_by_nearness, suggest


@dataclass(frozen=True)
class Filters:
    """What a ranking shows, as in the macro top_models; None, and True, let everything through.

    With `models`, only their runs pass, and what was imported from `sources`.
    """

    min_params_b: float | None = None
    max_params_b: float | None = None
    model_type: str | None = None
    precision: str | None = None
    license: str | None = None
    organization: str | None = None
    country: str | None = None
    as_of: datetime | None = None
    with_merges: bool = True
    with_flagged: bool = True
    with_unavailable: bool = True
    models: list[str] | None = None
    sources: list[str] | None = None


NO_FILTERS = Filters()


@dataclass(frozen=True)
class Order:
    """By which column a ranking is sorted, by its name in any case. Equal values are in the order of their ranks."""

    column: str
    is_reversed: bool = False


@dataclass(frozen=True)
class EstimateError:
    """The median of |taken / estimated - 1|, such as 0.2 for a fifth; None without evaluations."""

    median_error: float | None
    n_evaluations: int


# Filters that compare a text with a column of the same name, in words.
_VALUES = {"model_type": "type", "precision": "precision", "license": "license", "organization": "organization",
           "country": "country"}  # fmt: skip
# Leaderboards have hundreds of organizations, and thousands of models.
_SHOWN_VALUES = 20
_SHOWN_IDS = 5
# What an organization or a user is to a model's id.
_OWNER = re.compile(r"[^/]*/")
_PARAMETER = re.compile(r"\$(\w+)")


def rank(
    con: duckdb.DuckDBPyConnection,
    suite: str | None = None,
    era: str | None = None,
    limit: int | None = None,
    filters: Filters = NO_FILTERS,
    order: Order | None = None,
) -> Result:
    """The ranking of one suite and era: one row per model, precision and chat template, scores at full precision.

    Without a suite: the one with the most ranked rows. Without an era: the current one. `rank` counts all rows,
    `selected_rank` those that the filters let through. `limit` counts rows in the given order. Raises QueryError for a
    suite, era or column that does not exist, and for a type, license ... that no row has.
    """
    suite = _choose_suite(con, None) if suite is None else suite
    benchmarks = [row[0] for row in list_benchmarks(con, suite).rows]
    of_ranks = None if order else limit
    asked = {"suite": suite, "benchmarks": benchmarks, "era": era, "limit": of_ranks} | asdict(filters)
    columns, rows = _run_named(con, "rank", asked)
    if not rows:
        _require_known(con, suite, era, filters)
    at = columns.index("scores")
    spread = [(*row[:at], *row[at], *row[at + 1 :]) for row in rows]
    result = Result([*columns[:at], *benchmarks, *columns[at + 1 :]], spread)
    return _sort(result, order, benchmarks, limit) if order else result


def count_left_out(con: duckdb.DuckDBPyConnection, suite: str, era: str | None, filters: Filters) -> int:
    """How many rows pass all filters but that of models and sources."""
    asked = {"suite": suite, "era": era} | asdict(filters)
    ((n_all,),) = _run_named(con, "rank_count", asked | {"models": None, "sources": None}).rows
    ((n_shown,),) = _run_named(con, "rank_count", asked).rows
    return int(n_all - n_shown)


def rank_model(con: duckdb.DuckDBPyConnection, model_id: str) -> list[dict[str, Any]]:
    """The rows of one model in the current eras of all suites."""
    columns, rows = _run_named(con, "rank_model", {"model_id": model_id})
    return [dict(zip(columns, row, strict=True)) for row in rows]


def list_models(con: duckdb.DuckDBPyConnection) -> list[str]:
    """All models with a row that can be ranked, sorted."""
    return list_values(con, "select distinct model_id from main.candidates")


def list_known_models(con: duckdb.DuckDBPyConnection) -> list[str]:
    """All models that were discovered, launched or ranked as a run, with a score or without, sorted."""
    return list_values(
        con,
        "select model_id from main.commits"
        " union select model_id from main.evaluations where coalesce(source, 'run') = 'run'"
        " union select model_id from main.candidates where ranked_as = 'run'",
    )


def list_submitted(con: duckdb.DuckDBPyConnection, board: str) -> frozenset[str]:
    """Models whose submission to the board was accepted."""
    states = ("accepted", "planned", "running", "done")
    sql = (
        "select distinct model_id from main.requests"
        " where board = ? and kind = 'submission' and list_contains(?, state)"
    )
    return frozenset(list_values(con, sql, [board, list(states)]))


def _require_known(con: duckdb.DuckDBPyConnection, suite: str, era: str | None, filters: Filters) -> None:
    """Raise QueryError for a name that no row has: the empty table that it gives would look like an answer."""
    _choose_suite(con, suite)
    if era is not None:
        eras = list_values(con, "select distinct era from main.leaderboard where suite = ?", [suite])
        _require(era, eras, f"era of suite {suite}")
    _require_values(con, suite, era, filters)


def _sort(result: Result, order: Order, benchmarks: Sequence[str], limit: int | None) -> Result:
    """The first rows by one column: scores from the highest, others from the lowest; unknown values last."""
    named = {column.lower(): column for column in result.columns}
    column = named.get(order.column.lower())
    if column is None:
        raise QueryError(
            f"no column of the ranking is called {order.column}.{suggest(order.column, result.columns)} Columns:"
            f" {', '.join(result.columns)}."
        )
    at = result.columns.index(column)
    is_score = column.startswith("average") or column in benchmarks
    known = [row for row in result.rows if row[at] is not None]
    unknown = [row for row in result.rows if row[at] is None]

    def key(row: tuple[Any, ...]) -> Any:
        return row[at].lower() if isinstance(row[at], str) else row[at]

    # Not `reverse=is_score`: rows with equal values stay in the order of their ranks either way.
    ordered = sorted(known, key=key, reverse=is_score is not order.is_reversed)
    return Result(result.columns, [*ordered, *unknown][:limit])


def _require_values(con: duckdb.DuckDBPyConnection, suite: str, era: str | None, filters: Filters) -> None:
    """Raise QueryError for a value of a filter that no row has."""
    asked = {column: value for column in _VALUES if (value := getattr(filters, column)) is not None}
    if not asked:
        return
    found = _run_named(con, "rank_values", {"suite": suite, "era": era, "as_of": filters.as_of})
    known = dict(zip(found.columns, found.rows[0], strict=True))
    for column, value in asked.items():
        if known["n_rows"] and value.lower() not in (each.lower() for each in known[column]):
            raise QueryError(
                f"no row of this ranking has the {_VALUES[column]} {value}. {_list_values(value, known[column])}"
            )


def _list_values(value: str, known: Sequence[str]) -> str:
    if not known:
        return "No row has any."
    return f"Known, the nearest first: {_list_nearest(value, known)}."


def _list_nearest(value: str, known: Sequence[str]) -> str:
    more = f" and {len(known) - _SHOWN_VALUES:,} more" if len(known) > _SHOWN_VALUES else ""
    return f"{', '.join(sort_by_nearness(value, known)[:_SHOWN_VALUES])}{more}"


def list_suites(con: duckdb.DuckDBPyConnection) -> Result:
    """One row per declared suite: suite, title, current era and number of rows ranked in it; most rows first."""
    return _run_named(con, "suites", {})


def list_benchmarks(con: duckdb.DuckDBPyConnection, suite: str) -> Result:
    """Key and title of a suite's benchmarks, in the order of its columns."""
    return _run_named(con, "benchmarks", {"suite": suite})


def list_page_rows(
    con: duckdb.DuckDBPyConnection, suite: str, benchmarks: Sequence[str], filters: Filters = NO_FILTERS
) -> Result:
    """One row per evaluation that counts for a commit of a suite, ranked ones first: what the page shows.

    Of the filters, `models` and `sources` count, as in a board's ranking.
    """
    asked = {"suite": suite, "benchmarks": [*benchmarks], "models": filters.models, "sources": filters.sources}
    return _run_named(con, "page_rows", asked)


def list_page_table(
    con: duckdb.DuckDBPyConnection, table: str, filters: Filters = NO_FILTERS, **parameters: Any
) -> list[dict[str, Any]]:
    """The rows of queries/page_<table>.sql, as one dictionary each: all models at once, for their pages and the queue.

    Of the filters, `models` and `sources` count, as in a board's ranking.
    """
    sql = (SQL_FOLDER / "queries" / f"page_{table}.sql").read_text()
    known = {"models": filters.models, "sources": filters.sources} | parameters
    columns, rows = _run_named(con, f"page_{table}", {name: known[name] for name in _PARAMETER.findall(sql)})
    return [dict(zip(columns, row, strict=True)) for row in rows]


def choose_ranking(
    con: duckdb.DuckDBPyConnection, suite: str | None = None, era: str | None = None
) -> tuple[str, str, str | None]:
    """Name and title of a suite, and its era: those that `rank` shows without names. No era: nothing is ranked.

    Raises QueryError for a suite or era that does not exist.
    """
    name = _choose_suite(con, suite)
    title = next(str(row[1]) for row in list_suites(con).rows if row[0] == name)
    eras = [str(row[0]) for row in list_eras(con, name).rows]
    if era is not None:
        _require(era, eras, f"era of suite {name}")
    return name, title, era or next(iter(eras), None)


def list_scores(con: duckdb.DuckDBPyConnection, suite: str, era: str, filters: Filters = NO_FILTERS) -> Result:
    """One row per ranked model: score, size, and cost of its evaluation; best first.

    Of the filters, here and below, `models` and `sources` count.
    """
    return _run_named(con, "picture_scores", {"suite": suite, "era": era} | _of_board(filters))


def list_records(
    con: duckdb.DuckDBPyConnection, suite: str, era: str, holder: str, filters: Filters = NO_FILTERS
) -> Result:
    """One row per score that was the best of its `holder` (organization or country) so far, oldest first."""
    return _run_named(con, "picture_records", {"suite": suite, "era": era, "holder": holder} | _of_board(filters))


def list_shares(
    con: duckdb.DuckDBPyConnection, suite: str, era: str, holder: str, n: int, filters: Filters = NO_FILTERS
) -> Result:
    """One row per month and `holder` with models in the top n: how many."""
    asked = {"suite": suite, "era": era, "holder": holder, "n": n}
    return _run_named(con, "picture_shares", asked | _of_board(filters))


def list_history(con: duckdb.DuckDBPyConnection, model_id: str, suite: str, era: str | None) -> Result:
    """One row per complete commit of a model, setting and benchmark, or average: score and interval, oldest first."""
    return _run_named(con, "picture_history", {"model_id": model_id, "suite": suite, "era": era})


def list_shifts(con: duckdb.DuckDBPyConnection, filters: Filters = NO_FILTERS) -> Result:
    """One row per model ranked in leaderboard-v1 and leaderboard-v2: its places in both, most changed first."""
    return _run_named(con, "picture_shifts", _of_board(filters))


def list_external(
    con: duckdb.DuckDBPyConnection, ranking: str, suite: str, era: str, filters: Filters = NO_FILTERS
) -> Result:
    """One row per model that an external ranking and ours have in common: its places in both, most different first."""
    return _run_named(con, "picture_external", {"ranking": ranking, "suite": suite, "era": era} | _of_board(filters))


def list_rankings(con: duckdb.DuckDBPyConnection, suite: str | None, era: str | None) -> Result:
    """One row per external ranking with models of ours: ranking, and the suite and era where they have the most."""
    return _run_named(con, "picture_rankings", {"suite": suite, "era": era})


def list_nights(
    con: duckdb.DuckDBPyConnection, models: Sequence[str] | None = None, board: str | None = None
) -> Result:
    """One row per day: evaluations done, attempts that failed, evaluations and requests waiting at its end."""
    return _run_named(con, "picture_nights", {"models": None if models is None else [*models], "board": board})


def _of_board(filters: Filters) -> dict[str, Any]:
    return {"models": filters.models, "sources": filters.sources}


def read_build_name(con: duckdb.DuckDBPyConnection) -> tuple[str, datetime]:
    """The name of the build, and when it was made."""
    with explained():
        ((name, built_at),) = con.execute("select build_id, built_at from main.build_info").fetchall()
    return name, built_at


def list_eras(con: duckdb.DuckDBPyConnection, suite: str) -> Result:
    """One row per era of a suite that has ranked rows: era, whether it is the current one, number of rows."""
    return _run_named(con, "eras", {"suite": suite})


def find_disagreements(con: duckdb.DuckDBPyConnection, source: str, tolerance: float) -> Result:
    """Scores of an imported board that are more than `tolerance` (0..100) off those computed from its raw ones."""
    return _run_named(con, "disagreements", {"source": source, "tolerance": tolerance})


def list_unit_scores(con: duckdb.DuckDBPyConnection) -> Result:
    """One row per own evaluation and benchmark: evaluation_id, benchmark, normalized, average and era (or null)."""
    return _run_named(con, "unit_scores", {})


def list_model_ranks(con: duckdb.DuckDBPyConnection) -> Result:
    """One row per suite, era and ranked model: suite, era, whether it is the current one, model_id, best rank."""
    return _run_named(con, "model_ranks", {})


def list_correlations(
    con: duckdb.DuckDBPyConnection, ranking: str, suite: str | None = None, era: str | None = None
) -> Result:
    """How far an external ranking agrees with each suite and era, the one to show first.

    Raises QueryError for a suite or era that the warehouse does not have.
    """
    if suite is not None:
        _choose_suite(con, suite)
    if era is not None:
        _require(era, list_values(con, "select distinct era from main.leaderboard"), "era")
    return _run_named(con, "ranking_correlations", {"ranking": ranking, "suite": suite, "era": era})


def compare_ranking(con: duckdb.DuckDBPyConnection, ranking: str, suite: str, era: str) -> Result:
    """One row per model that an external ranking and ours have in common, those farthest apart first."""
    return _run_named(con, "ranking_comparison", {"ranking": ranking, "suite": suite, "era": era})


def count_complete(con: duckdb.DuckDBPyConnection, evaluation_ids: Sequence[str]) -> Result:
    """One row per suite: how many of these evaluations are of it, and of them complete, not comparable and ranked."""
    return _run_named(con, "imported_coverage", {"evaluation_ids": [*evaluation_ids]})


def sum_up_last_runs(con: duckdb.DuckDBPyConnection, since: datetime) -> tuple[int, int, float]:
    """Own evaluations done since a time, attempts that did not complete, and GPU-hours of all attempts."""
    ((n_done, n_failed, gpu_hours),) = _run_named(con, "last_runs", {"since": since}).rows
    return n_done, n_failed, gpu_hours


def list_failure_causes(con: duckdb.DuckDBPyConnection) -> Result:
    """One row per cause of failures, those that stop the most evaluations first; what is retried comes last."""
    return _run_named(con, "failure_causes", {})


def find_estimate_error(con: duckdb.DuckDBPyConnection, since: datetime) -> EstimateError:
    """How far estimates were from what the evaluations took that ended since then."""
    ((median_error, n_evaluations),) = _run_named(con, "estimate_error", {"since": since}).rows
    return EstimateError(median_error, n_evaluations)


def list_unmatched(con: duckdb.DuckDBPyConnection, ranking: str) -> Result:
    """One row per name of an external ranking that matches none of our models, and why."""
    return _run_named(con, "ranking_unmatched", {"ranking": ranking})


def compare(con: duckdb.DuckDBPyConnection, model_a: str, model_b: str) -> Result:
    """Two models, revisions or evaluations, paired by document: one row per shared suite and benchmark, and average.

    A name may be what `complete_name` takes. Raises QueryError where nothing compares.
    """
    model_a, model_b = (complete_name(con, name) for name in (model_a, model_b))
    with explained():
        result = _fetch(con.execute("select * from main.compare(?, ?)", [model_a, model_b]))
    if not result.rows:
        raise QueryError(
            f"{model_a} and {model_b} share no documents: they need complete evaluations with samples in one era of a"
            " suite. Imported boards have no samples. See the tables evaluations and leaderboard for what each model"
            " has."
        )
    return result


def explain_comparison(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> Iterator[str]:
    """Sentences that a reader of `compare` needs. `titles`: of benchmarks, where they have any."""
    yield (
        "Scores are normalized, over the questions that both models answered, and not clipped at 0: they may differ"
        " from those of the ranking."
    )
    if without := dict.fromkeys(row["benchmark"] for row in rows if row["low"] is None):
        names = ", ".join((titles or {}).get(name, name) for name in without)
        yield f"No 95% and p for {names}: a task has one document, so there is no standard error."
    if any(row["evaluation_a"] == row["evaluation_b"] for row in rows):
        yield "Both are one evaluation: the models have identical files and settings."
    yield (
        "Holm p: adjusted for the number of benchmarks; the average has none. detects: the true difference that p finds"
        " in 80% of cases."
    )


def complete_name(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """The whole name of what is compared: an evaluation's id, a model, or model@revision, shortened or not.

    A model may be named by a unique ending of its id, in any case. Raises QueryError for a name that is not ranked,
    or that several models or revisions have.
    """
    if list_values(con, "select model_id from main.candidates where ? in (model_id, evaluation_id) limit 1", [name]):
        return name
    given, at, prefix = name.partition("@")
    ids = list_values(
        con, "select distinct evaluation_id from main.candidates where starts_with(evaluation_id, ?)", [name]
    )
    if ids and (found := match_name(name, ids, list_models(con))):
        return found
    model = _find_model(con, given or name)
    if not at:
        return model
    revisions = list_values(con, "select distinct revision from main.candidates where model_id = ?", [model])
    matching = [revision for revision in revisions if revision.startswith(prefix.lower())]
    if prefix and len(matching) == 1:
        return f"{model}@{matching[0]}"
    what = f"matches {len(matching)} revisions" if prefix and matching else "names no revision"
    raise QueryError(f"{name} {what}. Write the first letters of one: {', '.join(matching or revisions)}.")


def match_model(name: str, known: Iterable[str]) -> str | None:
    """The one model that has this id, else this name without its owner, else this ending; in this case, else in any.

    None if no model has; raises QueryError where several have.
    """
    models = list(known)
    for is_match in (
        lambda model: model == name,
        lambda model: model.lower() == name.lower(),
        lambda model: _OWNER.sub("", model) == name,
        lambda model: _OWNER.sub("", model).lower() == name.lower(),
        lambda model: model.endswith(name),
        lambda model: model.lower().endswith(name.lower()),
    ):
        matching = [model for model in models if name and is_match(model)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise QueryError(f"{name} matches {len(matching)} models. Name one: {_list_nearest(name, matching)}.")
    return None


def match_name(name: str, ids: Iterable[str], models: Iterable[str]) -> str | None:
    """The one id that begins with a text of at least four letters, or the model that it means, by `match_model`.

    A whole name of a model comes before an id, and a text with a slash is a whole name. None: nothing is meant; raises
    QueryError where several are.
    """
    text = name.lower()
    models = [model for model in models if "/" not in text or model.lower() == text]
    is_whole = any(text in (model.lower(), _OWNER.sub("", model).lower()) for model in models)
    if not is_whole and re.fullmatch("[0-9a-f]{4,32}", text):
        matching = sorted({each for each in ids if each.startswith(text)})
        if len(matching) == 1:
            return matching[0]
        if matching:
            shown = ", ".join(each[: max(8, len(text) + 2)] for each in matching[:_SHOWN_IDS])
            more = "" if len(matching) <= _SHOWN_IDS else " ..."
            raise QueryError(f"{name} begins {len(matching)} ids. Write more letters of one: {shown}{more}.")
    return match_model(name, models)


def _find_model(con: duckdb.DuckDBPyConnection, name: str) -> str:
    known = list_models(con)
    if model := match_model(name, known):
        return model
    names = f" Ranked models, the nearest first: {_list_nearest(name, known)}." if known else ""
    raise QueryError(f"no ranked model, model@revision or evaluation is called {name}.{suggest(name, known)}{names}")


def name_compared(
    con: duckdb.DuckDBPyConnection, result: Result, model_a: str, model_b: str
) -> dict[str, tuple[str, str]]:
    """The two model@revision, shortened, that were compared in each suite of the answer of `compare`."""
    places = [result.columns.index(column) for column in ("suite", "evaluation_a", "evaluation_b")]
    model_a, model_b = (complete_name(con, name) for name in (model_a, model_b))

    def describe(name: str, evaluation_id: str) -> str:
        ((model, revision),) = _run_named(con, "compared", {"name": name, "evaluation_id": evaluation_id}).rows
        return f"{model}@{revision[:7]}"

    pairs = dict.fromkeys(tuple(row[place] for place in places) for row in result.rows)
    return {suite: (describe(model_a, a), describe(model_b, b)) for suite, a, b in pairs}


def _fetch(cursor: duckdb.DuckDBPyConnection) -> Result:
    return Result([column[0] for column in cursor.description or []], cursor.fetchall())


def _run_named(con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> Result:
    """Run queries/<name>.sql with its parameters bound."""
    with explained():
        return _fetch(con.execute((SQL_FOLDER / "queries" / f"{name}.sql").read_text(), parameters or None))


def _choose_suite(con: duckdb.DuckDBPyConnection, suite: str | None) -> str:
    suites = [str(row[0]) for row in list_suites(con).rows]
    if not suites:
        raise QueryError(
            "there is nothing to rank yet: the store has no evaluation of a suite. `nightboard nightly` runs some,"
            " `nightboard import` brings in those of others. Scores of imported files that have no tasks of a suite are"
            ' in the table task_scores: nightboard sql "select * from task_scores".'
        )
    if suite is None:
        return suites[0]
    _require(suite, suites, "suite")
    return suite


def _require(name: str, known: list[str], what: str) -> None:
    if name not in known:
        raise QueryError(
            f"no {what} is called {name}.{suggest(name, known)} Known: {', '.join(sorted(known)) or 'none yet'}."
        )
