"""How an attempt's end is told apart: out of memory, out of time, preempted, failed; and who runs it at all."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import NOW

from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.evaluation.attempt import read_job_id, run_attempt
from nightboard.tasks.evaluation.failure_reasons import (
    BenchmarkErrors,
    Failure,
    HarnessError,
    NodeError,
    ShardError,
    State,
)
from nightboard.tasks.evaluation.lease import current_owner
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import AttemptOwner, Outcome

JOB = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_PROCID", "SLURMD_NODENAME")


@pytest.fixture(autouse=True)
def outside_of_any_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*JOB, "SUBMITIT_LOCAL_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def raise_it(error: BaseException, *, cause: BaseException | None = None, log: str = "") -> Callable[[], None]:
    def run() -> None:
        print(log)
        raise error from cause

    return run


def end_of(folder: Path, run: Callable[[], None]) -> tuple[str, str]:
    """State and reason of the outcome."""
    state = run_attempt(folder, run)
    outcome = Outcome.read(folder / "outcome.json")
    assert outcome.state == state
    return outcome.state, str(outcome.reason)


class OutOfMemoryError(RuntimeError):
    """Bears the name of torch's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("Tried to allocate 2 GiB"), "out of GPU memory: OutOfMemoryError: Tried to allocate 2 GiB"),
        (RuntimeError("CUDA out of memory. Tried"), "out of GPU memory: RuntimeError: CUDA out of memory. Tried"),
        (RuntimeError("HIP out of memory."), "out of GPU memory: RuntimeError: HIP out of memory."),
        (RuntimeError("CUDA error: out of memory"), "out of GPU memory: RuntimeError: CUDA error: out of memory"),
        (ValueError("No available memory for the cache blocks."), "out of GPU memory: ValueError: No available"),
        (MemoryError(), "out of host memory: MemoryError: "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of host memory: RuntimeError: DefaultCPU"),
        (OSError(12, "Cannot allocate memory"), "out of host memory: OSError: [Errno 12] Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_no_failure_of_the_model(tmp_path: Path, error: Exception, reason: str) -> None:
    state, said = end_of(tmp_path, raise_it(error))
    assert state == "out_of_memory"
    assert said.startswith(reason.strip()[:60])


def test_a_lack_of_memory_is_seen_through_the_error_that_a_library_made_of_it(tmp_path: Path) -> None:
    error = raise_it(ValueError("loading failed"), cause=RuntimeError("CUDA out of memory"))
    assert end_of(tmp_path, error) == ("out_of_memory", "out of GPU memory: RuntimeError: CUDA out of memory")


def test_a_lack_of_memory_in_vllms_own_process_is_seen_in_the_log(tmp_path: Path) -> None:
    log = "(EngineCore pid=5) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB\n" + "more\n" * 50
    state, reason = end_of(tmp_path, raise_it(RuntimeError("Engine core initialization failed."), log=log))
    assert state == "out_of_memory"
    assert "Tried to allocate 1 GiB" in reason


@pytest.mark.parametrize("error", [RuntimeError("Engine core initialization failed."), KeyError("x")])
def test_another_error_is_a_failure(tmp_path: Path, error: Exception) -> None:
    assert end_of(tmp_path, raise_it(error, log="all is well"))[0] == "failed"


def test_a_log_that_speaks_of_memory_is_no_reason_where_the_error_is_another(tmp_path: Path) -> None:
    log = "CUDA out of memory with batch size 64; trying 32"
    assert end_of(tmp_path, raise_it(KeyError("x"), log=log)) == ("failed", "KeyError: 'x'")


@pytest.mark.parametrize(
    ("state", "reason", "is_over"),
    [
        ("failed", "KeyError: 'x'", False),
        ("invalid", "results.json: acc: not a finite number (got nan).", False),
        ("failed", "AcceleratorError: CUDA error: device-side assert triggered", True),
        ("out_of_memory", "out of GPU memory: ...", True),
        ("timeout", "the job was stopped at its time limit", True),
        ("preempted", "the job was preempted", True),
    ],
)
def test_after_a_failed_benchmark_the_next_one_runs_unless_it_would_fail_too(
    state: State, reason: str, is_over: bool
) -> None:
    assert Failure("bbh", state, reason).ends_shard == is_over


@pytest.mark.parametrize(
    ("states", "worst"),
    [(("invalid", "failed"), "failed"), (("failed", "out_of_memory"), "out_of_memory"), (("invalid",), "invalid")],
)
def test_a_shard_with_failed_benchmarks_ends_as_the_worst_of_them_and_names_all(
    tmp_path: Path, states: tuple[State, ...], worst: str
) -> None:
    errors = BenchmarkErrors([Failure(f"b{number}", state, "why") for number, state in enumerate(states)])
    reason = "; ".join(f"b{number}: why" for number in range(len(states)))
    assert end_of(tmp_path, raise_it(errors)) == (worst, reason)


def test_a_long_reason_does_not_crowd_out_the_other_benchmarks(tmp_path: Path) -> None:
    errors = BenchmarkErrors([Failure(name, "failed", name * 3000) for name in "abc"])
    _, reason = end_of(tmp_path, raise_it(errors))
    assert [part[:6] for part in reason.split("; ")] == ["a: aaa", "b: bbb", "c: ccc"]
    assert len(reason) <= 2000


def test_an_error_that_points_to_itself_ends_too(tmp_path: Path) -> None:
    error, other = ValueError("a"), ValueError("b")
    error.__context__, other.__context__ = other, error
    assert end_of(tmp_path, raise_it(error))[0] == "failed"


NLTK = "Resource punkt_tab not found. >>> import nltk >>> nltk.download('punkt_tab')"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NodeError("no GPU"), "no GPU"),
        (StoreError("store: cannot write here."), "store: cannot write here."),
        (OSError(28, "No space left on device"), "no space left on the disk: OSError: [Errno 28]"),
        (OSError(122, "Disk quota exceeded"), "no space left on the disk: OSError: [Errno 122]"),
        (OSError(30, "Read-only file system", "/cache/x"), "OSError: [Errno 30] Read-only file system: '/cache/x'"),
        (PermissionError(13, "Permission denied", "/cache/x"), "PermissionError: [Errno 13]"),
        (OSError(116, "Stale file handle"), "OSError: [Errno 116] Stale file handle"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "OperationalError: attempt to write"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "a library is missing on this node: Mod"),
        (ImportError("libcudnn.so.9: cannot open shared object file"), "a library is broken on this node: Imp"),
        (OSError("libnccl.so.2: cannot open shared object file"), "OSError: libnccl.so.2"),
        (RuntimeError("No CUDA GPUs are available"), "the GPU of this node does not work: RuntimeError: No CUDA"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "the GPU of this node does not work"),
        (RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802"), "the GPU of this node does not work"),
    ],
)
def test_a_fault_of_the_node_is_not_the_models(tmp_path: Path, error: Exception, reason: str) -> None:
    state, said = end_of(tmp_path, raise_it(error))
    assert state == "environment"
    assert said.startswith(reason)


