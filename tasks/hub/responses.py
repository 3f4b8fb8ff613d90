"""Parses the Hub's answers into small records: heads, files, refs, parameter counts.

Anybody can write parts of an answer, so texts are cleaned, numbers and lists have limits, and a value of a wrong type
is empty, or raises ValueError if the record is useless without it. Makes no requests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeGuard

from nightboard.tasks.store.texts import clean_text, is_clean

SHA = re.compile(r"[0-9a-f]{40}")
_CONTENT_ID = re.compile(r"[0-9a-f]{40,64}")
_CARD_FIELDS = ("license", "license_name", "base_model", "base_model_relation")
# Most entries kept of a card's lists and a model's tags.
_MOST_WORDS = 1_000
_LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class ModelHead:
    """A model's newest commit as in a listing. A missing value, or one of a wrong type, is empty.

    `is_plain`: only the facts that no author writes; card, tags and counts were not requested.
    """

    model_id: str
    sha: str
    last_modified: datetime | None = None
    is_gated: bool = False
    is_private: bool = False
    is_disabled: bool = False
    pipeline_tag: str | None = None
    tags: tuple[str, ...] = ()
    card: Mapping[str, str | list[str]] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    is_plain: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, is_plain: bool = False) -> ModelHead:
        """Parse one item of the Hub's answer. Raises KeyError without an id."""
        card = as_mapping(data.get("cardData"))
        return cls(
            model_id=_text(data["id"]) or "",
            sha=_text(data.get("sha")) or "",
            last_modified=read_time(data.get("lastModified")),
            is_gated=data.get("gated") not in (None, False),
            is_private=data.get("private") is True,
            is_disabled=data.get("disabled") is True,
            pipeline_tag=_text(data.get("pipeline_tag")),
            tags=tuple(_texts(data.get("tags"))),
            card={key: _text(value) or _texts(value) for key in _CARD_FIELDS if (value := card.get(key))},
            parameters=_counts(as_mapping(data.get("safetensors")).get("parameters")),
            is_plain=is_plain,
        )


@dataclass(frozen=True)
class TreeFile:
    """A file of a commit. `blob_id` is git's; `lfs_sha256` is set if the content is in large-file storage."""

    path: str
    size: int
    blob_id: str
    lfs_sha256: str | None = None

    @property
    def content_id(self) -> str:
        """An id that changes exactly when the content does."""
        return self.lfs_sha256 or self.blob_id


@dataclass(frozen=True)
class Refs:
    """Branches, tags, and where asked for pull requests (refs/pr/1) of a repository: name and commit."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]
    pull_requests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PullRequest:
    """A pull request to a repository, and who opened it."""

    number: int
    author: str | None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


def read_tree_file(entry: Mapping[str, Any]) -> TreeFile:
    """A file of a tree. Raises ValueError without path, size and hash. An odd path is cleaned and matches no file."""
    lfs = as_mapping(entry.get("lfs"))
    path, size, sha256 = entry.get("path"), entry.get("size"), lfs.get("oid")
    if not isinstance(path, str) or not _is_count(size):
        raise ValueError("a file has no path and size")
    for content_id in (entry.get("oid"), sha256 if lfs else "0" * 64):
        if not isinstance(content_id, str) or not _CONTENT_ID.fullmatch(content_id):
            raise ValueError("a file has no hash")
    return TreeFile(clean_text(path, 4_000), size, entry["oid"], sha256)


def read_refs(value: Any) -> dict[str, str]:
    """Commits by branch or tag; a ref without a usable name and commit is skipped."""
    commits = {}
    for ref in map(as_mapping, _sequence(value)):
        name, sha = ref.get("name"), ref.get("targetCommit")
        if isinstance(name, str) and is_clean(name, 255) and isinstance(sha, str) and SHA.fullmatch(sha):
            commits[name] = sha
    return commits


def read_pull_requests(value: Any) -> list[PullRequest]:
    """The pull requests of a listing; one without a number is skipped."""
    return [
        PullRequest(entry["num"], _text(as_mapping(entry.get("author")).get("name")))
        for entry in map(as_mapping, _sequence(value))
        if entry.get("isPullRequest") is True and _is_count(entry.get("num"))
    ]


def as_count(value: Any) -> int:
    """A count; 0 for anything else."""
    return value if _is_count(value) else 0


def _counts(value: Any) -> dict[str, int]:
    """Parameters by number format; {} if one of them is impossible."""
    counts = {clean_text(str(key), 50): count for key, count in as_mapping(value).items()}
    is_sound = len(counts) <= 100 and all(_is_count(count) and count > 0 for count in counts.values())
    return counts if is_sound and sum(counts.values()) <= _LARGEST_NUMBER else {}


def count_parameters(header: Mapping[str, Any]) -> Counter[str]:
    """Parameters by number format of a safetensors header. Raises ValueError for an impossible tensor."""
    counts: Counter[str] = Counter()
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        shape, number_format = as_mapping(tensor).get("shape"), as_mapping(tensor).get("dtype")
        if not isinstance(shape, list) or not isinstance(number_format, str):
            raise ValueError(f"the header has no shape or number format for {name[:100]!r}")
        size = 1
        for side in shape:
            if not _is_count(side) or size > _LARGEST_NUMBER:
                raise ValueError(f"the header gives an impossible shape for {name[:100]!r}")
            size *= side
        counts[clean_text(number_format, 50)] += size
    if counts.total() > _LARGEST_NUMBER:
        raise ValueError("the header claims more parameters than a file can hold")
    return counts


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_NUMBER


def as_mapping(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return clean_text(value) if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str]:
    return [clean_text(text) for text in _sequence(value)[:_MOST_WORDS] if isinstance(text, str)]


def read_rows(data: Mapping[str, Any]) -> dict[tuple[str | None, str], int]:
    """Numbers of rows in a dataset's card, by configuration and split."""
    told = as_mapping(data.get("cardData")).get("dataset_info")
    rows = {}
    for info in (told if isinstance(told, list) else [told])[:_MOST_WORDS]:
        splits = as_mapping(info).get("splits")
        for split in (splits if isinstance(splits, list) else [])[:_MOST_WORDS]:
            name, number = as_mapping(split).get("name"), as_mapping(split).get("num_examples")
            if isinstance(name, str) and isinstance(number, int):
                rows[_text(as_mapping(info).get("config_name")), name] = number
    return rows


def read_time(value: Any) -> datetime | None:
    """A time in UTC; None for anything else, and for impossible years."""
    try:
        parsed = datetime.fromisoformat(value)
        at = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return at if 1970 <= at.year < 2200 else None
