"""The page of each model: reads what is known of all in a few queries, and puts together what each page shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightboard.tasks.page.commands import collect, read_libraries, write_commands
from nightboard.tasks.page.picture_page import embed
from nightboard.tasks.page.pictures.asked import Ranking
from nightboard.tasks.page.pictures.history import History, draw
from nightboard.tasks.page.render import name_model_file, write_html
from nightboard.warehouse.reader.questions import NO_FILTERS, Filters, list_page_table

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

# Tables with several rows a model, by the name of their query.
_TABLES = ("scored", "unranked", "attempts", "rejected", "copies")
# So many evaluations of a model's page have their scores and provenance; older ones a line in the history.
MOST_ENTRIES = 40
# So many scores of tasks are shown of an evaluation that has no rank.
MOST_TASKS = 300
# A log's end is for a first look; the log itself is in the store.
LOG_LINES, LOG_CHARACTERS = 20, 300


@dataclass(frozen=True)
class Models:
    """All that the pages show: the models in order, the rows of each table by model, the scores of
    benchmarks and tasks by evaluation.
    """

    models: Sequence[Row]
    tables: Mapping[str, Mapping[str, Sequence[Row]]]
    scores: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    tasks: Mapping[str, Sequence[Row]] = field(default_factory=dict)


def read_models(con: duckdb.DuckDBPyConnection, filters: Filters = NO_FILTERS) -> Models:
    """Read what the build knows of the models that are shown."""
    tables = {table: _group(list_page_table(con, table, filters), "model_id") for table in _TABLES}
    scores, tasks = (_group(list_page_table(con, table), "evaluation_id") for table in ("scores", "tasks"))
    return Models(list_page_table(con, "models", filters), tables, scores, tasks)


def write_models(models: Models, values: dict[str, Any], folder: Path, suites: Mapping[str, str]) -> Iterator[int]:
    """Write a page a model into a new folder; yields how many there are. `suites`: titles, in the order to show."""
    folder.mkdir()
    known = {model["model_id"] for model in models.models}
    for number, model in enumerate(models.models, start=1):
        title = f"{model['model_id']} - {values['board_title']}"
        page = values | describe_model(models, model, suites) | {"root": "../", "title": title, "known": known}
        write_html(folder / name_model_file(model["model_id"]), "model.html", page)
        yield number


def describe_model(models: Models, model: Row, suites: Mapping[str, str]) -> dict[str, Any]:
    """What the page of a model shows: the values of its template."""
    rows = {table: models.tables[table].get(model["model_id"], ()) for table in _TABLES}
    scored = [row for row in rows["scored"] if row["suite"] in suites]
    order = list(suites)
    scored.sort(key=lambda row: order.index(row["suite"]))
    sections = [
        _describe_section(suites[suite], era, list(group), models.scores)
        for (suite, era), group in groupby(scored, key=lambda row: (row["suite"], row["era"]))
    ]
    return {
        "model": model,
        "facts": _list_facts(model),
        "sections": sections,
        "unranked": [
            row | {"tasks": models.tasks.get(row["evaluation_id"], ())}
            for row in rows["unranked"]
            if row["suite"] is None or row["suite"] in suites
        ],
        "attempts": [row | {"log_tail": cut_log(row["log_tail"])} for row in rows["attempts"]],
        "rejected": rows["rejected"],
        "copies": rows["copies"],
        "cost": _sum_cost(model["model_id"], rows["scored"], rows["unranked"]),
        "shared_with": sorted({row["evaluated_model_id"] for row in rows["scored"]} - {model["model_id"]}),
        "most_tasks": MOST_TASKS,
    }


def cut_log(lines: Sequence[str] | None) -> str:
    """The last lines of a log, none of them endless."""
    return "\n".join(
        line if len(line) <= LOG_CHARACTERS else f"{line[:LOG_CHARACTERS]} ..." for line in (lines or ())[-LOG_LINES:]
    )


def show_time(time: datetime | None) -> str | None:
    """A time as all pages write it, in UTC."""
    return None if time is None else time.strftime("%Y-%m-%d %H:%M")


def _group(rows: Sequence[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return dict(found)


def _list_facts(model: Row) -> list[tuple[str, str]]:
    size = model["params_b"]
    facts = {
        "Organization": model["display_name"],
        "Country": model["country"],
        "Size": _write_size(size),
        "Type": model["model_type"],
        "License": model["license"],
        "Architecture": model["architecture"],
        "Based on": model["base_model"],
        "Context": f"{model['context_length']:,} tokens" if model["context_length"] else None,
        "On the Hub": model["state"],
        "Likes": f"{model['likes']:,}" if model["likes"] is not None else None,
        "Last commit": show_time(model["committed_at"]),
    }
    return [(name, value) for name, value in facts.items() if value]


def _write_size(params_b: float | None) -> str | None:
    if params_b is None:
        return None
    return f"{params_b:,.3g} B parameters" if params_b >= 0.1 else f"{params_b * 1000:,.3g} M parameters"


def _describe_section(title: str, era: str, rows: Sequence[Row], scores: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """A suite and era: the ranked rows, and those of other commits and runs, newest first."""
    entries = [
        _describe_entry(row, scores.get(row["evaluation_id"], ())) | {"replaced_by": _name_successor(row, rows)}
        for row in rows[:MOST_ENTRIES]
    ]
    # A commit that was evaluated again is in it once, with what counts.
    counted = [row for row in rows if row["is_counted"]]
    history = sorted(counted, key=lambda row: (row["happened_at"] or datetime.min).isoformat())
    return {
        "title": title,
        "era": era,
        "is_current": rows[0]["is_current_era"],
        "entries": entries,
        "history": [_describe_step(row, scores) for row in reversed(history)] if len(history) > 1 else [],
        "picture": _draw_history(title, history, scores),
        "benchmarks": [(score["benchmark"], score["title"]) for score in scores.get(rows[0]["evaluation_id"], ())],
    }


def _name_successor(row: Row, rows: Sequence[Row]) -> str:
    """What is ranked, or counts for the commit, in place of an evaluation; nothing where it is ranked itself."""
    if row["rank"]:
        return ""
    setting = ("precision", "chat_template", "settings", "ranked_as")
    for other in rows:
        if any(other[name] != row[name] for name in setting):
            continue
        if not row["is_counted"] and other["is_counted"] and other["revision"] == row["revision"]:
            # An import with --supersede stands for a run, however old it is.
            kind = "newer" if other["source"] == row["source"] else "imported"
            return f"the {kind} evaluation {other['evaluation_id'][:8]}"
        if row["is_counted"] and other["rank"]:
            return f"the newer commit {(other['revision'] or 'unknown')[:7]}"
    return ""


def _draw_history(title: str, rows: Sequence[Row], scores: Mapping[str, Sequence[Row]]) -> dict[str, str] | None:
    """The picture of a model's commits, as `plot history` draws them; of one commit, the table says all."""
    dated = [row for row in rows if row["happened_at"]]
    if len({row["happened_at"] for row in dated}) < 2:
        return None
    points = [row | _name_ends("Average", row, "average") for row in dated]
    for row in dated:
        points += [row | _name_ends(score["title"], score, "normalized") for score in scores[row["evaluation_id"]]]
    # In this order lines join the points of a setting.
    points.sort(key=lambda point: point["happened_at"])
    first = rows[0]
    data = History(first["model_id"], Ranking(first["suite"], title, first["era"]), points)
    return embed(draw, data, name_model_file)


