"""The conformance suite of ONNX (package ``onnx``, `onnx.backend.test`) as plain cases.

Comes in: the cases that the package makes and brings along. Goes out: `Case`s by name, what is
skipped and why. A module of its own because values and gradients are tested on the same cases.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests, load_node_model_tests

KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple")
FOLDER = Path(__file__).parent / "frontends" / "onnx"
SKIPPED = FOLDER / "skipped.txt"
"""A pattern of names and a reason in each line."""
SIMPLE = {"FLOAT", "DOUBLE", "INT32", "INT64", "BOOL"}
"""Element types of the core cases."""
BEYOND_CORE = FOLDER / "beyond_core.txt"
"""Operators whose cases are not of the core: rare, of other domains, or decided by data."""


@dataclass(frozen=True)
class Case:
    """A model with inputs and wanted outputs; ``kind`` is one of `KINDS`."""

    name: str
    kind: str
    source: Any

    @cached_property
    def model(self) -> onnx.ModelProto:
        if self.source.model is not None:
            return self.source.model
        return onnx.load(Path(self.source.model_dir) / "model.onnx")

    @property
    def data_sets(self) -> Sequence[tuple[Sequence[Any], Sequence[Any]]]:
        """Pairs of inputs and outputs."""
        if self.source.data_sets is not None:
            return [(_arrays(xs), _arrays(ys)) for xs, ys in self.source.data_sets]
        folders = sorted(Path(self.source.model_dir).glob("test_data_set_*"))
        graph = self.model.graph
        return [
            (_values(f, "input", graph.input), _values(f, "output", graph.output)) for f in folders
        ]

    @property
    def tolerance(self) -> dict[str, float]:
        """As the suite itself compares; twice as wide for results of 16 bits.

        The suite allows 1e-3, where one unit in the last place of float16 is up to 9.8e-4 of the
        value: a result nearer to the exact one than the reference, which rounds after every
        operation, may be two units away from it.
        """
        is_half = any(_type_name(y.type) == "FLOAT16" for y in self.model.graph.output)
        return {"rtol": self.source.rtol * (2 if is_half else 1), "atol": self.source.atol}

    @property
    def is_simple(self) -> bool:
        """Whether all inputs and outputs are tensors of float, int or bool."""
        graph = self.model.graph
        return {_type_name(x.type) for x in (*graph.input, *graph.output)} <= SIMPLE

    @property
    def is_core(self) -> bool:
        """Whether it is an ordinary operator on simple types, or such a one written by others."""
        if self.kind != "node" or not self.is_simple:
            return False
        return "_expanded" in self.name or not _operators(self.name) & beyond_core()


@cache
def cases() -> Mapping[str, Case]:
    """Every case by name, with its kind before it: "node/test_abs"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)  # some cases draw their inputs
        found = {
            kind: load_node_model_tests() if kind == "node" else load_model_tests(kind=kind)
            for kind in KINDS
        }
    return {f"{kind}/{c.name}": Case(c.name, kind, c) for kind in KINDS for c in found[kind]}


@cache
def skipped() -> Mapping[str, str]:
    """The reason by the name of each case that is skipped."""
    rules = [line.split(maxsplit=1) for line in SKIPPED.read_text("utf-8").splitlines() if line]
    found = {
        name: reason.strip()
        for name in cases()
        for pattern, reason in rules
        if fnmatchcase(name, pattern)
    }
    return found


@cache
def beyond_core() -> set[str]:
    """The operators whose cases are not of the core."""
    return set(BEYOND_CORE.read_text("utf-8").split())


@cache
def _operators(name: str) -> set[str]:
    case = cases().get(f"node/{name}")
    return {node.op_type for node in case.model.graph.node} if case else set()


def _type_name(kind: onnx.TypeProto) -> str:
    if kind.HasField("tensor_type"):
        return onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type)
    return str(kind.WhichOneof("value"))


def _arrays(values: Sequence[Any]) -> list[Any]:
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]


def _values(folder: Path, stem: str, declared: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    """The arrays in ``folder`` whose names begin with ``stem``, each read as declared."""
    files = sorted(folder.glob(f"{stem}_*.pb"), key=lambda f: int(f.stem.split("_")[-1]))
    return [_value(f.read_bytes(), info.type) for f, info in zip(files, declared, strict=False)]


def _value(content: bytes, kind: onnx.TypeProto) -> Any:
    readers = {
        "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
        "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
        "tensor_type": (onnx.TensorProto, numpy_helper.to_array),
    }
    proto, reader = readers[kind.WhichOneof("value")]
    message = proto()
    message.ParseFromString(content)
    return reader(message)
