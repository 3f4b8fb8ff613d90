"""The tables that a page gives to its readers: those that say what was evaluated, cut to what a board shows.

None of them has a text of a document, a log or the name of a person.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nightboard.warehouse.builder.sql_text import literal, quote
from nightboard.warehouse.reader.connection import explained
from nightboard.warehouse.schema.columns import UTC_TIMESTAMP, Column
from nightboard.warehouse.schema.marts import BUILD_FILES, BUILD_INFO, LEADERBOARD, MODEL_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import pyarrow as pa

    from nightboard.warehouse.reader.questions import Filters

# What the conditions below share: the evaluations and models that a ranking of the board shows.
_BOARD = """
with
board as (
    select
        cast($models as varchar[]) as models,
        cast($sources as varchar[]) as sources,
        cast($suites as varchar[]) as suites
),
models as (select unnest(models) as model_id from board),
sources as (select unnest(sources) as source from board),
suites as (
    select distinct suite from main.suites, board
    where board.suites is null or suite in (select unnest(board.suites) from board)
),
shown as (
    select * from main.candidates
    where suite in (from suites) and (
        (select models is null from board)
        or ranked_as in (from sources)
        or (ranked_as = 'run' and model_id in (from models))
    )
)
"""
_RANKED = "(evaluation_id, model_id) in (select (evaluation_id, model_id) from shown)"
_SCORED = "evaluation_id in (select evaluation_id from shown)"
# Also those that have failed, wait or may not be compared, as on the pages of models.
_EVALUATED = f"""{_SCORED} or suite in (from suites) and (
    (select models is null from board)
    or source in (from sources)
    or (coalesce(source, 'run') = 'run' and model_id in (from models))
)"""
_EVERYTHING_OR = "(select models is null from board) or"
_CONDITIONS = {
    LEADERBOARD.name: _RANKED,
    "benchmark_scores": _SCORED,
    "candidates": _RANKED,
    "models": f"{_EVERYTHING_OR} model_id in (select model_id from shown)",
    "organizations": f"{_EVERYTHING_OR} organization in (select organization from shown)",
    "evaluations": _EVALUATED,
    "costs": f"evaluation_id in (select evaluation_id from main.evaluations where {_EVALUATED})",
    "suites": "is_newest and suite in (from suites)",
}

# Questions with their SQL, for readers to begin with. SUITE and ERA: what is ranked; WIDE and BENCHMARK: the suite's
# table, and its first benchmark.
EXAMPLES = {
    "Which models are the best?": """
select rank, rank_low, rank_high, model_id, round(average, 2) as average, params_b, license
from leaderboard
where suite = SUITE and era = ERA
order by rank
limit 20
""",
    "Which model is the best of its size?": """
select 2 ** ceil(log2(params_b)) as up_to_b, count(*) as models, arg_max(model_id, average) as best,
       round(max(average), 2) as average
from leaderboard
where suite = SUITE and era = ERA and params_b > 0
group by up_to_b
order by up_to_b
""",
    "Which models are not beaten by any model of their size or smaller?": """
select model_id, params_b, round(average, 2) as average
from leaderboard
where suite = SUITE and era = ERA and params_b > 0
window smaller as (order by params_b, rank rows between unbounded preceding and 1 preceding)
qualify coalesce(average > max(average) over smaller, true)
order by params_b
""",
    "Which models are the best at one benchmark?": """
select model_id, round(BENCHMARK, 2) as BENCHMARK, rank
from WIDE
where era = ERA
order by WIDE.BENCHMARK desc, rank
limit 20
""",
    "Which organizations have the most models among the first 100?": """
select organization, count(*) as models, min(rank) as best_rank
from leaderboard
where suite = SUITE and era = ERA and rank <= 100
group by organization
order by models desc, best_rank
""",
    "Which commits changed a model's average the most?": """
select model_id, revision[:7] as commit, committed_at, round(average, 2) as average,
       round(average - lag(average) over commits, 2) as change
