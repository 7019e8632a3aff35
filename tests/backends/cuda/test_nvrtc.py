"""Generated kernels of whole networks through NVIDIA's compiler: they compile for each GPU, spill
nothing, and have the instructions that they were scheduled for. No GPU is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

import graphc as gc
from graphc import nn
from graphc.backends.cuda import TAKES
from graphc.backends.cuda.code import forms
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.nvidia import compiler, disassembler
from graphc.backends.cuda.nvidia.disassembler import sass
from graphc.backends.cuda.prelude import prelude
from graphc.errors import UserError
from graphc.graph import Graph
from graphc.stages import Stages
from networks import NETWORKS
from samples import DISTINCT
from scheduled import graph

AMPERE, HOPPER = Limits(80, "", 108, 166_912), Limits()
GPUS = [AMPERE, Limits(90, "", 132, 232_448), HOPPER]
TOGETHER = 40
"""Kernels that are compiled as one text, because the prelude is most of what is read."""
REDUCTION = 40
"""Bytes in memory of a sine, whose library keeps the parts of a large angle there."""

pytestmark = [pytest.mark.usefixtures("nvrtc"), pytest.mark.sweep]


def units(graph_: Graph, limits: Limits) -> list[Unit]:
    made = forms(Stages(graph_, {}, TAKES).program, limits)
    return [*{p.unit.name: p.unit for form in made for p in form.phases}.values()]


def check(found: Sequence[Unit], limits: Limits, stack: int = 0) -> None:
    """All of them compile; nothing is spilled, arrays of threads that are not in registers take at
    most ``stack`` bytes together, and the assembler has no remarks on speed.
    """

    def compiled(first: int) -> compiler.Compiled:
        text = "\n".join(unit.text for unit in found[first : first + TOGETHER])
        return compiler.compiled(prelude(text), Unit("kernels", text), limits.target)

    with ThreadPoolExecutor(2) as pool:
        for made in pool.map(compiled, range(0, len(found), TOGETHER)):
            assert (made.usage.spilled, made.remarks) == (0, ())
            assert made.stack <= stack


@pytest.mark.parametrize("limits", [AMPERE, HOPPER], ids=lambda limits: limits.target)
def test_a_network_compiles_for(limits: Limits):
    check(units(NETWORKS["gpt-bfloat16"]().graph, limits), limits)


@pytest.mark.slow
@pytest.mark.parametrize("limits", GPUS, ids=lambda limits: limits.target)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_compiles_for(name: str, limits: Limits):
    check(units(NETWORKS[name]().graph, limits), limits)


@pytest.mark.slow
@pytest.mark.parametrize("limits", GPUS, ids=lambda limits: limits.target)
def test_every_sample_compiles_for(limits: Limits):
    found: dict[str, Unit] = {}
    for sample in DISTINCT:
        inputs = sample.inputs()
        graph_ = Graph(tuple(inputs), (sample.build(*inputs),))
        found |= {unit.name: unit for unit in units(graph_, limits)}
    check([*found.values()], limits, stack=TOGETHER * REDUCTION)


# Instructions -------------------------------------------------------------------------------------
def one(*shape: int, kind: str = "float32") -> gc.Tensor:
    return gc.input("x", shape, kind)


def row(of: Callable[[gc.Tensor], gc.Tensor], kind: str = "float32") -> Graph:
    x = one(4096, 1024, kind=kind)
    return graph([x], [of(x)])


def product(kind: str) -> Graph:
    a, b = gc.input("a", (1024, 1024), kind), gc.input("b", (1024, 1024), kind)
    return graph([a, b], [gc.relu(a @ b)])


def arrays(*sizes: int) -> Graph:
    """Kernels that share a launch."""
    inputs = [gc.input(f"x{k}", (size,)) for k, size in enumerate(sizes)]
    return graph(inputs, [gc.tanh(x) for x in inputs])


WIDE = ("LDG.E.128", "STG.E.128")
CHOSEN = {
    "many arrays": (arrays(1000, 2001, 1 << 20), HOPPER, WIDE),
    "large arrays": (arrays(1 << 24, 1 << 25), AMPERE, WIDE),
    "softmax": (row(gc.softmax), HOPPER, WIDE),
    "softmax of bfloat16": (row(gc.softmax, "bfloat16"), AMPERE, WIDE),
    "layer norm": (row(nn.LayerNorm(1024)), HOPPER, WIDE),
    "sum of columns": (row(lambda x: x.sum(0)), HOPPER, ("LDG.E.64", "LDS")),
    "sum": (row(lambda x: x.sum()), HOPPER, ("LDG.E.128",)),
    "product": (product("float32"), HOPPER, ("FFMA", "LDS.128")),
    "product of bfloat16": (product("bfloat16"), AMPERE, ("HMMA.16816", "LDSM", "LDGSTS")),
    "product by warpgroups": (product("bfloat16"), HOPPER, ("HGMMA", "UTMALDG")),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_kernels_have_the_instructions_that_they_are_made_for(name: str):
    made, limits, wanted = CHOSEN[name]
    first = units(made, limits)[0]
    code = compiler.compiled(prelude(first.text), first, limits.target)
    assert (code.usage.spilled, code.stack, code.remarks) == (0, 0, ())
    try:
        disassembler.program()
    except UserError as error:
        pytest.skip(f"nvdisasm cannot be used: {error.what}")
    text = sass(code.cubin)
    assert [instruction for instruction in wanted if instruction not in text] == []
    assert not re.findall(r"\b(?:LDL|STL)\b", text)
