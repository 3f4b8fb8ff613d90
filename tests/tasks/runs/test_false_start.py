"""What a job printed before it began tells why it did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightboard.tasks.runs.false_start import explain_false_start, explain_lost_outcome


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("/var/spool/slurmd/job7/slurm_script: line 12: pyton: command not found", "change `python` or `setup`"),
        ("slurmstepd: error: execve(): /opt/gone/python: No such file or directory", "change `python` or `setup`"),
        ("bash: /opt/env.sh: No such file or directory", "change `python` or `setup`"),
        ("/usr/bin/python3: No module named submitit", "install the same nightboard there"),
        ("ModuleNotFoundError: No module named 'nightboard'", "install the same nightboard there"),
        ("ImportError: libpython3.11.so.1.0: cannot open shared object file", "install the same nightboard there"),
        ("FATAL:   could not open image /images/lm.sif: no such file", "check the container"),
        ("docker: Error response from daemon: no such image", "check the container"),
        ("_pickle.UnpicklingError: invalid load key", "the same Python and nightboard"),
        ("AttributeError: Can't get attribute 'run_job' on <module>", "the same Python and nightboard"),
        ("OSError: [Errno 28] No space left on device", "A disk of the node does not work"),
        ("slurmstepd: error: couldn't chdir to `/scratch'", "The node does not start jobs"),
    ],
)
def test_the_line_is_told_with_what_to_do(line: str, advice: str) -> None:
    end = "srun: error: gpu1: task 0: Exited with exit code 2"
    found = str(explain_false_start(["submitit INFO", line, "more of no use", end]))
    assert found.startswith(line.rstrip("."))
    assert advice in found


def test_of_several_lines_the_plainest_and_then_the_last_counts() -> None:
    lines = ["bash: module: command not found", "ModuleNotFoundError: No module named 'a'", "slurmd: error: no"]
    assert str(explain_false_start(lines)).startswith("ModuleNotFoundError: No module named 'a'")
    assert str(explain_false_start([*lines, "ImportError: cannot import name 'b'"])).startswith("ImportError")


def test_what_tells_nothing_is_no_reason() -> None:
    assert explain_false_start(["submitit INFO (starting)", "hello"]) is None
    assert explain_false_start(["srun: error: gpu1: task 0: Exited with exit code 1"]) is None
    assert explain_false_start([]) is None
    assert explain_lost_outcome(["hello"], Path("/store/runs/a")) is None
