"""Writes the files of a new board: the board, its watch list and its cluster, as YAML with comments to change.

Overwrites nothing, and writes nothing that does not validate.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from nightboard.profiles.loading.load import list_profiles, validate_paths
from nightboard.profiles.models.base import MODEL_ID_PATTERN, NAME_PATTERN
from nightboard.tasks.cluster.places import Place
from nightboard.tasks.errors import TaskError

# What is proposed: a suite of minutes, and a model that every machine can run.
PROPOSED_SUITE = "quickstart"
PROPOSED_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Weights may take this share of the memory: a batch needs the rest.
_WEIGHTS_SHARE = 0.4
_BYTES_PER_PARAM = 2
_OTHER_FORMATS = ("*-GGUF", "*-gguf", "*-AWQ", "*-GPTQ*")
# Assumed of a GPU that nothing is known of.
_LEAST_GPU_GB = 24
# A larger model would take days on a CPU.
_MOST_ON_CPU_B = 3.0
_LONGEST_MIN = 1440


class NewBoardError(TaskError):
    """A board cannot be made of these answers; the message says why, and what to do."""


@dataclass(frozen=True)
class Answers:
    """What is asked of a person: everything that a new board's files need."""

    name: str
    title: str
    follow: tuple[str, ...]
    suites: tuple[str, ...]
    place: Place
    store: str


@dataclass(frozen=True)
class Tier:
    """A tier of the cluster profile."""

    name: str
    up_to_params_b: float
    gpus: int
    cpus: int
    mem_gb: int
    time_min: int


def write_board(folder: Path, answers: Answers) -> list[Path]:
    """Write a board's files below a folder, which may be new; the board's own file first.

    Raises NewBoardError if one of them exists, or the answers make no valid board; nothing is written then.
    """
    files = {folder / name: text for name, text in make_files(answers).items()}
    if existing := [str(path) for path in files if path.exists() or path.is_symlink()]:
        there = "exists" if len(existing) == 1 else "exist"
        raise NewBoardError(f"{', '.join(existing)}: {there} already, and nothing was written. Use another --name.")
    _require_valid(make_files(answers))
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(files)


def _require_valid(files: Mapping[str, str]) -> None:
    """Raise NewBoardError with the mistakes that `nightboard validate` would name."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in files.items():
            path = Path(scratch, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if mistakes := validate_paths([Path(scratch, name) for name in files]):
            told = "\n".join(mistakes).replace(f"{scratch}/", "")
            raise NewBoardError(f"the answers make no valid board, and nothing was written:\n{told}")


# ------------------------------------------------------------------------------------------------------------ answers


def parse_name(text: str) -> str:
    """A board's name, which is that of its files."""
    if not re.fullmatch(NAME_PATTERN, text) or len(text) > 64:
        raise NewBoardError(f"a name has small letters, digits, dots, - and _, such as my-board (got {text})")
    return text


def propose_name(folder: Path) -> str:
    """The folder's name as a board's name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")[:64]
    return name if re.fullmatch(NAME_PATTERN, name) else "mine"


def parse_follow(text: str) -> tuple[str, ...]:
    """Models (lab/model), organizations (lab) and patterns of an organization's models (lab/model-*), with commas."""
    words = split(text)
    for word in words:
        if not re.fullmatch(MODEL_ID_PATTERN, re.sub(r"[*?]+", "x", word)) or _is_pattern(word.partition("/")[0]):
            raise NewBoardError(
                f"write models such as lab/model, organizations, or patterns as lab/model-* (got {word})"
            )
    if not words:
        raise NewBoardError("name at least one model or organization")
    return words


def parse_store(text: str) -> str:
    """A folder; the board's own checks say what else it must be."""
    if not text:
        raise NewBoardError("name a folder")
    return text


def parse_suites(text: str) -> tuple[str, ...]:
    """Names of shipped suites, with commas."""
    words, known = split(text), list_suites()
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise NewBoardError(f"name suites of {', '.join(known)} (got {', '.join(unknown) or 'none'})")
    return words


def list_suites() -> list[str]:
    """The shipped suites, without those of the demo."""
    return [name for name in list_profiles()["suite"] if not name.startswith("demo")]


def split(text: str) -> tuple[str, ...]:
    """Words between commas or blanks, each once."""
    return tuple(dict.fromkeys(re.split(r"[,\s]+", text.strip(", \t\n")))) if text.strip(", \t\n") else ()


def find_place(text: str, places: Sequence[Place]) -> Place:
    """The place that a user names by its key."""
    by_key = {place.key: place for place in places}
    if text not in by_key:
        raise NewBoardError(f"write one of {', '.join(by_key)} (got {text})")
    return by_key[text]


