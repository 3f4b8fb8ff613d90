"""The environment variables that a job gets: no secrets, and nothing of another job."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def hide_secrets(additional: Mapping[str, Any], setup: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Set the submitting shell's secrets to nothing for sbatch, then unset them: neither job nor steps have them."""
    values = {key.replace("_", "-"): value for key, value in additional.items()}
    # A job whose node fails comes back, whatever the site's default is, unless the profile forbids it.
    values |= {"no-requeue": True} if values.get("requeue") is False else {}
    values |= {} if "no-requeue" in values else {"requeue": True}
    values = {key: value for key, value in values.items() if value is not False}
    export = str(values.get("export", "ALL"))
    secrets = sorted(name for name in environment if is_secret(name) and name.isidentifier())
    if export.split(",")[0] != "ALL" or not secrets:
        return {"additional_parameters": values, "setup": list(setup) or None}
    values["export"] = ",".join([export, *(f"{name}=" for name in secrets)])
    return {"additional_parameters": values, "setup": [f"unset SLURM_EXPORT_ENV {' '.join(secrets)}", *setup]}


# ------------------------------------------------------------------------------------------------------ environment

# What a login shell may hold and a job must not see. TOKENIZERS_PARALLELISM is no token.
_SECRET = re.compile(
    r"PASSWORD$|(^|_)(TOKEN(_PATH|_FILE)?|SECRETS?|PASSWD|PASSPHRASE|CREDENTIALS?|JWT|API_?KEYS?|ACCESS_KEY(_ID)?|"
    r"SECRET_(ACCESS_)?KEY|PRIVATE_KEY|AUTH_STRING)$",
    re.IGNORECASE,
)
# Where the cluster is, not which job this process itself may be in.
_OF_THE_CLUSTER = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_changing_environment = threading.Lock()


def is_secret(name: str) -> bool:
    """Whether an environment variable looks like one that gives access to something."""
    return bool(_SECRET.search(name))


def is_of_another_job(name: str) -> bool:
    """What a flow that itself runs as a job would pass on, and what would overrule the profile."""
    return name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")) and name not in _OF_THE_CLUSTER


@contextlib.contextmanager
def environment_changed(is_unwanted: Callable[[str], bool], added: Mapping[str, str]) -> Iterator[None]:
    """Let a child start in another environment; submitit gives no other way than this process's own.

    Empty parts of PYTHONPATH, which mean the working folder, are removed.
    """
    with _changing_environment:
        before = dict(os.environ)
        for name in filter(is_unwanted, before):
            del os.environ[name]
        os.environ.update(added)
        if path := before.get("PYTHONPATH"):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
        try:
            yield
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Let a child start with Ctrl-C ignored: stopping the flow leaves its jobs running for the next flow."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
