"""Takes outputs of lm-eval that nightboard did not make into the lake: results files and the samples beside them.

Owns the layouts of these files: lm-eval 0.4 in all its versions, results of 0.3 and older, files that were renamed, and
samples inside of results. A file is imported whole or not at all, and then it is listed with its line and the reason.
A results file is known by its bytes: importing it again, from anywhere, changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightboard.tasks.store import Store, replace_atomically, write_parquet
from nightboard.tasks.table_file import ImportFileError, LeftOut
from nightboard.warehouse.convert import ConvertError, convert_samples
from nightboard.warehouse.schema import IMPORTS, SAMPLES, TASK_SCORES, Table

SOURCE = "import:results"

_SHA = re.compile(r"[0-9a-f]{40}")
_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<stamp>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d+)\.jsonl")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d+")
# Beside the metrics, lm-eval writes these into a task's results.
_NO_METRICS = ("alias", "name", "sample_len", "sample_count", "samples")
_LARGEST = 2**62

Json = dict[str, Any]


@dataclass(frozen=True)
class ResultsFile:
    """One results file that is in the lake now. `is_new`: it was not before."""

    file: str
    evaluation_id: str
    model_id: str
    n_tasks: int
    n_scores: int
    n_samples_files: int
    is_new: bool


@dataclass
class ResultsImport:
    """What became of all files under the given paths; `n_results` files may be results."""

    n_results: int = 0
    imported: list[ResultsFile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


class _FileError(Exception):
    """A file cannot be imported; `line` where it is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def import_results(store: Store, paths: Sequence[Path], now: datetime) -> Iterator[ResultsImport]:
    """Import every results file under `paths`; yields the same growing summary after each file.

    Raises ImportFileError for a path that does not exist or holds no such file.
    """
    files = _find_files(paths)
    results = [file for file in files if file.suffix != ".jsonl"]
    summary = ResultsImport(n_results=len(results))
    used: set[Path] = set()
    for file in results:
        _import_file(store, file, files, used, summary, now)
        yield summary
    for file in (file for file in files if file.suffix == ".jsonl" and file not in used):
        reason = "there is no results file of the same run beside it, so its model and settings are not known."
        summary.left_out.append(LeftOut(str(file), _find_pointer(file) or reason))
    yield summary


