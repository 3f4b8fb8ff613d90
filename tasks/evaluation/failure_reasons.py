"""Classifies an error into an ending (model, node, harness, cache ...) and words its reason."""

from __future__ import annotations

import errno
import logging
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightboard.profiles.models.endings import Ending
from nightboard.tasks.evaluation.job_log import TOKEN_PATTERN, read_log_tail
from nightboard.tasks.evaluation.model_errors import explain, locate
from nightboard.tasks.evaluation.validate import OutputError
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import RecordError

_log = logging.getLogger(__name__)
_LONGEST_REASON = 2000
# Frequent errors get a plain text before their own message.
_OUT_OF_MEMORY = {
    "out of GPU memory": (
        "cuda out of memory", "hip out of memory", "outofmemoryerror", "cuda error: out of memory",
        "cublas_status_alloc_failed", "less than desired gpu memory utilization", "no available memory for the cache",
        "larger than the available kv cache memory",
    ),
    "out of host memory": ("memoryerror", "can't allocate memory", "cannot allocate memory"),
}  # fmt: skip
_KNOWN_ERRORS = {
    "no space left on the disk": ("no space left on device", "disk quota exceeded", "disk is full"),
    **_OUT_OF_MEMORY,
}
# vLLM computes in a separate process; its error is only in the log.
_ENGINE_ERRORS = ("engine core", "enginecore", "enginedead")

# Endings that say nothing of the next benchmark, the worst first.
_OF_ONE_BENCHMARK = ("failed", "invalid", "harness", "cache_failed")
# After this error, every call of the process to its GPU fails.
_DEAD_GPU = "cuda error"
# Errors of a disk, a mount or permissions of the node. A missing file may be the model's fault.
_NODE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}
    | {errno.EREMOTEIO, errno.ENXIO, errno.ENODEV, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.EHOSTDOWN}
)
_NODE_DATABASE = re.compile(
    r"(database or disk is full|attempt to write a readonly|unable to open database|disk I/O error)"
)
# torch's errors about a broken GPU or driver. Other CUDA errors (an index out of range, an illegal access) can be
# caused by a model.
_NODE_GPU = re.compile(
    r"No CUDA GPUs are available|Found no NVIDIA driver|The NVIDIA driver on your system is too old|"
    r"Unexpected error from cudaGetDeviceCount|CUDA driver initialization failed|CUDA unknown error|"
    r"(CUDA|HIP) error: (no (CUDA|ROCm)-capable device|CUDA driver version is insufficient|system not yet initialized|"
    r"system has unsupported display driver|uncorrectable (ECC|NVLink) error|unknown error|initialization error|"
    r"all CUDA-capable devices are busy|CUDA-capable device\(s\) is/are busy|invalid device ordinal|"
    r"forward compatibility was attempted|hardware stack error|the launch timed out|GPU is lost|driver shutting down)",
    re.IGNORECASE,
)
_NODE_LIBRARY = re.compile(r"lib[\w.+-]+\.so[\w.]*: (cannot open shared object|failed to map)")
# transformers' message about a missing package for one kind of tokenizer.
_NEEDED_TO_READ = re.compile(r"`(tiktoken|sentencepiece|protobuf)` is required to read")
# Without these no model runs. What else cannot be imported once they are there is asked for by one kind of model.
_NEEDED = frozenset(
    {"torch", "transformers", "tokenizers", "datasets", "huggingface_hub", "accelerate", "lm_eval", "nltk", "numpy"}
    | {"safetensors", "pyarrow", "sqlitedict", "jinja2", "nightboard", "pydantic"}
)
State = Literal["completed"] | Ending


class ShardError(Exception):
    """A shard cannot run because of the model; the message says why."""

    ending: Ending = "failed"


class NodeError(ShardError):
    """A shard cannot run on this node, whatever the model: a package, a GPU or a part of the store is missing."""

    ending = "environment"


class CacheError(ShardError):
    """A file of the store's cache is missing or changed: not a fault of the model or the node."""

    ending = "cache_failed"


class HarnessError(ShardError):
    """lm-eval, its call or its installation is at fault, not the model; it fails on any node."""

    ending = "harness"


@dataclass(frozen=True)
class Failure:
    """The ending of a benchmark that did not complete, with the reason in one line."""

    benchmark: str
    state: State
    reason: str

    @property
    def ends_shard(self) -> bool:
        """Whether nothing after it can do better: the job is being stopped, or the node or its GPU is at fault."""
        return self.state not in _OF_ONE_BENCHMARK or _DEAD_GPU in self.reason.lower()


