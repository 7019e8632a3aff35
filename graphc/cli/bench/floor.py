"""The floor of speed: what generated code must reach on any machine, beside NumPy.

Comes in: a budget of time. Goes out: `Result`s with the floor each must reach. These few programs
stand for the rest: a matrix product, a chain of elementwise operations, a training step, the time
to compile one, and the cost of a call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.timing import Budget, Times, measured
from graphc.cli.demo.digits import BATCH, build
from graphc.cli.demo.models import LeNet
from graphc.cli.screen import duration
from graphc.compile import Executable
from graphc.frontends import dsl
from graphc.frontends.data import load_digits
from graphc.frontends.dsl.function import Function
from graphc.graph import Array

FLOAT = np.float32


@dataclass(frozen=True)
class Result:
    """One measurement: ``mine``, perhaps against ``other``, and what it must reach.

    ``floor`` is the least ratio of the two medians, or without ``other`` the most seconds.
    """

    name: str
    mine: Times
    floor: float
    other: Times | None = None
    other_name: str = "numpy"
    work: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times as fast as ``other``."""
        return self.other.median / self.mine.median if self.other else 0.0

    @property
    def holds(self) -> bool:
        """Whether the floor is reached."""
        if self.other is None:
            return self.mine.median <= self.floor
        return self.ratio >= self.floor

    @property
    def floor_shown(self) -> str:
        return f"{self.floor:.1f}x" if self.other else duration(self.floor)

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        data = {
            "name": self.name,
            "median_seconds": self.mine.median,
            "spread": self.mine.spread,
            "samples": len(self.mine.samples),
            "floor": self.floor,
            "holds": self.holds,
        }
        if self.work:
            data["flop_per_second"] = self.work / self.mine.median
        if self.other:
            compared = {"against": self.other_name, "other_median_seconds": self.other.median}
            data |= {**compared, "ratio": self.ratio}
        return data


def _against(
    name: str, floor: float, mine: Callable[[], object], other: Callable[[], object],
    budget: Budget, other_name: str = "numpy", work: float = 0.0,
) -> Result:  # fmt: skip
    times = measured({"mine": mine, "other": other}, budget)
    return Result(name, times["mine"], floor, times["other"], other_name, work)


# The programs -------------------------------------------------------------------------------------
def matmul(budget: Budget) -> list[Result]:
    """Square float32 products of 256 to 2048 rows, at least 1.3 times as fast as NumPy's BLAS."""
    rng = np.random.default_rng(0)
    results = []
    for n in (16, 32) if budget.quick else (256, 512, 1024, 2048):
        a, b = (rng.standard_normal((n, n)).astype(FLOAT) for _ in range(2))
        x, y = dsl.input("x", (n, n)), dsl.input("y", (n, n))
        product = dsl.compile([x, y], x @ y)
        assert np.allclose(product(a, b), a @ b, rtol=1e-3, atol=1e-3)
        calls = (_call(product, a, b), lambda a=a, b=b: a @ b)
        results.append(_against(f"matmul {n}", 1.3, *calls, budget, work=2.0 * n**3))
    return results


def chain(budget: Budget) -> list[Result]:
    """Four operations on 4 million floats, at least 4 times as fast as NumPy's four passes."""
    n = 1 << (10 if budget.quick else 22)
    data = np.random.default_rng(0).standard_normal(n).astype(FLOAT)
    x = dsl.input("x", (n,))
    fused = dsl.compile([x], (x * 2 + 1) * x - 0.5)
    two, one, half = FLOAT(2), FLOAT(1), FLOAT(0.5)
    assert np.allclose(fused(data), (data * two + one) * data - half, rtol=1e-5, atol=1e-5)
    calls = (_call(fused, data), lambda: (data * two + one) * data - half)
    return [_against(f"4 operations on {n:,} floats", 4.0, *calls, budget)]


def lenet(budget: Budget) -> list[Result]:
    """LeNet-5's training step with Adam, batch 64, at least 5 times as fast as on numpy."""
    step, batch = lenet_step("llvm")
    oracle = Executable(step.graph, "numpy", sizes=step.compiled.sizes)
    calls = (_call(step, *batch), _call(oracle, *batch))
    return [_against(f"LeNet step, batch {BATCH}", 5.0, *calls, budget, "numpy backend")]


def compiling(budget: Budget) -> list[Result]:
    """Compiling LeNet's step: at most 3 s with an empty cache, 0.3 s with a full one."""
    cold, warm = [], []
    for _ in range(1 if budget.quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(_compile_elsewhere(folder))
            warm.append(_compile_elsewhere(folder))
    return [
        Result("compiling LeNet's step, empty cache", Times(tuple(cold)), 3.0),
        Result("compiling LeNet's step, full cache", Times(tuple(warm)), 0.3),
    ]


def overhead(budget: Budget) -> list[Result]:
    """A call of x * 2 + 1 on 4 floats: at most 15 us, all of it overhead."""
    x = dsl.input("x", (4,))
    small, data = dsl.compile([x], x * 2 + 1), np.ones(4, FLOAT)
    times = measured({"mine": _call(small, data)}, budget)
    return [Result("calling x*2+1 on 4 floats", times["mine"], 15e-6)]


BENCHMARKS: dict[str, Callable[[Budget], list[Result]]] = {
    "matmul": matmul,
    "chain": chain,
    "lenet": lenet,
    "compiling": compiling,
    "overhead": overhead,
}
"""All benchmarks by name, in the order in which they run."""


def _call(function: Callable[..., object], *arrays: Array) -> Callable[[], object]:
    return lambda: function(*arrays)


def lenet_step(backend: str) -> tuple[Function, tuple[Array, ...]]:
    """The demonstration's compiled training step, and a batch for it."""
    training, _, _ = build("lenet", LeNet(), load_digits(), backend)
    return training.step, training.batch


# Compile time, in a fresh process each time -------------------------------------------------------
_CHILD = "from graphc.cli.bench.floor import compile_seconds; print(compile_seconds())"


def compile_seconds() -> float:
    """Build, differentiate and compile LeNet's step; goes out as the seconds it took."""
    model, digits = LeNet(), load_digits()
    start = time.perf_counter()
    build("lenet", model, digits, "llvm")
    return time.perf_counter() - start


def _compile_elsewhere(cache: str) -> float:
    environment = {**os.environ, "GRAPHC_CACHE_DIR": cache, "GRAPHC_CACHE": "1"}
    command = [sys.executable, "-c", _CHILD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)
