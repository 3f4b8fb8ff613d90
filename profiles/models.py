"""The typed form of every profile: what an operator declares, and nothing that was computed.

Owns the shape of suites, clusters, watch lists, organisations and boards. Reads no file (`load.py` does) and
knows nothing of the warehouse: what is declared here reaches SQL as rows.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nightboard.profiles.schedule import find_cron_problem, find_timezone_problem

# A repository id on the Hub: `name` or `organization/name`. Nothing else ever becomes part of a path or a request.
MODEL_ID_PATTERN = r"^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"

ModelId = Annotated[str, Field(pattern=MODEL_ID_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


def _parse_bound(value: object) -> object:
    """Accept a fraction such as `1/3`, so that a bound is exact in the file and nearest in binary."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _refuse(find_problem: Callable[[str], str | None]) -> AfterValidator:
    """Refuse a text in which `find_problem` finds `what is wrong. what to do`."""

    def check(value: str) -> str:
        problem = find_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _find_blank(text: str) -> str | None:
    return None if text.strip() else "must not be empty. Write some text"


def _find_slash(text: str) -> str | None:
    return "must be an organization, not a model. Write the part before the slash" if "/" in text else None


Text = Annotated[str, _refuse(_find_blank)]
OrganizationId = Annotated[ModelId, _refuse(_find_slash)]
Cron = Annotated[str, _refuse(find_cron_problem)]
TimeZone = Annotated[str, _refuse(find_timezone_problem)]

Bound = Annotated[float, BeforeValidator(_parse_bound), Field(ge=0, lt=1)]
Share = Annotated[float, BeforeValidator(_parse_bound), Field(gt=0, le=1)]


class Profile(BaseModel):
    """Base of all profile models: immutable, and an unknown key is an error.

    The text of a ValueError raised by a validator of a whole model reads `key: what is wrong (got ...). what to do.`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Precision(StrEnum):
    """Number format the weights are loaded in. `auto` is the format the weights are stored in."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class ChatTemplate(StrEnum):
    """Whether prompts go through the tokenizer's chat template. `auto`: exactly when the tokenizer has one."""

    auto = "auto"
    always = "always"
    never = "never"


def _read_member(kind: type[StrEnum]) -> BeforeValidator:
    """Let a member be written as text even where types are strict, as they are for files."""
    members = {str(member): member for member in kind}
    return BeforeValidator(lambda value: members.get(value, value) if isinstance(value, str) else value)


PrecisionName = Annotated[Precision, _read_member(Precision)]
ChatTemplateName = Annotated[ChatTemplate, _read_member(ChatTemplate)]


# --------------------------------------------------------------------------------------------------------- suites


class TaskSpec(Profile):
    """One lm-eval leaf task of a benchmark."""

    samples: int = Field(gt=0, description="documents that lm-eval scores in a full run")
    choices: int = Field(
        default=0,
        ge=0,
        description="answers to choose from; 0 where text is generated or the number differs by question",
    )
    lower_bound: Bound = Field(default=0.0, description="score of random guessing, a fraction 0..1")
    config: str | None = Field(default=None, description="configuration (subset) of the data set that the task loads")


class DatasetSpec(Profile):
    """The data set a benchmark is made of."""

    id: ModelId
    sha: Sha | None = Field(
        default=None, description="commit to use; left out: the head, pinned in the store on first use"
    )


class Benchmark(Profile):
    """A column of the leaderboard: an lm-eval group (or task), and how its tasks become one score."""

    title: Text
    group: str = Field(description="lm-eval group or task that is called; the unit of a call and of resuming")
    dataset: DatasetSpec
    shots: int = Field(ge=0)
    metrics: tuple[str, ...] = Field(min_length=1, description="lm-eval metrics whose mean is a task's score")
    filter: str = "none"
    aggregate: Literal["mean", "pooled"] = Field(description="mean: unweighted over tasks; pooled: weighted by samples")
    normalize: Literal["task", "benchmark"] = Field(description="where the baseline is subtracted: per task, or once")
    lower_bound: Bound = Field(
        default=0.0, description="baseline of the whole benchmark, used with normalize: benchmark"
    )
    max_new_tokens: int | None = Field(
        default=None, gt=0, description="longest generated answer; none: nothing is generated"
    )
    harness_data: tuple[str, ...] = Field(
        default=(), description="nltk resources that the task needs, such as punkt_tab"
    )
    cut_documents: int | None = Field(
        default=None,
        gt=0,
        description="long evaluations may be cut every so many documents; none: never. Only for fixed or first_n shots",
    )
    question_field: str | None = Field(
        default=None,
        min_length=1,
        description="field of a document that tells its question, where tasks share questions; none: they share none",
    )
    independent_share: Share = Field(
        default=1.0,
        description="how much of the samples is worth as independent ones: 1 where tasks share no questions",
    )
    tasks: dict[str, TaskSpec] = Field(min_length=1)


