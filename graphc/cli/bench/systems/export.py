"""Writes a workload's PyTorch formula as an ONNX file.

usage: python -m graphc.cli.bench.systems.export WORKLOAD FILE [--quick]

Parameters become constants of the file.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from graphc.cli.bench.systems.job import Job, job_of, without_cotangent
from graphc.cli.bench.workloads import WORKLOADS


def export(job: Job, path: str) -> None:
    """Write the model at ``path``."""
    torch: Any = importlib.import_module("torch")
    formula = job.formula("torch", torch)
    inputs = {n: torch.from_numpy(x) for n, x in without_cotangent(job.inputs).items()}

    class Exported(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for name, array in job.parameters.items():
                self.register_buffer(name, torch.from_numpy(array))

        def forward(self, *values: Any) -> Any:
            """The formula of the inputs, in order."""
            return formula(**dict(zip(inputs, values, strict=True)), **dict(self.named_buffers()))

    torch.onnx.export(
        Exported(), tuple(inputs.values()), path, input_names=list(inputs), verbose=False
    )


if __name__ == "__main__":
    name, path, *rest = sys.argv[1:]
    export(job_of(WORKLOADS[name], "--quick" in rest, 1), path)
