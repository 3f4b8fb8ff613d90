"""An attempt is taken once, ends in one outcome, and leaves a log; what a killed one left is found and sorted."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import NOW
from lm_eval.api.metrics import mean, median

from nightboard.profiles.models.suite import Benchmark, DatasetSpec, TaskSpec
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.evaluation import job
from nightboard.tasks.evaluation.attempt import run_attempt
from nightboard.tasks.evaluation.failure_reasons import ShardError, describe_error
from nightboard.tasks.evaluation.job_log import read_log_tail
from nightboard.tasks.evaluation.suite_tasks import SuiteTasks
from nightboard.tasks.evaluation.validate import OutputError
from nightboard.tasks.evaluation.workdir import answers_path, fresh_folder, link_dataset, publish_folder
from nightboard.tasks.store import files as store_module
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import AttemptOwner, Outcome


def raise_it(error: BaseException) -> Any:
    def run() -> None:
        print("about to fail")
        raise error

    return run


# --------------------------------------------------------------------------------------------------------- attempts


def test_an_attempt_that_completes_has_an_owner_a_log_and_an_outcome(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "77")
    assert run_attempt(tmp_path, lambda: print("hello")) == "completed"
    owner, outcome = AttemptOwner.read(tmp_path / "owner.1.json"), Outcome.read(tmp_path / "outcome.json")
    assert (owner.kind, owner.job_id, owner.process) == ("job", "77", current_process())
    assert (outcome.state, outcome.reason, outcome.job_id, outcome.log_tail) == ("completed", None, "77", ())
    assert (tmp_path / "log.txt").read_text() == "hello\n"


def test_the_log_has_python_prints_logging_and_what_c_code_and_children_print(tmp_path):
    code = f"""
import ctypes, logging, os, sys
from pathlib import Path
from nightboard.tasks.evaluation.job_log import record_log
with record_log(Path({str(tmp_path / "log.txt")!r})):
    print("from print")
    print("from stderr", file=sys.stderr)
    logging.getLogger("some").info("from logging")
    ctypes.CDLL(None).puts(b"from c"); ctypes.CDLL(None).fflush(None)
    os.system("echo from a child")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    log = (tmp_path / "log.txt").read_text()
    for text in ("from print", "from stderr", "INFO some: from logging", "from c", "from a child"):
        assert text in log
    assert done.stdout == log + "after\n"
    assert done.stderr == ""


def test_an_attempt_that_somebody_else_has_is_left_alone(tmp_path):
    owner = AttemptOwner(kind="abandoned", process=current_process(), at=NOW)
    (tmp_path / "owner.1.json").write_bytes(owner.to_bytes())
    assert run_attempt(tmp_path, raise_it(AssertionError("must not run"))) == "left"
    assert [path.name for path in tmp_path.iterdir()] == ["owner.1.json"]


def test_the_first_outcome_counts(tmp_path):
    first = Outcome(state="interrupted", reason="found dead", ended_at=NOW)
    run_attempt(tmp_path, lambda: (tmp_path / "outcome.json").write_bytes(first.to_bytes()) and None)
    assert Outcome.read(tmp_path / "outcome.json") == first


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (ShardError("the model is not there."), "failed", "the model is not there."),
        (OutputError(["a: wrong.", "b: wrong."]), "invalid", "a: wrong.; b: wrong."),
        (StoreError("x: no space left on the disk."), "environment", "x: no space left on the disk."),
        (ValueError("two\nlines"), "failed", "ValueError: two lines"),
    ],
)
def test_an_error_becomes_an_outcome_with_a_reason_in_one_line_and_the_end_of_the_log(tmp_path, error, state, reason):
    assert run_attempt(tmp_path, raise_it(error)) == state
    outcome = Outcome.read(tmp_path / "outcome.json")
    assert (outcome.state, outcome.reason) == (state, reason)
    assert "about to fail" in outcome.log_tail
    assert len(outcome.log_tail) <= 20