class BenchmarkErrors(Exception):
    """Some benchmarks of a shard did not complete; the others are finished."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        room = _LONGEST_REASON // len(failures) - 2  # so that none is crowded out by the one before
        super().__init__("; ".join(f"{failure.benchmark}: {failure.reason}"[:room] for failure in failures))
        self.failures = failures

    @property
    def state(self) -> State:
        """How the shard ended: as what ended it, else as the worst of its benchmarks."""
        return min((failure.state for failure in self.failures), key=_rank_state)


def _rank_state(state: State) -> int:
    """What ends a shard comes first: another attempt then follows that, with a smaller batch or on another node."""
    return _OF_ONE_BENCHMARK.index(state) if state in _OF_ONE_BENCHMARK else -1


def find_ending(error: BaseException, stops: list[BaseException], log: Path) -> tuple[State, str]:
    """How the shard ended. After a stop, any error counts as that stop; one that ends the process is raised again."""
    for cause in (*stops, *_walk_causes(error)):
        if isinstance(cause, SystemExit):
            raise cause
        if stopped := _read_stop(cause):
            _log.error("%s", error)
            return stopped
    match error:
        case BenchmarkErrors():  # each is in the log already
            return error.state, _shorten(str(error))
        case OutputError():
            _log.error("the output is not what the suite declares:\n%s", "\n".join(error.reasons))
            return "invalid", _shorten(str(error))
        case ShardError():
            _log.error("%s", error)
            return error.ending, _shorten(str(error))
        case StoreError() | RecordError():
            _log.error("%s", error)
            return "environment", _shorten(str(error))
    _log.error("the run failed", exc_info=error)
    return _judge_error(error, log)


def _read_stop(error: BaseException) -> tuple[State, str] | None:
    """How the job was stopped, when submitit's answer to a signal is what ended the shard.

    Named as text: submitit has one door, and this is not it. Out of time, it raises an error of its own. Preempted, it
    asks SLURM to start the job again, which a site may forbid and a container may not have the command for.
    """
    if type(error).__name__ == "UncompletedJobError":
        return "timeout", f"the job was stopped at its time limit: {_shorten(str(error))}"
    is_refused = isinstance(error, subprocess.SubprocessError) and getattr(error, "cmd", [""])[0] == "scontrol"
    if is_refused or (isinstance(error, FileNotFoundError) and error.filename == "scontrol"):
        return "preempted", f"the job was preempted and could not be put back into the queue: {_shorten(str(error))}"
    return None


def is_stop(error: Exception) -> bool:
    """Whether an error is how the job is stopped: whoever catches all errors must let it pass."""
    return _read_stop(error) is not None


def _judge_error(error: BaseException, log: Path) -> tuple[State, str]:
    """What an unexpected error, what caused it, or what vLLM's own process wrote of it, is charged to."""
    causes = list(_walk_causes(error))
    reasons = [describe_error(cause) for cause in causes]
    if any(sign in reasons[0].lower() for sign in _ENGINE_ERRORS):
        causes += [RuntimeError(line) for line in read_log_tail(log, lines=200)]
    for cause in causes:
        if any(describe_error(cause).startswith(words) for words in _OUT_OF_MEMORY):
            return "out_of_memory", describe_error(cause)
    for cause in _walk_causes(error):
        if blamed := _blame_elsewhere(cause):
            return blamed
    return "failed", reasons[0]


def _blame_elsewhere(error: BaseException) -> tuple[State, str] | None:
    """The ending and reason of an error that is not the model's; None when it may be."""
    text = str(error)
    match error:
        case ModuleNotFoundError() if error.name in _NEEDED:
            return "environment", f"a library is missing on this node: {describe_error(error)}"
        case ImportError() if _NODE_LIBRARY.match(text):
            return "environment", f"a library is broken on this node: {describe_error(error)}"
        case ImportError():
            return "harness", f"a package that this model needs is missing on the node: {describe_error(error)}"
        case ValueError() if _NEEDED_TO_READ.match(text):
            return "harness", describe_error(error)
        case OSError() if error.errno in _NODE_ERRNOS or _NODE_LIBRARY.match(text):
            return "environment", describe_error(error)
        case sqlite3.OperationalError() if _NODE_DATABASE.match(text):
            return "environment", describe_error(error)
        case RuntimeError() if _NODE_GPU.match(text):
            return "environment", f"the GPU of this node does not work: {describe_error(error)}"
        case LookupError() if type(error) is LookupError and "nltk.download(" in text:
            return "cache_failed", f"NLTK data is missing in the store's cache: {_find_resource(text)}"
    return None


def _find_resource(text: str) -> str:
    """What nltk misses; its message is a page."""
    match = re.search(r"nltk\.download\('([\w.-]+)'\)", text)
    return match[1] if match else _shorten(text)


def _walk_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def describe_error(error: BaseException) -> str:
    """An unexpected error in one line; a full disk or memory, or what the model lacks, is said in words first."""
    text = f"{type(error).__name__}: {error}"
    words = [cause for cause, signs in _KNOWN_ERRORS.items() if any(sign in text.lower() for sign in signs)]
    if not words and (lacking := explain(error)):
        words = [lacking]
    return _shorten(": ".join([*words[:1], text + locate(error)]))


def _shorten(text: str) -> str:
    return TOKEN_PATTERN.sub("hf_***", " ".join(text.split()))[:_LONGEST_REASON]
