"""A sample's document in a reader's words: question, options, right answer, category; and which option was chosen.

Takes a line of lm-eval's samples file. The question is the document's own text, not the prompt with its few-shot
examples: the first field of a usual name, with its passage; in other documents the longest text that the prompt has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any, NamedTuple

from nightboard.warehouse.lake.samples_file import LISTS, OBJECTS, to_text, unbox

# Names in small letters, the best first.
_QUESTIONS = ("question", "question body", "input", "problem", "prompt", "query", "sentence", "goal", "text")
_PASSAGES = ("narrative", "passage", "paragraph", "context", "contexts", "story", "article", "premise", "support")
_CATEGORIES = ("category", "subject", "topic", "high-level domain", "domain", "type", "activity_label")
_OPTIONS = ("choices", "options", "endings")
_MUTUAL = "acc_mutual_info"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Document(NamedTuple):
    """What a document says. Choices are None where none are offered."""

    question: str | None
    choices: list[str] | None
    target: str | None
    category: str | None


def describe_document(line: Any) -> Document:
    """The texts of a line's document."""
    fields, filtered = unbox(line.get("doc")), unbox(line.get("filtered_resps"))
    fields = fields if isinstance(fields, dict) else {}
    metrics = unbox(line.get("metrics"))
    if isinstance(filtered, list) and has_likelihoods(filtered):
        n_options = count_options(filtered, metrics if isinstance(metrics, list) else ())
        choices = [name_option(line, index) for index in range(n_options)]
    else:
        choices = [f"({_LETTERS[i]}) {text}" for i, text in enumerate(_list_options(fields))]
    return Document(
        _find_question(fields, line),
        choices or None,
        _name_target(line, fields, choices),
        _first_text({key.lower(): value for key, value in fields.items()}, _CATEGORIES),
    )


# -------------------------------------------------------------------------------------------------------------- options


def has_likelihoods(filtered: list[Any]) -> bool:
    """Whether these answers are log-likelihoods: pairs of a number and whether the text was the most likely one."""
    first = filtered[0] if filtered else None
    return isinstance(first, list) and len(first) == 2 and first[1] in ("True", "False")


def count_options(likelihoods: Sequence[Any], metrics: Sequence[str]) -> int:
    """Number of options that were scored; 0 if there was no choice."""
    n_options = len(likelihoods) // (2 if _MUTUAL in metrics else 1)  # then each is scored without its prompt, too
    return n_options if n_options > 1 else 0


def find_chosen(line: Any, metric: str, numbers: Sequence[float], n_options: int) -> int | None:
    """Position of the option that a metric of lm-eval takes as the answer; None where that cannot be known."""
    scores = numbers[:n_options]
    if metric == _MUTUAL:
        scores = [score - alone for score, alone in zip(scores, numbers[n_options:], strict=True)]
    elif metric in _LENGTHS:
        texts = _list_continuations(line.get("arguments"), n_options)
        if len(texts) < n_options:
            return None
        measure = _LENGTHS[metric]
        scores = [score / (measure(text) or 1e-300) for score, text in zip(scores, texts, strict=True)]
    return None if isnan(sum(scores)) else scores.index(max(scores))


_LENGTHS: Mapping[str, Callable[[str], int]] = {"acc_norm": len, "acc_bytes": lambda text: len(text.encode())}


def name_option(line: Any, index: int, with_text: bool = True) -> str:
    """An option by its position: its letter, and its text, as in `(B) 42`."""
    letter = _LETTERS[index] if index < len(_LETTERS) else str(index + 1)
    text = _find_option_text(line, index, letter) if with_text else None
    return f"({letter}) {text}" if text else f"({letter})"


def _find_option_text(line: Any, index: int, letter: str) -> str | None:
    """What was scored, unless that is only a label, or the same for all options: then what the document offers."""
    arguments, document = line.get("arguments"), line.get("doc")
    scored = _find_continuation(arguments, index)
    bare = None if scored is None else scored.strip()
    is_label = bare is not None and bare.strip("().:") in (letter, letter.lower(), str(index + 1))
    if bare is not None and not is_label and scored != _find_continuation(arguments, 0 if index else 1):
        return bare
    if not isinstance(document, OBJECTS):
        return None
    text = _find_offered(document, index, letter)
    if text is None or text == letter:
        text = _find_listed(document, letter)
    is_text = bare is not None and (not is_label or bare.isdigit())
    return text or (bare if is_text else None)


