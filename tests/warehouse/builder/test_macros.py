"""Functions and macros: made in order, explained, and never mixing up a parameter with a column."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from make_lake import START, Lake

from nightboard.warehouse.builder import sql_models
from nightboard.warehouse.builder.build import BuildError, build
from nightboard.warehouse.builder.scheduler import run_in_order
from nightboard.warehouse.builder.sql_models import load_models
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.schema.columns import STRING, Column
from nightboard.warehouse.schema.functions import FUNCTIONS
from nightboard.warehouse.schema.macros import MACROS, Macro, Parameter
from nightboard.warehouse.schema.marts import MODEL_TABLES


@pytest.fixture
def make(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Build with more SQL files (by path) and descriptions; the folder of the build."""
    lake.suite()
    lake.suite(suite="other")
    folder = shutil.copytree(sql_models.SQL_FOLDER, tmp_path / "sql")
    monkeypatch.setattr(sql_models, "SQL_FOLDER", folder)

    def build_with(files: dict[str, str], functions: tuple[Macro, ...] = (), macros: tuple[Macro, ...] = ()) -> Path:
        for name, sql in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(sql)
        for known, new in ((FUNCTIONS, functions), (MACROS, macros)):
            for macro in new:
                monkeypatch.setitem(known, macro.name, macro)
        build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
        return tmp_path / "warehouse"

    return build_with


SUITE = Parameter("suite", "name of the suite")
COLUMN = Column("task", STRING, "task")
TASKS = Macro("tasks_of", "one row per task", (SUITE, Parameter("n", "rows at most", "2")), (COLUMN,))
TASKS_SQL = "-- One row per task.\nselect suites.task from main.suites as suites where suites.suite = $suite limit $n"


