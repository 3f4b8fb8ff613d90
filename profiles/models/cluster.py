"""The cluster model: executor, tiers of resources, limits, retries, options for SLURM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from nightboard.profiles.models.base import Name, Profile
from nightboard.profiles.models.endings import RETRIES, Ending, Retry, fill_retries

# ------------------------------------------------------------------------------------------------------- clusters


class SlurmOptions(Profile):
    """Options that submitit passes to sbatch, under submitit's names, except those that are keys of a tier."""

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
        default=None, gt=0, description="seconds before the time limit at which a job gets the signal to stop"
    )
    additional_parameters: dict[str, str | int | float | bool] | None = Field(
        default=None, description="sbatch options that submitit has no name for"
    )
    python: str | None = Field(
        default=None,
        description="command that starts the node's Python, such as `apptainer exec --nv lm.sif python`; "
        "default: the Python that submits",
    )


# sbatch's names for options that nightboard has its own key for, and what to write instead.
SLURM_ELSEWHERE = {
    **dict.fromkeys(("time", "time_min", "timeout_min"), "Write time_min in the tier: a job's own limit is estimated."),
    **dict.fromkeys(("mem", "mem_gb"), "Write mem_gb in the tier."),
    "nodes": "Write nodes in the tier.",
    **dict.fromkeys(("gpus", "num_gpus", "gpus_per_node"), "Write gpus in the tier: GPUs of one node."),
    **dict.fromkeys(("cpus", "cpus_per_task"), "Write cpus in the tier."),
    **dict.fromkeys(("ntasks", "ntasks_per_node", "tasks_per_node"), "Remove it: a node runs one task."),
    **dict.fromkeys(("array", "array_parallelism"), "Write max_jobs, max_gpus or max_array_size in the cluster."),
    **dict.fromkeys(("name", "job_name"), "Remove it: nightboard names its arrays itself, to find them again."),
    **dict.fromkeys(
        ("output", "error", "open_mode", "folder", "stderr_to_stdout"), "Remove it: logs are written to the store."
    ),
    "signal": "Write signal_delay_s.",
    "slurm_python": "Write python.",
}


class Tier(Profile):
    """The resources of a job, for models up to a size. Tiers are tried in order; the first one that fits is used."""

    name: Name
    up_to_params_b: float = Field(gt=0)
    bytes_per_param: float = Field(
        default=2, gt=0, description="bytes per parameter that up_to_params_b assumes; float32 weights take 4"
    )
    gpus: int = Field(default=0, ge=0, description="GPUs of one node")
    nodes: int = Field(default=1, gt=0)
    cpus: int | None = Field(default=None, gt=0)
    mem_gb: float | None = Field(default=None, gt=0)
    time_min: int = Field(default=600, gt=0, description="longest time a job of this tier may run")
    backend: Literal["hf", "vllm"] = "hf"
    model_args: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="more arguments for lm-eval's model, such as max_model_len"
    )
    device: str | None = Field(default=None, description="torch device; default: cuda with GPUs, otherwise cpu")
    batch_size: Annotated[int, Field(gt=0)] | Literal["auto"] = 1
    share_job_below_min: float = Field(
        default=0, ge=0, description="shards estimated shorter than this share a job and run one after the other"
    )
    shard_above_min: float | None = Field(
        default=None, gt=0, description="evaluations estimated longer than this are split; default: never"
    )
    slurm: SlurmOptions = Field(default=SlurmOptions(), description="for this tier; overrides the cluster's options")

    @property
    def max_weights_gb(self) -> float:
        """The largest weights that fit the tier, in 10^9 bytes."""
        return self.up_to_params_b * self.bytes_per_param


class Cluster(Profile):
    """Where evaluations run and how many at once."""

    cluster: Name
    executor: Literal["local", "slurm", "dry"] = Field(description="dry writes all files and starts nothing")
    max_jobs: int = Field(default=1, gt=0, description="jobs open at once over all flows on one store")
    gpus: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        description="executor local: how many GPUs of this machine jobs may use, or their numbers; "
        "default: those that nvidia-smi lists and CUDA_VISIBLE_DEVICES allows",
    )
    max_gpus: int | None = Field(default=None, gt=0, description="GPUs in use at once over all arrays of the store")
    max_array_size: int | None = Field(
        default=None, gt=0, description="most jobs in an array; default: what the cluster allows"
    )
    poll_interval_s: float = Field(default=10, gt=0)
    time_headroom: float = Field(
        default=3, ge=1, description="a job's time limit is its estimate times this factor, up to the tier's time_min"
    )
    fetch_parallelism: int = Field(default=4, gt=0, description="parallel downloads")
    cache_gb: float | None = Field(
        default=None, gt=0, description="most space that models may use in the store's cache"
    )
    keep_models: bool = Field(default=False, description="keep a model in the cache after its evaluations")
    tiers: tuple[Tier, ...] = Field(min_length=1)
    slurm: SlurmOptions = SlurmOptions()
    retries: Annotated[dict[Ending, Retry], BeforeValidator(fill_retries)] = Field(
        default_factory=dict, description="by how an attempt ended; a missing entry is as shipped"
    )

    def retry(self, ending: Ending) -> Retry:
        """The retry rule after an ending: as declared, otherwise as shipped."""
        return self.retries.get(ending, RETRIES[ending])

    @model_validator(mode="after")
    def _check_gpus(self) -> Cluster:
        if self.gpus is None:
            return self
        if self.executor != "local":
            raise ValueError(f"gpus: is only for executor: local (got executor: {self.executor}). Remove it.")
        number = self.gpus if isinstance(self.gpus, int) else len(set(self.gpus))
        for tier in self.tiers:
            if tier.gpus > number:
                raise ValueError(
                    f"tiers: {tier.name} asks for more GPUs than this machine has, {number} (got {tier.gpus}). "
                    "Write a smaller number in the tier."
                )
        return self

    @model_validator(mode="after")
    def _check_tiers(self) -> Cluster:
        sizes = [tier.max_weights_gb for tier in self.tiers]
        if sizes != sorted(sizes):
            raise ValueError(f"tiers: must grow in size (got {sizes} GB of weights). Put the smallest first.")
        return self
