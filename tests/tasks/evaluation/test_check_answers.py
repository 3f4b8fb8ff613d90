"""What a task's answers tell of the model, in every way that lm-eval writes them; and what it was asked."""

from __future__ import annotations

from datetime import datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nightboard.tasks.evaluation.check_answers import Answers
from nightboard.tasks.evaluation.check_prompts import Asked, watch_prompts


def choices(*numbers: str) -> dict[str, Any]:
    """A document with a request a choice, as lm-eval 0.4.13 writes its answers."""
    return {"resps": [[[number, "False"]] for number in numbers]}


def texts(*answers: str) -> dict[str, Any]:
    return {"resps": [[answer] for answer in answers], "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": {}}}}


def look_at(*samples: dict[str, Any]) -> Answers:
    answers = Answers()
    for doc_id, sample in enumerate(samples):
        answers.add(doc_id, sample)
    return answers


@pytest.mark.parametrize(
    "sample",
    [
        choices("-1.5", "nan"),
        choices("-inf", "-2.0"),
        {"resps": [[["-1.5", "False"], ["inf", "True"]]]},  # a request that was asked twice
        {"resps": [[[float("nan"), False]]]},  # before 0.4.3
        {"filtered_resps": [[-1.5, False], [float("-inf"), False]]},
        {"resps": [["nan"]], "arguments": {"gen_args_0": {"arg_0": "a whole document"}}},
        {"resps": [[float("nan")]], "arguments": [["a whole document"]]},
    ],
)
def test_a_log_likelihood_that_is_no_finite_number_is_found_however_it_is_written(sample: dict[str, Any]) -> None:
    answers = look_at(choices("-1.0", "-2.0"), choices("-3.0", "-2.0"), sample, choices("-1.0", "-2.0"))
    assert answers.n_not_finite == 1
    assert str(answers.explain_not_finite()).startswith(
        "1 of 4 documents (25.0%) have an answer that is not a finite number; the first is document 2 (got "
    )


@pytest.mark.parametrize(
    "sample", [texts("nan"), texts("-inf", "True"), {"resps": [["inf", "True"]]}, {}, {"resps": 3}]
)
def test_a_text_is_no_number_whatever_it_says(sample: dict[str, Any]) -> None:
    assert look_at(sample).explain_not_finite() is None


def test_an_answer_is_empty_when_nothing_was_written() -> None:
    assert look_at(texts(""), texts(" \n"), texts("", "x"), texts("x"), choices("-1.0")).n_empty == 2


@pytest.mark.parametrize(
    ("samples", "only"),
    [
        ([choices("-1", "-2"), choices("-5", "-7", "-9")], "choice 1"),
        ([choices("-2", "-1"), choices("-9", "-7", "-9")], "choice 2"),
        ([choices("-1", "-1"), choices("-1", "-1")], "choice 1"),
        ([choices("-2", "-1"), choices("-1", "-2"), choices("-2", "-1")], None),
        ([choices("-2.5"), choices("-2.5")], "log-likelihood -2.5"),
        ([texts("I can\nnot  say"), texts("I can\nnot  say")], "I can not say"),
        ([texts("\ud800"), texts("\ud800")], "?"),
        ([texts("a"), texts("a"), texts("b"), texts("a")], None),
        ([], None),
    ],
)
def test_an_answer_that_all_documents_got_is_named(samples: list[dict[str, Any]], only: str | None) -> None:
    assert look_at(*samples).only == only


# ------------------------------------------------------------------------------------------------- what it was asked


class CharacterModel:
    """As much of lm-eval's models as is looked at; a token a character."""

    max_length, max_gen_toks = 20, 4

    n_scored = 0
    tokenizer = SimpleNamespace(eos_token_id=2, pad_token_id=0)
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[3]))

    def tok_encode(self, text: str) -> list[int]:
        return [*text.encode()]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self.tok_encode(context), self.tok_encode(continuation)

    def tok_decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return bytes(tokens).decode()

    def _model_generate(self, **asked: Any) -> Any:
        return asked["answers"]

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self.n_scored += len(requests)
        return [(-1.0, False)] * len(requests)


def make_module() -> ModuleType:
    """As much of transformers' module for templates as is looked at."""
    module = ModuleType("templates")
    module.datetime = datetime  # type: ignore[attr-defined]
    return module


def sample_of(doc_id: int, *arguments: tuple[Any, ...]) -> dict[str, Any]:
    return {"doc_id": doc_id, "arguments": [*arguments]}


