"""Runs the shards of a job on a node: with load_model.py the only file that imports lm_eval and torch, and alone with
datasets' settings, and only inside functions, so that nothing of Hugging Face is read before the process is offline.

Owns how lm-eval is called. The model comes from load_model.py; what lm-eval wrote is judged by validate.py.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from nightboard.profiles.models import Benchmark
from nightboard.tasks.asked import watch_prompts
from nightboard.tasks.attempt import (
    LOG,
    BenchmarkErrors,
    CacheError,
    Failure,
    HarnessError,
    NodeError,
    Progress,
    describe_error,
    read_node,
    run_attempt,
    try_run,
)
from nightboard.tasks.declared import DeclaredTasks
from nightboard.tasks.load_model import load_model
from nightboard.tasks.outputs import Provenance, finish_benchmark
from nightboard.tasks.records import ShardSpec
from nightboard.tasks.resume import answers_path, find_unfinished, fresh_folder, link_dataset, publish_folder
from nightboard.tasks.split import task_ranges
from nightboard.tasks.store import Store, StoreError, write_bytes
from nightboard.tasks.trust import limit_umask
from nightboard.tasks.validate import RESULTS, samples_file

_log = logging.getLogger(__name__)

# A mean's standard error is exact at any number; resampling is for metrics that no suite here declares. lm-eval's own
# default of 100,000 would only cost time.
_BOOTSTRAP_ITERS = 1000
_LIBRARIES = (
    "torch", "transformers", "tokenizers", "datasets", "huggingface_hub", "accelerate", "lm_eval", "nltk", "numpy",
    "vllm",
)  # fmt: skip
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


@dataclass(frozen=True)
class Run:
    """One attempt at a shard, on this node."""

    store: Store
    spec: ShardSpec
    folder: Path

    @property
    def work(self) -> Path:
        return self.store.work_dir(self.spec.evaluation.evaluation_id, self.spec.shard.shard)

    def benchmark(self, name: str) -> Benchmark:
        return self.spec.suite.suite.benchmarks[name]


# ------------------------------------------------------------------------------------------------------------- jobs


def run_job(store_root: str, attempt_dirs: list[str]) -> list[str]:
    """Run the attempts of a job, one after the other; called by submitit in the job's process.

    Returns how each ended: an outcome's state, or `left` when it belongs to somebody else. A shard that fails does not
    stop the next. Raises only when an outcome could not be written, so that the job itself counts as failed.
    """
    store = Store(Path(store_root).absolute())
    limit_umask(store.root)
    states: list[str] = []
    lost: list[str] = []
    for folder in (store.root / each for each in attempt_dirs):
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
    run = Run(store, ShardSpec.read(folder / "spec.json"), folder)
    wanted = run.spec.shard.benchmarks
    _check_harness(run.spec.suite.suite.harness.version)
    todo = find_unfinished(run.work, run.spec.suite.suite, run.spec.shard.part)
    _log.info("%d of %d benchmarks to run: %s", len(todo), len(wanted), ", ".join(todo) or "all are finished already")
    failures: list[Failure] = []
    if todo:
        _import_harness()
        model = _load_model(run)
        index = _index_tasks(run.spec.suite.suite.harness.task_folders)
        failures = _run_benchmarks(run, todo, model, index)
    _write_progress(run, None, todo)
    if failures:
        raise BenchmarkErrors(failures)


def _run_benchmarks(run: Run, todo: list[str], model: Any, index: Any) -> list[Failure]:
    """Run benchmarks, taking what is finished out of `todo`; stops early where the next one cannot do better."""
    failures: list[Failure] = []
    for name in list(todo):
        _write_progress(run, name, todo)
        state, reason = try_run(partial(_run_benchmark, run, name, model, index), run.folder / LOG)
        if reason is None:
            todo.remove(name)
            continue
        failures.append(Failure(name, state, reason))
        if failures[-1].ends_shard or not _free_memory():
            _log.error("%s ended as %s, and so does the shard", name, state)
            break
        _log.error("%s ended as %s; the other benchmarks are run", name, state)
    return failures


def _write_progress(run: Run, benchmark: str | None, todo: list[str]) -> None:
    wanted = run.spec.shard.benchmarks
    finished = tuple(each for each in wanted if each not in todo)
    progress = Progress(benchmark=benchmark, finished=finished, total=len(wanted), at=datetime.now(UTC))
    write_bytes(run.folder / "progress.json", progress.to_bytes())


def _check_harness(wanted: str) -> None:
    try:
        found = metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        raise NodeError("lm-eval is not installed on this node. Install nightboard[harness] there.") from None
    if found != wanted:
        raise NodeError(
            f"the suite is declared for lm-eval {wanted}, this node has {found}. "
            f"Install lm_eval=={wanted} there, or change harness.version in the suite (that makes a new version of it)."
        )


def _import_harness() -> None:
    """Import what every model needs, before anything of the model is looked at: what fails here is the node's fault."""
    for name in ("torch", "lm_eval.models.huggingface"):
        try:
            import_module(name)
        except MemoryError:
            raise
        except Exception as error:
            raise NodeError(
                f"{name} cannot be imported on this node: {describe_error(error)}. Install nightboard[harness] there."
            ) from error


