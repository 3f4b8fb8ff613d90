"""What the Hub's answers say, as small records: heads, files, refs, parameter counts.

Owns how an answer is read that anybody may have had a hand in: texts are cleaned, numbers and lists have limits, what
has a wrong type is empty, or a ValueError where nothing could be said without it. Speaks no HTTP.
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
# Of a card's lists and of a model's tags as many are kept.
_MOST_WORDS = 1_000
_LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class ModelHead:
    """A model's newest commit as a listing shows it. What the Hub left out or wrote in a wrong type is empty.

    `is_plain`: only the facts that no author writes; card, tags and counts were not asked for.
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
        """Read one item of the Hub's answer; KeyError without an id."""
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
    """A file of a commit. `blob_id` is git's; `lfs_sha256` is set when the content lies in large-file storage."""

    path: str
    size: int
    blob_id: str
    lfs_sha256: str | None = None

    @property
    def content_id(self) -> str:
        """What changes exactly when the content does."""
        return self.lfs_sha256 or self.blob_id


@dataclass(frozen=True)
class Refs:
    """Branches and tags of a repository, by name, with the commits they point at."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]


def read_tree_file(entry: Mapping[str, Any]) -> TreeFile:
    """A file of a tree; ValueError without path, size and hashes. An odd path is cleaned, and then names nothing."""
    lfs = as_mapping(entry.get("lfs"))
    path, size, sha256 = entry.get("path"), entry.get("size"), lfs.get("oid")
    if not isinstance(path, str) or not _is_count(size):
        raise ValueError("a file has no path and size")
    for content_id in (entry.get("oid"), sha256 if lfs else "0" * 64):
        if not isinstance(content_id, str) or not _CONTENT_ID.fullmatch(content_id):
            raise ValueError("a file has no hash")
    return TreeFile(clean_text(path, 4_000), size, entry["oid"], sha256)


def read_refs(value: Any) -> dict[str, str]:
    """Commits by branch or tag; a ref without a usable name and commit is left out."""
    found = {}
    for ref in map(as_mapping, _sequence(value)):
        name, sha = ref.get("name"), ref.get("targetCommit")
        if isinstance(name, str) and is_clean(name, 255) and isinstance(sha, str) and SHA.fullmatch(sha):
            found[name] = sha
    return found


def _counts(value: Any) -> dict[str, int]:
    """Parameters by number format; {} where one of them cannot be."""
    counts = {clean_text(str(key), 50): count for key, count in as_mapping(value).items()}
    is_sound = len(counts) <= 100 and all(_is_count(count) and count > 0 for count in counts.values())
    return counts if is_sound and sum(counts.values()) <= _LARGEST_NUMBER else {}


def count_parameters(header: Mapping[str, Any]) -> Counter[str]:
    """Parameters by number format of a safetensors header. ValueError for a tensor that cannot be."""
    counts: Counter[str] = Counter()
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        shape, number_format = as_mapping(tensor).get("shape"), as_mapping(tensor).get("dtype")
        if not isinstance(shape, list) or not isinstance(number_format, str):
            raise ValueError(f"the header tells neither shape nor number format of {name[:100]!r}")
        size = 1
        for side in shape:
            if not _is_count(side) or size > _LARGEST_NUMBER:
                raise ValueError(f"no tensor can have the shape that the header gives {name[:100]!r}")
            size *= side
        counts[clean_text(number_format, 50)] += size
    if counts.total() > _LARGEST_NUMBER:
        raise ValueError("the header claims more parameters than a file can hold")
    return counts


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_NUMBER


def as_mapping(value: Any) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return clean_text(value) if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str]:
    return [clean_text(text) for text in _sequence(value)[:_MOST_WORDS] if isinstance(text, str)]


def read_time(value: Any) -> datetime | None:
    """A time in UTC; None for anything else, and for years that no repository can be from."""
    try:
        found = datetime.fromisoformat(value)
        at = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return at if 1970 <= at.year < 2200 else None