class Era(Profile):
    """Rows of a suite that may be ranked together: the same versions of the same tasks.

    A task that is not listed may have any version. A doc_set_hash that is not listed is the one of the era's
    first evaluation in the store.
    """

    name: Name
    is_current: bool = False
    since: str | None = Field(default=None, description="when the leaderboard moved to it, ISO date")
    task_versions: dict[str, str] = Field(default_factory=dict)
    shots: dict[str, int] = Field(default_factory=dict)
    doc_set_hashes: dict[str, str] = Field(default_factory=dict)


class Harness(Profile):
    """The lm-eval that runs the suite."""

    version: str
    task_folders: tuple[str, ...] = Field(
        default=(), description="folders under lm_eval/tasks to index (fast); empty: all of them (about 11 s)"
    )


class Suite(Profile):
    """A named set of benchmarks with everything that decides a score. `extends:` is already applied."""

    suite: Name
    title: Text
    extends: Name | None = None
    harness: Harness
    seed: int = 1234
    limit: int | None = Field(default=None, gt=0, description="score only the first N documents of a task")
    benchmarks: dict[Name, Benchmark] = Field(min_length=1)
    eras: tuple[Era, ...] = ()

    def expected_samples(self, task: TaskSpec) -> int:
        """Documents that a complete evaluation scores in `task`."""
        return task.samples if self.limit is None else min(task.samples, self.limit)

    @model_validator(mode="after")
    def _check_eras(self) -> Suite:
        if self.eras and sum(era.is_current for era in self.eras) != 1:
            raise ValueError("eras: exactly one must be current (got another number). Set is_current: true on one era.")
        return self


# ------------------------------------------------------------------------------------------------------- clusters


class SlurmOptions(Profile):
    """What submitit passes to sbatch, under submitit's names. What a tier says itself is not repeated here."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    gres: str | None = None
    exclusive: bool | Literal["user", "mcs"] | None = None
    cpus_per_gpu: int | None = Field(default=None, gt=0)
    gpus_per_task: int | None = Field(default=None, gt=0)
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    dependency: str | None = None
    comment: str | None = None
    mail_type: str | None = None
    mail_user: str | None = None
    wckey: str | None = None
    setup: tuple[str, ...] | None = Field(default=None, description="shell lines that run on the node before Python")
    teardown: tuple[str, ...] | None = Field(default=None, description="shell lines that run on the node after it")
    srun_args: tuple[str, ...] | None = None
    use_srun: bool | None = None
    signal_delay_s: int | None = Field(
        default=None, gt=0, description="seconds before the time limit at which a job is told to stop"
    )
    additional_parameters: dict[str, str | int | float | bool] | None = Field(
        default=None, description="sbatch options that submitit has no name for"
    )
    python: str | None = Field(
        default=None,
        description="command that starts the node's Python, such as `apptainer exec --nv lm.sif python`; "
        "left out: the one that submits",
    )


# What to do about sbatch's own names for what is said elsewhere.
SLURM_ELSEWHERE = {
    **dict.fromkeys(("time", "time_min", "timeout_min"), "Write time_min in the tier: a job's own limit is estimated."),
    **dict.fromkeys(("mem", "mem_gb"), "Write mem_gb in the tier."),
    "nodes": "Write nodes in the tier.",
    **dict.fromkeys(("gpus", "num_gpus", "gpus_per_node"), "Write gpus in the tier: a node's."),
    **dict.fromkeys(("cpus", "cpus_per_task"), "Write cpus in the tier."),
    **dict.fromkeys(("ntasks", "ntasks_per_node", "tasks_per_node"), "Leave it out: a node runs one task."),
    **dict.fromkeys(("array", "array_parallelism"), "Write max_jobs, max_gpus or max_array_size in the cluster."),
    **dict.fromkeys(("name", "job_name"), "Leave it out: nightboard finds an array again by the name it gives it."),
    **dict.fromkeys(
        ("output", "error", "open_mode", "folder", "stderr_to_stdout"), "Leave it out: logs lie in the store."
    ),
    "signal": "Write signal_delay_s.",
    "slurm_python": "Write python.",
}

# The words for how an attempt ended: SLURM's states in small letters, and nightboard's own.
Ending = Literal[
    "timeout", "deadline", "preempted", "node_fail", "boot_fail", "revoked", "interrupted", "not_started",
    "out_of_memory", "failed", "invalid", "fetch_failed", "hub_failed", "cache_failed",
    "environment", "harness", "cancelled",
]  # fmt: skip

# What an ending is to be charged to. `environment`: a node, its disk, GPUs or installed packages.
Party = Literal["model", "environment", "cluster", "hub", "harness", "operator"]

AT_FAULT: dict[Ending, Party] = {
    "timeout": "model",
    "deadline": "cluster",
    "preempted": "cluster",
    "node_fail": "cluster",
    "boot_fail": "cluster",
    "revoked": "cluster",
    "interrupted": "cluster",
    "not_started": "cluster",
    "out_of_memory": "model",
    "failed": "model",
    "invalid": "model",
    "fetch_failed": "model",
    "hub_failed": "hub",
    "cache_failed": "environment",
    "environment": "environment",
    "harness": "harness",
    "cancelled": "operator",
}


def is_lasting(ending: Ending) -> bool:
    """Whether attempts that ended so are counted over all runs: the model's own, and what somebody has cancelled."""
    return AT_FAULT[ending] in ("model", "operator")


