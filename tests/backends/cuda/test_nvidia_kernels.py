"""Generated kernels through NVIDIA's own compiler, for every kind of GPU: they compile, and nothing
is spilled. No GPU is needed.

Kernels of many samples are compiled as one text, because the prelude is most of what is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import numpy as np
import pytest

import graphc as gc
from graphc.backends.cuda import TAKES
from graphc.backends.cuda.code import forms
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.nvidia import compiler, listing
from graphc.backends.cuda.prelude import prelude
from graphc.errors import UserError
from graphc.graph import Graph
from graphc.ops.leaves import Input
from graphc.scalars import tanh
from graphc.stages import Stages
from graphc.types import FLOAT32, TensorType
from kernels.models import GRAPHS
from samples import DISTINCT

GPUS = [
    Limits(75, "", 68, 65_536),
    Limits(80, "", 108, 166_912),
    Limits(90, "", 132, 232_448),
    Limits(),
]
"""A T4, an A100, an H100 without and with the instructions that are its own."""
EVERY = 16
"""One sample of so many is compiled for each GPU."""

pytestmark = [pytest.mark.usefixtures("nvrtc"), pytest.mark.sweep]


def units(graphs: Iterable[Graph], limits: Limits) -> list[Unit]:
    """The distinct kernels of some graphs."""
    programs = [Stages(graph, {}, TAKES).program for graph in graphs]
    made = [form for program in programs for form in forms(program, limits)]
    return [*{p.unit.name: p.unit for form in made for p in form.phases}.values()]


def together(chosen: Iterable[Unit], limits: Limits) -> compiler.Compiled:
    text = "\n".join(unit.text for unit in chosen)
    return compiler.compiled(prelude(text), Unit("kernels", text), limits.target)


def values(first: int) -> list[Graph]:
    drawn = [(sample, sample.inputs()) for sample in DISTINCT[first::EVERY]]
    return [Graph(tuple(inputs), (sample.build(*inputs),)) for sample, inputs in drawn]


@pytest.mark.parametrize("limits", GPUS, ids=lambda limits: limits.target)
def test_samples_compile_for_every_gpu(limits):
    found = units(values(GPUS.index(limits)), limits)
    assert len(found) > 20
    made = together(found, limits)
    assert made.usage.spilled == 0
    assert made.remarks == ()


@pytest.mark.parametrize("name", GRAPHS)
def test_models_compile_without_spills(name):
    found = units([GRAPHS[name]()], Limits())
    made = together(found, Limits())
    assert (made.usage.spilled, made.remarks) == (0, ())


def test_large_arrays_are_read_by_16_bytes():
    x = Input("x", TensorType(FLOAT32, (1 << 20,)))()
    (unit,) = units([Graph((x,), (tanh(x) * np.float32(2) + x,))], Limits())
    try:
        sass = listing.text(unit, "sass", "sm_90a")
    except UserError as error:
        pytest.skip(f"nvdisasm cannot be used: {error.what}")
    assert "LDG.E.128" in sass
    assert "STG.E.128" in sass


@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler is here"
)
def test_a_program_shows_its_levels_without_a_gpu():
    x = gc.input("x", (1000,))
    step = gc.compile([x], gc.tanh(x).sum(), backend="cuda-sim")
    assert "KERNEL(" in step.source("cuda")
    assert ".target sm_90a" in step.source("ptx")
    usage = step.source("usage", 0)
    assert "0 bytes spilled" in usage
    assert "% of the warps (sm_90a)" in usage
