"""Finds the commit that a branch or tag pointed to when a results file was made, in its history on the Hub.

This is inferred: a branch may have been rewritten since. A model that the Hub does not have, or not at this name, has
no commit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import HubError, HubUnavailable
from nightboard.tasks.imports.lm_eval_results import SHA

_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass
class PastCommits:
    """Asks for each branch or tag of a model once."""

    hub: Hub
    _histories: dict[tuple[str, str], list[tuple[datetime, str]]] = field(default_factory=dict)

    def find(self, model_id: str, name: str, moment: datetime) -> str | None:
        """The sha of the newest commit up to `moment`; None: unknown. Raises HubUnavailable."""
        history = self._read(model_id, name) if _ON_HUB.fullmatch(model_id) else []
        return next((sha for committed_at, sha in history if committed_at <= moment), None)

    def _read(self, model_id: str, name: str) -> list[tuple[datetime, str]]:
        key = model_id, name
        if key not in self._histories:
            try:
                history = [*self.hub.history(model_id, name)]
                self._histories[key] = [(date, sha) for date, sha in history if date and sha and SHA.fullmatch(sha)]
            except HubUnavailable:
                raise
            except HubError:
                self._histories[key] = []
        return self._histories[key]
