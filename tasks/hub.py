"""The only door to the Hugging Face Hub: nightboard's calls, the answers as small records, the errors as sentences.

Owns the client library huggingface_hub: its settings, its errors, its tokens. What an answer means for a leaderboard is
not decided here. Nothing is cached in the user's own folders; a token is sent, and appears nowhere else.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx2

# Files come over plain HTTP, where this project's patience and errors hold. Read when the client is imported.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

import huggingface_hub as client
from huggingface_hub import errors
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported at run time, not marked for type checkers
    build_hf_headers,
    disable_progress_bars,
    hf_raise_for_status,
    paginate,
)
from huggingface_hub.utils import logging as client_logging

from nightboard.tasks.patience import HubError, HubUnavailable, Patience, PatientClient, patient

__all__ = [
    "FileGone", "GatedNoAccess", "Hub", "HubError", "HubUnavailable", "ModelHead", "Patience", "Refs", "RepoDisabled",
    "RepoGone", "RevisionGone", "TreeFile", "find_token", "install_patient_client",
    "open_hub",
]  # fmt: skip

_HEAD_FIELDS = [
    "sha", "lastModified", "safetensors", "gated", "private", "disabled", "cardData", "config", "pipeline_tag", "tags",
]  # fmt: skip
Kind = Literal["model", "dataset"]
SMALL_FILE_BYTES = 32 * 1024 * 1024


class RepoGone(HubError):
    """The repository does not exist, or not for us (the Hub does not tell a private one from a missing one)."""


class RevisionGone(HubError):
    """The repository exists, the commit, tag or branch does not."""


class FileGone(HubError):
    """The commit exists, the file does not."""


class GatedNoAccess(HubError):
    """The repository asks for accepted terms, and this token has not accepted them."""


class RepoDisabled(HubError):
    """The Hub has disabled the repository."""


@dataclass(frozen=True)
class ModelHead:
    """A model's newest commit as a listing shows it. What the Hub left out or wrote in a wrong type is empty."""

    model_id: str
    sha: str
    last_modified: datetime | None = None
    is_gated: bool = False
    is_private: bool = False
    is_disabled: bool = False
    pipeline_tag: str | None = None
    tags: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelHead:
        """Read one item of the Hub's answer; KeyError without an id."""
        counts = _mapping(_mapping(data.get("safetensors")).get("parameters"))
        return cls(
            model_id=str(data["id"]),
            sha=str(data.get("sha") or ""),
            last_modified=_time(data.get("lastModified")),
            is_gated=data.get("gated") not in (None, False),
            is_private=data.get("private") is True,
            is_disabled=data.get("disabled") is True,
            pipeline_tag=_text(data.get("pipeline_tag")),
            tags=tuple(tag for tag in _sequence(data.get("tags")) if isinstance(tag, str)),
            card=_mapping(data.get("cardData")),
            config=_mapping(data.get("config")),
            parameters={k: v for k, v in counts.items() if isinstance(v, int) and v > 0},
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


class Hub:
    """A Hub at `endpoint`. `token` None sends none, not even one that is saved on this machine (see `find_token`)."""

    def __init__(self, endpoint: str, token: str | None = None, patience: Patience | None = None) -> None:
        install_patient_client()
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self._patience = patience or Patience()
        self._api = client.HfApi(endpoint=self.endpoint, token=token or False)
        self._headers = build_hf_headers(token=token or False)

    def __repr__(self) -> str:
        return f"Hub({self.endpoint!r})"

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Hub holds a token and is never pickled")

    def list_heads(self, organization: str) -> Iterator[ModelHead]:
        """Every model of an organisation or user, in pages: one request a page, none a model."""
        url = f"{self.endpoint}/api/models"
        # Not `HfApi.list_models`: its records fail on a model with odd metadata, and so do all models that follow.
        items = iter(paginate(url, params={"author": organization, "expand": _HEAD_FIELDS}, headers=self._headers))
        while True:
            with self._asking(f"The list of models of {organization}"):
                item = next(items, None)
            if item is None:
                return
            if isinstance(item, dict) and "id" in item:
                yield ModelHead.from_json(item)

    def model_head(self, model_id: str, revision: str | None = None) -> ModelHead:
        """One model at a revision (a commit, tag or branch; left out: its main branch)."""
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        what = _name("model", model_id, revision)
        return ModelHead.from_json(self._get_json(f"/api/models/{model_id}{at}", what, {"expand": _HEAD_FIELDS}))

    def refs(self, model_id: str) -> Refs:
        """Branches and tags of a model."""
        with self._asking(_name("model", model_id)):
            found = self._api.list_repo_refs(model_id)
        return Refs(
            branches={ref.name: ref.target_commit for ref in found.branches},
            tags={ref.name: ref.target_commit for ref in found.tags},
        )

    def commit_date(self, model_id: str, revision: str) -> datetime | None:
        """When a commit was made: the first entry of the first page of the history that ends there."""
        url = f"{self.endpoint}/api/models/{model_id}/commits/{quote(revision, safe='')}"
        with self._asking(_name("model", model_id, revision)):
            newest = next(iter(paginate(url, params={}, headers=self._headers)), None)
        return _time(_mapping(newest).get("date"))

    def tree(self, repo_id: str, sha: str, kind: Kind = "model") -> tuple[TreeFile, ...]:
        """All files of a commit, those in folders too, sorted by path."""
        with self._asking(_name(kind, repo_id, sha)):
            entries = list(self._api.list_repo_tree(repo_id, revision=sha, recursive=True, repo_type=kind))
        return tuple(sorted((_tree_file(e) for e in entries if isinstance(e, RepoFile)), key=lambda file: file.path))

    def read_small_file(self, model_id: str, sha: str, path: str) -> bytes:
        """The bytes of a file such as config.json; HubError when it is larger than SMALL_FILE_BYTES."""
        url = client.hf_hub_url(model_id, path, revision=sha, endpoint=self.endpoint)
        limit = {"Range": f"bytes=0-{SMALL_FILE_BYTES}", "Accept-Encoding": "identity"}
        what = f"{_name('model', model_id, sha)}: {path}"
        with self._asking(what):
            response = client.get_session().get(url, headers={**self._headers, **limit})
            if response.status_code == 416:  # no such range: the file is empty
                return b""
            hf_raise_for_status(response)
        if len(response.content) > SMALL_FILE_BYTES:
            raise HubError(f"{what} is larger than {SMALL_FILE_BYTES} bytes.")
        return response.content

    def parameter_counts(self, model_id: str, sha: str, weight_files: Iterable[str]) -> dict[str, int]:
        """Parameters by number format, from the headers of safetensors files; {} when a header cannot be read."""
        counts: dict[str, int] = {}
        with self._asking(_name("model", model_id, sha)):
            for path in weight_files:
                try:
                    header = self._api.parse_safetensors_file_metadata(model_id, path, revision=sha)
                except (errors.SafetensorsParsingError, ValueError, KeyError, TypeError):
                    return {}
                for number_format, count in header.parameter_count.items():
                    counts[number_format] = counts.get(number_format, 0) + count
        return counts

    def is_up(self) -> bool:
        """Whether the Hub answers at all: tells one broken repository from an outage."""
        try:
            with self._asking("the listing of models"):
                address = f"{self.endpoint}/api/models"
                hf_raise_for_status(client.get_session().get(address, headers=self._headers, params={"limit": 1}))
        except HubUnavailable:
            return False
        except HubError:
            pass
        return True

    def dataset_sha(self, dataset_id: str, revision: str | None = None) -> str:
        """The commit of a data set at a revision (a commit, tag or branch; left out: its main branch)."""
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        what = _name("dataset", dataset_id, revision)
        return str(self._get_json(f"/api/datasets/{dataset_id}{at}", what, {"expand": ["sha"]})["sha"])

    def check_dataset(self, dataset_id: str) -> None:
        """Raise what its files would be refused with: a gated data set tells its commits to everybody."""
        with self._asking(_name("dataset", dataset_id)):
            self._api.auth_check(dataset_id, repo_type="dataset")

    def download_files(self, repo_id: str, sha: str, files: Sequence[str], folder: Path, kind: Kind = "model") -> None:
        """Download `files` of a commit into `folder`, keeping what an interrupted call has left there."""
        for path in files:
            with self._asking(f"{_name(kind, repo_id, sha)}: {path}"):
                self._api.hf_hub_download(
                    repo_id, path, revision=sha, repo_type=kind, local_dir=folder, cache_dir=folder / ".cache" / "hub"
                )

    def _get_json(self, route: str, what: str, params: Mapping[str, Any]) -> dict[str, Any]:
        with self._asking(what):
            response = client.get_session().get(f"{self.endpoint}{route}", headers=self._headers, params=dict(params))
            hf_raise_for_status(response)
            answer = response.json()
            if not isinstance(answer, dict):
                raise json.JSONDecodeError("not an object", "", 0)
            return answer

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn the client's errors into ours. `what` begins the sentence."""
        if client.is_offline_mode():
            raise HubUnavailable("HF_HUB_OFFLINE is set, so the Hub cannot be asked. Unset it on this machine.")
        try:
            with patient(self._patience):
                yield
        except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
            raise self._explain(what, error) from None
        except httpx2.HTTPError as error:
            raise HubUnavailable(f"{what}: the connection failed ({type(error).__name__}).") from None
        except json.JSONDecodeError:
            raise HubUnavailable(f"{what}: {self.endpoint} does not answer like a Hub (no JSON).") from None
        except errors.HFValidationError:
            raise RepoGone(f"{what}: this is not a legal name on the Hub.") from None

    def _explain(self, what: str, error: BaseException) -> HubError:
        # The client hides the answer to a HEAD request behind "not in the local cache".
        if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
            return self._explain(what, error.__cause__)
        for kind, ours, sentence in _SENTENCES:
            if isinstance(error, kind) and isinstance(error, errors.HfHubHTTPError):
                return ours(f"{what} {sentence}")
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        if status == 401:
            return HubUnavailable(f"{what}: {self.endpoint} does not accept the token (401). Check HF_TOKEN.")
        answer = f"answers {status}" if status else f"cannot be understood ({type(error).__name__})"
        return HubError(f"{what}: {self.endpoint} {answer}.")


# Order matters: a gated repository is to the client a kind of missing one.
_SENTENCES: tuple[tuple[type[Exception], type[HubError], str], ...] = (
    (errors.GatedRepoError, GatedNoAccess, "is gated, and this token has not been granted access."),
    (errors.DisabledRepoError, RepoDisabled, "is disabled on the Hub."),
    (errors.RevisionNotFoundError, RevisionGone, "does not exist: there is no such revision."),
    (errors.EntryNotFoundError, FileGone, "does not exist."),
    (errors.RepositoryNotFoundError, RepoGone, "does not exist or is private."),
)

_INSTALLING = threading.Lock()
_installed = False


def install_patient_client() -> None:
    """Put our HTTP client under the library's calls, once a process, and keep the library quiet."""
    global _installed
    with _INSTALLING:
        if not _installed:
            client.set_client_factory(lambda: PatientClient(follow_redirects=True))
            client_logging.set_verbosity(logging.ERROR)
            disable_progress_bars()
            # Else the client asks huggingface.co, whatever our endpoint is, what runs it, and notes that in HF_HOME.
            client.constants.HF_HUB_DISABLE_TELEMETRY = True
            _installed = True


def open_hub(endpoint: str | None = None) -> Hub:
    """The Hub that the environment names (HF_ENDPOINT), else the one at `endpoint`, else the public one."""
    return Hub(os.environ.get("HF_ENDPOINT") or endpoint or client.constants.ENDPOINT, token=find_token())


def find_token() -> str | None:
    """The token of the environment (HF_TOKEN), else the one that `hf auth login` saved, else None."""
    return client.get_token()


def _name(kind: Kind, repo_id: str, revision: str | None = None) -> str:
    return f"The {'data set' if kind == 'dataset' else kind} {repo_id}" + (f" at {revision}" if revision else "")


def _tree_file(entry: RepoFile) -> TreeFile:
    return TreeFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
