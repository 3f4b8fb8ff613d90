"""How the Hub answers: JSON, pages with a Link header, and files with ranges.

Owns headers and the wire's shape. Knows no route and decides about no content.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from nightboard.flows.demo.loopback_hub.repos import Blob, HubError

T = TypeVar("T")


class Answering(BaseHTTPRequestHandler):
    """What a handler of requests needs to answer. `query` and `extra_headers` belong to the request at hand."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes; with Nagle's algorithm each small answer would wait 40 ms.
    disable_nagle_algorithm = True
    query: dict[str, list[str]]
    extra_headers: dict[str, str]

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; the Hub keeps the requests."""

    def _text(self, name: str) -> str:
        return self.query.get(name, [""])[-1]

    def _flag(self, name: str) -> bool:
        return self._text(name).lower() in ("true", "1")

    def _take_page(self, rows: list[T], longest: int) -> list[T]:
        """The page that the query's cursor names; a Link header leads to the next one."""
        size = min(int(self._text("limit") or longest), longest)
        start = int(self._text("cursor") or 0)
        if start + size < len(rows):
            query = {**self.query, "cursor": [str(start + size)]}
            url = f"http://{self.headers['Host']}{urlsplit(self.path).path}?{urlencode(query, doseq=True)}"
            self.extra_headers["Link"] = f'<{url}>; rel="next"'
        return rows[start : start + size]

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), self.extra_headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._send_head(status, len(body), {"Content-Type": "application/json; charset=utf-8"} | headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_blob(self, blob: Blob) -> None:
        start, end = self._asked_range(blob.size)
        headers = {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if blob.lfs_sha256:
            headers |= {"X-Linked-Etag": f'"{blob.lfs_sha256}"', "X-Linked-Size": str(blob.size)}
        status = 200
        if "Range" in self.headers:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        self._send_head(status, end - start, self.extra_headers | headers)
        if self.command != "HEAD":
            for block in blob.stream(start, end - start):
                self.wfile.write(block)

    def _asked_range(self, size: int) -> tuple[int, int]:
        """First byte and the one after the last; the whole file without a Range header."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "bytes=0-")
        start = int(match[1]) if match else 0
        if match is None or (start >= size and start > 0):
            self.extra_headers["Content-Range"] = f"bytes */{size}"
            raise HubError(416, "", "Range Not Satisfiable")
        return start, min(int(match[2]) + 1, size) if match[2] else size

    def _send_error(self, error: HubError) -> None:
        headers = {"X-Error-Code": error.code, "X-Error-Message": error.message} | self.extra_headers
        headers = {key: value for key, value in headers.items() if value}
        self._send(error.status, json.dumps({"error": error.message}).encode(), headers)

    def _send_fault(self, status: int, retry_after: float | None) -> None:
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self._send(status, b'{"error": "asked to fail"}', headers)
