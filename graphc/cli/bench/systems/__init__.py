"""The systems that are measured: graphc's backends, and its peers.

Comes in: a name. Goes out: what to import, and how a job becomes calls. One file per system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from graphc.cli.bench.results import GRAPHC
from graphc.cli.bench.systems import by_hand, native, onnx, pytorch, xla
from graphc.cli.bench.systems.job import Prepared
from graphc.cli.bench.workload import Forward, Update, Workload
from graphc.runner import BACKENDS


@dataclass(frozen=True)
class System:
    """``modules`` are imported and passed to ``warm``, which runs something trivial, and after the
    job to ``prepare``. ``more`` must be installed too.
    """

    modules: tuple[str, ...]
    warm: Callable[..., None]
    prepare: Callable[..., Prepared]
    more: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """The package that is not installed, or ""."""
        packages = [name.partition(".")[0] for name in self.modules + self.more]
        return next((name for name in packages if find_spec(name) is None), "")


PEERS: dict[str, System] = {
    "numpy": System(("numpy",), by_hand.warm, by_hand.prepare),
    "torch": System(("torch",), partial(pytorch.warm, False), partial(pytorch.prepare, False)),
    "torch.compile": System(
        ("torch",), partial(pytorch.warm, True), partial(pytorch.prepare, True)
    ),
    "jax": System(("jax", "jax.numpy"), xla.warm, xla.prepare),
    "onnxruntime": System(("onnxruntime",), onnx.warm, onnx.prepare, ("torch", "onnxscript")),
}
BACKEND_SYSTEMS: dict[str, System] = {
    f"{GRAPHC}{name}": System(
        ("graphc",), partial(native.warm, name), partial(native.prepare, name)
    )
    for name in BACKENDS
}
SYSTEMS = {**BACKEND_SYSTEMS, **PEERS}

METHODS = {"numpy": "numpy", "jax": "jax"}
"""The method of a model that a system calls, where it is not ``torch``."""


def takes(system: str, workload: Workload) -> bool:
    """Whether the workload is written for a system."""
    forward, update = isinstance(workload.task, Forward), isinstance(workload.task, Update)
    if system.startswith(GRAPHC):
        return True
    if workload.model.file:
        return system == "onnxruntime"
    if system == "onnxruntime" and not forward:
        return False
    method = METHODS.get(system, "torch")
    method = "numpy_gradients" if method == "numpy" and not forward else method
    return update or workload.model.method(method) is not None


__all__ = ["PEERS", "SYSTEMS", "System", "takes"]
