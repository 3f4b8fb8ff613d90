"""The board model (watch list, suites, cluster, store, schedule, budget, notify), and organizations by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from nightboard.profiles.models.base import Name, OrganizationId, Profile, Text
from nightboard.profiles.models.budget import Budget
from nightboard.profiles.models.notify import NotifyPlace
from nightboard.profiles.models.schedule import Schedule
from nightboard.profiles.models.submissions import Submissions

# ------------------------------------------------------------------------------------------- organizations, boards


class Organization(Profile):
    """An organization on the Hub, with the name and country that readers see."""

    display_name: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(default=None, description="ISO 3166-1 alpha-2")


class Organizations(Profile):
    """Display names and countries by organization id."""

    organizations: dict[OrganizationId, Organization]


def _strip_source(value: object) -> object:
    """Accept a source as the tables have it, `import:arena`."""
    return value.removeprefix("import:") if isinstance(value, str) else value


ImportName = Annotated[Name, BeforeValidator(_strip_source)]


class Selectors(Profile):
    """Named selections of a board: an expression by name, in the language of docs/selection.md."""

    selectors: dict[Name, Text]


class Page(Profile):
    """The page that each run of a board writes."""

    out: Text = Field(description="folder of the page; a relative path starts where that of the store starts")
    title: Text | None = Field(default=None, description="heading of the page; default: the board's title")
    is_queue_shown: bool = Field(default=True, description="whether it has a page of what waits and what has failed")
    is_sql_shown: bool = Field(
        default=False, description="whether it has a page where readers ask its tables with SQL, in their browser"
    )


class Board(Profile):
    """What an operator runs: watch list + suites + cluster + store + schedule + budget."""

    board: Name
    title: Text
    watch: Name
    suites: tuple[Name, ...] = Field(min_length=1)
    cluster: Name
    store: Text = Field(
        description="folder; a relative path starts at the board file, or at the working folder for shipped boards"
    )
    organizations: Name = "organizations"
    imports: tuple[ImportName, ...] = Field(
        default=(), description="imported sources that its rankings show: arena for rows of import:arena"
    )
    hub: str = Field(default="https://huggingface.co", pattern=r"^https?://")
    page: Page | None = Field(default=None, description="the page that each run writes; without it, none")
    schedule: Schedule = Schedule()
    budget: Budget = Budget()
    notify: tuple[NotifyPlace, ...] = Field(
        default=(), description="who is told of failures: Prefect blocks (slack-webhook/ops), or env/VARIABLE"
    )
    submissions: Submissions = Submissions()
