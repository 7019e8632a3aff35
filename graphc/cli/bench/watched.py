"""The workloads of a GPU once, at their quick sizes, for a tool that watches every access.

usage: python -m graphc.cli.bench.watched BACKEND [WORKLOAD ...]

Without names, one workload of each kind. Results are compared with those of the numpy backend; the
exit status is 1 when one is wrong.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from graphc.cli.bench.compare import mismatch
from graphc.cli.bench.systems import SYSTEMS
from graphc.cli.bench.systems.job import job_of
from graphc.cli.bench.worker import first_results
from graphc.cli.bench.workload import Arrays, Workload
from graphc.cli.bench.workloads import chosen

USUAL = (
    "gpu-chain", "gpu-softmax", "gpu-layer-norm", "gpu-sum-*", "gpu-transpose", "gpu-adam",
    "gpu-matmul-2048", "gpu-matmul-4096-bf16", "gpu-linear-256-*", "gpu-attention-backward",
    "gpu-mlp", "gpu-conv-backward",
)  # fmt: skip


def main(backend: str, names: Sequence[str] = ()) -> int:
    """Run, compare, print a line for each."""
    wrong = False
    for workload in chosen(names or USUAL):
        found, expected = (_computed(name, workload) for name in (backend, "numpy"))
        said = mismatch(found, expected, workload.quick.tolerance)
        wrong = wrong or bool(said)
        print(f"{workload.name}: {said or 'right'}")
    return int(wrong)


def _computed(backend: str, workload: Workload) -> Arrays:
    system, job = SYSTEMS[f"graphc {backend}"], job_of(workload, True, 1)
    program = system.prepare(job, *map(importlib.import_module, system.modules))
    return first_results(program, job, program.step())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
