"""A new board's files are readable, validate for every place, and never overwrite anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nightboard.profiles.loading.load import load_board, validate_paths
from nightboard.profiles.model_settings import is_watched
from nightboard.tasks.cluster.places import Place
from nightboard.tasks.new_board import (
    Answers,
    NewBoardError,
    make_tiers,
    parse_follow,
    parse_name,
    parse_suites,
    propose_name,
    write_board,
)

CPU = Place("local", cpus=4, mem_gb=16)
H100 = Place(
    "slurm",
    "gpu",
    nodes=38,
    gpus=8,
    gpu_type="h100",
    gpu_memory_gb=80,
    cpus=8,
    mem_gb=128,
    time_min=2880,
    total_gpus=304,
)
PLACES = [
    CPU,
    H100,
    Place("local", gpus=6, cpus=1, mem_gb=4, total_gpus=6),
    Place("slurm", "a,b", gpus=1, gpu_memory_gb=5, time_min=1, total_gpus=1, mem_gb=0.5),
    Place("slurm", "no", cpus=256, mem_gb=2000),
    Place("slurm", "odd: #name", gpus=3, gpu_type="x: y", total_gpus=3),
]


def make_answers(place: Place = CPU, **changes: object) -> Answers:
    values = {"name": "mine", "title": "Mine", "follow": ("lab/model",), "suites": ("quickstart",), "store": "./store"}
    return Answers(**values | changes, place=place)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.key)
def test_a_board_for_any_place_validates_as_it_was_answered(place: Place, tmp_path: Path) -> None:
    written = write_board(tmp_path / "new", make_answers(place))
    assert [str(path.relative_to(tmp_path / "new")) for path in written] == [
        "mine.yaml", "watchlists/mine.yaml", "clusters/mine.yaml",
    ]  # fmt: skip
    assert validate_paths([*written, tmp_path / "new"]) == []
    bundle = load_board(written[0])
    assert (bundle.cluster.executor, bundle.cluster.slurm.partition) == (place.executor, place.partition)
    assert [tier.gpus for tier in bundle.cluster.tiers] == [tier.gpus for tier in make_tiers(place)]
    assert all(tier.time_min <= (place.time_min or 1440) for tier in bundle.cluster.tiers)
    assert all(any(line.startswith("#") for line in path.read_text().splitlines()) for path in written)
    assert bundle.watch.max_params_b == bundle.cluster.tiers[-1].up_to_params_b


def test_tiers_double_their_gpus_up_to_a_nodes() -> None:
    tiers = make_tiers(H100)
    assert [(tier.name, tier.gpus, tier.up_to_params_b) for tier in tiers] == [
        ("1-gpu", 1, 16), ("2-gpus", 2, 32), ("4-gpus", 4, 64), ("8-gpus", 8, 128),
    ]  # fmt: skip
    assert (tiers[0].cpus, tiers[0].mem_gb, tiers[-1].cpus, tiers[-1].mem_gb) == (8, 115, 64, 921)
    assert [tier.gpus for tier in make_tiers(PLACES[2])] == [1, 2, 4, 6]


def test_a_node_with_little_memory_limits_the_models_of_its_tiers_and_says_so(tmp_path: Path) -> None:
    small = replace(H100, gpus=4, mem_gb=4)
    assert [(tier.up_to_params_b, tier.mem_gb) for tier in make_tiers(small)] == [(1.5, 3), (3, 7), (7, 14)]
    assert make_tiers(replace(H100, mem_gb=0.001))[0].up_to_params_b == 16, "SLURM was not told the memory"
    _, watch, cluster = write_board(tmp_path / "small", make_answers(small))
    assert "max_params_b: 7\n" in watch.read_text()
    says = "The node's memory for each GPU is small"
    assert says in cluster.read_text()
    assert says not in write_board(tmp_path / "large", make_answers(H100))[2].read_text()


def test_organizations_patterns_and_models_are_followed_each_in_its_way(tmp_path: Path) -> None:
    follow = parse_follow("allenai/OLMo-2-*, Qwen lab/x-GGUF,Qwen")
    assert follow == ("allenai/OLMo-2-*", "Qwen", "lab/x-GGUF")
    watch = load_board(write_board(tmp_path, make_answers(follow=follow))[0]).watch
    followed = {
        "allenai/OLMo-2-1B": True, "allenai/tulu": False, "Qwen/Qwen3": True, "Qwen/Qwen3-AWQ": False,
        "lab/x-GGUF": True, "lab/y": False,
    }  # fmt: skip
    assert {model: is_watched(watch, model) for model in followed} == followed
    whole = load_board(write_board(tmp_path, make_answers(name="org", follow=("allenai",)))[0]).watch
    assert is_watched(whole, "allenai/tulu") and not is_watched(whole, "allenai/tulu-GGUF")


@pytest.mark.parametrize("name", ["mine.yaml", "watchlists/mine.yaml", "clusters/mine.yaml"])
def test_nothing_is_overwritten_and_nothing_half_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(NewBoardError, match=f"{name}: exists already, and nothing was written"):
        write_board(tmp_path, make_answers())
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.yaml"]
    assert (tmp_path / name).read_text() == "mine"


def test_answers_that_make_no_valid_board_write_nothing_and_name_the_mistake(tmp_path: Path) -> None:
    with pytest.raises(NewBoardError, match=r"nothing was written:\nmine.yaml:\d+: title: must not be empty"):
        write_board(tmp_path / "new", make_answers(title=" "))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["yes", "Größe 8 😀", "a: b # c", "[x]", "- x", "'", '"', "7", "null"])
def test_any_text_stays_what_it_is(text: str, tmp_path: Path) -> None:
    bundle = load_board(write_board(tmp_path, make_answers(title=text, store=f"./{text.strip('?')}"))[0])
    assert bundle.board.title == text
    assert bundle.store == (tmp_path / text).resolve()


@pytest.mark.parametrize("text", ["", " ,", "../x", "a/b/c", "*", "la*/x", "lab/", "lab/[ab]", "-x", "lab/\x1b"])
def test_what_cannot_be_followed_is_refused(text: str) -> None:
    with pytest.raises(NewBoardError):
        parse_follow(text)


def test_names_and_suites_are_those_that_profiles_may_have(tmp_path: Path) -> None:
    assert parse_name("my-board.2") == "my-board.2"
    for name in ("", "Mine", "a b", "../x", "-x", "x" * 65):
        with pytest.raises(NewBoardError):
            parse_name(name)
    assert parse_suites("leaderboard-v2 quickstart") == ("leaderboard-v2", "quickstart")
    with pytest.raises(NewBoardError, match=r"name suites of .*leaderboard-v2.* \(got leaderbord\)"):
        parse_suites("leaderbord")
    assert propose_name(tmp_path / "My Böard!") == "my-b-ard"
    assert propose_name(Path("/")) == "mine"