def _name_ends(title: str, row: Row, column: str) -> Row:
    return {"title": title, "score": row[column], "low": row[f"{column}_low"], "high": row[f"{column}_high"]}


def _describe_step(row: Row, scores: Mapping[str, Sequence[Row]]) -> Row:
    by_benchmark = {score["benchmark"]: score for score in scores.get(row["evaluation_id"], ())}
    return {"row": row, "scores": by_benchmark}


def _describe_entry(row: Row, scores: Sequence[Row]) -> dict[str, Any]:
    facts, unknown = _list_provenance(row, scores)
    return {
        "row": row,
        "scores": scores,
        "facts": facts,
        "unknown": unknown,
        "commands": write_commands(row, scores),
        "is_approximate": any(score["is_approximate"] for score in scores),
        "cost": _describe_cost(
            row["elapsed_s"], row["gpu_hours"], row["energy_kwh"] or row["estimated_kwh"], row["co2_kg"]
        ),
    }


def _list_provenance(row: Row, scores: Sequence[Row]) -> tuple[list[tuple[str, Sequence[str]]], list[str]]:
    """What made a score, each with its values; and what is not known of it."""
    is_copy = row["evaluated_model_id"] != row["model_id"]
    template = "no" if not row["chat_template"] else "yes" if row["chat_template"] else None
    turns = ", few-shot examples as turns" if row["chat_template"] and row["fewshot_as_multiturn"] else ""
    libraries = [f"{name} {version}" for name, version in read_libraries(scores).items()]
    found: dict[str, Sequence[str | None]] = {
        "Commit": [row["evaluated_revision"] or row["revision"]],
        "Fingerprint": [None if str(row["fingerprint"] or "import:").startswith("import:") else row["fingerprint"]],
        "Precision": [row["precision"]],
        "Chat template": [f"{template}{turns}", *collect(scores, "chat_template_hashes")],
        "Batch size": collect(scores, "batch_sizes"),
        "lm-eval": collect(scores, "harness_versions") or [row["harness_version"]],
        "Back end": [row["backend"]],
        "Datasets": collect(scores, "datasets"),
        "Task versions": _list_by_benchmark(scores, "task_versions"),
        "Shots": _list_by_benchmark(scores, "shots"),
        "Libraries": [", ".join(libraries)],
        "Node": collect(scores, "nodes"),
        "Device": collect(scores, "devices"),
    }
    more: dict[str, Sequence[str | None]] = {
        "Files of": [row["evaluated_model_id"] if is_copy else None],
        "Other settings": [row["settings"]],
        "Left out": [row["left_out"]],
        "Source": ["run of this store" if row["source"] == "run" else _name_source(row)],
        "Finished": [show_time(row["finished_at"])],
        "Suite version": [row["suite_version"]],
        "Evaluation": [row["evaluation_id"]],
    }
    known = {name: [value for value in values if value] for name, values in (found | more).items()}
    return [(name, values) for name, values in known.items() if values], [name for name in found if not known[name]]


