"""From ``model.onnx`` to a graph.

Comes in: an ONNX file, and values for some of its inputs. Goes out: tensors for the other inputs
and for the results. A separate step because a static graph needs the values of those inputs that
decide shapes: they become part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphc.errors import UserError
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optional import onnx_frontend
from graphc.graph import Array

SUFFIX = ".onnx"


class Model:
    """An ONNX file that has been read; ``names`` are those of its inputs.

    Raises `UserError` GC0501 (no ONNX model, or no package to read it), GC0505 (it needs what
    graphc lacks).
    """

    def __init__(self, path: Path) -> None:
        self._onnx: Any = onnx_frontend()
        self._model = self._onnx.load(path)
        self.names: list[str] = [x.name for x in self._model.inputs]

    def tensors(self, given: Mapping[str, Array]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The open inputs and the results, both by name.

        Raises `UserError` GC0106 when a shape depends on an input that is not ``given``, and what
        operators raise.
        """
        made = dict(zip(self.names, self._model.symbolic_inputs({}), strict=True))
        place = {x.node: name for name, x in made.items()}
        fixed: dict[str, Array] = {}
        while True:
            inputs = {name: x for name, x in made.items() if name not in fixed}
            try:
                leaves, _ = flatten(self._model(**inputs, **fixed))
            except self._onnx.Undecided as error:
                fixed |= _decided([place[node] for node in error.inputs], given, error)
                continue
            return inputs, dict(zip(self._model.outputs, leaves, strict=False))


def _decided(names: list[str], given: Mapping[str, Array], error: Any) -> dict[str, Array]:
    """The values of inputs that decide shapes."""
    for name in names:
        if name not in given:
            raise UserError(
                error.code,
                error.what,
                why=error.why,
                fix=f"give it a value: --input {name}=FILE.npy",
            ).located(error.where)
    return {name: given[name] for name in names}
