"""A copy of as many bytes as a workload must move: what memory allows on a GPU.

Comes in: a job. Goes out: copies from one place on the device to another. Half of the bytes are
read, half are written; a job with another mix has nearly the same limit, for both go over one bus.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from graphc.cli.bench.systems.job import Job, Prepared
from graphc.cli.bench.systems.native import cost_of, timed
from graphc.runner import load_backend


def prepare(backend: str, job: Job, gc: Any) -> Prepared:
    """Copies by the device of ``backend``."""
    device = load_backend(backend).device()
    half = max(int(cost_of(job, gc)[1].bytes) // 2, 1)
    source, target = (device.allocate(half) for _ in range(2))
    device.write(source.address, np.random.default_rng(0).integers(0, 256, half, np.uint8))

    def copy() -> None:
        device.copy(target.address, source.address, half)

    def step() -> None:
        copy()
        device.synchronise()

    return Prepared(step, None, repeat=partial(timed, device, copy))