def _list_by_benchmark(scores: Sequence[Row], column: str) -> list[str]:
    """A value where all benchmarks have the same one, else those of each benchmark."""
    values = {row["title"]: ", ".join(collect([row], column)) for row in scores}
    known = {title: value for title, value in values.items() if value}
    if len(set(known.values())) == 1 and len(known) == len(values):
        return [*set(known.values())]
    return ["; ".join(f"{title} {value}" for title, value in known.items())]


def _name_source(row: Row) -> str:
    revision = f" at {row['source_revision']}" if row["source_revision"] else ""
    return f"{row['source']}{revision}" + (f", row {row['row_name']}" if row["row_name"] else "")


def _describe_cost(elapsed_s: float | None, gpu_hours: float | None, kwh: float | None, co2_kg: float | None) -> str:
    amounts = {"hours": (elapsed_s or 0) / 3600, "GPU-hours": gpu_hours, "kWh": kwh, "kg of CO2": co2_kg}
    return ", ".join(f"{_write_amount(amount)} {unit}" for unit, amount in amounts.items() if amount)


def _write_amount(amount: float) -> str:
    """With two digits after the point; of less than a tenth, two that count: nothing costs 0.00."""
    return f"{amount:.2g}" if amount < 0.1 else f"{amount:,.2f}"


def _sum_cost(model_id: str, scored: Sequence[Row], unranked: Sequence[Row]) -> str:
    """What all evaluations of a model have cost, without those of identical models, whose scores it has."""
    own = [row for row in scored if row["evaluated_model_id"] == model_id]
    rows = {row["evaluation_id"]: row for row in (*unranked, *own)}.values()

    def total(column: str) -> float:
        return sum(row.get(column) or 0 for row in rows)

    kwh = sum(row.get("energy_kwh") or row.get("estimated_kwh") or 0 for row in rows)
    return _describe_cost(total("elapsed_s"), total("gpu_hours"), kwh, total("co2_kg"))
