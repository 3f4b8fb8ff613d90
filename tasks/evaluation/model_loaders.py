"""Loads the model of an evaluation for lm-eval (hf and vllm), only from the files of its fingerprint, and completely.

Owns how lm-eval's own classes for hf and vllm are made. Imports lm_eval, torch and transformers only inside functions,
as harness.py does.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nightboard.tasks.evaluation.check_weights import NotWhole, Shapes, check_whole, count_numbers, read_shapes
from nightboard.tasks.evaluation.compute_limits import LimitExceeded, limited
from nightboard.tasks.evaluation.failure_reasons import CacheError, NodeError, ShardError, is_stop
from nightboard.tasks.hub.inspect_config import find_excess
from nightboard.tasks.hub.model_folder import DamagedFolder, NotTheModel, check_folder
from nightboard.tasks.store.records import AttemptSpec

_log = logging.getLogger(__name__)

# Requests that vLLM gets at once where batches are left to it: enough to keep it busy, and what a killed job redoes.
_VLLM_CHUNK = 1024
# Many times what large models need: 94 layers of 128 experts take 6 s and 0.2 GB.
_BUILD_CPU_S, _BUILD_GB = 120.0, 6.0
_TEMPLATE_CPU_S, _TEMPLATE_GB = 20.0, 1.0


def load_model(spec: AttemptSpec, folder: Path) -> Any:
    """Load the model as an object of lm-eval.

    Raises ShardError if the folder does not hold exactly this model, CacheError if it was changed since its download.
    """
    try:
        files = check_folder(folder, spec.evaluation.fingerprint, has_allowed_code=spec.evaluation.trust_remote_code)
        shapes = read_shapes(folder, files.weights)
        _check_size(folder, shapes)
        _rehearse(folder, shapes, is_code_allowed=spec.evaluation.trust_remote_code)
        model = _LOADERS[spec.evaluation.backend](spec, str(folder))
    except DamagedFolder as error:
        raise CacheError(str(error)) from error
    except (NotTheModel, NotWhole) as error:
        raise ShardError(str(error)) from error
    if spec.evaluation.chat_template:
        _limit_template(model)
    return model


# ------------------------------------------------------------------------------------------------------- accounting


def _rehearse(folder: Path, shapes: Shapes, *, is_code_allowed: bool) -> None:
    """Load the names and shapes of the weights, without their numbers, into the model that config.json describes.

    It costs no memory to speak of and is the same for both back ends: vLLM looks after some architectures only. It has
    limits of its own: what loads here ends before the real load begins. A model that only vLLM can build passes.
    """
    import transformers

    try:
        with limited(_BUILD_CPU_S, _BUILD_GB):
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=is_code_allowed)
            is_packed = getattr(config, "quantization_config", None) is not None
            if is_packed:
                del config.quantization_config
            info = _load_shapes(config, shapes, is_code_allowed=is_code_allowed)
    except LimitExceeded as error:
        raise ShardError(f"building the model that config.json describes takes {error}.") from error
    except NotWhole as error:
        if not is_packed:
            raise
        _log.warning("the packed weights could not be compared with the model before loading: %s", error)
        return
    except Exception as error:
        if is_stop(error):
            raise
        # The real load tells better what is wrong, if anything is.
        _log.warning("the weights could not be compared with the model before loading: %s", error)
        return
    check_whole(info, is_packed)


def _load_shapes(config: Any, shapes: Shapes, *, is_code_allowed: bool) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config, trust_remote_code=is_code_allowed)
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    return _load_whole(type(built).from_pretrained, None, config=config, state_dict=tensors, device_map={"": "meta"})[1]


def _check_size(folder: Path, shapes: Shapes) -> None:
    content = json.loads((folder / "config.json").read_bytes())
    if excess := find_excess(content, count_numbers(shapes)):
        raise ShardError(excess)


def _load_whole(load: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """Call a `from_pretrained`; returns the model and what transformers tells of its parameters.

    Wrong shapes are reported there, instead of by an error without names. Tensors that cannot be put
    together (experts that are not all there) are an error all the same, and named in the report before it.
    """
    with _reports() as reports:
        try:
            model, info = load(*args, **kwargs, output_loading_info=True, ignore_mismatched_sizes=True)
        except RuntimeError as error:
            names = dict.fromkeys(re.findall(r"^(\S+) *\| CONVERSION", "\n".join(reports), re.MULTILINE))
            if not names:
                raise
            raise NotWhole(
                f"the weights are not the model's: their tensors do not make up {', '.join(names)}"
            ) from error
    return model, dict(info)


@contextmanager
def _reports() -> Iterator[list[str]]:
    """Collect what transformers reports of the loads in between."""
    reports: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reports.append(record.getMessage())

    logger, handler = logging.getLogger("transformers.modeling_utils"), Collector()
    logger.addHandler(handler)
    try:
        yield reports
    finally:
        logger.removeHandler(handler)


# --------------------------------------------------------------------------------------------------------- back ends


@dataclass(frozen=True)
class _WholeModels:
    """An auto class of transformers that gives whole models or raises NotWhole."""

    auto_class: Any

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        model, info = _load_whole(self.auto_class.from_pretrained, *args, **kwargs)
        check_whole(info)
        return model


def _load_hf(spec: AttemptSpec, folder: str) -> Any:
    from lm_eval.models.huggingface import HFLM

    class WholeHFLM(HFLM):  # type: ignore[misc] # it comes without types
        """lm-eval's class, which loads as it always does, but for the question whether the model is whole."""

        AUTO_MODEL_CLASS: Any

        def _create_model(self, *args: Any, **kwargs: Any) -> None:
            auto_class = self.AUTO_MODEL_CLASS
            self.AUTO_MODEL_CLASS = _WholeModels(auto_class)
            try:
                super()._create_model(*args, **kwargs)
            finally:
                self.AUTO_MODEL_CLASS = auto_class

    return WholeHFLM(
        pretrained=folder,
        revision=spec.evaluation.revision,
        dtype=spec.evaluation.precision,
        device=spec.device,
        batch_size=spec.batch_size,
        parallelize=spec.gpus > 1,
        trust_remote_code=spec.evaluation.trust_remote_code,
        use_safetensors=True,
        **spec.model_args,
    )


