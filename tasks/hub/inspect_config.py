"""Checks a repository's configuration: no references to files outside it, no sizes that the weights cannot fill.

Pure: works on the content of JSON files. Used when a commit is discovered, and again on the node before it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeGuard

# The files in which transformers and vLLM look for names of other files, besides the index of the weights.
FOLLOWED = ("config.json", "tokenizer_config.json")

# Keys that change which files are loaded, or the meaning of names, whatever their value.
_REDIRECTING = frozenset({
    "transformers_weights",  # other weights
    "attribute_map",  # renames keys, so that any key can become the one above
    "extra_files",
    "gguf_file",
    "subfolder",
    "kernel_config", "fusion_config",  # replaces layers by code from the Hub
    "speculators_config",  # makes vLLM load the model that it names
    "use_pretrained_backbone", "use_timm_backbone", "custom_generate",
})  # fmt: skip
# Keys whose texts no loader uses as paths: notes on origin (transformers overwrites the first two with the folder that
# it loads), labels, prompts. Code in `auto_map` is loaded only if a board allows it, and then it is hashed.
_NOT_FOLLOWED = frozenset({
    "_name_or_path", "name_or_path", "auto_map", "architectures", "model_name", "base_model", "base_model_name_or_path",
    "tokenizer_name", "license", "id2label", "label2id", "task_specific_params", "special_tokens_map_file",
    "added_tokens_file",
})  # fmt: skip
# Notes on how weights were quantized: data, model and program.
_NOTES_OF_QUANTIZATION = frozenset({"dataset", "tokenizer", "model_name_or_path", "meta"})
# Tokens and templates are text, though some of it looks like a path.
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
    """Messages about keys that refer to something outside the commit's hashed `files`."""
    messages = []
    for keys, value in _walk(content):
        key = keys[-1]
        if key in _REDIRECTING:
            if value and not (key == "transformers_weights" and value == "model.safetensors" and value in files):
                messages.append(_describe(name, keys, value))
        elif isinstance(value, str) and not _is_text(keys) and _PATH.search(value) and value not in files:
            messages.append(_describe(name, keys, value))
    return messages


def find_excess(config: Mapping[str, Any], numbers: float) -> str | None:
    """A message about a size in config.json that weights of so many numbers cannot fill; None if there is none.

    Every layer has at least as many numbers as its width (a norm, usually far more), however they are packed.
    """
    parts = [("", config)]
    parts += [(f"{key}.", part) for key, part in config.items() if isinstance(part, Mapping)]
    for prefix, part in parts:
        width = next((part[key] for key in _WIDTHS if _is_count(part.get(key))), 1)
        for key in (*_LAYERS, *_COUNTED):
            count = part.get(key)
            if _is_count(count) and count * (width if key in _LAYERS else 1) > numbers:
                return f"config.json: {prefix}{key} is {count}, but the weights have only {numbers:.0f} numbers"
    return None


def _walk(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All keys, with their parents, and their values; entries of a list count as values of its key."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        keys, value = waiting.pop()
        if keys:
            yield keys, value
        if isinstance(value, Mapping):
            waiting += [((*keys, str(key)), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(keys, inner) for inner in value]


def _is_text(keys: tuple[str, ...]) -> bool:
    if keys[0] == "quantization_config" and keys[1:2] and keys[1] in _NOTES_OF_QUANTIZATION:
        return True
    return any(key in _NOT_FOLLOWED or _TEXTS.search(key) for key in keys)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _describe(name: str, keys: tuple[str, ...], value: object) -> str:
    return f"{name}: {'.'.join(keys)} refers to something outside the model ({str(value)[:100]!r})"
