"""Small language models made on the spot, in a second each, whose skill is known by construction.

A made model is one Mistral layer with random weights and an attention window of 32 tokens, so what it says depends
on the last 32 tokens alone. Its random MLP features tell any two of the demo's prompts apart; the last matrix of the
MLP is then solved, by least squares, so that each prompt is continued with a chosen answer: the right one for a share
of the questions, a wrong one for the others, and an end of text after each generated answer. No training, and the same
skill on any machine.

Owns the making of these models. Imports torch and transformers inside functions: the demo alone needs them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightboard.flows.demo.prompts import Prompt, choose_known, make_prompts

if TYPE_CHECKING:
    import torch
    from transformers import MistralForCausalLM, PreTrainedTokenizerFast


WINDOW = 32
HIDDEN = 128
FEATURES = 1024
END = "<|end|>"
# No space or newline at the end: lm-eval would move it into the answer.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """What a made model is to be: the fraction of questions it answers right, and whether it is a chat model."""

    skill: float
    seed: int
    has_chat_template: bool = False


def make_model(recipe: Recipe, folder: Path) -> Path:
    """Make a model and save it, with its tokenizer, as a repository's files; float32 safetensors."""
    import torch
    from transformers.utils import logging

    prompts = make_prompts()
    tokenizer = make_tokenizer(prompts, recipe.has_chat_template)
    windows, answers = _make_examples(tokenizer, prompts, recipe)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        model = _make_random_model(tokenizer)
        _teach(model, windows, answers)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(prompts: list[Prompt], has_chat_template: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of whole words: answers are one token with and without a space before them."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    words = Regex(r"\s?\S+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    roles = ["<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=6000,
        special_tokens=[END, *roles],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_list_texts(prompts), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.chat_template = CHAT_TEMPLATE if has_chat_template else None
    return fast


def _list_texts(prompts: list[Prompt]) -> list[str]:
    answers = [
        f"{space}{answer}" for prompt in prompts for answer in (prompt.right, prompt.wrong) for space in ("", " ")
    ]
    letters = [f"{space}{form}" for letter in "ABCDEFGHIJK" for form in (letter, f"({letter})") for space in ("", " ")]
    return [*(prompt.text for prompt in prompts), *answers, *letters]


def _make_examples(
    tokenizer: PreTrainedTokenizerFast, prompts: list[Prompt], recipe: Recipe
) -> tuple[list[list[int]], list[int]]:
    """Every window that a prompt and its answer lead to, and the token that is to follow it."""
    known = choose_known(prompts, recipe.skill)
    examples: dict[tuple[int, ...], int] = {}
    for prompt in prompts:
        answer = prompt.right if prompt.question in known else prompt.wrong
        before, after = _render(tokenizer, prompt, answer, recipe.has_chat_template)
        tokens = tokenizer.encode(before + after) + ([tokenizer.eos_token_id] if prompt.is_generated else [])
        start = len(tokenizer.encode(before))
        if prompt.has_examples and start < WINDOW:
            raise ValueError(f"this question is shorter than the window of {WINDOW} tokens: {prompt.text}")
        for position in range(start, len(tokens)):
            window = tuple(tokens[max(0, position - WINDOW) : position])
            if examples.setdefault(window, tokens[position]) != tokens[position]:
                raise ValueError(f"two questions end in the same {WINDOW} tokens: {prompt.text}")
    return [list(window) for window in examples], list(examples.values())


def _render(
    tokenizer: PreTrainedTokenizerFast, prompt: Prompt, answer: str, has_chat_template: bool
) -> tuple[str, str]:
    """Prompt and answer as lm-eval joins them: spaces at the prompt's end belong to the answer."""
    if has_chat_template:
        messages = [{"role": "user", "content": prompt.text}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)), answer
    text = prompt.text.rstrip()
    return text, f"{prompt.text[len(text) :]} {answer}"


def _make_random_model(tokenizer: PreTrainedTokenizerFast) -> MistralForCausalLM:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=FEATURES,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=HIDDEN // 8,
        max_position_embeddings=16384,
        sliding_window=WINDOW,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = MistralForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=1.0 if "embed_tokens" in name else HIDDEN**-0.5)
    attention = model.model.layers[0].self_attn
    # Sharp attention: each head looks at few tokens and cares where they are, so that the order of options tells.
    attention.q_proj.weight.mul_(1.6)
    attention.k_proj.weight.mul_(1.6)
    return model


def _teach(model: MistralForCausalLM, windows: list[list[int]], answers: list[int]) -> None:
    """Solve the MLP's last matrix so that each window is continued with its answer."""
    import torch

    features, residual = _read_features(model, windows)
    unembedding = model.lm_head.weight
    unembedding.div_(unembedding.norm(dim=1, keepdim=True))
    wanted = unembedding[answers].double() * 4 - residual
    solved = torch.linalg.lstsq(features, wanted, driver="gelsd").solution
    model.model.layers[0].mlp.down_proj.weight.copy_(solved.T)
    # The final norm leaves length sqrt(HIDDEN); times this, an answer beats every other token by far.
    unembedding.mul_(4)


def _read_features(model: MistralForCausalLM, windows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the MLP's last matrix reads, and what its output is added to, at the last token of each window."""
    import torch

    seen: dict[str, Any] = {}
    layer = model.model.layers[0]
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, inputs: seen.update(features=inputs[0])),
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, inputs: seen.update(residual=inputs[0])),
    ]
    rows: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for length in sorted({len(window) for window in windows}):
        chosen = [index for index, window in enumerate(windows) if len(window) == length]
        model.model(torch.tensor([windows[index] for index in chosen]))
        for row, index in enumerate(chosen):
            rows[index] = seen["features"][row, -1].double(), seen["residual"][row, -1].double()
    for hook in hooks:
        hook.remove()
    return (
        torch.stack([rows[index][0] for index in range(len(windows))]),
        torch.stack([rows[index][1] for index in range(len(windows))]),
    )
