"""Errors that a faulty repository makes libraries raise are said in words, with the place where they say nothing."""

from __future__ import annotations

import linecache
from collections.abc import Iterator

import pytest
from node import Node

from nightboard.tasks.evaluation.failure_reasons import describe_error
from nightboard.tasks.store.records import Outcome

LIBRARY = "/env/lib/site-packages/lib/module.py"


@pytest.fixture(autouse=True)
def forget_lines() -> Iterator[None]:
    yield
    linecache.cache.pop(LIBRARY, None)


def raised_in_library(code: str, function: str = "work", *, has_source: bool = True) -> Exception:
    """What a function of a library raises when it runs a line of code."""
    source = f"def {function}(self):\n    {code}\n"
    if has_source:
        linecache.cache[LIBRARY] = (len(source), None, source.splitlines(keepends=True), LIBRARY)
    names: dict[str, object] = {}
    exec(compile(source, LIBRARY, "exec"), names)
    try:
        names[function](None)  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_without_words_of_its_own_tells_the_line_of_code() -> None:
    error = raised_in_library("assert   1 == 2")
    assert describe_error(error) == "AssertionError: (lib/module.py, work: assert 1 == 2)"
    error = raised_in_library("{}['rope']")
    assert describe_error(error) == "KeyError: 'rope' (lib/module.py, work: {}['rope'])"
    assert describe_error(raised_in_library("{}['rope']", has_source=False)).startswith(
        "KeyError: 'rope' (lib/module.py"
    )
    assert describe_error(raised_in_library("raise ValueError('no such thing')")) == "ValueError: no such thing"
    assert describe_error(KeyError("ours")) == "KeyError: 'ours'"


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        ("_create_tokenizer", "{}['added_tokens']", "the tokenizer cannot be loaded: KeyError"),
        ("_create_model", "raise KeyError('gelu9')", "the model cannot be loaded: KeyError: 'gelu9' (lib/"),
        ("_create_model", "raise RuntimeError('CUDA out of memory')", "out of GPU memory: RuntimeError: CUDA"),
        ("_get_config", "raise ValueError('not a multiple of heads')", "config.json cannot be used: ValueError"),
        ("work", "raise IndexError('index out of range in self')", "a token or position that the model has no"),
        ("work", "raise ValueError('`tiktoken` is required to read')", "a package that reads this tokenizer is miss"),
        ("work", "raise TypeError('None is no text')", "TypeError: None is no text"),
    ],
)
def test_the_step_or_what_is_missing_is_said_before_the_errors_own_text(function: str, code: str, words: str) -> None:
    assert describe_error(raised_in_library(code, function)).startswith(words)


# A fault for each benchmark, put in when it begins.
FAULTS = """
import nightboard.tasks.evaluation.harness as module
call = module._call_harness
def spoil(run, name, model, *args):
    tokenizer = model.tokenizer
    if name == "ifeval":
        tokenizer.eos_token = None
    if name == "musr":
        tokenizer.eos_token = "</s>"
        template = tokenizer.chat_template
        tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}" + template
    if name == "gpqa":
        tokenizer.chat_template = tokenizer.chat_template.partition("}}")[2]
        model._max_length = -1
    if name == "mmlu_pro":
        import torch
        model._max_length = None
        model.model.set_input_embeddings(torch.nn.Embedding(50, 32))
    return call(run, name, model, *args)
module._call_harness = spoil
"""


@pytest.mark.real
def test_what_a_faulty_repository_lacks_is_said_in_words(node: Node) -> None:
    folder = node.prepare(benchmarks=("ifeval", "musr", "gpqa", "mmlu_pro"), chat_template=True)
    node.run(folder, before=FAULTS)
    reason = str(Outcome.read(folder / "outcome.json").reason)
    parts = reason.split("; ")
    assert [part.rpartition("Error: ")[0].rpartition(": ")[0] for part in parts] == [
        "ifeval: the tokenizer has no end-of-text token",
        "musr: the chat template cannot be applied",
        "gpqa: the model's context is too short",
        "mmlu_pro: a token or position that the model has no embedding for",
    ], reason