class Retry(Profile):
    """What follows when an attempt ended in one way. In a cluster's file, what is left out is as in RETRIES."""

    attempts: int = Field(
        gt=0,
        description="attempts that may end so: in all where the model is the cause, or it was cancelled; then the"
        " evaluation stops until `nightboard retry`. In one run where the cause is another; the next run begins anew",
    )
    next: Literal["resume", "shrink"] = Field(
        default="resume",
        description="resume: go on from what is finished; shrink: with half the batch, the time after in the next tier",
    )
    tonight: bool = Field(default=True, description="try again in the same run; false: in the next one")


RETRIES: dict[Ending, Retry] = {
    "timeout": Retry(attempts=5),
    "deadline": Retry(attempts=5),
    "preempted": Retry(attempts=10),
    "node_fail": Retry(attempts=5),
    "boot_fail": Retry(attempts=5),
    "revoked": Retry(attempts=5),
    "interrupted": Retry(attempts=5),
    "not_started": Retry(attempts=20),
    "out_of_memory": Retry(attempts=4, next="shrink"),
    "failed": Retry(attempts=2, tonight=False),
    "invalid": Retry(attempts=2, tonight=False),
    "fetch_failed": Retry(attempts=3, tonight=False),
    "hub_failed": Retry(attempts=1, tonight=False),
    "cache_failed": Retry(attempts=1, tonight=False),
    "environment": Retry(attempts=5),
    "harness": Retry(attempts=1, tonight=False),
    "cancelled": Retry(attempts=1, tonight=False),
}


def _fill_retries(value: object) -> object:
    """Complete each declared retry from the shipped one of the same ending."""
    if not isinstance(value, dict):
        return value
    shipped: dict[str, Retry] = {str(ending): retry for ending, retry in RETRIES.items()}
    return {
        ending: shipped[ending].model_dump() | given if ending in shipped and isinstance(given, dict) else given
        for ending, given in value.items()
    }


class Tier(Profile):
    """What a job of models up to a size gets. Tiers are tried in order; the first that fits is taken."""

    name: Name
    up_to_params_b: float = Field(gt=0)
    bytes_per_param: float = Field(
        default=2, gt=0, description="bytes a parameter that up_to_params_b counts on; float32 weights take 4"
    )
    gpus: int = Field(default=0, ge=0, description="a node")
    nodes: int = Field(default=1, gt=0)
    cpus: int | None = Field(default=None, gt=0)
    mem_gb: float | None = Field(default=None, gt=0)
    time_min: int = Field(default=600, gt=0, description="longest a job of this tier may run")
    backend: Literal["hf", "vllm"] = "hf"
    model_args: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="more arguments for lm-eval's model, such as max_model_len"
    )
    device: str | None = Field(default=None, description="torch device; left out: cuda with GPUs, else cpu")
    batch_size: Annotated[int, Field(gt=0)] | Literal["auto"] = 1
    share_job_below_min: float = Field(
        default=0, ge=0, description="shards estimated shorter than this share a job, one after the other"
    )
    shard_above_min: float | None = Field(
        default=None, gt=0, description="evaluations estimated longer than this are split; left out: never"
    )
    slurm: SlurmOptions = Field(default=SlurmOptions(), description="for this tier, over the cluster's own")

    @property
    def max_weights_gb(self) -> float:
        """The largest weights that the tier takes, in 10^9 bytes."""
        return self.up_to_params_b * self.bytes_per_param


