"""What a document asks, offers and expects, and what was chosen, in the lines that lm-eval writes for its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from nightboard.warehouse.lake.document_texts import describe_document, find_chosen, name_option

SHOTS = "Question: an example\nAnswer: (A)\n\n"


def scored(doc: dict[str, Any], target: object, *options: str, prompts: list[str] | None = None) -> dict[str, Any]:
    """A line of a multiple-choice task; with `prompts`, the options are in these."""
    return {
        "doc": doc,
        "target": str(target),
        "metrics": ["acc"],
        "filtered_resps": [["-1.0", "False"]] * len(options),
        "arguments": {
            f"gen_args_{i}": {"arg_0": prompts[i] if prompts else f"{SHOTS}...", "arg_1": f" {option}"}
            for i, option in enumerate(options)
        },
    }


def generated(doc: object, target: object, prompt: str = "?") -> dict[str, Any]:
    arguments = {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n"]}}}
    return {
        "doc": doc, "target": str(target), "metrics": ["em"], "filtered_resps": ["text"], "arguments": arguments,
    }  # fmt: skip


SPORTS = "Is it plausible?\nOptions:\n(A) yes, it is\n(B) no"
RIDER = "Ann's horse is taller than Bo's, because _ is taller."

# Documents as the tasks of both leaderboards make them, shortened.
LINES = {
    "ifeval": (
        generated({"key": 1, "prompt": "Write two words.", "instruction_id_list": ["a:b"], "kwargs": [{}]}, 0),
        ("Write two words.", None, "0", None),
    ),
    "bbh": (
        scored({"input": SPORTS, "target": "(B)"}, "(B)", "(A)", "(B)"),
        (SPORTS, ["(A) yes, it is", "(B) no"], "(B) no", None),
    ),
    "bbh boolean": (
        scored({"input": "not True is", "target": "False"}, "False", "False", "True"),
        ("not True is", ["(A) False", "(B) True"], "(A) False", None),
    ),
    "bbh counting": (
        scored({"input": "How many?", "target": "2"}, "2", "0", "1", "2"),
        ("How many?", ["(A) 0", "(B) 1", "(C) 2"], "(C) 2", None),
    ),
    "math": (
        generated({"problem": "1+1?", "solution": "It is 2", "answer": "2", "type": "Algebra", "level": "Level 5"}, 2),
        ("1+1?", None, "2", "Algebra"),
    ),
    "gpqa": (
        scored(
            {"Question": "Which?", "Pre-Revision Question": "what?", "High-level domain": "Physics", "choice1": "x",
             "choices": ["x", "y", "z", "w"], "answer": "(C)"}, "(C)", "(A)", "(B)", "(C)", "(D)",
        ),
        ("Which?", ["(A) x", "(B) y", "(C) z", "(D) w"], "(C) z", "Physics"),
    ),
    "musr": (
        scored(
            {"narrative": "A tale.", "question": "Who?", "choices": "['Ann', 'Bo']", "answer_index": 1,
             "answer_choice": "Bo"}, "Bo", "Ann", "Bo",
        ),
        ("A tale.\n\nWho?", ["(A) Ann", "(B) Bo"], "(B) Bo", None),
    ),
    "mmlu_pro": (
        scored(
            {"question_id": 7, "question": "Why?", "options": ["a", "b", "c"], "answer": "B", "category": "law"},
            "B", "A", "B", "C",
        ),
        ("Why?", ["(A) a", "(B) b", "(C) c"], "(B) b", "law"),
    ),
    "arc": (
        scored({"question": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}}, 1, "ice", "fire"),
        ("Hot?", ["(A) ice", "(B) fire"], "(B) fire", None),
    ),
    "hellaswag": (
        scored(
            {"ind": 1, "activity_label": "Golf", "ctx": "He", "query": "Golf: He", "choices": ["hits.", "sits."],
             "gold": 0, "label": "0"}, 0, "hits.", "sits.",
        ),
        ("Golf: He", ["(A) hits.", "(B) sits."], "(A) hits.", "Golf"),
    ),
    "mmlu": (
        scored({"question": "2+2?", "subject": "maths", "choices": ["3", "4"], "answer": 1}, "B", "A", "B"),
        ("2+2?", ["(A) 3", "(B) 4"], "(B) 4", "maths"),
    ),
    "truthfulqa": (
        scored({"question": "Red?", "mc2_targets": {"choices": ["x", "y"], "labels": [1, 0]}}, 0, "It is.", "Never."),
        ("Red?", ["(A) It is.", "(B) Never."], "(A) It is.", None),
    ),
    "winogrande": (
        scored(
            {"sentence": RIDER, "option1": "Ann", "option2": "Bo", "answer": "1"}, "is taller.",
            "is taller.", "is taller.", prompts=["... because Ann", "... because Bo"],
        ),
        (RIDER, ["(A) Ann", "(B) Bo"], "(A) Ann", None),
    ),
    "gsm8k": (generated({"question": "3-1?", "answer": "2\n#### 2"}, "#### 2"), ("3-1?", None, "#### 2", None)),
    "generated letters": (
        generated({"question": "Why?", "options": ["a", "b"], "answer": "B"}, "B"),
        ("Why?", ["(A) a", "(B) b"], "(B) b", None),
    ),
    "options by letter": (
        scored({"question": "Why?", "options": {"A": "a", "B": "b"}}, "A", "A", "B"),
        ("Why?", ["(A) a", "(B) b"], "(A) a", None),
    ),
    "options by field": (
        scored({"question": "Why?", "opa": "a", "opb": "b", "cop": 1}, 1, "A", "B"),
        ("Why?", ["(A) a", "(B) b"], "(B) b", None),
    ),
    "passages": (
        generated({"QUESTION": "Is it?", "CONTEXTS": ["One.", "Two."]}, "yes"),
        ("One.\nTwo.\n\nIs it?", None, "yes", None),
    ),
    "unknown names": (
        generated({"id": "3", "riddle": "What walks?", "reply": "a man"}, "a man", prompt=f"{SHOTS}What walks?"),
        ("What walks?", None, "a man", None),
    ),
    "no document": (generated("text", "x", prompt="All that was asked"), ("All that was asked", None, "x", None)),
    "nothing at all": ({"doc": None, "target": None, "filtered_resps": []}, (None, None, None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_document_is_its_question_options_target_and_category(name: str) -> None:
    line, expected = LINES[name]
    assert describe_document(line) == expected


def test_files_from_before_lm_eval_0_4_3_have_arguments_as_lists() -> None:
    line = scored({"question": "Who?"}, 1, "Ann", "Bo")
    line["arguments"] = [["...", " Ann"], ["...", " Bo"]]
    assert describe_document(line) == ("Who?", ["(A) Ann", "(B) Bo"], "(B) Bo", None)


def test_options_beyond_the_alphabet_have_numbers() -> None:
    options = [f"option {number}" for number in range(28)]
    assert name_option(scored({}, 0, *options), 27) == "(28) option 27"


@pytest.mark.parametrize(
    ("metric", "numbers", "chosen"),
    [
        ("acc", [-9.0, -8.0, -8.0], 1),
        ("acc_norm", [-9.0, -8.0, -8.0], 0),  # by characters: -9/6, -8/3, -8/4
        ("acc_bytes", [-9.0, -8.0, -9.6], 2),  # the third has two bytes a character: -9.6/8
        ("acc_norm", [-9.0, -8.0, -9.6], 0),
        ("acc", [float("-inf"), -8.0, -9.0], 1),
        ("acc", [float("nan"), -8.0, -9.0], None),
        ("acc_mutual_info", [-3.0, -2.0, -4.0, -1.0, -1.0, -9.0], 2),
        ("acc", [-3.0, -2.0, -4.0, -1.0, -1.0, -9.0], 1),
    ],
)
def test_the_answer_is_the_option_that_the_metric_prefers(
    metric: str, numbers: list[float], chosen: int | None
) -> None:
    assert find_chosen(scored({}, 0, "abcdef", "abc", "éééé"), metric, numbers, 3) == chosen


def test_without_texts_of_options_no_length_is_guessed() -> None:
    assert find_chosen({"arguments": {}}, "acc_norm", [-1.0, -2.0], 2) is None
    assert find_chosen({"arguments": {}}, "acc", [-1.0, -2.0], 2) == 0
