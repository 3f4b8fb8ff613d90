"""A cluster that could not work is told before anything is submitted, with what to do; its retries are one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from nightboard.profiles.loading.load import load_cluster, validate_paths
from nightboard.profiles.models.cluster import SLURM_ELSEWHERE, SlurmOptions
from nightboard.profiles.models.endings import RETRIES, Ending, Retry

WriteProfile = Callable[[str, str], Path]

HEAD = "cluster: c\nexecutor: slurm\n"


def _mistakes(path: Path) -> list[str]:
    return [told.removeprefix(f"{path}:") for told in validate_paths([path])]


def _tier(keys: str) -> str:
    return f"{HEAD}tiers:\n  - {{name: a, up_to_params_b: 1, {keys}}}\n"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            _tier("gpus: 8, nodes: 2"),
            (
                "4: tiers[0].nodes: must be 1 with backend: hf, which cannot span nodes (got 2). Use backend: vllm, "
                "with slurm.setup lines that start Ray, or a tier of one node."
            ),
        ),
        (
            _tier("gpus: 8, nodes: 2, backend: vllm").replace("slurm", "local"),
            "4: tiers[0].nodes: must be 1 with executor: local (got 2). Remove it, or set executor: slurm.",
        ),
        (
            _tier("gpus: 8") + "max_gpus: 4\n",
            "4: tiers[0].gpus: needs more GPUs than max_gpus, 4 (got 1 x 8). Change one of them.",
        ),
        (
            _tier("gpus: 4, nodes: 3, backend: vllm") + "max_gpus: 8\n",
            "4: tiers[0].gpus: needs more GPUs than max_gpus, 8 (got 3 x 4).",
        ),
        (
            _tier("share_job_below_min: 30, shard_above_min: 20"),
            "4: tiers[0].shard_above_min: must be at least share_job_below_min, 30 (got 20).",
        ),
        (
            _tier("slurm: {mem_per_gpu: 8G}, mem_gb: 3"),
            "4: tiers[0]: asks for memory more than once (got mem_gb and slurm.mem_per_gpu). Keep one of them.",
        ),
        (
            _tier("mem_gb: 3") + "slurm: {mem_per_cpu: 8G}\n",
            "4: tiers[0]: asks for memory more than once (got mem_gb and slurm.mem_per_cpu).",
        ),
        (
            _tier("cpus: 3, slurm: {cpus_per_gpu: 8, gpus_per_task: 1}"),
            "4: tiers[0]: asks for cores twice (got cpus and slurm.cpus_per_gpu). Keep one of them.",
        ),
        (
            _tier("slurm: {cpus_per_gpu: 8}"),
            "4: tiers[0]: has slurm.cpus_per_gpu without slurm.gpus_per_task (got no gpus_per_task).",
        ),
        (
            _tier("gpus: 1").replace("slurm", "local") + "slurm: {partition: gpu}\n",
            "5: slurm.partition: is allowed only with executor: slurm (got executor: local). Remove it.",
        ),
        (
            _tier("slurm: {qos: high}").replace(": slurm", ": dry"),
            "4: tiers[0].slurm.qos: is allowed only with executor: slurm (got executor: dry). Remove it.",
        ),
    ],
)
def test_what_cannot_work_is_told(write: WriteProfile, text: str, mistake: str) -> None:
    (told,) = _mistakes(write("c.yaml", text))
    assert told.startswith(mistake), told


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pretrained", "is set by nightboard, from the model's commit"),
        ("revision", "is set by nightboard"),
        ("dtype", "is set in the watch list, because it can change the score"),
        ("trust_remote_code", "is set in the watch list"),
        ("device", "is set by the tier's own key"),
        ("batch_size", "is set by the tier's own key"),
        ("parallelize", "follows from the tier's gpus"),
        ("data_parallel_size", "would repeat the whole benchmark after a kill"),
        ("load_in_4bit", "would change the score, and the store does not record it"),
    ],
)
def test_arguments_of_the_model_that_nightboard_gives_are_refused(write: WriteProfile, name: str, reason: str) -> None:
    (told,) = _mistakes(write("c.yaml", _tier(f"model_args: {{{name}: 1}}")))
    assert told.startswith(f"4: tiers[0].model_args.{name}: must not be set: it {reason}"), told


@pytest.mark.parametrize("backend", ["hf", "vllm"])
def test_vllm_takes_a_number_of_gpus_and_hf_does_not(write: WriteProfile, backend: str) -> None:
    told = _mistakes(write("c.yaml", _tier(f"backend: {backend}, gpus: 8, model_args: {{tensor_parallel_size: 8}}")))
    assert told == (
        ["4: tiers[0].model_args.tensor_parallel_size: is for backend: vllm (got 8 with backend: hf). Remove it."]
        if backend == "hf"
        else []
    )


def test_many_nodes_with_vllm_are_in_order(write: WriteProfile) -> None:
    text = _tier("gpus: 8, nodes: 2, backend: vllm") + "slurm: {setup: [ray start --head]}\n"
    assert _mistakes(write("c.yaml", text)) == []


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "partitoin: x",
            "slurm.partitoin: is not a known key (got 'x'). Did you mean partition? Legal keys: partition, ",
        ),
        (
            "time: 30",
            "slurm.time: is not allowed here (got 30). Write time_min in the tier: a job's own limit is estimated.",
        ),
        ("mem: 4G", "slurm.mem: is not allowed here (got '4G'). Write mem_gb in the tier."),
        ("nodes: 2", "slurm.nodes: is not allowed here (got 2). Write nodes in the tier."),
        (
            "gpus_per_node: 2",
            "slurm.gpus_per_node: is not allowed here (got 2). Write gpus in the tier: GPUs of one node.",
        ),
        ("job-name: x", "slurm.job-name: is not allowed here (got 'x'). Remove it: nightboard names its arrays itself"),
        ("setup: module load", "slurm.setup: must be a list (got 'module load')."),
        (
            "additional_parameters: {job-name: x}",
            "slurm.additional_parameters.job-name: is not allowed here (got 'x'). Remove it: nightboard names its",
        ),
        (
            "additional_parameters: {--time: 30}",
            "slurm.additional_parameters.--time: is not allowed here (got 30). Write time_min in the tier",
        ),
        (
            "additional_parameters: {mail-user: x}",
            "slurm.additional_parameters.mail-user: is not allowed here (got 'x'). Write it as slurm.mail_user.",
        ),
    ],
)
@pytest.mark.parametrize("place", ["", "tiers[0]."])
def test_an_option_of_sbatch_is_refused_with_where_it_belongs(
    write: WriteProfile, option: str, told: str, place: str
) -> None:
    text = _tier(f"slurm: {{{option}}}") if place else f"{HEAD}slurm: {{{option}}}\n" + _tier("gpus: 0")[len(HEAD) :]
    (mistake,) = _mistakes(write("c.yaml", text))
    assert mistake.partition(" ")[2].startswith(place + told), mistake


def test_an_unknown_option_is_answered_with_all_legal_names(write: WriteProfile) -> None:
    (mistake,) = _mistakes(write("c.yaml", _tier("slurm: {colour: red}")))
    assert mistake.endswith(f"Legal keys: {', '.join(SlurmOptions.model_fields)}.")


def test_everything_that_submitit_passes_on_is_declared_or_said_elsewhere() -> None:
    from submitit.slurm import slurm

    passed_on = set(inspect.signature(slurm._make_sbatch_string).parameters)
    own = {"command", "map_count", "stderr_to_stdout"}
    assert passed_on - own <= set(SlurmOptions.model_fields) | set(SLURM_ELSEWHERE)
    assert not set(SlurmOptions.model_fields) & set(SLURM_ELSEWHERE)


# ----------------------------------------------------------------------------------------------------------- retries


def test_every_ending_has_a_shipped_retry() -> None:
    assert set(RETRIES) == set(get_args(Ending))


def test_a_retry_that_is_declared_in_part_keeps_the_rest_as_shipped(write: WriteProfile) -> None:
    text = _tier("gpus: 1") + "retries:\n  failed: {attempts: 7}\n  out_of_memory: {same_run: false}\n"
    cluster = load_cluster(write("c.yaml", text))
    assert cluster.retry("failed") == Retry(attempts=7, next="resume", same_run=False)
    assert cluster.retry("out_of_memory") == Retry(attempts=4, next="shrink", same_run=False)
    assert cluster.retry("timeout") == RETRIES["timeout"]


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        (
            "faild: {attempts: 3}",
            (
                "6: retries.faild: is not a known key (got 'faild'). Did you mean failed? Legal keys: timeout, "
                "deadline, preempted, node_fail, boot_fail, revoked, interrupted, not_started, out_of_memory, failed, "
                "invalid, fetch_failed, hub_failed, cache_failed, environment, harness, cancelled."
            ),
        ),
        ("fetch: 3", "6: retries.fetch: is not a known key (got 'fetch'). Did you mean fetch_failed? Legal keys: "),
        (
            "failed: 2",
            (
                "6: retries.failed: must be a mapping of keys to values (got 2). Write `key: value` lines under it; "
                "legal keys: attempts, next, same_run."
            ),
        ),
        ("failed: {attempts: 0}", "6: retries.failed.attempts: must be more than 0 (got 0)."),
        (
            "failed: {next: shirnk}",
            "6: retries.failed.next: must be resume or shrink (got 'shirnk'). Did you mean shrink?",
        ),
        (
            "failed: {same_rnu: true}",
            "6: retries.failed.same_rnu: is not a known key (got true). Did you mean same_run?",
        ),
    ],
)
def test_a_mistake_in_the_table_of_retries_is_told(write: WriteProfile, line: str, mistake: str) -> None:
    (told,) = _mistakes(write("c.yaml", f"{_tier('gpus: 1')}retries:\n  {line}\n"))
    assert told.startswith(mistake), told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("executor: local\ngpus: 1", "tiers: big asks for more GPUs than this machine has, 1 (got 2)."),
        ("executor: local\ngpus: [3, 3]", "tiers: big asks for more GPUs than this machine has, 1 (got 2)."),
        ("executor: slurm\ngpus: 2", "gpus: is only for executor: local (got executor: slurm). Remove it."),
        ("executor: local\ngpus: 2", None),
        ("executor: local\ngpus: [1, 5]", None),
    ],
)
def test_gpus_of_the_machine_are_declared_for_local_jobs_and_must_do_for_every_tier(
    write: WriteProfile, text: str, message: str | None
) -> None:
    path = write("c.yaml", f"cluster: c\n{text}\ntiers:\n  - {{name: big, up_to_params_b: 1, gpus: 2}}\n")
    found = _mistakes(path)
    assert len(found) == (message is not None), found
    assert message is None or message in found[0]
