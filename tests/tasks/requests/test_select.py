"""What expressions select on a board whose commits are in every state, and why nothing is selected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from make_lake import START, Lake, after
from selections import METHODS_WITH_VALUES, selections

from nightboard.profiles.declared_rows import suite_rows
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Harness, Suite, TaskSpec
from nightboard.profiles.models.watchlist import WatchedModel, WatchList, WatchRule
from nightboard.tasks.requests.select import explain_nothing, select
from nightboard.tasks.requests.selection import Either, Selection, parse_selection
from nightboard.tasks.requests.units import Target, Unit, read_units
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Request, RequestTarget, ResolvedSuite
from nightboard.warehouse.builder.build import build

SELECTIONS = selections(tuple(method for method in METHODS_WITH_VALUES if method != "selector"))
SHA = "d" * 40
CLUSTER = Cluster(cluster="c", executor="slurm", tiers=(Tier(name="one", up_to_params_b=80),))
WATCH = WatchList(
    watchlist="w",
    organizations=("Qwen", "allenai", "lab"),
    rules=(WatchRule(match="*", suites=("small",)),),
    models=(WatchedModel(id="lab/half", suites=("small", "quick")),),
)


def target(request_id: str, model_id: str, digit: str, *benchmarks: str) -> Target:
    request = Request(request_id=request_id, board="board", kind="backfill", asked_by="ada", asked_at=START)
    return request, RequestTarget(
        request_id=request_id, model_id=model_id, revision=revision(digit), suite="small", benchmarks=benchmarks
    )


def declare(name: str, harness: str, *benchmarks: str) -> Suite:
    found = {
        benchmark: Benchmark(
            title=benchmark, group=benchmark, dataset=DatasetSpec(id=f"own/{benchmark}", sha=SHA), shots=0,
            metrics=("acc",), aggregate="mean", normalize="task", tasks={f"{benchmark}_task": TaskSpec(samples=4)},
        )
        for benchmark in benchmarks
    }  # fmt: skip
    return Suite(suite=name, title=name, harness=Harness(version=harness), benchmarks=found)


SMALL, BEFORE = declare("small", "0.4.13", "bbh", "ifeval"), declare("small", "0.4.11", "bbh", "ifeval")
QUICK = declare("quick", "0.4.13", "arc")
SUITES = [ResolvedSuite(suite=SMALL, version="v2"), ResolvedSuite(suite=QUICK, version="q1")]


def revision(digit: str) -> str:
    return digit * 40


class Board:
    """Writes a lake for the suites above."""

    def __init__(self) -> None:
        self.lake = Lake()
        for suite, version, hours in ((BEFORE, "v1", 0), (SMALL, "v2", 1), (QUICK, "q1", 1)):
            self.lake.add("suites", version, suite_rows(suite, version, after(hours)))
        versions = {"old": "2", "main": "3"}
        for position, (era, version) in enumerate(versions.items()):
            task = {"task": "bbh_task", "task_version": version}
            self.lake.era(era, task, version="v2", hours=position + 1, position=position, is_current=era == "main")
        self.lake.files["eras", "v2-2"] = [
            row | {"declared_at": after(2)} for name in ("v2-1", "v2-2") for row in self.lake.files["eras", name]
        ]

    def commit(self, model: str, digit: str, day: float, params_b: float = 1.0, **changes: Any) -> None:
        fixed = {"has_chat_template": False, "needs_remote_code": False, "is_gated": False}
        fixed |= {"stored_precision": "bfloat16", "fingerprint": f"{model}@{digit}"}
        self.lake.commit(model, revision(digit), hours=24 * day, **fixed | {"params_b": params_b} | changes)

    def plan(self, name: str, model: str, digit: str, **changes: Any) -> None:
        fingerprint = f"{model}@{digit}"
        self.lake.planned(name, model, revision(digit), **{"fingerprint": fingerprint, "suite_version": "v2"} | changes)

    def score(self, name: str, model: str, digit: str, *, only: str = "", old: bool = False, **changes: Any) -> None:
        """An evaluation with the scores of both benchmarks or of one, made as declared now or `old`."""
        suite, version = (BEFORE, "v1") if old else (SMALL, "v2")
        tasks = [row for row in suite_rows(suite, version, START) if only in ("", row["benchmark"])]
        row = {"fingerprint": f"{model}@{digit}", "suite_version": version, "harness_version": suite.harness.version}
        versions = dict.fromkeys(("bbh_task", "ifeval_task"), "2" if old else "3")
        self.lake.done(name, model, revision(digit), tasks=tasks, versions=versions, **row | changes)


def fill(board: Board) -> None:
    """Every state: `big` and the older commits of `small` are done, the newest one is missing, and so on."""
    board.commit("Qwen/big", "1", 10, 72.0)
    board.score("big", "Qwen/big", "1", scores={"bbh_task": 0.9, "ifeval_task": 0.7})
    for day, digit in enumerate("abc"):
        board.commit("Qwen/small", digit, day, 0.5)
    board.score("small a", "Qwen/small", "a", scores=0.25, old=True)
    board.score("small b", "Qwen/small", "b", scores=0.375)
    board.commit("allenai/huge", "2", 5, 32.0)
    board.plan("huge", "allenai/huge", "2")
    for attempt in range(1, 5):
        board.lake.attempt("huge", "out_of_memory", attempt)
    chat = {"has_chat_template": True, "stored_precision": "float16"}
    board.commit("allenai/chat", "3", 6, 13.0, **chat)
    settings = {"chat_template": True, "fewshot_as_multiturn": True, "precision": "float16"}
    board.score("chat", "allenai/chat", "3", scores={"bbh_task": 0.6, "ifeval_task": 0.8}, old=True, **settings)
    board.commit("lab/half", "4", 7, 7.0)
    board.score("half", "lab/half", "4", scores=0.5, only="bbh", left_out='{"ifeval": "context too short"}')
    board.commit("lab/begun", "5", 8, 8.0)
    board.plan("begun", "lab/begun", "5")
    board.lake.attempt("begun", "node_fail")
    board.commit("lab/stopped", "6", 9, 3.0)
    board.plan("stopped", "lab/stopped", "6")
    board.lake.attempt("stopped", "cancelled")
    board.commit("lab/odd, one", "7", 9)
    board.commit("lab/rejected", "8", 9, state="rejected", fingerprint=None)
    board.commit("else/where", "9", 9)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    board, folder = Board(), tmp_path_factory.mktemp("store")
    fill(board)
    build(board.lake.write(folder / "lake"), folder / "warehouse", START)
    return Store(folder)


ASKED = [target("backfill-1", "Qwen/small", "a", "bbh"), target("backfill-2", "else/where", "9")]


@pytest.fixture(scope="module")
def units(store: Store) -> list[Unit]:
    return read_units(store, SUITES, CLUSTER, WATCH, ASKED)


def name(unit: Unit) -> str:
    """Such as `small3.bbh` for the third newest commit; the newest one has no number."""
    nth = "" if unit.nth_newest == 1 else str(unit.nth_newest)
    return f"{unit.model_id.partition('/')[2]}{nth}.{unit.benchmark}"


def pick(units: Sequence[Unit], expression: str) -> set[str]:
    selection, _, exclusion = expression.partition(" --exclude ")
    excluded = parse_selection(exclusion) if exclusion else None
    return {name(unit) for unit in select(parse_selection(selection), excluded, units)}


def spell(expected: str) -> set[str]:
    """`big small.bbh` are both benchmarks of big and one of small."""
    named = expected.replace("odd, one", "odd,_one").split()
    found = {each for short in named for each in ([short] if "." in short else [f"{short}.bbh", f"{short}.ifeval"])}
    return {each.replace("_", " ") for each in found}


NEWEST = "big small huge chat half half.arc begun stopped odd, one where"
SELECTED = {
    "model:Qwen/*": "big small",
    "model:Qwen/big|lab/half,benchmark:bbh": "big.bbh half.bbh",
    "model:'lab/odd, one'": "odd, one",
    "model:qwen/*": "",
    "model:lab/rejected": "",
    "org:allenai": "huge chat",
    "org:*": NEWEST,
    "org:Qwen org:else": "big small where",
    "revision:aaaa": "small3",
    "revision:bbbb model:Qwen/big": "small2 big",
    "commits:newest": NEWEST,
    "commits:newest-2,model:*small": "small small2",
    "commits:all,model:*small": "small small2 small3",
    "org:Qwen,(commits:all,params:..1 params:72)": "small small2 small3 big",
    "since:2026-01-10": "stopped odd, one big where",
    "since:2026-01-02,commits:all,org:Qwen": "small small2 big",
    "suite:quick": "half.arc",
    "suite:small,model:lab/half": "half",
    "benchmark:arc|bbh,org:lab": "half.arc half.bbh begun.bbh stopped.bbh odd, one.bbh",
    "era:main": "big",
    "era:*,commits:all": "big small2 small3 chat",
    "era:old": "chat",
    "task-version:<3": "chat",
    "task-version:3": "big half.bbh",
    "task-version:!=3,commits:all": "chat small3",
    "harness:<0.4.13": "chat",
    "harness:>=0.4.12": "big half.bbh",
    "precision:float16": "chat",
    "chat-template:yes": "chat",
    "chat-template:no,org:allenai": "huge",
    "params:7..14": "half half.arc begun chat",
    "params:70..|..0.5": "big small",
    "params:>8,params:<32": "chat",
    "state:missing": "small half.arc odd, one where",
    "state:failed": "huge stopped",
    "state:stale": "chat",
    "state:stale,commits:all": "chat small3",
    "state:incomplete": "begun half.ifeval",
    "state:done": "big half.bbh",
    "state:missing|failed,org:allenai|lab": "huge stopped half.arc odd, one",
    "reason:out_of_memory": "huge",
    "reason:cancelled|node_fail|left_out": "stopped begun half.ifeval",
    "score:bbh>60": "big",
    "score:>=70": "big chat.ifeval",
    "score:average>=70": "big chat",
    "score:bbh<=50,state:incomplete": "half.ifeval",
    "rank:1": "big chat",
    "rank:<=2,era:main": "big",
    "rank:<=2": "big small chat",
    "rank:1..2,commits:all,state:missing": "small",
    "request:backfill-1": "small3.bbh",
    "request:backfill-*": "small3.bbh where",
    "request:backfi": "small3.bbh where",
    "org:Qwen --exclude benchmark:ifeval": "big.bbh small.bbh",
    "commits:all,org:Qwen --exclude revision:aaaa state:missing": "big small2",
    "state:failed --exclude reason:cancelled": "huge",
}


@pytest.mark.parametrize("expression", SELECTED)
def test_an_expression_selects(units: list[Unit], expression: str) -> None:
    assert pick(units, expression) == spell(SELECTED[expression])


def test_units_keep_their_order_and_have_all_that_is_asked_about(units: list[Unit]) -> None:
    assert [unit.model_id for unit in units] == sorted(unit.model_id for unit in units)
    (unit,) = select(parse_selection("model:allenai/chat,benchmark:bbh"), None, units)
    assert unit == Unit(
        model_id="allenai/chat", organization="allenai", revision=revision("3"), ref="main",
        committed_at=after(144), discovered_at=after(144), nth_newest=1, params_b=13.0, suite="small", benchmark="bbh",
        precision="float16", chat_template=True, state="stale", era="old", task_versions=("2",),
        harness_version="0.4.11", scores={"bbh": 60.0, "ifeval": 80.0}, average=70.0, rank=1,
    )  # fmt: skip
    assert unit.score == 60.0


@settings(max_examples=50, deadline=None)
@given(SELECTIONS, SELECTIONS)
def test_either_is_the_union_and_what_selects_nothing_is_explained(
    units: list[Unit], first: Selection, second: Selection
) -> None:
    alone = [set(map(name, select(selection, None, units))) for selection in (first, second)]
    assert set(map(name, select(Either((first, second)), None, units))) == alone[0] | alone[1]
    assert not select(first, first, units)
    for selection, selected in zip((first, second), alone, strict=True):
        assert selected or explain_nothing(selection, units)


NOTHING = {
    "model:qwen/bog": "model:qwen/bog matches nothing. Known, the nearest first: Qwen/big, ",
    "benchmark:bhb": "benchmark:bhb matches nothing. Known, the nearest first: bbh, ",
    "era:mian,org:Qwen": "era:mian matches nothing. Known, the nearest first: main, old.",
    "reason:timeout": "reason:timeout matches nothing. Known, the nearest first: ",
    "request:x": "request:x matches nothing. Known, the nearest first: backfill-1, backfill-2.",
    "task-version:>9": "task-version:>9 matches nothing. Known, the nearest first: 2, 3.",
    "params:100..": "params:100.. matches nothing. Known values go from 0.5 to 72.",
    "score:bbh>99": "score:bbh>99 matches nothing. Known values go from 25 to 90.",
    "score:bhb>9": "score:bhb>9 matches nothing. Known, the nearest first: bbh, ",
    "score:average>99": "score:average>99 matches nothing. Known values go from 25 to 80.",
    "since:2030-01-01": "since:2030-01-01 matches nothing. The newest commit is of 2026-01-11.",
    "revision:0000": "revision:0000 matches nothing. No commit that can be evaluated begins with it.",
    "org:Qwen,state:failed": "Each of these matches something, but nothing matches all of them: org:Qwen (8"
    " benchmarks), state:failed (4 benchmarks).",
    "org:Qwen,(state:failed state:incomplete)": "Each of these matches something, but nothing matches all of them:"
    " org:Qwen (8 benchmarks), state:failed state:incomplete (7 benchmarks).",
    "era:main,(state:done,org:allenai)": "Each of these matches something, but nothing matches all of them: state:done"
    " (5 benchmarks), org:allenai (4 benchmarks).",
    "model:Qwen/small,state:done": "Only commits that are not the newest of their model match (2 benchmarks). Add"
    " commits:all to select them.",
    "state:failed --exclude org:*": "The exclusion excludes all of the 4 selected benchmarks.",
}


@pytest.mark.parametrize("expression", NOTHING)
def test_a_selection_of_nothing_says_why(units: list[Unit], expression: str) -> None:
    assert pick(units, expression) == set()
    selection, _, exclusion = expression.partition(" --exclude ")
    told = explain_nothing(parse_selection(selection), units, parse_selection(exclusion) if exclusion else None)
    assert told.startswith(NOTHING[expression])


def test_two_terms_that_match_nothing_are_both_told(units: list[Unit]) -> None:
    told = explain_nothing(parse_selection("org:none era:none org:none"), units).splitlines()
    assert [line.partition(" ")[0] for line in told] == ["org:none", "era:none"]


def test_a_board_without_commits_says_so() -> None:
    assert "`nightboard nightly`" in explain_nothing(parse_selection("org:a"), [])


def test_without_a_build_states_are_known_and_scores_are_not(store: Store, tmp_path: Path) -> None:
    (tmp_path / "lake").symlink_to(store.lake)
    units = read_units(Store(tmp_path), SUITES, CLUSTER, WATCH)
    assert pick(units, "state:done") == spell("big half.bbh")
    assert pick(units, "score:>0 rank:1.. era:*") == set()
    assert explain_nothing(parse_selection("rank:1"), units) == "rank:1 matches nothing. None is known."
