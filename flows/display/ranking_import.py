"""Prints the result of `import ranking`: models with the largest differences, the correlation, unmatched names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.formats import to_records
from nightboard.flows.display.rows import print_json, print_result
from nightboard.flows.display.skipped import warn_skipped
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.imports.ranking import RankingImport
from nightboard.warehouse.reader.result import Result

SHOWN_NAMES = 10
# With fewer, the intervals of a rank correlation hold less often than they say.
FEW_MODELS = 10

# The earliest time zone is this much ahead of UTC.
_EARLIEST_ZONE = timedelta(hours=14)

# Lower bounds of a correlation's size, and the words for it.
_WORDS = (
    (1, "the same order"),
    (0.9, "almost the same order"),
    (0.7, "a similar order"),
    (0.4, "a partly similar order"),
    (0.2, "a barely similar order"),
)
_WHY = {"ambiguous": "several models end with it", "taken": "another name matches the model better"}


@dataclass(frozen=True)
class RankingReport:
    """Rows of the warehouse about an external ranking; `models` belong to the first row of `correlations`."""

    correlations: Result
    models: Result
    unmatched: Result


def print_ranking_import(done: RankingImport, report: RankingReport, form: Format, top: int, now: datetime) -> None:
    """Print the skipped rows of an imported ranking, and how well it agrees with ours."""
    if form is Format.json:
        comparison = {name: to_records(getattr(report, name)) for name in ("correlations", "models", "unmatched")}
        print_json(asdict(done) | comparison)
        return
    if form is not Format.table:
        print_result(report.models, form)
        return
    ui = Terminal()
    warn_skipped(ui, done.left_out)
    rows = to_records(report.correlations)
    if rows and report.models.rows:
        _print_models(ui, rows[0], report.models, top)
    _print_unmatched(ui, report.unmatched)
    for row in rows:
        ui.say(describe_agreement(row))
    for warning in _list_doubts(done, rows, now):
        ui.warn(warning)
    if not done.n_imported:
        ui.say(f"{done.file}: nothing to import, {count(len(done.left_out), 'row')} skipped.")
        return
    days = f" of {', '.join(f'{date:%Y-%m-%d}' for date in done.dates[-3:])}" if done.dates else ""
    ui.say(
        f"{done.file}: {count(done.n_imported, 'row')} as ranking {done.ranking}{days}"
        f"{'' if done.is_new else ' (all already imported)'}, {len(done.left_out)} skipped."
    )


def _list_doubts(done: RankingImport, rows: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Warnings about dates that make another ranking the compared one."""
    if done.dates and rows and rows[0]["published_at"] > done.dates[-1]:
        yield (
            f"Compared is {done.ranking} of {rows[0]['published_at']:%Y-%m-%d}, imported before and newer than this"
            " file,"
            f" of {done.dates[-1]:%Y-%m-%d}. To compare this file, import it with another --name."
        )
    if future := [f"{date:%Y-%m-%d}" for date in done.dates if date > now + _EARLIEST_ZONE]:
        yield (
            f"The date {future[-1]} is in the future: until then it is the newest of {done.ranking}, and later imports"
            " are"
            " not compared. If it is a mistake, import the corrected file with another --name."
        )


def _print_models(ui: Terminal, row: Mapping[str, Any], models: Result, top: int) -> None:
    ui.step(
        f"{row['ranking']} of {row['published_at']:%Y-%m-%d} and {row['suite']} (era {row['era']}): ranks among"
        f" {count(row['n_common'], 'common model')}, largest differences first"
    )
    titles = ["model", "theirs", "ours", "shift", "their rank", "our rank", "their score", "our average"]
    cells = [
        (
            model["model_id"], str(model["their_place"]), str(model["our_place"]),
            f"{model['shift']:+d}" if model["shift"] else "0",
            str(model["their_rank"]), str(model["our_rank"]),
            "" if model["their_score"] is None else f"{model['their_score']:.2f}", f"{model['our_average']:.2f}",
        )
        for model in to_records(models)[:top]
    ]  # fmt: skip
    print_table(ui.console, cells_table(titles, cells, right=titles[1:]))
    if len(models.rows) > top:
        ui.say(f"... and {len(models.rows) - top:,} more; --top N shows more, --format csv all.")


def _print_unmatched(ui: Terminal, unmatched: Result) -> None:
    names = to_records(unmatched)
    if names:
        shown = [
            name["model_name"] + (f" ({_WHY[name['match']]})" if name["match"] in _WHY else "")
            for name in names[:SHOWN_NAMES]
        ]
        more = f" and {len(names) - SHOWN_NAMES:,} more (--format json)" if len(names) > SHOWN_NAMES else ""
        ui.say(f"Not matched to our models: {', '.join(shown)}{more}.")


def describe_agreement(row: Mapping[str, Any]) -> str:
    """One row of ranking_correlations as a sentence."""
    where = f"{row['ranking']} and {row['suite']} (era {row['era']}{'' if row['is_current_era'] else ', not current'})"
    common = count(row["n_common"], "common model")
    if row["spearman_rho"] is None or row["kendall_tau_b"] is None:
        why = "too few to compare the rankings" if row["n_common"] < 2 else "but one of the two rankings ties them all"
        return f"{where}: {common}, {why}."
    has_interval = row["spearman_low"] is not None or row["kendall_low"] is not None
    is_rough = has_interval and row["n_common"] < FEW_MODELS
    rough = f" With fewer than {FEW_MODELS} models, the intervals are rough." if is_rough else ""
    return (
        f"{where}: {common}, {_describe_size(row['spearman_rho'])}: Spearman's rho {row['spearman_rho']:.2f}"
        f"{_format_interval(row['spearman_low'], row['spearman_high'])}, Kendall's tau-b {row['kendall_tau_b']:.2f}"
        f"{_format_interval(row['kendall_low'], row['kendall_high'])}.{rough}"
    )


def _describe_size(rho: float) -> str:
    words = next((words for least, words in _WORDS if abs(round(rho, 2)) >= least), "no similar order")
    if rho >= 0 or words == "no similar order":
        return words
    return "the reverse order" if round(rho, 2) == -1 else f"{words}, but reversed"


def _format_interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95%: {low:.2f} to {high:.2f})"
