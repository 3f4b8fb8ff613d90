"""How long an evaluation takes: from what was measured on similar models, else from parameters and documents.

Pure. All is counted in seconds on one GPU (or on the CPU), and divided by the tier's GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from nightboard.profiles.models import Benchmark, Tier
from nightboard.tasks.history import START_S, Cost
from nightboard.tasks.records import Part, ResolvedSuite
from nightboard.tasks.split import count_documents

# Before anything was measured, for a document of weight 1: a 7B model takes about three GPU-hours for leaderboard-v2,
# whose 21,606 documents have a mean weight of 2.1.
GPU_S_PER_DOCUMENT_AND_B = 0.033
CPU_S_PER_DOCUMENT_AND_B = 5.0
# A question with five answers to compare has weight 1. Generating so many tokens costs the same.
CHOICES_PER_WEIGHT = 5.0
TOKENS_PER_WEIGHT = 128.0
UNKNOWN_CHOICES = 4
# A measured cost serves for models up to so many times smaller or larger.
SIMILAR_SIZE = 4.0


@dataclass
class Estimator:
    """Seconds by suite, benchmark and size. `costs`: by suite; `benchmark_costs`: by suite and benchmark."""

    costs: Mapping[str, Sequence[Cost]]
    benchmark_costs: Mapping[tuple[str, str], Sequence[Cost]]
    _known: dict[tuple[str, str, float, str], dict[str, float]] = field(default_factory=dict)

    def benchmarks(self, suite: ResolvedSuite, params_b: float | None, tier: Tier) -> Mapping[str, float]:
        """Seconds that each benchmark of the suite takes a model of this size in the tier."""
        size = tier.up_to_params_b if params_b is None else params_b
        key = (suite.suite.suite, suite.version, size, tier.name)
        if key not in self._known:
            self._known[key] = {name: self._measure(suite, name, size, tier) for name in suite.suite.benchmarks}
        return self._known[key]

    def part(self, suite: ResolvedSuite, part: Part, params_b: float | None, tier: Tier) -> float:
        """Seconds that a part takes, its start included."""
        seconds = self.benchmarks(suite, params_b, tier)
        if part.documents is None:
            return START_S + sum(seconds[name] for name in part.benchmarks)
        (name,) = part.benchmarks
        documents = sum(suite.suite.expected_samples(task) for task in suite.suite.benchmarks[name].tasks.values())
        return START_S + seconds[name] * count_documents(suite.suite, part, name) / documents

    def _measure(self, suite: ResolvedSuite, name: str, size: float, tier: Tier) -> float:
        benchmark = suite.suite.benchmarks[name]
        documents = sum(suite.suite.expected_samples(task) for task in benchmark.tasks.values())
        guess = GPU_S_PER_DOCUMENT_AND_B if tier.gpus else CPU_S_PER_DOCUMENT_AND_B
        rate = (
            _similar(self.benchmark_costs.get((suite.suite.suite, name), ()), size)
            or _similar(self.costs.get(suite.suite.suite, ()), size)
            or guess * weight(benchmark)
        )
        return documents * size * rate / max(1, tier.gpus * tier.nodes)


def _similar(costs: Sequence[Cost], size: float) -> float | None:
    rates = [cost.rate for cost in costs if size / SIMILAR_SIZE <= cost.params_b <= size * SIMILAR_SIZE]
    return median(rates) if rates else None


def weight(benchmark: Benchmark) -> float:
    """What a document of the benchmark costs beside a question with five answers."""
    if benchmark.max_new_tokens is not None:
        return benchmark.max_new_tokens / TOKENS_PER_WEIGHT
    return fmean(task.choices or UNKNOWN_CHOICES for task in benchmark.tasks.values()) / CHOICES_PER_WEIGHT
