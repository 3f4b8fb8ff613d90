"""A record that cannot be read says which file and which key is wrong, in plain words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nightboard.tasks.store.records import DatasetPin, Launch, RecordError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"dataset_id": "a/b"}', "sha is missing"),
        ('{"dataset_id": "a/b", "sha": "c", "size": 1}', "size is not a known key"),
        ('{"dataset_id": "a/b", "sha": 7}', "sha has a wrong value (got 7)"),
        ('{"record_version": 2, "dataset_id": "a/b", "sha": "c"}', "record_version has a wrong value (got 2)"),
        ('{"dataset_id": "a/b",', "invalid JSON, EOF while parsing a value at line 1 column 21"),
        ("[]", "the file has a wrong value (got a list)"),
        ('{"a": 1, "b": 2}', "dataset_id is missing; sha is missing; a is not a known key; 1 more"),
    ],
)
def test_a_damaged_record_names_its_file_and_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pin.json"
    path.write_text(text)
    with pytest.raises(RecordError) as error:
        DatasetPin.read(path)
    assert str(error.value) == f"{path}: cannot be read as DatasetPin ({says})."
    assert not re.search("Input should|pydantic|Extra inputs|Field required", str(error.value))


def test_a_key_inside_a_record_is_named_with_its_way(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"
    path.write_text(
        Path(__file__).parents[2].joinpath("golden/records/launch.json").read_text().replace('"gpus"', '"gpu"', 1)
    )
    with pytest.raises(RecordError, match=re.escape("(jobs[0].gpus is missing; jobs[0].gpu is not a known key).")):
        Launch.read(path)


def test_a_record_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"pin\.json: cannot be read as DatasetPin \(No such file or directory\)\.$"):
        DatasetPin.read(tmp_path / "pin.json")
