"""The demo's six datasets: questions of our own making, in the columns and under the ids of leaderboard-v2's.

Owns the layout of the dataset repositories. The questions themselves lie in questions.yaml; the prompts that lm-eval
makes of them are prompts.py's.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from ruamel.yaml import YAML

Row = dict[str, Any]

# Every argument that any IFEval instruction takes: in the real dataset each row names them all, unused ones as null.
IFEVAL_ARGUMENTS = (
    "num_highlights",
    "relation",
    "num_words",
    "num_placeholders",
    "prompt_to_repeat",
    "num_bullets",
    "section_spliter",
    "num_sections",
    "capital_relation",
    "capital_frequency",
    "keywords",
    "num_paragraphs",
    "language",
    "let_relation",
    "letter",
    "let_frequency",
    "end_phrase",
    "forbidden_words",
    "keyword",
    "frequency",
    "num_sentences",
    "postscript_marker",
    "first_word",
    "nth_paragraph",
)
GPQA_CONFIGS = ("gpqa_diamond", "gpqa_extended", "gpqa_main")
# lm-eval drops these from the test split: the completeness check can be seen to count what is left.
_EASY_PROBLEM = {"problem": "What is $1 + 1$?", "level": "Level 1", "solution": "It is $\\boxed{2}$."}


@functools.cache
def load_questions() -> dict[str, Any]:
    """The content of questions.yaml."""
    text = (resources.files(__package__) / "questions.yaml").read_text(encoding="utf-8")
    questions: dict[str, Any] = YAML(typ="safe").load(text)
    return questions


def make_datasets() -> dict[str, dict[str, bytes]]:
    """Files of the six dataset repositories, by repository id."""
    questions = load_questions()
    return {
        "wis-k/instruction-following-eval": _make_repo({"default": {"train": _ifeval_rows(questions["ifeval"])}}),
        "SaylorTwift/bbh": _make_repo({name: {"test": rows} for name, rows in questions["bbh"].items()}),
        "DigitalLearningGmbH/MATH-lighteval": _make_repo(
            {name: _math_splits(q) for name, q in questions["math"].items()}
        ),
        "Idavidrein/gpqa": _make_repo({name: {"train": questions["gpqa"]} for name in GPQA_CONFIGS}),
        "TAUR-Lab/MuSR": _make_repo({"default": {name: _musr_rows(q) for name, q in questions["musr"].items()}}),
        "TIGER-Lab/MMLU-Pro": _make_repo({"default": _mmlu_pro_splits(questions["mmlu_pro"])}),
    }


def _make_repo(configs: Mapping[str, Mapping[str, list[Row]]]) -> dict[str, bytes]:
    """One JSON-lines file a configuration and split, and a card that lists them."""
    listed = []
    files: dict[str, bytes] = {}
    for config, splits in configs.items():
        paths = {split: f"{config}/{split}.jsonl" if len(configs) > 1 else f"{split}.jsonl" for split in splits}
        listed.append({"config_name": config, "data_files": [{"split": s, "path": p} for s, p in paths.items()]})
        files |= {path: _write_lines(splits[split]) for split, path in paths.items()}
    # JSON is YAML, and needs no writer that decides about quotes.
    card = f"license: apache-2.0\nconfigs: {json.dumps(listed)}"
    files["README.md"] = (
        f"---\n{card}\n---\nQuestions made for nightboard's demo, in the columns of the real dataset.\n".encode()
    )
    return files


def _write_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _ifeval_rows(questions: list[Row]) -> list[Row]:
    unused = dict.fromkeys(IFEVAL_ARGUMENTS)
    return [
        {
            "key": question["key"],
            "prompt": question["prompt"],
            "instruction_id_list": list(question["instructions"]),
            "kwargs": [unused | arguments for arguments in question["instructions"].values()],
        }
        for question in questions
    ]


def _math_splits(questions: list[Row]) -> dict[str, list[Row]]:
    kept = ("problem", "type", "solution")
    rows = [{"level": "Level 5"} | {column: question[column] for column in kept} for question in questions]
    easy = _EASY_PROBLEM | {"type": questions[0]["type"]}
    columns = ("problem", "level", "type", "solution")
    splits = {"train": [easy, *rows], "test": [easy, *rows]}
    return {split: [{column: row[column] for column in columns} for row in rows] for split, rows in splits.items()}


def _musr_rows(questions: list[Row]) -> list[Row]:
    return [
        {
            "narrative": question["narrative"],
            "question": question["question"],
            "choices": str(question["choices"]),
            "answer_index": question["answer"],
            "answer_choice": question["choices"][question["answer"]],
        }
        for question in questions
    ]


def _mmlu_pro_splits(splits: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    return {split: [_mmlu_pro_row(split, question) for question in questions] for split, questions in splits.items()}


def _mmlu_pro_row(split: str, question: Row) -> Row:
    letter = "ABCDEFGHIJ"[question["answer"]]
    explanation = f"A: Let's think step by step. The answer is ({letter})." if split == "validation" else ""
    return {
        "question_id": int(hashlib.sha256(question["question"].encode()).hexdigest()[:6], 16),
        "question": question["question"],
        "options": question["options"],
        "answer": letter,
        "answer_index": question["answer"],
        "cot_content": explanation,
        "category": question["category"],
        "src": "nightboard-demo",
    }
