"""What a model is really asked: which prompts its context cuts, and what date its chat template prints.

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

# "Today" for every model, whenever it runs: what Llama's templates print where nobody tells them a date.
PROMPT_DATE = date(2024, 7, 26)
# How many tokens of prompt and answer together are scored, beside the context: hf does not read the last one, vllm
# writes one more.
_SCORED_BESIDE_CONTEXT = {"hf": 1, "vllm": -1}
# Names for the longest answer, as lm-eval takes them.
_LONGEST_ANSWER = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is known of a task's prompts. Names are columns of `task_scores`."""

    cut_prompts: int | None = None
    prompt_date: str | None = None


@dataclass
class Prompts:
    """The prompts of a benchmark, while a model is asked them: those that were scored, and whether they were cut."""

    model: Any
    backend: str
    n_dates: int = 0
    _are_cut: dict[tuple[str, str], bool] = field(default_factory=dict)

    def note_scored(self, requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]]) -> None:
        """Requests as lm-eval has encoded them. Parts of a longer document have no text; nothing of it is lost."""
        longest = self.model.max_length + _SCORED_BESIDE_CONTEXT[self.backend]
        for texts, prompt, answer in requests:
            if texts is not None:
                self._are_cut[texts] = len(prompt) + len(answer) > longest

    def describe(self, samples: Mapping[str, Sequence[Sample]]) -> dict[str, Asked]:
        """What was asked, by task, from the samples that lm-eval returns."""
        told = PROMPT_DATE.isoformat() if self.n_dates else None
        return {task: Asked(self._count_cut(of_task), told) for task, of_task in samples.items()}

    def _count_cut(self, samples: Sequence[Sample]) -> int:
        cut = {sample["doc_id"] for sample in samples if any(self._is_cut(each) for each in sample["arguments"])}
        return len(cut)

    def _is_cut(self, arguments: Sequence[Any]) -> bool:
        """Whether a request was cut. An answer from an earlier attempt was not asked now: its length is taken anew."""
        if len(arguments) == 1:
            return False  # a whole document, read window by window
        prompt, answer = arguments
        if isinstance(answer, dict):
            longest = next((answer[name] for name in _LONGEST_ANSWER if name in answer), self.model.max_gen_toks)
            return len(self.model.tok_encode(prompt)) > self.model.max_length - int(longest)
        if (prompt, answer) not in self._are_cut and prompt:
            self.note_scored([((prompt, answer), *self.model._encode_pair(prompt, answer))])
        return self._are_cut.get((prompt, answer), False)

    def make_clock(self) -> type[datetime]:
        """A `datetime` whose now is the declared date."""
        prompts = self

        class Declared(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                prompts.n_dates += 1
                return cls(PROMPT_DATE.year, PROMPT_DATE.month, PROMPT_DATE.day, tzinfo=tz)

        return Declared


@contextmanager
def watch_prompts(model: Any, backend: str, templates: ModuleType) -> Iterator[Prompts]:
    """Note what the model is asked meanwhile, and let a chat template that asks for the date get the declared one.

    `templates` is transformers' module that renders templates: what it tells them to be now is all that they see of
    the time, and they take no functions from outside.
    """
    prompts = Prompts(model, backend)
    score, clock = model._loglikelihood_tokens, templates.datetime

    def score_watched(requests: Any, *args: Any, **options: Any) -> Any:
        prompts.note_scored(requests)
        return score(requests, *args, **options)

    model._loglikelihood_tokens = score_watched
    templates.datetime = prompts.make_clock()  # type: ignore[attr-defined]
    try:
        yield prompts
    finally:
        model._loglikelihood_tokens, templates.datetime = score, clock  # type: ignore[attr-defined]
