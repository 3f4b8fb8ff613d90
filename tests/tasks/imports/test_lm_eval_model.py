"""What a results file measured: the model, its revision, and every setting that can change a score."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.lm_eval_model import Identity, read_identity
from nightboard.tasks.imports.lm_eval_results import BrokenFileError
from nightboard.tasks.imports.lm_eval_settings import list_shortened, read_arguments

V2 = load_suite("leaderboard-v2")
SHA = "5" * 40


def identify(arguments: object = "", model_id: str | None = None, **changes: Any) -> Identity:
    """Of a file with these arguments of the model `org/base`; `changes`: of its config, or of the file."""
    config = {"model": "hf", "model_args": arguments, "gen_kwargs": None} | changes.pop("config", {})
    if isinstance(arguments, str) and "=" in arguments and "pretrained" not in arguments:
        config["model_args"] = f"pretrained=org/base,{arguments}"
    return read_identity({"results": {}, "config": config, **changes}, V2, model_id)


def test_a_branch_or_tag_is_part_of_the_identity_and_a_sha_is_the_revision() -> None:
    for name in ("step64", "v1.1", "refs/pr/3", "abc1234"):
        assert (identify(f"revision={name}").revision, identify(f"revision={name}").revision_name) == (None, name)
    assert (identify(f"revision={SHA}").revision, identify(f"revision={SHA}").revision_name) == (SHA, None)
    for name in ("main", "None", "null", "", "main,"):
        assert identify(f"revision={name}").revision_name is None
    resolved = identify("revision=step64", config={"model_sha": SHA})
    assert (resolved.revision, resolved.revision_name) == (SHA, "step64")
    assert identify("dtype=auto", config={"model_revision": "step8"}).revision_name == "step8"


IDENTITY = {
    "gguf_file=base-Q5_0.gguf": "gguf_file=base-Q5_0.gguf",
    "subfolder=epoch-2": "subfolder=epoch-2",
    "enable_thinking=False": "enable_thinking=False",
    "think_end_token=</r>,enable_thinking=true": "enable_thinking=True, think_end_token=</r>",
    'chat_template_args={"level": "high", "x": 1}': 'chat_template_args={"level": "high", "x": 1}',
    "lora_local_path=/adapters/a": "lora_local_path=/adapters/a",
    "max_model_len=2048": "max_model_len=2048",
    "tokenizer=org/other": "tokenizer=org/other",
    "tokenizer=org/base": None,
    "add_bos_token=True": "add_bos_token=True",
    "load_format=dummy": "load_format=dummy",
    "load_in_4bit=True,bnb_4bit_quant_type=nf4": "bnb_4bit_quant_type=nf4",
    "backend=default,truncation=False,kv_cache_dtype=auto,subfolder=,gguf_file=None": None,
    "trust_remote_code=True,parallelize=True,batch_size=8,tensor_parallel_size=4,device=cuda:1": None,
    "gpu_memory_utilization=0.9,use_accelerate=True,max_num_seqs=64,download_dir=/x,base_url=http://h:1": None,
}


@pytest.mark.parametrize(("arguments", "settings"), IDENTITY.items())
def test_known_arguments_with_an_influence_are_in_the_identity_and_others_are_not(
    arguments: str, settings: str | None
) -> None:
    found = identify(arguments).settings
    assert (list_shortened(found.identity), found.not_comparable) == (settings, {})


def test_none_as_a_text_is_no_name() -> None:
    found = identify("pretrained=None,model=org/base,dtype=None,peft=None,delta=null", config={"model_dtype": "None"})
    assert (found.model_id, found.base_model, found.precision) == ("org/base", None, None)
    assert identify("pretrained=org/base,dtype=half,").precision == "float16"


def test_an_adapter_is_the_model_and_its_base_part_of_the_identity() -> None:
    found = identify(f"peft=org/lora,revision={SHA}", config={"model_sha": SHA, "peft_sha": "6" * 40})
    assert (found.model_id, found.revision, found.base_model) == ("org/lora", "6" * 40, "org/base")
    assert found.settings.identity == {"pretrained": "org/base", "revision": SHA}


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"arguments": "steer_path=up.pt"}, "steer_path=up.pt"),
    ({"arguments": "brand_new=False"}, "brand_new=False"),
    ({"config": {"model": "steered"}}, "model=steered"),
    ({"config": {"reasoning_effort": "high"}}, "reasoning_effort=high"),
    ({"thinking_budget": 512}, "thinking_budget=512"),
    ({"system_instruction": "Think."}, "system_instruction=Think."),
    ({"system_instruction_sha": "5a5a"}, "system_instruction_sha=5a5a"),
    ({"arguments": "{'pretrained': 'org/base'}", "model_name": "org/base"}, "unreadable={'pretrained': 'org/base'}"),
    ({"arguments": '{"pretrained": "org/base",}', "model_name": "org/base"}, 'unreadable={"pretrained": "org/base",}'),
    ({"arguments": ["subfolder=x"], "model_name": "org/base"}, 'unreadable=["subfolder=x"]'),
    ({"config": {"model_args": "org/base,dtype=half"}, "model_name": "org/base"}, "unreadable=org/base"),
    ({"config": {"gen_kwargs": "{'temperature': 0.6}"}}, "unreadable={'temperature': 0.6}"),
    ({"config": {"gen_kwargs": ["temperature=0.6"]}}, 'unreadable=["temperature=0.6"]'),
    ({"config": {"description_dict": {"t": "Hint"}}}, 'description_dict={"t": "Hint"}'),
    ({"config": {"gen_kwargs": "temperature=0.6,do_sample=True"}}, "do_sample=True, temperature=0.6"),
    ({"config": {"gen_kwargs": {"temperature": 0.0, "do_sample": False, "top_p": 0.9}}}, "top_p=0.9"),
    ({"config": {"gen_kwargs": {"max_gen_toks": 9}}}, "max_gen_toks=9"),
    ({"configs": {"leaderboard_ifeval": {"generation_kwargs": {"do_sample": True}}}}, "do_sample=True"),
    ({"configs": {"leaderboard_ifeval": {"generation_kwargs": {"max_gen_toks": 99}}}}, "max_gen_toks=99"),
    ({"configs": {"leaderboard_ifeval": {"generation_kwargs": {"num_beams": 4}}}}, "num_beams=4"),
    ({"configs": {"leaderboard_ifeval": {"generation_kwargs": {"max_new_tokens": 99}}}}, "max_new_tokens=99"),
]


@pytest.mark.parametrize(("changes", "listed"), UNKNOWN)
def test_what_is_not_known_or_not_allowed_is_listed_with_its_name(changes: dict[str, Any], listed: str) -> None:
    assert list_shortened(identify(**{"arguments": "pretrained=org/base", **changes}).settings.not_comparable) == listed


def test_which_chat_template_was_used_is_in_the_identity() -> None:
    prompts = [
        identify("dtype=auto", chat_template=template, chat_template_sha=sha).settings.identity
        for template, sha in ((None, None), ("", None), ("{{ a }}", None), ("{{ b }}", None), ("{{ b }}", "abc" * 9))
    ]
    assert prompts[:2] == [{}, {}]
    assert prompts[2] == {"chat_template_sha": hashlib.sha256(b"{{ a }}").hexdigest()[:12]}
    assert prompts[3] != prompts[2]
    assert prompts[4] == {"chat_template_sha": "abcabcabcabc"}


def test_what_is_off_or_greedy_is_comparable() -> None:
    found = identify(
        "pretrained=org/base",
        config={"gen_kwargs": "temperature=0.0,do_sample=false", "new_switch": False, "description_dict": {}},
        configs={"leaderboard_ifeval": {"generation_kwargs": {"do_sample": False, "max_gen_toks": 1280, "until": []}}},
        system_instruction=None, later_entry="", task_hashes={"a": "b"},
    )  # fmt: skip
    assert (found.settings.identity, found.settings.not_comparable) == ({}, {})
    assert identify("pretrained=org/base", config={"fewshot_seed": 7}).settings.identity == {"fewshot_seed": "7"}


@pytest.mark.parametrize(
    ("arguments", "precision"),
    [
        ("quantization=fp8,dtype=bfloat16", "fp8"),
        ("quantization=gptq", "GPTQ"),
        ("quantization=None,dtype=half", "float16"),
        ("autogptq=w.safetensors", "GPTQ"),
        ("torch_dtype=bfloat16", "bfloat16"),
        ("dtype='float16'", "float16"),
    ],
)
def test_a_quantization_by_the_back_end_is_the_precision(arguments: str, precision: str) -> None:
    assert identify(arguments).precision == precision


@pytest.mark.parametrize(
    "config",
    [
        {"model": "gguf", "model_args": "base_url=http://localhost:9"},
        {"model": "neox", "model_args": {"load": "/checkpoints/a"}},
        {"model": "hf", "model_args": ""},
        {"model": "hf", "model_args": None},
        {"model": "HFLM", "model_args": {}},
    ],
)
def test_a_back_end_is_not_a_model_unless_the_user_names_it(config: dict[str, Any]) -> None:
    content = {"results": {}, "config": config, "model_name": ""}
    with pytest.raises(BrokenFileError, match=f"only its back end .got {config['model']}.*--model-id"):
        read_identity(content, V2)
    named = read_identity(content, V2, "org/said")
    assert (named.model_id, named.is_name_given) == ("org/said", True)
    assert named.settings.identity.get("load") == ("/checkpoints/a" if config["model"] == "neox" else None)


def test_a_loaded_model_is_named_in_place_of_the_back_end() -> None:
    assert identify(None, config={"model": "org/loaded"}).model_id == "org/loaded"
    assert identify("pretrained=org/m", "org/said").model_id == "org/m"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_names_are_none_of_them(quote: str) -> None:
    assert identify(f"pretrained={quote}org/q{quote},revision={quote}r{quote}").model_id == "org/q"
    assert identify({"pretrained": f"{quote}org/q{quote}"}).model_id == "org/q"
    assert read_arguments("a=',b=\"x") == {"a": "'", "b": '"x'}
