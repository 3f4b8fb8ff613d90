"""Runs one attempt of a job: takes it, gathers all that is printed meanwhile, and writes how it ended.

Owns log.txt, progress.json and outcome.json of an attempt's folder, and what an error is charged to: the model, or the
node, whose faults cost the model nothing. A repository can put any words into an error, so that the node is blamed only
for what the words alone cannot bring about: a number of the system's, a type of error. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Literal, TextIO

from pydantic import Field

from nightboard.profiles.models import Ending
from nightboard.tasks.model_errors import explain, locate
from nightboard.tasks.ownership import OUTCOME_FILE, heartbeat, take
from nightboard.tasks.records import Outcome, Record, RecordError
from nightboard.tasks.store import StoreError, claim_file
from nightboard.tasks.validate import OutputError

LOG = "log.txt"
_TAIL_BYTES, _TAIL_LINES = 64_000, 20
_LONGEST_REASON = 2000
_COPY_INTERVAL_S = 1.0
# Nothing on a node needs a token, so none should ever appear; this is the second lock on that door.
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")
# An error that an operator meets often is said in words before its own text.
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
# vLLM computes in a process of its own, whose error stands in the log only.
_ENGINE_ERRORS = ("engine core", "enginecore", "enginedead")

# Endings that say nothing of the next benchmark, the worst first.
_OF_ONE_BENCHMARK = ("failed", "invalid", "harness", "cache_failed")
# After it every call of the process to its GPU fails.
_DEAD_GPU = "cuda error"
# What the system says of a disk, a mount or a right of the node. A file that is not there may be the model's own fault.
_NODE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}
    | {errno.EREMOTEIO, errno.ENXIO, errno.ENODEV, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.EHOSTDOWN}
)
_NODE_DATABASE = re.compile(
    r"(database or disk is full|attempt to write a readonly|unable to open database|disk I/O error)"
)
# How torch begins to speak of a GPU or driver that is not well. Other CUDA errors (an index out of range, an illegal
# access) are what a model can do.
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
# How transformers speaks of a package that reads one kind of tokenizer.
_NEEDED_TO_READ = re.compile(r"`(tiktoken|sentencepiece|protobuf)` is required to read")
# Without these no model runs. What else cannot be imported once they are there is asked for by one kind of model.
_NEEDED = frozenset(
    {"torch", "transformers", "tokenizers", "datasets", "huggingface_hub", "accelerate", "lm_eval", "nltk", "numpy"}
    | {"safetensors", "pyarrow", "sqlitedict", "jinja2", "nightboard", "pydantic"}
)

_log = logging.getLogger(__name__)
State = Literal["completed"] | Ending


class ShardError(Exception):
    """A shard cannot run, and the model is why; the message says all that an operator needs."""

    ending: Ending = "failed"


class NodeError(ShardError):
    """A shard cannot run on this node, whatever the model: a package, a GPU or a part of the store is not there."""

    ending = "environment"


class CacheError(ShardError):
    """Something of the store's cache is not there or not as it was fetched: no fault of the model's or the node's."""

    ending = "cache_failed"


class HarnessError(ShardError):
    """lm-eval, or how it is called or installed, is at fault; the model would fail so on any node, and is not why."""

    ending = "harness"


@dataclass(frozen=True)
class Failure:
    """How one benchmark of a shard ended that did not complete, and why, in one line."""

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
        super().__init__("; ".join(f"{each.benchmark}: {each.reason}"[:room] for each in failures))
        self.failures = failures

    @property
    def state(self) -> State:
        """How the shard ended: as what ended it, else as the worst of its benchmarks."""
        return min((each.state for each in self.failures), key=_rank_state)


def _rank_state(state: State) -> int:
    """What ends a shard comes first: another attempt then follows that, with a smaller batch or on another node."""
    return _OF_ONE_BENCHMARK.index(state) if state in _OF_ONE_BENCHMARK else -1


class Progress(Record):
    """How far an attempt is: progress.json in its folder, replaced at each start and end of a benchmark."""

    record_version: Literal[1] = 1
    benchmark: str | None = Field(description="the one that runs now; none when none is left to run")
    finished: tuple[str, ...]
    total: int
    at: datetime


def run_attempt(folder: Path, run_shard: Callable[[], None]) -> str:
    """Run the shard if the attempt is ours to run; returns the outcome's state, or `left` when it is somebody else's.

    Raises StoreError or OSError only when no outcome could be written. A SystemExit goes through and leaves none: that
    is how submitit ends a preempted job that it has put back into the queue, to go on later with the same attempt.
    """
    if not folder.is_dir():
        raise StoreError("the attempt's folder does not exist. Was the store moved?")
    if _read_rank():
        return "left"  # a job of several nodes starts this on each
    if not take(folder, read_job_id()):
        print(f"{folder}: another run has this attempt, it has ended, or a flow gave it up; it is left", flush=True)
        return "left"
    started_at = datetime.now(UTC)
    with record_log(folder / LOG), heartbeat(folder):
        state, reason = try_run(run_shard, folder / LOG)
    outcome = Outcome(
        state=state,
        reason=reason,
        job_id=read_job_id(),
        node=read_node(),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        log_tail=() if state == "completed" else read_log_tail(folder / LOG),
    )
    if not claim_file(folder / OUTCOME_FILE, outcome.to_bytes()):
        print(f"{folder}: somebody else has written an outcome already; that one counts", flush=True)
    return state


