"""Explains from its output why a job ended before it evaluated anything: missing command, package, container ...

Pure. No model was read before that, so nothing in these lines comes from a repository.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = (
    "The node's Python lacks a package: install the same nightboard there, or change `python` in the cluster profile."
)
_CONTAINER = "The container does not start: change `python` in the cluster profile, or check the container."
_COMMAND = "A command does not start on the node: change `python` or `setup` in the cluster profile."
_VERSION = "The node cannot read the job: install the same Python and nightboard there as here."
_DISK = "A disk of the node does not work: repair it, or exclude the node with `exclude` in the cluster profile."
_TRUST = "The job's call is read only if no other user can have written it."
_NODE = "The node does not start jobs: check it, or exclude it with `exclude` in the cluster profile."

# What a line looks like, and what to do about it. The first that fits a line counts: what comes last often only repeats
# that something has failed.
_SIGNS = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (r"(ModuleNotFoundError|ImportError): |.*: No module named |.*Error while finding module spec", _PACKAGE),
        (r"FATAL:? |(apptainer|singularity|docker|podman|enroot|pyxis)\b.*(error|fatal|fail)", _CONTAINER),
        (r".*: (command not found|not found|No such file or directory)$|.*execve\(\): ", _COMMAND),
        (r"(_?pickle\.\w+|EOFError|AttributeError|UnpicklingError|ValueError: unsupported pickle)", _VERSION),
        (r"nightboard: ", _TRUST),
        (r".*(No space left on device|Disk quota exceeded|Read-only file system|Permission denied)", _DISK),
        (r".*(Input/output error|Stale file handle)", _DISK),
        (r"(slurmstepd|srun|slurmd)[\w.-]*: (error|fatal): (?!.*\btasks? [\d,-]+: |.*[Ee]xited with)", _NODE),
    )
)
_LOST = "no outcome could be written: "


def explain_false_start(output: Sequence[str]) -> str | None:
    """The line of a job's output that tells why it did not begin, and what to do; None when none does."""
    lines = [line.strip() for line in reversed(output)]
    for sign, advice in _SIGNS:
        if line := next(filter(sign.match, lines), None):
            return f"{line.rstrip('.')}. {advice}"
    return None


def explain_lost_outcome(output: Sequence[str], folder: Path) -> str | None:
    """With what a job says that it could not write how the attempt in `folder` ended; None when it does not.

    The same output has what libraries say of a model. No repository knows the folder, which begins the line.
    """
    start = f"{folder}: {_LOST}"
    last = next((line.strip() for line in reversed(output) if start in line), None)
    return last and f"{_LOST}{last.partition(start)[2].strip()}"
