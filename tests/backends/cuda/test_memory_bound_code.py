"""Machine code of kernels that are bound by memory: wide accesses, nothing in local memory. No GPU
is needed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest

import graphc as gc
from graphc import nn
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.emit import Phase
from graphc.backends.cuda.nvidia import compiler, disassembler
from graphc.backends.cuda.prelude import prelude
from graphc.errors import UserError
from scheduled import phases

LIMITS = [Limits(80, "", 108, 166_912), Limits(90, "", 132, 232_448)]


@pytest.fixture(autouse=True)
def _nvrtc():
    try:
        compiler.version()
        disassembler.program()
    except UserError as error:
        pytest.skip(f"machine code cannot be looked at: {error.what}")


def kernels(limits: Limits) -> Iterator[Unit]:
    """Rows in registers of threads, warps and blocks; columns; sums of everything; elements."""
    for rows, length in ((4096, 16), (4096, 1024), (512, 16_384)):
        x, layer = gc.input("x", (rows, length)), nn.LayerNorm(length)
        gradients = gc.grad(gc.sum(gc.tanh(layer(x))), [x, *layer.parameters()])
        for outputs in ([gc.softmax(x)], gradients):
            yield largest(phases([x], outputs, limits))
    x = gc.input("x", (16_384, 1024))
    for y in (gc.sum(x, axis=0), gc.sum(x), gc.tanh(x)):
        yield largest(phases([x], [y], limits))


def largest(found: list[Phase]) -> Unit:
    """The kernel that reads the arrays; others add up a few numbers."""
    return max(found, key=lambda p: p.grid[0] * p.threads).unit


@pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: limits.target)
def test_rows_stay_in_registers_and_accesses_are_wide(limits):
    named = [
        dataclasses.replace(unit, name=f"k{n}", text=unit.text.replace(unit.name, f"k{n}"))
        for n, unit in enumerate(kernels(limits))
    ]
    text = "\n".join(unit.text for unit in named)
    made = compiler.compiled(prelude(text), Unit("kernels", text), limits.target)
    assert (made.usage.spilled, made.stack) == (0, 0)
    functions = re.split(r"//-+ \.text\.k", disassembler.sass(made.cubin))[1:]
    assert len(functions) == len(named)
    assert all("LDG.E.128" in f for f in functions)
