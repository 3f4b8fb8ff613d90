"""One suite on a GPU through nightboard and through plain `lm-eval run`: wall time and peak memory, bfloat16.

The model is a generated Llama of about 1.1 billion parameters with random weights: nothing has to be downloaded.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from world import open_world

BATCH_SIZE = 16
# Widths and layers of the model; the second is for trying the bench itself where there is no GPU.
BILLION, TINY = (2048, 16), (64, 2)
CLUSTER = """
cluster: quick
executor: local
keep_models: true
poll_interval_s: 1
tiers:
  - {{{{name: one, up_to_params_b: 4, gpus: {gpus}, device: {device}, batch_size: {batch_size}}}}}
"""
SUITE = "suite: small\ntitle: Small\nextends: demo\nonly: [bbh, musr, mmlu_pro]\n"
WATCHLIST = "watchlist: world\nmodels: [lab/llama]\nprecision: bfloat16\n"


def measure_gpu(device: str = "cuda", batch_size: str = str(BATCH_SIZE)) -> Iterator[tuple[str, str, str, str, float]]:
    """Rows of what is measured: what, ours, against what, theirs, ratio."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("no GPU: run `make bench ONLY=gpu` on a machine that has one, with a CUDA build of torch")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_llama(folder / "models/lab/llama", *(BILLION if device == "cuda" else TINY))
        cluster = CLUSTER.format(gpus=int(device == "cuda"), device=device, batch_size=batch_size)
        with open_world(folder, folder / "models", cluster=cluster, names=("lab/llama",)) as world:
            (folder / "suites/small.yaml").write_text(SUITE)
            (folder / "watchlists/world.yaml").write_text(WATCHLIST)
            with _peak_memory() as ours_mb:
                report = world.night()
            assert len(report.evaluated) == 1, report
            launch = next(world.store.launches.glob("*/launch.json")).stat().st_mtime
            ours_s = next((world.store.lake / "outcomes").iterdir()).stat().st_mtime - launch
            with _peak_memory() as theirs_mb:
                started = time.perf_counter()
                _run_lm_eval(folder, device, batch_size)
                theirs_s = time.perf_counter() - started
    what = f"one evaluation on {device}, batch size {batch_size}"
    yield f"{what}: wall time", f"{ours_s:.0f} s", "`lm-eval run`", f"{theirs_s:.0f} s", ours_s / theirs_s
    if theirs_mb[0]:
        ratio = ours_mb[0] / theirs_mb[0]
        yield f"{what}: peak memory", f"{ours_mb[0]:.0f} MB", "`lm-eval run`", f"{theirs_mb[0]:.0f} MB", ratio


def make_llama(folder: Path, width: int, layers: int) -> None:
    """A Llama with random weights and a tokenizer of single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1,
        dtype=torch.bfloat16,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def _run_lm_eval(folder: Path, device: str, batch_size: str) -> None:
    """The same groups, batch size and precision through the harness's own command, from the same caches."""
    store = folder / "store"
    cache = folder / "lm-eval-datasets"
    cache.mkdir()
    for built in store.glob("cache/datasets/*/*/*"):
        if built.is_dir() and not (cache / built.name).exists():
            (cache / built.name).symlink_to(built)
    model = next(path for path in (store / "cache/models").iterdir() if path.is_dir())
    groups = "leaderboard_bbh,leaderboard_musr,leaderboard_mmlu_pro"
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=bfloat16",
        "--tasks", groups, "--batch_size", batch_size, "--device", device, "--output_path", str(folder / "plain"),
        "--log_samples",
    ]  # fmt: skip
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(cache),
        "HF_HOME": str(folder / "home"),
    }
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@contextlib.contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """The most memory that the first GPU had in use meanwhile, in MB; 0 where nvidia-smi tells nothing."""
    peak, done = [0.0], threading.Event()

    def look() -> None:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        while not done.wait(0.5):
            with contextlib.suppress(OSError, ValueError):
                found = subprocess.run(command, capture_output=True, text=True, check=False)
                peak[0] = max(peak[0], float(found.stdout.strip() or 0))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peak
    finally:
        done.set()
        looking.join()
