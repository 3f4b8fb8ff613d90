"""The commands that reproduce a score: the pip line of lm-eval's version, and lm-eval's own command line.

Pure. What the tables do not tell is said, never guessed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What lm-eval runs with; other libraries do not change a score that is known of.
_INSTALLED = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "vllm")
_DTYPES = ("float16", "bfloat16", "float32", "float64", "auto")
# Precisions of imported boards that are arguments of their own.
_LOADED_IN = {"4bit": "load_in_4bit=True", "8bit": "load_in_8bit=True"}
_SEED = 1234


@dataclass(frozen=True)
class Commands:
    """Lines for a shell, and in sentences what they cannot tell."""

    lines: str
    notes: tuple[str, ...]


def write_commands(row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> Commands:
    """How to repeat an evaluation of page_scored with its rows of page_scores."""
    notes = [*_note_install(row, scores), *_note_run(row, scores)]
    install = _write_install(row, scores)
    return Commands("\n".join([*([install] if install else []), _write_run(row, scores)]), tuple(notes))


def collect(scores: Iterable[Mapping[str, Any]], column: str) -> list[str]:
    """All values of a column of lists over the benchmarks, each once, in order."""
    return list(dict.fromkeys(str(value) for row in scores for value in row[column] or () if value is not None))


def read_libraries(scores: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Versions of libraries by name, those that are installed; of the last benchmark where they differ."""
    found: dict[str, str] = {}
    for text in collect(scores, "library_versions"):
        try:
            versions = json.loads(text)
        except ValueError:
            continue
        if isinstance(versions, dict):
            found |= {str(name): str(version) for name, version in versions.items() if version}
    return found


def _find_version(row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str | None:
    versions = collect(scores, "harness_versions")
    return str(versions[0] if versions else row["harness_version"] or "") or None


def _write_install(row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str | None:
    version = _find_version(row, scores)
    if version is None:
        return None
    extra = "vllm" if row["backend"] == "vllm" else "hf"
    libraries = read_libraries(scores)
    # A part after + names a build that the package index does not have.
    pinned = [f"{name}=={libraries[name].partition('+')[0]}" for name in _INSTALLED if name in libraries]
    return " ".join(["pip", "install", *map(shlex.quote, [f"lm-eval[{extra},ifeval,math]=={version}", *pinned])])


def _note_install(row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> list[str]:
    if _find_version(row, scores) is None:
        return ["The version of lm-eval is not known: the import does not tell it."]
    return []


def _write_run(row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str:
    settings = _read_settings(scores)
    batch_sizes = collect(scores, "batch_sizes")
    limit = _find_limit(scores)
    seeds = {setting.get("seed", _SEED) for setting in settings}
    seed = seeds.pop() if len(seeds) == 1 else _SEED
    groups = dict.fromkeys(str(setting["group"]) for setting in settings if "group" in setting)
    parts = [
        "lm-eval",
        f"--model={row['backend']}" if row["backend"] else None,
        f"--model_args={shlex.quote(_write_model(row))}",
        f"--tasks={shlex.quote(','.join(groups))}" if groups else None,
        f"--batch_size={shlex.quote(batch_sizes[0] if batch_sizes else 'auto')}",
        f"--limit={limit}" if limit else None,
        f"--seed=0,{seed},{seed},{seed}" if seed != _SEED else None,
        "--device=cpu" if collect(scores, "devices") == ["cpu"] else None,
        *_write_template(row),
        "--output_path=results",
    ]
    return " \\\n  ".join(part for part in parts if part)


def _write_model(row: Mapping[str, Any]) -> str:
    is_adapter = row["weight_type"] == "Adapter" and row["base_model"]
    model = f"pretrained={row['base_model']},peft={row['evaluated_model_id']}" if is_adapter else None
    precision = str(row["precision"] or "auto")
    dtype = _LOADED_IN.get(precision) or f"dtype={precision if precision in _DTYPES else 'auto'}"
    revision = row["evaluated_revision"]
    parts = [model or f"pretrained={row['evaluated_model_id']}", f"revision={revision}" if revision else None, dtype]
    parts += ["trust_remote_code=True"] if row["needs_remote_code"] else []
    return ",".join(part for part in parts if part)


def _write_template(row: Mapping[str, Any]) -> list[str]:
    """With a chat template, lm-eval puts few-shot examples into turns of their own unless told otherwise."""
    if not row["chat_template"]:
        return []
    if row["fewshot_as_multiturn"] is False:
        return ["--apply_chat_template", "--fewshot_as_multiturn=false"]
    return ["--apply_chat_template", "--fewshot_as_multiturn"]


def _read_settings(scores: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    read = (json.loads(row["measurement"]) for row in scores if row["measurement"])
    return [settings for settings in read if isinstance(settings, dict)]


def _find_limit(scores: Sequence[Mapping[str, Any]]) -> int | None:
    """The number of documents that tasks are cut to: several tasks end at the same largest one.

    Where they are not cut, the limit changes nothing.
    """
    counts = [(max(row["sizes"]), row["sizes"], row["n_tasks"]) for row in scores if row["sizes"]]
    if not counts or len(counts) < len(scores):
        return None
    largest = max(size for size, *_ in counts)
    at_largest = [(sizes, n_tasks) for size, sizes, n_tasks in counts if size == largest]
    is_cut = all(sizes == [largest] for _, sizes, _ in counts) or len(at_largest) > 1
    return int(largest) if is_cut else None


def _note_run(row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if not any("group" in settings for settings in _read_settings(scores)):
        notes.append("The tasks of lm-eval are not known.")
    if not row["evaluated_revision"]:
        notes.append("The commit of the model is not known: the newest one may be another.")
    precision = str(row["precision"] or "")
    if precision not in (*_DTYPES, *_LOADED_IN):
        notes.append(f"The precision {precision or 'is not known and'} cannot be given to lm-eval as a dtype.")
    if row["settings"]:
        notes.append(f"Other settings of the evaluation: {row['settings']}.")
    if row["chat_template"] and row["fewshot_as_multiturn"] is None:
        notes.append("Whether few-shot examples were turns of their own is not known.")
    if len(collect(scores, "batch_sizes")) != 1:
        notes.append("The batch size is not known." if not collect(scores, "batch_sizes") else "Batch sizes differ.")
    if datasets := collect(scores, "datasets"):
        notes.append(
            "lm-eval loads the newest commit of a dataset; the score is of "
            + ("that" if len(datasets) == 1 else f"the {len(datasets)} commits")
            + " under Provenance."
        )
    return notes
