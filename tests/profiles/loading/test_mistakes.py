"""Whatever is wrong with a profile is said in one line with file, line and what to do, and all of it at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from nightboard.profiles.errors import KeyPath, ProfileError
from nightboard.profiles.loading.load import load_board, load_suite, validate_paths
from nightboard.profiles.loading.reader import KINDS, Kind
from nightboard.profiles.loading.type_errors import explain
from nightboard.profiles.loading.yaml_file import Document

WriteProfile = Callable[[str, str], Path]

CLUSTER = "cluster: c\nexecutor: local\ntiers:\n  - {name: a, up_to_params_b: 1}\n"
WATCH = "watchlist: w\nmodels: [acme/one]\n"


def _only_mistake(path: Path) -> str:
    (mistake,) = validate_paths([path])
    assert mistake.startswith(f"{path}:"), mistake
    return mistake.removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            CLUSTER + "max_job: 2\n",
            (
                "5: max_job: is not a known key (got 2). Did you mean max_jobs? Legal keys: cluster, executor, "
                "max_jobs, gpus, max_gpus, max_array_size, poll_interval_s, time_headroom, fetch_parallelism, "
                "cache_gb, keep_models, tiers, slurm, retries."
            ),
        ),
        (
            CLUSTER + "max_jobs: many\n",
            (
                "5: max_jobs: must be a whole number (got 'many'). Write digits without quotes, or leave the key out "
                "where that is allowed."
            ),
        ),
        (CLUSTER + "max_jobs: true\n", "5: max_jobs: must be a whole number (got true)."),
        (CLUSTER + 'max_jobs: "2"\n', "5: max_jobs: must be a whole number (got '2')."),
        (CLUSTER + "max_jobs: 1.5\n", "5: max_jobs: must be a whole number (got 1.5)."),
        (CLUSTER + "max_jobs: 0\n", "5: max_jobs: must be more than 0 (got 0). Change the number."),
        (CLUSTER + "max_jobs:\n", "5: max_jobs: must be a whole number (got nothing)."),
        (CLUSTER + "fetch_parallelism: [2]\n", "5: fetch_parallelism: must be a whole number (got a list)."),
        (CLUSTER + "poll_interval_s: .nan\n", "5: poll_interval_s: must be more than 0 (got nan)."),
        (CLUSTER + "retries: 3\n", "5: retries: must be a mapping of keys to values (got 3)."),
        (CLUSTER + "slurm: {partition: 3}\n", "5: slurm.partition: must be text (got 3). Put it in quotes: '3'."),
        (
            "cluster: c\nexecutor: slrum\ntiers: [{name: a, up_to_params_b: 1}]\n",
            (
                "2: executor: must be local or slurm or dry (got 'slrum'). Did you mean slurm? Legal values: local, "
                "slurm, dry."
            ),
        ),
        (
            "cluster: c\nexecutor: local\ntiers: [{name: a}]\n",
            "3: tiers[0].up_to_params_b: is missing (got nothing). Add the key up_to_params_b.",
        ),
        ("cluster: c\nexecutor: local\ntiers: []\n", "3: tiers: must have at least 1 entry (got a list)."),
        ("cluster: c\nexecutor: local\ntiers: x\n", "3: tiers: must be a list (got 'x')."),
        (
            "cluster: c\nexecutor: local\ntiers:\n- {name: a, up_to_params_b: 2}\n- {name: b, up_to_params_b: 1}\n",
            "3: tiers: must grow in size (got [4.0, 2.0] GB of weights). Put the smallest first.",
        ),
        (
            "cluster: c\nexecutor: local\ntiers:\n- {name: a, up_to_params_b: 2}\n- {name: a, up_to_params_b: 3}\n",
            "5: tiers[1].name: is listed twice (got 'a' again). Keep one of them.",
        ),
        (
            "cluster: c\nexecutor: local\ntiers:\n- {name: a, up_to_params_b: 2, batch_size: autom}\n",
            "4: tiers[0].batch_size: must be a whole number or auto (got 'autom').",
        ),
        (
            "cluster: c\nexecutor: local\ntiers:\n- {name: a, up_to_params_b: 2, batch_size: 0}\n",
            "4: tiers[0].batch_size: must be more than 0 or auto (got 0).",
        ),
        ("cluster: My Cluster\nexecutor: dry\ntiers: [{name: a, up_to_params_b: 1}]\n", "1: cluster: must be a name"),
        (WATCH + "trust_remote_code: yes\n", "3: trust_remote_code: must be true or false (got 'yes')."),
        (
            WATCH + "precision: bf16\n",
            "3: precision: must be auto or float32 or float16 or bfloat16 (got 'bf16'). Did you mean bfloat16?",
        ),
        (WATCH + "max_params_b: -1\n", "3: max_params_b: must be more than 0 (got -1)."),
        (WATCH + 'exclude: [""]\n', "3: exclude[0]: must not be empty (got '')."),
        (WATCH + "rules: [{match: a/*}]\n", "3: rules[0]: sets nothing (got only match: 'a/*')."),
        (WATCH + 'rules: [{match: "", precision: auto}]\n', "3: rules[0].match: must not be empty (got '')."),
        (WATCH + "organizations: [acme/one]\n", "3: organizations[0]: must be an organization, not a model"),
        (WATCH + "organizations: [acme]\ninclude: []\n", "4: include: includes nothing (got an empty list)."),
        ("watchlist: w\nmodels: []\n", "1: watchlist: is empty (got no organizations and no models)."),
        ("watchlist: w\nmodels: [a/b, {id: a/b}]\n", "2: models[1].id: is listed twice (got 'a/b' again)."),
        ("watchlist: w\nmodels:\n- a b\n", "3: models[0].id: must be a repository id on the Hub (got 'a b')."),
        (
            "watchlist: w\nmodels:\n- {id: a/b, revisions: [1.0]}\n",
            "3: models[0].revisions[0]: must be text (got 1.0).",
        ),
        ("watchlist: w\nmodels:\n- {id: a/../b}\n", "3: models[0].id: must be a repository id on the Hub"),
        (
            "watchlist: w\nmodels:\n- a/modèle\n",
            "3: models[0].id: must be a repository id on the Hub (got 'a/modèle').",
        ),
        (
            "organizations:\n  acme: {display_name: Acme, country: France}\n",
            "2: organizations.acme.country: must be a country code of two capital letters",
        ),
        ("organizations:\n  acme/x: {display_name: Acme}\n", "2: organizations.acme/x: must be an organization"),
        ("organizations:\n  acme: Acme\n", "2: organizations.acme: must be a mapping of keys to values (got 'Acme')."),
    ],
)
def test_one_mistake_is_told_with_its_line_and_key(write: WriteProfile, text: str, mistake: str) -> None:
    name = text.partition("\n")[0].partition(": ")[2]
    assert _only_mistake(write(f"{name}.yaml", text)).startswith(mistake)


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", ":1: is empty (got nothing)."),
        (b"# only a comment\n", ":1: is empty (got nothing)."),
        (b"{}\n", ":1: is empty (got no keys)."),
        (b"- a\n- b\n", ":1: must be a mapping of keys to values (got a list)."),
        (b"just text\n", ":1: must be a mapping of keys to values (got 'just text')."),
        (b"board: a\ntitle: caf\xe9\n", ":2: is not UTF-8 text (got byte 0xe9). Save the file as UTF-8."),
        (b"board: a\ntitle: b: c\n", ":2: is not valid YAML: mapping values are not allowed here (got 'title: b: c')."),
        (b"board: a\n\ttitle: b\n", ":2: is not valid YAML: "),
        (b"board: [a\n", ":2: is not valid YAML: "),
        (b"board: a\x00\n", ":1: is not valid YAML: "),
        (b"board: a\n---\nboard: b\n", ":2: is not valid YAML: "),
        (b"suite: a\ntitle: b\ntitle: c\n", ":3: title: is a duplicate (got it on lines 2 and 3). Keep one of them."),
        (b"cluster: a\ntiers: &t [*t]\n", ":2: tiers[0]: contains itself"),
        (b"? [a]\n: b\n", ":1: has a key that is not plain text"),
        (b"[" * 3000, ":1: is nested too deeply"),
        (b"x: 1\n", ":1: x: must start with a key that names the kind of profile (got 'x'). "),
    ],
)
def test_a_file_that_is_no_profile_is_told_in_one_line(tmp_path: Path, content: bytes, mistake: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_bytes(content)
    (told,) = validate_paths([path])
    assert told.startswith(f"{path}{mistake}"), told


def test_an_unknown_kind_is_answered_with_all_kinds_and_the_nearest(write: WriteProfile) -> None:
    path = write("profile.yaml", "suit: a\n")
    assert _only_mistake(path) == (
        "1: suit: must start with a key that names the kind of profile (got 'suit'). Did you mean suite? "
        "Legal first keys: board, suite, cluster, watchlist, organizations, selectors."
    )


def test_a_missing_file_is_told_with_what_could_be_used(tmp_path: Path) -> None:
    (told,) = validate_paths([tmp_path / "none.yaml"])
    assert told.startswith(f"{tmp_path}/none.yaml: file not found. Check the path, or use a shipped board: demo,")


def test_an_unreadable_file_does_not_hide_the_mistakes_of_others(write: WriteProfile, tmp_path: Path) -> None:
    write("a.yaml", "x: [\n")
    write("b.yaml", CLUSTER + "max_job: 2\n")
    told = validate_paths([tmp_path])
    assert [line.split(":")[0] for line in told] == [f"{tmp_path}/a.yaml", f"{tmp_path}/b.yaml"]


def test_all_mistakes_over_all_files_of_a_board_are_told_at_once(board: Path, write: WriteProfile) -> None:
    write(
        "mine.yaml",
        """\
        board: mine
        titel: Mine
        watch: few
        suites: [small, smal, leaderboard-v2]
        cluster: here
        store: 3
        hub: huggingface.co
        schedule: {cron: 0 25 * * *, timezone: Europe/Pariss}
        organizations: nobody
        """,
    )
    write(
        "watchlists/few.yaml", "watchlist: few\nmodels: [{id: acme/one, suites: [smal]}, {id: acme/two, suites: [x]}]\n"
    )
    write("suites/small.yaml", "suite: small\ntitle: 4\nextends: leaderboard-v2\nonly: [bhb]\n")
    write("here.yaml", "cluster: there\nexecutor: local\ntiers:\n- {name: a, up_to_params_b: 2}\n")
    with pytest.raises(ProfileError) as error:
        load_board(board)
    folder = board.parent
    assert [str(mistake).split(" (got")[0].split(". ")[0] for mistake in error.value.mistakes] == [
        f"{board}:1: title: is missing",
        f"{board}:2: titel: is not a known key",
        f"{board}:4: suites[1]: unknown suite 'smal'",
        f"{board}:6: store: must be text",
        f"{board}:7: hub: must be an address that starts with http:// or https://",
        f"{board}:8: schedule.cron: has an invalid hour '25'",
        f"{board}:8: schedule.timezone: is not a known time zone",
        f"{board}:9: organizations: unknown organizations file 'nobody'",
        f"{folder}/suites/small.yaml:2: title: must be text",
        f"{folder}/suites/small.yaml:4: only[0]: is not one of the benchmarks of the extended suite",
        f"{folder}/here.yaml:1: cluster: must be the name of its file",
        f"{folder}/watchlists/few.yaml:2: models[1].suites[0]: is not a suite of the board",
    ]
    assert "Did you mean small?" in str(error.value)
    assert str(error.value).count("\n") == len(error.value.mistakes) - 1


@pytest.mark.parametrize(
    ("budget", "mistake"),
    [
        ("{gpu_hours_per_night: 0, shares: {watched: 1/2, submissions: 1/4, backfills: 0.25}}", None),
        ("{shares: {watched: 1, submissions: 0, backfills: 0}, ask_above_gpu_hours: 2.5}", None),
        ("{gpu_hours_per_night: -1}", "gpu_hours_per_night: must be at least 0 (got -1). Change the number."),
        ("{gpu_hours_per_night: .inf}", "gpu_hours_per_night: must be a finite number (got inf)."),
        ("{gpu_hours: 3}", "gpu_hours: is not a known key (got 3). Did you mean"),
        ("{shares: {watched: 2}}", "shares.watched: must be at most 1 (got 2). Change the number."),
        ("{shares: {wached: 0}}", "shares.wached: is not a known key (got 0). Did you mean watched?"),
        ("{shares: {watched: 0.6}}", "shares: must be at most 1 together (got 1.1). Make some of them smaller."),
    ],
)
def test_a_budget_is_hours_and_shares_of_at_most_all_of_them(board: Path, budget: str, mistake: str | None) -> None:
    board.write_text(board.read_text() + f"budget: {budget}\n")
    told = validate_paths([board])
    assert (told == []) is (mistake is None), told
    assert mistake is None or told[0].startswith(f"{board}:7: budget.{mistake}"), told


@pytest.mark.parametrize(
    ("cron", "is_legal"),
    [
        ("0 2 * * *", True),
        ("*/15 0-6 1,15 jan-mar MON-FRI", True),
        ("0 0 * * 7", True),
        ("0 2 * *", False),
        ("0 2 * * * *", False),
        ("@daily", False),
        ("60 2 * * *", False),
        ("0 2 0 * *", False),
        ("0 6-2 * * *", False),
        ("*/0 2 * * *", False),
        ("a b c d e", False),
        ("", False),
    ],
)
def test_a_schedule_must_be_five_legal_fields(board: Path, cron: str, is_legal: bool) -> None:
    board.write_text(board.read_text() + f"schedule: {{cron: '{cron}'}}\n")
    told = validate_paths([board])
    assert (told == []) is is_legal, told
    assert is_legal or told[0].startswith(f"{board}:7: schedule.cron: ")


@pytest.mark.parametrize(
    ("place", "mistake"),
    [
        ("slack-webhook/ops", None),
        ("env/OPS_WEBHOOK", None),
        ("secret/ops-webhook-2", None),
        ("https://hooks.example/T0/B0", "must not be an address, which is often a secret"),
        ("ops", "must be kind/name"),
        ("env/", "must be kind/name"),
        ("env/A-B", "must be kind/name"),
        ("slack-webhook/Ops", "must be kind/name"),
        ("slack-webhook/ops/x", "must be kind/name"),
        ("env/A, env/A", "is listed twice"),
    ],
)
def test_a_place_for_notifications_is_a_block_or_a_variable(board: Path, place: str, mistake: str | None) -> None:
    board.write_text(board.read_text() + f"notify: [{place}]\n")
    told = validate_paths([board])
    assert [text.split(" (got")[0].split(": ", 2)[2] for text in told] == ([mistake] if mistake else [])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "extends: leaderboard-v3\n",
            ":3: extends: unknown suite 'leaderboard-v3'. Did you mean",
        ),
        ("extends: ../x\n", ":3: extends: must be a name"),
        ("extends: mine\n", ":3: extends: leads back to this suite (got 'mine')."),
        (
            "extends: demo\nshots: 3\n",
            ":4: shots: is not a known key (got 3). Legal keys: suite, title, extends, limit,",
        ),
        ("extends: demo\nlimit: 0\n", ":4: limit: must be more than 0 (got 0)."),
        ("extends: demo\nonly: []\n", ":4: only: must have at least 1 entry (got a list)."),
        (
            "extends: demo\nonly: [bbh, gpqua]\n",
            ":4: only[1]: is not one of the benchmarks of the extended suite ",
        ),
        ("extends: demo\nbenchmarks: {bhb: {samples: 1}}\n", ":4: benchmarks.bhb: is not one of the benchmarks"),
        ("extends: demo\nbenchmarks: {bbh: {shots: 1}}\n", ":4: benchmarks.bbh.shots: is not a known key"),
        ("extends: demo\nbenchmarks: {bbh: {samples: 0}}\n", ":4: benchmarks.bbh.samples: must be more than 0"),
        ("extends: demo\nbenchmarks: {bbh: {tasks: {x: {samples: 1}}}}\n", ":4: benchmarks.bbh.tasks.x: is not one of"),
        ("extends: demo\nbenchmarks: {bbh: {dataset: {sha: ab}}}\n", ":4: benchmarks.bbh.dataset.sha: must be a full"),
        (
            "extends: demo\nbenchmarks: {ifeval: {cut_documents: 2}}\n",
            ":4: benchmarks.ifeval.cut_documents: cannot be used here: inst_level_strict_acc is a list for each",
        ),
        ("extends: demo\nbenchmarks: {gpqa: {cut_documents: 2}}\n", ":4: benchmarks.gpqa.cut_documents: cannot be"),
        (
            "extends: demo\nonly: [bbh]\nbenchmarks: {gpqa: {samples: 1}}\n",
            ":5: benchmarks.gpqa: is not in the list `only`",
        ),
    ],
)
def test_a_suite_that_extends_wrongly_is_told(write: WriteProfile, text: str, mistake: str) -> None:
    path = write("mine.yaml", "suite: mine\ntitle: Mine\n" + text)
    with pytest.raises(ProfileError) as error:
        load_suite(path)
    (told,) = error.value.mistakes
    assert str(told).startswith(f"{path}{mistake}"), told


def test_suites_that_extend_each_other_are_told(write: WriteProfile) -> None:
    path = write("a.yaml", "suite: a\ntitle: A\nextends: b\n")
    other = write("suites/b.yaml", "suite: b\ntitle: B\nextends: a\n")
    assert validate_paths([path]) == [
        f"{other}:3: extends: leads back to this suite (got 'a'). Extend a suite that does not extend this one."
    ]


SUITE = """\
suite: own
title: Own
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
    tasks:
      t1: {samples: 3, lower_bound: 1/3}