@pytest.mark.parametrize(("backend", "longest"), [("hf", 21), ("vllm", 19)])
@pytest.mark.parametrize("is_asked_now", [True, False])
def test_a_prompt_is_cut_where_it_and_the_answer_are_longer_than_what_is_scored(
    backend: str, longest: int, is_asked_now: bool
) -> None:
    model = CharacterModel()
    pairs = [("x" * (longest - 2 + more), "ab") for more in (0, 1, 5)]
    with watch_prompts(model, backend, make_module()) as prompts:
        if is_asked_now:  # else the answers are from an earlier attempt
            model._loglikelihood_tokens([(pair, *model._encode_pair(*pair)) for pair in pairs])
        samples = [sample_of(doc_id, pair, ("x", "y")) for doc_id, pair in enumerate(pairs)]
        # Each document is there once a filter.
        assert prompts.describe({"task": samples * 2, "other": samples[:1]}) == {
            "task": Asked(2, 0),
            "other": Asked(0, 0),
        }
    assert model.n_scored == 3 * is_asked_now


def test_a_prompt_is_cut_where_it_leaves_no_room_for_the_answer() -> None:
    asked = [("x" * 16, {}), ("x" * 17, {}), ("x" * 15, {"max_gen_toks": 5}), ("x" * 16, {"max_new_tokens": 5})]
    with watch_prompts(CharacterModel(), "hf", make_module()) as prompts:
        for arguments, n_cut in zip(asked, (0, 1, 0, 1), strict=True):
            assert prompts.describe({"task": [sample_of(0, arguments)]}) == {"task": Asked(n_cut, None)}


def ask_hf(model: CharacterModel, *answers: str) -> None:
    """Ask it 'q1', 'q2' ... as lm-eval does, in one batch with some padding, for 4 tokens at most."""
    context = [[0, *f"q{number}".encode()] for number in range(len(answers))]
    texts = [[*prompt, *answer.encode()] for prompt, answer in zip(context, answers, strict=True)]
    model._model_generate(
        context=np.array(context),
        attention_mask=np.array([[0, 1, 1]] * len(answers)),
        stop=["STOP", "."],
        max_length=7,
        answers=np.array(texts),
    )


def test_an_answer_that_is_as_long_as_it_may_be_and_has_not_ended_is_cut() -> None:
    samples = [sample_of(number, (f"q{number}", {"max_gen_toks": 4})) for number in range(5)]
    with watch_prompts(model := CharacterModel(), "hf", make_module()) as prompts:
        ask_hf(model, "abcd", "ab\0\0", "abc.", "abc\2", "abc\3")
        assert prompts.describe({"task": samples, "none": samples[1:]}) == {"task": Asked(0, 1), "none": Asked(0, 0)}
        # What an earlier attempt was answered is not known.
        assert prompts.describe({"task": [*samples, sample_of(5, ("q5", {}))]}) == {"task": Asked(0, None)}
    with watch_prompts(model := CharacterModel(), "hf", make_module()) as prompts:
        ask_hf(model, "abc", "ab\0")  # the whole batch ended before
        assert prompts.describe({"task": samples[:2]}) == {"task": Asked(0, 0)}


def test_vllm_says_itself_which_answers_were_cut() -> None:
    with watch_prompts(model := CharacterModel(), "vllm", make_module()) as prompts:
        answers = [SimpleNamespace(outputs=[SimpleNamespace(finish_reason=reason)]) for reason in ("length", "stop")]
        model._model_generate(requests=[[*b"q0"], [*b"q1"]], generate=True, answers=answers)
        model._model_generate(requests=[[*b"q0"]], generate=False, answers=[])
        samples = [sample_of(number, (f"q{number}", {})) for number in range(2)]
        assert prompts.describe({"task": samples}) == {"task": Asked(0, 1)}


def test_a_document_that_is_read_window_by_window_loses_nothing() -> None:
    with watch_prompts(CharacterModel(), "hf", make_module()) as prompts:
        prompts.note_scored([(None, [0] * 15, [0] * 15)])
        assert prompts.describe({"task": [sample_of(0, ("x" * 100,)), sample_of(1, ("", "y"))]}) == {
            "task": Asked(0, 0)
        }


def test_a_template_that_asks_for_the_date_gets_the_declared_one() -> None:
    module = make_module()
    with watch_prompts(CharacterModel(), "hf", module) as prompts:
        assert prompts.describe({"task": []}) == {"task": Asked(0, 0, None)}
        assert module.datetime.now().strftime("%d %b %Y %H:%M") == "26 Jul 2024 00:00"
        assert prompts.describe({"task": []}) == {"task": Asked(0, 0, "2024-07-26")}
    assert module.datetime is datetime
