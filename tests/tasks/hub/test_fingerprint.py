"""The fingerprint changes exactly when a file changes that can change a score."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightboard.tasks.hub.fingerprint import ScoredFiles, Unusable, choose_files, describe_other_weights


@dataclass(frozen=True)
class File:
    path: str
    content_id: str


BASE = {"config.json": "c", "tokenizer.json": "t", "model.safetensors": "w", "README.md": "r", "run.py": "p"}
INDEX = "model.safetensors.index.json"
SHARDS = {"a-1.safetensors": "1", "a-2.safetensors": "2"}


def _index(*shards: str) -> bytes:
    return json.dumps({"weight_map": {f"layer.{n}": shard for n, shard in enumerate(shards)}}).encode()


def _choose(files: dict[str, str], index: bytes = b"", *, code: bool = False) -> ScoredFiles:
    return choose_files([File(*item) for item in files.items()], lambda: index, has_allowed_code=code)


@pytest.mark.parametrize(
    "edit",
    [
        {"README.md": "new"},
        {"model-q4.gguf": "g"},
        {"pytorch_model.bin": "b"},
        {"model.fp16.safetensors": "v"},
        {"onnx/model.onnx": "o"},
        {"original/consolidated.safetensors": "o"},
        {"original/tokenizer.model": "o"},
        {"original/x.tiktoken": "o"},
        {INDEX: "an index beside the single file is not read"},
        {"run.py": "new"},
        {".gitattributes": "new"},
    ],
)
def test_an_edit_that_transformers_does_not_load_keeps_the_fingerprint(edit: dict[str, str]) -> None:
    assert _choose(BASE | edit) == _choose(BASE)


@pytest.mark.parametrize(
    "path",
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
     "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "vocab.txt",
     "chat_template.jinja", "additional_chat_templates/tool.jinja"],
)  # fmt: skip
def test_an_edit_of_configuration_or_tokenizer_changes_the_fingerprint_but_not_the_weights_hash(path: str) -> None:
    before, after = _choose(BASE), _choose(BASE | {path: "new"})

    assert after.fingerprint != before.fingerprint
    assert after.weights_hash == before.weights_hash
    assert path in after.files


def test_other_weights_change_both_hashes() -> None:
    before, after = _choose(BASE), _choose(BASE | {"model.safetensors": "new"})

    assert after.fingerprint != before.fingerprint
    assert after.weights_hash != before.weights_hash


def test_code_counts_only_when_it_is_allowed() -> None:
    with_code = _choose(BASE, code=True)

    assert "run.py" in with_code.files
    assert with_code.fingerprint != _choose(BASE).fingerprint
    assert _choose(BASE | {"run.py": "new"}, code=True).fingerprint != with_code.fingerprint


def test_sharded_weights_are_the_index_and_exactly_the_shards_that_it_names() -> None:
    files = {"config.json": "c", INDEX: "i", "a-3.safetensors": "3"} | SHARDS
    chosen = _choose(files, _index("a-2.safetensors", "a-1.safetensors", "a-2.safetensors"))

    assert chosen.weights == ("a-1.safetensors", "a-2.safetensors")
    assert chosen.files == ("a-1.safetensors", "a-2.safetensors", "config.json", INDEX)


def test_an_edited_index_changes_the_fingerprint() -> None:
    files = {"config.json": "c", INDEX: "i"} | SHARDS
    before = _choose(files, _index(*SHARDS))

    assert _choose(files | {INDEX: "j"}, _index(*SHARDS)).fingerprint != before.fingerprint
    assert _choose(files | {INDEX: "j"}, _index("a-1.safetensors")).weights_hash != before.weights_hash


def test_renamed_weights_keep_their_weights_hash() -> None:
    renamed = {"b-1.safetensors": "1", "b-2.safetensors": "2"}
    before = _choose({"config.json": "c", INDEX: "i"} | SHARDS, _index(*SHARDS))
    after = _choose({"config.json": "c", INDEX: "j"} | renamed, _index(*renamed))

    assert after.weights_hash == before.weights_hash
    assert after.fingerprint != before.fingerprint


@given(st.dictionaries(st.sampled_from([*BASE, "vocab.json", "x.gguf"]), st.text(max_size=3)), st.randoms())
def test_the_order_of_the_tree_does_not_matter(files: dict[str, str], random: object) -> None:
    items = list((BASE | files).items())
    random.shuffle(items)  # type: ignore[attr-defined]

    assert _choose(dict(items)) == _choose(BASE | files)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (_index("../../etc/x.safetensors"), "not in the repository"),
        (_index("gone.safetensors"), "not in the repository"),
        (_index("pytorch_model.bin"), "not a safetensors file"),
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"weight_map": []}', "cannot be read"),
        (b'{"weight_map": {"a": ["x"]}}', "cannot be read"),
        (b'{"weight_map": {}}', "lists no weights"),
    ],
)
def test_an_index_that_cannot_be_followed_is_refused(index: bytes, reason: str) -> None:
    files = {INDEX: "i", "pytorch_model.bin": "b", "../../etc/x.safetensors": "evil"} | SHARDS

    with pytest.raises(Unusable, match=reason):
        _choose(files, index)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["README.md", "config.json"], "closed: no weights at all"),
        (["training_args.bin", "optimizer.pt"], "closed: no weights at all"),
        (["pytorch_model.bin", "README.md"], "the repository has only PyTorch .bin (pytorch_model.bin)"),
        (["m.Q4.gguf", "m.Q8.gguf"], "the repository has only GGUF (m.Q4.gguf)"),
        (["unet/model.safetensors"], "only safetensors under another name or in a folder (unet/model.safetensors)"),
        (["a.gguf", "pytorch_model.bin"], "only GGUF (a.gguf), PyTorch .bin (pytorch_model.bin)"),
    ],
)
def test_missing_weights_are_explained_by_what_there_is(paths: list[str], words: str) -> None:
    assert words in describe_other_weights(paths)


def test_an_adapter_without_merged_weights_is_called_an_adapter() -> None:
    with pytest.raises(Unusable, match="adapter"):
        _choose({"adapter_config.json": "a", "adapter_model.safetensors": "w"})