class Cluster(Profile):
    """Where evaluations run and how many at once."""

    cluster: Name
    executor: Literal["local", "slurm", "dry"] = Field(description="dry writes everything and starts nothing")
    max_jobs: int = Field(default=1, gt=0, description="jobs open at once over all flows on one store")
    gpus: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        description="executor local: how many GPUs this machine has for jobs, or their numbers; "
        "left out: those that nvidia-smi finds and CUDA_VISIBLE_DEVICES allows",
    )
    max_gpus: int | None = Field(default=None, gt=0, description="GPUs in use at once over all arrays of the store")
    max_array_size: int | None = Field(
        default=None, gt=0, description="jobs an array; left out: what the cluster allows"
    )
    poll_interval_s: float = Field(default=10, gt=0)
    time_headroom: float = Field(
        default=3, ge=1, description="a job's time limit is its estimate so many times, up to the tier's"
    )
    fetch_parallelism: int = Field(default=4, gt=0, description="downloads at once")
    cache_gb: float | None = Field(default=None, gt=0, description="most that models may take in the store's cache")
    keep_models: bool = Field(default=False, description="leave a model in the cache when its evaluations are over")
    tiers: tuple[Tier, ...] = Field(min_length=1)
    slurm: SlurmOptions = SlurmOptions()
    retries: Annotated[dict[Ending, Retry], BeforeValidator(_fill_retries)] = Field(
        default_factory=dict, description="by how an attempt ended; what is left out is as shipped"
    )

    def retry(self, ending: Ending) -> Retry:
        """What follows an ending: as declared, else as shipped."""
        return self.retries.get(ending, RETRIES[ending])

    @model_validator(mode="after")
    def _check_gpus(self) -> Cluster:
        if self.gpus is None:
            return self
        if self.executor != "local":
            raise ValueError(f"gpus: is for the executor local (got {self.executor}). Leave it out.")
        number = self.gpus if isinstance(self.gpus, int) else len(set(self.gpus))
        for tier in self.tiers:
            if tier.gpus > number:
                raise ValueError(
                    f"tiers: {tier.name} asks for more GPUs than the machine has (got {tier.gpus} of {number}). "
                    "Write a smaller number in the tier."
                )
        return self

    @model_validator(mode="after")
    def _check_tiers(self) -> Cluster:
        sizes = [tier.max_weights_gb for tier in self.tiers]
        if sizes != sorted(sizes):
            raise ValueError(f"tiers: must grow in size (got {sizes} GB of weights). Put the smallest first.")
        return self


# ---------------------------------------------------------------------------------------------------- watch lists


class ModelSettings(Profile):
    """How a model is run. A setting that is left out is taken from the next wider place."""

    precision: PrecisionName | None = None
    chat_template: ChatTemplateName | None = None
    fewshot_as_multiturn: bool | None = None
    trust_remote_code: bool | None = None
    suites: tuple[Name, ...] | None = Field(default=None, description="run only these of the board's suites")


class WatchedModel(ModelSettings):
    """One explicit model. Without revisions and branches its main branch is followed."""

    id: ModelId
    revisions: tuple[Text, ...] = Field(default=(), description="commits, tags or branches by name")
    branches: tuple[Text, ...] = Field(default=(), description="patterns of branch names, such as step-*")


class WatchRule(ModelSettings):
    """Settings for all models whose id matches a pattern; a later rule wins over an earlier one."""

    match: Text


def _expand_model(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


class WatchList(Profile):
    """Which models are followed and how they are run."""

    watchlist: Name
    organizations: tuple[OrganizationId, ...] = ()
    models: tuple[Annotated[WatchedModel, BeforeValidator(_expand_model)], ...] = ()
    include: tuple[Text, ...] = Field(default=("*",), description="patterns of ids to take from the organisations")
    exclude: tuple[Text, ...] = Field(default=(), description="patterns of ids to leave out, explicit models included")
    max_params_b: float | None = Field(default=None, gt=0)
    precision: PrecisionName = Precision.auto
    chat_template: ChatTemplateName = ChatTemplate.auto
    fewshot_as_multiturn: bool = True
    trust_remote_code: bool = False
    rules: tuple[WatchRule, ...] = ()

    @model_validator(mode="after")
    def _check_not_empty(self) -> WatchList:
        if not self.organizations and not self.models:
            raise ValueError("watchlist: watches nothing (got neither organizations nor models). List some.")
        return self


# ------------------------------------------------------------------------------------------- organisations, boards


class Organization(Profile):
    """An organisation on the Hub, as readers should see it."""

    display_name: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(default=None, description="ISO 3166-1 alpha-2")


class Organizations(Profile):
    """Display names and countries by organisation id."""

    organizations: dict[OrganizationId, Organization]


class Schedule(Profile):
    """When the nightly flow runs."""

    cron: Cron = "0 2 * * *"
    timezone: TimeZone = "UTC"


class Board(Profile):
    """What an operator runs: watch list + suites + cluster + store + schedule."""

    board: Name
    title: Text
    watch: Name
    suites: tuple[Name, ...] = Field(min_length=1)
    cluster: Name
    store: Text = Field(
        description="folder; a relative one starts at the board file, or at the working folder for shipped boards"
    )
    organizations: Name = "organizations"
    hub: str = Field(default="https://huggingface.co", pattern=r"^https?://")
    schedule: Schedule = Schedule()
