"""The types shared by all profiles: names, ids, texts, fractions, precisions."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# A repository id on the Hub: `name` or `organization/name`. Only such text becomes part of a path or a request.
# Not `\w`, which has 140,000 letters: pydantic needs 0.07 s for these.
MODEL_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"

ModelId = Annotated[str, Field(pattern=MODEL_ID_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


def parse_bound(value: object) -> object:
    """Accept a fraction such as `1/3`, so that a bound is exact in the file and nearest in binary."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def refuse(find_problem: Callable[[str], str | None]) -> AfterValidator:
    """Reject a text for which `find_problem` returns `what is wrong. what to do`."""

    def check(value: str) -> str:
        problem = find_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _find_blank(text: str) -> str | None:
    return None if text.strip() else "must not be empty. Write some text"


def _find_slash(text: str) -> str | None:
    return "must be an organization, not a model. Write the part before the slash" if "/" in text else None


Text = Annotated[str, refuse(_find_blank)]
OrganizationId = Annotated[ModelId, refuse(_find_slash)]

Bound = Annotated[float, BeforeValidator(parse_bound), Field(ge=0, lt=1)]
Share = Annotated[float, BeforeValidator(parse_bound), Field(gt=0, le=1)]


class Profile(BaseModel):
    """Base of all profile models: immutable, and an unknown key is an error.

    The text of a ValueError that a validator of a whole model raises reads `key: what is wrong (got ...). what to do.`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Precision(StrEnum):
    """Number format the weights are loaded in. `auto` is the format the weights are stored in."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class ChatTemplate(StrEnum):
    """Whether prompts go through the tokenizer's chat template. `auto`: exactly when the tokenizer has one."""

    auto = "auto"
    always = "always"
    never = "never"


def _read_member(kind: type[StrEnum]) -> BeforeValidator:
    """Accept a member's text even in strict mode, which is used for files."""
    members = {str(member): member for member in kind}
    return BeforeValidator(lambda value: members.get(value, value) if isinstance(value, str) else value)


PrecisionName = Annotated[Precision, _read_member(Precision)]
ChatTemplateName = Annotated[ChatTemplate, _read_member(ChatTemplate)]
