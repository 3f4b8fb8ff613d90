"""Only whole models are scored, from their own files: what has too little or too much, or never ends, fails."""

from __future__ import annotations

import ast
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import NOW
from node import FilledCache, Node, small_suite

from nightboard.tasks.evaluation import model_loaders as module
from nightboard.tasks.evaluation.check_weights import NotWhole, read_shapes
from nightboard.tasks.evaluation.failure_reasons import ShardError
from nightboard.tasks.runs.collect import collect_attempt
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Outcome

pytestmark = pytest.mark.real

WEIGHTS = "model.safetensors"
NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = j %}{% endfor %}{% endfor %}"
STAND_IN = "sys.path.insert(0, {tests!r}); import stand_in_vllm; stand_in_vllm.install({record!r}); "
SHORT = "import nightboard.tasks.evaluation.model_loaders as module; module._TEMPLATE_CPU_S = 0.5"


# ---------------------------------------------------------------------------------------------------- whole evaluations


def edit_weights(folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = edit(load_file(folder / WEIGHTS))
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def lose_head(folder: Path) -> None:
    edit_weights(folder, lambda tensors: {name: t for name, t in tensors.items() if name != "lm_head.weight"})


def add_prefix(folder: Path) -> None:
    edit_weights(folder, lambda tensors: {f"foreign.{name}": tensor for name, tensor in tensors.items()})


def cut_head(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors | {"lm_head.weight": tensors["lm_head.weight"][:100].copy()})


def add_layer(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors | {"model.layers.2.mlp.up_proj.weight": tensors["model.norm.weight"]})


def steal(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": f"../tiny/{WEIGHTS}"}}
    (folder / "tokenizer.safetensors.index.json").write_text(json.dumps(index))
    edit_config(folder, transformers_weights="tokenizer.safetensors.index.json")


def link(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder.parent / "tiny" / WEIGHTS)


def write_template(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text)


# name : what is done to the tiny model, what the attempt has that is unusual, the reason it ends with
BROKEN: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "headless": (lose_head, {}, "the weights are not the model's: they lack lm_head.weight"),
    "headless on vllm": (lose_head, {"backend": "vllm"}, "the weights are not the model's: they lack lm_head.weight"),
    "prefixed": (add_prefix, {}, "they lack lm_head.weight, model.embed_tokens.weight, model.layers.0."),
    "cut": (cut_head, {}, "lm_head.weight: the file has (100, 32), the model needs (258, 32)"),
    "grown": (add_layer, {}, "the model has no place for model.layers.2.mlp.up_proj.weight"),
    "thief": (steal, {}, "config.json: transformers_weights refers to something outside the model"),
    "huge": (lambda folder: edit_config(folder, num_hidden_layers=10**9), {}, "num_hidden_layers is 1000000000, but"),
    "blank": (
        lambda folder: write_template(folder, " \n"), {"chat_template": True}, "the chat template is empty.",
    ),
    "looping": (
        lambda folder: write_template(folder, NESTED), {"chat_template": True},
        "the chat template takes more than 0.5 s of computing for one prompt.",
    ),
    # Somebody did it on this machine: no fault of the model.
    "linked": (link, {}, "model.safetensors is a link or not a regular file"),
}  # fmt: skip


@pytest.fixture
def node(filled_cache: FilledCache, tmp_path: Path) -> Node:
    """A store whose cache has the good model and the broken ones."""
    cache = tmp_path / "store" / "cache"
    shutil.copytree(filled_cache.folder / "models", cache / "models")
    for folder in filled_cache.folder.iterdir():
        if folder.name != "models":
            (cache / folder.name).symlink_to(folder)
    for name, (damage, _, _) in BROKEN.items():
        folder = cache / "models" / name
        shutil.copytree(cache / "models" / "tiny", folder)
        for path in (folder, *folder.iterdir()):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
        damage(folder)
    return Node(Store(tmp_path / "store"), small_suite(filled_cache.shas))


def test_broken_models_fail_with_the_reason_and_leave_no_score(node: Node, tmp_path: Path) -> None:
    attempts = {
        name: node.prepare(attempt=number, benchmarks=("musr",), fingerprint=name, **unusual)
        for number, (name, (_, unusual, _)) in enumerate(BROKEN.items(), start=1)
    }
    record = tmp_path / "vllm"
    before = STAND_IN.format(tests=str(Path(__file__).parents[2] / "support"), record=str(record)) + SHORT

    done = node.run(*attempts.values(), before=before)

    states = ast.literal_eval(done.stdout.rpartition("STATES ")[2])
    assert states == [*["failed"] * (len(BROKEN) - 1), "cache_failed"], done.stderr
    reasons = {name: str(Outcome.read(folder / "outcome.json").reason) for name, folder in attempts.items()}
    assert {name: reason for name, reason in reasons.items() if BROKEN[name][2] not in reason} == {}
    assert not any(collect_attempt(node.store, folder, NOW).is_scored for folder in attempts.values())
    assert {path.parent.name for path in node.store.lake.rglob("*.parquet")} == {"attempts"}  # nothing to rank
    assert not record.exists()  # vLLM was not started


# ------------------------------------------------------------------------------------------------------ architectures


def save(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    return folder


def make(folder: Path, kind: str, **changes: Any) -> Path:
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 90, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**(sizes | changes))
    return save(folder, transformers.AutoModelForCausalLM.from_config(config))


def rehearse(folder: Path) -> None:
    module._rehearse(folder, read_shapes(folder, [WEIGHTS]), is_code_allowed=False)


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return module._WholeModels(AutoModelForCausalLM).from_pretrained(folder, use_safetensors=True)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Llama", {"tie_word_embeddings": True}), ("GPT2", {"n_embd": 16, "n_head": 2, "n_layer": 2}),
        ("Mixtral", {"num_local_experts": 3}), ("Gemma", {"head_dim": 8}), ("GPTNeoX", {}), ("Mamba", {}),
    ],
)  # fmt: skip
def test_whole_models_of_all_kinds_are_taken(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    """Tied weights are stored once, experts joined, and masks computed: none of it is missing."""
    folder = make(tmp_path / "m", kind, **changes)
    rehearse(folder)
    load(folder)


def test_experts_that_are_not_all_there_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", "Mixtral", num_local_experts=3)
    lost = "model.layers.0.block_sparse_moe.experts.2.w1.weight"
    edit_weights(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != lost})
    for judge in (rehearse, load):
        with pytest.raises(NotWhole, match=r"do not make up model\.layers\.0\.mlp\.experts\.gate_up_proj$"):
            judge(folder)


