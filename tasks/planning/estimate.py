"""Estimates how long a shard takes: from measurements of similar models, otherwise from parameters and documents.

Pure. hf runs layers on one GPU after the other, so more GPUs hold more but are not faster; vllm uses all in parallel.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from nightboard.profiles.models.cluster import Tier
from nightboard.profiles.models.suite import Benchmark, Suite
from nightboard.tasks.evaluation.sharding import count_documents
from nightboard.tasks.planning.history import Cost, CostKey, History
from nightboard.tasks.store.records import ResolvedSuite, Shard

# The first guess, for seconds on one GPU, per billion parameters. It gives a 7B model 3.6 hours for leaderboard-v2; the
# public board's own energy figures come to about 3.4 GPU-hours for models of 8B (median of 251), 2.8 for 0.5B.
S_PER_REQUEST = 0.003
S_PER_TOKEN = 0.00025
# A small model waits for memory and for Python more than it computes: it costs like one of so many more parameters.
OVERHEAD_B = 6.0
# Two processor cores, by what they took on a model of 135M: 0.3 s a request.
CPU_FACTOR = 600.0
CPU_OVERHEAD_B = 0.05
# If the number of answers differs between questions.
UNKNOWN_CHOICES = 4
# A measured cost serves for models up to so many times smaller or larger.
SIMILAR_SIZE = 4.0
# Of these, so many count: those of the nearest sizes, and of one size the newest.
NEAREST = 15
# Loading Python and the harness; then the weights, at 2 GB a second.
START_S = 30.0
LOAD_S_PER_GB = 0.5
# Bytes per parameter, if nothing else is known.
BYTES_PER_PARAM = 2.0
# Costs are computed once for about equal sizes.
_STEPS_PER_DOUBLING = 8
_SMALLEST_B = 1e-6


@dataclass(frozen=True)
class Size:
    """The size of a model."""

    params_b: float
    weights_gb: float


class Estimator:
    """Seconds by suite, benchmark, shard and size. Remembers what it has looked up: a plan asks for the same again."""

    def __init__(self, history: History) -> None:
        self._costs = history.costs
        self._rates: dict[tuple[CostKey, int], float | None] = {}
        self._guesses: dict[str, dict[str, float]] = {}
        self._parts: dict[tuple[str, str, tuple[str, ...], str, float, float], float] = {}

    def benchmarks(self, suite: ResolvedSuite, size: Size, tier: Tier) -> dict[str, float]:
        """Seconds per benchmark, after the model is loaded."""
        if suite.version not in self._guesses:
            self._guesses[suite.version] = _guess_units(suite.suite)
        guesses = self._guesses[suite.version]
        whole = self._measured(suite, None, size, tier)
        unit = S_PER_REQUEST * (1 if tier.gpus else CPU_FACTOR) * _work(size.params_b, tier.gpus)
        unit /= _speed(tier.backend, tier.gpus * tier.nodes)
        if whole is not None:
            unit = whole / sum(guesses.values())
        measured = {name: self._measured(suite, name, size, tier) for name in guesses}
        return {
            name: seconds if (seconds := measured[name]) is not None else guess * unit
            for name, guess in guesses.items()
        }

    def seconds(self, suite: ResolvedSuite, shard: Shard, size: Size, tier: Tier) -> float:
        """Seconds of a shard, including its start."""
        key = (suite.version, shard.name, shard.benchmarks, tier.name, size.params_b, size.weights_gb)
        if key not in self._parts:
            seconds = self.benchmarks(suite, size, tier)
            taken = (
                seconds[name] * count_documents(suite.suite, shard, name) / _count(suite.suite, name)
                for name in shard.benchmarks
            )
            self._parts[key] = start_seconds(size.weights_gb) + sum(taken)
        return self._parts[key]

    def _measured(self, suite: ResolvedSuite, benchmark: str | None, size: Size, tier: Tier) -> float | None:
        """Seconds of a benchmark, or of the whole suite, from similar models; None: no measurements."""
        key = CostKey(suite.suite.suite, benchmark, tier.backend, bool(tier.gpus))
        if key not in self._costs:
            return None
        step = round(math.log2(max(size.params_b, _SMALLEST_B)) * _STEPS_PER_DOUBLING)
        if (key, step) not in self._rates:
            self._rates[key, step] = _find_rate(self._costs[key], 2 ** (step / _STEPS_PER_DOUBLING), tier.backend)
        rate = self._rates[key, step]
        if rate is None:
            return None
        names = suite.suite.benchmarks if benchmark is None else [benchmark]
        documents = sum(_count(suite.suite, name) for name in names)
        return rate * documents * _work(size.params_b, tier.gpus) / _speed(tier.backend, tier.gpus * tier.nodes)


def start_seconds(weights_gb: float) -> float:
    """Seconds from the start of Python to the first document."""
    return START_S + LOAD_S_PER_GB * weights_gb


def _find_rate(costs: Sequence[Cost], params_b: float, backend: str) -> float | None:
    """Median of the nearest models: seconds on one GPU (or the CPU) a document and billion parameters."""
    similar = (cost for cost in reversed(costs) if params_b / SIMILAR_SIZE <= cost.params_b <= params_b * SIMILAR_SIZE)
    nearest = heapq.nsmallest(NEAREST, similar, key=lambda cost: abs(math.log(cost.params_b / params_b)))
    rates = [
        _computing_seconds(cost) * _speed(backend, cost.gpus) / (cost.documents * _work(cost.params_b, cost.gpus))
        for cost in nearest
    ]
    return median(rates) if rates else None


def _computing_seconds(cost: Cost) -> float:
    """Loading takes a small suite as long as a large one, so it is taken off; a tenth is computing in any case."""
    if not cost.has_start:
        return cost.seconds
    return max(cost.seconds - start_seconds(BYTES_PER_PARAM * cost.params_b), cost.seconds / 10)


def _work(params_b: float, gpus: int) -> float:
    return params_b + (OVERHEAD_B if gpus else CPU_OVERHEAD_B)


def _speed(backend: str, gpus: int) -> int:
    return max(1, gpus) if backend == "vllm" else 1


def _guess_units(suite: Suite) -> dict[str, float]:
    """What each benchmark costs beside one request for a log-likelihood."""
    return {name: _guess_requests(suite, benchmark) for name, benchmark in suite.benchmarks.items()}


def _guess_requests(suite: Suite, benchmark: Benchmark) -> float:
    """One request an answer to choose from; a generated answer is as long as it may be."""
    tasks = benchmark.tasks.values()
    if benchmark.max_new_tokens is None:
        return float(sum(suite.expected_samples(task) * (task.choices or UNKNOWN_CHOICES) for task in tasks))
    documents = sum(suite.expected_samples(task) for task in tasks)
    return documents * benchmark.max_new_tokens * S_PER_TOKEN / S_PER_REQUEST


def _count(suite: Suite, benchmark: str) -> int:
    return sum(suite.expected_samples(task) for task in suite.benchmarks[benchmark].tasks.values())
