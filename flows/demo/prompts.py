"""What lm-eval asks the demo's questions as: the end of each prompt, a right answer and a wrong one.

Owns copies of the prompt formats of lm-eval's `leaderboard_*` tasks, for making models only; lm-eval itself builds its
prompts from the datasets and never sees this. Few-shot examples come before these texts.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nightboard.flows.demo.questions import load_questions

_OPPOSITE = {"True": "False", "Yes": "No", "yes": "no", "valid": "invalid"}
OPPOSITE = _OPPOSITE | {wrong: right for right, wrong in _OPPOSITE.items()}


@dataclass(frozen=True)
class Prompt:
    """One prompt. A question has several where lm-eval shuffles its options."""

    benchmark: str
    question: str
    text: str
    right: str
    wrong: str
    is_generated: bool = False
    has_examples: bool = False


def make_prompts() -> list[Prompt]:
    """All prompts that the six benchmarks can make of the demo's questions."""
    questions = load_questions()
    makers = (_ask_bbh, _ask_ifeval, _ask_math, _ask_gpqa, _ask_musr, _ask_mmlu_pro)
    return [prompt for make in makers for prompt in make(questions)]


def choose_known(prompts: Iterable[Prompt], skill: float) -> set[str]:
    """The questions that a model of this skill, a fraction 0..1, answers right.

    The same share of each benchmark; and whatever a model knows, a more skilful one knows too, so that their order
    is the same in every benchmark.
    """
    known: set[str] = set()
    by_benchmark: dict[str, set[str]] = {}
    for prompt in prompts:
        by_benchmark.setdefault(prompt.benchmark, set()).add(prompt.question)
    for questions in by_benchmark.values():
        ordered = sorted(questions, key=lambda question: hashlib.sha256(question.encode()).digest())
        known |= set(ordered[: round(skill * len(ordered))])
    return known


def _ask_bbh(questions: dict[str, Any]) -> Iterator[Prompt]:
    for rows in questions["bbh"].values():
        for row in rows:
            yield Prompt(
                "bbh", row["input"], f"Q: {row['input']}\nA:", row["target"], _miss(row["target"]), has_examples=True
            )


def _miss(target: str) -> str:
    """Another answer of the same kind."""
    if target in OPPOSITE:
        return OPPOSITE[target]
    if target.isdigit():
        return str(int(target) - 1)
    return "(B)" if target == "(A)" else "(A)"


def _ask_ifeval(questions: dict[str, Any]) -> Iterator[Prompt]:
    for row in questions["ifeval"]:
        yield Prompt("ifeval", row["prompt"], row["prompt"], row["follows"], row["fails"], is_generated=True)


def _ask_math(questions: dict[str, Any]) -> Iterator[Prompt]:
    for rows in questions["math"].values():
        for row in rows:
            text = f"Problem:\n{row['problem']}\n\nSolution:"
            right = re.findall(r"\\boxed\{(.*?)\}", row["solution"])[-1]
            right, wrong = (rf"The answer is $\boxed{{{answer}}}$." for answer in (right, row["wrong"]))
            yield Prompt("math_lvl_5", row["problem"], text, right, wrong, is_generated=True, has_examples=True)


def _ask_gpqa(questions: dict[str, Any]) -> Iterator[Prompt]:
    """lm-eval shuffles the options with a seed of its own, so every order is a prompt."""
    for row in questions["gpqa"]:
        right, wrong = row["Correct Answer"], row["Incorrect Answer 1"]
        options = (right, wrong, row["Incorrect Answer 2"], row["Incorrect Answer 3"])
        for order in itertools.permutations(options):
            listed = "\n".join(f"({letter}) {option}" for letter, option in zip("ABCD", order, strict=True))
            # The real prompt ends with a space, which lm-eval moves into the answer.
            text = f"What is the correct answer to this question:{row['Question']}\nChoices:\n{listed}\nAnswer: "
            letters = {option: f"({letter})" for letter, option in zip("ABCD", order, strict=True)}
            yield Prompt("gpqa", row["Question"], text, letters[right], letters[wrong])


def _ask_musr(questions: dict[str, Any]) -> Iterator[Prompt]:
    for rows in questions["musr"].values():
        for row in rows:
            listed = "".join(f"{number} - {choice}\n" for number, choice in enumerate(row["choices"], 1))
            text = f"{row['narrative']}\n\n{row['question']}\n\n{listed}\nAnswer:"
            wrong = row["choices"][(row["answer"] + 1) % len(row["choices"])]
            yield Prompt("musr", row["narrative"], text, row["choices"][row["answer"]], wrong)


def _ask_mmlu_pro(questions: dict[str, Any]) -> Iterator[Prompt]:
    letters = "ABCDEFGHIJ"
    for row in questions["mmlu_pro"]["test"]:
        listed = "".join(f"{letter}. {option}\n" for letter, option in zip(letters, row["options"], strict=False))
        wrong = letters[(row["answer"] + 1) % len(row["options"])]
        text = f"{row['question']}\n{listed}Answer:"
        yield Prompt("mmlu_pro", row["question"], text, letters[row["answer"]], wrong, has_examples=True)
