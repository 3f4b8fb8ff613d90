"""The client of the Hugging Face Hub: every call that nightboard makes to it, with tokens and error messages.

The only module that imports huggingface_hub. Returns small records (responses.py) and raises the errors of errors.py.
Nothing is cached in the user's own folders; a token is sent only to its Hub, and appears nowhere else. Answers have
limits; an unreadable answer is an error of the repository that it describes.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urljoin

import httpx2
import huggingface_hub as client
from huggingface_hub import errors
from huggingface_hub.utils import build_hf_headers, disable_progress_bars, hf_raise_for_status  # type: ignore[attr-defined]  # exported at run time, not marked for type checkers
from huggingface_hub.utils import logging as client_logging

from nightboard.tasks.hub.errors import (
    FileGone,
    GatedNoAccess,
    HubError,
    HubUnavailable,
    RepoDisabled,
    RepoGone,
    RevisionGone,
    Unreadable,
)
from nightboard.tasks.hub.http_retry import Announcer, Asking, RetryingClient, RetryPolicy, Say, asking
from nightboard.tasks.hub.responses import (
    SHA,
    ModelHead,
    PullRequest,
    Refs,
    TreeFile,
    as_count,
    as_mapping,
    count_parameters,
    read_pull_requests,
    read_refs,
    read_rows,
    read_time,
    read_tree_file,
)
from nightboard.tasks.hub.transport import (
    MOST_FILE_BYTES,
    PUBLIC_HUB,
    Speed,
    TooLarge,
    TooSlow,
    is_address,
    withhold_token,
)
from nightboard.tasks.store.texts import clean_text

# Files come over plain HTTP, where our retries, limits and errors apply. The client reads this when it is imported.
os.environ["HF_HUB_DISABLE_XET"] = "1"

# The facts that decide whether a commit is new and accessible; those written by the model's authors are added.
_PLAIN_FIELDS = ["sha", "lastModified", "gated", "private", "disabled"]
_HEAD_FIELDS = [*_PLAIN_FIELDS, "safetensors", "cardData", "pipeline_tag", "tags"]
Kind = Literal["model", "dataset"]
SMALL_FILE_BYTES = 32 * 1024 * 1024
# A page of a thousand models with their cards takes a tenth of this.
PAGE_BYTES = 64 * 1024 * 1024
MOST_PAGES = 1_000
MOST_MODELS = 200_000
MOST_FILES = 100_000
MOST_PULL_REQUESTS = 1_000
# Most headers of safetensors files fit into the first read; anything longer than the limit is not a header.
_HEADER_START_BYTES = 100_000
_MOST_HEADER_BYTES = 25_000_000
_MOST_HEADERS = 1_000


class Hub:
    """A Hub at `endpoint`. Without `token`, none is sent, not even one saved on this machine (see `find_token`).

    `token_withheld`: why an existing token is not sent, for messages. `say` is called when a long wait starts.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None = None,
        retry_policy: RetryPolicy | None = None,
        *,
        token_withheld: str | None = None,
        say: Say | None = None,
    ) -> None:
        install_retrying_client()
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self.token_withheld = token_withheld
        self._retry_policy = retry_policy or RetryPolicy()
        self.say = say
        self._announcer = Announcer(say) if say else None
        self._api = client.HfApi(endpoint=self.endpoint, token=token or False)
        self._headers = build_hf_headers(token=token or False)

    def __repr__(self) -> str:
        return f"Hub({self.endpoint!r})"

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Hub holds a token and must not be pickled")

    def list_heads(self, organization: str) -> Iterator[ModelHead]:
        """All models of an organization or user: one request per page, not per model.

        If a page cannot be read, all models are listed again without the parts that authors write, so that one
        model's card does not affect the others; models already listed come twice.
        """
        try:
            yield from self._list_heads(organization, is_plain=False)
        except Unreadable:
            yield from self._list_heads(organization, is_plain=True)

    def _list_heads(self, organization: str, *, is_plain: bool) -> Iterator[ModelHead]:
        what = f"The list of models of {organization}"
        # Not `HfApi.list_models`: it fails on a model with odd metadata, and with it on all models that follow.
        fields = _PLAIN_FIELDS if is_plain else _HEAD_FIELDS
        n_seen = 0
        for page in self._pages("/api/models", what, {"author": organization, "expand": fields}):
            with self._asking(what):
                items = [item for item in page if isinstance(item, dict) and "id" in item]
                heads = [ModelHead.from_json(item, is_plain=is_plain) for item in items]
            n_seen += len(heads)
            yield from heads
            if n_seen > MOST_MODELS:
                raise HubError(f"{what} has more than {MOST_MODELS:,} models; the rest is ignored.")

    def model_head(self, model_id: str, revision: str | None = None) -> ModelHead:
        """One model at a revision (a commit, tag or branch; default: its main branch)."""
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        what = _name("model", model_id, revision)
        answer = self._get_json(f"/api/models/{model_id}{at}", what, {"expand": _HEAD_FIELDS})
        with self._asking(what):
            return ModelHead.from_json(answer)

    def refs(self, repo_id: str, kind: Kind = "model", *, with_pull_requests: bool = False) -> Refs:
        """Branches and tags of a repository; those without a usable name and commit are skipped."""
        what = _name(kind, repo_id)
        params = {"include_prs": 1} if with_pull_requests else {}
        answer = self._get_json(f"/api/{kind}s/{repo_id}/refs", what, params)
        with self._asking(what):
            return Refs(
                branches=read_refs(answer.get("branches")),
                tags=read_refs(answer.get("tags")),
                pull_requests=read_refs(answer.get("pullRequests")),
            )

    def open_pull_requests(self, dataset_id: str) -> list[PullRequest]:
        """The open pull requests of a dataset, the oldest first; of more than MOST_PULL_REQUESTS, the newest ones."""
        what, found = f"The pull requests of the dataset {dataset_id}", list[PullRequest]()
        for page in range(MOST_PAGES):
            params = {"type": "pull_request", "status": "open", "p": page}
            answer = self._get_json(f"/api/datasets/{dataset_id}/discussions", what, params)
            with self._asking(what):
                new = read_pull_requests(answer.get("discussions"))
                found += new
                is_last = not new or len(found) >= min(as_count(answer.get("count")), MOST_PULL_REQUESTS)
            if is_last:
                break
        return sorted(found[:MOST_PULL_REQUESTS], key=lambda each: each.number)

    def commit_date(self, model_id: str, revision: str) -> datetime | None:
        """The date of a commit: that of the first entry in the history that ends there."""
        return next(self.history(model_id, revision), (None, None))[0]

    def history(self, model_id: str, revision: str) -> Iterator[tuple[datetime | None, str | None]]:
        """Date and sha of the commits that end at a commit, branch or tag, the newest first."""
        what, route = _name("model", model_id, revision), f"/api/models/{model_id}/commits/{quote(revision, safe='')}"
        for page in self._pages(route, what, {}):
            for entry in map(as_mapping, page):
                sha = entry.get("id")
                yield read_time(entry.get("date")), sha if isinstance(sha, str) else None

    def tree(self, repo_id: str, sha: str, kind: Kind = "model") -> tuple[TreeFile, ...]:
        """All files of a commit, also those in folders, sorted by path."""
        files: list[TreeFile] = []
        for file in self.list_files(repo_id, sha, kind):
            files.append(file)
            if len(files) > MOST_FILES:
                raise Unreadable(f"{_name(kind, repo_id, sha)} has more than {MOST_FILES:,} files.")
        return tuple(sorted(files, key=lambda file: file.path))

    def list_files(self, repo_id: str, sha: str, kind: Kind = "model") -> Iterator[TreeFile]:
        """The files of a commit, also those in folders, page by page."""
        what, route = _name(kind, repo_id, sha), f"/api/{kind}s/{repo_id}/tree/{quote(sha, safe='')}"
        for page in self._pages(route, what, {"recursive": True}):
            with self._asking(what):
                files = [read_tree_file(e) for e in page if isinstance(e, dict) and e.get("type") == "file"]
            yield from files

    def read_small_file(
        self, repo_id: str, sha: str, path: str, kind: Kind = "model", most_bytes: int = SMALL_FILE_BYTES
    ) -> bytes:
        """The bytes of a small file such as config.json. Raises Unreadable if it is larger than `most_bytes`."""
        content = self._read_bytes(repo_id, sha, path, 0, most_bytes, kind)
        if len(content) > most_bytes:
            raise Unreadable(f"{_name(kind, repo_id, sha)}: {path} is larger than {most_bytes} bytes.")
        return content

    def _read_bytes(self, repo_id: str, sha: str, path: str, first: int, size: int, kind: Kind = "model") -> bytes:
        """`size` bytes of a file, and one more if there are more. Raises Unreadable if the Hub sends more than that."""
        url = client.hf_hub_url(repo_id, path, repo_type=kind, revision=sha, endpoint=self.endpoint)
        limit = {"Range": f"bytes={first}-{first + size}", "Accept-Encoding": "identity"}
        with self._asking(f"{_name(kind, repo_id, sha)}: {clean_text(path)}", size + 1):
            response = client.get_session().get(url, headers={**self._headers, **limit})
            if response.status_code == 416:  # no such range: the file is empty
                return b""
            hf_raise_for_status(response)
            return response.content

    def parameter_counts(self, model_id: str, sha: str, weight_files: Sequence[str]) -> dict[str, int]:
        """Parameters by number format, from the headers of safetensors files; {} if a header cannot be read.

        Raises Unreadable if a header declares an impossible tensor.
        """
        counts: Counter[str] = Counter()
        if len(weight_files) > _MOST_HEADERS:
            return {}
        for path in weight_files:
            header = self._read_header(model_id, sha, path)
            if header is None:
                return {}
            with self._asking(f"{_name('model', model_id, sha)}: {clean_text(path)}"):
                counts.update(count_parameters(header))
        return dict(counts)

    def _read_header(self, model_id: str, sha: str, path: str) -> dict[str, Any] | None:
        try:
            start = self._read_bytes(model_id, sha, path, 0, _HEADER_START_BYTES)
            (length,) = struct.unpack_from("<Q", start)
            if length > _MOST_HEADER_BYTES:
                return None
            rest = start[8:] if length <= len(start) - 8 else self._read_bytes(model_id, sha, path, 8, length)
            header = json.loads(rest[:length])
        except (Unreadable, struct.error, ValueError, RecursionError):
            return None
        return header if isinstance(header, dict) else None

    def is_up(self) -> bool:
        """Whether the Hub answers at all: distinguishes a broken repository from an outage."""
        try:
            next(self._pages("/api/models", "The list of models", {"limit": 1}))
        except HubUnavailable:
            return False
        except HubError:
            pass
        return True

    def raise_if_down(self, error: HubError) -> None:
        """Raise `error` if the whole Hub is unavailable; otherwise only the requested repository is affected."""
        if isinstance(error, HubUnavailable) and not self.is_up():
            raise error

    def dataset_sha(self, dataset_id: str, revision: str | None = None) -> str:
        """The commit of a dataset at a revision (a commit, tag or branch; default: its main branch)."""
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        what = _name("dataset", dataset_id, revision)
        sha = self._get_json(f"/api/datasets/{dataset_id}{at}", what, {"expand": ["sha"]}).get("sha")
        if not isinstance(sha, str) or not SHA.fullmatch(sha):
            raise Unreadable(f"{what}: {self.endpoint} gives no commit for it.")
        return sha

    def dataset_rows(self, dataset_id: str, revision: str | None = None) -> dict[tuple[str | None, str], int]:
        """Numbers of rows that a dataset's card declares, by configuration and split; empty where it declares none."""
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        what = _name("dataset", dataset_id, revision)
        return read_rows(self._get_json(f"/api/datasets/{dataset_id}{at}", what, {"expand": ["cardData"]}))

    def check_dataset(self, dataset_id: str) -> None:
        """Raise the error that a download would: commits of a gated dataset are public, its files are not."""
        with self._asking(_name("dataset", dataset_id)):
            self._api.auth_check(dataset_id, repo_type="dataset")

    def download_files(
        self, repo_id: str, sha: str, files: Collection[str] | Mapping[str, int], folder: Path, kind: Kind = "model"
    ) -> None:
        """Download `files` of a commit into `folder`, resuming after an interrupted call.

        If sizes are given, a download stops with an error beyond them.
        """
        sizes = files if isinstance(files, Mapping) else {}
        for path in files:
            with self._asking(f"{_name(kind, repo_id, sha)}: {path}", sizes.get(path, MOST_FILE_BYTES)):
                self._api.hf_hub_download(
                    repo_id, path, revision=sha, repo_type=kind, local_dir=folder, cache_dir=folder / ".cache" / "hub"
                )

    def _pages(self, route: str, what: str, params: Mapping[str, Any]) -> Iterator[list[Any]]:
        """The pages of a listing; each one links to the next. The token is not sent to another address."""
        url, rest, seen = f"{self.endpoint}{route}", dict(params), set()
        for _ in range(MOST_PAGES):
            with self._asking(what, PAGE_BYTES):
                response = client.get_session().get(url, headers=self._headers, params=rest or None)
                hf_raise_for_status(response)
                page = response.json()
                if not isinstance(page, list):
                    raise json.JSONDecodeError("not a list", "", 0)
                following = response.links.get("next", {}).get("url")
                if following is not None:
                    url, rest = urljoin(str(response.url), following), {}
            yield page
            if following is None:
                return
            if url in seen:
                raise HubError(f"{what}: its pages link in a loop.")
            seen.add(url)
        raise HubError(f"{what} has more than {MOST_PAGES:,} pages; the rest is ignored.")

    def _get_json(self, route: str, what: str, params: Mapping[str, Any]) -> dict[str, Any]:
        with self._asking(what):
            response = client.get_session().get(f"{self.endpoint}{route}", headers=self._headers, params=dict(params))
            hf_raise_for_status(response)
            answer = response.json()
            if not isinstance(answer, dict):
                raise json.JSONDecodeError("not an object", "", 0)
            return answer

    @contextmanager
    def _asking(self, what: str, most_bytes: int = SMALL_FILE_BYTES) -> Iterator[None]:
        """Turn the client's errors into ours. `what` starts the sentence; at most `most_bytes` are read."""
        if client.is_offline_mode():
            raise HubUnavailable("HF_HUB_OFFLINE is set, so the Hub cannot be reached. Unset it on this machine.")
        speed = Speed(self._retry_policy.slowest_bytes_s, self._retry_policy.slow_s)
        try:
            with asking(Asking(self._retry_policy, self.endpoint, self._announcer, most_bytes, speed)):
                yield
        except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
            raise self._explain(what, error) from None
        except (HubError, OSError):
            raise
        except TooLarge as error:
            raise Unreadable(f"{what} {error}.") from None
        except TooSlow as error:
            raise HubUnavailable(f"{what}: it takes too long ({error}).") from None
        except httpx2.DecodingError as error:
            raise HubUnavailable(f"{what}: {error}.") from None
        except httpx2.HTTPError as error:
            raise HubUnavailable(f"{what}: the connection failed ({type(error).__name__}).") from None
        except json.JSONDecodeError:
            raise HubUnavailable(
                f"{what}: {self.endpoint} does not answer like a Hub (no JSON). Check the address."
            ) from None
        except errors.HFValidationError:
            raise RepoGone(f"{what}: this is not a valid name on the Hub.") from None
        except (MemoryError, ImportError) as error:
            raise HubUnavailable(
                f"{what}: the request failed on this machine ({type(error).__name__}: {error})."
            ) from error
        except Exception as error:
            # All other errors come from the content of the answer: depth, types, huge numbers.
            reason = clean_text(f"{type(error).__name__}: {error}", 200)
            raise Unreadable(f"{what}: the answer of {self.endpoint} cannot be read ({reason}).") from error

    def _explain(self, what: str, error: BaseException) -> HubError:
        # For a HEAD request, the client hides the real error behind "not in the local cache".
        if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
            return self._explain(what, error.__cause__)
        withheld = f" {self.token_withheld}" if self.token_withheld else ""
        for kind, ours, sentence in _SENTENCES:
            if isinstance(error, kind) and isinstance(error, errors.HfHubHTTPError):
                return ours(f"{what} {sentence}{withheld if ours in (GatedNoAccess, RepoGone) else ''}")
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        if status == 401:
            refused = (
                "does not accept the token (401). Check HF_TOKEN."
                if self.token
                else "requires a token (401). Set HF_TOKEN."
            )
            return HubUnavailable(f"{what}: {self.endpoint} {refused}{withheld}")
        answer = f"answers {status}" if status else f"cannot be understood ({type(error).__name__})"
        return HubError(f"{what}: {self.endpoint} {answer}.")


