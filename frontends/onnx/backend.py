"""graphc as a backend of ONNX's own interface, `onnx.backend.base`.

Comes in: models in memory. Goes out: what ONNX's test runner, and every tool made for that
interface, expects. A separate step because its words (prepare, device) are ONNX's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import onnx
from onnx.backend import base

from graphc.errors import UserError
from graphc.frontends.onnx.model import Model, load


class Prepared(base.BackendRep):
    """A model with the backend that runs it."""

    def __init__(self, model: Model, backend: str) -> None:
        self.model, self.backend = model, backend

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """The results for ``inputs``, a list of arrays or a dict by name."""
        if isinstance(inputs, dict):
            return tuple(self.model.run(backend=self.backend, **inputs))
        return tuple(self.model.run(*inputs, backend=self.backend))


class Backend(base.Backend):
    """ONNX's interface to graphc: device "CPU" is the llvm backend, "CUDA" the cuda backend."""

    backends: ClassVar[dict[str, str]] = {"CPU": "llvm", "CUDA": "cuda"}

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> bool:
        """Whether graphc has every operator and type of ``model``."""
        try:
            load(model)
        except UserError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> Prepared:
        """The model, ready to run. Raises `UserError` as `load` does, and GC0402."""
        name = device.split(":")[0]
        if name not in cls.backends:
            known = ", ".join(cls.backends)
            raise UserError("GC0402", f"no device {device!r}", fix=f"use one of {known}")
        return Prepared(load(model, trainable=False), cls.backends[name])

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **options: Any
    ) -> tuple[Any, ...]:
        """`prepare` and run once."""
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether ``device`` is known; a CUDA device may still be missing when a model runs."""
        return device.split(":")[0] in cls.backends


class Oracle(Backend):
    """The same on the numpy backend, which is slow and simple."""

    backends: ClassVar[dict[str, str]] = {"CPU": "numpy"}


# ONNX's tools take a module with these functions as well as a class.
is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
supports_device = Backend.supports_device
