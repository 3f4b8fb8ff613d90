"""Shows how an external ranking agrees with ours: the models farthest apart, the correlation in words, other names."""

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
from nightboard.warehouse.reader.questions import Result

SHOWN_NAMES = 10

# East of Greenwich, tomorrow begins so much earlier.
_EARLIEST_ZONE = timedelta(hours=14)

# Least size of a correlation, in words.
_WORDS = (
    (1, "the same order"),
    (0.9, "almost the same order"),
    (0.7, "similar"),
    (0.4, "somewhat similar"),
    (0.2, "hardly similar"),
)
_WHY = {"ambiguous": "several models have this ending", "taken": "another name matches its model better"}


@dataclass(frozen=True)
class RankingReport:
    """What the warehouse says of an external ranking; `models` are those of the first row of `correlations`."""

    correlations: Result
    models: Result
    unmatched: Result


def print_ranking_import(done: RankingImport, report: RankingReport, form: Format, top: int, now: datetime) -> None:
    """The result of importing a ranking, and how it agrees with ours."""
    if form is Format.json:
        found = {name: to_records(getattr(report, name)) for name in ("correlations", "models", "unmatched")}
        print_json(asdict(done) | found)
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
        f"{'' if done.is_new else ' (all of them imported before)'}, {len(done.left_out)} skipped."
    )


def _list_doubts(done: RankingImport, rows: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Where the dates in the file mean something else than its owner may think."""
    if done.dates and rows and rows[0]["published_at"] > done.dates[-1]:
        yield (
            f"The comparison uses {done.ranking} of {rows[0]['published_at']:%Y-%m-%d}, imported before and newer than"
            f" this file, of {done.dates[-1]:%Y-%m-%d}. To compare this file, import it under another --name."
        )
    if future := [f"{date:%Y-%m-%d}" for date in done.dates if date > now + _EARLIEST_ZONE]:
        yield (
            f"The date {future[-1]} is in the future: until then it is the newest of {done.ranking}, and later imports"
            " are not compared. If it is a mistake, import the corrected file under another --name."
        )


def _print_models(ui: Terminal, row: Mapping[str, Any], models: Result, top: int) -> None:
    ui.step(
        f"{row['ranking']} of {row['published_at']:%Y-%m-%d} and {row['suite']} (era {row['era']}): places among the"
        f" {count(row['n_common'], 'model')} in common, the farthest apart first"
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
            name["model_name"] + (f" ({_WHY[name['match']]})" if name["match"] in _WHY else "")
            for name in names[:SHOWN_NAMES]
        ]
        more = f" and {len(names) - SHOWN_NAMES:,} more (--format json)" if len(names) > SHOWN_NAMES else ""
        ui.say(f"Names that match none of our models, or several: {', '.join(shown)}{more}.")


def describe_agreement(row: Mapping[str, Any]) -> str:
    """One row of ranking_correlations as a sentence."""
    where = f"{row['ranking']} and {row['suite']} (era {row['era']}{'' if row['is_current_era'] else ', not current'})"
    common = f"{count(row['n_common'], 'model')} in common"
    if row["spearman_rho"] is None or row["kendall_tau_b"] is None:
        why = "too few to compare the orders" if row["n_common"] < 2 else "but one of the two orders ties them all"
        return f"{where}: {common}, {why}."
    return (
        f"{where}: {common}, {_describe_rho(row['spearman_rho'])}: Spearman's rho {row['spearman_rho']:.2f}"
        f"{_format_interval(row['spearman_low'], row['spearman_high'])}, Kendall's tau-b {row['kendall_tau_b']:.2f}"
        f"{_format_interval(row['kendall_low'], row['kendall_high'])}."
    )


def _describe_rho(rho: float) -> str:
    words = next((words for least, words in _WORDS if abs(round(rho, 2)) >= least), "not similar")
    if rho >= 0 or words == "not similar":
        return words
    return words.replace("the same", "the reverse") if "order" in words else f"{words} to the reverse order"


def _format_interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95%: {low:.2f} to {high:.2f})"