# -------------------------------------------------------------------------------------------------------------- files


def make_files(answers: Answers) -> dict[str, str]:
    """The texts of a board's files by their names; the board's own first."""
    return {
        f"{answers.name}.yaml": _write_board(answers),
        f"watchlists/{answers.name}.yaml": _write_watchlist(answers),
        f"clusters/{answers.name}.yaml": _write_cluster(answers),
    }


def _write_board(answers: Answers) -> str:
    return f"""\
# A board: what is followed, by which suites, where it runs, and where everything is kept.
board: {answers.name}
title: {_quote(answers.title)}
watch: {answers.name}    # watchlists/{answers.name}.yaml
suites: [{", ".join(answers.suites)}]    # shipped: {", ".join(list_suites())}; or your own in suites/
cluster: {answers.name}    # clusters/{answers.name}.yaml
# A relative path starts at this file. Flows, jobs and readers must all see it.
store: {_quote(answers.store)}
# Its rankings show the models of the watch list, and what was imported from these sources:
# imports: [open-llm-leaderboard]
# `nightboard serve` and `deploy` start the nights by this; cron works, too.
schedule:
  cron: 0 2 * * *
  timezone: UTC
"""


def _write_watchlist(answers: Answers) -> str:
    models = [word for word in answers.follow if "/" in word and not _is_pattern(word)]
    owners = [word.partition("/")[0] for word in answers.follow if "/" not in word or _is_pattern(word)]
    patterns = [word for word in answers.follow if _is_pattern(word)]
    patterns += [f"{word}/*" for word in answers.follow if "/" not in word] if patterns else []
    others = [each for each in _OTHER_FORMATS if owners and not any(fnmatchcase(model, each) for model in models)]
    largest = make_tiers(answers.place)[-1].up_to_params_b
    parts = [
        "# Which models are followed. A pattern is matched against the whole id, with capitals; * matches a slash.",
        f"watchlist: {answers.name}",
        _write_list("organizations", dict.fromkeys(owners), "all models of these, as far as include lets them through"),
        _write_list("include", patterns, "of the organizations, only these"),
        _write_list("models", models, "these models, by name"),
        _write_list("exclude", others, "other formats of the same weights"),
        f"# What the largest tier of the cluster holds.\nmax_params_b: {largest:g}",
        "precision: auto    # the format that the weights are stored in; or bfloat16, float16, float32",
        "chat_template: auto    # used exactly when the tokenizer has one; or always, never",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _write_list(key: str, words: Iterable[str], comment: str) -> str:
    lines = [f"  - {_quote(word)}" for word in words]
    return "\n".join([f"# {comment[0].upper()}{comment[1:]}.", f"{key}:", *lines]) if lines else ""


def _write_cluster(answers: Answers) -> str:
    place = answers.place
    return "\n".join([
        f"# Where evaluations run, as `nightboard init` found it: {describe_place(place)}.",
        "# Change what does not fit; `nightboard validate` reports every mistake with its line.",
        f"cluster: {answers.name}",
        f"executor: {place.executor}",
        *_write_limits(place),
        "# A model uses the first tier that its weights fit: up_to_params_b x 2 GB. More GPUs hold a larger model.",
        *([_UNKNOWN_MEMORY] if place.gpus and place.gpu_memory_gb is None else []),
        *([_SHORT_MEMORY] if place.gpus and _find_room_gb(place, 1) < (place.gpu_memory_gb or _LEAST_GPU_GB) else []),
        "tiers:",
        *(line for tier in make_tiers(place) for line in _write_tier(tier, place)),
    ]) + "\n"  # fmt: skip


_UNKNOWN_MEMORY = f"# The memory of the GPUs is not known: {_LEAST_GPU_GB} GB each are assumed. Correct up_to_params_b."

_SHORT_MEMORY = "# The node's memory for each GPU is small: weights must pass through it, so it limits up_to_params_b."


def _write_limits(place: Place) -> Iterator[str]:
    if place.executor == "slurm":
        yield "# Most jobs in the queue, waiting or running, and most GPUs in use at once, over all flows on the store."
        yield "max_jobs: 100"
        yield from [f"max_gpus: {place.total_gpus}"] if place.gpus else []
        yield "# One sacct call per interval, for all open jobs together.\npoll_interval_s: 30"
        yield f"# Options for sbatch, under submitit's names.\nslurm:\n  partition: {_quote(str(place.partition))}"
        yield "  # account: my-account\n  # qos: normal\n  # setup: [module load cuda]    # lines before Python starts"
    else:
        yield "# Jobs at once; each has its own GPUs." if place.gpus else "# Jobs at once."
        yield f"max_jobs: {max(1, place.gpus)}"


def _write_tier(tier: Tier, place: Place) -> Iterator[str]:
    yield f"  - name: {tier.name}"
    yield f"    up_to_params_b: {tier.up_to_params_b:g}"
    yield f"    gpus: {tier.gpus}"
    if place.executor == "slurm":
        yield f"    cpus: {tier.cpus}"
        yield f"    mem_gb: {tier.mem_gb}"
    yield f"    time_min: {tier.time_min}    # longest time of a job"
    yield f"    batch_size: {'auto' if tier.gpus else 4}"
    if place.executor == "slurm":
        share, split_above = _choose_lengths(tier.time_min)
        yield f"    share_job_below_min: {share}    # shorter evaluations share a job"
        yield f"    shard_above_min: {split_above}    # longer ones are split"


def _choose_lengths(time_min: int) -> tuple[int, int]:
    """Below which length evaluations share a job, and above which they are split."""
    split_above = max(1, min(120, time_min // 2))
    return min(30, split_above), split_above


def make_tiers(place: Place) -> list[Tier]:
    """Tiers of 1, 2, 4 ... GPUs up to a node's, or one without GPUs."""
    time_min = min(place.time_min or _LONGEST_MIN, _LONGEST_MIN)
    if not place.gpus:
        size = _fit_size(min(place.mem_gb, _MOST_ON_CPU_B * _BYTES_PER_PARAM / _WEIGHTS_SHARE))
        return [Tier("cpu", size, 0, min(place.cpus, 16), _keep_memory(place.mem_gb), time_min)]
    counts = [count for count in (2**power for power in range(10)) if count < place.gpus]
    return [
        Tier(
            name="1-gpu" if count == 1 else f"{count}-gpus",
            up_to_params_b=_fit_size(_find_room_gb(place, count)),
            gpus=count,
            cpus=place.cpus * count,
            mem_gb=_keep_memory(place.mem_gb * count),
            time_min=time_min,
        )
        for count in (*counts, place.gpus)
    ]


def _find_room_gb(place: Place, count: int) -> float:
    """Memory of some GPUs, as far as the weights that fit it also fit the memory of the job, which they pass.

    sinfo tells 1 MB where SLURM was not told the memory: that limits nothing.
    """
    gpus_gb = count * (place.gpu_memory_gb or _LEAST_GPU_GB)
    return gpus_gb if place.mem_gb < 1 else min(gpus_gb, _keep_memory(place.mem_gb * count) / _WEIGHTS_SHARE)


def _fit_size(memory_gb: float) -> float:
    """Billions of parameters whose weights leave room for a batch; whole ones from 3 on."""
    size = memory_gb * _WEIGHTS_SHARE / _BYTES_PER_PARAM
    return float(int(size)) if size >= 3 else max(0.1, int(size * 10) / 10)


def _keep_memory(mem_gb: float) -> int:
    """What a job may ask for: the operating system keeps a tenth."""
    return max(1, int(mem_gb * 0.9))


def describe_place(place: Place) -> str:
    """A place in words."""
    hours = "no time limit" if place.time_min is None else f"jobs of at most {place.time_min:,} min"
    memory = "" if place.gpu_memory_gb is None else f" of {place.gpu_memory_gb:g} GB"
    kind = f" ({place.gpu_type})" if place.gpu_type else ""
    gpus = f"{place.gpus} {'GPU' if place.gpus == 1 else 'GPUs'}{kind}{memory}"
    each = "for each GPU " if place.gpus else ""
    room = f"{each}{place.cpus} cores and {place.mem_gb:.0f} GB of memory"
    if place.executor == "slurm":
        nodes = f"{place.nodes} {'node' if place.nodes == 1 else 'nodes'}"
        most = f"up to {gpus} a node, {place.total_gpus:,} in all" if place.gpus else "no GPUs"
        return f"SLURM's partition {place.partition}, {nodes}, {most}, {room}, {hours}"
    return f"this machine's {gpus}, {room}" if place.gpus else f"this machine's CPU, {room}"


def _is_pattern(word: str) -> bool:
    return "*" in word or "?" in word


def _quote(text: str) -> str:
    """A text as YAML: as it is where that is safe."""
    return (
        text
        if re.fullmatch(r"[A-Za-z][\w./-]*( [\w./-]+)*", text) and not _is_word_of_yaml(text)
        else json.dumps(text, ensure_ascii=False)
    )


def _is_word_of_yaml(text: str) -> bool:
    return text.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
