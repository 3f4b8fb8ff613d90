"""A cluster: its back end, its tiers of resources, its limits, what is passed to SLURM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from nightboard.profiles.models.base import Name, Profile
from nightboard.profiles.models.endings import RETRIES, Ending, Retry, fill_retries

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
    retries: Annotated[dict[Ending, Retry], BeforeValidator(fill_retries)] = Field(
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