def test_a_job_whose_time_is_up_has_timed_out_and_not_failed(tmp_path):
    from submitit.core.utils import UncompletedJobError

    assert run_attempt(tmp_path, raise_it(UncompletedJobError("timed-out and not checkpointable"))) == "timeout"
    assert "time limit" in str(Outcome.read(tmp_path / "outcome.json").reason)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of GPU memory: RuntimeError: CUDA out of"),
        (MemoryError(), "out of host memory: MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of host memory: RuntimeError"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk: OSError: [Errno 28]"),
        (sqlite3.OperationalError("database or disk is full"), "no space left on the disk: OperationalError"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_lack_of_memory_or_disk_is_said_in_words(error, words):
    assert describe_error(error).startswith(words)


def test_a_token_reaches_neither_reason_nor_log_tail(tmp_path):
    token = "hf_" + "a" * 30

    def run() -> None:
        print(f"using {token}")
        raise ValueError(f"bad token {token}")

    run_attempt(tmp_path, run)
    assert token not in (tmp_path / "outcome.json").read_text()
    assert "hf_***" in (tmp_path / "outcome.json").read_text()


def test_the_log_tail_shows_a_progress_bar_once(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"start\n 10%\r 50%\r100%\nend\r\n\n")
    assert read_log_tail(tmp_path / "log.txt") == ("start", "100%", "end")
    assert read_log_tail(tmp_path / "none.txt") == ()


def test_a_disk_too_full_even_for_the_outcome_makes_the_job_fail(tmp_path, monkeypatch):
    def fill_disk() -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(store_module.os, "fsync", full)

    with pytest.raises(StoreError, match="no space left on the disk"):
        run_attempt(tmp_path, fill_disk)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "log.txt", "owner.1.json"]


def test_an_interrupt_is_no_outcome_of_the_shard(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_attempt(tmp_path, raise_it(KeyboardInterrupt()))
    assert not (tmp_path / "outcome.json").exists()


# ---------------------------------------------------------------------------------------------------------- resuming


def write_answers(file: Path, value: bytes = b"") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table unnamed (key text primary key, value blob)")
        database.execute("insert into unnamed values ('a', ?)", (value or pickle.dumps((-1.0, True)),))
        database.commit()


def test_good_answers_are_kept(tmp_path):
    file = tmp_path / "answers" / "bench_rank0.db"
    write_answers(file)
    assert answers_path(tmp_path, "bench", tmp_path) == tmp_path / "answers" / "bench"
    assert file.exists()


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [((math.nan, False), 0), ((-math.inf, True), 0), (math.nan, 0), ((-1.5, True), 1), (-1.5, 1), ("nan", 1)],
)
def test_an_answer_that_is_no_finite_number_is_asked_again(tmp_path, answer, is_kept):
    file = tmp_path / "answers" / "bench_rank0.db"
    write_answers(file, pickle.dumps(answer))
    answers_path(tmp_path, "bench", tmp_path)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("select count(*) from unnamed").fetchone() == (is_kept,)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("damage", ["header", "page", "value", "text"])
def test_damaged_answers_are_set_aside(tmp_path, damage):
    file = tmp_path / "answers" / "bench_rank0.db"
    write_answers(file, b"no pickle" if damage == "value" else b"")
    content = bytearray(file.read_bytes())
    if damage == "header":
        content[:16] = b"x" * 16
    if damage == "page":
        content[-200:] = b"\xff" * 200
    if damage == "text":
        content = bytearray(b"not a database at all")
    file.write_bytes(content)
    answers_path(tmp_path, "bench", tmp_path)
    assert not file.exists()
    assert len(list(file.parent.glob("bench_rank0.db.damaged-*"))) == 1


def test_answers_that_others_may_have_written_are_not_unpickled(tmp_path: Path) -> None:
    class Steals:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "stolen",))

    file = tmp_path / "answers" / "bench_rank0.db"
    write_answers(file, pickle.dumps(Steals()))
    file.chmod(0o666)
    answers_path(tmp_path, "bench", tmp_path)
    assert not (tmp_path / "stolen").exists()
    assert [path.name.partition(".damaged")[0] for path in file.parent.iterdir()] == ["bench_rank0.db"]
    assert not file.exists(), "it is kept under another name"


