"""The columns of the front page's table: their order, titles and widths, which the template and the script share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nightboard.tasks.page.data import DECIMALS, SuiteData
from nightboard.tasks.page.render import name_model_file, show_codes

# Names and licenses are shorter; what is longer comes from a repository that plays tricks.
MAX_LENGTH = 300
# So many shades tell low scores from high ones.
N_SHADES = 8


@dataclass(frozen=True)
class Column:
    """A column. `kind`: how its values are drawn. `width`: in pixels. `is_shown`: unless a reader chooses others."""

    key: str
    title: str
    kind: str
    width: int
    help: str
    is_shown: bool = False
    decimals: int = 0


# Before an interval, as in `nightboard rank`.
APPROXIMATE = "~"
_PADDING = 16
_DIGIT = 8
_FIRST = (
    Column("rank", "#", "number", 0, "Rank by average", True),
    Column("places", "Places", "places", 0, "Ranks consistent with the noise, at 95%, among all of the era", True),
    Column("band", "Range", "band", 76, "The places, drawn: the left edge is rank 1", True),
    Column("model_id", "Model", "model", 300, "The model's repository", True),
    Column("average", "Average", "number", 80, "Mean of the normalized benchmark scores, 0 to 100", True, 2),
    Column("interval", "95%", "interval", 120, "95% interval; ~: approximate, not computed from samples alone", True),
)
_LAST = (
    Column("params_b", "Size (B)", "number", 76, "Parameters, in billions", True),
    Column("precision", "Precision", "text", 104, "Number format of the weights in the evaluation"),
    Column("chat_template", "Chat template", "yes", 128, "Whether questions were asked in the model's chat template"),
    Column("model_type", "Type", "text", 180, "How the model was made"),
    Column("license", "License", "text", 120, "As the repository says", True),
    Column("organization", "Organization", "text", 160, "Owner of the repository"),
    Column("country", "Country", "text", 100, "Country of the organization"),
    Column("base_model", "Base model", "text", 280, "What it was made from, as the repository says"),
    Column("architecture", "Architecture", "text", 190, "Class of the model"),
    Column("is_merged", "Merge", "yes", 84, "Whether it merges other models"),
    Column("is_moe", "Experts", "yes", 90, "Whether it is a mixture of experts"),
    Column("is_flagged", "Flagged", "yes", 90, "Whether the board has flagged it"),
    Column("is_official", "Official", "yes", 90, "Whether its makers submitted it"),
    Column("model_state", "State", "text", 112, "Whether the repository can be had today"),
    Column("revision", "Commit", "text", 92, "The evaluated commit"),
    Column("settings", "Settings", "text", 150, "Other settings that can change a score"),
    Column("source", "Source", "text", 210, "Own run, or the board that published the scores"),
    Column("identical_to", "Same weights as", "text", 260, "The model whose evaluation counts for it"),
    Column("likes", "Likes", "number", 80, "On the Hub, when the scores were published"),
    Column("uploaded_at", "Uploaded", "date", 106, "When the model came to the Hub"),
    Column("committed_at", "Committed", "date", 112, "When the commit was made"),
    Column("known_at", "Known since", "date", 118, "When the scores became known"),
    Column("gpu_hours", "GPU hours", "number", 104, "Of the evaluation", decimals=2),
    Column("co2_kg", "CO2 (kg)", "number", 96, "Of the evaluation, perhaps estimated", decimals=2),
)
_SCORE_WIDTH = 74


def list_columns(suite: SuiteData) -> list[Column]:
    """All columns of a suite, in the order of the table. A benchmark's key is told from others by its prefix."""
    n_digits = max(3, len(str(max(filter(None, suite.columns.get("rank", ())), default=1))))
    # A rank has the sign of a tie behind it, places a dash between them.
    widths = {"rank": _PADDING + 15 + _DIGIT * n_digits, "places": _PADDING + 10 + 2 * _DIGIT * n_digits}
    first = [replace(column, width=widths.get(column.key, column.width)) for column in _FIRST]
    scores = (
        Column(f"score:{benchmark.key}", benchmark.title, "score", max(_SCORE_WIDTH, 24 + 9 * len(benchmark.title)),
               f"Score in {benchmark.title}", True, 2)
        for benchmark in suite.benchmarks
    )  # fmt: skip
    return [*first, *scores, *_LAST]


