"""Explains errors of lm-eval and its libraries that a model's repository causes, such as a missing tokenizer.

Their errors tell what a line of code could not do, often without a word. What they mean follows from the text and from
where it came up. Knows their functions by name only, and imports none of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from traceback import FrameSummary, extract_tb

# What an error says, or the line that raised it, once the function has the name before it (none: any function).
_SIGNS = (
    ("", r"must be less than model's maximum sequence length", "the model's context is too short for the answers"),
    ("_loglikelihood_tokens", r"len\(continuation_enc\) <= self\.max_length", "the model's context is too short"),
    ("_loglikelihood_tokens", r"len\((context|continuation)_enc\) > 0", "the tokenizer makes no tokens of a text"),
    ("", r"^index out of range in self|srcIndex < srcSelectDimSize",
     "a token or position that the model has no embedding for"),
    ("", r"device-side assert triggered", "an index out of range, such as a token that the model has no embedding for"),
    ("", r"Couldn't instantiate the backend tokenizer", "the repository has no tokenizer that can be read"),
    ("", r"`?(tiktoken|sentencepiece|protobuf)`? (is|are) required|requires the (tiktoken|sentencepiece|protobuf)",
     "a package that reads this tokenizer is missing on the node"),
    ("", r"does not recognize this architecture", "transformers on this node does not know the model's architecture"),
    ("", r"Unrecognized configuration class", "the model's architecture is not one that continues a text"),
    ("", r"Should have a `model_type` key", "config.json does not say which architecture the model has"),
    ("", r"contains custom code which must be executed", "the repository brings code of its own, which is not run"),
)  # fmt: skip
# Without a sign: which step it was, by the innermost of these functions.
_STEPS = {
    "apply_chat_template": "the chat template cannot be applied",
    "_create_tokenizer": "the tokenizer cannot be loaded",
    "get_tokenizer": "the tokenizer cannot be loaded",
    "_get_config": "config.json cannot be used",
    "_create_model": "the model cannot be loaded",
}
_LIBRARIES = "site-packages"
_LONGEST_LINE = 160


def explain(error: BaseException) -> str | None:
    """What is wrong with the model, in words; None where nothing better is known than the error's own text."""
    frames = extract_tb(error.__traceback__)
    if _lacks_end_of_text(error, frames):
        return "the tokenizer has no end-of-text token"
    said = str(error)
    line = frames[-1].line or "" if frames and not said.strip() else ""
    names = {frame.name for frame in frames}
    for function, sign, words in _SIGNS:
        if (not function or function in names) and re.search(sign, said or line):
            return words
    return next((_STEPS[frame.name] for frame in reversed(frames) if frame.name in _STEPS), None)


def _lacks_end_of_text(error: BaseException, frames: Sequence[FrameSummary]) -> bool:
    """lm-eval asks the tokenizer for the text of a token that is None."""
    asks = [frame for frame in frames if re.search(r"decode\(self\.(eot|prefix)_token_id", frame.line or "")]
    return isinstance(error, TypeError) and "None" in str(error) and bool(asks)


def locate(error: BaseException) -> str:
    """Where a library raised an error that says nothing of its own, with the line of code; else empty."""
    frames = extract_tb(error.__traceback__)
    if not frames or len(str(error).split()) > 1 or _LIBRARIES not in frames[-1].filename:
        return ""
    last = frames[-1]
    file = last.filename.partition(f"{_LIBRARIES}/")[2]
    code = " ".join((last.line or "").split())[:_LONGEST_LINE]
    return f" ({file}, {last.name}: {code})" if code else f" ({file}, {last.name})"
