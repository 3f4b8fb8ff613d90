"""What transformers tells of a load becomes one sentence that names the parameters, or nothing when all is there."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from served_hub import make_safetensors

from nightboard.tasks.evaluation.check_weights import NotWhole, check_whole, count_numbers, read_shapes


def info(missing: tuple[str, ...] = (), unexpected: tuple[str, ...] = (), mismatched: Any = ()) -> dict[str, Any]:
    return {
        "missing_keys": set(missing), "unexpected_keys": set(unexpected), "mismatched_keys": set(mismatched),
        "error_msgs": [],
    }  # fmt: skip


def reason(told: dict[str, Any], is_packed: bool = False) -> str:
    with pytest.raises(NotWhole) as caught:
        check_whole(told, is_packed)
    return str(caught.value).removeprefix("the weights are not the model's: ")


def test_parameters_without_numbers_are_named_and_counted() -> None:
    assert reason(info(missing=("lm_head.weight",))) == "they lack lm_head.weight"
    layers = tuple(f"model.layers.{i}.mlp.up_proj.weight" for i in range(9))
    assert reason(info(missing=layers)).endswith("model.layers.4.mlp.up_proj.weight and 4 more")


def test_other_shapes_are_told_with_both() -> None:
    told = info(mismatched=[("lm_head.weight", (1000, 64), (1024, 64))])
    assert reason(told) == "lm_head.weight: the file has (1000, 64), the model needs (1024, 64)"


def test_numbers_without_a_place_are_named_but_for_tables_masks_and_heads_that_no_answer_needs() -> None:
    assert reason(info(unexpected=("base.lm_head.weight",))) == "the model has no place for base.lm_head.weight"
    check_whole(info(unexpected=(
        "model.layers.0.self_attn.rotary_emb.inv_freq", "transformer.h.0.attn.masked_bias", "transformer.h.0.attn.bias",
        "transformer.h.0.attn.attention.bias", "v_head.summary.weight", "model.layers.0.mlp.fc1._extra_state",
        "mtp.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.k_scale", "vision_model.patch_embedding.weight",
    )))  # fmt: skip
    for key in (
        "transformer.h.0.attn.c_attn.bias",
        "model.layers.0.self_attn.q_proj.bias",
        "lm_head.bias",
        "model.k_scale.weight",
    ):
        assert key in reason(info(unexpected=(key,)))


def test_of_packed_weights_every_module_must_have_some() -> None:
    packed = ("model.layers.0.mlp.up_proj.qweight", "model.layers.0.mlp.up_proj.scales")
    told = info(
        missing=("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.experts.gate_up_proj"), unexpected=packed
    )
    check_whole(told, is_packed=True)
    lacking = info(missing=("lm_head.weight", "model.layers.0.mlp.up_proj.weight"), unexpected=packed)
    assert reason(lacking, is_packed=True) == "they lack lm_head.weight"


def test_shapes_are_read_from_the_headers_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(make_safetensors(numbers=7))
    assert read_shapes(tmp_path, ["a.safetensors"]) == {"w": (7,)}
    assert count_numbers({"a": (3, 4), "b": (), "c": (0, 5)}) == 13


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x01", struct.pack("<Q", 10**15) + b"{}", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 3) + b"{{{",
        *(
            struct.pack("<Q", len(header)) + header
            for tensor in ({"shape": [10**400]}, {"shape": [-1]}, {"shape": [True]}, {"shape": "x"}, {}, 5)
            for header in [json.dumps({"w": tensor}).encode()]
        ),
    ],
)  # fmt: skip
def test_a_header_that_is_none_is_the_models_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(NotWhole, match=r"^model.safetensors: its header cannot be read"):
        read_shapes(tmp_path, ["model.safetensors"])