from candidates
where suite = SUITE and era = ERA
window commits as (partition by model_id, precision, chat_template, settings, ranked_as order by committed_at, revision)
qualify change <> 0
order by abs(change) desc
limit 20
""",
    "What did the evaluations cost?": """
select model_id, count(*) as evaluations, round(sum(gpu_hours), 2) as gpu_hours,
       round(sum(coalesce(co2_kg, estimated_co2_kg)), 2) as co2_kg
from costs
group by model_id
order by co2_kg desc nulls last, gpu_hours desc nulls last
limit 20
""",
}
_PLACE = re.compile("SUITE|ERA|WIDE|BENCHMARK")


@dataclass(frozen=True)
class BoardTable:
    """A table with its rows; `suite` where it is the wide table of one. Times are in UTC, without a time zone."""

    name: str
    grain: str
    columns: tuple[Column, ...]
    rows: pa.Table = field(repr=False)
    suite: str | None = None

    def write_stream(self) -> bytes:
        """The rows as a stream of Arrow: the same rows give the same bytes."""
        import pyarrow as pa

        # DuckDB leaves in the place of a null what was in memory; a copy has zeros there.
        rows = self.rows.take(pa.array(range(self.rows.num_rows), pa.int64()))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        return bytes(sink.getvalue())


def read_board_tables(
    con: duckdb.DuckDBPyConnection, filters: Filters, suites: Sequence[str] | None
) -> list[BoardTable]:
    """The tables of what is shown: all of a store, or these suites, and of the filters `models` and `sources`.

    Those that are wide, one per suite, come after `leaderboard`, if they have rows.
    """
    asked = {"models": filters.models, "sources": filters.sources, "suites": None if suites is None else [*suites]}
    with explained():
        grains = dict(
            con.execute(
                "select table_name, comment from duckdb_tables()"
                " where database_name = current_database() and schema_name = 'main' order by all"
            ).fetchall()
        )
        wide = [name for name in grains if name not in {*MODEL_TABLES, BUILD_FILES.name, BUILD_INFO.name}]
        names = [LEADERBOARD.name, *wide, *(name for name in _CONDITIONS if name != LEADERBOARD.name)]
        tables = [_read_table(con, name, grains[name], asked, is_wide=name in wide) for name in names]
    return [table for table in tables if table.rows.num_rows or table.name in _CONDITIONS]


def _read_table(
    con: duckdb.DuckDBPyConnection, name: str, grain: str, asked: dict[str, list[str] | None], *, is_wide: bool
) -> BoardTable:
    described = con.execute(
        "select column_name, data_type, comment from duckdb_columns()"
        " where database_name = current_database() and schema_name = 'main' and table_name = ? order by column_index",
        [name],
    ).fetchall()
    # DuckDB-WASM knows time zones only with an extension that it would fetch.
    selected = ", ".join(
        f"{quote(column)} at time zone 'UTC' as {quote(column)}" if kind == UTC_TIMESTAMP else quote(column)
        for column, kind, _ in described
    )
    condition = _CONDITIONS[LEADERBOARD.name if is_wide else name]
    sql = f"{_BOARD} select {selected} from main.{quote(name)} where {condition} order by rowid"
    rows = con.sql(sql, params=asked).to_arrow_table()
    columns = tuple(
        Column(column, "TIMESTAMP" if kind == UTC_TIMESTAMP else kind, comment) for column, kind, comment in described
    )
    suite = rows["suite"][0].as_py() if is_wide and rows.num_rows else None
    return BoardTable(name, grain, columns, rows, suite)


def write_example(sql: str, wide: BoardTable, era: str) -> str:
    """The SQL of one of EXAMPLES, for the suite of a wide table and one of its eras."""
    names = {
        "SUITE": literal(wide.suite or ""),
        "ERA": literal(era),
        "WIDE": _write_name(wide.name),
        "BENCHMARK": _write_name(wide.columns[len(LEADERBOARD.columns)].name),
    }
    return _PLACE.sub(lambda found: names[found[0]], sql.strip())


def _write_name(name: str) -> str:
    """Without the quotes that plain names do not need."""
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else quote(name)
