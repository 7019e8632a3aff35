"""Models in ONNX files as workloads: their results, on random inputs.

Comes in: a name, ``MODEL.onnx`` with numbers for named sizes, e.g. ``resnet.onnx batch=1``. Goes
out: a workload. The name says everything, because every system runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Workload
from graphc.cli.model import SUFFIX
from graphc.cli.options import SIZE
from graphc.cli.run import random_array
from graphc.cli.target import Target, find_target
from graphc.frontends.optional import onnx_frontend


@dataclass(frozen=True)
class OnnxFile(Model):
    """A model in an ONNX file."""

    file: str
    sizes: tuple[tuple[str, int], ...] = ()

    @cached_property
    def target(self) -> Target:
        """Its graph, with the sizes that are named left open."""
        return find_target(self.file)

    def inputs(self, rng: np.random.Generator) -> Arrays:
        """Standard normal floats, and integers and bools from {0, 1}."""
        types = {x.name: x.type.substitute(dict(self.sizes)) for x in self.target.graph.inputs}
        return {name: random_array(type_, rng) for name, type_ in types.items()}

    def graphc(self, gc: Any, **tensors: Any) -> Any:
        """The model, called with its inputs in order."""
        return onnx_frontend().load(self.file, trainable=False)(*tensors.values())


def is_file(name: str) -> bool:
    """Whether a workload's name is that of a file."""
    return name.partition(" ")[0].endswith(SUFFIX)


def named(name: str, sizes: Mapping[str, int]) -> str:
    """The whole name of the workload of a file: every named size has its number.

    Raises `UserError` as `find_target` does.
    """
    numbers = {size: sizes.get(size, SIZE) for size in find_target(name).symbols}
    return " ".join([name, *(f"{size}={number}" for size, number in numbers.items())])


def sizes_of(name: str) -> dict[str, int]:
    """The numbers in a whole name; none in that of another workload."""
    pairs = (part.partition("=") for part in name.split(" ")[1:])
    return {size: int(number) for size, _, number in pairs}


def from_file(name: str) -> Workload:
    """The workload with this whole name."""
    model = OnnxFile(name.partition(" ")[0], tuple(sizes_of(name).items()))
    return Workload(name, model, model, 1.0)
