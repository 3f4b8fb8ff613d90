"""Checks that weights match the model exactly: no missing, unexpected or misshaped tensors.

Pure but for reading the headers of safetensors files. Works on names and shapes; knows neither torch nor transformers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# safetensors' own limit.
_LONGEST_HEADER = 100_000_000
_SHOWN = 5
# Numbers that files carry and no answer to a text depends on. What transformers itself ignores does not come here.
_HARMLESS = re.compile(
    # tables and masks that are computed
    r"rotary_emb\.inv_freq$|(^|\.)position_ids$|\.masked_bias$|\.attn(\.attention)?\.bias$|\.attention\.bias$"
    r"|\.attn\.causal_mask$"
    # what trainers leave: states, the head that judges answers; layers that guess further tokens
    r"|\._extra_state$|^v_head\.|(^|\.)mtp[._]"
    # scales for a cache of small numbers, which is not used
    r"|\.[kv]_scale$|\.[kv]_proj\.output_scale$"
    # the parts that see and hear, where the text model alone is loaded
    r"|^(model\.)?(vision_model|vision_tower|visual|audio_tower|embed_vision|embed_audio|multi_modal_projector)\."
)

Shapes = dict[str, tuple[int, ...]]


class NotWhole(Exception):
    """The weights are not the model's; the message names the parameters."""


def check_whole(info: Mapping[str, Any], is_packed: bool = False) -> None:
    """Judge what transformers tells of a load (`output_loading_info`). Raises NotWhole.

    `is_packed`: the model was built without its quantization, whose tensors have other names and shapes than the
    parameters. Then a parameter is there if its module has any tensor; experts, which are renamed, are skipped.
    """
    missing, unexpected = set(info["missing_keys"]), set(info["unexpected_keys"])
    mismatched = sorted(info["mismatched_keys"])
    if is_packed:
        there = {_module_of(key) for key in unexpected}
        missing = {key for key in missing if _module_of(key) not in there and ".experts" not in key}
        unexpected, mismatched = set(), []
    unexpected = {key for key in unexpected if not _HARMLESS.search(key)}
    reasons = [
        *([f"they lack {_list_names(missing)}"] if missing else []),
        *([_list_names([_describe_shapes(*mismatch) for mismatch in mismatched], "; ")] if mismatched else []),
        *([f"the model has no place for {_list_names(unexpected)}"] if unexpected else []),
        *(str(message) for message in list(info.get("error_msgs") or ())[:1]),
    ]
    if reasons:
        raise NotWhole(f"the weights are not the model's: {'; '.join(reasons)}")


def read_shapes(folder: Path, weights: Iterable[str]) -> Shapes:
    """The tensors of safetensors files, by name. Raises NotWhole for a file whose header cannot be read."""
    shapes: Shapes = {}
    for name in weights:
        try:
            shapes |= _read_header(folder / name)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise NotWhole(f"{name}: its header cannot be read ({type(error).__name__}: {error})") from error
    return shapes


def count_numbers(shapes: Shapes) -> int:
    """How many numbers the tensors hold together; those packed into one count as one."""
    return sum(math.prod(shape) for shape in shapes.values())


def _read_header(path: Path) -> Shapes:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"it says that it has {length} bytes")
        header = json.loads(file.read(length))
    shapes = {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    for name, shape in shapes.items():
        # Two numbers to a byte are the most there are.
        if any(type(dimension) is not int or dimension < 0 for dimension in shape) or math.prod(shape) > 2 * size:
            raise ValueError(f"{name} has no shape that fits into the file")
    return shapes


def _module_of(key: str) -> str:
    return key.rpartition(".")[0]


def _describe_shapes(name: str, of_file: Iterable[int], of_model: Iterable[int]) -> str:
    return f"{name}: the file has {tuple(of_file)}, the model needs {tuple(of_model)}"


def _list_names(names: Iterable[str], separator: str = ", ") -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return separator.join(ordered[:_SHOWN]) + more