def _find_files(paths: Sequence[Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise ImportFileError(f"{path}: there is no such file or folder.")
        found = [path] if path.is_file() else sorted(p for p in path.rglob("*.json*") if p.is_file())
        files.update(dict.fromkeys(each for each in found if path.is_file() or each.suffix in (".json", ".jsonl")))
    if not files:
        raise ImportFileError(f"{', '.join(map(str, paths))}: there is no .json or .jsonl file below.")
    return list(files)


def _import_file(
    store: Store, file: Path, files: Iterable[Path], used: set[Path], summary: ResultsImport, now: datetime
) -> None:
    try:
        data = _read_bytes(file)
        content = _parse(data)
        evaluation_id = hashlib.sha256(b"results\0" + data).hexdigest()[:32]
        row = _describe(content, file) | {"evaluation_id": evaluation_id, "imported_at": now}
        scores = _to_table(TASK_SCORES, list(_score_rows(content, evaluation_id)))
        imports = _to_table(IMPORTS, [row])
    except _FileError as error:
        where = f"{file}:{error.line}" if error.line else str(file)
        summary.left_out.append(LeftOut(where, str(error)))
        return
    n_files = 0
    for task, samples in _find_samples(file, content, files):
        used.add(samples)
        n_files += _import_samples(store, samples, evaluation_id, task, _filters(content, task), summary)
    n_files += _import_embedded(store, file, content, evaluation_id, summary)
    is_new = not store.is_in_lake(IMPORTS, evaluation_id)
    if is_new:
        write_parquet(store.lake / TASK_SCORES.name / f"{evaluation_id}.parquet", TASK_SCORES, scores)
        write_parquet(store.lake / IMPORTS.name / f"{evaluation_id}.parquet", IMPORTS, imports)
    tasks = len(set(scores["task"].to_pylist()))
    found = ResultsFile(str(file), evaluation_id, row["model_id"], tasks, scores.num_rows, n_files, is_new)
    summary.imported.append(found)


def _to_table(table: Table, rows: list[Json]) -> pa.Table:
    """Rows as they will be written; nothing that Parquet cannot hold gets further than this."""
    try:
        nothing = dict.fromkeys(table.arrow.names)
        return pa.Table.from_pylist([nothing | row for row in rows], schema=table.arrow)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError) as error:
        raise _FileError(f"holds a value that cannot be stored ({' '.join(str(error).split())[:200]}).") from error


# -------------------------------------------------------------------------------------------------------- one file


def _read_bytes(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _FileError(f"cannot be read ({error.strerror}).") from error
    if data.startswith(b"version https://git-lfs"):
        raise _FileError(_LFS)
    return data


_LFS = "is a Git LFS pointer, not the file itself. Run `git lfs pull` where it lies."


def _find_pointer(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return _LFS if opened.read(23) == b"version https://git-lfs" else None
    except OSError as error:
        return f"cannot be read ({error.strerror})."


def _parse(data: bytes) -> Json:
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise _FileError(f"is not valid JSON ({error.msg}).", error.lineno) from error
    except UnicodeDecodeError as error:
        raise _FileError("is not text in UTF-8.", data.count(b"\n", 0, error.start) + 1) from error
    except (ValueError, RecursionError) as error:
        raise _FileError(f"cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or "results" not in content:
        raise _FileError("is not a results file of lm-eval: it has no `results`.")
    tasks = content["results"]
    if not isinstance(tasks, dict) or not all(isinstance(values, dict) for values in tasks.values()):
        raise _FileError("has an unknown layout: `results` is not an object of tasks with their metrics.")
    if not any(True for _ in _metrics(content)):
        raise _FileError("has an unknown layout: `results` holds no number under the name of a metric.")
    return content


def _map(content: Json, key: str) -> Json:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """A text that Parquet can hold; anything but texts and numbers is nothing."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    return str(value).encode("utf-8", "replace").decode() or None


def _whole(value: object) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
    return int(value) if is_whole and isinstance(value, int) else None


def _metrics(content: Json) -> Iterator[tuple[str, str, str, float | None, float | None]]:
    """Task, metric, filter, value and standard error. A metric that is no finite number has the value None.

    lm-eval 0.4 writes `acc,none`, older versions `acc`. Texts are no values: some versions print groups as blanks.
    """
    tasks = {**_map(content, "groups"), **content["results"]}
    for task, values in tasks.items():
        if not isinstance(values, dict):
            continue
        for key, value in values.items():
            metric, _, chosen = key.partition(",")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if key in _NO_METRICS or metric.endswith("_stderr") or not is_number:
                continue
            stderr = values.get(f"{metric}_stderr,{chosen}" if chosen else f"{metric}_stderr")
            yield task, metric, chosen or "none", _finite(value), _finite(stderr)


def _finite(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _filters(content: Json, task: str) -> list[str]:
    return list(dict.fromkeys(chosen for name, _, chosen, _, _ in _metrics(content) if name == task))


def _describe(content: Json, file: Path) -> Json:
    """What the file says of the evaluation as a whole (see IMPORTS)."""
    config = _map(content, "config")
    arguments = _read_arguments(config.get("model_args"))
    model = next(
        filter(None, (_text(arguments.get(key)) for key in ("pretrained", "model", "engine"))),
        _text(content.get("model_name")) or _text(config.get("model")),
    )
    if model is None:
        raise _FileError("does not say which model was evaluated.")
    shas = (_text(value) or "" for value in (config.get("model_sha"), arguments.get("revision")))
    dtype = _text(arguments.get("dtype"))
    precision = dtype if dtype and dtype != "auto" else _text(config.get("model_dtype"))
    git = _text(content.get("git_hash"))
    turns = content.get("fewshot_as_multiturn")
    return {
        "source": SOURCE,
        "row_name": _text(file.name),
        "model_id": model,
        "revision": next((sha for sha in shas if _SHA.fullmatch(sha)), None),
        "precision": precision.removeprefix("torch.") if precision else None,
        "chat_template": bool(content["chat_template"]) if "chat_template" in content else None,
        "fewshot_as_multiturn": turns if isinstance(turns, bool) else None,
        "backend": _text(config.get("model")),
        "harness_version": _text(content.get("lm_eval_version")) or (f"git {git}" if git else None),
        "finished_at": _moment(content.get("date")),
        "params_b": (count / 1e9 if (count := _whole(config.get("model_num_parameters"))) else None),
    }


def _read_arguments(arguments: object) -> Json:
    """`pretrained=a/b,dtype=float16` or an object, as the version of lm-eval writes it."""
    if isinstance(arguments, dict):
        return arguments
    parts = arguments.split(",") if isinstance(arguments, str) else []
    return {key.strip(): value.strip() for key, equals, value in (part.partition("=") for part in parts) if equals}


def _moment(seconds: object) -> datetime | None:
    number = _finite(seconds)
    try:
        return datetime.fromtimestamp(number, UTC) if number is not None and 0 < number < 1e11 else None
    except (OverflowError, OSError, ValueError):
        return None


def _score_rows(content: Json, evaluation_id: str) -> Iterator[Json]:
    """One row per task, metric and filter (see TASK_SCORES)."""
    config, shots, versions = _map(content, "config"), _map(content, "n-shot"), _map(content, "versions")
    git = _text(content.get("git_hash"))
    common = {
        "evaluation_id": evaluation_id,
        "chat_template_hash": _text(content.get("chat_template_sha")),
        "batch_size": _text(config.get("batch_size")),
        "harness_version": _text(content.get("lm_eval_version")) or (f"git {git}" if git else None),
        "device": _text(config.get("device")),
    }
    for task, metric, chosen, value, stderr in _metrics(content):
        settings = _map(_map(content, "configs"), task)
        candidates = (shots.get(task), settings.get("num_fewshot"), config.get("num_fewshot"))
        yield common | {
            "task": task,
            "metric": metric,
            "filter": chosen,
            "value": value,
            "stderr": stderr,
            "n_samples": _whole(_map(_map(content, "n-samples"), task).get("effective")),
            "n_shot": next((count for each in candidates if (count := _whole(each)) is not None), None),
            "task_version": _text(versions.get(task)),
            "task_hash": _text(_map(content, "task_hashes").get(task)),
            "dataset_id": _text(settings.get("dataset_path")),
        }


# --------------------------------------------------------------------------------------------------------- samples


def _find_samples(file: Path, content: Json, files: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Samples files of the same run: beside it, with the same time in the name, of a task that it has."""
    stamp = _STAMP.search(file.name)
    if stamp is None:
        return
    for each in files:
        match = _SAMPLES.fullmatch(each.name)
        if match and each.parent == file.parent and match["stamp"] == stamp[0] and match["task"] in content["results"]:
            yield match["task"], each


def _import_embedded(store: Store, file: Path, content: Json, evaluation_id: str, summary: ResultsImport) -> int:
    """Samples that stand in the results file itself; the number of tasks that had some."""
    n_tasks = 0
    for task, lines in _map(content, "samples").items():
        if not isinstance(lines, list) or task not in content["results"]:
            summary.left_out.append(LeftOut(str(file), f"samples.{task}: is not a list of samples of a task."))
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            before = len(summary.left_out)
            n_tasks += _import_samples(store, path, evaluation_id, task, _filters(content, task), summary)
            for index, each in enumerate(summary.left_out[before:], start=before):
                where = each.where.replace(str(path), f"{file}: samples.{task}")
                summary.left_out[index] = LeftOut(where, each.reason.replace(str(path), where))
    return n_tasks


def _import_samples(
    store: Store, file: Path, evaluation_id: str, task: str, filters: Sequence[str], summary: ResultsImport
) -> bool:
    """Write a samples file as Parquet, whole or not at all; False, and listed, when it cannot be read."""
    try:
        data = _read_bytes(file)
        with tempfile.TemporaryDirectory() as folder:
            complete = Path(folder) / "samples.jsonl"
            _complete_lines(data, complete, filters)
            digest = hashlib.sha256(f"{task}\0".encode("utf-8", "replace") + data).hexdigest()[:16]
            name = f"{evaluation_id}-{digest}"
            if not store.is_in_lake(SAMPLES, name):
                with replace_atomically(store.lake / SAMPLES.name / f"{name}.parquet") as out:
                    convert_samples({task: complete}, None, evaluation_id, out)
    except _FileError as error:
        summary.left_out.append(LeftOut(f"{file}:{error.line}" if error.line else str(file), str(error)))
        return False
    except ConvertError as error:
        reason = str(error).replace(f"{complete}: ", "").replace(str(complete), str(file))
        summary.left_out.append(LeftOut(str(file), reason))
        return False
    return True


def _complete_lines(data: bytes, target: Path, filters: Sequence[str]) -> None:
    """Write the lines with the names of filter and metrics, which older versions of lm-eval leave out.

    These wrote a document once for each filter of its task, in the order of the results.
    """
    seen: Counter[int] = Counter()
    with target.open("w", encoding="utf-8") as out:
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not line.strip():
                continue
            sample = _parse_line(line, number)
            doc_id = sample["doc_id"]
            if sample.get("filter") is None:
                sample["filter"] = filters[min(seen[doc_id], len(filters) - 1)] if filters else "none"
            seen[doc_id] += 1
            if not isinstance(sample.get("metrics"), list):
                sample["metrics"] = [key for key, value in sample.items() if _is_score(key, value)]
            out.write(json.dumps(sample, ensure_ascii=True) + "\n")


_NO_SCORES = (
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
)  # fmt: skip


def _is_score(key: str, value: object) -> bool:
    return key not in _NO_SCORES and isinstance(value, int | float | list)


def _parse_line(line: bytes, number: int) -> Json:
    try:
        sample = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise _FileError(f"not valid JSON ({error}).", number) from error
    if not isinstance(sample, dict):
        raise _FileError("not a JSON object.", number)
    doc_id = sample.get("doc_id")
    if _whole(doc_id) is None:
        raise _FileError("not a sample of lm-eval: it has no doc_id.", number)
    if not isinstance(sample.get("filtered_resps"), list):
        raise _FileError("not a sample of lm-eval: it has no filtered_resps.", number)
    return sample
