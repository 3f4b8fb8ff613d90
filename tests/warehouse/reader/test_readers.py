"""Readers while everything changes under them: the warehouse is rebuilt, the lake compacted, old files removed.

Eight processes query all the while. NIGHTBOARD_READERS_S=60 asks for a minute of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from make_lake import Lake, after
from warm import warm

from nightboard.warehouse.builder import compact as compaction
from nightboard.warehouse.builder.build import build

N_READERS = 8
# Enough that what the first ones read is replaced, and would be removed if nobody read it.
N_BUILDS = 8
SECONDS = float(os.environ.get("NIGHTBOARD_READERS_S", "6"))

# Every answer is a function of the number of evaluations, so one that mixes two builds gives itself away.
READER = """
import json, sys, time
from pathlib import Path
from nightboard.warehouse.reader.connection import connect

warehouse, stop, hold_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
query = '''
    select
        (select build_id from build_info),
        (select count(*) from leaderboard),
        (select count(*) from evaluations where state = 'done'),
        (select count(distinct evaluation_id) from samples),
        (select count(*) from samples),
        (select count(*) from samples inner join leaderboard using (evaluation_id))
'''
n_queries, builds, wrong = 0, set(), []
while not stop.exists():
    opened = time.time()
    with connect(warehouse) as con:
        first = con.execute(query).fetchone()
        while True:
            answer = con.execute(query).fetchone()
            n_queries += 1
            if n_queries == 1:
                print("begun", flush=True)
            n = answer[1]
            if answer != first or answer[1:] != (n, n, n, 4 * n, 4 * n):
                wrong.append([first, answer])
            # Readers that never rest would leave little of the machine to the builds.
            time.sleep(0.2)
            if time.time() >= opened + hold_s or stop.exists():
                break
    builds.add(first[0])
print(json.dumps({"n_queries": n_queries, "n_builds": len(builds), "wrong": wrong}))
"""


def add_evaluation(lake: Lake, number: int) -> None:
    lake.commit(f"org/m{number}", hours=number)
    lake.done(f"e{number}", f"org/m{number}", scores=0.3 + number / 1e4, hours=number)
    lake.attempt(f"e{number}", "completed")
    lake.samples(f"e{number}")


@pytest.mark.real
@pytest.mark.timeout(SECONDS * 4 + 1200)
def test_readers_see_no_error_and_no_mixed_build_while_all_is_rebuilt_compacted_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "COMPACT_FROM", 3)
    monkeypatch.setattr(compaction, "ROWS_PER_FILE", 40)
    folders = (tmp_path / "lake", tmp_path / "warehouse")
    first = Lake()
    first.suite()
    add_evaluation(first, 0)
    first.write(folders[0])
    build(*folders, after(0))
    stop = tmp_path / "stop"
    # Some look for a moment, some hold a build for longer than it is kept.
    readers = [
        subprocess.Popen(
            warm(READER, str(folders[1]), str(stop), str(hold_s)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for hold_s in (0, 0, 0, 0.5, 1.5, 4, 1e9, 1e9)
    ]  # fmt: skip
    assert [reader.stdout.readline() for reader in readers if reader.stdout] == ["begun\n"] * N_READERS
    n_builds, until = 0, time.time() + SECONDS
    while time.time() < until or n_builds < N_BUILDS:
        n_builds += 1
        new = Lake()
        add_evaluation(new, n_builds)
        new.write(folders[0])
        build(*folders, after(n_builds))
    stop.touch()
    found = []
    for reader in readers:
        out, err = reader.communicate(timeout=300)
        assert reader.returncode == 0, err
        found.append(json.loads(out))
    assert [each["wrong"] for each in found] == [[]] * N_READERS
    assert all(each["n_queries"] > 0 for each in found)
    assert found[0]["n_builds"] > 1, "who opens the current build sees new ones"
    build(*folders, after(n_builds + 1))
    assert not (folders[0] / "samples" / "e0.parquet").exists(), "replaced files were removed"
    assert len(list(folders[1].glob("nightboard-*.duckdb"))) == 3, "and so were builds, when nobody read them any more"
