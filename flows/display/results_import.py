"""Prints the result of `import results`: models, suites, and skipped files with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path

from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.formats import to_records
from nightboard.flows.display.rows import print_json, print_result
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.imports.errors import LeftOut
from nightboard.tasks.imports.results import ResultsFile, ResultsImport
from nightboard.warehouse.reader.result import Result

SHOWN_MODELS, SHOWN_SKIPPED = 40, 20


def print_results_import(done: ResultsImport, suites: Result, form: Format) -> None:
    """Print imported models, suites (`suites`: number of evaluations, complete and ranked ones), and skipped files."""
    if form is Format.json:
        report = asdict(done) | {"suites": to_records(suites)}
        print_json(report)
        return
    if form is not Format.table:
        names = [field.name for field in fields(ResultsFile)]
        print_result(Result(names, [tuple(getattr(file, name) for name in names) for file in done.imported]), form)
        return
    ui = Terminal()
    if done.imported:
        _print_models(done.imported, ui)
    for where, reason in shorten_skipped(done.left_out):
        ui.warn(f"skipped: {where}: {reason}")
    for where, reason in shorten_skipped(done.future):
        ui.warn(f"imported with the present time: {where}: {reason}")
    for where, reason in shorten_skipped(list_not_comparable(done.imported)):
        ui.warn(f"imported, but not comparable: {where}: {reason}")
    for row in suites.rows:
        ui.say(_describe_suite(**dict(zip(suites.columns, row, strict=True))))
    ui.say(_sum_up(done))


def list_not_comparable(imported: Sequence[ResultsFile]) -> list[LeftOut]:
    """The files that are not ranked because of their settings, with these."""
    return [LeftOut(file.file, file.not_comparable) for file in imported if file.suite and file.not_comparable]


def _describe_suite(suite: str, n_evaluations: int, n_complete: int, n_not_comparable: int, n_ranked: int) -> str:
    """`n_not_comparable` and `n_ranked` are of the complete ones."""
    n_incomplete, n_older = n_evaluations - n_complete, n_complete - n_not_comparable - n_ranked
    parts = [
        f"Suite {suite}: {count(n_evaluations, 'evaluation')}, {n_complete} with all benchmarks, {n_ranked} ranked",
        f"{n_incomplete} incomplete, see table coverage" if n_incomplete else "",
        f"{n_not_comparable} not comparable, see evaluations.not_ranked" if n_not_comparable else "",
        f"{n_older} behind another one of the same model and settings" if n_older else "",
    ]
    return "; ".join(filter(None, parts)) + "."


def _sum_up(done: ResultsImport) -> str:
    distinct = {file.evaluation_id for file in done.imported}
    new = {file.evaluation_id for file in done.imported if file.is_new}
    n_samples = sum(file.n_samples_files for file in done.imported)
    return (
        f"{count(len(done.imported), 'results file')} with {len(distinct)} different contents, {len(new)} of them new; "
        f"{count(n_samples, 'samples file')}; {len(done.left_out)} skipped."
    )


def _print_models(imported: Sequence[ResultsFile], ui: Terminal) -> None:
    by_model: dict[str, list[ResultsFile]] = {}
    for file in imported:
        by_model.setdefault(file.model_id, []).append(file)
    most_first = sorted(by_model.items(), key=lambda item: (-len(item[1]), item[0]))
    titles = ["model", "results", "new", "scores", "samples"]
    rows = [
        (
            model, f"{len(files):,}", f"{sum(file.is_new for file in files):,}",
            f"{sum(file.n_scores for file in files):,}", f"{sum(file.n_samples_files for file in files):,}",
        )
        for model, files in most_first[:SHOWN_MODELS]
    ]  # fmt: skip
    print_table(ui.console, cells_table(titles, rows, right=titles[1:]))
    if len(most_first) > SHOWN_MODELS:
        ui.say(f"... and {count(len(most_first) - SHOWN_MODELS, 'more model')}; --format csv or json lists all files.")


def shorten_skipped(left_out: Sequence[LeftOut]) -> Iterator[tuple[str, str]]:
    """Place and reason; if there are many, files of one folder with the same reason share a line."""
    if len(left_out) <= SHOWN_SKIPPED:
        yield from ((skipped.where, skipped.reason) for skipped in left_out)
        return
    keyed = sorted((str(Path(s.where).parent), s.reason, Path(s.where).name) for s in left_out)
    for (folder, reason), group in groupby(keyed, key=lambda item: item[:2]):
        names = [name for _, _, name in group]
        if len(names) == 1:
            yield str(Path(folder) / names[0]), reason
        else:
            yield folder, f"{len(names)} files, {names[0]} to {names[-1]}: {reason}"
