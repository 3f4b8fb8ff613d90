"""Runs a job on the node (`run_job`): its shards one after the other, offline, benchmark by benchmark."""

from __future__ import annotations

import gc
import logging
import os
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from nightboard.tasks.evaluation.attempt import run_attempt, try_run
from nightboard.tasks.evaluation.failure_reasons import BenchmarkErrors, Failure
from nightboard.tasks.evaluation.harness import (
    NodeRun,
    check_harness,
    import_harness,
    index_tasks,
    open_model,
    run_benchmark,
)
from nightboard.tasks.evaluation.workdir import find_unfinished
from nightboard.tasks.store.files import write_bytes
from nightboard.tasks.store.layout import LOG_FILE, PROGRESS_FILE, SPEC_FILE, Store, StoreError
from nightboard.tasks.store.records import AttemptSpec, Progress
from nightboard.tasks.store.trust import limit_umask

_log = logging.getLogger(__name__)
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # lm-eval would fork a process that holds a GPU.
    "DISABLE_MULTIPROC": "1",
    # A bar that is redrawn ten times a second makes a log of megabytes.
    "TQDM_MININTERVAL": "10",
    # vLLM would report its use over the network, and fork a process that has threads and a GPU.
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
# Tokens are not needed offline; the rest would lead past HF_HOME.
_UNWANTED = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE", "TRANSFORMERS_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- jobs


def run_job(store_root: str, attempt_dirs: list[str]) -> list[str]:
    """Run the attempts of a job, one after the other; called by submitit in the job's process.

    Returns how each ended: an outcome's state, or `left` if it belongs to another run. A shard that fails does not
    stop the next. Raises only when an outcome could not be written, so that the job itself counts as failed.
    """
    store = Store(Path(store_root).absolute())
    limit_umask(store.root)
    states: list[str] = []
    lost: list[str] = []
    for folder in (store.root / attempt_dir for attempt_dir in attempt_dirs):
        _go_offline(store, folder)
        try:
            states.append(run_attempt(folder, partial(_run_shard, store, folder)))
            if states[-1] in ("timeout", "preempted", "environment"):
                break  # the job is being stopped, or its node is no good; what it did not come to is planned again
        except (StoreError, OSError) as error:
            lost.append(f"{folder}: no outcome could be written: {error}")
        if not _free_memory():
            break  # no other model answers for what this one did to the GPU
    if lost:
        raise StoreError("\n".join(lost))
    return states


def _go_offline(store: Store, folder: Path) -> None:
    """Settings that Hugging Face libraries read when they are imported: no network, nothing of the user's, no token."""
    for name in _UNWANTED:
        os.environ.pop(name, None)
    os.environ.update(_OFFLINE, HF_HOME=str(folder.parent / "work" / ".hf"), NLTK_DATA=str(store.nltk_dir))


def _free_memory() -> bool:
    """Let go of what is not needed any more, before something else is loaded; False when the GPU does not answer.

    After an error inside a kernel every call of this process to its GPU fails, for other models too.
    """
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError as error:
                _log.error("the GPU does not answer this process any more: %s", error)
                return False
    return True


# ----------------------------------------------------------------------------------------------------------- shards


def _run_shard(store: Store, folder: Path) -> None:
    """Run what is unfinished of the shard; each benchmark appears in the work folder when it is complete.

    One that fails does not keep the next from running. Raises BenchmarkErrors for all that did not complete.
    """
    run = NodeRun(store, AttemptSpec.read(folder / SPEC_FILE), folder)
    wanted = run.spec.planned.shard.benchmarks
    check_harness(run.spec.suite.suite.harness.version)
    todo = find_unfinished(run.work, run.spec.suite.suite, run.spec.planned.shard)
    _log.info("%d of %d benchmarks to run: %s", len(todo), len(wanted), ", ".join(todo) or "all are finished already")
    failures: list[Failure] = []
    if todo:
        import_harness()
        model = open_model(run)
        index = index_tasks(run.spec.suite.suite.harness.task_folders)
        failures = _run_benchmarks(run, todo, model, index)
    _write_progress(run, None, todo)
    if failures:
        raise BenchmarkErrors(failures)


def _run_benchmarks(run: NodeRun, todo: list[str], model: Any, index: Any) -> list[Failure]:
    """Run benchmarks, taking what is finished out of `todo`; stops early where the next one cannot do better."""
    failures: list[Failure] = []
    for name in list(todo):
        _write_progress(run, name, todo)
        state, reason = try_run(partial(run_benchmark, run, name, model, index), run.folder / LOG_FILE)
        if reason is None:
            todo.remove(name)
            continue
        failures.append(Failure(name, state, reason))
        if failures[-1].ends_shard or not _free_memory():
            _log.error("%s ended as %s, and so does the shard", name, state)
            break
        _log.error("%s ended as %s; the other benchmarks are run", name, state)
    return failures


def _write_progress(run: NodeRun, benchmark: str | None, todo: list[str]) -> None:
    wanted = run.spec.planned.shard.benchmarks
    finished = tuple(benchmark for benchmark in wanted if benchmark not in todo)
    progress = Progress(benchmark=benchmark, finished=finished, total=len(wanted), at=datetime.now(UTC))
    write_bytes(run.folder / PROGRESS_FILE, progress.to_bytes())
