"""DuckDB's own shell on the current build: it reads all of it, in UTC, and changes nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from make_lake import START, Lake
from warm import warm_command

from nightboard.warehouse.builder.build import build
from nightboard.warehouse.builder.publish import current_build
from nightboard.warehouse.reader import shell
from nightboard.warehouse.reader.shell import ShellError, open_shell

# Colour of the background, kind of the terminal, place of the cursor.
TERMINAL_ANSWERS = {
    "\x1b]11;?\x07": "\x1b]11;rgb:0000/0000/0000\x07",
    "\x1b[c": "\x1b[?1;2c",
    "\x1b[6n": "\x1b[1;1R",
}
COMMAND = str(Path(sys.executable).with_name("nightboard"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, folder = Lake(), tmp_path_factory.mktemp("it's [a] store")
    lake.suite()
    lake.commit("org/good")
    lake.done("e", "org/good")
    lake.samples("e")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


def run(store: Path, typed: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        warm_command("sql", "--shell", "--store", str(store)),
        input=".mode csv\n" + typed, env=os.environ | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


def test_the_shell_reads_every_table_and_the_samples_in_utc(store: Path) -> None:
    with duckdb.connect(str(current_build(store / "warehouse")), read_only=True) as con:
        sql = "select distinct table_name from duckdb_columns() where schema_name = 'main' and not internal order by 1"
        tables = [row[0] for row in con.execute(sql).fetchall()]
    asked = [f"select '{table}', count(*) >= 0 from {table};" for table in tables]
    typed = "\n".join([".headers off", *asked, "select count(*) from samples;", "select current_setting('TimeZone');"])
    done = run(store, typed, TZ="America/New_York")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [*(f"{table},true" for table in tables), "4", "UTC"]


REFUSED = [
    "create table t as select 1;",
    "delete from leaderboard;",
    "copy (select 1) to '{out}';",
    "copy (select 1) to '{sample}';",
    "copy (select 1) to '{build}' (format csv);",
    "export database '{out}';",
    "attach '{out}' as other;",
    "select * from read_text('/etc/hostname');",
    "select * from glob('/*');",
    "set enable_external_access = true;",
    "reset lock_configuration;",
    "install httpfs;",
    ".shell touch {out}",
    ".output {out}",
    ".open {out}",
    ".import /etc/hostname t",
    ".read /etc/hostname",
    ".cd /",
]


def test_the_shell_changes_nothing_and_reads_no_other_file(store: Path, tmp_path: Path) -> None:
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    places = {
        "sample": next((store / "lake" / "samples").glob("*.parquet")),
        "build": current_build(store / "warehouse"),
        "out": tmp_path / "out",
    }
    typed = [line.format(**{name: str(path).replace("'", "''") for name, path in places.items()}) for line in REFUSED]
    done = run(store, "\n".join([".headers off", *(f"{line}\n.print ###" for line in typed)]))
    assert done.returncode == 1
    answers = dict(zip(REFUSED, done.stdout.split("###"), strict=False))
    assert [line for line, answer in answers.items() if not re.search("Error|cannot be used", answer)] == []
    assert len(answers) == len(REFUSED)
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == files


def test_the_shell_works_in_a_terminal(store: Path) -> None:
    master, end = pty.openpty()
    command = [COMMAND, "sql", "--shell", "--store", str(store)]
    environment = os.environ | {"TERM": "xterm", "HOME": str(store.parent)}
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True, env=environment)
    terminal = Terminal(master)
    try:
        os.close(end)
        terminal.await_text(" D ")
        os.write(master, b"select 'rows: ' || count(*) from samples;\r")
        terminal.await_text("rows: 4")
        terminal.leave(process)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


class Terminal:
    """A terminal that answers what the shell asks it."""

    def __init__(self, master: int) -> None:
        self.master, self.seen = master, ""
        self.answered = dict.fromkeys(TERMINAL_ANSWERS, 0)

    def await_text(self, wanted: str, patience_s: float = 240) -> None:
        """Until it shows the text anew."""
        start, until = len(self.seen), time.monotonic() + patience_s
        while wanted not in self.seen[start:]:
            assert time.monotonic() < until, f"no {wanted!r} in {self.seen[start:]!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
                self._answer()

    def _answer(self) -> None:
        # A question may come in two pieces: all that was seen is searched.
        for question, answer in TERMINAL_ANSWERS.items():
            n_asked = self.seen.count(question)
            os.write(self.master, answer.encode() * (n_asked - self.answered[question]))
            self.answered[question] = n_asked

    def leave(self, process: subprocess.Popen[bytes]) -> None:
        # Keys that come while the shell asks its terminal something are lost.
        with contextlib.suppress(OSError):  # the shell has left its terminal
            for _ in range(60):
                os.write(self.master, b".exit\r")
                with contextlib.suppress(AssertionError):
                    self.await_text("never shown", patience_s=2)
        process.wait(60)


def test_without_a_shell_it_says_how_to_get_one(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shell.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ShellError, match=f"Run `{sys.executable} -m pip install duckdb-cli`"):
        open_shell(store / "warehouse")


@pytest.mark.parametrize("program", ["echo 'it is too new' >&2; exit 1", "echo false", "exit 0"])
def test_a_shell_that_cannot_be_locked_is_not_opened(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    monkeypatch.setattr(shell.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "duckdb").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "duckdb").chmod(0o755)
    with pytest.raises(ShellError, match="cannot open it read-only and locked"):
        open_shell(store / "warehouse")


def test_the_shell_takes_no_query_beside_it(store: Path) -> None:
    done = subprocess.run(
        [COMMAND, "sql", "select 1", "--shell", "--store", str(store)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