def _list_continuations(arguments: Any, n_options: int) -> list[str]:
    """The texts whose log-likelihoods were asked for, without the space that lm-eval puts before each.

    Its metrics do not count that. Fewer than asked for where lm-eval's file has no such texts.
    """
    texts = [text for index in range(n_options) if (text := _find_continuation(arguments, index)) is not None]
    return [text[1:] for text in texts] if all(text[:1] == " " for text in texts) else texts


def _find_continuation(arguments: Any, index: int) -> str | None:
    """The text whose log-likelihood was asked for, as lm-eval's files of all versions have it."""
    try:
        text = arguments[index][1] if isinstance(arguments, LISTS) else arguments[f"gen_args_{index}"]["arg_1"]
    except (LookupError, TypeError, ValueError):
        return None
    return text if isinstance(text, str) else None


def _find_offered(document: Any, index: int, letter: str) -> str | None:
    """The option at a position, from the fields of the document."""
    fields = {*document.keys()}  # simdjson finds a key in no time, but is slow to say that there is none
    for name in _OPTIONS:
        if name in fields and (text := _pick(document[name], index, letter)) is not None:
            return text
    numbered = (f"option{index + 1}", f"choice{index + 1}", f"Choice {index + 1}", f"ending_{index + 1}")
    for name in (*numbered, f"op{letter.lower()}"):
        if name in fields and isinstance(text := document[name], str):
            return text
    return None


def _pick(offered: Any, index: int, letter: str) -> str | None:
    """The text at a position of a list, or, in an object, of its list `text`, or below the letter."""
    key: int | str = index
    if isinstance(offered, OBJECTS):
        offered, key = (offered["text"], index) if "text" in {*offered.keys()} else (offered, letter)
    try:
        text = None if isinstance(offered, str) else offered[key]
    except (LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _list_options(fields: dict[str, Any]) -> list[str]:
    """All options that the document's fields offer, up to the first that is missing."""
    options: list[str] = []
    while len(options) < len(_LETTERS):
        text = _find_offered(fields, len(options), _LETTERS[len(options)])
        if text is None:
            break
        options.append(text)
    return options


def _find_listed(document: Any, letter: str) -> str | None:
    """An option from a question that lists all: a line that begins with the letter, as in `(B) 42`."""
    question = _first_text(unbox(document), _QUESTIONS) or ""
    for start in (f"\n({letter}) ", f"\n{letter}.", f"\n{letter}) "):
        _, found, rest = question.rpartition(start)
        if found:
            return rest.partition("\n")[0].strip()
    return None


# --------------------------------------------------------------------------------------------------------------- fields


def _find_question(fields: dict[str, Any], line: Any) -> str | None:
    named = {key.lower(): value for key, value in fields.items()} | fields
    question = _first_text(named, _QUESTIONS)
    if question is None:
        prompt = to_text(_first_argument(line.get("arguments")))
        asked = [text for text in fields.values() if isinstance(text, str) and text and text in (prompt or "")]
        return max(asked, key=len, default=prompt)
    passage = _first_text(named, _PASSAGES) if named.get("question") == question else None
    return f"{passage}\n\n{question}" if passage and passage not in question else question


def _first_text(named: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these fields that has text; a list of texts is joined."""
    for name in names:
        value = named.get(name)
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            value = "\n".join(value)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _first_argument(arguments: Any) -> Any:
    try:
        return arguments[0][0] if isinstance(arguments, LISTS) else arguments["gen_args_0"]["arg_0"]
    except (LookupError, TypeError, ValueError):
        return None


def _name_target(line: Any, fields: dict[str, Any], choices: Sequence[str]) -> str | None:
    """The right option as in `choices` where lm-eval's target tells it: by text, label or position."""
    target = to_text(line.get("target"))
    if target is None or not choices:
        return target
    arguments, bare = line.get("arguments"), target.strip()
    scored = [_find_continuation(arguments, index) for index in range(len(choices))]
    if len({*scored}) == 1 and scored[0] is not None:  # the options are in the prompts
        bare = str(int(number) - 1) if (number := str(fields.get("answer"))).isdecimal() and int(number) else ""
    for index, text in enumerate(scored):
        if text is not None and text.strip() == bare:
            return choices[index]
    is_position = scored[0] is not None and bare.isascii() and bare.isdigit() and len(bare) < 4
    if is_position and int(bare) < len(choices):
        return choices[int(bare)]
    labels = {choice.partition(" ")[0].strip("()"): choice for choice in choices}
    return labels.get(bare.strip("().:"), target)
