"""The warehouse at the size of the Open LLM Leaderboard: conversion, rebuild, one more night, and questions.

Makes its own lake, as if evaluations of `leaderboard-v2` had been collected and compacted. NIGHTBOARD_BENCH_EVALUATIONS
says how many; 4576 is the size of the final public table, 97 million samples.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


N_EVALUATIONS = int(os.environ.get("NIGHTBOARD_BENCH_EVALUATIONS", "400"))
NIGHT = 50
PER_FILE = 46
START = datetime(2026, 1, 1, tzinfo=UTC)

Cells = tuple[str, str, str, str, float]
"""What, ours, against, theirs, ratio."""