def ask(warehouse: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(warehouse) as con:
        return con.execute(sql).fetchall()


def test_a_macro_takes_its_parameters_by_place_name_or_default(make: Callable[..., Path]) -> None:
    warehouse = make({"macros/tasks_of.sql": TASKS_SQL}, macros=(TASKS,))
    assert len(ask(warehouse, "from tasks_of('small')")) == 2
    assert len(ask(warehouse, "from tasks_of('small', 3)")) == 3
    assert len(ask(warehouse, "from main.tasks_of('small', n := 1)")) == 1
    assert ask(warehouse, "from tasks_of('none')") == []


def test_a_function_can_be_called_by_staging_and_by_readers(make: Callable[..., Path]) -> None:
    half = Macro("half", "half of a number", (Parameter("x", "number"),))
    organizations = (sql_models.SQL_FOLDER / "staging" / "organizations.sql").read_text()
    called = organizations.replace("select * from newest", "select * from newest where main.half(4) = 2")
    files = {"functions/half.sql": "-- Half of a number.\nselect $x / 2", "staging/organizations.sql": called}
    assert ask(make(files, functions=(half,)), "select half(5)") == [(2.5,)]


def test_a_mart_can_read_a_macro(make: Callable[..., Path], lake: Lake) -> None:
    lake.planned("e", "org/m")
    every = Macro("every_evaluation", "one row per evaluation", (), MODEL_TABLES["evaluations"].columns)
    costs = (sql_models.SQL_FOLDER / "marts" / "costs.sql").read_text()
    files = {
        "macros/every_evaluation.sql": "-- All.\nselect * from main.evaluations",
        "marts/costs.sql": costs.replace("main.evaluations", "main.every_evaluation()"),
    }
    assert ask(make(files, macros=(every,)), "select evaluation_id from costs") == [("e",)]


def test_macros_come_after_what_they_read_and_may_read_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sql in {
        "marts/b": "select * from main.y()", "marts/a": "select 1", "macros/y": "select main.x() from main.a",
        "functions/x": "select 1", "macros/z": "select * from main.v()", "macros/v": "select 1 from main.samples",
        "marts/samples": "select 1 from main.b, main.build_files",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.sql").write_text(sql)
    monkeypatch.setattr(sql_models, "SQL_FOLDER", tmp_path)
    order: list[str] = []
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as build")
        run_in_order(con, load_models(), lambda own, model: order.append(model.name))
    assert sorted(order) == ["a", "b", "samples", "v", "x", "y", "z"]
    assert order.index("y") > max(order.index("x"), order.index("a"))
    assert order.index("b") < order.index("samples") < order.index("v") < order.index("z")


def test_every_macro_explains_itself_its_parameters_and_columns(make: Callable[..., Path]) -> None:
    warehouse = make({})
    comments = dict(
        ask(
            warehouse,
            "select function_name, comment from duckdb_functions() where not internal and database_name != ''",
        )
    )
    assert comments == {macro.name: macro.comment for macro in [*FUNCTIONS.values(), *MACROS.values()]}
    assert TASKS.comment == (
        "one row per task. Parameters: suite: name of the suite; n (default 2): rows at most. Columns: task: task"
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(folder / "lake", folder / "warehouse", START)
    return folder / "warehouse"


@pytest.mark.parametrize("name", MACROS)
def test_a_macro_gives_the_types_that_it_declares(built: Path, name: str) -> None:
    """Tables are held to theirs by every build."""
    needed = ", ".join("null" for parameter in MACROS[name].parameters if parameter.default is None)
    described = [(column.name, column.type) for column in MACROS[name].columns]
    assert [row[:2] for row in ask(built, f"describe from {name}({needed})")] == described


def test_a_macro_without_a_comment_fails_the_build(make: Callable[..., Path]) -> None:
    with pytest.raises(BuildError, match=r"check every_column_has_a_comment failed for 1 row(.|\n)*table_name=silent"):
        make({"functions/silent.sql": "select 1"}, functions=(Macro("silent", "", ()),))


@pytest.mark.parametrize(
    ("sql", "macro", "message"),
    [
        (TASKS_SQL.replace("limit $n", ""), TASKS, r"tasks_of.sql: \$n must be both used and described"),
        (TASKS_SQL.replace("$n", "$n + $m"), TASKS, r"\$m must be both used"),
        (TASKS_SQL.replace("suites.suite =", "suite ="), TASKS, "suite without \\$ or a table's name"),
        (TASKS_SQL.replace("suites.task", "suites.task as job"), TASKS, r"main.tasks_of: .*task"),
        (TASKS_SQL.replace("main.suites", "main.nothing"), TASKS, r"main.tasks_of: .*nothing does not exist"),
        (TASKS_SQL.replace("suites.task", "suites.tusk"), TASKS, r"model main.tasks_of: .*tusk"),
    ],
)
def test_a_macro_that_does_not_fit_its_description_is_refused(
    make: Callable[..., Path], sql: str, macro: Macro, message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        make({"macros/tasks_of.sql": sql}, macros=(macro,))


def test_macros_work_where_the_file_is_attached_and_used_under_another_name(make: Callable[..., Path]) -> None:
    warehouse = make({"macros/tasks_of.sql": TASKS_SQL}, macros=(TASKS,))
    with duckdb.connect() as con:
        con.execute(f"attach '{warehouse / 'current.duckdb'}' as board (read_only)")
        con.execute("use board")
        assert len(con.execute("from tasks_of('small')").fetchall()) == 2


def test_older_versions_of_duckdb_know_what_macros_are_written_with(built: Path) -> None:
    """DuckDB 1.4, which may read a build, has no function `if`: it was a keyword."""
    with duckdb.connect(str((built / "current.duckdb").resolve()), read_only=True) as con:
        written = con.execute(
            "select function_name, macro_definition from duckdb_functions() where not internal and schema_name = 'main'"
        ).fetchall()
    assert written
    assert [name for name, sql in written if '"if"(' in sql or " if(" in sql] == []
