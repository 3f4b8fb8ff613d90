"""Which revision of a model is ranked, under which name, and where."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from make_lake import START, Lake, after, declare_task

from nightboard.profiles.models.endings import AT_FAULT

Ask = Callable[..., list[tuple[Any, ...]]]


def test_rank_follows_the_average_and_ties_are_broken_by_size_then_name(lake: Lake, ask: Ask) -> None:
    lake.suite()
    sizes = {"org/none": None, "org/large": 7.0, "org/small-b": 1.0, "org/small-a": 1.0, "org/best": 70.0}
    for model, params_b in sizes.items():
        lake.commit(model, params_b=params_b)
        lake.done(f"e {model}", model, scores=0.9 if model == "org/best" else 0.5)
    assert ask("select rank, model_id from leaderboard order by rank") == [
        (1, "org/best"), (2, "org/small-a"), (3, "org/small-b"), (4, "org/large"), (5, "org/none"),
    ]  # fmt: skip


def test_precisions_and_chat_templates_rank_apart_and_are_never_overwritten(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/m")
    lake.done("plain", "org/m", scores=0.5)
    lake.done("chat", "org/m", scores=0.6, chat_template=True, hours=2)
    lake.done("half", "org/m", scores=0.7, precision="float16", hours=3)
    assert ask("select evaluation_id, precision, chat_template from leaderboard order by rank") == [
        ("half", "float16", False), ("chat", "bfloat16", True), ("plain", "bfloat16", False),
    ]  # fmt: skip


def test_the_newest_complete_revision_is_shown(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for hours, revision in enumerate(["r1", "r2", "r3", "r4"]):
        lake.commit("org/m", revision, hours=hours)
    lake.done("old", "org/m", "r1", scores=0.9, hours=30)  # evaluated last, but an older commit
    lake.done("new", "org/m", "r2", scores=0.5, hours=20)
    lake.done("partial", "org/m", "r3", hours=10).pop()
    lake.planned("open", "org/m", "r4")
    assert ask("select revision, evaluation_id from leaderboard") == [("r2", "new")]
    assert ask("select distinct revision from history order by 1") == [("r1",), ("r2",)]


def test_imported_results_stand_for_nothing_but_themselves_unless_they_supersede(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("main")
    lake.commit("org/m", "r1")
    lake.done("ours", "org/m", "r1", scores=0.5, hours=1)
    for hours, name in ((9, "theirs"), (10, "newer")):
        lake.imported(name, "org/m", scores=1.0, hours=hours)
        lake.files["imports", name][0]["revision"] = "r1"
    lake.board_row("official", "org/n", hours=2)
    lake.imported("beside", "org/n", scores=0.9, hours=3)
    rows = "select model_id, evaluation_id, source, ranked_as from leaderboard order by all"
    assert ask(rows) == [
        ("org/m", "newer", "import:results", "import:results"),
        ("org/m", "ours", "run", "run"),
        ("org/n", "beside", "import:results", "import:results"),
        ("org/n", "official", "import:board", "import:board"),
    ]
    assert ask("select evaluation_b from comparable_evaluations('org/n', 'org/m')") == [("ours",)]
    for name in ("theirs", "beside"):
        lake.files["imports", name][0]["supersedes"] = True
    assert ask(rows) == [
        ("org/m", "newer", "import:results", "import:results"),
        ("org/m", "theirs", "import:results", "run"),
        ("org/n", "beside", "import:results", "run"),
    ]


def test_a_run_stands_for_the_rows_of_boards_and_boards_for_none_of_each_other(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("main")
    lake.board_row("a", "org/m", 0.5, hours=2)
    lake.board_row("b", "org/m", 0.6, hours=3, source="import:other")
    rows = "select evaluation_id from leaderboard order by all"
    assert ask(rows) == [("a",), ("b",)]
    lake.done("run", "org/m", "r0", hours=1)
    assert ask(rows) == [("run",)]
    lake.files["evaluations", "run"][0]["precision"] = "float16"
    assert ask(rows) == [("a",), ("b",), ("run",)]
    lake.files["evaluations", "run"][0] |= {"precision": "bfloat16", "chat_template": True}
    for name in ("a", "b"):
        lake.files["imports", name][0]["chat_template"] = True
    assert ask(rows) == [("a",), ("b",), ("run",)], "the few-shot examples of the run are in one turn"
    lake.files["evaluations", "run"][0]["fewshot_as_multiturn"] = True
    assert ask(rows) == [("run",)]


def test_settings_make_rows_of_their_own_for_runs_and_imports(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/m")
    for name, turns in (("many", True), ("one", False)):
        lake.done(name, "org/m", chat_template=True, fewshot_as_multiturn=turns)
    settings: dict[str, dict[str, str]] = {
        "plain": {}, "branch": {"revision_name": "step1"}, "later": {"revision_name": "step2"},
        "file": {"settings": "gguf_file=q4"}, "both": {"revision_name": "step1", "settings": "gguf_file=q4"},
    }  # fmt: skip
    for name, row in settings.items():
        lake.imported(name, "org/i")
        lake.files["imports", name][0].update(row, row_name="results.json")
    assert ask("select evaluation_id, settings from leaderboard order by all") == [
        ("both", "revision=step1, gguf_file=q4"), ("branch", "revision=step1"), ("file", "gguf_file=q4"),
        ("later", "revision=step2"), ("many", ""), ("one", "fewshot_as_multiturn=False"), ("plain", ""),
    ]  # fmt: skip
    assert ask("select count(*), count(distinct (model_id, settings)) from history") == [(14, 7)]
    assert ask("select count(distinct fingerprint) from evaluations where model_id = 'org/i'") == [(3,)]


def test_what_is_not_comparable_is_scored_and_not_ranked(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for name, unknown in (("greedy", None), ("sampled", "temperature=0.6")):
        lake.imported(name, "org/m", hours=2 if unknown else 1)
        lake.files["imports", name][0]["not_comparable"] = unknown
    assert ask("select evaluation_id from leaderboard") == [("greedy",)]
    assert ask("select not_comparable from imports order by evaluation_id") == [(None,), ("temperature=0.6",)]
    assert ask("select not_ranked from evaluations order by evaluation_id") == [
        (None,), ("not comparable: temperature=0.6",),
    ]  # fmt: skip
    assert ask("select evaluation_id, count(*) from benchmark_scores group by all order by all") == [
        ("greedy", 2), ("sampled", 2),
    ]  # fmt: skip


def test_attributes_are_those_of_the_row_that_ranks(lake: Lake, ask: Ask) -> None:
    lake.suite()
    row = {"params_b": 7.0, "model_type": "chat", "is_merged": False, "is_flagged": False, "license": "mit"}
    other = {"params_b": 7.2, "model_type": "merge", "is_flagged": True, "license": "apache-2.0"}
    lake.board_row("half", "org/m", precision="float16", **row)
    lake.board_row("full", "org/m", hours=9, **other)
    columns = "evaluation_id, params_b, model_type, is_merged, is_flagged, license"
    assert ask(f"select {columns} from leaderboard order by all") == [
        ("full", 7.2, "merge", True, True, "apache-2.0"), ("half", 7.0, "chat", False, False, "mit"),
    ]  # fmt: skip


def test_rows_that_a_newer_dump_of_their_board_lacks_are_withdrawn(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for name, imported_at in (("gone", 1000), ("kept", 1000), ("kept again", 2000)):
        lake.board_row(name.split()[0], f"org/{name.split()[0]}", imported_at=after(imported_at))
    lake.board_row("elsewhere", "org/e", source="import:other")
    lake.board_row("in another era", "org/a", era="launch")
    assert ask("select evaluation_id from leaderboard order by all") == [("elsewhere",), ("in another era",), ("kept",)]
    assert ask("select evaluation_id from imports where is_withdrawn") == [("gone",)]
    assert ask("select not_ranked from evaluations where evaluation_id = 'gone'") == [
        ("the newest table of the board no longer has this row",)
    ]


def test_rows_of_the_leaderboard_lie_in_the_order_of_their_ranks(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for score, name in enumerate("badc"):
        lake.commit(f"org/{name}")
        lake.done(name, f"org/{name}", scores=0.9 - score / 10)
    for table in ("leaderboard", "small"):
        assert ask(f"select rank, model_id from {table} limit 2") == [(1, "org/b"), (2, "org/a")]


def test_a_model_is_a_merge_by_its_type_or_by_what_a_board_says(lake: Lake, ask: Ask) -> None:
    lake.suite()
    rows = {"a": (True, "chat"), "b": (False, "merge"), "c": (False, "chat"), "d": (None, "merge"), "e": (None, None)}
    for name, (is_merged, model_type) in rows.items():
        lake.board_row(name, f"org/{name}", is_merged=is_merged, model_type=model_type, hours=2)
    assert dict(ask("select evaluation_id, is_merged from leaderboard")) == {
        "a": True, "b": True, "c": False, "d": True, "e": None,
    }  # fmt: skip


def test_a_commit_that_changed_only_the_readme_takes_the_scores_of_its_fingerprint(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/m", "r1", fingerprint="same")
    lake.commit("org/m", "r2", fingerprint="same", hours=5, license="mit")
    lake.done("e", "org/m", "r1", fingerprint="same")
    assert ask("select revision, evaluation_id, identical_to, license from leaderboard") == [("r2", "e", None, "mit")]
    assert ask("select revision, count(*) from history group by all order by all") == [("r1", 2), ("r2", 2)]


def test_a_reupload_has_its_own_row_that_names_the_model_that_was_run(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("copy/m", "c1", fingerprint="same", params_b=2.0)
    lake.commit("org/m", "r1", fingerprint="same", params_b=1.0)
    lake.done("e", "org/m", "r1", fingerprint="same")
    assert ask("select rank, model_id, revision, identical_to, evaluation_id from leaderboard order by rank") == [
        (1, "org/m", "r1", None, "e"), (2, "copy/m", "c1", "org/m", "e"),
    ]  # fmt: skip


def test_a_reupload_that_was_run_itself_is_identical_to_nobody(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for model in ("copy/m", "org/m"):
        lake.commit(model, fingerprint="same")
        lake.done(f"e {model}", model, fingerprint="same", hours=2 if model == "org/m" else 1)
    rows = ask("select model_id, identical_to, evaluation_id from leaderboard order by model_id")
    assert rows == [("copy/m", None, "e org/m"), ("org/m", None, "e org/m")]


def test_rejected_commits_never_show_and_deleted_models_keep_their_row(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/rejected", fingerprint="same")
    lake.commit("org/rejected", fingerprint="same", state="rejected", reason="too large", discovered_at=after(9))
    lake.commit("org/deleted", fingerprint="same")
    for hours, state in enumerate(["available", "deleted"]):
        observed = {"model_id": "org/deleted", "organization": "org", "state": state, "observed_at": after(hours)}
        lake.add("models", state, [observed])
    lake.done("e", "org/rejected", fingerprint="same")
    assert ask("select model_id, identical_to, model_state from leaderboard") == [
        ("org/deleted", "org/rejected", "deleted")
    ]
    assert ask("select state, reason, discovered_at from commits where model_id = 'org/rejected'") == [
        ("rejected", "too large", START)
    ]


def test_an_evaluated_revision_that_was_never_discovered_is_ranked(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.done("e", "org/m")
    assert ask("select model_id, organization, revision from leaderboard") == [("org/m", "org", "r1")]


def test_of_replicates_and_suite_versions_in_one_era_the_newest_run_counts(lake: Lake, ask: Ask) -> None:
    lake.suite(version="v1")
    lake.suite(version="v2", hours=1)
    lake.era("now", version="v2", hours=1)
    lake.commit("org/m")
    lake.done("first", "org/m", scores=0.9, hours=1)
    lake.done("b", "org/m", scores=0.6, hours=9, replicate=1)
    lake.done("a", "org/m", scores=0.7, hours=9, suite_version="v2")
    lake.done("early", "org/m", scores=0.8, hours=2, replicate=2)
    assert ask("select era, evaluation_id from leaderboard") == [("now", "a")]


def test_each_suite_has_a_wide_table_with_its_benchmarks_in_order(lake: Lake, ask: Ask) -> None:
    lake.suite()
    odd = [declare_task("rank", "t"), declare_task("mmlu-pro", "u", benchmark_position=2)]
    lake.suite(odd, suite="leaderboard", version="o1")
    lake.commit("org/m")
    lake.done("e", "org/m", scores={"arc_easy": 1.0, "arc_hard": 0.25, "truth": 0.75})
    assert ask("select rank, model_id, arc, truth, average from small") == [(1, "org/m", 50.0, 75.0, 62.5)]
    columns = "select column_name from duckdb_columns() where table_name = '{}' order by column_index desc limit 2"
    assert ask(columns.format("small")) == [("truth",), ("arc",)]
    assert ask(columns.format("leaderboard_2")) == [("mmlu_pro",), ("rank_2",)]
    assert ask("select count(*) from leaderboard_2") == [(0,)]


def test_states_reasons_and_costs_of_evaluations(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.done("done", "org/m")
    lake.attempt("done", "failed", 1)
    lake.attempt("done", "completed", 2)
    lake.planned("new", "org/m")
    lake.planned("lost", "org/m")
    lake.attempt("lost", "failed", 1)
    lake.attempt("lost", "interrupted", 2)
    lake.planned("broken", "org/m")
    lake.attempt("broken", "interrupted", 1)
    lake.attempt("broken", "invalid", 2)
    lake.planned("half", "org/m")
    lake.attempt("half", "fetch_failed", 1, shard="a")
    lake.attempt("half", "completed", 3, shard="b")
    assert ask("select evaluation_id, state, reason, attempts, gpu_hours from evaluations order by 1") == [
        ("broken", "failed", "invalid 2", 2, 2.0),
        ("done", "done", None, 2, 1.0),
        ("half", "failed", "fetch_failed 1", 2, 2.0),
        ("lost", "open", "interrupted 2", 2, 2.0),
        ("new", "open", None, 0, None),
    ]
    assert ask("select evaluation_id, attempt_state, log from failures order by 1") == [
        ("broken", "invalid", "runs/broken/all/2/log.txt"),
        ("half", "fetch_failed", "runs/half/a/1/log.txt"),
        ("lost", "interrupted", "runs/lost/all/2/log.txt"),
    ]
    assert ask("select evaluation_id, gpu_hours from costs where gpu_hours is not null order by 1") == [
        ("broken", 2.0), ("done", 1.0), ("half", 2.0), ("lost", 2.0),
    ]  # fmt: skip


def test_what_has_been_scored_since_is_no_failure_any_more(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for name in ("solved", "other_precision", "failed_again"):
        lake.planned(name, "org/m", precision="float16" if name == "other_precision" else "bfloat16")
        lake.attempt(name, "failed", 1, ended_at=after(9 if name == "failed_again" else 1))
    lake.done("later", "org/m", hours=5)
    assert ask("select evaluation_id, at_fault from failures order by 1") == [
        ("failed_again", "model"),
        ("other_precision", "model"),
    ]
    assert ask("select count(*) from evaluations where state = 'failed'") == [(3,)], "what was is still told there"


def test_an_attempt_names_its_model_and_its_cause_as_the_planner_sees_it(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.planned("e", "org/m")
    for number, ending in enumerate(AT_FAULT, 1):
        lake.attempt("e", ending, number)
    lake.attempt("e", "completed", 99)
    lake.attempt("lost", "failed", 1)
    assert dict(ask("select state, at_fault from attempts where model_id = 'org/m'")) == {**AT_FAULT, "completed": None}
    assert ask("select model_id from attempts where evaluation_id = 'lost'") == [(None,)]


def test_of_several_shards_the_one_that_matters_most_says_how_an_evaluation_stands(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for name in ("waits", "goes_on", "broke", "gave_up_then_done"):
        lake.planned(name, "org/m")
        lake.attempt(name, "completed", 1, shard="a", energy_kwh=1.0)
    # A shard that goes on, one that broke and one that has completed since.
    lake.attempt("goes_on", "timeout", 1, shard="b", ended_at=after(0.5), log_tail=["step 1", "step 2"], energy_kwh=0.5)
    lake.attempt("broke", "failed", 1, shard="b", ended_at=after(0.1))
    lake.attempt("broke", "timeout", 1, shard="c", ended_at=after(5))
    lake.attempt("gave_up_then_done", "failed", 1, shard="b")
    lake.attempt("gave_up_then_done", "completed", 2, shard="b")
    assert ask("select evaluation_id, state, reason, attempts, energy_kwh from evaluations order by 1") == [
        ("broke", "failed", "failed 1", 3, 1.0),
        ("gave_up_then_done", "open", None, 3, 1.0),
        ("goes_on", "open", "timeout 1", 2, 1.5),
        ("waits", "open", None, 1, 1.0),
    ]
    assert ask("select evaluation_id, shard, attempt_state, reason, log, log_tail from failures order by 1") == [
        ("broke", "b", "failed", "failed 1", "runs/broke/b/1/log.txt", None),
        ("goes_on", "b", "timeout", "timeout 1", "runs/goes_on/b/1/log.txt", ["step 1", "step 2"]),
    ]
    assert set(ask("select found_tasks, is_complete, problem from coverage")) == {
        (0, False, "evaluation is open"), (0, False, "evaluation is failed"),
    }  # fmt: skip


def test_energy_is_what_the_attempts_took_and_of_imported_rows_what_they_say(lake: Lake, ask: Ask) -> None:
    lake.suite()
    # Scored before the cluster had told of the second attempt.
    lake.done("run", "org/m", energy_kwh=None)
    lake.attempt("run", "completed", 1, shard="a", energy_kwh=1.0)
    lake.attempt("run", "completed", 1, shard="b", energy_kwh=2.0)
    lake.done("imported", "org/n", energy_kwh=4.0)
    expected = [("imported", 4.0), ("run", 3.0)]
    assert ask("select evaluation_id, energy_kwh from evaluations order by 1") == expected
    assert ask("select evaluation_id, energy_kwh from costs order by 1") == expected


def test_organizations_and_models_show_what_was_declared_and_seen_last(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for hours, name in enumerate(["Old", "New"]):
        row = {"organization": "org", "display_name": name, "country": "FR", "declared_at": after(hours)}
        lake.add("organizations", name, [row])
    lake.commit("org/m", "r1")
    lake.commit("org/m", "r2", hours=1, params_b=2.0)
    lake.commit("other/m")
    lake.done("e", "org/m", "r2")
    assert ask("select * from organizations") == [("org", "New", "FR"), ("other", "other", None)]
    assert ask("select model_id, revision, params_b from models") == [("org/m", "r2", 2.0), ("other/m", "r1", 1.0)]
    assert ask("select model_id, country from leaderboard") == [("org/m", "FR")]


def test_rows_and_files_in_another_order_give_the_same_tables(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.suite(version="v2", hours=1)
    lake.era("one", {"task": "truth", "task_version": "1.0"}, version="v2")
    lake.era("two", {"task": "truth", "task_version": "2.0"}, version="v2", position=2, is_current=False)
    for number in range(12):
        model = f"org/{number % 5}"
        lake.commit(model, f"r{number}", hours=number % 3, fingerprint=f"f{number % 4}")
        scores = {"arc_easy": number / 7 % 1, "arc_hard": number / 3 % 1, "truth": number / 11 % 1}
        lake.done(f"e{number}", model, f"r{number}", hours=number % 2, scores=scores, fingerprint=f"f{number % 4}",
                  versions={"truth": f"{number % 3}.0"}, documents={"truth": str(number % 2)})  # fmt: skip
        lake.attempt(f"e{number}", "completed")
    tables = ["leaderboard", "benchmark_scores", "history", "coverage", "evaluations", "commits", "models", "small"]
    first = {table: ask(f"from {table} order by all") for table in tables}
    assert len(first["leaderboard"]) > 5
    for seed in range(3):
        assert {table: ask(f"from {table} order by all", seed) for table in tables} == first


def test_the_same_rows_in_two_files_count_once(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now")
    lake.commit("org/m")
    lake.done("e", "org/m")
    lake.attempt("e", "completed")
    tables = [
        "leaderboard",
        "benchmark_scores",
        "history",
        "coverage",
        "evaluations",
        "attempts",
        "suites",
        "eras",
        "task_scores",
    ]
    first = {table: ask(f"from {table}") for table in tables}
    for (table, name), rows in list(lake.files.items()):
        lake.add(table, f"again-{name}", rows + rows[:1])
    assert {table: ask(f"from {table}") for table in tables} == first


def test_times_of_evaluations_do_not_need_a_commit_date(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/m", "dated")
    lake.commit("org/m", "undated", hours=9, committed_at=None)
    lake.done("e1", "org/m", "dated")
    lake.done("e2", "org/m", "undated")
    assert ask("select revision, committed_at from leaderboard") == [("dated", START + timedelta(0))]


def test_an_imported_model_that_is_a_folder_has_no_organization(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for number, model in enumerate(("/data/llama", r"C:\Users\me\my model", "gpt-4o", "lab/model")):
        lake.imported(f"{number}", model)
    expected = [("/data/llama", None), (r"C:\Users\me\my model", None), ("gpt-4o", "gpt-4o"), ("lab/model", "lab")]
    assert ask("select model_id, organization from leaderboard order by model_id") == expected
    assert ask("select model_id, organization from models order by model_id") == expected
    assert ask("select organization from organizations order by all") == [("gpt-4o",), ("lab",)]
