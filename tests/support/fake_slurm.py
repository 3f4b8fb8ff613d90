"""SLURM's commands as small scripts that print what a test wants, for what a real cluster cannot be made to say."""

from __future__ import annotations

import os
import stat
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "squeue", "scontrol", "scancel", "sinfo")
SCRIPT = """#!/bin/sh
cd {folder}
name=$(basename "$0")
echo "$*" >> "$name.calls"
count=$(wc -l < "$name.calls")
while [ "$count" -gt 0 ] && [ ! -d "$name.$count" ]; do count=$((count - 1)); done
[ "$name" = sbatch ] && env > sbatch.env && cp "$1" sbatch.script
[ "$count" -eq 0 ] && echo "$name was not expected" >&2 && exit 99
sleep "$(cat "$name.$count/hang")"
cat "$name.$count/err" >&2
cat "$name.$count/out"
exit "$(cat "$name.$count/code")"
"""


class FakeSlurm:
    """Answers of the commands, in order; the last one is given again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in COMMANDS:
            path = folder / name
            path.write_text(SCRIPT.format(folder=folder))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}/usr/bin{os.pathsep}/bin"

    def answer(self, name: str, out: str = "", err: str = "", code: int = 0, hang_s: float = 0) -> None:
        number = len(list(self.folder.glob(f"{name}.[0-9]*"))) + 1
        folder = self.folder / f"{name}.{number}"
        folder.mkdir()
        for key, value in {"out": out, "err": err, "code": code, "hang": hang_s}.items():
            (folder / key).write_text(str(value))

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def script(self) -> str:
        return (self.folder / "sbatch.script").read_text()

    @property
    def sbatch_environment(self) -> dict[str, str]:
        lines = (self.folder / "sbatch.env").read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}
