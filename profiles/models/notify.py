"""Where a board tells people of failures, as `kind/name`: a Prefect block, or an environment variable with an address.

No address is part of a profile: that of a webhook is a secret.
"""

from __future__ import annotations

import re
from typing import Annotated

from nightboard.profiles.models.base import refuse

# The kind of a place whose name is that of an environment variable; every other kind is a type of Prefect's blocks.
# Both of these hold the address of a webhook; other blocks notify by themselves.
ENV, SECRET = "env", "secret"
_NAMES = {ENV: r"[A-Za-z_]\w*"}
_BLOCK_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"


def find_place_problem(place: str) -> str | None:
    """What is wrong with a place for notifications and what to do, or None."""
    if "://" in place:
        return (
            "must not be an address, which is often a secret. Put it into an environment variable and write env/NAME, "
            "or into a Prefect block and write its type and name, such as slack-webhook/ops"
        )
    kind, _, name = place.partition("/")
    if not re.fullmatch(_BLOCK_NAME, kind) or not re.fullmatch(_NAMES.get(kind, _BLOCK_NAME), name):
        return "must be kind/name. Write a Prefect block such as slack-webhook/ops or secret/NAME, or env/VARIABLE"
    return None


NotifyPlace = Annotated[str, refuse(find_place_problem)]
