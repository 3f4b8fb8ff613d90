"""Records truncated prompts and answers of a model, and sets the date that its chat template prints.

Works on lm-eval's models (hf and vllm) without importing it. lm-eval takes what is too long from the beginning of a
prompt, and says so in the log alone; answers keep the room that the suite declares for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from types import ModuleType
from typing import Any, Self

# "Today" for every model, whenever it runs: what Llama's templates print if no date is given.
PROMPT_DATE = date(2024, 7, 26)
# How many tokens of prompt and answer together are scored, beside the context: hf does not read the last one, vllm
# writes one more.
_SCORED_BESIDE_CONTEXT = {"hf": 1, "vllm": -1}
# Names for the longest answer, as lm-eval takes them.
_LONGEST_ANSWER = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is known of a task's prompts and answers. Names are columns of `task_scores`."""

    cut_prompts: int | None = None
    cut_answers: int | None = None
    prompt_date: str | None = None


@dataclass
class Prompts:
    """The prompts of a benchmark, while a model is asked them.

    Whether prompts were cut, by prompt and answer; whether answers were, by the tokens of the prompt.
    """

    model: Any
    backend: str
    n_dates: int = 0
    _are_cut: dict[tuple[str, str], bool] = field(default_factory=dict)
    _are_full: dict[tuple[int, ...], bool] = field(default_factory=dict)

    def note_scored(self, requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]]) -> None:
        """Requests as lm-eval has encoded them. Parts of a longer document have no text; nothing of it is lost."""
        longest = self.model.max_length + _SCORED_BESIDE_CONTEXT[self.backend]
        for texts, prompt, answer in requests:
            if texts is not None:
                self._are_cut[texts] = len(prompt) + len(answer) > longest

    def note_written(self, output: Any, asked: Mapping[str, Any]) -> None:
        """What the model's `_model_generate` gave for these arguments."""
        self._are_full |= _READERS[self.backend](self.model, output, asked)

    def describe(self, samples: Mapping[str, Sequence[Sample]]) -> dict[str, Asked]:
        """What was asked, by task, from the samples that lm-eval returns."""
        date = PROMPT_DATE.isoformat() if self.n_dates else None
        return {task: Asked(*self._count_cut(of_task), date) for task, of_task in samples.items()}

    def _count_cut(self, samples: Sequence[Sample]) -> tuple[int, int | None]:
        """Documents whose prompt was cut, and whose answer; None for these where one is from an earlier attempt."""
        by_document = {
            sample["doc_id"]: [self._look_at(arguments) for arguments in sample["arguments"]] for sample in samples
        }
        prompts = [any(is_cut for is_cut, _ in requests) for requests in by_document.values()]
        answers = [is_full for requests in by_document.values() for _, is_full in requests[:1]]
        return sum(prompts), None if None in answers else sum(map(bool, answers))

    def _look_at(self, arguments: Sequence[Any]) -> tuple[bool, bool | None]:
        """Whether a request's prompt was cut, and its answer. Only the prompts of earlier attempts are known."""
        if len(arguments) == 1:
            return False, False  # a whole document, read window by window
        prompt, answer = arguments
        if isinstance(answer, dict):
            wanted = next((answer[name] for name in _LONGEST_ANSWER if name in answer), self.model.max_gen_toks)
            tokens, room = self.model.tok_encode(prompt), self.model.max_length - int(wanted)
            return len(tokens) > room, self._are_full.get(tuple(tokens[-room:]))
        if (prompt, answer) not in self._are_cut and prompt:
            self.note_scored([((prompt, answer), *self.model._encode_pair(prompt, answer))])
        return self._are_cut.get((prompt, answer), False), False

    def make_clock(self) -> type[datetime]:
        """A `datetime` whose now is the declared date."""
        prompts = self

        class Declared(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                prompts.n_dates += 1
                return cls(PROMPT_DATE.year, PROMPT_DATE.month, PROMPT_DATE.day, tzinfo=tz)

        return Declared


def _read_hf(model: Any, output: Any, asked: Mapping[str, Any]) -> dict[tuple[int, ...], bool]:
    """By the tokens of each prompt whether its answer is as long as it may be and has not come to an end there."""
    prompts, masks, stops = asked["context"].tolist(), asked["attention_mask"].tolist(), asked["stop"]
    answers = output[:, asked["context"].shape[1] :].tolist()
    is_long = output.shape[1] >= asked["max_length"]
    ends = _list_end_tokens(model)
    is_full_by_prompt = {}
    for prompt, mask, answer in zip(prompts, masks, answers, strict=True):
        has_ended = not is_long or answer[-1] in ends
        if not has_ended:
            text = model.tok_decode(answer, skip_special_tokens=False)
            has_ended = any(stop and stop in text for stop in stops)
        is_full_by_prompt[tuple(token for token, is_real in zip(prompt, mask, strict=True) if is_real)] = not has_ended
    return is_full_by_prompt


def _list_end_tokens(model: Any) -> set[int]:
    """Tokens that end an answer, and what fills up those that ended before others of their batch."""
    ends = model.model.generation_config.eos_token_id
    declared = ends if isinstance(ends, list) else [ends]
    return {*declared, model.tokenizer.eos_token_id, model.tokenizer.pad_token_id}


def _read_vllm(_: Any, output: Any, asked: Mapping[str, Any]) -> dict[tuple[int, ...], bool]:
    if not asked["generate"]:
        return {}
    reasons = [request.outputs[0].finish_reason for request in output]
    return {tuple(tokens): reason == "length" for tokens, reason in zip(asked["requests"], reasons, strict=True)}


_READERS = {"hf": _read_hf, "vllm": _read_vllm}


@contextmanager
def watch_prompts(model: Any, backend: str, templates: ModuleType) -> Iterator[Prompts]:
    """Note what the model is asked meanwhile, and let a chat template that asks for the date get the declared one.

    `templates` is transformers' module that renders templates: what it tells them to be now is all that they see of
    the time, and they take no functions from outside.
    """
    prompts = Prompts(model, backend)
    score, write, clock = model._loglikelihood_tokens, model._model_generate, templates.datetime

    def score_watched(requests: Any, *args: Any, **options: Any) -> Any:
        prompts.note_scored(requests)
        return score(requests, *args, **options)

    def write_watched(**asked: Any) -> Any:
        output = write(**asked)
        prompts.note_written(output, asked)
        return output

    model._loglikelihood_tokens, model._model_generate = score_watched, write_watched
    templates.datetime = prompts.make_clock()  # type: ignore[attr-defined]
    try:
        yield prompts
    finally:
        model._loglikelihood_tokens, model._model_generate = score, write
        templates.datetime = clock  # type: ignore[attr-defined]