def _load_model(run: Run) -> Any:
    import torch

    folder = run.store.model_dir(run.spec.evaluation.fingerprint)
    if not (folder / "config.json").is_file():
        raise CacheError(f"{folder}: the model is not in the store's cache. It is fetched again the next night.")
    if run.spec.device.startswith("cuda") and not torch.cuda.is_available():
        raise NodeError(f"device {run.spec.device}: torch {torch.__version__} sees no GPU on this node.")
    return load_model(run.spec, folder)


@lru_cache(maxsize=2)
def _index_tasks(folders: tuple[str, ...]) -> Any:
    """lm-eval's index of its tasks; of all of them (11 s) when no folders are named."""
    import lm_eval.tasks

    if not folders:
        return lm_eval.tasks.TaskManager()
    paths = [Path(lm_eval.tasks.__file__).parent / folder for folder in folders]
    missing = [folder for folder, path in zip(folders, paths, strict=True) if not path.is_dir()]
    if missing:
        raise HarnessError(f"harness.task_folders: lm-eval has no folder {', '.join(missing)} under lm_eval/tasks.")
    return lm_eval.tasks.TaskManager(include_defaults=False, include_path=list(paths))


# ------------------------------------------------------------------------------------------------------- benchmarks


def _run_benchmark(run: Run, name: str, model: Any, index: Any) -> None:
    """Run one benchmark group and leave its folder finished, or leave no folder and raise."""
    from transformers.utils import chat_template_utils

    started_at = datetime.now(UTC)
    with fresh_folder(run.work, name, "partial") as folder:
        with (
            fresh_folder(run.work, name, "datasets") as datasets,
            watch_prompts(model, run.spec.evaluation.backend, chat_template_utils) as prompts,
        ):
            results, tracker = _call_harness(run, name, model, index, datasets, folder)
            asked = prompts.describe(results["samples"])
        _save_outputs(results, tracker, folder)
        finish_benchmark(folder, run.spec, name, _provenance(run), started_at, datetime.now(UTC), asked)
        publish_folder(folder, run.work / name)