"""


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("1/3", "4/3", ":14: benchmarks.one.tasks.t1.lower_bound: must be less than 1 (got '4/3')."),
        ("1/3", "1/0", ":14: benchmarks.one.tasks.t1.lower_bound: must be a number (got '1/0')."),
        ("1/3", "-0.5", ":14: benchmarks.one.tasks.t1.lower_bound: must be at least 0 (got -0.5)."),
        (
            "{version: 0.4.13}",
            "{version: 0.4}",
            ":3: harness.version: must be text (got 0.4). Put it in quotes: '0.4'.",
        ),
        (
            "normalize: task",
            "normalize: task\n    lower_bound: 0.5",
            ":13: benchmarks.one.lower_bound: is not used with",
        ),
        ("mean", "median", ":11: benchmarks.one.aggregate: must be mean or pooled (got 'median')."),
        ("[acc]", "[]", ":10: benchmarks.one.metrics: must have at least 1 entry (got a list)."),
        ("suite: own", "suite: own\nseed: x", ":2: seed: must be a whole number (got 'x')."),
        ("  one:", "  One:", ":5: benchmarks.One: must be a name of a-z, 0-9, dot, dash and underscore (got 'One')."),
        (
            "    tasks:\n      t1: {samples: 3, lower_bound: 1/3}\n",
            "    tasks:\n",
            ":13: benchmarks.one.tasks: must be a map",
        ),
        (
            "  one:",
            "  all:",
            ":5: benchmarks.all: is reserved for a whole evaluation (got 'all'). Rename the benchmark.",
        ),
        (
            "shots: 0",
            "shots: 0\n    cut_documents: 0",
            ":10: benchmarks.one.cut_documents: must be more than 0 (got 0).",
        ),
        (
            "[acc]",
            "[inst_level_strict_acc]\n    cut_documents: 8",
            ":11: benchmarks.one.cut_documents: cannot be used here: inst_level_strict_acc is a list for each ",
        ),
        (
            "group: g",
            "group: leaderboard_gpqa\n    cut_documents: 8",
            ":8: benchmarks.one.cut_documents: cannot be used here: lm-eval shuffles its answers",
        ),
        (
            "group: g",
            "group: arc_easy\n    cut_documents: 8",
            ":8: benchmarks.one.cut_documents: cannot be used here: lm-eval draws its few-shot examples at random",
        ),
        ("suite: own", "suite: own\neras: [{name: a}]", ":2: eras: exactly one must be current"),
        (
            "suite: own",
            "suite: own\neras: [{name: a, is_current: true, task_versions: {t2: '1'}}]",
            ":2: eras[0].task_versions.t2: is not a task of the suite (got 't2'). Did you mean t1?",
        ),
    ],
)
def test_a_suite_of_ones_own_is_checked(write: WriteProfile, old: str, new: str, mistake: str) -> None:
    path = write("own.yaml", SUITE)
    assert validate_paths([path]) == []
    path.write_text(SUITE.replace(old, new, 1))
    (told,) = validate_paths([path])
    assert told.startswith(f"{path}{mistake}"), told


def test_a_task_belongs_to_one_benchmark(write: WriteProfile) -> None:
    body = SUITE.split("benchmarks:\n")[1].replace("  one:", "  two:")
    assert _only_mistake(write("own.yaml", SUITE + body)).startswith(
        "24: benchmarks.two.tasks.t1: is also a task of one"
    )


WRONG_VALUES = (None, True, -1, 1.5, math.nan, 10**400, "", "a b", "x" * 5000, (), (None,), {}, {"x": 1}, {"": None})
PYDANTIC = re.compile(
    r"Input should|Value error|Extra inputs|String should|Field required|should be a valid|instance of"
)


def list_keys(annotation: Any, at: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key that a profile of this type may have, with one key of each mapping and one entry of each list."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for option in get_args(annotation):
            yield from list_keys(option, at)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield (*at, name)
            yield from list_keys(field.annotation, (*at, name))
    elif get_origin(annotation) in (dict, tuple):
        step = "a" if get_origin(annotation) is dict else 0
        yield (*at, step)
        yield from list_keys(get_args(annotation)[-1 if step == "a" else 0], (*at, step))


def put(key: KeyPath, value: Any) -> Any:
    """Data that has the value under this key and nothing else."""
    if not key:
        return value
    inner = put(key[1:], value)
    return {key[0]: inner} if isinstance(key[0], str) else (inner,)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.key)
def test_no_wrong_value_of_any_key_is_answered_in_the_words_of_pydantic(kind: Kind[Any]) -> None:
    keys = set(list_keys(kind.model))
    assert len(keys) >= 2
    for key in keys:
        for value in WRONG_VALUES:
            data = put(key, value)
            with pytest.raises(ValidationError) as error:
                kind.model.model_validate(data | {"unknown": 1}, strict=True)
            mistakes = explain(Document(Path("mine.yaml"), data, {}), kind.model, error.value)
            assert mistakes
            assert [mistake.text for mistake in mistakes if PYDANTIC.search(mistake.text)] == []
            assert [mistake.text for mistake in mistakes if "that is not allowed here (" in mistake.text] == []
