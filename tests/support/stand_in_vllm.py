"""Stands in for vLLM, which needs a GPU: as much of it as lm-eval's own class for it calls, computed by transformers.

It is put into `sys.modules`, so that lm-eval and what is written around it are the real ones. Imports nothing of
Hugging Face before it is used.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

VERSION = "0.20.0"
_RECORD = ""
_KILL_AT = -1


def install(record: str, kill_at: int = -1) -> None:
    """Let `import vllm` find the stand-in. It writes what it is asked to `record`; it kills the process in a call."""
    global _RECORD, _KILL_AT
    _RECORD, _KILL_AT = record, kill_at
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams, "TokensPrompt": dict},
        "vllm.lora": {}, "vllm.lora.request": {"LoRARequest": object},
        "vllm.renderers": {}, "vllm.renderers.hf": {"resolve_chat_template": _resolve_chat_template},
        "vllm.tokenizers": {"get_tokenizer": _get_tokenizer},
    }  # fmt: skip
    for name, content in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        module.__dict__.update(content)
        sys.modules[name] = module
    find_version = importlib.metadata.version
    importlib.metadata.version = lambda name: VERSION if name == "vllm" else find_version(name)


def _record(event: str, value: object) -> int:
    """Write one line; returns how many of its kind there are."""
    with open(_RECORD, "a+") as file:
        file.write(json.dumps([event, value]) + "\n")
        file.seek(0)
        return sum(json.loads(line)[0] == event for line in file)


def _get_tokenizer(name: str, **_: object) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)


def _resolve_chat_template(tokenizer: Any, **_: object) -> Any:
    return tokenizer.chat_template


class SamplingParams:
    def __init__(self, **parameters: Any) -> None:
        self.prompt_logprobs = parameters.get("prompt_logprobs")
        self.max_tokens = parameters["max_tokens"]
        self.stop = parameters.get("stop", [])


class LLM:
    """One request after the other, greedily."""

    def __init__(self, **arguments: Any) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _record("load", arguments)
        self.tokenizer = AutoTokenizer.from_pretrained(arguments["model"])
        dtype = getattr(torch, arguments["dtype"])
        self.model = AutoModelForCausalLM.from_pretrained(arguments["model"], dtype=dtype, use_safetensors=True)
        longest = arguments["max_model_len"] or self.model.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=longest))

    def generate(self, prompts: list[Any], sampling_params: list[SamplingParams], **_: object) -> list[Any]:
        asked = [prompt["prompt_token_ids"] for prompt in prompts]
        if _record("generate" if sampling_params[0].prompt_logprobs is None else "score", len(asked)) == _KILL_AT:
            time.sleep(1)  # the answers before this call are on their way to the disk
            os.kill(os.getpid(), signal.SIGKILL)
        return [self._answer(tokens, wanted) for tokens, wanted in zip(asked, sampling_params, strict=True)]

    def _answer(self, tokens: list[int], wanted: SamplingParams) -> Any:
        if wanted.prompt_logprobs is not None:
            return SimpleNamespace(prompt_logprobs=[None, *self._score(tokens)])
        text, reason = self._write(tokens, wanted)
        return SimpleNamespace(outputs=[SimpleNamespace(text=text, finish_reason=reason)])

    def _score(self, tokens: list[int]) -> list[dict[int, float]]:
        """By token, its log-probability and that of the most likely one."""
        logprobs = self._run(tokens).log_softmax(-1)[:-1]
        top = logprobs.argmax(-1).tolist()
        return [
            {best: float(row[best]), token: float(row[token])}
            for row, best, token in zip(logprobs, top, tokens[1:], strict=True)
        ]

    def _write(self, tokens: list[int], wanted: SamplingParams) -> tuple[str, str]:
        text, tokens = "", list(tokens)
        start = len(tokens)
        for _ in range(wanted.max_tokens):
            tokens.append(int(self._run(tokens)[-1].argmax()))
            text = self.tokenizer.decode(tokens[start:])
            if any(stop and stop in text for stop in wanted.stop):
                return text, "stop"
        return text, "length"

    def _run(self, tokens: list[int]) -> Any:
        import torch

        with torch.no_grad():
            return self.model(torch.tensor([tokens])).logits[0].float()