def _call_harness(run: Run, name: str, model: Any, index: Any, datasets: Path, folder: Path) -> tuple[Any, Any]:
    """One call of lm-eval for one group, as `lm-eval run` would make it."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    evaluation, suite, benchmark = run.spec.evaluation, run.spec.suite.suite, run.benchmark(name)
    part = run.spec.shard.part
    ranges = task_ranges(suite, part, name)
    _use_datasets(run.store, benchmark, datasets)
    tracker = EvaluationTracker(output_path=str(folder / RESULTS))
    # With `auto` hf keeps the batch that fitted the longest request of its first call; the next benchmark's are longer.
    model.batch_sizes = {}
    try:
        results = simple_evaluate(
            model=model,
            model_args={
                "pretrained": evaluation.model_id, "revision": evaluation.revision, "dtype": evaluation.precision,
            },
            tasks=[benchmark.group] if part.documents is None else list(ranges),
            task_manager=DeclaredTasks(index, benchmark, ranges, is_cut=part.documents is not None),
            batch_size=run.spec.batch_size,
            device=run.spec.device,
            use_cache=str(answers_path(run.work, name, run.store.root)),
            # A task without a list would be run whole, so the tasks named above are exactly those with one.
            limit=suite.limit if part.documents is None else None,
            samples=None if part.documents is None else {task: list(range(*ends)) for task, ends in ranges.items()},
            log_samples=True,
            bootstrap_iters=_BOOTSTRAP_ITERS,
            apply_chat_template=evaluation.chat_template,
            fewshot_as_multiturn=evaluation.chat_template and evaluation.fewshot_as_multiturn,
            evaluation_tracker=tracker,
            numpy_random_seed=suite.seed,
            torch_random_seed=suite.seed,
            fewshot_random_seed=suite.seed,
        )  # fmt: skip
    finally:
        _close_answers(model)
    return results, tracker


def _use_datasets(store: Store, benchmark: Benchmark, folder: Path) -> None:
    """Let `datasets` see the pinned revision, and no other."""
    import datasets

    if not datasets.config.HF_HUB_OFFLINE:
        raise HarnessError(
            "a Hugging Face library was imported before this process went offline; run it in a fresh one."
        )
    dataset = benchmark.dataset
    if dataset.sha is None:
        raise HarnessError(f"data set {dataset.id}: no commit is pinned.")
    try:
        link_dataset(store.dataset_dir(dataset.id, dataset.sha), dataset.sha, folder)
    except FileNotFoundError as error:
        raise CacheError(str(error)) from error
    datasets.logging.set_verbosity_error()  # it warns of being offline at each load
    datasets.config.HF_DATASETS_CACHE = folder
    # Within the run what a task makes of its documents must be read back; see link_dataset.
    datasets.enable_caching()


def _close_answers(model: Any) -> None:
    """Write out the answers and end the thread that holds them."""
    answers = getattr(model.cache_hook, "dbdict", None)
    if answers is not None:
        answers.close()


def _save_outputs(results: Any, tracker: Any, folder: Path) -> None:
    """Let lm-eval write its own files, named without a date. When it cannot it only warns; here that is an error."""
    samples = results.pop("samples")
    with _complaints_of("lm_eval.loggers.evaluation_tracker") as complaints:
        tracker.save_results_aggregated(results=results, samples=samples)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
    if complaints:
        raise HarnessError(f"lm-eval could not save its output: {'; '.join(complaints)}")
    os.rename(folder / f"results_{tracker.date_id}.json", folder / RESULTS)
    for task in results["configs"]:
        os.rename(folder / f"samples_{task}_{tracker.date_id}.jsonl", folder / samples_file(task))


@contextmanager
def _complaints_of(logger_name: str) -> Iterator[list[str]]:
    """Collect a logger's warnings, and the details it gives after them at a lower level."""
    complaints: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING or complaints:
                complaints.append(record.getMessage())

    logger, handler = logging.getLogger(logger_name), Collector()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield complaints
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _provenance(run: Run) -> Provenance:
    import torch

    is_gpu = run.spec.device.startswith("cuda")
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda}
    versions |= {name: _version_of(name) for name in _LIBRARIES}
    return Provenance(
        harness_version=metadata.version("lm_eval"),
        library_versions=json.dumps(versions),
        node=read_node(),
        device=torch.cuda.get_device_name(0) if is_gpu else run.spec.device,
    )


def _version_of(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
