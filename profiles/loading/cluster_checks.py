"""Checks of a cluster: tiers, options for sbatch and arguments for lm-eval that would fail hours later."""

from __future__ import annotations

from collections.abc import Iterator

from nightboard.profiles.errors import KeyPath, Mistake
from nightboard.profiles.loading.checks import check_twice
from nightboard.profiles.loading.type_errors import find_elsewhere
from nightboard.profiles.loading.yaml_file import Document
from nightboard.profiles.models.cluster import Cluster, SlurmOptions, Tier

_BY_COMMIT = "is set by nightboard, from the model's commit"
_BY_WATCHLIST = "is set in the watch list, because it can change the score"
_BY_TIER = "is set by the tier's own key"
_BY_STORE = "would change the score, and the store does not record it"
# Arguments of lm-eval's models that a tier must not set, and why.
_RESERVED_ARGS = {
    **dict.fromkeys(("pretrained", "revision", "subfolder", "tokenizer", "tokenizer_revision", "model"), _BY_COMMIT),
    **dict.fromkeys(("peft", "delta", "lora_local_path", "gguf_file", "use_safetensors"), _BY_COMMIT),
    **dict.fromkeys(("dtype", "trust_remote_code", "chat_template"), _BY_WATCHLIST),
    **dict.fromkeys(("batch_size", "device"), _BY_TIER),
    "parallelize": "follows from the tier's gpus",
    # lm-eval restarts vLLM for every chunk, and stores no answer before the last one of a benchmark.
    "data_parallel_size": "would repeat the whole benchmark after a kill; use shard_above_min to spread it",
    **dict.fromkeys(("load_in_8bit", "load_in_4bit", "quantization", "autogptq", "gptqmodel"), _BY_STORE),
    **dict.fromkeys(("add_bos_token", "prefix_token_id", "use_fast_tokenizer", "tokenizer_mode"), _BY_STORE),
    **dict.fromkeys(("enable_thinking", "think_end_token", "chat_template_args"), _BY_STORE),
    **dict.fromkeys(("mixed_precision_dtype", "softmax_dtype"), _BY_STORE),
    **dict.fromkeys(("seed", "max_gen_toks"), "is set by the suite"),
}


def check_cluster(document: Document, cluster: Cluster) -> Iterator[Mistake]:
    """Every tier can run and has a unique name, and every option has an effect."""
    yield from check_twice(document, ("tiers",), [tier.name for tier in cluster.tiers], "name")
    yield from _check_options(document, (), cluster, cluster.slurm)
    for index, tier in enumerate(cluster.tiers):
        key: KeyPath = ("tiers", index)
        yield from _check_size(document, key, cluster, tier)
        yield from _check_model_args(document, key, tier)
        yield from _check_options(document, key, cluster, tier.slurm)
        yield from _check_conflicts(document, key, cluster, tier)


def _check_size(document: Document, key: KeyPath, cluster: Cluster, tier: Tier) -> Iterator[Mistake]:
    """GPUs, nodes and lengths of jobs are possible."""
    gpus, most = tier.gpus * tier.nodes, cluster.max_gpus
    if most is not None and gpus > most:
        text = f"needs more GPUs than max_gpus, {most} (got {tier.nodes} x {tier.gpus}). Change one of them."
        yield document.mistake((*key, "gpus"), text)
    if tier.nodes > 1 and cluster.executor != "slurm":
        text = f"must be 1 with executor: {cluster.executor} (got {tier.nodes}). Remove it, or set executor: slurm."
        yield document.mistake((*key, "nodes"), text)
    elif tier.nodes > 1 and tier.backend == "hf":
        advice = "Use backend: vllm, with slurm.setup lines that start Ray, or a tier of one node"
        text = f"must be 1 with backend: hf, which cannot span nodes (got {tier.nodes}). {advice}."
        yield document.mistake((*key, "nodes"), text)
    if tier.shard_above_min is not None and tier.shard_above_min < tier.share_job_below_min:
        text = f"must be at least share_job_below_min, {tier.share_job_below_min:g} (got {tier.shard_above_min:g})."
        yield document.mistake(
            (*key, "shard_above_min"), f"{text} Otherwise split shards would share a job again: change one."
        )


def _check_model_args(document: Document, key: KeyPath, tier: Tier) -> Iterator[Mistake]:
    """No argument is one that nightboard sets itself, or that changes a score without a record of it."""
    for name, value in tier.model_args.items():
        place = (*key, "model_args", name)
        if reason := _RESERVED_ARGS.get(name):
            yield document.mistake(place, f"must not be set: it {reason} (got {value!r}). Remove it.")
        elif name == "tensor_parallel_size" and tier.backend != "vllm":
            yield document.mistake(
                place, f"is for backend: vllm (got {value!r} with backend: {tier.backend}). Remove it."
            )


def _check_options(document: Document, key: KeyPath, cluster: Cluster, options: SlurmOptions) -> Iterator[Mistake]:
    """Options for sbatch are set only with executor: slurm, and under the name that is checked."""
    if cluster.executor != "slurm":
        for name in sorted(options.model_fields_set):
            text = f"is allowed only with executor: slurm (got executor: {cluster.executor}). Remove it."
            yield document.mistake((*key, "slurm", name), text)
    for name, value in (options.additional_parameters or {}).items():
        plain = name.lower().lstrip("-").replace("-", "_")
        known = f"Write it as slurm.{plain}." if plain in SlurmOptions.model_fields else None
        if advice := known or find_elsewhere(name):
            place = (*key, "slurm", "additional_parameters", name)
            yield document.mistake(place, f"is not allowed here (got {value!r}). {advice}")


def _check_conflicts(document: Document, key: KeyPath, cluster: Cluster, tier: Tier) -> Iterator[Mistake]:
    """No combination that sbatch rejects, in the cluster's and the tier's options together."""
    options = {name: value for part in (cluster.slurm, tier.slurm) for name, value in part if value is not None}
    per_unit = [name for name in ("mem_per_gpu", "mem_per_cpu") if name in options]
    if len(per_unit) > 1 or (per_unit and tier.mem_gb is not None):
        names = " and ".join((["mem_gb"] if tier.mem_gb is not None else []) + [f"slurm.{name}" for name in per_unit])
        yield document.mistake(key, f"asks for memory more than once (got {names}). Keep one of them.")
    if "cpus_per_gpu" in options and tier.cpus is not None:
        yield document.mistake(key, "asks for cores twice (got cpus and slurm.cpus_per_gpu). Keep one of them.")
    elif "cpus_per_gpu" in options and "gpus_per_task" not in options:
        text = "has slurm.cpus_per_gpu without slurm.gpus_per_task (got no gpus_per_task). Write cpus instead."
        yield document.mistake(key, text)
