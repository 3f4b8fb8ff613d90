"""The fingerprint of a model: selects the files that can change a score, and hashes them.

Pure: works on a commit's list of files, without Hub or disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Protocol

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
TEMPLATE_FILE = "chat_template.jinja"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

# Configuration, tokenizer and chat template at the top of the repository: all other files that transformers reads.
SCORED_PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.*.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "tokenizer.model.v*",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "*.tiktoken",
    "tiktoken.model",
    TEMPLATE_FILE,
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    ADAPTER_CONFIG,
)

# Other weight formats in a repository, and their names in messages. The first matching pattern counts.
OTHER_WEIGHTS = (
    ("*.safetensors", "safetensors under another name or in a folder"),
    ("*.gguf", "GGUF"),
    ("*.onnx", "ONNX"),
    ("*pytorch_model*.bin", "PyTorch .bin"),
    ("*.bin", ".bin"),
    ("*.pt", "PyTorch .pt"),
    ("*.pth", "PyTorch .pth"),
    ("*.ckpt", ".ckpt"),
    ("*.h5", "TensorFlow .h5"),
    ("*.msgpack", "Flax .msgpack"),
    ("*.nemo", "NeMo"),
)
_NOT_WEIGHTS = ("training_args.bin", "*optimizer*", "*scheduler*", "*rng_state*")


class Unusable(Exception):
    """A commit cannot be evaluated; the message says why."""


class FileVersion(Protocol):
    """A file of a commit: its path, and an id that changes exactly when its content does."""

    @property
    def path(self) -> str: ...

    @property
    def content_id(self) -> str: ...


@dataclass(frozen=True)
class ScoredFiles:
    """The files of a commit that can change a score: paths, sorted, and the hashes over them."""

    weights: tuple[str, ...]
    files: tuple[str, ...]
    fingerprint: str
    weights_hash: str


def choose_files(
    tree: Iterable[FileVersion], read_index: Callable[[], bytes], *, has_allowed_code: bool = False
) -> ScoredFiles:
    """Select the files of a commit that can change a score. `read_index` is called only for sharded weights.

    Raises Unusable if there are no weights that transformers would load from safetensors.
    """
    versions = {file.path: file.content_id for file in tree if _is_plain(file.path)}
    weights = choose_weights(versions, read_index)
    patterns = SCORED_PATTERNS + (("*.py",) if has_allowed_code else ())
    files = set(weights) | {path for path in versions if _matches(path, patterns)}
    if SINGLE_FILE not in weights:
        files.add(INDEX_FILE)
    if ADAPTER_CONFIG in files and ADAPTER_WEIGHTS in versions:
        files.add(ADAPTER_WEIGHTS)
    chosen = {path: versions[path] for path in sorted(files)}
    return ScoredFiles(
        weights=weights,
        files=tuple(chosen),
        fingerprint=hash_files(chosen),
        weights_hash=_hash([versions[path] for path in weights]),
    )


def choose_weights(versions: Mapping[str, str], read_index: Callable[[], bytes]) -> tuple[str, ...]:
    """The safetensors files that transformers would load, sorted: the single file, otherwise the index's shards."""
    if SINGLE_FILE in versions:
        return (SINGLE_FILE,)
    if INDEX_FILE in versions:
        return _read_shards(read_index(), versions)
    if ADAPTER_CONFIG in versions:
        raise Unusable("adapter: there are no merged weights, and adapters are not evaluated yet")
    raise Unusable(describe_other_weights(versions))


def hash_files(content_ids: Mapping[str, str]) -> str:
    """The fingerprint: SHA-256 over sorted pairs of path and content id."""
    return _hash(sorted([path, content_id] for path, content_id in content_ids.items()))


def describe_other_weights(paths: Iterable[str]) -> str:
    """Why there is nothing to load, and which other weights exist."""
    kinds: dict[str, str] = {}
    for path in sorted(paths):
        name = PurePosixPath(path).name
        kind = next((kind for pattern, kind in OTHER_WEIGHTS if fnmatchcase(name, pattern)), None)
        if kind and not _matches(name, _NOT_WEIGHTS):
            kinds.setdefault(kind, path)
    if not kinds:
        return "closed: no weights at all"
    others = ", ".join(f"{kind} ({path})" for kind, path in kinds.items())
    return f"no safetensors weights that transformers would load; the repository has only {others}"


def _read_shards(index: bytes, versions: Mapping[str, str]) -> tuple[str, ...]:
    try:
        shards = sorted(set(json.loads(index)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unusable(f"{INDEX_FILE} cannot be read ({type(error).__name__})") from error
    for shard in shards:
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            raise Unusable(f"{INDEX_FILE} lists {shard!r}, which is not a safetensors file")
        if shard not in versions:
            raise Unusable(f"{INDEX_FILE} lists {shard}, which is not in the repository")
    if not shards:
        raise Unusable(f"{INDEX_FILE} lists no weights")
    return tuple(shards)


def _is_plain(path: str) -> bool:
    """Whether a path stays inside its folder, on any system."""
    # The replacement character marks a name that was not valid UTF-8.
    is_clean = "\\" not in path and "\N{REPLACEMENT CHARACTER}" not in path
    return is_clean and not path.startswith("/") and not {"", ".", ".."} & set(path.split("/"))


def _matches(path: str, patterns: Iterable[str]) -> bool:
    # fnmatch's * also matches slashes, so the depth is compared separately.
    return any(path.count("/") == p.count("/") and fnmatchcase(path, p) for p in patterns)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
