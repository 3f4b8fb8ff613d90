"""Data of a page whose scores are known beforehand: 130 models with older commits, and a small suite with two eras."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nightboard.tasks.page.data import Benchmark, PageData, SuiteData

N_MODELS = 130
BENCHMARKS = (Benchmark("alpha", "Alpha"), Benchmark("beta", "Beta"))
SCRIPT = "evil/<img src=x onerror=alert(1)>"
TURNED = "turned/abc\u202edef\x00ghi\ud800"
# Names of models by rank, from 1. All others are org<number>/model-<rank>.
ODD_NAMES = {11: SCRIPT, 12: TURNED}


def make_row(rank: int | None, model_id: str, average: float, **changes: Any) -> dict[str, Any]:
    """A row whose two benchmarks are 5 above and below the average; every half-width is 2."""
    scores = [average + 5, average - 5]
    return {
        "era": "now",
        "is_current_era": True,
        "rank": rank,
        "rank_low": rank and max(1, rank - 3),
        "rank_high": rank and min(N_MODELS, rank + 4),
        "model_id": model_id,
        "organization": model_id.split("/")[0],
        "country": None,
        "revision": f"{rank or 0:040x}"[::-1],
        "precision": "bfloat16",
        "chat_template": False,
        "settings": "",
        "params_b": 7.0,
        "model_type": "chat",
        "license": "mit",
        "base_model": None,
        "architecture": "LlamaForCausalLM",
        "is_merged": False,
        "is_flagged": False,
        "is_moe": False,
        "is_official": False,
        "model_state": "available",
        "average": average,
        "average_low": average - 2,
        "average_high": average + 2,
        "is_approximate": bool(rank and rank % 5 == 2),
        "identical_to": None,
        "source": "run",
        "likes": 10,
        "uploaded_at": "2025-01-01",
        "committed_at": "2025-05-01",
        "known_at": "2025-06-01",
        "gpu_hours": 1.5,
        "co2_kg": None,
        "evaluation_id": f"e{rank}",
        "raw": [score / 200 for score in scores],
        "normalized": scores,
        "low": [score - 2 for score in scores],
        "high": [score + 2 for score in scores],
        **changes,
    }


def make_suite() -> SuiteData:
    """Ranked models from 90 down in steps of 0.5; the first ten have older commits, known since January, five of
    them even older ones."""
    rows = [make_row(rank, _name(rank), 90.5 - rank / 2, **_describe(rank)) for rank in range(1, N_MODELS + 1)]
    older = [
        make_row(None, _name(rank), 40.0 + rank, **_describe(rank), committed_at="2025-01-01", known_at="2025-01-10")
        for rank in range(1, 11)
    ]
    oldest = [
        make_row(None, _name(rank), 30.0, **_describe(rank), committed_at="2024-12-01", known_at="2024-12-10")
        for rank in range(1, 6)
    ]
    # Rank 3 is a run, which stands for the row of a board.
    board = make_row(None, _name(3), 80.0, **{**_describe(3), "source": "import:board"}, known_at="2025-01-05")
    return SuiteData("big", "Big suite", BENCHMARKS, ("now",), _transpose([*rows, *oldest, board, *older]))


def make_small_suite() -> SuiteData:
    """Three models in the current era and one in an older one."""
    rows = [make_row(rank, f"lab/small-{rank}", 60.0 - rank) for rank in (1, 2, 3)]
    rows.append(make_row(1, "lab/old", 50.0, era="old", is_current_era=False))
    return SuiteData("small", "Small suite", BENCHMARKS, ("now", "old"), _transpose(rows))


def make_page_data(*suites: SuiteData) -> PageData:
    return PageData("20260101T000000-1", datetime(2026, 1, 1, 12, tzinfo=UTC), suites)


def _name(rank: int) -> str:
    return ODD_NAMES.get(rank, f"org{rank % 7}/model-{rank}")


def _describe(rank: int) -> dict[str, Any]:
    return {
        "precision": "float16" if rank % 2 else "bfloat16",
        "license": ("apache-2.0", "mit", None)[rank % 3],
        "model_type": ("chat", "pretrained", "fine-tuned")[rank % 3],
        "country": ("France", "China", None)[rank % 3],
        "chat_template": rank % 4 == 0,
        "params_b": None if rank == 130 else rank / 10,
        "is_merged": rank % 5 == 0,
        "is_flagged": rank % 10 == 3,
        "is_official": rank % 3 == 0,
        "base_model": '=HYPERLINK("x")' if rank == 2 else None,
        "model_state": "gone" if rank % 9 == 4 else "available",
        "source": "run" if rank % 2 else "import:open-llm-leaderboard",
    }


def _transpose(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
