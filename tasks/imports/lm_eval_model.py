"""Reads the model and its settings from a results file of lm-eval, in the layouts of all its versions.

Texts are taken unchanged: a model need not be on the Hub.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from nightboard.tasks.imports.lm_eval_results import (
    SHA,
    BrokenFileError,
    Json,
    read_harness,
    to_finite,
    to_map,
    to_text,
    to_whole,
)

SOURCE = "import:results"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?")

_DTYPES = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}


def describe(content: Json, file: Path) -> Json:
    """The facts about the whole evaluation: columns of IMPORTS."""
    config = to_map(content, "config")
    arguments = _read_arguments(config.get("model_args"))
    turns = content.get("fewshot_as_multiturn")
    count = to_whole(config.get("model_num_parameters"))
    return {
        "source": SOURCE,
        "row_name": to_text(str(file)),
        **_name_model(content, config, arguments),
        "precision": _read_precision(config, arguments),
        "chat_template": _has_template(content),
        "fewshot_as_multiturn": turns if isinstance(turns, bool) else None,
        "backend": to_text(config.get("model")) or to_text(content.get("model_source")),
        "harness_version": read_harness(content),
        "finished_at": _read_time(content.get("date"), file.name),
        "params_b": count / 1e9 if count else None,
    }


def name_arguments(content: Json) -> str | None:
    """The model's arguments, as lm-eval before 0.4.3 writes them in the names of samples files."""
    arguments = to_map(content, "config").get("model_args")
    return re.sub("/|=", "__", arguments) if isinstance(arguments, str) else None


def _name_model(content: Json, config: Json, arguments: Json) -> Json:
    """Model, revision and base model. With an adapter or delta, this is the model, and the pretrained one its base."""
    names = (to_text(arguments.get(key)) for key in ("pretrained", "model", "engine", "path"))
    model = next(filter(None, names), to_text(content.get("model_name")) or to_text(config.get("model")))
    if model is None:
        raise BrokenFileError("does not name the evaluated model.")
    for key, kind in (("peft", "Adapter"), ("delta", "Delta")):
        if name := to_text(arguments.get(key)):
            sha = _choose_sha(config.get(f"{key}_sha"))
            return {"model_id": name, "revision": sha, "base_model": model, "weight_type": kind}
    return {"model_id": model, "revision": _choose_sha(config.get("model_sha"), arguments.get("revision"))}


def _choose_sha(*values: object) -> str | None:
    return next((sha for value in values if SHA.fullmatch(sha := to_text(value) or "")), None)


def _read_arguments(arguments: object) -> Json:
    """The model's arguments: `pretrained=a/b,dtype=float16`, an object, or an object as text, by lm-eval's version."""
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str):
        return {}
    if arguments.lstrip().startswith("{"):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}
    parts = (part.partition("=") for part in arguments.split(","))
    return {key.strip(): value.strip() for key, equals, value in parts if equals}


def _read_precision(config: Json, arguments: Json) -> str | None:
    """The number format of the weights: a quantization in the arguments, otherwise the requested or loaded dtype."""
    quantizations = {"load_in_4bit": "4bit", "load_in_8bit": "8bit", "autogptq": "GPTQ", "gptqmodel": "GPTQ"}
    for key, quantization in quantizations.items():
        if str(arguments.get(key, "False")).lower() not in ("false", "none", "0", ""):
            return quantization
    asked = to_text(arguments.get("dtype"))
    dtype = asked if asked and asked != "auto" else to_text(config.get("model_dtype"))
    name = dtype.removeprefix("torch.") if dtype else None
    return _DTYPES.get(name, name) if name else None


def _has_template(content: Json) -> bool | None:
    """Whether prompts went through a chat template. For an API, an empty text means unknown: it may have its own."""
    template = content.get("chat_template", "")
    return None if template == "" else bool(template)


def _read_time(seconds: object, file_name: str) -> datetime | None:
    """The time of the evaluation, from the file, otherwise from its name (unknown time zone, treated as UTC)."""
    number = to_finite(seconds)
    try:
        if number is not None and 0 < number < 1e11:
            return datetime.fromtimestamp(number, UTC)
        stamp = STAMP.search(file_name)
        return datetime.strptime(stamp[0][:19], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC) if stamp else None
    except (OverflowError, OSError, ValueError):
        return None
