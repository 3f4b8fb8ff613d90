"""Puts a results file of lighteval into the layout of lm-eval's.

Its tasks have other names and prompts than lm-eval's, such as `mmlu:anatomy|5`, so no suite has them: the numbers are
in `task_scores` and nowhere else.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

BACK_END = "lighteval"


def is_lighteval(content: Json) -> bool:
    """Whether the file is of lighteval: it says `config_general` where lm-eval says `config`."""
    return isinstance(content.get("config_general"), dict) and "config" not in content


def convert_lighteval(content: Json) -> Json:
    """The same content as lm-eval would write it: results, versions, shots, and the model with revision and dtype."""
    general = content["config_general"]
    model = general.get("model_config")
    model = model if isinstance(model, dict) else {}
    name = general.get("model_name") or model.get("model_name") or model.get("pretrained")
    dtype = general.get("model_dtype") or model.get("dtype")
    sha = general.get("lighteval_sha")
    written = content["results"] if isinstance(content["results"], dict) else {}
    results = {task: values for task, values in written.items() if not _is_mean(task)}
    return {
        "results": results,
        "versions": content.get("versions"),
        "n-shot": {task: shots for task in results if (shots := _count_shots(task)) is not None},
        "config": {
            "model": BACK_END,
            "model_args": {"pretrained": name, "revision": model.get("revision"), "dtype": dtype},
            "model_sha": general.get("model_sha"),
        },
        "lm_eval_version": f"{BACK_END} {sha}" if isinstance(sha, str) and len(sha) > 1 else BACK_END,
    }


def _is_mean(name: str) -> bool:
    """Whether it is no task but a mean over tasks: `all`, or `mmlu:_average|5`."""
    return name == "all" or ":_average|" in name


def _count_shots(task: str) -> int | None:
    """Of `mmlu:anatomy|5`, and before 0.12 of `leaderboard|mmlu:anatomy|5|0`."""
    parts = task.split("|")
    shots = parts[2] if len(parts) == 4 else parts[-1]
    return int(shots) if len(parts) > 1 and shots.isdecimal() and len(shots) < 4 else None