@dataclass(frozen=True)
class Cell:
    """A cell of the first rows. `band`: where the range of places begins, and how wide it is, in percent.

    `file`: the page of a model.
    """

    column: Column
    text: str
    shade: int | None = None
    band: tuple[float, float] | None = None
    file: str = ""


def write_rows(suite: SuiteData, columns: list[Column], rows: list[dict[str, Any]], n_ranked: int) -> list[list[Cell]]:
    """The cells of ranked rows, as the script writes them, too."""
    spans = list_spans(suite)
    positions = {f"score:{benchmark.key}": number for number, benchmark in enumerate(suite.benchmarks)}

    def write(column: Column, row: Mapping[str, Any]) -> Cell:
        if column.kind == "score":
            position = positions[column.key]
            score = row["normalized"][position]
            return Cell(column, write_number(score, 2), find_shade(score, spans[position]))
        if column.kind == "places":
            return Cell(column, write_span(row["rank_low"], row["rank_high"], 0))
        if column.kind == "interval":
            span = write_span(row["average_low"], row["average_high"], 2)
            return Cell(column, APPROXIMATE + span if span and row["is_approximate"] else span)
        if column.kind == "band":
            return Cell(column, "", band=place_band(row["rank_low"], row["rank_high"], n_ranked))
        if column.key == "params_b":
            return Cell(column, write_short(row["params_b"]))
        if column.kind == "number":
            return Cell(column, write_number(row[column.key], column.decimals))
        if column.kind == "model":
            return Cell(column, shorten(row["model_id"]), file=name_model_file(row["model_id"]))
        if column.kind == "yes":
            return Cell(column, {True: "yes", False: "no"}.get(row[column.key], ""))
        return Cell(column, shorten(row[column.key] or ""))

    return [[write(column, row) for column in columns] for row in rows]


def list_spans(suite: SuiteData) -> list[tuple[float, float]]:
    """Lowest and highest normalized score of each benchmark, over all rows."""
    spans = []
    for number in range(len(suite.benchmarks)):
        scores = [row[number] for row in suite.columns["normalized"] if row[number] is not None]
        spans.append((min(scores), max(scores)) if scores else (0.0, 0.0))
    return spans


def find_shade(score: float | None, span: tuple[float, float]) -> int | None:
    """The shade of a score between the lowest and the highest one: 0 is the faintest."""
    low, high = span
    if score is None:
        return None
    return min(N_SHADES - 1, int((score - low) / (high - low) * N_SHADES)) if high > low else 0


def place_band(low: int | None, high: int | None, n_ranked: int) -> tuple[float, float] | None:
    """Where a range of places begins and how wide it is, in percent of all places; narrow ones stay visible."""
    if low is None or high is None or not n_ranked:
        return None
    width = min(100.0, max(2.5, (high - low + 1) / n_ranked * 100))
    return round(min((low - 1) / n_ranked * 100, 100 - width), 2), round(width, 2)


def shorten(text: str) -> str:
    """A text from a repository, with what turns it or cannot be written shown as codes, and not too long."""
    shown = show_codes(text[: MAX_LENGTH + 1])
    return shown if len(text) <= MAX_LENGTH else f"{shown[:MAX_LENGTH]}…"


def write_number(value: float | None, decimals: int) -> str:
    """A number with so many decimals."""
    return "" if value is None else f"{value:.{decimals}f}"


def write_short(value: float | None) -> str:
    """A size without zeros at its end."""
    return "" if value is None else f"{value:.{DECIMALS['params_b']}f}".rstrip("0").rstrip(".")


def write_span(low: float | None, high: float | None, decimals: int) -> str:
    """From and to; one number where they are the same."""
    if low is None or high is None:
        return ""
    return write_number(low, decimals) if low == high else f"{low:.{decimals}f}–{high:.{decimals}f}"
