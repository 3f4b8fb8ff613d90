"""The file format of a request: JSON in the record layout of the Open LLM Leaderboard's requests."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, ValidationError

from nightboard.profiles.models.base import ChatTemplate
from nightboard.tasks.errors import TaskError
from nightboard.tasks.requests.checks import Form, WeightType, find_wrong_name
from nightboard.tasks.store.records import Record, describe_errors

# A request takes less than a thousand.
MOST_BYTES = 64 * 1024
# The statuses that ask for an evaluation; the others tell what became of one elsewhere.
ASKING = ("PENDING", "RERUN")


class RequestFileError(TaskError):
    """A request file cannot be used; the message says why and what to do."""


class RequestFile(Record):
    """A request as it is written. What nightboard finds out by itself (size, architecture, type) is not used."""

    model_config = ConfigDict(strict=True)

    model: str
    base_model: str | None = None
    revision: str | None = None
    precision: str | None = None
    params: float | None = None
    architectures: str | None = None
    weight_type: WeightType = "Original"
    status: Literal["PENDING", "RERUN", "RUNNING", "FINISHED", "FAILED"]
    submitted_time: str | None = None
    model_type: str | None = None
    job_id: int | str | None = None
    job_start_time: str | None = None
    use_chat_template: bool = False
    sender: str | None = None

    @property
    def is_request(self) -> bool:
        """Whether it asks for an evaluation."""
        return self.status in ASKING

    def to_form(self) -> Form:
        return Form(
            model_id=self.model,
            revision=self.revision or None,
            precision=self.precision or None,
            chat_template=str(ChatTemplate.always if self.use_chat_template else ChatTemplate.never),
            weight_type=self.weight_type,
            base_model=self.base_model or None,
        )


def parse_request_file(data: bytes) -> RequestFile:
    """A request file's content. Raises RequestFileError with all that is wrong."""
    try:
        file = RequestFile.model_validate_json(data)
    except ValidationError as error:
        raise RequestFileError(f"not a request: {describe_errors(error)}. Correct the file.") from error
    if wrong := find_wrong_name(file.model):
        raise RequestFileError(f"model: {wrong}")
    return file
