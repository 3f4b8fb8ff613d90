"""Prints the result of `import board`: skipped rows, scores that disagree, a summary."""

from __future__ import annotations

from dataclasses import asdict

from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.formats import to_records
from nightboard.flows.display.rows import print_json, print_result
from nightboard.flows.display.skipped import warn_skipped
from nightboard.tasks.imports.board import BoardImport
from nightboard.warehouse.reader.result import Result

# More lines would push the summary off the screen.
SHOWN_DISAGREEMENTS = 20
SHOWN_DATES = 10


def print_board_import(done: BoardImport, disagreements: Result, n_complete: int, form: Format) -> None:
    """Print skipped rows, scores that differ from those computed from raw scores, and a summary.

    `n_complete`: number of rows with all benchmarks.
    """
    n_incomplete = done.n_imported - n_complete
    if form is Format.json:
        report = asdict(done) | {"n_imported": done.n_imported, "n_incomplete": n_incomplete}
        del report["evaluation_ids"]
        report["disagreements"] = to_records(disagreements)
        print_json(report)
        return
    if form is not Format.table:
        print_result(disagreements, form)
        return
    ui = Terminal()
    warn_skipped(ui, done.left_out)
    for unread in done.unread_dates[:SHOWN_DATES]:
        ui.warn(f"imported without its date: {unread.where}: {unread.reason}")
    if len(done.unread_dates) > SHOWN_DATES:
        ui.warn(f"... and {len(done.unread_dates) - SHOWN_DATES:,} more dates; --format json lists all.")
    if disagreements.rows:
        ui.step("Scores that differ from those computed from the raw scores; the computed ones are ranked")
        print_result(Result(disagreements.columns, disagreements.rows[:SHOWN_DISAGREEMENTS]), form)
        more = len(disagreements.rows) - SHOWN_DISAGREEMENTS
        if more > 0:
            ui.say(f"... and {more:,} more; --format json or csv lists all.")
    ui.say(
        f"{done.file}: {count(done.n_imported, 'row')} as {done.source} in suite {done.suite}, era {done.era}"
        f"{'' if done.is_new else ' (all already imported)'}; {done.n_without_sha} without a commit, "
        f"{len(done.left_out)} skipped, {count(len(disagreements.rows), 'score')} in disagreement."
    )
    for era, n_rows in done.other_eras.items():
        ui.warn(
            f"also imported in era {era}: {count(n_rows, 'row')} of the same model, commit and precision. If one of"
            " the two"
            f" eras is wrong: nightboard import remove --name {done.source.removeprefix('import:')} --era WRONG, with"
            " the same --store or --board."
        )
    if done.n_withdrawn:
        ui.warn(
            f"{count(done.n_withdrawn, 'row')} of the last import of {done.source} in era {done.era}: not in this table"
            " any more, so withdrawn and not ranked."
        )
    if n_incomplete:
        ui.warn(
            f"{count(n_incomplete, 'row')} without all benchmarks: not ranked. See table coverage for what is missing."
        )
    if n_complete:
        ui.say(f"Show them: nightboard rank --suite {done.suite} --era {done.era}, with the same --store or --board.")
