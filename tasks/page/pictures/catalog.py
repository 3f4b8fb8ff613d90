"""The pictures by name: what each shows in a sentence, how many models it is asked of, how it is read and drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightboard.tasks.page.pictures import compared, costs, history, nights, places, records, size
from nightboard.tasks.page.pictures.asked import Ask, Look

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Picture:
    """A picture. `names`: fewest and most names that it takes, of what `what` says; `is_of_page`: shown on the page;
    `is_of_queue`: only where the page has a queue.
    """

    title: str
    sentence: str
    read: Callable[[duckdb.DuckDBPyConnection, Ask], Any]
    draw: Callable[[Any, Look], str]
    names: tuple[int, int] = (0, 0)
    what: str = "model"
    is_of_queue: bool = False

    @property
    def is_of_page(self) -> bool:
        return self.names[0] == 0


PICTURES = {
    "size": Picture(
        "Score against size",
        "Each model's average against its parameters; the line joins those to which no smaller one is equal.",
        size.read,
        size.draw,
    ),
    "organizations": Picture(
        "The best over time, by organization",
        "The best average that each organization had so far, and how many of the top 20 models are theirs.",
        records.read_organizations,
        records.draw,
    ),
    "countries": Picture(
        "The best over time, by country",
        "The best average that each country's organizations had so far, and how many of the top 20 models are theirs.",
        records.read_countries,
        records.draw,
    ),
    "shifts": Picture(
        "Old tests against new ones",
        "Each model's place in leaderboard-v1 and in leaderboard-v2: who falls far may be tuned to the old benchmarks.",
        places.read_shifts,
        places.draw_shifts,
    ),
    "external": Picture(
        "Our ranking against another one",
        "Each model's place here and in an imported ranking, such as that of an arena.",
        places.read_external,
        places.draw_external,
        (0, 1),
        "external ranking",
    ),
    "nights": Picture(
        "Queue and throughput",
        "Evaluations done and attempts failed by day, and how many evaluations and requests waited at its end.",
        nights.read,
        nights.draw,
        is_of_queue=True,
    ),
    "costs": Picture(
        "Score against cost",
        "Each model's average against the CO2 and the GPU-hours of its evaluation.",
        costs.read,
        costs.draw,
    ),
    "history": Picture(
        "One model by commit",
        "The average and the benchmarks of each commit of a model, with 95% intervals.",
        history.read,
        history.draw,
        (1, 1),
    ),
    "compare": Picture(
        "Models compared",
        "How much better or worse two to four models are than the first, by benchmark, over the same questions.",
        compared.read,
        compared.draw,
        (2, 4),
    ),
}
