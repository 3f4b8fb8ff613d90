"""How long commands take to start, as processor time of a whole process, against importing the libraries alone.

Byte code is warm, as in any installation that was used once. A query's own time is taken off.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from make_lake import START, Lake

from nightboard.warehouse.builder.build import build

RUNS = 5
COMMAND = str(Path(sys.executable).with_name("nightboard"))
HELPS = ("--version", "--help", "rank --help", "import board --help")
MODELS = ("org/good", "org/fair")
QUERY = f"""
import sys, time
from pathlib import Path
from nightboard.warehouse.reader import questions
from nightboard.warehouse.reader.connection import connect
MODELS = {MODELS}
started = time.process_time()
with connect(Path(sys.argv[1])) as con:
    {{call}}
print(time.process_time() - started)
"""
BOARD = "board: mine\ntitle: Mine\nwatch: quickstart\nsuites: [quickstart]\ncluster: local\n"
QUERIES = [
    (["rank"], "questions.list_suites(con), questions.rank(con), questions.list_eras(con, 'small')"),
    (["compare", *MODELS], "questions.name_compared(con, questions.compare(con, *MODELS), *MODELS)"),
    (["sql", "from leaderboard"], "con.execute('from leaderboard').fetchall()"),
]


def start_times() -> Iterator[tuple[str, float, str, float, float]]:
    """What, its seconds, against what, the seconds of that, and the ratio of the two."""
    with tempfile.TemporaryDirectory() as name:
        environment = keep_byte_code(Path(name))
        libraries = "import typer, rich"
        least = measure_cpu([sys.executable, "-c", libraries], environment)
        for arguments in HELPS:
            ours = measure_cpu([COMMAND, *arguments.split()], environment)
            yield f"nightboard {arguments}", ours, libraries, least, ours / least
        store = _make_store(Path(name))
        libraries = "import duckdb, typer, rich"
        least = measure_cpu([sys.executable, "-c", libraries], environment)
        for words, call in QUERIES:
            ours = measure_cpu([COMMAND, *words, "--store", str(store)], environment)
            ours -= _time_query(call, store, environment)
            yield f"nightboard {' '.join(words)}, without its query", ours, libraries, least, ours / least
        board = Path(name) / "mine.yaml"
        board.write_text(BOARD + f"store: {store}\n")
        ours = measure_cpu([COMMAND, "status", "--board", str(board)], environment)
        yield "nightboard status, with its profiles", ours, libraries, least, ours / least


def keep_byte_code(folder: Path) -> dict[str, str]:
    """An environment with byte code in a folder of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return environment | {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}


def run_quietly(command: list[str], environment: dict[str, str]) -> None:
    """Run a command, and drop what it prints."""
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def measure_cpu(
    command: list[str], environment: dict[str, str], run: Callable[[list[str], dict[str, str]], None] = run_quietly
) -> float:
    """The least seconds of the processor that a process takes; the first run, which writes byte code, is left out."""
    times = []
    for _ in range(RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(command, environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times[1:])


def _time_query(call: str, store: Path, environment: dict[str, str]) -> float:
    command = [sys.executable, "-c", QUERY.format(call=call), str(store / "warehouse")]
    return min(float(subprocess.check_output(command, env=environment)) for _ in range(RUNS))


def _make_store(folder: Path) -> Path:
    lake = Lake()
    lake.suite()
    for model, score in zip(MODELS, (0.75, 0.5), strict=True):
        lake.commit(model)
        lake.done(f"e {model}", model, scores=score)
        lake.samples(f"e {model}")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder
