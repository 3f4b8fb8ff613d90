"""Decides which settings of a results file of lm-eval can change a score, and which cannot.

A setting without influence is dropped. A known one with influence is part of the identity: rows that differ in it are
never merged. All others, and those that a suite does not allow, make the evaluation not comparable: it is stored and
listed with the setting's name, but not ranked. docs/imports.md has these lists for readers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nightboard.profiles.models.suite import GREEDY, Suite
from nightboard.tasks.imports.lm_eval_results import Json, to_map

# Where the model's name stands, by back end.
MODEL_NAMES = ("pretrained", "model", "engine", "path")
# Read elsewhere: the model, its revision and its precision.
_READ = (*MODEL_NAMES, "peft", "delta", "revision", "dtype", "torch_dtype", "quantization", "load_in_4bit",
         "load_in_8bit", "autogptq", "gptqmodel")  # fmt: skip
# How the work is distributed and where files and servers are: no influence beyond rounding.
_HARMLESS = frozenset((
    "attn_implementation", "auth_token", "api_key", "base_url", "batch_size", "block_size", "ca_cert_path", "cache_dir",
    "chunked_prefill_size", "cpu_offload_gb", "data_parallel_size", "device", "device_map", "device_map_option",
    "devices", "disable_custom_all_reduce", "disable_log_stats", "distributed_executor_backend", "download_dir",
    "dp_size", "enable_chunked_prefill", "enable_prefix_caching", "enforce_eager", "force_download",
    "gpu_memory_utilization", "header", "local_files_only", "logits_cache", "low_cpu_mem_usage", "max_batch_size",
    "max_cpu_memory", "max_lora_rank", "max_memory_per_gpu", "max_num_batched_tokens", "max_num_seqs", "max_retries",
    "mem_fraction_static", "num_concurrent", "offload_folder", "parallelize", "pipeline_parallel_size",
    "resume_download", "seed", "swap_space", "tensor_parallel_size", "timeout", "token", "tp_plan", "tp_size",
    "trust_remote_code", "use_accelerate", "use_auth_token", "use_cache", "use_safetensors", "verify_certificate",
    "worker_use_ray",
))  # fmt: skip
# Which files are loaded, and how prompts, tokens and numbers are made of them: a row of its own.
_IDENTITY = frozenset((
    "add_bos_token", "add_special_tokens", "backend", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage",
    "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "chat_template_args", "context_length",
    "custom_prefix_token_id", "enable_thinking", "eos_string", "gguf_file", "kv_cache_dtype", "load", "load_format",
    "lora_local_path", "lora_path", "max_gen_toks", "max_length", "max_model_len", "mixed_precision_dtype",
    "prefix_token_id", "softmax_dtype", "subfolder", "think_end_token", "think_start_token", "tokenized_requests",
    "tokenizer", "tokenizer_backend", "tokenizer_mode", "tokenizer_path", "tokenizer_revision", "truncate",
    "truncation", "truncation_side", "use_fast_tokenizer",
))  # fmt: skip
# Values that lm-eval takes if an argument is not given.
_DEFAULTS = {
    "backend": ("default",), "kv_cache_dtype": ("auto",), "load_format": ("auto", "safetensors", "pt", "bitsandbytes"),
    "tokenized_requests": ("True",), "tokenizer_backend": ("huggingface",), "tokenizer_mode": ("auto",),
    "truncate": ("False",), "truncation": ("False",), "truncation_side": ("left",), "use_fast_tokenizer": ("True",),
}  # fmt: skip
# Back ends that ask the model itself. Any other one, such as `steered`, may change it.
_BACK_ENDS = frozenset((
    "anthropic", "anthropic-chat", "anthropic-chat-completions", "anthropic-completions", "ggml", "gguf", "gpt2",
    "gpt3", "habana", "hf", "hf-auto", "hf-causal", "hf-causal-experimental", "hf-mistral3", "hf-multimodal",
    "hf-seq2seq", "huggingface", "ipex", "litellm", "litellm-chat", "litellm-chat-completions",
    "local-chat-completions", "local-completions", "mamba_ssm", "megatron_lm", "nemo_lm", "neox", "neuronx",
    "onnxruntime", "onnxruntime-genai", "openai", "openai-chat-completions", "openai-completions", "openvino", "sglang",
    "sglang-generate", "textsynth", "trtllm", "vllm", "vllm-vlm", "watsonx_llm", "winml", "HFLM", "VLLM",
))  # fmt: skip
# Keys of `config` and of the file itself that are read elsewhere, or say what was, not what was asked for.
_CONFIG = frozenset((
    "model", "model_args", "gen_kwargs", "model_num_parameters", "model_dtype", "model_revision", "model_sha",
    "peft_sha", "delta_sha", "num_fewshot", "limit", "batch_size", "batch_sizes", "max_batch_size", "device",
    "use_cache", "no_cache", "bootstrap_iters", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed",
))  # fmt: skip
_FILE = frozenset((
    "results", "groups", "group_subtasks", "configs", "config", "versions", "n-shot", "n-samples", "samples",
    "higher_is_better", "git_hash", "upper_git_hash", "date", "pretty_env_info", "transformers_version",
    "lm_eval_version", "tokenizer_pad_token", "tokenizer_eos_token", "tokenizer_bos_token", "eot_token_id",
    "max_length", "task_hashes", "model_source", "model_name", "model_name_sanitized", "chat_template",
    "chat_template_sha", "fewshot_as_multiturn", "start_time", "end_time", "total_evaluation_time_seconds",
))  # fmt: skip
_FEWSHOT_SEED = "1234"
# Runs of our own have the model's template, which their commit decides.
TEMPLATE_SHA = "chat_template_sha"
_NOTHING = ("", "None")
# The name of arguments that are not written as `name=value`: never known, so never comparable.
_UNREAD = "unreadable"
# Where an answer ends: part of a task's version, and no suite declares it.
_UNTIL = "until"
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Settings:
    """Settings with an influence, by lm-eval's names: those of the identity, and those that are not comparable."""

    identity: Mapping[str, str]
    not_comparable: Mapping[str, str]


def read_settings(content: Json, suite: Suite | None) -> Settings:
    """The settings of a results file with an influence on scores, as texts. Pure."""
    config = to_map(content, "config")
    identity: dict[str, str] = {}
    not_comparable: dict[str, str] = {}
    arguments = read_arguments(config.get("model_args"))
    for name, value in arguments.items():
        text = write_value(value)
        if text in _NOTHING or name in _READ or name in _HARMLESS or text in _DEFAULTS.get(name, ()):
            continue
        if name == "tokenizer" and text in (arguments.get(key) for key in MODEL_NAMES):
            continue
        (identity if name in _IDENTITY else not_comparable)[name] = text
    if (seed := write_value(config.get("fewshot_seed"))) not in (*_NOTHING, _FEWSHOT_SEED):
        identity["fewshot_seed"] = seed
    if template := content.get("chat_template"):
        identity[TEMPLATE_SHA] = _hash_template(content.get("chat_template_sha"), template)
    not_comparable |= dict(_list_unknown(content, config)) | dict(_list_generation(content, config, suite))
    return Settings(identity, not_comparable)


def _hash_template(sha: object, template: object) -> str:
    """The beginning of lm-eval's hash of the template: which one it was does not follow from the model."""
    known = (
        sha if isinstance(sha, str) and sha else hashlib.sha256(str(template).encode("utf-8", "replace")).hexdigest()
    )
    return known[:12]


def _list_unknown(content: Json, config: Json) -> Iterator[tuple[str, str]]:
    """Back ends and entries that are not in the lists above: an entry that is empty or off says nothing."""
    back_end = write_value(config.get("model"))
    if back_end not in _NOTHING and "/" not in back_end and back_end not in _BACK_ENDS:
        yield "model", back_end
    for entries, known in ((config, _CONFIG), (content, _FILE)):
        for name, value in entries.items():
            if name not in known and value:
                yield name, write_value(value)


def _list_generation(content: Json, config: Json, suite: Suite | None) -> Iterator[tuple[str, str]]:
    """Generation arguments that the suite does not allow, of all tasks and of the file's own version of its tasks."""
    allowed = suite.allowed_generation if suite else GREEDY
    texts = {name: [write_value(value) for value in values] for name, values in allowed.items()}
    for name, value in read_arguments(config.get("gen_kwargs")).items():
        if (text := write_value(value)) not in (*_NOTHING, *texts.get(name, ())):
            yield name, text
    for benchmark in suite.benchmarks.values() if suite else ():
        most = {"max_gen_toks": [str(benchmark.max_new_tokens)]} if benchmark.max_new_tokens else {}
        for task in benchmark.tasks:
            arguments = to_map(to_map(to_map(content, "configs"), task), "generation_kwargs")
            for name, value in arguments.items():
                if name != _UNTIL and (text := write_value(value)) not in (*_NOTHING, *(texts | most).get(name, ())):
                    yield name, text


def read_arguments(arguments: object) -> Json:
    """Arguments by the version of lm-eval: `pretrained=a/b,dtype=float16`, an object, or an object as text.

    A comma inside a value, as in JSON, does not end it. What is written in another way is one setting, `unreadable`.
    """
    if isinstance(arguments, dict):
        return {str(key): _unquote(value) for key, value in arguments.items()}
    if not isinstance(arguments, str):
        return {_UNREAD: arguments} if arguments else {}
    if arguments.lstrip().startswith("{"):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        return read_arguments(parsed) if isinstance(parsed, dict) else {_UNREAD: arguments}
    parts: list[str] = []
    for part in filter(str.strip, arguments.split(",")):
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += f",{part}"
    pairs = (part.split("=", 1) if "=" in part else (_UNREAD, part) for part in parts)
    return {key.strip(): _unquote(value.strip()) for key, value in pairs}


def _unquote(value: object) -> object:
    """Without the quotes around a text that a shell left there."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def write_value(value: object) -> str:
    """A value as text, the same for all ways in which lm-eval's versions write it."""
    if isinstance(value, str):
        text = value.strip().encode("utf-8", "replace").decode()
        if text.lower() in ("true", "false", "none", "null"):
            return {"true": "True", "false": "False"}.get(text.lower(), "None")
        return _write_number(text)
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return _write_number(str(value))
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    except (ValueError, RecursionError):
        return "?"


def _write_number(text: str) -> str:
    """0.0 and 0 are the same number."""
    whole, point, rest = text.partition(".")
    return whole if point and whole.lstrip("-").isdigit() and not rest.strip("0") else text


def list_settings(settings: Mapping[str, str]) -> str | None:
    """`name=value, name=value`, sorted; None if there are none."""
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items())) or None


def list_shortened(settings: Mapping[str, str]) -> str | None:
    """The same with long values cut, for messages."""
    return list_settings({name: _shorten(value) for name, value in settings.items()})


def _shorten(value: str) -> str:
    return value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}..."
