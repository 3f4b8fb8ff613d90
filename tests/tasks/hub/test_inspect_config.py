"""What a repository's configuration may say: nothing that leads loading elsewhere, no size beyond the weights."""

from __future__ import annotations

from typing import Any

import pytest

from nightboard.tasks.hub.inspect_config import find_excess, find_redirects

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer.safetensors.index.json")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"transformers_weights": "tokenizer.safetensors.index.json"}, "transformers_weights"),
        ({"attribute_map": {"note": "transformers_weights"}, "note": "x"}, "attribute_map"),
        ({"text_config": {"transformers_weights": "model.bin"}}, "text_config.transformers_weights"),
        ({"weights": "../other/model.safetensors"}, "weights"),
        ({"weights": ["model.safetensors", "/cache/model.safetensors"]}, "weights"),
        ({"weights": "~someone/model"}, "weights"),
        ({"weights": "other.safetensors"}, "weights"),
        ({"weights": ".."}, "weights"),
        ({"weights": "x y/../../other/weights"}, "weights"),
        ({"weights": "hf://org/other"}, "weights"),
        ({"vision_config": {"tower": "org/other"}}, "vision_config.tower"),
        ({"_attn_implementation": "kernels-community/flash"}, "_attn_implementation"),
        ({"speculators_config": {"verifier": {"name_or_path": "org/other"}}}, "speculators_config"),
        ({"quantization_config": {"codebooks": "codebooks.pt"}}, "quantization_config.codebooks"),
        ({"backbone_config": {"use_pretrained_backbone": True}}, "backbone_config.use_pretrained_backbone"),
        ({"configuration_files": ["config.4.0.json"]}, "configuration_files"),
    ],
)
def test_a_key_that_leads_to_what_is_not_hashed_is_named(content: dict[str, Any], key: str) -> None:
    assert find_redirects("config.json", content, FILES)[0].startswith(
        f"config.json: {key} refers to something outside"
    )


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"vocab_file": "../other/tokenizer.model"}, "vocab_file"),
        ({"tokenizer_file": "/opt/someone/tokenizer.json"}, "tokenizer_file"),
        ({"gguf_file": "model"}, "gguf_file"),
        ({"fast_tokenizer_files": ["tokenizer.4.0.json"]}, "fast_tokenizer_files"),
    ],
)
def test_a_tokenizer_may_not_lead_elsewhere_either(content: dict[str, Any], key: str) -> None:
    assert find_redirects("tokenizer_config.json", content, FILES)[0].startswith(
        f"tokenizer_config.json: {key} refers to"
    )


def test_what_real_configurations_say_is_no_redirect() -> None:
    config = {
        "_name_or_path": "/fsx/someone/llama", "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "auto_map": {"AutoConfig": "org/code--configuration_own.Own"}, "torch_dtype": "bfloat16", "hidden_act": "silu",
        "transformers_weights": None, "attribute_map": {}, "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
        "text_config": {"_name_or_path": "org/base", "name_or_path": "x/y"}, "eos_token": "</s>", "torchscript": False,
        "quantization_config": {
            "quant_method": "gptq", "dataset": ["a/b"], "meta": {"uri": "https://x.org/y"}, "tokenizer": "org/base",
            "modules_to_not_convert": ["model.language_model", "lm_head"], "ignore": ["re:.*mlp.gate$"],
        },
        "task_specific_params": {"translate": {"prefix": "org/x"}}, "id2label": {"0": "n/a"}, "license": "other/x",
        "layer_types": ["full_attention"], "transformers_version": "5.0.0", "_attn_implementation": "flash_attention_2",
    }  # fmt: skip
    tokenizer = {
        "name_or_path": "/fsx/someone/llama", "special_tokens_map_file": "/opt/cache/special_tokens_map.json",
        "tokenizer_file": None, "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "/think", "bos_token": "a/b",
        "additional_special_tokens": ["</s>", "x/y"], "added_tokens_decoder": {"3": {"content": "a/b"}},
        "chat_template": [{"name": "default", "template": "a/b"}], "extra_special_tokens": {"image_token": "a/b"},
        "vocab_file": "tokenizer.json", "fast_tokenizer_files": ["tokenizer.json"],
    }  # fmt: skip
    assert find_redirects("config.json", config, FILES) == []
    assert find_redirects("tokenizer_config.json", tokenizer, FILES) == []


def test_a_deeply_nested_configuration_is_read_to_its_end() -> None:
    content: dict[str, Any] = {"transformers_weights": "x"}
    for _ in range(500):
        content = {"deeper": content}
    assert len(find_redirects("config.json", content, FILES)) == 1


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"num_hidden_layers": 10**9, "hidden_size": 64}, "num_hidden_layers is 1000000000"),
        ({"n_layer": 10_000, "n_embd": 4096}, "n_layer is 10000"),
        ({"text_config": {"num_hidden_layers": 10**7}}, "text_config.num_hidden_layers is 10000000"),
        ({"num_experts": 10**9}, "num_experts is 1000000000"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
    ],
)
def test_a_size_that_the_weights_cannot_fill_is_named(config: dict[str, Any], key: str) -> None:
    assert find_excess(config, 1e6) == f"config.json: {key}, but the weights have only 1000000 numbers"


def test_the_sizes_of_real_models_are_possible() -> None:
    smollm = {"num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152, "intermediate_size": 1536}
    deepseek = {"num_hidden_layers": 61, "hidden_size": 7168, "n_routed_experts": 256, "vocab_size": 129280}
    assert find_excess(smollm, 134_515_008) is None
    # Packed eight to a number.
    assert find_excess(deepseek, 671e9 / 8) is None
    assert find_excess({"num_hidden_layers": True, "hidden_size": "odd", "n_layer": -1}, 10) is None
