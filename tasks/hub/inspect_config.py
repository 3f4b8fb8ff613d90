"""What a repository's configuration may say: nothing that leads loading elsewhere, no size beyond the weights.

Pure: works on what JSON files hold. Asked when a commit is discovered, and again on the node before it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeGuard

# The files that transformers and vLLM take names of other files from, next to the index of the weights.
FOLLOWED = ("config.json", "tokenizer_config.json")

# Keys that change which files are loaded, or what names mean, whatever their value.
_REDIRECTING = frozenset({
    "transformers_weights",  # other weights
    "attribute_map",  # lets any key stand for any other, such as the one above
    "extra_files",
    "gguf_file",
    "subfolder",
    "kernel_config", "fusion_config",  # code from the Hub in place of layers
    "speculators_config",  # vLLM then loads the model that it names
    "use_pretrained_backbone", "use_timm_backbone", "custom_generate",
})  # fmt: skip
# Keys whose texts no loader follows to files: notes on origin (transformers overwrites the first two by the folder that
# it loads), labels, prompts. Code in `auto_map` is loaded only where a board allows it, and then it is hashed.
_NOT_FOLLOWED = frozenset({
    "_name_or_path", "name_or_path", "auto_map", "architectures", "model_name", "base_model", "base_model_name_or_path",
    "tokenizer_name", "license", "id2label", "label2id", "task_specific_params", "special_tokens_map_file",
    "added_tokens_file",
})  # fmt: skip
# Of how weights were made smaller: notes on the data, the model and the program it was done with.
_NOTES_OF_QUANTIZATION = frozenset({"dataset", "tokenizer", "model_name_or_path", "meta"})
# What tokens and templates hold is text, though some of it looks like a path.
_TEXTS = re.compile(r"_tokens?$|^chat_template$|^added_tokens_decoder$|^response_|^language_codes$")
_PATH = re.compile(
    r"^(/|~|\./|[A-Za-z]:[/\\]|\w+://)|(^|[/\\])\.\.([/\\]|$)"  # from a root, on a drive, a URL, through a folder above
    r"|^[\w.@-]+([/\\]+[\w.@-]+)+/?$"  # folder/file, owner/repository
    r"|^[\w.@-]+\.(safetensors|json|gguf|bin|pth?|ckpt|h5|msgpack|onnx|py|so|jinja|txt|tiktoken|npz|npy|pkl)$"
)

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "n_embed", "dim")
_COUNTED = (
    "vocab_size", "num_experts", "num_local_experts", "n_routed_experts", "n_experts", "moe_num_experts",
    "intermediate_size", "moe_intermediate_size", "ffn_dim", "n_inner", "num_attention_heads", "num_key_value_heads",
    "n_head",
)  # fmt: skip


def find_redirects(name: str, content: Mapping[str, Any], files: Collection[str]) -> list[str]:
    """The keys by which a file leads loading to something that is not one of the commit's hashed `files`, in words."""
    found = []
    for keys, value in _walk(content):
        key = keys[-1]
        if key in _REDIRECTING:
            if value and not (key == "transformers_weights" and value == "model.safetensors" and value in files):
                found.append(_describe(name, keys, value))
        elif isinstance(value, str) and not _is_text(keys) and _PATH.search(value) and value not in files:
            found.append(_describe(name, keys, value))
    return found


def find_excess(config: Mapping[str, Any], numbers: float) -> str | None:
    """The size in config.json that weights of so many numbers cannot fill, in words; None when all are possible.

    Every layer has at least one number for each of its width (a norm, or far more), however they are packed.
    """
    parts = [("", config)]
    parts += [(f"{key}.", part) for key, part in config.items() if isinstance(part, Mapping)]
    for prefix, part in parts:
        width = next((part[key] for key in _WIDTHS if _is_count(part.get(key))), 1)
        for key in (*_LAYERS, *_COUNTED):
            count = part.get(key)
            if _is_count(count) and count * (width if key in _LAYERS else 1) > numbers:
                return f"config.json: {prefix}{key} is {count}, and the weights hold {numbers:.0f} numbers"
    return None


def _walk(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All keys, with those above them, and their values; what a list holds counts as its key's."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        keys, value = waiting.pop()
        if keys:
            yield keys, value
        if isinstance(value, Mapping):
            waiting += [((*keys, str(key)), each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(keys, each) for each in value]


def _is_text(keys: tuple[str, ...]) -> bool:
    if keys[0] == "quantization_config" and keys[1:2] and keys[1] in _NOTES_OF_QUANTIZATION:
        return True
    return any(key in _NOT_FOLLOWED or _TEXTS.search(key) for key in keys)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _describe(name: str, keys: tuple[str, ...], value: object) -> str:
    return f"{name}: {'.'.join(keys)} leads to what is not part of the model ({str(value)[:100]!r})"