def test_the_real_load_counts_for_itself(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", "Llama")
    lose_head(folder)
    with pytest.raises(NotWhole, match=r"they lack lm_head\.weight$"):
        load(folder)


def test_packed_weights_without_a_head_are_noticed_before_they_are_loaded(tmp_path: Path) -> None:
    def pack(tensors: dict[str, Any]) -> dict[str, Any]:
        packed = {name: t for name, t in tensors.items() if "_proj" not in name and name != "lm_head.weight"}
        return packed | {
            f"{name.removesuffix('weight')}{part}": tensor[:, :2].copy()
            for name, tensor in tensors.items() if "_proj" in name for part in ("qweight", "scales")
        }  # fmt: skip

    folder = make(tmp_path / "m", "Llama")
    edit_weights(folder, pack)
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(NotWhole, match=r"they lack lm_head\.weight$"):
        rehearse(folder)


# The interruption may hit while an object is freed: Python reports it there, and the timer comes again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_model_that_takes_too_long_to_build_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "m", "Llama")
    edit_config(folder, num_hidden_layers=10**6)
    monkeypatch.setattr(module, "_BUILD_CPU_S", 0.5)
    with pytest.raises(ShardError, match=r"^building the model that config.json describes takes more than 0.5 s of"):
        rehearse(folder)


def test_a_job_that_is_stopped_in_a_rehearsal_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class UncompletedJobError(RuntimeError):
        """As submitit names it."""

    def stop(*_: object, **__: object) -> None:
        raise UncompletedJobError("timed out")

    folder = make(tmp_path / "m", "Llama")
    monkeypatch.setattr(module, "_load_shapes", stop)
    with pytest.raises(UncompletedJobError):
        rehearse(folder)


def test_an_architecture_that_transformers_does_not_know_is_left_to_the_back_end(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", "Llama")
    edit_config(folder, model_type="of_vllm_alone")
    rehearse(folder)
