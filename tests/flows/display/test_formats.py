"""Rows for machines and for people: precision, rounding, and paths that can be pasted."""

from __future__ import annotations

import io
import json
import math
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from nightboard.flows.display.console import Terminal
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.formats import to_bytes, to_score_text, to_text
from nightboard.flows.display.rows import tell_logs
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.result import Result

RESULT = Result(
    ["rank", "model_id", "average", "license"], [(1, "lab/a|b", 42.123456789012345, None), (2, "lab/c", 1.0, "mit")]
)


def test_machines_get_full_precision_and_people_two_decimals() -> None:
    records = json.loads(to_bytes(RESULT, Format.json))
    assert records[0] == {"rank": 1, "model_id": "lab/a|b", "average": 42.123456789012345, "license": None}
    assert to_bytes(RESULT, Format.csv).decode().splitlines()[1] == "1,lab/a|b,42.123456789012344,"
    assert pq.read_table(io.BytesIO(to_bytes(RESULT, Format.parquet))).to_pylist() == records
    markdown = to_bytes(RESULT, Format.markdown).decode().splitlines()
    assert markdown[2] == "| 1 | lab/a\\|b | 42.12 |  |"
    assert "42.12" in to_bytes(RESULT, Format.table).decode()


def test_a_cell_shows_short_revisions_and_small_sizes() -> None:
    assert to_text("revision", "a" * 40) == "aaaaaaa"
    assert to_text("params_b", 0.0012345) == "0.00123"
    assert to_text("license", None) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00412, "0.00412"), (-0.0012345, "-0.00123"), (0.05, "0.05"), (3.1e-7, "3.1e-07"), (0.0, "0.00"),
        (0.125, "0.12"), (99.999, "100.00"), (123456789.123, "123456789.12"), (1e300, "1e+300"),
        (-1.5e15, "-1.5e+15"), (Decimal("0.0030"), "0.003"), (math.inf, "inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_rounding_hides_no_small_number_and_prints_no_endless_one(value: float | Decimal, text: str) -> None:
    assert to_text("stderr", value) == text


def test_scores_have_two_decimals_however_small() -> None:
    assert to_score_text("arc", 0.0123) == "0.01"
    assert to_score_text("params_b", 0.0123) == "0.0123"
    assert to_score_text("license", None) == ""


def test_a_text_from_outside_is_neither_markup_nor_emoji() -> None:
    text = io.StringIO()
    ui = Terminal(Console(file=text, width=80))
    ui.say("[bold]lab/x:fire: [/]")
    ui.say_path("[red]:fire: ", "/a/:fire:")
    assert text.getvalue() == "[bold]lab/x:fire: [/]\n[red]:fire: /a/:fire:\n"
    with ui.progress() as bars:
        bars.add_task("[bold]lab/x:fire:", total=1)
        bars.console.print(bars.get_renderable())
    assert "[bold]lab/x:fire:" in text.getvalue()


def test_the_path_of_a_log_can_be_pasted(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/log.txt").touch()
    tell = tell_logs(Store(tmp_path))
    assert tell("log", "runs/log.txt") == str(tmp_path / "runs/log.txt")
    assert tell("log", "runs/gone.txt") == "runs/gone.txt"
    assert tell("reason", "runs/log.txt") == "runs/log.txt"
    text = io.StringIO()
    Terminal(Console(file=text, width=20)).say(f"  log: {tmp_path}/runs/log.txt")
    assert f"{tmp_path}/runs/log.txt" in text.getvalue(), "however narrow the terminal is"
