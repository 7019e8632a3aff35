"""The systems that are measured: graphc's backends, and its peers.

Comes in: a name. Goes out: what to import, and how a job becomes calls. One file per system. Peers
that compute on a GPU are called by their kind and the device: "torch cuda".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

from graphc.cli.bench.results import GRAPHC
from graphc.cli.bench.systems import by_hand, copying, native, onnx, pytorch, xla
from graphc.cli.bench.systems.job import Prepared
from graphc.cli.bench.workload import Forward, Update, Workload
from graphc.runner import BACKENDS, load_backend


@dataclass(frozen=True)
class System:
    """``modules`` are imported and passed to ``warm``, which runs something trivial, and after the
    job to ``prepare``. ``more`` must be installed too, and ``gpu`` says that a GPU must be there.
    """

    modules: tuple[str, ...]
    warm: Callable[..., None]
    prepare: Callable[..., Prepared]
    more: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def missing(self) -> str:
        """The package that is not installed, or "a GPU", or ""."""
        packages = [name.partition(".")[0] for name in self.modules + self.more]
        lacking = next((name for name in packages if find_spec(name) is None), "")
        return lacking or ("a GPU" if self.gpu and not has_gpu() else "")


@cache
def has_gpu() -> bool:
    """Whether a driver finds an NVIDIA GPU."""
    return any(fact.startswith("GPU ") for fact in load_backend("cuda").about())


PEERS: dict[str, System] = {
    "numpy": System(("numpy",), by_hand.warm, by_hand.prepare),
    "torch": System(("torch",), pytorch.warm, pytorch.prepare),
    "torch.compile": System(
        ("torch",), partial(pytorch.warm, compiled=True), partial(pytorch.prepare, compiled=True)
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


def _torch(**how: Any) -> System:
    how |= {"device": "cuda"}
    return System(
        ("torch",), partial(pytorch.warm, **how), partial(pytorch.prepare, **how), gpu=True
    )


def _copy(backend: str, gpu: bool) -> System:
    prepare = partial(copying.prepare, backend)
    return System(("graphc",), partial(native.warm, backend), prepare, gpu=gpu)


GPU_PEERS: dict[str, System] = {
    "copy cuda": _copy("cuda", True),
    "copy cuda-sim": _copy("cuda-sim", False),
    "torch cuda": _torch(),
    "torch.compile cuda": _torch(compiled=True),
    "jax cuda": System(
        ("jax", "jax.numpy"), partial(xla.warm, gpu=True), partial(xla.prepare, gpu=True), gpu=True
    ),
}
SYSTEMS = {**BACKEND_SYSTEMS, **PEERS, **GPU_PEERS}

METHODS = {"numpy": "numpy", "jax": "jax", "jax cuda": "jax"}
"""The method of a model that a system calls, where it is not ``torch``."""


def takes(system: str, workload: Workload) -> bool:
    """Whether the workload is written for a system."""
    forward, update = isinstance(workload.task, Forward), isinstance(workload.task, Update)
    if system.startswith(GRAPHC):
        return True
    kind, declared = system.partition(" ")[0], (*workload.against, *workload.beside)
    if system in GPU_PEERS and declared and kind not in declared:
        return False
    if kind == "copy":
        return True
    if workload.model.file:
        return system == "onnxruntime"
    if system == "onnxruntime" and not forward:
        return False
    method = METHODS.get(system, "torch")
    method = "numpy_gradients" if method == "numpy" and not forward else method
    return update or workload.model.method(method) is not None


__all__ = ["GPU_PEERS", "PEERS", "SYSTEMS", "System", "has_gpu", "takes"]
