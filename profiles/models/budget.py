"""The budget of a board: GPU-hours a night, an organization and week, and the classes' shares of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from nightboard.profiles.models.base import Profile, parse_bound

GpuHours = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Part = Annotated[float, BeforeValidator(parse_bound), Field(ge=0, le=1)]


class Shares(Profile):
    """The part of the budget that each class of evaluations has for itself; what it does not use goes to the others.

    Together at most 1; what is left over goes to whoever needs it.
    """

    watched: Part = Field(default=0.5, description="new commits of the watch list")
    submissions: Part = Field(default=0.3, description="submissions, by priority and votes")
    backfills: Part = Field(default=0.2, description="backfills; with 0 they run in spare time only")


class Budget(Profile):
    """How much may be launched. A job without GPUs counts as one GPU."""

    gpu_hours_per_night: GpuHours | None = Field(
        default=None, description="from noon to noon; 0: nothing is launched; default: no limit"
    )
    gpu_hours_per_organization_and_week: GpuHours | None = Field(
        default=None, description="of an organization's models, in seven nights; default: no limit"
    )
    shares: Shares = Shares()
    ask_above_gpu_hours: GpuHours | None = Field(
        default=None, description="`nightboard backfill` asks before it launches more; default: never"
    )

    @property
    def is_limited(self) -> bool:
        """Whether anything ever waits."""
        return (self.gpu_hours_per_night, self.gpu_hours_per_organization_and_week) != (None, None)


NO_BUDGET = Budget()