def read_node() -> str:
    """The node as the cluster calls it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _is_local() -> bool:
    """A local job may have been started by a flow that is itself a job of SLURM."""
    return "SUBMITIT_LOCAL_JOB_ID" in os.environ


def _read_rank() -> int:
    return 0 if _is_local() else int(os.environ.get("SLURM_PROCID", "0"))


def read_job_id() -> str | None:
    """The cluster's name for this job, as the launch recorded it; None outside of a job."""
    env = os.environ
    if _is_local():
        return env["SUBMITIT_LOCAL_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '0')}"
    return env.get("SLURM_JOB_ID")


def try_run(run: Callable[[], None], log: Path) -> tuple[State, str | None]:
    """Run a shard, or a benchmark of it: how it ended and, unless it completed, why, in words and in one line."""
    with _stops_noted() as stops:
        try:
            run()
        except (SystemExit, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # libraries in Rust end in errors that are no Exception
            return _judge(error, stops, log)
    return "completed", None


@contextlib.contextmanager
def _stops_noted() -> Iterator[list[BaseException]]:
    """What submitit's answer to a signal raises while this is open.

    It raises wherever the program is. A library that tries an import, or whatever else, swallows it and says later that
    something is missing.
    """
    stops: list[BaseException] = []
    before = signal.getsignal(signal.SIGUSR2)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield stops
        return

    def answer(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except BaseException as stop:
            stops.append(stop)
            raise

    signal.signal(signal.SIGUSR2, answer)
    try:
        yield stops
    finally:
        signal.signal(signal.SIGUSR2, before)


def _judge(error: BaseException, stops: list[BaseException], log: Path) -> tuple[State, str]:
    """How the shard ended. After a stop any error is that stop's; one that ends the process goes on its way."""
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
    reasons = [describe_error(each) for each in causes]
    if any(sign in reasons[0].lower() for sign in _ENGINE_ERRORS):
        causes += [RuntimeError(line) for line in read_log_tail(log, lines=200)]
    for cause in causes:
        if any(describe_error(cause).startswith(words) for words in _OUT_OF_MEMORY):
            return "out_of_memory", describe_error(cause)
    for cause in _walk_causes(error):
        if found := _blame_elsewhere(cause):
            return found
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
            return "cache_failed", f"nltk's data is not in the store's cache: {_find_resource(text)}"
    return None


def _find_resource(text: str) -> str:
    """What nltk misses; its message is a page."""
    found = re.search(r"nltk\.download\('([\w.-]+)'\)", text)
    return found[1] if found else _shorten(text)


def _walk_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def describe_error(error: BaseException) -> str:
    """An unexpected error in one line; a full disk or memory, or what the model lacks, is said in words first."""
    text = f"{type(error).__name__}: {error}"
    words = [cause for cause, signs in _KNOWN_ERRORS.items() if any(sign in text.lower() for sign in signs)]
    if not words and (lacking := explain(error)):
        words = [lacking]
    return _shorten(": ".join([*words[:1], text + locate(error)]))


def _shorten(text: str) -> str:
    return _TOKEN.sub("hf_***", " ".join(text.split()))[:_LONGEST_REASON]


# ------------------------------------------------------------------------------------------------------------ the log


def read_log_tail(path: Path, lines: int = _TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log, each as a terminal would show it once a progress bar has overwritten itself."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return tuple(_TOKEN.sub("hf_***", line) for line in shown if line)[-lines:]


@contextlib.contextmanager
def record_log(path: Path) -> Iterator[None]:
    """Send all that this process prints to `path`, and copy it to where it went before.

    The file has everything up to a kill -9. The copy follows a second behind: it is for whoever watches the job.
    """
    with path.open("ab", buffering=0) as file, _copied(path, file.tell()), _output_turned_to(file.fileno()):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


@contextlib.contextmanager
def _output_turned_to(target: int) -> Iterator[None]:
    """Turn the file descriptors of stdout and stderr, so that libraries in C and child processes are heard too."""
    sys.stdout.flush()
    sys.stderr.flush()
    streams, saved = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    os.dup2(target, 1)
    os.dup2(target, 2)
    stream = _open_stderr()
    sys.stdout = sys.stderr = stream
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        with contextlib.suppress(OSError):  # a full disk: what could not be written is lost, its reason is not
            stream.flush()
        for descriptor, before in enumerate(saved, start=1):
            os.dup2(before, descriptor)
            os.close(before)


@cache
def _open_stderr() -> TextIO:
    """A stream to wherever descriptor 2 leads, the same for the life of the process.

    Libraries keep the stderr that they find when they are imported, in log handlers and progress bars: what one shard
    of a job has imported must speak in the log of the next one.
    """
    return open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


@contextlib.contextmanager
def _copied(path: Path, start: int) -> Iterator[None]:
    """While open, what is added to the file after `start` also goes to where stdout goes now."""
    target, done = os.dup(1), threading.Event()
    copier = threading.Thread(target=_copy_until, args=(path, start, target, done), daemon=True)
    copier.start()
    try:
        yield
    finally:
        done.set()
        copier.join()
        os.close(target)


def _copy_until(path: Path, start: int, target: int, done: threading.Event) -> None:
    with path.open("rb") as log:
        log.seek(start)
        is_last = False
        while not is_last:
            is_last = done.wait(_COPY_INTERVAL_S)
            for block in iter(lambda: log.read(65536), b""):
                # A job whose own output cannot be written any more still has its log.
                with contextlib.suppress(OSError):
                    os.write(target, block)
