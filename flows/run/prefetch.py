"""Brings the models of waiting jobs into the cache, in the background and within its budget.

Owns which models are reserved and fetched, and when. What is launched, and in which order, is decided by dispatcher.py.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue

from nightboard.profiles.models.endings import Ending
from nightboard.tasks.fetch.model_cache import ModelCache
from nightboard.tasks.store.records import Commit, Job, PlannedAttempt

Models = Mapping[str, Commit]
"""Commits by fingerprint."""


@dataclass(frozen=True)
class Failure:
    """Why a model cannot be had, and how an attempt at it ends for that: by its repository, or by the Hub."""

    reason: str
    ending: Ending = "fetch_failed"


class Downloads:
    """Threads that fetch models. A process that ends does not wait for them; the next run continues from there."""

    def __init__(self, fetch: Callable[[Commit], Failure | None], parallelism: int) -> None:
        self._fetch, self._parallelism = fetch, parallelism
        self._orders: SimpleQueue[tuple[Future[Failure | None], Commit] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, commit: Commit) -> Future[Failure | None]:
        """Fetch a model as soon as a thread is free; the answer is why it cannot be had, or None."""
        future: Future[Failure | None] = Future()
        self._orders.put((future, commit))
        if len(self._threads) < self._parallelism:
            thread = threading.Thread(target=self._work, name=f"fetch-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Let the threads end with what they are at."""
        for _ in self._threads:
            self._orders.put(None)

    def _work(self) -> None:
        while order := self._orders.get():
            future, commit = order
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._fetch(commit))
            except Exception as error:
                future.set_exception(error)


@dataclass
class _Fetch:
    """A model that is reserved. `ended_at_s`: when it was seen to be there, or not to be had."""

    future: Future[Failure | None]
    ended_at_s: float | None = None


@dataclass
class Fetching:
    """The models of the jobs that wait. `models_of` names those of a job.

    The models of a job are reserved all at once or not at all: two flows that each held half of what they need would
    wait for each other. `error` says why nothing more can be fetched in this run; what is there can still be launched.
    """

    cache: ModelCache
    downloads: Downloads
    models_of: Callable[[Job], Models]
    error: BaseException | None = None
    _fetches: dict[str, _Fetch] = field(default_factory=dict)

    def prepare(self, jobs: Sequence[Job], later: Callable[[], Iterable[str]]) -> dict[str, Commit]:
        """Begin to fetch the models of `jobs`, in their order, as far as there is room; returns those that are new.

        Models of `later` are removed last to make room. Raises RecordError for marks that cannot be read.
        """
        new: dict[str, Commit] = {}
        models = [(job, self.models_of(job)) for job in jobs]
        spared = frozenset(later())
        # What is there takes no more room, and must not be removed for those before it in the order.
        for _, wanted in models:
            if all(self._is_at_hand(key) for key in wanted):
                self._reserve(wanted, spared)
        for job, wanted in models:
            if self.is_prepared(job):
                continue
            if self.error or not self._reserve(wanted, spared):
                break  # a smaller one after it might fit, and would keep it waiting
            new |= {key: commit for key, commit in wanted.items() if not self.cache.has(key)}
        self._drop_all_but({key for job, wanted in models if self.is_prepared(job) for key in wanted})
        return new

    def _reserve(self, wanted: Models, later: Collection[str]) -> bool:
        """Begin to fetch what is not there yet; False when there is no room for it now."""
        missing = {key: commit for key, commit in wanted.items() if key not in self._fetches}
        hopeless = {key: reason for key, commit in missing.items() if (reason := self._refuse(commit))}
        fitting = {key: commit for key, commit in missing.items() if key not in hopeless}
        if fitting and not self.cache.reserve({key: commit.size_gb or 0.0 for key, commit in fitting.items()}, later):
            return False
        self._fetches |= {key: _Fetch(self.downloads.start(commit)) for key, commit in fitting.items()}
        self._fetches |= {key: _Fetch(_ended(reason)) for key, reason in hopeless.items()}
        return True

    def _refuse(self, commit: Commit) -> str | None:
        """Why the model can never be fetched; None when it can, once there is room."""
        budget_gb = self.cache.budget_gb
        if budget_gb is None or (commit.size_gb or 0.0) <= budget_gb:
            return None
        return (
            f"{commit.model_id}@{commit.revision[:7]}: takes {commit.size_gb:.3g} GB, more than models may take in the "
            f"cache ({budget_gb:g} GB). Raise cache_gb in the cluster profile."
        )

    def _is_at_hand(self, fingerprint: str) -> bool:
        return fingerprint in self._fetches or self.cache.has(fingerprint)

    def is_prepared(self, job: Job) -> bool:
        """Whether all models of the job are reserved: being fetched, there, or not to be had."""
        return all(key in self._fetches for key in self.models_of(job))

    def ready_since(self, job: Job) -> float | None:
        """When (on the monotonic clock) the last model of the job was there; None when one is not there yet."""
        fetches = [self._fetches.get(key) for key in self.models_of(job)]
        times = [self._ended_at(fetch) for fetch in fetches]
        return max((at for at in times if at is not None), default=0.0) if None not in times else None

    def _ended_at(self, fetch: _Fetch | None) -> float | None:
        if fetch and fetch.ended_at_s is None and fetch.future.done():
            fetch.ended_at_s = time.monotonic()
        return fetch.ended_at_s if fetch else None

    @property
    def is_under_way(self) -> bool:
        """Whether a model is being fetched, or waits for its turn."""
        return any(not fetch.future.done() for fetch in self._fetches.values())

    def take_failures(self) -> dict[str, Failure]:
        """Models that cannot be had, with the reason, each returned once; sets `error` when none can be any more."""
        failures: dict[str, Failure] = {}
        for key, fetch in list(self._fetches.items()):
            if not fetch.future.done():
                continue
            if error := fetch.future.exception():
                self.error = self.error or error
            elif failure := fetch.future.result():
                failures[key] = failure
            else:
                continue
            del self._fetches[key]
        if self.error:
            self._fetches = {key: fetch for key, fetch in self._fetches.items() if not fetch.future.cancel()}
        return failures

    def _drop_all_but(self, wanted: set[str]) -> None:
        """Take the marks off what no job is prepared for any more, but for what is just arriving."""
        for key, fetch in list(self._fetches.items()):
            if key not in wanted and (fetch.future.done() or fetch.future.cancel()):
                del self._fetches[key]
        self.cache.keep_only(self._fetches.keys())

    def close(self) -> None:
        """Stop what has not begun; what is half-fetched is found by the next run."""
        for fetch in self._fetches.values():
            fetch.future.cancel()
        self.downloads.close()
        self._fetches.clear()
        with contextlib.suppress(OSError):
            self.cache.keep_only(())


def _ended(reason: str) -> Future[Failure | None]:
    future: Future[Failure | None] = Future()
    future.set_result(Failure(reason))
    return future


def split_by_size(
    job: Job, size_of: Callable[[PlannedAttempt], tuple[str, float]], budget_gb: float | None
) -> list[Job]:
    """The job as several, where its models together are larger than the cache; `size_of` names a shard's model."""
    groups: list[list[PlannedAttempt]] = []
    held: dict[str, float] = {}
    for planned in job.attempts:
        together = held | dict([size_of(planned)])
        if not groups or (budget_gb is not None and sum(together.values()) > budget_gb):
            groups.append([])
            together = dict([size_of(planned)])
        groups[-1].append(planned)
        held = together
    return [job.model_copy(update={"attempts": tuple(group)}) for group in groups]
