"""Shows what became of imported outputs of lm-eval: models, suites, and what was left out and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path

from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.formats import Format, to_records
from nightboard.flows.display.rows import print_json, print_result
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.imports.errors import LeftOut
from nightboard.tasks.imports.results import ResultsFile, ResultsImport
from nightboard.warehouse.reader.questions import Result

SHOWN_MODELS, SHOWN_LEFT_OUT = 40, 20


def print_results_import(done: ResultsImport, suites: Result, form: Format) -> None:
    """By model, by suite (`suites`: how many evaluations of it, and how many complete ones), and what was left out."""
    if form is Format.json:
        report = asdict(done) | {"suites": to_records(suites)}
        print_json(report)
        return
    if form is not Format.table:
        names = [each.name for each in fields(ResultsFile)]
        print_result(Result(names, [tuple(getattr(each, name) for name in names) for each in done.imported]), form)
        return
    ui = Terminal()
    if done.imported:
        _print_models(done.imported, ui)
    for where, reason in shorten_left_out(done.left_out):
        ui.warn(f"left out: {where}: {reason}")
    for where, reason in shorten_left_out(done.future):
        ui.warn(f"taken as evaluated now: {where}: {reason}")
    for suite, n_evaluations, n_complete in suites.rows:
        missing = n_evaluations - n_complete
        ui.say(
            f"Of suite {suite}: {count(n_evaluations, 'evaluation')}, {n_complete} with all benchmarks and ranked"
            + (f"; what {missing} of them lack is in table coverage." if missing else ".")
        )
    ui.say(_sum_up(done))


def _sum_up(done: ResultsImport) -> str:
    distinct = {each.evaluation_id for each in done.imported}
    new = {each.evaluation_id for each in done.imported if each.is_new}
    n_samples = sum(each.n_samples_files for each in done.imported)
    return (
        f"{count(len(done.imported), 'results file')} with {len(distinct)} different contents, {len(new)} of them new; "
        f"{count(n_samples, 'samples file')}; {len(done.left_out)} left out."
    )


def _print_models(imported: Sequence[ResultsFile], ui: Terminal) -> None:
    by_model: dict[str, list[ResultsFile]] = {}
    for each in imported:
        by_model.setdefault(each.model_id, []).append(each)
    most_first = sorted(by_model.items(), key=lambda item: (-len(item[1]), item[0]))
    titles = ["model", "results", "new", "scores", "samples"]
    rows = [
        (
            model, f"{len(files):,}", f"{sum(each.is_new for each in files):,}",
            f"{sum(each.n_scores for each in files):,}", f"{sum(each.n_samples_files for each in files):,}",
        )
        for model, files in most_first[:SHOWN_MODELS]
    ]  # fmt: skip
    print_table(ui.console, cells_table(titles, rows, right=titles[1:]))
    if len(most_first) > SHOWN_MODELS:
        ui.say(f"... and {count(len(most_first) - SHOWN_MODELS, 'more model')}; --format csv or json has all files.")


def shorten_left_out(left_out: Sequence[LeftOut]) -> Iterator[tuple[str, str]]:
    """Where and why; when there is much, files of one folder with one reason are one line."""
    if len(left_out) <= SHOWN_LEFT_OUT:
        yield from ((each.where, each.reason) for each in left_out)
        return
    keyed = sorted((str(Path(each.where).parent), each.reason, Path(each.where).name) for each in left_out)
    for (folder, reason), found in groupby(keyed, key=lambda each: each[:2]):
        names = [name for _, _, name in found]
        if len(names) == 1:
            yield str(Path(folder) / names[0]), reason
        else:
            yield folder, f"{len(names)} files, {names[0]} to {names[-1]}: {reason}"
