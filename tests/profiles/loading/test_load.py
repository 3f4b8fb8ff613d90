"""Profiles are found by name and by path, a board with everything it refers to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from nightboard.profiles.errors import ProfileError
from nightboard.profiles.loading.load import explain_choice, load_board, load_organizations, load_suite, validate_paths
from nightboard.profiles.loading.reader import BOARD

WriteProfile = Callable[[str, str], Path]


def test_a_board_of_ones_own_finds_profiles_beside_it_in_folders_and_among_the_shipped(board: Path) -> None:
    bundle = load_board(board)
    assert bundle.path == board
    assert bundle.watch.watchlist == "few"
    assert bundle.cluster.cluster == "here"
    assert list(bundle.suites) == ["small"]
    assert "google" in bundle.organizations.organizations
    assert validate_paths([board]) == []


def test_a_relative_store_starts_at_the_board_file(board: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert load_board(board).store == board.parent / "store"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    board.write_text(board.read_text().replace("./store", str(elsewhere)))
    assert load_board(board).store == elsewhere


def test_a_board_names_imports_as_commands_or_as_tables_do_each_once(board: Path) -> None:
    text = board.read_text()
    board.write_text(text + "imports: [arena, import:open-llm-leaderboard]\n")
    assert load_board(board).board.imports == ("arena", "open-llm-leaderboard")
    for line, told in {
        "imports: [arena, import:arena]": "imports[1]: is listed twice (got 'arena' again). Keep one of them.",
        "imports: ['import:']": "imports[0]: ",
        "imports: [3]": "imports[0]: must be text (got 3).",
        "imports: arena": "imports: must be a list (got 'arena').",
    }.items():
        board.write_text(f"{text}{line}\n")
        (mistake,) = validate_paths([board])
        assert mistake.startswith(f"{board}:7: {told}")


def test_a_shipped_board_keeps_its_store_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = load_board("quickstart")
    assert bundle.path is None
    assert bundle.store == tmp_path / "nightboard-store"


def test_ones_own_profile_goes_before_a_shipped_one_of_the_same_name(board: Path, write: WriteProfile) -> None:
    write("local.yaml", "cluster: local\nexecutor: dry\ntiers: [{name: a, up_to_params_b: 1}]\n")
    board.write_text(board.read_text().replace("here", "local"))
    assert load_board(board).cluster.executor == "dry"


def test_a_file_of_another_kind_with_the_same_name_is_passed_over(board: Path, write: WriteProfile) -> None:
    write("suites/mine.yaml", "suite: mine\ntitle: Mine\nextends: demo\n")
    board.write_text(board.read_text().replace("[small]", "[mine]"))
    assert list(load_board(board).suites) == ["mine"]


def test_a_board_in_a_folder_of_its_own_is_named_by_the_folder(board: Path) -> None:
    board.rename(board.parent / "board.yaml")
    assert load_board(board.parent).board.board == "mine"


@pytest.mark.parametrize("name", ["quickstrat", "../quickstart.yaml", "", "Quickstart", "no-such-folder/"])
def test_an_unknown_board_is_one_message(name: str) -> None:
    with pytest.raises(ProfileError) as error:
        load_board(name)
    assert len(error.value.mistakes) == 1


def test_an_unknown_board_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="Did you mean quickstart"):
        load_board("quickstrat")


def test_a_profile_of_another_kind_is_refused(board: Path) -> None:
    with pytest.raises(ProfileError, match=r"must be a suite \(got a board\)"):
        load_suite(board)


def test_country_no_stays_text(write: WriteProfile) -> None:
    path = write("organizations.yaml", "organizations:\n  acme: {display_name: Acme, country: NO}\n")
    assert load_organizations(path).organizations["acme"].country == "NO"


def test_a_bundle_is_frozen_and_can_be_sent_to_another_process(board: Path) -> None:
    bundle = load_board(board)
    assert pickle.loads(pickle.dumps(bundle)) == bundle
    with pytest.raises(AttributeError):
        bundle.store = Path("/")  # type: ignore[misc]


def test_an_extended_suite_changes_only_what_it_says(write: WriteProfile) -> None:
    sha = "0" * 39 + "a"
    path = write(
        "own.yaml",
        f"""\
        suite: own
        title: Own
        extends: leaderboard-v2
        only: [musr, bbh]
        seed: 7
        benchmarks:
          bbh:
            samples: 2
            dataset: {{sha: {sha}}}
            tasks:
              leaderboard_bbh_navigate: {{samples: 3}}
        """,
    )
    suite, whole = load_suite(path), load_suite("leaderboard-v2")
    assert (suite.suite, suite.extends, suite.seed, suite.limit) == ("own", "leaderboard-v2", 7, None)
    assert list(suite.benchmarks) == ["bbh", "musr"]
    assert suite.benchmarks["musr"] == whole.benchmarks["musr"]
    bbh = suite.benchmarks["bbh"]
    assert {task.samples for name, task in bbh.tasks.items() if name != "leaderboard_bbh_navigate"} == {2}
    assert bbh.tasks["leaderboard_bbh_navigate"].samples == 3
    assert (bbh.dataset.id, bbh.dataset.sha) == ("SaylorTwift/bbh", sha)
    assert bbh.shots == whole.benchmarks["bbh"].shots


def test_a_suite_can_extend_an_extended_one(write: WriteProfile) -> None:
    path = write("own.yaml", "suite: own\ntitle: Own\nextends: quickstart\nonly: [bbh]\n")
    suite = load_suite(path)
    assert (suite.limit, list(suite.benchmarks), suite.extends) == (4, ["bbh"], "quickstart")


PARENT = """\
suite: parent
title: Parent
harness: {version: 0.4.13}
benchmarks:
  one:
    title: One
    group: g
    dataset: {id: acme/data}
    shots: 0
    metrics: [acc]
    aggregate: mean
    normalize: task
    tasks: {t1: {samples: 3}, t2: {samples: 3}}
  two:
    title: Two
    group: h
    dataset: {id: acme/other}
    shots: 0
    metrics: [acc]
    aggregate: mean
    normalize: task
    tasks: {t3: {samples: 3}}
