"""Inspects one commit of a model: its architecture, license, size and files, or the reason why it is rejected.

Reads the commit's configuration, tokenizer, card and parameter counts. Odd metadata leads to a rejected commit, never
to an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import FileGone, GatedNoAccess, RepoDisabled, Unreadable
from nightboard.tasks.hub.fingerprint import (
    ADAPTER_CONFIG,
    INDEX_FILE,
    TEMPLATE_FILE,
    ScoredFiles,
    Unusable,
    choose_files,
)
from nightboard.tasks.hub.inspect_config import find_excess, find_redirects
from nightboard.tasks.hub.known_architectures import is_native
from nightboard.tasks.hub.responses import ModelHead, TreeFile
from nightboard.tasks.store.records import Commit

DISABLED_REASON = "disabled on the Hub"
GATED_REASON = "gated without access: accept the terms on the model's page with the account of HF_TOKEN"

PRECISION_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BYTES_PER_PARAMETER = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1}
# As in lm-eval's `resolve_max_length`, in its order; a number that does not fit the column means no limit.
_CONTEXT_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")
_ENDLESS = 2**62
_CAUSAL_ENDINGS = ("ForCausalLM", "LMHeadModel", "WithLMHead")
# Models that also read images or audio, but generate text: causal if the Hub's pipeline tag is text generation.
_PERHAPS_CAUSAL_ENDINGS = ("ForConditionalGeneration",)


@dataclass(frozen=True)
class Subject:
    """The commit to inspect. `head` is its model's head; facts about content apply only to the head's own sha."""

    head: ModelHead
    ref: str
    revision: str
    is_code_allowed: bool = False
    committed_at: datetime | None = None

    @property
    def model_id(self) -> str:
        return self.head.model_id


def inspect_commit(hub: Hub, subject: Subject, now: datetime) -> Commit:
    """Inspect a commit. Raises HubError for temporary failures (gone meanwhile, Hub down).

    Any other error comes from the commit's content.
    """
    head = subject.head
    facts: dict[str, Any] = {
        "model_id": head.model_id,
        "organization": organization_of(head.model_id),
        "revision": subject.revision,
        "ref": subject.ref,
        "committed_at": subject.committed_at,
        "discovered_at": now,
        "is_gated": head.is_gated,
        "license": read_license(head),
        "base_model": read_base_model(head.card),
    }
    try:
        _inspect_content(hub, subject, facts)
        return Commit(**facts, state="ok")
    except GatedNoAccess:
        withheld = f". {hub.token_withheld}" if hub.token_withheld else ""
        return Commit(**facts, state="rejected", reason=GATED_REASON + withheld)
    except RepoDisabled:
        return Commit(**facts, state="rejected", reason=DISABLED_REASON)
    except (Unusable, Unreadable) as unusable:
        return Commit(**facts, state="rejected", reason=str(unusable))


def reject_unreadable(subject: Subject, now: datetime, error: Exception) -> Commit:
    """A commit that is rejected because reading it raised an unexpected error."""
    return reject(subject, now, f"its metadata cannot be read ({type(error).__name__}: {error})")


def reject(subject: Subject, now: datetime, reason: str) -> Commit:
    """A rejected commit with only its name and the reason."""
    return Commit(
        model_id=subject.model_id,
        organization=organization_of(subject.model_id),
        revision=subject.revision,
        ref=subject.ref,
        committed_at=subject.committed_at,
        discovered_at=now,
        state="rejected",
        reason=reason,
    )


def _is_default_template(template: Any) -> bool:
    """Whether the tokenizer has a default chat template: a text, or a list with one named default.

    A blank text is not a template: it would make every prompt empty.
    """
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, Mapping)}
        template = named.get("default")
    return isinstance(template, str) and bool(template.strip())


def organization_of(model_id: str) -> str:
    """The part of an id before the slash; empty for the few old ids without one."""
    return model_id.rpartition("/")[0]


def _inspect_content(hub: Hub, subject: Subject, facts: dict[str, Any]) -> None:
    """Fill `facts` as far as the commit's files allow, then raise Unusable if something is missing."""
    model_id, revision = subject.model_id, subject.revision
    if subject.head.is_disabled:
        raise Unusable(DISABLED_REASON)
    # First, because it shows whether a gated repository is accessible; its tree does not.
    config = _read_json(hub, model_id, revision, "config.json")
    tree = hub.tree(model_id, revision)
    paths = {file.path for file in tree}
    tokenizer = _read_json(hub, model_id, revision, "tokenizer_config.json") if "tokenizer_config.json" in paths else {}
    # Code of an architecture that transformers has is loaded from the repository only if the board trusts it.
    config_code = () if is_native(config or {}) else _auto_map(config).values()
    code = {name for names in (*config_code, *_auto_map(tokenizer).values()) for name in names}
    facts["needs_remote_code"] = bool(code)
    facts["architecture"] = next(iter(_architectures(config)), None)
    facts["context_length"] = read_context_length(config or {})
    if TEMPLATE_FILE in paths:
        # transformers uses only this one, even if it is empty.
        template: Any = hub.read_small_file(model_id, revision, TEMPLATE_FILE).decode(errors="replace")
    else:
        template = (tokenizer or {}).get("chat_template")
    facts["has_chat_template"] = _is_default_template(template)
    facts["model_type"] = classify(subject.head, facts["has_chat_template"])
    files = choose_files(
        tree,
        lambda: hub.read_small_file(model_id, revision, INDEX_FILE),
        has_allowed_code=subject.is_code_allowed and bool(code),
    )
    _check_usable(config, subject, files, code)
    _check_followed({"config.json": config or {}, "tokenizer_config.json": tokenizer or {}}, files)
    facts |= _measure(hub, subject, files, tree, config or {})
    if excess := find_excess(config or {}, facts["params_b"] * 1e9):
        raise Unusable(excess)
    facts |= {"fingerprint": files.fingerprint, "weights_hash": files.weights_hash, "files": files.files}


