"""The commands that reproduce a score: what the tables tell is pinned, what they do not tell is said."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from nightboard.tasks.page.commands import write_commands

ROW = {
    "evaluated_model_id": "org/model", "evaluated_revision": "a" * 40, "precision": "bfloat16", "chat_template": False,
    "fewshot_as_multiturn": False, "backend": "hf", "harness_version": "0.4.13", "settings": "", "weight_type": None,
    "base_model": None, "needs_remote_code": False,
}  # fmt: skip


def score(group: str, sizes: list[int], n_tasks: int = 1, **changes: Any) -> dict[str, Any]:
    libraries = {"python": "3.11.7", "torch": "2.8.0+cu128", "transformers": "4.57.1", "vllm": None, "numpy": "2.0"}
    return {
        "measurement": json.dumps({"group": group, "seed": 1234}), "sizes": sizes, "n_tasks": n_tasks,
        "batch_sizes": ["8"], "devices": ["NVIDIA H100"], "datasets": [f"org/{group}@{'d' * 40}"],
        "harness_versions": ["0.4.13"], "library_versions": [json.dumps(libraries)],
    } | changes  # fmt: skip


def read(row: dict[str, Any], *scores: dict[str, Any]) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
    """The arguments of pip, the options of lm-eval, and the notes."""
    commands = write_commands(ROW | row, scores)
    install, *rest = commands.lines.partition("lm-eval \\\n")
    words = shlex.split("".join(rest).replace("\\\n", ""))
    assert words[0] == "lm-eval"
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words[1:])
    return shlex.split(install), options, commands.notes


def test_own_runs_are_pinned_in_every_part_that_is_known() -> None:
    install, options, notes = read(
        {}, score("leaderboard_bbh", [250, 146], 24), score("leaderboard_musr", [756, 250], 3)
    )
    assert install == ["pip", "install", "lm-eval[hf,ifeval,math]==0.4.13", "torch==2.8.0", "transformers==4.57.1"]
    assert options == {
        "model": "hf", "model_args": f"pretrained=org/model,revision={'a' * 40},dtype=bfloat16",
        "tasks": "leaderboard_bbh,leaderboard_musr", "batch_size": "8", "output_path": "results",
    }  # fmt: skip
    assert notes == ("lm-eval loads the newest commit of a dataset; the score is of the 2 commits under Provenance.",)


@pytest.mark.parametrize(
    ("turns", "expected"), [(True, ""), (False, "false"), (None, "")], ids=["turns", "one turn", "unknown"]
)
def test_a_chat_template_says_whether_examples_are_turns(turns: bool | None, expected: str) -> None:
    _, options, notes = read({"chat_template": True, "fewshot_as_multiturn": turns}, score("g", [9]))
    assert (options["apply_chat_template"], options["fewshot_as_multiturn"]) == ("", expected)
    assert ("Whether few-shot examples were turns of their own is not known." in notes) == (turns is None)


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [
        (([4], [4]), "4"),
        (([4],), "4"),
        (([250, 146], [12032]), None),
        (([40, 12], [40]), "40"),
        (([40], None), None),
    ],
)
def test_tasks_that_end_at_one_number_of_documents_are_cut_there(sizes: tuple[Any, ...], limit: str | None) -> None:
    assert read({}, *(score("g", each) for each in sizes))[1].get("limit") == limit


def test_an_import_says_what_it_does_not_tell() -> None:
    unknown = {"batch_sizes": None, "devices": None, "datasets": None, "harness_versions": None}
    row = {"backend": None, "harness_version": None, "evaluated_revision": None, "precision": "GPTQ", "settings": "x=1"}
    install, options, notes = read(row, score("g", [9], library_versions=None, **unknown))
    assert (install, options["model_args"], options["batch_size"]) == ([], "pretrained=org/model,dtype=auto", "auto")
    assert "model" not in options
    assert notes == (
        "The version of lm-eval is not known: the import does not tell it.",
        "The commit of the model is not known: the newest one may be another.",
        "The precision GPTQ cannot be given to lm-eval as a dtype.",
        "Other settings of the evaluation: x=1.",
        "The batch size is not known.",
    )


@pytest.mark.parametrize(
    ("changes", "model_args"),
    [
        ({"precision": "4bit"}, f"pretrained=org/model,revision={'a' * 40},load_in_4bit=True"),
        (
            {"weight_type": "Adapter", "base_model": "org/base"},
            f"pretrained=org/base,peft=org/model,revision={'a' * 40},dtype=bfloat16",
        ),
        (
            {"needs_remote_code": True},
            f"pretrained=org/model,revision={'a' * 40},dtype=bfloat16,trust_remote_code=True",
        ),
    ],
)
def test_the_model_is_loaded_as_it_was(changes: dict[str, Any], model_args: str) -> None:
    assert read(changes, score("g", [9]))[1]["model_args"] == model_args


def test_seed_device_and_back_end_are_given_where_they_differ() -> None:
    row = score("g", [9], measurement=json.dumps({"group": "g", "seed": 7}), devices=["cpu"])
    install, options, _ = read({"backend": "vllm"}, row)
    assert install[2] == "lm-eval[vllm,ifeval,math]==0.4.13"
    assert (options["seed"], options["device"], options["model"]) == ("0,7,7,7", "cpu", "vllm")


def test_a_name_cannot_leave_its_argument() -> None:
    evil = "org/x; rm -rf ~ 'now' $(id)"
    _, options, _ = read({"evaluated_model_id": evil, "evaluated_revision": None}, score("`id`", [9]))
    assert options["model_args"] == f"pretrained={evil},dtype=bfloat16"
    assert options["tasks"] == "`id`"


def test_damaged_versions_and_a_suite_without_settings_are_no_error() -> None:
    row = score("g", [9]) | {"library_versions": ["{not json", "[]"], "measurement": None, "sizes": None}
    _, options, notes = read({}, row)
    assert "tasks" not in options
    assert "The tasks of lm-eval are not known." in notes
