"""A loopback Hub that is served, the real client that talks to it, and models small enough to make on the spot."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.discover import Discovery, Known, Problem, discover, discover_past
from nightboard.tasks.hub.http_retry import RetryPolicy
from nightboard.tasks.store.records import Commit

Files = dict[str, bytes]


def make_safetensors(numbers: int = 500, fill: int = 1) -> bytes:
    """A safetensors file of so many bfloat16 numbers, with all bytes alike."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [numbers], "data_offsets": [0, 2 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes([fill]) * (2 * numbers)


def make_model(fill: int = 1, card: str = "license: apache-2.0", **config: object) -> Files:
    """The files of a model. `fill` makes its weights differ; keyword arguments go to config.json, None takes away."""
    content = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"} | config
    return {
        "README.md": f"---\n{card}\n---\n# A model\n".encode(),
        "config.json": json.dumps({k: v for k, v in content.items() if v is not None}).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "model.safetensors": make_safetensors(fill=fill),
    }


@dataclass
class ServedHub:
    """`waits`: the seconds that the client was told to wait. The token `good` opens what is private or gated."""

    loopback: LoopbackHub
    url: str
    waits: list[float] = field(default_factory=list)
    now: datetime = datetime(2026, 2, 1, tzinfo=UTC)

    def client(self, token: str | None = None, **retry_policy: Any) -> Hub:
        return Hub(self.url, token, RetryPolicy(sleep=self.waits.append, **retry_policy))

    def add(self, model_id: str, files: Files, **access: Any) -> str:
        self.loopback.create_repo(model_id, **access)
        return self.loopback.commit(model_id, files, "add a model")

    def discover(self, known: Known | None = None, token: str | None = None, **watch: object) -> Discovery:
        watch_list = WatchList.model_validate({"watchlist": "test", **watch})
        return discover(self.client(token), watch_list, known or Known(), self.now)

    def discover_past(
        self, model_ids: list[str], known: Known | None = None, newest: int | None = None
    ) -> tuple[list[Commit], list[Problem]]:
        watch_list = WatchList.model_validate({"watchlist": "test", "organizations": ["org"]})
        return discover_past(self.client(None), watch_list, model_ids, known or Known(), self.now, newest)

    def requests(self, *parts: str) -> list[str]:
        """Paths of the requests so far that contain all of `parts`."""
        return [path for _, path in self.loopback.requests if all(part in path for part in parts)]


@contextlib.contextmanager
def serve_hub(page_size: int = 20) -> Iterator[ServedHub]:
    loopback = LoopbackHub(accepted_tokens={"good"}, page_size=page_size)
    with serve(loopback) as url:
        yield ServedHub(loopback, url)