def test_what_a_killed_attempt_left_half_made_is_removed(tmp_path):
    (tmp_path / ".bench.partial").mkdir()
    (tmp_path / ".bench.partial" / "results.json").write_text("half")
    with fresh_folder(tmp_path, "bench", "partial") as folder:
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_a_benchmark_that_another_attempt_finished_first_is_kept(tmp_path):
    for name, text in (("mine", "mine"), ("bench", "theirs")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    publish_folder(tmp_path / "mine", tmp_path / "bench")
    assert (tmp_path / "bench" / "manifest.json").read_text() == "theirs"


def test_only_the_pinned_revision_is_linked_and_nothing_that_tasks_made_of_it(tmp_path):
    for sha in ("a" * 40, "b" * 40):
        folder = tmp_path / "shared" / "own___data" / "default" / "0.0.0" / sha
        folder.mkdir(parents=True)
        for name in ("dataset_info.json", "data-train.arrow", "cache-1234.arrow"):
            (folder / name).write_text(sha)
    link_dataset(tmp_path / "shared", "a" * 40, tmp_path / "private")
    private = tmp_path / "private"
    found = sorted(path.relative_to(private) for path in private.rglob("*.*") if path.is_file())
    base = Path("own___data", "default", "0.0.0", "a" * 40)
    assert found == [base / "data-train.arrow", base / "dataset_info.json"]
    with pytest.raises(FileNotFoundError, match="not in the store's cache"):
        link_dataset(tmp_path / "shared", "c" * 40, tmp_path / "other")


# ----------------------------------------------------------------------------------------------------- declared tasks


class FakeTask:
    """As much of an lm-eval task as is looked at."""

    DATASET_PATH = "own/data"

    def __init__(self, sha: str = "a" * 40, docs: list[list[int]] | None = None, **config: Any) -> None:
        self.settings = {"num_fewshot": 3, "output_type": "multiple_choice", "generation_kwargs": None} | config
        data = type("Data", (), {"cache_files": [{"filename": f"/cache/own___data/default/0.0.0/{sha}/x.arrow"}]})
        self.dataset = {"test": data}
        self.config = type("Config", (), {"process_docs": docs})
        self.docs = docs or []

    @property
    def eval_docs(self) -> list[int]:
        return self.docs[-1]

    @property
    def task_docs(self) -> list[int]:
        return self.docs[0]

    def get_config(self, key: str) -> Any:
        return self.settings[key]

    def set_config(self, key: str, value: Any) -> None:
        self.settings[key] = value


def load(task: FakeTask, **declared: Any) -> FakeTask:
    values = {
        "title": "T", "group": "group", "dataset": DatasetSpec(id="own/data", sha="a" * 40), "shots": 3,
        "metrics": ("acc",), "aggregate": "mean", "normalize": "task", "tasks": {"one": TaskSpec(samples=4)},
    }  # fmt: skip
    index = type("Index", (), {"load": lambda self, names: {"tasks": {"one": task}}})()
    is_cut = declared.pop("is_cut", False)
    benchmark = Benchmark.model_validate(values | declared)
    SuiteTasks(index, benchmark, benchmark.tasks, is_cut=is_cut).load(["group"])
    return task


def test_a_task_as_declared_is_not_touched():
    task = FakeTask(output_type="generate_until", generation_kwargs={"max_gen_toks": 8})
    before = dict(task.settings)
    assert load(task, max_new_tokens=8).settings == before


def test_declared_shots_and_answer_length_replace_the_tasks_own():
    kwargs = {"max_gen_toks": 1024, "until": ["x"]}
    task = load(FakeTask(output_type="generate_until", generation_kwargs=kwargs), shots=5, max_new_tokens=8)
    assert task.settings["num_fewshot"] == 5
    assert task.settings["generation_kwargs"] == {"max_gen_toks": 8, "until": ["x"]}
    assert kwargs["max_gen_toks"] == 1024


class Split(list[int]):
    """As much of a data set as is looked at."""

    cache_files = ({"filename": f"/cache/own___data/default/0.0.0/{'a' * 40}/x.arrow"},)

    def select(self, numbers: Any, keep_in_memory: bool) -> list[int]:
        return [self[number] for number in numbers]


class CutTask(FakeTask):
    """A task whose documents are made by `process_docs`, once: lm-eval reads them back from a cache within a run."""

    def __init__(
        self, process_docs: Any = list, sampler: str | None = "first_n", aggregate: Any = mean, **config: Any
    ) -> None:
        super().__init__(**config)
        fewshot = type("Fewshot", (), {"sampler": sampler})
        names = {"process_docs": process_docs, "fewshot_config": fewshot, "test_split": "test"}
        self.config = type("Config", (), names)
        self.dataset = {"test": Split(range(50))}
        self.aggregate = aggregate
        self.docs = [process_docs(self.dataset["test"])]

    def aggregation(self) -> dict[str, Any]:
        return {"acc": self.aggregate}


def shuffle_by_python(docs: list[int]) -> list[int]:
    return random.sample(docs, len(docs))


def shuffle_by_numpy(docs: list[int]) -> list[int]:
    return [int(number) for number in np.random.permutation(docs)]


@pytest.mark.parametrize(
    ("task", "declared"), [(CutTask(), {}), (CutTask(sorted), {}), (CutTask(sampler=None, num_fewshot=0), {"shots": 0})]
)
def test_a_task_with_fixed_prompts_may_be_cut(task, declared):
    load(task, is_cut=True, **declared)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (CutTask(sampler=None), "one: its few-shot examples are drawn at random (default), so it cannot be split."),
        # The suite's shots count, not those that the task would have had by itself.
        (CutTask(sampler=None, num_fewshot=None), "one: its few-shot examples are drawn at random (default)"),
        (CutTask(shuffle_by_python), "one: makes its documents with random numbers, so it cannot be split."),
        (CutTask(shuffle_by_numpy), "one: makes its documents with random numbers, so it cannot be split."),
        (CutTask(aggregate=median), "one: acc is not a mean over documents but median, so it cannot be split."),
        (CutTask(aggregate=partial(mean)), "one: acc is not a mean over documents but functools.partial("),
    ],
)
def test_a_task_that_a_cut_would_change_is_refused_and_only_then(task, reason):
    with pytest.raises(OutputError) as caught:
        load(task, is_cut=True)
    assert [each for each in caught.value.reasons if each.startswith(reason)], caught.value.reasons
    load(task)


