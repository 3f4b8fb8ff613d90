"""Benchmarks: every row is a ratio against a peer or a limit that is measured in the same run. Asserts no time.

Run with `make bench`, or some of them with `make bench ONLY=plan,rank`.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from builders import make_commit, make_suite
from served_hub import make_model, serve_hub

from nightboard.flows.display.console import make_console
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.watchlist import WatchList
from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.planning.history import History
from nightboard.tasks.planning.plan import PlanInputs, make_plan

N_EVALUATIONS = 1000
N_COMMITS = 100_000


@dataclass(frozen=True)
class Row:
    """One measurement beside what it is measured against; `ratio` is ours / theirs."""

    what: str
    ours: str
    against: str
    theirs: str
    ratio: float


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    start, seconds = time.perf_counter(), [0.0]
    yield seconds
    seconds[0] = time.perf_counter() - start


def bench_plan() -> Iterator[Row]:
    """Planning 100,000 new commits against only hashing their identities, which no planner can leave out."""
    commits = [
        make_commit(f"lab-{index % 997}/m{index}", f"{index % 10}", fingerprint=f"f{index}")
        for index in range(N_COMMITS)
    ]
    inputs = PlanInputs(
        board="bench",
        watch=WatchList(watchlist="bench", organizations=("lab",)),
        suites=[make_suite()],
        cluster=Cluster(cluster="bench", executor="dry", max_jobs=300, tiers=(Tier(name="all", up_to_params_b=100),)),
        commits=commits,
        history=History(),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    with stopwatch() as ours:
        plan = make_plan(inputs)
    with stopwatch() as theirs:
        for evaluation in plan.evaluations:
            hash_json(evaluation.model_dump())
    yield Row(
        f"plan {N_COMMITS:,} commits", f"{ours[0]:.1f} s", "hash the same identities", f"{theirs[0]:.1f} s",
        ours[0] / theirs[0],
    )  # fmt: skip


BOARD = """
board: bench
title: Bench
watch: bench
suites: [demo]
cluster: bench
store: store
hub: {endpoint}
"""
WATCHLIST = "watchlist: bench\norganizations: [lab]\n"
CLUSTER = """
cluster: bench
executor: dry
max_jobs: 1000
fetch_parallelism: 8
tiers: [{name: cpu, up_to_params_b: 100}]
"""


def bench_launch() -> Iterator[Row]:
    """From the flow's start to 1,000 submitted jobs, against only listing and downloading the same models."""
    from nightboard.flows.demo.questions import make_datasets

    with tempfile.TemporaryDirectory() as name, serve_hub(page_size=1000) as hub:
        folder = Path(name)
        for repo_id, files in make_datasets().items():
            hub.loopback.create_repo(repo_id, "dataset")
            hub.loopback.commit(repo_id, files, "Add the questions", kind="dataset")
        for index in range(N_EVALUATIONS):
            files = make_model() | {"config.json": b'{"architectures": ["LlamaForCausalLM"], "n": %d}' % index}
            hub.add(f"lab/m{index}", files)
        for kind, text in {
            "board": BOARD.format(endpoint=hub.url), "watchlists/bench": WATCHLIST, "clusters/bench": CLUSTER,
        }.items():  # fmt: skip
            path = folder / f"{kind}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        _give_punkt(folder / "store")
        ours = _time_night(folder)
        with stopwatch() as theirs:
            _download_all(hub.url, folder / "plain")
    yield Row(
        f"flow start to {N_EVALUATIONS:,} jobs submitted", f"{ours:.0f} s", "list and snapshot_download the models",
        f"{theirs[0]:.0f} s", ours / theirs[0],
    )  # fmt: skip


def _give_punkt(store: Path) -> None:
    from nightboard.flows.demo.scenes import write_punkt
    from nightboard.tasks.store.layout import Store

    write_punkt(Store(store).nltk_dir)


