"""Reads which model a results file of lm-eval is about (name, commit, precision), in the layouts of all its versions.

Texts are taken unchanged: a model need not be on the Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nightboard.profiles.models.suite import Suite
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
from nightboard.tasks.imports.lm_eval_settings import (
    MODEL_NAMES,
    Settings,
    list_settings,
    list_shortened,
    read_arguments,
    read_settings,
    write_value,
)

SOURCE = "import:results"
# What is loaded if no revision is given.
DEFAULT_BRANCH = "main"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?")

_DTYPES = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}
_QUANTIZATIONS = {"load_in_4bit": "4bit", "load_in_8bit": "8bit", "autogptq": "GPTQ", "gptqmodel": "GPTQ"}
_OFF = ("", "None", "False", "0")


@dataclass(frozen=True)
class Identity:
    """What is ranked as one row: the model at a revision, as it was loaded and asked.

    `revision` is a full commit sha; `revision_name` a branch or tag, other than the default one, that was asked for.
    With an adapter or delta, this is the model, and the pretrained one is its base. `is_name_given`: by the user,
    because the file names none.
    """

    model_id: str
    is_name_given: bool
    revision: str | None
    revision_name: str | None
    base_model: str | None
    weight_type: str | None
    precision: str | None
    settings: Settings


def read_identity(content: Json, suite: Suite | None, model_id: str | None = None) -> Identity:
    """The identity of what a results file measured. Pure. `model_id` counts if the file does not name its model.

    Raises BrokenFileError if there is no name: a back end is not a model.
    """
    config = to_map(content, "config")
    arguments = read_arguments(config.get("model_args"))
    named = _find_name(content, config, arguments)
    model = named or model_id
    if model is None:
        raise BrokenFileError(
            f"does not name the evaluated model, only its back end (got {write_value(config.get('model'))}). If all"
            " such files are of one model, name it with --model-id."
        )
    settings = read_settings(content, suite)
    revision = _read_given(arguments, "revision") or _read_given(config, "model_revision")
    name = revision if revision not in (None, DEFAULT_BRANCH) and not SHA.fullmatch(revision or "") else None
    precision = _read_precision(config, arguments)
    for key, kind in (("peft", "Adapter"), ("delta", "Delta")):
        if adapter := _read_given(arguments, key):
            base = {"pretrained": model} | ({"revision": revision} if revision not in (None, DEFAULT_BRANCH) else {})
            settings = Settings({**settings.identity, **base}, settings.not_comparable)
            return Identity(
                adapter, False, _choose_sha(config.get(f"{key}_sha")), None, model, kind, precision, settings
            )
    sha = _choose_sha(config.get("model_sha"), revision)
    return Identity(model, named is None, sha, name, None, None, precision, settings)


def describe(content: Json, file: Path, identity: Identity) -> Json:
    """The facts about the whole evaluation: columns of IMPORTS."""
    config = to_map(content, "config")
    turns = content.get("fewshot_as_multiturn")
    count = to_whole(config.get("model_num_parameters"))
    return {
        "source": SOURCE,
        "row_name": to_text(str(file)),
        "model_id": identity.model_id,
        "revision": identity.revision,
        "revision_name": identity.revision_name,
        "base_model": identity.base_model,
        "weight_type": identity.weight_type,
        "precision": identity.precision,
        "chat_template": _has_template(content),
        "fewshot_as_multiturn": turns if isinstance(turns, bool) else None,
        "settings": list_settings(identity.settings.identity),
        "not_comparable": list_shortened(identity.settings.not_comparable),
        "backend": to_text(config.get("model")) or to_text(content.get("model_source")),
        "harness_version": read_harness(content),
        "finished_at": _read_time(content.get("date"), file.name),
        "params_b": count / 1e9 if count else None,
    }


def name_arguments(content: Json) -> str | None:
    """The model's arguments, as lm-eval before 0.4.3 writes them in the names of samples files."""
    arguments = to_map(content, "config").get("model_args")
    return re.sub("/|=", "__", arguments) if isinstance(arguments, str) else None


def _find_name(content: Json, config: Json, arguments: Json) -> str | None:
    """The model's name. Where lm-eval was given a loaded model, its path stands in place of the back end."""
    names = (*(_read_given(arguments, key) for key in MODEL_NAMES), _read_given(content, "model_name"))
    back_end = to_text(config.get("model"))
    path = back_end if back_end and "/" in back_end else None
    return next((name for name in names if name and name != back_end), path)


def _read_given(values: Json, key: str) -> str | None:
    """A text; `None` as a text is none, as in `revision=None`."""
    text = to_text(values.get(key))
    return text if text and write_value(text) != "None" else None


def _choose_sha(*values: object) -> str | None:
    return next((sha for value in values if SHA.fullmatch(sha := to_text(value) or "")), None)


def _read_precision(config: Json, arguments: Json) -> str | None:
    """The number format of the weights: a quantization in the arguments, otherwise the requested or loaded dtype."""
    for key, quantization in _QUANTIZATIONS.items():
        if write_value(arguments.get(key)) not in _OFF:
            return quantization
    if (quantization := write_value(arguments.get("quantization"))) not in _OFF:
        return "GPTQ" if quantization == "gptq" else quantization
    asked = next(filter(None, (_read_given(arguments, key) for key in ("dtype", "torch_dtype"))), None)
    dtype = asked if asked and asked != "auto" else _read_given(config, "model_dtype")
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
