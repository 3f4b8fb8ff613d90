"""What `status` shows on terminals of different widths."""

from __future__ import annotations

from screen import show_on_screen

from nightboard.flows.display.formats import Format
from nightboard.flows.display.status import print_status
from nightboard.tasks.runs.status import Status

ROW = Status(
    evaluation_id="e" * 32, model_id="organization/some-model-8B", revision="abcdef0" * 5, suite="leaderboard-v2",
    shard="bbh.2", attempt=2, state="RUNNING", job_id="4711_3", node="node0042", gpus=1, age_s=49.0, benchmark="bbh",
    finished=1, total=3, left_s=600.0,
)  # fmt: skip


def show(width: int) -> list[str]:
    return show_on_screen(width, lambda: print_status([ROW], Format.table, None)).splitlines()


def test_a_narrow_terminal_shows_model_state_and_time_left_before_the_ids() -> None:
    lines = show(80)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["model", "state", "job", "age", "benchmark", "left"]
    assert " ".join(lines[1].split()) == "organization/some-model-8B RUNNING 4711_3 49 s bbh (2 of 3) ~10 min"
    assert "hidden: evaluation, revision, suite, shard, node;" in " ".join(lines[2:])


def test_a_wide_terminal_shows_all() -> None:
    lines = show(160)
    assert len(lines) == 2
    shown = "eeeeeeee organization/some-model-8B abcdef0 leaderboard-v2 bbh.2 (try 2) RUNNING 4711_3 node0042"
    assert " ".join(lines[1].split()).startswith(shown)