def test_a_fault_of_the_node_is_seen_through_the_error_that_a_library_made_of_it(tmp_path: Path) -> None:
    error = raise_it(ValueError("loading failed"), cause=OSError(5, "Input/output error"))
    assert end_of(tmp_path, error) == ("environment", "OSError: [Errno 5] Input/output error")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HarnessError("lm-eval has no folder x."), "lm-eval has no folder x."),
        (ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm"), "a package that this model needs "),
        (ImportError("cannot import name 'x'", name="transformers.models"), "a package that this model needs "),
        (ImportError("requires the protobuf library"), "a package that this model needs is missing on the node"),
        (
            ValueError("`tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`."),
            "a package that reads this tokenizer is missing on the node: ValueError: `tiktoken` is required",
        ),
    ],
)
def test_what_the_installation_lacks_for_one_kind_of_model_is_the_harnesss(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    state, said = end_of(tmp_path, raise_it(error))
    assert state == "harness"
    assert said.startswith(reason)


@pytest.mark.parametrize(
    "error",
    [
        ShardError("the model's weights are wrong"),
        ValueError("architectures: No space left on device"),
        ValueError("No CUDA GPUs are available"),
        OSError("lab/x: No space left on device, Read-only file system"),
        RuntimeError("Error(s) in loading state_dict: size mismatch for No CUDA GPUs are available.weight"),
        RuntimeError("CUDA error: device-side assert triggered"),
        FileNotFoundError(2, "No such file or directory", "config.json"),
        LookupError("nothing"),
        KeyError("nltk.download('punkt')"),
    ],
)
def test_words_that_a_repository_can_bring_about_blame_nobody_else(tmp_path: Path, error: Exception) -> None:
    assert end_of(tmp_path, raise_it(error))[0] == "failed"


def test_what_the_cache_lacks_is_neither_the_models_fault_nor_the_nodes(tmp_path: Path) -> None:
    lacks_nltk = end_of(tmp_path, raise_it(LookupError(NLTK)))
    assert lacks_nltk == ("cache_failed", "NLTK data is missing in the store's cache: punkt_tab")


class PanicException(BaseException):
    """How libraries in Rust end, such as a tokenizer's."""


def test_a_panic_of_a_library_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    state, reason = end_of(tmp_path, raise_it(PanicException("range end index 4 out of range")))
    assert state == "failed"
    assert str(reason).startswith("PanicException: range end index 4")


class UncompletedJobError(Exception):
    """Bears the name of submitit's."""


@pytest.fixture
def stop() -> Iterator[Callable[[BaseException], None]]:
    """Lets the signal that submitit answers raise an error."""

    def install(error: BaseException) -> None:
        def answer(*_: object) -> None:
            raise error

        signal.signal(signal.SIGUSR2, answer)

    before = signal.getsignal(signal.SIGUSR2)
    yield install
    signal.signal(signal.SIGUSR2, before)


OUT_OF_TIME = UncompletedJobError("Job not requeued because: timed-out and not checkpointable.")


@pytest.mark.parametrize("is_chained", [True, False])
def test_a_time_limit_that_comes_within_an_import_is_no_missing_package(
    tmp_path: Path, stop: Callable[[BaseException], None], is_chained: bool
) -> None:
    stop(OUT_OF_TIME)

    def import_library() -> None:
        try:
            signal.raise_signal(signal.SIGUSR2)
        except Exception as error:
            missing = ModuleNotFoundError("Could not import module 'AutoModel'", name="transformers")
            raise missing from (error if is_chained else None)

    def import_without_a_word() -> None:
        with contextlib.suppress(Exception):
            import_library()
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    state, reason = end_of(tmp_path, import_library if is_chained else import_without_a_word)
    assert state == "timeout"
    assert "time limit" in reason


def test_an_error_made_of_a_stop_is_the_stop_even_where_the_signal_was_not_seen(tmp_path: Path) -> None:
    error = raise_it(NodeError("torch cannot be imported on this node"), cause=OUT_OF_TIME)
    assert end_of(tmp_path, error)[0] == "timeout"


def test_a_job_that_goes_on_later_leaves_no_outcome_whatever_a_library_makes_of_its_end(
    tmp_path: Path, stop: Callable[[BaseException], None]
) -> None:
    stop(SystemExit(-1))

    def import_library() -> None:
        try:
            signal.raise_signal(signal.SIGUSR2)
        except BaseException as error:
            raise ModuleNotFoundError("No module named 'torch'", name="torch") from error

    with pytest.raises(SystemExit):
        run_attempt(tmp_path, import_library)
    assert not (tmp_path / "outcome.json").exists()


def test_an_answer_to_a_signal_is_given_back_as_it_was(tmp_path: Path, stop: Callable[[BaseException], None]) -> None:
    stop(OUT_OF_TIME)
    before = signal.getsignal(signal.SIGUSR2)
    run_attempt(tmp_path, lambda: None)
    assert signal.getsignal(signal.SIGUSR2) is before


@pytest.mark.parametrize(
    "error",
    [
        subprocess.CalledProcessError(1, ["scontrol", "requeue", "7_0"]),
        subprocess.TimeoutExpired(["scontrol", "requeue", "7_0"], 60),
        FileNotFoundError(2, "No such file or directory", "scontrol"),
    ],
)
def test_a_preempted_job_that_cannot_come_back_is_preempted(tmp_path: Path, error: Exception) -> None:
    state, reason = end_of(tmp_path, raise_it(error))
    assert state == "preempted"
    assert reason.startswith("the job was preempted and could not be put back into the queue: ")


def test_a_file_that_is_missing_is_no_preemption(tmp_path: Path) -> None:
    error = FileNotFoundError(2, "No such file or directory", "config.json")
    assert end_of(tmp_path, raise_it(error))[0] == "failed"


def test_a_job_that_submitit_has_put_back_into_the_queue_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(SystemExit):
        run_attempt(tmp_path, raise_it(SystemExit(-1)))
    assert not (tmp_path / "outcome.json").exists()
    first = current_owner(tmp_path)
    assert first is not None
    dead = first.model_copy(update={"process": first.process.model_copy(update={"started_ticks": 1})})
    (tmp_path / "owner.1.json").write_bytes(dead.to_bytes())
    assert run_attempt(tmp_path, lambda: print("second run")) == "completed"
    assert "second run" in (tmp_path / "log.txt").read_text()


def test_the_cause_of_the_first_run_stays_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    dead = current_process().model_copy(update={"started_ticks": 1})
    claim_file(tmp_path / "owner.1.json", AttemptOwner(kind="job", process=dead, job_id="7", at=NOW).to_bytes())
    (tmp_path / "log.txt").write_text("first run\n")
    run_attempt(tmp_path, lambda: print("second run"))
    assert (tmp_path / "log.txt").read_text() == "first run\nsecond run\n"


def test_an_attempt_with_an_outcome_is_not_run_again(tmp_path: Path) -> None:
    claim_file(tmp_path / "outcome.json", Outcome(state="cancelled", ended_at=NOW).to_bytes())
    assert run_attempt(tmp_path, raise_it(AssertionError("must not run"))) == "left"
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]


def test_of_the_processes_of_a_job_of_several_nodes_the_first_runs_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert run_attempt(tmp_path, raise_it(AssertionError("must not run"))) == "left"
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert run_attempt(tmp_path, lambda: None) == "completed"


def test_a_job_knows_its_id_as_the_launch_wrote_it_down(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert read_job_id() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert read_job_id() == "7_3"


def test_a_local_job_of_a_flow_that_is_a_job_itself_is_a_local_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in JOB:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "4711")
    assert read_job_id() == "4711"
    assert run_attempt(tmp_path, lambda: None) == "completed"


def test_an_outcome_names_the_node_as_the_cluster_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "gpu3")
    run_attempt(tmp_path, lambda: None)
    assert Outcome.read(tmp_path / "outcome.json").node == "gpu3"
