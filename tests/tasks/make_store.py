"""A script: fills a store's cache with a tiny random model and small data sets under their real ids.

The data sets come from a loopback Hub through the real client. Prints the data sets' commits as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

GPQA, MUSR, IFEVAL, MMLU_PRO = (
    "Idavidrein/gpqa", "TAUR-Lab/MuSR", "wis-k/instruction-following-eval", "TIGER-Lab/MMLU-Pro",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def gpqa_rows(count: int) -> list[dict[str, Any]]:
    return [
        {"Question": f"What is {i} + {i}?", "Correct Answer": f"it is {2 * i}"}
        | {f"Incorrect Answer {k}": f"it is {2 * i + k}" for k in (1, 2, 3)}
        for i in range(count)
    ]


def musr_rows(count: int) -> list[dict[str, Any]]:
    choices = ["Ann", "Bob"]
    return [
        {
            "narrative": f"Story {i}.", "question": "Who did it?", "choices": str(choices),
            "answer_index": i % 2, "answer_choice": choices[i % 2],
        }
        for i in range(count)
    ]  # fmt: skip


def ifeval_rows(count: int) -> list[dict[str, Any]]:
    both = ["punctuation:no_comma", "change_case:english_lowercase"]
    return [
        {
            "key": i, "prompt": f"Write {i} words without commas.", "instruction_id_list": both[: 1 + i % 2],
            "kwargs": [{"num_words": None}] * (1 + i % 2),
        }
        for i in range(count)
    ]  # fmt: skip


def mmlu_pro_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "question_id": i, "question": f"What is {i} times 2?", "options": [str(i), str(2 * i), str(3 * i)],
            "answer": "B", "answer_index": 1, "cot_content": "", "category": "math", "src": "own",
        }
        for i in range(count)
    ]  # fmt: skip


# data set -> configuration -> split -> rows
DATASETS: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {
    GPQA: {
        "gpqa_main": {"train": gpqa_rows(6)},
        "gpqa_extended": {"train": gpqa_rows(8)},
        "gpqa_diamond": {"train": gpqa_rows(4)},
    },
    MUSR: {
        "default": {
            "murder_mysteries": musr_rows(3), "object_placements": musr_rows(3), "team_allocation": musr_rows(3),
        }
    },
    IFEVAL: {"default": {"train": ifeval_rows(4)}},
    MMLU_PRO: {"default": {"test": mmlu_pro_rows(40), "validation": mmlu_pro_rows(5)}},
}  # fmt: skip


def main(root: Path) -> None:
    from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
    from nightboard.flows.demo.loopback_hub.server import serve

    hub = LoopbackHub()
    shas = {dataset: commit_dataset(hub, dataset) for dataset in DATASETS}
    with serve(hub) as endpoint:
        os.environ.update(HF_ENDPOINT=endpoint, HF_HOME=str(root / "home"))
        fetch(root, shas)
    make_model(root)
    print(json.dumps(shas))


def commit_dataset(hub: Any, dataset: str) -> str:
    configs, files = [], {}
    for config, splits in DATASETS[dataset].items():
        data_files = [{"split": split, "path": f"{config}/{split}.jsonl"} for split in splits]
        configs.append({"config_name": config, "data_files": data_files})
        for split, rows in splits.items():
            files[f"{config}/{split}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    files["README.md"] = f"---\nconfigs: {json.dumps(configs)}\n---\nOur own questions.\n".encode()
    hub.create_repo(dataset, "dataset")
    return str(hub.commit(dataset, files, "Add questions", kind="dataset"))


def fetch(root: Path, shas: dict[str, str]) -> None:
    import datasets

    from nightboard.tasks.store.layout import Store

    for dataset, configs in DATASETS.items():
        for config in configs:
            folder = Store(root).dataset_dir(dataset, shas[dataset])
            datasets.load_dataset(dataset, config, revision=shas[dataset], cache_dir=str(folder))


def make_model(root: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from nightboard.tasks.store.layout import Store

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=1024, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    folder = Store(root).model_dir("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
