"""ONNX Runtime: a model's own file, or the PyTorch formula, exported by another process, so that
PyTorch takes no memory here. Results alone: gradients and training are not for it.

Comes in: a job. Goes out: calls of an inference session.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from graphc.cli.bench.systems.job import Job, Prepared, named, without_cotangent
from graphc.cli.bench.workload import Forward
from graphc.errors import UserError


def warm(ort: Any) -> None:
    """Run something trivial."""
    ort.get_available_providers()


def prepare(job: Job, ort: Any) -> Prepared:
    """A session on the exported model. Raises `UserError` GC0503 for gradients and training."""
    if not isinstance(job.task, Forward):
        raise UserError("GC0503", "ONNX Runtime computes results, no gradients")
    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if job.model.file:
        session = ort.InferenceSession(job.model.file, options, providers=providers)
        names = (x.name for x in session.get_inputs())  # which may be no names for graphc
        given = dict(zip(names, job.inputs.values(), strict=True))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            _exported(job, path)
            session = ort.InferenceSession(path, options, providers=providers)
        taken = {x.name for x in session.get_inputs()}
        given = {name: x for name, x in without_cotangent(job.inputs).items() if name in taken}
    return Prepared(lambda: session.run(None, given), lambda made: named(made, {}, {}))


def _exported(job: Job, path: Path) -> None:
    command = [sys.executable, "-P", "-m", "graphc.cli.bench.systems.export", job.name, str(path)]
    done = subprocess.run(
        command + ["--quick"] * job.quick, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise UserError("GC0503", f"the export to ONNX failed: {said}")