def test_looking_whether_a_task_may_be_cut_draws_no_random_number():
    random.seed(7), np.random.seed(7)
    expected = random.random(), np.random.random()
    random.seed(7), np.random.seed(7)
    load(CutTask(sorted), is_cut=True)
    assert (random.random(), np.random.random()) == expected


@pytest.mark.parametrize(
    ("task", "declared", "reason"),
    [
        (FakeTask(sha="b" * 40), {}, f"one: split test is of revision {'b' * 40} (the suite declares {'a' * 40})."),
        (FakeTask(), {"dataset": DatasetSpec(id="own/other", sha="a" * 40)}, "one: uses the dataset own/data"),
        (FakeTask(num_fewshot=0), {}, "one: lm-eval allows no few-shot examples here (the suite declares 3)."),
        (FakeTask(), {"tasks": {"one": TaskSpec(samples=1), "two": TaskSpec(samples=1)}}, "two: lm-eval's group"),
        (FakeTask(docs=[[1, 2], [2, 1]]), {}, "one: its documents change each time they are read"),
    ],
)
def test_a_task_that_cannot_be_run_as_declared_is_refused(task, declared, reason):
    with pytest.raises(OutputError) as caught:
        load(task, **declared)
    assert caught.value.reasons[0].startswith(reason)


