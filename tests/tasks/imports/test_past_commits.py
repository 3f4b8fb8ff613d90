"""Which commit a branch had when it was evaluated, by its history on a Hub."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from served_hub import make_model, serve_hub

from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.hub.http_retry import RetryPolicy
from nightboard.tasks.imports.past_commits import PastCommits

DAY = datetime(2026, 1, 10, tzinfo=UTC)


def test_the_newest_commit_up_to_the_time_of_the_evaluation_counts() -> None:
    with serve_hub() as served:
        served.loopback.create_repo("lab/m")
        first, second, third = (
            served.loopback.commit("lab/m", make_model(number), "weights", at=DAY + timedelta(days=number))
            for number in (1, 2, 3)
        )
        served.loopback.create_branch("lab/m", "step9", second)
        commits = PastCommits(served.client())
        assert commits.find("lab/m", "step9", DAY + timedelta(days=1)) == first
        assert commits.find("lab/m", "step9", DAY + timedelta(days=9)) == second
        assert commits.find("lab/m", "main", DAY + timedelta(days=9)) == third
        assert commits.find("lab/m", "step9", datetime(2025, 1, 1, tzinfo=UTC)) is None
        assert commits.find("lab/m", "step10", DAY + timedelta(days=9)) is None
        assert commits.find("lab/none", "step9", DAY + timedelta(days=9)) is None
        assert commits.find("/models/local", "step9", DAY + timedelta(days=9)) is None


def test_a_hub_that_does_not_answer_is_not_a_model_without_commits() -> None:
    hub = Hub("http://127.0.0.1:9", None, RetryPolicy(sleep=lambda seconds: None))
    with pytest.raises(HubUnavailable):
        PastCommits(hub).find("lab/m", "step9", DAY)