eras:
  - {name: old, task_versions: {t3: "1"}}
  - name: new
    is_current: true
    task_versions: {t3: "2", t1: "5"}
    shots: {t1: 0}
    doc_set_hashes: {t1: aa, t2: bb, t3: cc}
"""


def test_eras_are_inherited_but_hashes_over_other_documents_are_not(write: WriteProfile) -> None:
    write("parent.yaml", PARENT)
    text = "suite: child\ntitle: Child\nextends: parent\nbenchmarks: {one: {tasks: {t1: {samples: 2}}}}\n"
    old, new = load_suite(write("child.yaml", text)).eras
    assert (old.task_versions, new.task_versions, new.shots) == ({"t3": "1"}, {"t3": "2", "t1": "5"}, {"t1": 0})
    assert new.doc_set_hashes == {"t2": "bb", "t3": "cc"}


def test_a_limit_below_the_count_drops_the_hashes_and_one_above_does_not(write: WriteProfile) -> None:
    write("parent.yaml", PARENT)
    for limit, hashes in ((2, {}), (3, {"t1": "aa", "t2": "bb", "t3": "cc"})):
        path = write("child.yaml", f"suite: child\ntitle: Child\nextends: parent\nlimit: {limit}\n")
        assert load_suite(path).eras[1].doc_set_hashes == hashes


def test_eras_that_differ_only_in_tasks_left_out_become_the_current_one(write: WriteProfile) -> None:
    write("parent.yaml", PARENT.replace(', t1: "5"', "").replace("t1: 0", "").replace("t1: aa, t2: bb, ", ""))
    path = write("child.yaml", "suite: child\ntitle: Child\nextends: parent\nonly: [one]\n")
    (era,) = load_suite(path).eras
    assert (era.name, era.is_current, era.task_versions) == ("new", True, {})


def test_a_smaller_suite_may_be_cut_elsewhere(write: WriteProfile) -> None:
    text = "suite: mine\ntitle: Mine\nextends: leaderboard-v2\nbenchmarks: {mmlu_pro: {cut_documents: 4}}\n"
    benchmarks = load_suite(write("mine.yaml", text)).benchmarks
    assert benchmarks["mmlu_pro"].cut_documents == 4
    assert benchmarks["bbh"].cut_documents == load_suite("leaderboard-v2").benchmarks["bbh"].cut_documents


def test_a_name_without_ending_is_a_file_of_the_working_folder(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(board.parent)
    assert load_board("mine") == load_board(Path("mine.yaml"))
    assert load_suite("small").limit == 2
    board.write_text(board.read_text().replace("here", "nowhere"))
    for name in ("mine", "./mine", "mine.yaml"):
        (mistake,) = validate_paths([name])
        assert mistake.startswith("mine.yaml:5: cluster: unknown cluster 'nowhere'.")
    assert validate_paths(["suites/small", "quickstart"]) == []


def test_of_two_profiles_of_one_name_the_file_of_the_working_folder_is_taken_and_named(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(board.parent)
    assert explain_choice("quickstart", BOARD) is None
    Path("quickstart.yaml").write_text(board.read_text().replace("board: mine", "board: quickstart"))
    assert load_board("quickstart").cluster.cluster == "here"
    for kind, title in ((BOARD, "board"), (None, "profile")):
        says = f"quickstart: using the file quickstart.yaml in this folder, not the shipped {title}."
        assert explain_choice("quickstart", kind) == says
    assert explain_choice("mine", BOARD) is None
    assert explain_choice("./quickstart", BOARD) is None


def test_a_name_is_also_looked_up_in_the_folders_of_kinds(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boards = board.parent / "boards"
    boards.mkdir()
    moved = board.rename(boards / board.name)
    (boards / "quickstart.yaml").write_text(moved.read_text().replace("board: mine", "board: quickstart"))
    moved.write_text(moved.read_text().replace("here", "nowhere"))
    monkeypatch.chdir(board.parent)
    assert [mistake.partition(" unknown")[0] for mistake in validate_paths(["mine"])] == [
        "boards/mine.yaml:5: cluster:"
    ]
    assert "Did you mean mine?" in validate_paths(["mien"])[0]
    says = "quickstart: using the file boards/quickstart.yaml in this folder, not the shipped profile."
    assert explain_choice("quickstart") == says


def test_a_file_of_another_kind_does_not_hide_a_shipped_board(
    write: WriteProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("quickstart.yaml", "suite: quickstart\ntitle: Other\nextends: demo\n")
    monkeypatch.chdir(path.parent)
    assert load_board("quickstart").path is None
    assert explain_choice("quickstart", BOARD) is None


def test_a_name_that_is_no_file_and_not_shipped_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError, match=r"^mien: unknown board: no file mien\.yaml here or in boards/, and"):
        load_board("mien")
    assert validate_paths(["mien"])[0].startswith(
        "mien: unknown profile: no file mien or mien.yaml here or in boards/, suites/ ..., and no shipped one"
    )


def test_a_profile_that_is_validated_alone_bears_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("watchlist: other\norganizations: [lab]\n")
    [mistake] = validate_paths([path])
    assert mistake.startswith(f"{path}:1: watchlist: must be the name of its file (got 'other'). Write watchlist: mine")