def _load_vllm(spec: AttemptSpec, folder: str) -> Any:
    if find_spec("vllm") is None:
        raise NodeError("vllm is not installed on this node. Install lm-eval[vllm] there, or use backend: hf.")
    from lm_eval.models.vllm_causallms import VLLM

    arguments: dict[str, Any] = {"tensor_parallel_size": max(1, spec.gpus), "load_format": "safetensors"}
    # vLLM batches by itself. With `auto` lm-eval would hand it all requests at once and keep no answer before the last.
    chunk = _VLLM_CHUNK if spec.batch_size == "auto" else spec.batch_size
    model = VLLM(
        pretrained=folder,
        revision=spec.evaluation.revision,
        dtype=spec.evaluation.precision,
        batch_size=chunk,
        trust_remote_code=spec.evaluation.trust_remote_code,
        **(arguments | spec.model_args),
    )
    _keep_generated(model, chunk)
    return model


def _keep_generated(model: Any, chunk: int) -> None:
    """Let what vLLM generates reach the answers chunk by chunk, under the arguments by which it is looked up.

    lm-eval's own class keeps it under arguments that it has changed, so that a resumed job would find nothing.
    """
    generate = model.generate_until

    def generate_until(requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(requests), chunk):
            asked = requests[start : start + chunk]
            answers = generate(asked, disable_tqdm=disable_tqdm)
            for request, text in zip(asked, answers, strict=True):
                model.cache_hook.add_partial("generate_until", request.args, text)
            texts += answers
        return texts

    model.generate_until = generate_until


_LOADERS = {"hf": _load_hf, "vllm": _load_vllm}


# --------------------------------------------------------------------------------------------------------- templates


def _limit_template(model: Any) -> None:
    """Give each use of the chat template limits of its own, and refuse one that is empty."""
    template = model.tokenizer.chat_template
    template = template.get("default") if isinstance(template, dict) else template
    if isinstance(template, str) and not template.strip():
        raise ShardError("the chat template is empty. Evaluate the model without one.")
    apply = model.apply_chat_template

    def apply_chat_template(*args: Any, **kwargs: Any) -> Any:
        try:
            with limited(_TEMPLATE_CPU_S, _TEMPLATE_GB):
                return apply(*args, **kwargs)
        except LimitExceeded as error:
            raise ShardError(f"the chat template takes {error} for one prompt.") from error

    model.apply_chat_template = apply_chat_template
