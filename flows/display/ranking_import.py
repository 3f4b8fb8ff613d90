"""Shows how an external ranking and ours agree: the models farthest apart, the correlation in words, unknown names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.formats import Format, to_records
from nightboard.flows.display.rows import print_json, print_result
from nightboard.flows.display.skipped import warn_left_out
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.imports.ranking import RankingImport
from nightboard.warehouse.reader.questions import Result

SHOWN_MODELS, SHOWN_NAMES = 20, 10

# East of Greenwich, tomorrow begins so much earlier.
_EARLIEST_ZONE = timedelta(hours=14)

# Least size of a correlation, in words.
_WORDS = (
    (1, "the same order"),
    (0.9, "almost the same order"),
    (0.7, "much alike"),
    (0.4, "alike in part"),
    (0.2, "hardly alike"),
)
_WHY = {"ambiguous": "several models end so", "taken": "another name is nearer to its model"}


@dataclass(frozen=True)
class RankingReport:
    """What the warehouse says of an external ranking; `models` are those of the first row of `correlations`."""

    correlations: Result
    models: Result
    unmatched: Result


def print_ranking_import(done: RankingImport, report: RankingReport, form: Format, top: int, now: datetime) -> None:
    """What became of an imported ranking, and how it agrees with ours."""
    if form is Format.json:
        found = {name: to_records(getattr(report, name)) for name in ("correlations", "models", "unmatched")}
        print_json(asdict(done) | found)
        return
    if form is not Format.table:
        print_result(report.models, form)
        return
    ui = Terminal()
    warn_left_out(ui, done.left_out)
    rows = to_records(report.correlations)
    if rows and report.models.rows:
        _print_models(ui, rows[0], report.models, top)
    _print_unmatched(ui, report.unmatched)
    for row in rows:
        ui.say(describe_agreement(row))
    for warning in _list_doubts(done, rows, now):
        ui.warn(warning)
    if not done.n_imported:
        ui.say(f"{done.file}: nothing to import, {count(len(done.left_out), 'row')} left out.")
        return
    days = f" of {', '.join(f'{date:%Y-%m-%d}' for date in done.dates[-3:])}" if done.dates else ""
    ui.say(
        f"{done.file}: {count(done.n_imported, 'row')} as ranking {done.ranking}{days}"
        f"{'' if done.is_new else ' (all of them were here before)'}, {len(done.left_out)} left out."
    )


def _list_doubts(done: RankingImport, rows: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Where the file's dates make something else of it than its reader may think."""
    if done.dates and rows and rows[0]["published_at"] > done.dates[-1]:
        yield (
            f"What is compared is {done.ranking} of {rows[0]['published_at']:%Y-%m-%d}, which was here before and is"
            f" newer than this file, of {done.dates[-1]:%Y-%m-%d}. To compare this one, import it under another --name."
        )
    if future := [f"{date:%Y-%m-%d}" for date in done.dates if date > now + _EARLIEST_ZONE]:
        yield (
            f"The date {future[-1]} is in the future: until then it is the newest of {done.ranking}, and what comes in"
            " later is not compared. If it is a mistake, import the corrected file under another --name."
        )


def _print_models(ui: Terminal, row: Mapping[str, Any], models: Result, top: int) -> None:
    ui.step(
        f"{row['ranking']} of {row['published_at']:%Y-%m-%d} beside {row['suite']} (era {row['era']}): places among"
        f" {count(row['n_common'], 'model')} in common, farthest apart first"
    )
    titles = ["model", "theirs", "ours", "shift", "their rank", "our rank", "their score", "our average"]
    cells = [
        (
            each["model_id"], str(each["their_place"]), str(each["our_place"]),
            f"{each['shift']:+d}" if each["shift"] else "0",
            str(each["their_rank"]), str(each["our_rank"]),
            "" if each["their_score"] is None else f"{each['their_score']:.2f}", f"{each['our_average']:.2f}",
        )
        for each in to_records(models)[:top]
    ]  # fmt: skip
    print_table(ui.console, cells_table(titles, cells, right=titles[1:]))
    if len(models.rows) > top:
        ui.say(f"... and {len(models.rows) - top:,} more; --top N shows them, --format csv has them all.")


def _print_unmatched(ui: Terminal, unmatched: Result) -> None:
    names = to_records(unmatched)
    if names:
        shown = [
            each["model_name"] + (f" ({_WHY[each['match']]})" if each["match"] in _WHY else "")
            for each in names[:SHOWN_NAMES]
        ]
        more = f" and {len(names) - SHOWN_NAMES:,} more (--format json)" if len(names) > SHOWN_NAMES else ""
        ui.say(f"Not among our models, or not for sure: {', '.join(shown)}{more}.")


def describe_agreement(row: Mapping[str, Any]) -> str:
    """One row of ranking_correlations as a sentence."""
    where = f"{row['ranking']} and {row['suite']} (era {row['era']}{'' if row['is_current_era'] else ', not current'})"
    common = f"{count(row['n_common'], 'model')} in common"
    if row["spearman_rho"] is None or row["kendall_tau_b"] is None:
        why = "too few to compare the orders" if row["n_common"] < 2 else "but one of the two orders ties them all"
        return f"{where}: {common}, {why}."
    return (
        f"{where}: {common}, {_tell(row['spearman_rho'])}: Spearman's rho {row['spearman_rho']:.2f}"
        f"{_tell_interval(row['spearman_low'], row['spearman_high'])}, Kendall's tau-b {row['kendall_tau_b']:.2f}"
        f"{_tell_interval(row['kendall_low'], row['kendall_high'])}."
    )


def _tell(rho: float) -> str:
    words = next((words for least, words in _WORDS if abs(round(rho, 2)) >= least), "not alike")
    if rho >= 0 or words == "not alike":
        return words
    return "the same order, turned round" if round(rho, 2) == -1 else f"{words}, but turned round"


def _tell_interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95%: {low:.2f} to {high:.2f})"