def _time_night(folder: Path) -> float:
    """Seconds from the start of the flow to the last job handed over."""
    from nightboard.flows.nightly import run_nightly
    from nightboard.tasks.store.records import Submission

    started = datetime.now(UTC)
    # A thousand lines about jobs that were not really started would push the result off the screen.
    with contextlib.redirect_stdout(io.StringIO()):
        report = run_nightly(str(folder / "board.yaml"), None, 0)
    files = list((folder / "store/launches").glob("*/submission.json"))
    submitted = sum(len([job for job in Submission.read(file).job_ids if job]) for file in files)
    assert submitted == N_EVALUATIONS == len(report.plan.evaluations), submitted
    return max(file.stat().st_mtime for file in files) - started.timestamp()


def _download_all(endpoint: str, folder: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint)
    models = list(api.list_models(author="lab", expand=["sha"]))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda m: api.snapshot_download(m.id, revision=m.sha, local_dir=folder / m.id), models))


def bench_overhead() -> Iterator[Row]:
    """One evaluation from submission to rows in the lake, against `lm-eval run` on the same model and tasks."""
    from world import CLUSTER as WORLD_CLUSTER
    from world import make_models, open_world

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The harness is to find the model that was fetched.
        cluster = f"{WORLD_CLUSTER}keep_models: true\n"
        with open_world(folder, make_models(folder / "models"), cluster=cluster) as world:
            world.hub.delete_repo("lab/weak")
            (folder / "suites/small.yaml").write_text("suite: small\ntitle: Small\nextends: demo\nonly: [bbh, musr]\n")
            report = world.night()
            assert len(report.evaluated) == 1, report
            ours = _elapsed(world.store.root)
            with stopwatch() as theirs:
                _run_lm_eval(folder)
    yield Row(
        "one evaluation, submitted to collected", f"{ours:.0f} s", "`lm-eval run`, same model and tasks",
        f"{theirs[0]:.0f} s", ours / theirs[0],
    )  # fmt: skip


def _elapsed(store: Path) -> float:
    """Seconds from the launch record to the evaluation's outcome in the lake."""
    launch = next(store.glob("launches/*/launch.json")).stat().st_mtime
    return next(store.glob("lake/outcomes/*")).stat().st_mtime - launch


def _run_lm_eval(folder: Path) -> None:
    """The same groups, batch size and precision through the harness's own command, from the same caches."""
    store = folder / "store"
    cache = folder / "lm-eval-datasets"
    cache.mkdir()
    for built in store.glob("cache/datasets/*/*/*"):
        if built.is_dir() and not (cache / built.name).exists():
            (cache / built.name).symlink_to(built)
    model = next((store / "cache/models").iterdir())
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
        f"pretrained={model},dtype=float32", "--tasks", "leaderboard_bbh,leaderboard_musr", "--batch_size", "8",
        "--device", "cpu", "--output_path", str(folder / "plain"), "--log_samples",
    ]  # fmt: skip
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(cache),
        "HF_HOME": str(folder),
    }
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((folder / "plain").rglob("results_*.json"))


def bench_shards() -> Iterator[Row]:
    """One job against shards: what has to be equal is, and flips are counted."""
    from shards import measure_shards

    yield from (Row(*row) for row in measure_shards())


def bench_submit() -> Iterator[Row]:
    """1,000 evaluations as arrays on a real SLURM, against one sbatch each (`make slurm-up` first)."""
    from submit import measure_submit

    yield from (Row(*row) for row in measure_submit())


def bench_makespan() -> Iterator[Row]:
    """100 models on a real SLURM of 38 x 8 GPUs (about 20 minutes), against the least that any schedule takes."""
    from makespan import GPUS, measure_makespans

    ours, unsplit = measure_makespans()
    yield Row(
        f"100 models on {GPUS} GPUs, {ours.n_jobs} jobs in {ours.n_arrays} arrays", f"{ours.hours:.1f} h",
        "all GPUs always busy", f"{ours.bound_h:.1f} h", ours.hours / ours.bound_h,
    )  # fmt: skip
    yield Row(
        "the same models", f"{ours.hours:.1f} h", "one job each, in the order of the list", f"{unsplit.hours:.1f} h",
        ours.hours / unsplit.hours,
    )  # fmt: skip


