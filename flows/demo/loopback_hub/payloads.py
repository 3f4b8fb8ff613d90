"""What the Hub's API says about a repository at a commit: card, config, parameter counts, tags.

Owns the shape of the API's answers; computes them from the files, as the real Hub does. Speaks no HTTP.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nightboard.flows.demo.loopback_hub.repos import Blob, Commit, Repo

Json = dict[str, Any]

# What `expand` may ask for; anything else is a bad request, as on the real Hub.
EXPANDABLE = frozenset(
    {
        "author",
        "baseModels",
        "cardData",
        "childrenModelCount",
        "citation",
        "config",
        "createdAt",
        "description",
        "disabled",
        "downloads",
        "downloadsAllTime",
        "evalResults",
        "gated",
        "gguf",
        "inference",
        "inferenceProviderMapping",
        "lastModified",
        "library_name",
        "likes",
        "mainSize",
        "mask_token",
        "model-index",
        "paperswithcode_id",
        "pipeline_tag",
        "private",
        "resourceGroup",
        "safetensors",
        "sha",
        "siblings",
        "spaces",
        "tags",
        "transformersInfo",
        "trendingScore",
        "usedStorage",
        "widgetData",
    }
)
LISTED = ("private", "downloads", "likes", "tags", "pipeline_tag", "library_name", "createdAt")
LISTED_FULL = (*LISTED, "author", "sha", "lastModified", "gated", "disabled", "siblings")
DESCRIBED = (*LISTED_FULL, "cardData", "config", "safetensors", "usedStorage")
SHOWN_CONFIG = ("architectures", "model_type", "auto_map", "quantization_config")

_PIPELINES = (
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("ForMaskedLM", "fill-mask"),
    ("ForSequenceClassification", "text-classification"),
    ("Model", "feature-extraction"),
)


def format_time(at: datetime) -> str:
    """A time as the API writes it: UTC, milliseconds, Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def describe_repo(repo: Repo, commit: Commit, fields: tuple[str, ...], *, blobs: bool = False) -> Json:
    """A repository at a commit. A field that does not apply (no weights, no config) is left out, as on the real Hub."""
    card = read_card(commit)
    config = read_config(commit) if repo.kind == "model" else None
    pipeline = _guess_pipeline(card, config) if repo.kind == "model" else None
    described: Json = {
        "author": repo.repo_id.rpartition("/")[0] or None,
        "sha": commit.sha,
        "lastModified": format_time(commit.at),
        "createdAt": format_time(repo.created_at),
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "downloads": 0,
        "likes": 0,
        "cardData": card or None,
        "config": config,
        "safetensors": count_parameters(commit),
        "pipeline_tag": pipeline,
        "library_name": "transformers" if config else None,
        "tags": _make_tags(commit, card, config, pipeline),
        "siblings": [_describe_sibling(path, blob, blobs) for path, blob in commit.files.items()],
        "usedStorage": sum({blob.oid: blob.size for c in repo.commits.values() for blob in c.files.values()}.values()),
    }
    chosen = {name: described[name] for name in fields if described.get(name) is not None}
    names = {"modelId": repo.repo_id} if repo.kind == "model" else {}
    return {"_id": repo.commits[next(iter(repo.commits))].sha[:24], "id": repo.repo_id, **names, **chosen}


def _describe_sibling(path: str, blob: Blob, blobs: bool) -> Json:
    if not blobs:
        return {"rfilename": path}
    lfs = {"sha256": blob.lfs_sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return {"rfilename": path, "size": blob.size, "blobId": blob.oid} | ({"lfs": lfs} if blob.lfs_sha256 else {})


def read_card(commit: Commit) -> Json:
    """The YAML front matter of the README; empty when there is none or it does not parse."""
    blob = commit.files.get("README.md")
    parts = blob.read().decode(errors="replace").split("---\n", 2) if blob else []
    if len(parts) != 3 or parts[0].strip():
        return {}
    try:
        card = YAML(typ="safe", pure=True).load(parts[1])
    except YAMLError:
        return {}
    return json.loads(json.dumps(card, default=_format_date)) if isinstance(card, dict) else {}


def _format_date(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def read_config(commit: Commit) -> Json | None:
    """The parts of config.json and of the tokenizer that the Hub shows."""
    config = _read_json(commit, "config.json")
    if config is None:
        return None
    shown: Json = {key: config[key] for key in SHOWN_CONFIG if key in config}
    tokenizer = _read_json(commit, "tokenizer_config.json") or {}
    keys = ("bos_token", "chat_template", "eos_token", "pad_token", "unk_token")
    if kept := {key: tokenizer[key] for key in keys if tokenizer.get(key) is not None}:
        shown["tokenizer_config"] = kept
    if template := commit.files.get("chat_template.jinja"):
        shown["chat_template_jinja"] = template.read().decode()
    return shown


def _read_json(commit: Commit, path: str) -> Json | None:
    blob = commit.files.get(path)
    try:
        value = json.loads(blob.read()) if blob else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def count_parameters(commit: Commit) -> Json | None:
    """Parameters by number format, from the headers of the safetensors files; none without such files."""
    parameters: Counter[str] = Counter()
    for path, blob in commit.files.items():
        if path.endswith(".safetensors"):
            parameters.update(_count_in_header(blob))
    return {"parameters": dict(parameters), "total": parameters.total()} if parameters else None


def _count_in_header(blob: Blob) -> Counter[str]:
    counts: Counter[str] = Counter()
    try:
        (length,) = struct.unpack("<Q", blob.read(0, 8))
        header = json.loads(blob.read(8, length)) if length < blob.size else {}
    except (struct.error, ValueError):
        return counts
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for side in tensor["shape"]:
                size *= side
            counts[tensor["dtype"]] += size
    return counts


def _guess_pipeline(card: Json, config: Json | None) -> str | None:
    if "pipeline_tag" in card:
        return str(card["pipeline_tag"])
    for architecture in (config or {}).get("architectures") or ():
        for ending, pipeline in _PIPELINES:
            if architecture.endswith(ending):
                return pipeline
    return None


def _make_tags(commit: Commit, card: Json, config: Json | None, pipeline: str | None) -> list[str]:
    tags = ["transformers"] if config else []
    if any(path.endswith(".safetensors") for path in commit.files):
        tags.append("safetensors")
    if config and "model_type" in config:
        tags.append(str(config["model_type"]))
    if config and "auto_map" in config:
        tags.append("custom_code")
    tags += [pipeline] if pipeline else []
    tags += [str(tag) for tag in _listed(card.get("tags"))]
    tags += [f"base_model:{base}" for base in _listed(card.get("base_model"))]
    tags += [f"license:{card['license']}"] if "license" in card else []
    return [*tags, "region:us"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
