"""Calls lm-eval on a node: runs one benchmark with a loaded model, and saves lm-eval's files.

Only this file and model_loaders.py import lm_eval and torch, and only this one changes datasets' settings. Imports are
inside functions, so that no Hugging Face library is imported before the process is offline.

The model comes from model_loaders.py; validate.py checks what lm-eval wrote.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from nightboard.profiles.models.suite import Benchmark
from nightboard.tasks.evaluation.attempt import read_node
from nightboard.tasks.evaluation.check_prompts import watch_prompts
from nightboard.tasks.evaluation.failure_reasons import CacheError, HarnessError, NodeError, describe_error
from nightboard.tasks.evaluation.model_loaders import load_model
from nightboard.tasks.evaluation.outputs import Provenance, finish_benchmark
from nightboard.tasks.evaluation.sharding import task_ranges
from nightboard.tasks.evaluation.suite_tasks import SuiteTasks
from nightboard.tasks.evaluation.validate import RESULTS, samples_file
from nightboard.tasks.evaluation.workdir import answers_path, fresh_folder, link_dataset, publish_folder
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import AttemptSpec

_log = logging.getLogger(__name__)

# A mean's standard error is exact at any number; resampling is for metrics that no suite here declares. lm-eval's own
# default of 100,000 would only cost time.
_BOOTSTRAP_ITERS = 1000
_LIBRARIES = (
    "torch", "transformers", "tokenizers", "datasets", "huggingface_hub", "accelerate", "lm_eval", "nltk", "numpy",
    "vllm",
)  # fmt: skip


@dataclass(frozen=True)
class NodeRun:
    """One attempt at a shard, on this node."""

    store: Store
    spec: AttemptSpec
    folder: Path

    @property
    def work(self) -> Path:
        return self.store.work_dir(self.spec.evaluation.evaluation_id, self.spec.planned.shard.name)

    def benchmark(self, name: str) -> Benchmark:
        return self.spec.suite.suite.benchmarks[name]


def check_harness(wanted: str) -> None:
    """Raise NodeError unless this node has the version of lm-eval that the suite declares."""
    try:
        installed = metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        raise NodeError("lm-eval is not installed on this node. Install nightboard[harness] there.") from None
    if installed != wanted:
        raise NodeError(
            f"the suite requires lm-eval {wanted}, but this node has {installed}. "
            f"Install lm_eval=={wanted} there, or change harness.version in the suite (that makes a new version of it)."
        )


def import_harness() -> None:
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


def open_model(run: NodeRun) -> Any:
    """The model of an attempt for lm-eval, from the store's cache. Raises CacheError or NodeError."""
    import torch

    folder = run.store.model_dir(run.spec.evaluation.fingerprint)
    if not (folder / "config.json").is_file():
        raise CacheError(f"{folder}: the model is not in the store's cache. The next run downloads it again.")
    if run.spec.device.startswith("cuda") and not torch.cuda.is_available():
        raise NodeError(f"device {run.spec.device}: torch {torch.__version__} sees no GPU on this node.")
    return load_model(run.spec, folder)


@lru_cache(maxsize=2)
def index_tasks(folders: tuple[str, ...]) -> Any:
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


def run_benchmark(run: NodeRun, name: str, model: Any, index: Any) -> None:
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


def _call_harness(run: NodeRun, name: str, model: Any, index: Any, datasets: Path, folder: Path) -> tuple[Any, Any]:
    """One call of lm-eval for one group, as `lm-eval run` would make it."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    evaluation, suite, benchmark = run.spec.evaluation, run.spec.suite.suite, run.benchmark(name)
    shard = run.spec.planned.shard
    ranges = task_ranges(suite, shard, name)
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
            tasks=[benchmark.group] if shard.documents is None else list(ranges),
            task_manager=SuiteTasks(index, benchmark, ranges, is_cut=shard.documents is not None),
            batch_size=run.spec.batch_size,
            device=run.spec.device,
            use_cache=str(answers_path(run.work, name, run.store.root)),
            # A task without a list would be run whole, so the tasks named above are exactly those with one.
            limit=suite.limit if shard.documents is None else None,
            samples=None if shard.documents is None else {task: list(range(*ends)) for task, ends in ranges.items()},
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
        raise HarnessError(f"dataset {dataset.id}: no commit is pinned.")
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


def _provenance(run: NodeRun) -> Provenance:
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