# Order matters: the client's GatedRepoError is a RepositoryNotFoundError.
_SENTENCES: tuple[tuple[type[Exception], type[HubError], str], ...] = (
    (errors.GatedRepoError, GatedNoAccess, "is gated, and this token has not been granted access."),
    (errors.DisabledRepoError, RepoDisabled, "is disabled on the Hub."),
    (errors.RevisionNotFoundError, RevisionGone, "does not exist: unknown revision."),
    (errors.EntryNotFoundError, FileGone, "does not exist."),
    (errors.RepositoryNotFoundError, RepoGone, "does not exist or is private."),
)

_INSTALLING = threading.Lock()
_installed = False


def install_retrying_client() -> None:
    """Make the library use our HTTP client, once per process, and turn off its output."""
    global _installed
    with _INSTALLING:
        if not _installed:
            client.set_client_factory(RetryingClient)
            client.constants.HF_HUB_DISABLE_XET = True  # in case the client was imported before this module
            client_logging.set_verbosity(logging.ERROR)
            disable_progress_bars()
            # Otherwise the client asks huggingface.co, whatever our endpoint is, what runs it, and stores that.
            client.constants.HF_HUB_DISABLE_TELEMETRY = True
            _installed = True


def open_hub(endpoint: str | None = None, say: Say | None = None, policy: RetryPolicy | None = None) -> Hub:
    """The Hub of the environment (HF_ENDPOINT), otherwise the one at `endpoint`, otherwise the public one.

    `say` is called with a sentence when a long wait for it starts. `policy`: how long it is tried.
    """
    address = os.environ.get("HF_ENDPOINT") or endpoint or PUBLIC_HUB
    if not is_address(address):
        raise HubUnavailable(
            f"{address}: is not a valid address of a Hub. Write https://... in HF_ENDPOINT or in the board's `hub`."
        )
    token = find_token()
    withheld = withhold_token(address, os.environ) if token else None
    return Hub(address, None if withheld else token, policy, token_withheld=withheld, say=say)


def find_token() -> str | None:
    """The token of the environment (HF_TOKEN), otherwise the one saved by `hf auth login`, otherwise None."""
    return client.get_token()


def _name(kind: Kind, repo_id: str, revision: str | None = None) -> str:
    return f"The {kind} {repo_id}" + (f" at {revision}" if revision else "")