# --------------------------------------------------------------------------------------------- before anything is run


def run_node_code(code: str, *arguments: Path) -> str:
    """Run code in a process of its own, as a job is, and return what it printed last."""
    env = os.environ | {"HF_TOKEN": "hf_secret", "HF_DATASETS_CACHE": "/elsewhere"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return done.stdout.splitlines()[-1]


def test_importing_the_node_code_imports_nothing_of_hugging_face():
    code = """
import sys, json
import nightboard.tasks.evaluation.job
heavy = ("torch", "transformers", "datasets", "huggingface_hub", "lm_eval", "nltk")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    assert json.loads(run_node_code(code)) == []


def test_a_job_is_offline_and_without_tokens_before_it_does_anything(tmp_path):
    (tmp_path / "runs" / "e" / "all" / "1").mkdir(parents=True)
    code = """
import os, sys, json
from nightboard.tasks.evaluation.job import run_job
states = run_job(sys.argv[1], ["runs/e/all/1"])
names = ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HOME", "NLTK_DATA"]
names += ["HF_TOKEN", "HF_DATASETS_CACHE"]
print(json.dumps([states, {name: os.environ.get(name) for name in names}]))
"""
    states, env = json.loads(run_node_code(code, tmp_path))
    assert states == ["environment"], "there is no spec"
    assert "spec.json: cannot be read as AttemptSpec" in str(
        Outcome.read(tmp_path / "runs" / "e" / "all" / "1" / "outcome.json").reason
    )
    assert env == {
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "runs" / "e" / "all" / "work" / ".hf"),
        "NLTK_DATA": str(tmp_path / "cache" / "nltk_data"), "HF_TOKEN": None, "HF_DATASETS_CACHE": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "ran"), [("timeout", 1), ("preempted", 1), ("failed", 2), ("out_of_memory", 2), ("left", 2)]
)
def test_a_job_that_is_being_stopped_begins_nothing_more(tmp_path, monkeypatch, state, ran):
    monkeypatch.setattr(job, "_go_offline", lambda *_: None)
    monkeypatch.setattr(job, "run_attempt", lambda *_: state)
    assert job.run_job(str(tmp_path), ["a", "b"]) == [state] * ran


@pytest.mark.parametrize(("is_dead", "ran"), [(True, 1), (False, 2)])
def test_after_a_model_has_killed_the_gpu_no_other_is_tried_on_it(tmp_path, monkeypatch, is_dead, ran):
    def answer() -> None:
        if is_dead:
            raise RuntimeError("CUDA error: device-side assert triggered")

    cuda = SimpleNamespace(is_available=lambda: True, synchronize=answer, empty_cache=answer)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(job, "_go_offline", lambda *_: None)
    monkeypatch.setattr(job, "run_attempt", lambda *_: "failed")
    assert job.run_job(str(tmp_path), ["a", "b"]) == ["failed"] * ran


def test_a_job_whose_attempt_folder_is_gone_runs_the_others_and_fails(tmp_path):
    (tmp_path / "runs" / "e" / "all" / "2").mkdir(parents=True)
    code = """
import sys
from nightboard.tasks.evaluation.job import run_job
from nightboard.tasks.store.layout import StoreError
try:
    run_job(sys.argv[1], ["runs/e/all/1", "runs/e/all/2"])
except StoreError as error:
    print(error)
"""
    assert "all/1: no outcome could be written: the attempt's folder does not exist" in run_node_code(code, tmp_path)
    assert (tmp_path / "runs" / "e" / "all" / "2" / "outcome.json").exists()
