"""How a board takes submissions: the checks that they must pass, their limits, where request files are read."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from nightboard.profiles.models.base import ModelId, Profile, Text

CheckName = Literal["name", "do_not_submit", "rate", "loads", "size", "duplicate", "license", "card", "template"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)


class Submissions(Profile):
    """What a board asks of a submission. What is asked for must exist and can only be original weights, in any case."""

    checks: tuple[CheckName, ...] = Field(default=CHECKS, description="checks that a submission must pass")
    per_organization_and_week: int | None = Field(
        default=None, ge=1, description="submitted models of one organization in 7 days; default: no limit"
    )
    do_not_submit: tuple[Text, ...] = Field(
        default=(), description="patterns of ids that are not taken, in any capitals"
    )
    min_card_characters: int = Field(default=200, ge=0, description="shortest model card, without its YAML header")
    folders: tuple[Text, ...] = Field(
        default=(), description="folders of request files; a relative path starts at the board file"
    )
    datasets: tuple[ModelId, ...] = Field(
        default=(), description="datasets of request files on the Hub; open pull requests to them are read, too"
    )
    files_per_run: int = Field(
        default=1000,
        ge=1,
        description="new request files that one run reads, of each source; of a folder, those that ask for something",
    )
