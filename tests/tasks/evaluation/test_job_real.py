"""What runs on a node, with the real lm-eval: complete, resumed, offline, and refused when it is not as declared."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from node import FilledCache, Node, small_suite
from warm import cold, warm_job

from nightboard.profiles.models.suite import Harness, TaskSpec
from nightboard.tasks.evaluation.outputs import check_finished
from nightboard.tasks.store.records import Outcome, Progress, Shard

pytestmark = pytest.mark.real

# Counts the model's calls in a file, and kills the process inside the n-th one.
COUNT_CALLS = """
import os, signal
import nightboard.tasks.evaluation.job as module
load = module.open_model
def load_counted(run):
    model = load(run)
    call = model._model_call
    def counted(*args, **kwargs):
        with open({file!r}, "a") as file:
            file.write("call\\n")
        if sum(1 for _ in open({file!r})) == {kill_at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    model._model_call = counted
    return model
module.open_model = load_counted
"""


def count_calls(file: Path, kill_at: int = -1) -> str:
    return COUNT_CALLS.format(file=str(file), kill_at=kill_at)


def calls_in(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def scores_of(node: Node, *benchmarks: str) -> list[dict[str, Any]]:
    """Rows of the benchmarks' scores, without the seconds that they took."""
    files = [node.work / benchmark / "task_scores.parquet" for benchmark in benchmarks]
    return [row for file in files for row in pq.read_table(file).drop_columns("benchmark_s").to_pylist()]


def outcome_of(folder: Path) -> Outcome:
    return Outcome.read(folder / "outcome.json")


# --------------------------------------------------------------------------------------------------------- completing


def test_a_shard_completes_as_lm_eval_alone_would_score_it_and_is_not_redone(node, filled_cache, tmp_path):
    folder = node.prepare()
    done = node.run(folder)
    assert "STATES ['completed']" in done.stdout, done.stderr
    assert outcome_of(folder).state == "completed"
    benchmarks = list(node.suite.benchmarks)
    for benchmark in benchmarks:
        assert check_finished(node.work / benchmark, node.suite, Shard(benchmarks=(benchmark,)), benchmark) == []
    assert sorted(path.name for path in node.work.iterdir()) == sorted([*benchmarks, "answers"])
    progress = Progress.read(folder / "progress.json")
    assert (progress.benchmark, progress.finished, progress.total) == (None, tuple(benchmarks), 4)

    # The same documents and scores as one call of lm-eval for all groups. GPQA comes first in it: its shuffle depends
    # on the groups that were loaded before, as lm-eval draws a random number whenever it adds a task to a group.
    groups = [node.suite.benchmarks[name].group for name in ("gpqa", "mmlu_pro", "ifeval", "musr")]
    alone = run_reference(filled_cache, tmp_path / "alone", groups)
    rows = scores_of(node, *benchmarks)
    assert {row["task"] for row in rows} == set(alone)
    for row in rows:
        documents, scores = alone[row["task"]]
        assert row["doc_set_hash"] == documents, row["task"]
        assert row["value"] == scores[f"{row['metric']},{row['filter']}"]

    # Provenance.
    [row] = [row for row in rows if row["benchmark"] == "mmlu_pro"]
    versions = json.loads(row["library_versions"])
    assert versions["lm_eval"] == row["harness_version"] == "0.4.13"
    assert {"python", "torch", "transformers", "datasets", "cuda"} <= set(versions)
    assert (row["n_shot"], row["n_samples"], row["task_version"], row["batch_size"]) == (5, 40, "0.1", "4")
    assert (row["dataset_sha"], row["device"]) == (filled_cache.shas["TIGER-Lab/MMLU-Pro"], "cpu")
    assert row["chat_template_hash"] is None and len(row["task_hash"]) == 64
    raw = json.loads((node.work / "mmlu_pro" / "results.json").read_text())
    assert (raw["model_name"], raw["config"]["model_revision"]) == ("own/tiny", "1" * 40)
    samples = pq.read_table(node.work / "ifeval" / "samples.parquet").to_pylist()
    assert {row["weight"] for row in samples if row["metric"] == "inst_level_strict_acc"} == {1.0, 2.0}

    # Nothing of what tasks made of the documents is left beside the shared data sets.
    assert list((filled_cache.folder / "datasets").rglob("cache-*.arrow")) == []

    # Another attempt finds everything finished and does not even load the model.
    before = {path: path.stat().st_mtime_ns for path in node.work.rglob("*")}
    again = node.prepare(attempt=2)
    assert "STATES ['completed']" in node.run(again).stdout
    assert {path: path.stat().st_mtime_ns for path in node.work.rglob("*")} == before
    assert "all are finished already" in (again / "log.txt").read_text()
    assert "Loading weights" not in (again / "log.txt").read_text()


def run_reference(cache: FilledCache, work: Path, groups: list[str]) -> dict[str, Any]:
    script = Path(__file__).with_name("reference_run.py")
    command = warm_job(script.read_text(), str(cache.folder), str(work), *groups)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_limited_suite_with_chat_template_and_automatic_batch_size_completes(make_node):
    node = make_node(limit=2)
    folder = node.prepare(benchmarks=("mmlu_pro", "ifeval"), chat_template=True, batch_size="auto")
    done = node.run(folder)
    assert "STATES ['completed']" in done.stdout, done.stderr
    rows = scores_of(node, "mmlu_pro", "ifeval")
    assert {row["n_samples"] for row in rows} == {2}
    assert {row["batch_size"] for row in rows} == {"auto"}
    [template] = {row["chat_template_hash"] for row in rows}
    assert template is not None
    sample = json.loads((node.work / "mmlu_pro" / "samples_leaderboard_mmlu_pro.jsonl").read_text().splitlines()[0])
    prompt = sample["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.count("<|user|>") == 6 and prompt.count("<|assistant|>") == 6


# ----------------------------------------------------------------------------------------------------------- resuming


def test_a_shard_killed_inside_a_benchmark_redoes_at_most_one_batch_and_scores_the_same(make_node, tmp_path):
    straight = make_node()
    whole = straight.prepare(benchmarks=("musr", "mmlu_pro"))
    assert "completed" in straight.run(whole, before=count_calls(tmp_path / "straight")).stdout
    expected_rows, expected_calls = scores_of(straight, "musr", "mmlu_pro"), calls_in(tmp_path / "straight")

    node = make_node()
    first = node.prepare(benchmarks=("musr", "mmlu_pro"))
    kill_at = expected_calls - 4
    killed = node.run(first, before=count_calls(tmp_path / "killed", kill_at))
    assert killed.returncode == -signal.SIGKILL
    assert not (first / "outcome.json").exists()
    assert Progress.read(first / "progress.json").benchmark == "mmlu_pro"
    assert (node.work / "musr" / "manifest.json").exists() and not (node.work / "mmlu_pro").exists()
    musr = (node.work / "musr" / "manifest.json").stat().st_mtime_ns

    done = node.run(node.prepare(attempt=2, benchmarks=("musr", "mmlu_pro")), before=count_calls(tmp_path / "second"))
    assert "STATES ['completed']" in done.stdout, done.stderr
    answered = kill_at - 1
    assert answered + calls_in(tmp_path / "second") - expected_calls <= 1
    assert (node.work / "musr" / "manifest.json").stat().st_mtime_ns == musr
    assert scores_of(node, "musr", "mmlu_pro") == expected_rows
    assert sorted(path.name for path in node.work.iterdir()) == ["answers", "mmlu_pro", "musr"]


def test_a_finished_benchmark_that_was_damaged_is_set_aside_and_made_again_from_its_answers(node, tmp_path):
    assert "completed" in node.run(node.prepare(benchmarks=("musr",))).stdout
    before = scores_of(node, "musr")
    samples = node.work / "musr" / "samples_leaderboard_musr_team_allocation.jsonl"
    samples.write_bytes(samples.read_bytes()[:-10])
    done = node.run(node.prepare(attempt=2, benchmarks=("musr",)), before=count_calls(tmp_path / "calls"))
    assert "STATES ['completed']" in done.stdout, done.stderr
    assert calls_in(tmp_path / "calls") == 0
    assert scores_of(node, "musr") == before
    assert len(list(node.work.glob("musr.damaged-*"))) == 1


def test_broken_answers_are_set_aside_and_the_benchmark_starts_again(node, tmp_path):
    (node.work / "answers").mkdir(parents=True)
    (node.work / "answers" / "musr_rank0.db").write_text("this is no database" * 1000)
    done = node.run(node.prepare(benchmarks=("musr",)), before=count_calls(tmp_path / "calls"))
    assert "STATES ['completed']" in done.stdout, done.stderr
    assert calls_in(tmp_path / "calls") > 0
    assert len(list((node.work / "answers").glob("musr_rank0.db.damaged-*"))) == 1


def test_of_two_processes_with_the_same_attempt_one_runs_and_one_leaves(node):
    folder = node.prepare(benchmarks=("musr",))
    jobs = [
        subprocess.Popen(node.command(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    states = sorted(job.communicate(timeout=900)[0].split("STATES ")[1].strip() for job in jobs)
    assert states == ["['completed']", "['left']"]


# ------------------------------------------------------------------------------------------------------------- trouble


def test_a_missing_model_fails_with_a_reason_and_the_next_shard_of_the_job_runs(node):
    lost, good = node.prepare(fingerprint="gone"), node.prepare(attempt=2, benchmarks=("musr",))
    done = node.run(lost, good)
    assert "STATES ['cache_failed', 'completed']" in done.stdout, done.stderr

    outcome = outcome_of(lost)
    assert str(outcome.reason).endswith("gone: the model is not in the store's cache. The next run downloads it again.")
    assert outcome.log_tail


def test_another_lm_eval_version_fails_before_anything_is_loaded(make_node):
    node = make_node(harness=Harness(version="0.4.12", task_folders=("leaderboard",)))
    folder = node.prepare(fingerprint="gone")
    say = "import atexit; atexit.register(lambda: print('torch loaded', 'torch' in sys.modules))"
    done = node.run(folder, before=say, python=cold)
    assert "torch loaded False" in done.stdout
    assert str(outcome_of(folder).reason).startswith("the suite requires lm-eval 0.4.12, but this node has 0.4.13.")
    assert "Loading" not in (folder / "log.txt").read_text()


def test_fewer_samples_than_declared_are_invalid_and_not_finished(node):
    musr, task = node.suite.benchmarks["musr"], "leaderboard_musr_team_allocation"
    more = musr.model_copy(update={"tasks": {**musr.tasks, task: TaskSpec(samples=5)}})
    node.suite = node.suite.model_copy(update={"benchmarks": {"musr": more}})
    folder = node.prepare()
    node.run(folder)
    outcome = outcome_of(folder)
    assert outcome.state == "invalid"
    assert f"samples_{task}.jsonl: filter none: the suite declares 5 documents (got 3 lines)." in str(outcome.reason)
    assert f"n-samples.{task}.effective: the suite declares 5 scored documents (got 3)." in str(outcome.reason)
    assert [path.name for path in node.work.iterdir()] == ["answers"]


def test_a_save_error_that_lm_eval_only_warns_of_is_a_failure(node):
    folder = node.prepare(benchmarks=("musr",))
    elsewhere = """
import nightboard.tasks.evaluation.harness as module
call = module._call_harness
def call_and_lose(*args):
    results, tracker = call(*args)
    tracker.output_path = "/proc/no/such/results.json"
    return results, tracker
module._call_harness = call_and_lose
"""
    node.run(folder, before=elsewhere)
    outcome = outcome_of(folder)
    assert outcome.state == "harness"
    assert str(outcome.reason).startswith(
        "musr: lm-eval could not save its output: Could not save results aggregated; FileNot"
    )
    assert not (node.work / "musr").exists()


def test_a_local_folder_with_a_datasets_name_is_not_taken_for_it(node, tmp_path, monkeypatch):
    """The data set library prefers a folder in the working directory over its cache."""
    fake = tmp_path / "TAUR-Lab" / "MuSR"
    fake.mkdir(parents=True)
    row = json.dumps(
        {"narrative": "x", "question": "q", "choices": "['a', 'b']", "answer_index": 0, "answer_choice": "a"}
    )
    for split in ("murder_mysteries", "object_placements", "team_allocation"):
        (fake / f"{split}.jsonl").write_text(f"{row}\n" * 3)
    configs = [{"split": path.stem, "path": path.name} for path in fake.iterdir()]
    (fake / "README.md").write_text(
        f"---\nconfigs: {json.dumps([{'config_name': 'default', 'data_files': configs}])}\n---\n"
    )
    monkeypatch.chdir(tmp_path)
    folder = node.prepare(benchmarks=("musr",))
    node.run(folder)
    assert outcome_of(folder).state == "invalid"
    assert "leaderboard_musr_murder_mysteries: split murder_mysteries is of revision" in str(outcome_of(folder).reason)


def test_a_dataset_that_was_not_fetched_is_a_failure_and_no_request(node, filled_cache):
    node.suite = small_suite(filled_cache.shas | {"TAUR-Lab/MuSR": "f" * 40})
    folder = node.prepare(benchmarks=("musr",))
    node.run(folder)
    assert outcome_of(folder).state == "cache_failed"
    assert "the dataset is not in the store's cache" in str(outcome_of(folder).reason)


def test_an_automatic_batch_is_found_again_for_each_benchmark(node: Node) -> None:
    folder = node.prepare(benchmarks=("musr", "mmlu_pro"), batch_size="auto")
    node.run(folder)
    assert outcome_of(folder).state == "completed"
    assert (folder / "log.txt").read_text().count("Determined largest batch size") == 2


# ----------------------------------------------------------------------------- one benchmark, one shard, and the others

SPOIL = """
import nightboard.tasks.evaluation.harness as module
call, errors = module._call_harness, {errors}
def spoil(run, name, *args):
    if name in errors:
        raise errors[name]
    return call(run, name, *args)
module._call_harness = spoil
"""


def spoil(**errors: BaseException) -> str:
    """Code that makes benchmarks fail."""
    return SPOIL.format(errors=errors)


def test_a_benchmark_that_fails_does_not_end_its_shard_and_the_next_attempt_runs_it_alone(node: Node) -> None:
    benchmarks = ("ifeval", "gpqa", "musr")
    first = node.prepare(benchmarks=benchmarks)
    node.run(first, before=spoil(ifeval=KeyError("no such key"), gpqa=ValueError("no such value")))
    outcome = outcome_of(first)
    assert (outcome.state, outcome.reason) == (
        "failed",
        "ifeval: KeyError: 'no such key'; gpqa: ValueError: no such value",
    )
    progress = Progress.read(first / "progress.json")
    assert (progress.benchmark, progress.finished, progress.total) == (None, ("musr",), 3)
    assert sorted(path.name for path in node.work.iterdir()) == ["answers", "musr"]

    again = node.prepare(attempt=2, benchmarks=benchmarks)
    node.finish(again)
    assert "2 of 3 benchmarks to run: ifeval, gpqa" in (again / "log.txt").read_text()


def test_a_lack_of_memory_ends_the_shard_at_once(node: Node) -> None:
    folder = node.prepare(benchmarks=("ifeval", "gpqa", "musr"))
    node.run(folder, before=spoil(ifeval=KeyError("x"), gpqa=MemoryError("too much")))
    outcome = outcome_of(folder)
    assert (outcome.state, outcome.reason) == (
        "out_of_memory",
        "ifeval: KeyError: 'x'; gpqa: out of host memory: MemoryError: too much",
    )
    assert not (node.work / "musr").exists()


def test_libraries_that_one_shard_of_a_job_imported_speak_in_the_log_of_the_next(node: Node) -> None:
    say = """
import nightboard.tasks.evaluation.job as module
def say(run):
    import datasets, transformers
    for library in (transformers, datasets):
        library.utils.logging.get_logger(library.__name__).warning("a word of " + library.__name__)
    raise module.ShardError("enough")
module.open_model = say
"""
    folders = [node.prepare(attempt=attempt) for attempt in (1, 2)]
    node.run(*folders, before=say)
    for folder in folders:
        log = (folder / "log.txt").read_text()
        assert "a word of transformers" in log and "a word of datasets" in log
        assert "I/O operation on closed file" not in log


# ------------------------------------------------------------------------------------- what it was asked and answered

DATED = """
import shutil
import nightboard.tasks.evaluation.job as module
load, free = module.open_model, module._free_memory
def load_dated(run):
    model = load(run)
    model.tokenizer.chat_template = "Today is {{{{ strftime_now('%d %b %Y') }}}}. " + model.tokenizer.chat_template
    return model
module.open_model = load_dated
def forget():
    if not module.Path({aside!r}).exists():
        shutil.move({work!r} + "/mmlu_pro", {aside!r})
    return free()
module._free_memory = forget
"""


def test_cut_prompts_are_counted_and_every_template_prints_one_date_also_with_answers_of_an_earlier_attempt(
    node: Node, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"chat_template": True, "model_args": {"max_length": 413}, "benchmarks": ("mmlu_pro",)}
    first, again = node.prepare(**changes), node.prepare(attempt=2, **changes)
    aside = tmp_path / "aside"
    node.finish_with(DATED.format(work=str(node.work), aside=str(aside)), first, again)
    [row] = pq.read_table(aside / "task_scores.parquet").to_pylist()
    lines = (aside / "samples_leaderboard_mmlu_pro.jsonl").read_text().splitlines()
    asked = [json.loads(line)["arguments"]["gen_args_0"] for line in lines]
    assert all(each["arg_0"].startswith("Today is 26 Jul 2024. ") for each in asked)
    # A token a letter; what lm-eval says of each cut request is in the log.
    n_cut = sum(len(each["arg_0"] + each["arg_1"]) > 414 for each in asked)
    assert 0 < n_cut < 40
    assert (row["cut_prompts"], row["prompt_date"]) == (n_cut, "2024-07-26")
    assert (first / "log.txt").read_text().count("tokens from the left") == n_cut
    assert "Requests remaining: 0" in (again / "log.txt").read_text()
    [row_again] = scores_of(node, "mmlu_pro")
    assert row_again == {name: value for name, value in row.items() if name != "benchmark_s"}


BREAK_ONCE = """
import nightboard.tasks.evaluation.job as module
load = module.open_model
def load_broken(run):
    model = load(run)
    model.model.lm_head.weight.data[7] = float("nan")
    module.open_model = load
    return model
module.open_model = load_broken
"""


def test_a_model_that_computes_nan_is_invalid_and_its_answers_are_asked_again(node: Node) -> None:
    broken, mended = node.prepare(benchmarks=("musr",)), node.prepare(attempt=2, benchmarks=("musr",))
    done = node.run(broken, mended, before=BREAK_ONCE)
    assert "STATES ['invalid', 'completed']" in done.stdout, done.stdout + done.stderr
    reason = str(outcome_of(broken).reason)
    for task in ("murder_mysteries", "object_placements", "team_allocation"):
        said = f"samples_leaderboard_musr_{task}.jsonl: 3 of 3 documents (100.0%) have an answer that is not a finite"
        assert f"{said} number; the first is document 0 (got nan)." in reason
    assert "stored answers are NaN or infinite and are computed again" in (mended / "log.txt").read_text()
    assert {row["not_finite_answers"] for row in scores_of(node, "musr")} == {0}