def _check_usable(config: Mapping[str, Any] | None, subject: Subject, files: ScoredFiles, code: Iterable[str]) -> None:
    if ADAPTER_CONFIG in files.files:
        # transformers would apply it to the base model that it names, even if there are merged weights.
        raise Unusable(f"adapter: the repository has {ADAPTER_CONFIG}, and adapters are not evaluated yet")
    if config is None:
        raise Unusable("no config.json")
    if not is_causal(config, subject.head.pipeline_tag):
        names = ", ".join(_architectures(config)) or "none named"
        pipeline = subject.head.pipeline_tag or "none"
        raise Unusable(f"not a causal language model (architecture: {names}; pipeline: {pipeline})")
    outside = sorted({name.partition("--")[0] for name in code if "--" in name})
    if outside and subject.is_code_allowed:
        raise Unusable(f"it loads code from another repository ({', '.join(outside)}), which is not evaluated yet")


def _check_followed(contents: Mapping[str, Mapping[str, Any]], files: ScoredFiles) -> None:
    for name, content in contents.items():
        if redirects := find_redirects(name, content, files.files):
            raise Unusable(redirects[0])


def is_causal(config: Mapping[str, Any], pipeline_tag: str | None) -> bool:
    """Whether transformers would load it as a causal language model, according to its configuration."""
    architectures = _architectures(config)
    if config.get("is_encoder_decoder") is True:
        return False
    if "AutoModelForCausalLM" in _auto_map(config) or any(a.endswith(_CAUSAL_ENDINGS) for a in architectures):
        return True
    is_text_generation = pipeline_tag == "text-generation"
    return is_text_generation and all(a.endswith(_PERHAPS_CAUSAL_ENDINGS) for a in architectures)


def read_context_length(config: Mapping[str, Any]) -> int | None:
    """Longest prompt and answer together, in tokens, from the keys that lm-eval reads; None if they are missing.

    lm-eval then asks the model's class and the tokenizer, which are not read here.
    """
    text = config.get("text_config")
    source = text if isinstance(text, Mapping) and text else config
    value = next((source[name] for name in _CONTEXT_KEYS if source.get(name) is not None), None)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _ENDLESS
    return value if is_count else None


def classify(head: ModelHead, has_chat_template: bool) -> str:
    """merge, chat, fine-tuned or pretrained: from the origin on the card, then from the chat template."""
    relation = head.card.get("base_model_relation")
    if relation == "merge" or {"merge", "mergekit"} & set(head.tags):
        return "merge"
    if has_chat_template:
        return "chat"
    return "fine-tuned" if read_base_model(head.card) else "pretrained"


def read_base_model(card: Mapping[str, Any]) -> str | None:
    """The model it is derived from, or several with commas."""
    return _join(card.get("base_model"))


def read_license(head: ModelHead) -> str | None:
    """The license of the card, otherwise of the tags; `other` is replaced by the name that comes with it."""
    tagged = next((tag.partition(":")[2] for tag in head.tags if tag.startswith("license:")), None)
    name = _join(head.card.get("license")) or tagged
    return (_join(head.card.get("license_name")) or name) if name == "other" else name


def _measure(
    hub: Hub, subject: Subject, files: ScoredFiles, tree: Iterable[TreeFile], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Parameters, number format and size: from the listing, else the weights' headers, else the size of the weights."""
    sizes = {file.path: file.size for file in tree}
    head = subject.head
    counts = dict(head.parameters) if head.sha == subject.revision else {}
    counts = counts or hub.parameter_counts(subject.model_id, subject.revision, files.weights)
    if counts:
        largest = max(sorted(counts), key=lambda name: counts[name])
        precision, parameters = PRECISION_NAMES.get(largest, largest.lower()), float(sum(counts.values()))
    else:
        declared = str(config.get("dtype") or config.get("torch_dtype") or "float16").removeprefix("torch.")
        weights_bytes = sum(sizes[path] for path in files.weights)
        precision, parameters = declared, weights_bytes / _BYTES_PER_PARAMETER.get(declared, 2)
    size_gb = sum(sizes[path] for path in files.files) / 1e9
    return {"params_b": parameters / 1e9, "stored_precision": precision, "size_gb": size_gb}


def _read_json(hub: Hub, model_id: str, revision: str, path: str) -> dict[str, Any] | None:
    """A JSON object of a commit; None if the file does not exist."""
    try:
        value = json.loads(hub.read_small_file(model_id, revision, path))
    except FileGone:
        return None
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{path} is not valid JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise Unusable(f"{path} is not a JSON object")
    return value


def _architectures(config: Mapping[str, Any] | None) -> list[str]:
    value = (config or {}).get("architectures")
    named = value if isinstance(value, list) else [value]
    return [name for name in named if isinstance(name, str)]


def _auto_map(config: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """Classes that are loaded from code in a repository, per auto class (a tokenizer has a slow and a fast one)."""
    value = (config or {}).get("auto_map")
    items = value.items() if isinstance(value, dict) else ()
    return {key: tuple(str(c) for c in (item if isinstance(item, list) else [item]) if c) for key, item in items}


def _join(value: Any) -> str | None:
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text]
    return ", ".join(texts) or None
