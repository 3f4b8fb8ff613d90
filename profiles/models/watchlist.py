"""The watch list model: which models and organizations are followed, and the settings of their evaluations."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from nightboard.profiles.models.base import (
    ChatTemplate,
    ChatTemplateName,
    ModelId,
    Name,
    OrganizationId,
    Precision,
    PrecisionName,
    Profile,
    Text,
)

# ---------------------------------------------------------------------------------------------------- watch lists


class ModelSettings(Profile):
    """How a model is run. A setting that is missing is inherited: from a matching rule, then from the watch list."""

    precision: PrecisionName | None = None
    chat_template: ChatTemplateName | None = None
    fewshot_as_multiturn: bool | None = None
    trust_remote_code: bool | None = None
    suites: tuple[Name, ...] | None = Field(default=None, description="run only these of the board's suites")


class WatchedModel(ModelSettings):
    """One model, listed by id. Without revisions and branches, its main branch is followed."""

    id: ModelId
    revisions: tuple[Text, ...] = Field(default=(), description="commits, tags or branches by name")
    branches: tuple[Text, ...] = Field(default=(), description="patterns of branch names, such as step-*")


class WatchRule(ModelSettings):
    """Settings for all models whose id matches a pattern; a later rule overrides an earlier one."""

    match: Text


def _expand_model(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


class WatchList(Profile):
    """Which models are followed and how they are run.

    A pattern is matched against the whole id, as in a shell and with capitals; `*` matches a slash, too.
    """

    watchlist: Name
    organizations: tuple[OrganizationId, ...] = ()
    models: tuple[Annotated[WatchedModel, BeforeValidator(_expand_model)], ...] = ()
    include: tuple[Text, ...] = Field(default=("*",), description="patterns of ids to take from the organizations")
    exclude: tuple[Text, ...] = Field(default=(), description="patterns of ids to skip, also among the listed models")
    max_params_b: float | None = Field(default=None, gt=0)
    precision: PrecisionName = Precision.auto
    chat_template: ChatTemplateName = ChatTemplate.auto
    fewshot_as_multiturn: bool = True
    trust_remote_code: bool = False
    rules: tuple[WatchRule, ...] = ()

    @model_validator(mode="after")
    def _check_not_empty(self) -> WatchList:
        if not self.organizations and not self.models:
            raise ValueError("watchlist: is empty (got no organizations and no models). List some.")
        return self