def bench_gpu() -> Iterator[Row]:
    """A generated model of a billion parameters on a GPU, against `lm-eval run`, at a fixed batch size and at auto."""
    from gpu import BATCH_SIZE, measure_gpu

    for batch_size in (str(BATCH_SIZE), "auto"):
        yield from (Row(*row) for row in measure_gpu(batch_size=batch_size))


def bench_convert() -> Iterator[Row]:
    """lm-eval's samples to Parquet, against reading the file, pandas and `datasets`."""
    from warehouse import measure_convert

    yield from (Row(*row) for row in measure_convert())


def bench_rebuild() -> Iterator[Row]:
    """Full rebuild, its growth when the work doubles, and one more night; NIGHTBOARD_BENCH_EVALUATIONS=4576 for all."""
    from warehouse import measure_rebuild

    yield from (Row(*row) for row in measure_rebuild())


def bench_answers() -> Iterator[Row]:
    """The ranking and a comparison, p50 and p95, against the same answers from the JSON files with pandas."""
    from answers import measure_answers

    yield from (Row(*row) for row in measure_answers())


def bench_rank() -> Iterator[Row]:
    """The ranking of 4,576 models: the table beside the CSV, the query beside plain SQL."""
    from bench.rank import measure_rank

    yield from (Row(*row) for row in measure_rank())


def bench_page() -> Iterator[Row]:
    """The page of 4,576 models in Chromium: bytes, first row, sorting, search, beside Tabulator and a plain table."""
    from bench.page import measure_page

    yield from (Row(*row) for row in measure_page())


def bench_queue() -> Iterator[Row]:
    """Listing 10,000 requests, against a plain read of their rows."""
    from bench.queue_list import measure_queue

    yield from (Row(*row) for row in measure_queue())


def bench_coverage() -> Iterator[Row]:
    """How often intervals and tests keep what they promise; draws the pictures of docs/statistics.md (10 minutes)."""
    from coverage import measure_coverage

    yield from (Row(*row) for row in measure_coverage())


def bench_month() -> Iterator[Row]:
    """A month of nights within budgets, in virtual time; draws docs/month.svg (a minute)."""
    from month import measure_month

    yield from (Row(*row) for row in measure_month())


def bench_start() -> Iterator[Row]:
    """Starting a command, against importing the libraries that it cannot do without."""
    from bench.start import start_times

    for what, ours, against, theirs, ratio in start_times():
        yield Row(what, f"{ours:.2f} s", f"python -c '{against}'", f"{theirs:.2f} s", ratio)


BENCHES: dict[str, Callable[[], Iterator[Row]]] = {
    "start": bench_start,
    "plan": bench_plan,
    "launch": bench_launch,
    "overhead": bench_overhead,
    "makespan": bench_makespan,
    "shards": bench_shards,
    "submit": bench_submit,
    "convert": bench_convert,
    "rebuild": bench_rebuild,
    "answers": bench_answers,
    "rank": bench_rank,
    "page": bench_page,
    "queue": bench_queue,
    "coverage": bench_coverage,
    "month": bench_month,
    "gpu": bench_gpu,
}

# Most machines have no GPU, some no Chromium, and how often an interval holds, or how long one waits, has nothing to do
# with the machine.
BY_NAME = ("coverage", "gpu", "month", "page")


def main() -> None:
    asked = [name for argument in sys.argv[1:] for name in argument.split(",")]
    chosen = asked or [name for name in BENCHES if name not in BY_NAME]
    console, rows = make_console(), []
    for name in chosen:
        console.print(f"{name} ...")
        rows += BENCHES[name]()
    cells = [(row.what, row.ours, row.against, row.theirs, f"{row.ratio:.2f}") for row in rows]
    titles = ["what", "nightboard", "against", "theirs", "ratio"]
    print_table(console, cells_table(titles, cells, right=["nightboard", "theirs", "ratio"]), elsewhere="")


if __name__ == "__main__":
    main()
