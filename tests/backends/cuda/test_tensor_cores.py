"""Contractions by matrix instructions: their meaning, their results in several orders of threads,
and what compilers make of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from execute import looped
from graphc.backends.cuda import TAKES, library_of, tensor_cores
from graphc.backends.cuda import sim as cuda_sim
from graphc.backends.cuda.code import Form, forms
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.executable import Executable
from graphc.backends.cuda.nvidia import listing
from graphc.backends.cuda.nvidia.disassembler import sass
from graphc.backends.cuda.schedule import normal, schedule
from graphc.backends.cuda.sim.device import Simulator
from graphc.backends.cuda.tensor_cores import TILES, Tile
from graphc.errors import CompilerBug, UserError
from graphc.expr import Expr, Load
from graphc.graph import Array, Graph, Node
from graphc.kernels.flat import map_kernel
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.ir import Multiply, Pipeline, Statement, statements
from graphc.loops.text import loops_text
from graphc.ops.contraction import Contract, matmul
from graphc.ops.convolution import Convolve
from graphc.ops.elementwise import cast_to
from graphc.ops.leaves import Input
from graphc.ops.movement import broadcast_to
from graphc.scalars import relu
from graphc.stages import Stages
from graphc.types import TensorType, dtype

pytestmark = pytest.mark.sweep

LIMITS = Limits(tf32=True)
ORDERS = (0, 1, 7)
ERROR = {"bfloat16": 2.0**-8, "float16": 2.0**-10, "float32": 1e-3}
"""Of a result: half a unit in the last place, twice; factors in float32 lose 13 bits."""
SMALL = Tile(32, 32, 64, (1, 1), 3)


def leaf(name: str, *shape: int, kind: str = "bfloat16") -> Node:
    return Input(name, TensorType(dtype(kind), shape))()


def numbers(seed: int, node: Node) -> Array:
    return np.random.default_rng(seed).normal(size=node.shape).astype(node.dtype.numpy)


@dataclass(frozen=True)
class Case:
    """A graph of one contraction, its arrays, and the results in float64."""

    graph: Graph
    arrays: Sequence[Array]
    wanted: Array

    def check(self, found: Array) -> None:
        error = ERROR[self.graph.outputs[0].dtype.name]
        scale = np.abs(self.wanted).max()
        np.testing.assert_allclose(found, self.wanted, rtol=error, atol=error * scale)


def product(
    m: int, k: int, n: int, kind: str = "bfloat16", turns: tuple[int, int, int] = (0, 0, 0)
) -> Case:
    """[m, k] times [k, n]; ``turns`` says which of first, second and result lie turned."""
    first, second, result = (1 - 2 * turn for turn in turns)
    a, b = leaf("a", *(m, k)[::first], kind=kind), leaf("b", *(k, n)[::second], kind=kind)
    x, y = numbers(0, a), numbers(1, b)
    op = Contract((0, 1)[::first], (1, 2)[::second], (0, 2)[::result])
    wanted = x.astype(float).T if turns[0] else x.astype(float)
    wanted = wanted @ (y.astype(float).T if turns[1] else y.astype(float))
    return Case(Graph((a, b), (op(a, b),)), [x, y], wanted.T if turns[2] else wanted)


def batched(m: int, k: int, n: int) -> Case:
    a, b = leaf("a", 3, m, k), leaf("b", 3, k, n)
    x, y = numbers(0, a), numbers(1, b)
    return Case(Graph((a, b), (matmul(a, b),)), [x, y], x.astype(float) @ y.astype(float))


def with_bias() -> Case:
    a, b, c = leaf("a", 48, 40), leaf("b", 40, 56), leaf("c", 56)
    x, y, z = (numbers(n, v) for n, v in enumerate((a, b, c)))
    made = relu(matmul(a, b) + broadcast_to(c, (48, 56)))
    wanted = np.maximum(x.astype(float) @ y.astype(float) + z.astype(float), 0)
    return Case(Graph((a, b, c), (made,)), [x, y, z], wanted)


def mixed() -> Case:
    """Factors in float32 and in bfloat16."""
    a, b = leaf("a", 40, 72, kind="float32"), leaf("b", 72, 56)
    x, y = numbers(0, a), numbers(1, b)
    made = matmul(a, cast_to(b, dtype("float32")))
    return Case(Graph((a, b), (made,)), [x, y], x.astype(float) @ y.astype(float))


def filtered() -> Case:
    """A convolution: its rows are three indices, and so is what is summed over."""
    a, b = leaf("a", 2, 1, 5, 8, 8), leaf("b", 1, 16, 5, 3, 3)
    x, y = numbers(0, a), numbers(1, b)
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(float), (3, 3), (2, 3))
    wanted = np.einsum("nchwij,ocij->nohw", windows, y[0].astype(float))[:, None]
    return Case(Graph((a, b), (Convolve((1, 1), (1, 1))(a, b),)), [x, y], wanted)


EVEN = (72, 48, 40)
LAYOUTS = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
CASES = {
    **{f"bfloat16 {turns}": product(*EVEN, turns=turns) for turns in LAYOUTS},
    **{
        f"{kind} {turns}": product(*EVEN, kind, turns)
        for kind in ("float16", "float32")
        for turns in LAYOUTS[::2]
    },
    **{
        f"ragged {kind} {turns}": product(45, 37, 51, kind, turns)
        for kind, turns in zip(ERROR, LAYOUTS[1:6:2], strict=True)
    },
    "rows of 8 bytes": product(44, 44, 44),
    "one step": product(8, 8, 8),
    "batched": batched(40, 24, 56),
    "with_bias": with_bias(),
    "filtered": filtered(),
    "mixed": mixed(),
}
FORCED = {
    **{
        f"{t.rows}x{t.columns} by {t.warps}": (t, product(t.rows + 8, 104, t.columns + 24))
        for t in TILES
    },
    "parts": (replace(SMALL, parts=4), product(24, 1000, 40)),
}
PAIR = Tile(64, 128, 128, (1, 2), 3, 4)
TALL = Tile(128, 64, 128, (2, 1), 2, 4)
HOPPER = {
    **{f"group {turns}": (PAIR, product(200, 136, 152, turns=turns)) for turns in LAYOUTS[::2]},
    "group of 128 rows": (Tile(256, 64, 128, (2, 1), 2, 4), product(264, 72, 64)),
    "group float16": (TALL, product(136, 200, 64, "float16", (1, 0, 0))),
    "group in parts": (replace(TALL, parts=4), product(128, 1024, 64)),
    "group batched": (PAIR, batched(72, 40, 136)),
    "group with_bias": (PAIR, with_bias()),
}
"""On two multiprocessors, so that blocks compute several tiles."""


# Results ------------------------------------------------------------------------------------------
class Made:
    """A case as code; the ``text`` of its first kernel may be another one."""

    def __init__(self, case: Case, tile: Tile | None = None, limits: Limits = LIMITS) -> None:
        self.case, self.stages = case, Stages(case.graph, {}, TAKES)
        with pytest.MonkeyPatch.context() as patch:
            if tile is not None:
                patch.setattr(tensor_cores, "TILES", (tile,))
                patch.setattr(tensor_cores, "PARTS", (tile.parts,))
            self.forms: list[Form] = forms(self.stages.program, limits)

    @property
    def units(self) -> list[Unit]:
        return [p.unit for form in self.forms for p in form.phases]

    def run(self, seed: int, text: str = "") -> Array:
        made = [_changed(self.forms[0], text), *self.forms[1:]] if text else self.forms
        device = Simulator(LIMITS, seed)
        calls = library_of(self.stages.source, device)
        (found,) = Executable(self.stages.program, device, calls, made).run(self.case.arrays)
        return found


def _changed(form: Form, text: str) -> Form:
    first, *rest = form.phases
    phases = (replace(first, unit=Unit(first.unit.name, text)), *rest)
    return replace(form, code=replace(form.code, phases=phases))


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    """All cases; compiled together, which takes a fraction of one after another."""
    found = {name: Made(case) for name, case in CASES.items()}
    found |= {name: Made(case, tile) for name, (tile, case) in FORCED.items()}
    few = replace(LIMITS, multiprocessors=2)
    found |= {name: Made(case, tile, few) for name, (tile, case) in HOPPER.items()}
    Simulator(LIMITS).load([unit for each in found.values() for unit in each.units])
    return found


@pytest.mark.parametrize("name", [*CASES, *FORCED, *HOPPER])
def test_results_in_every_order_of_threads(made: dict[str, Made], name: str):
    assert re.search("gc_mma_|gc_wgmma_", made[name].units[0].text)
    for seed in ORDERS[-1:] if name in FORCED else ORDERS:
        made[name].case.check(made[name].run(seed))


def test_sums_in_parts_are_added_by_a_second_phase(made: dict[str, Made]):
    assert [len(made[name].units) for name in ("parts", "group in parts")] == [2, 2]


def test_other_kernels_are_left_to_other_schedules():
    for case in (product(64, 64, 4), product(64, 64, 64, "float32")):
        (kernel,) = lower(case.graph).kernels
        assert tensor_cores.product(normal(kernel), Limits()) is None
    (kernel,) = lower(product(*EVEN).graph).kernels
    assert tensor_cores.product(normal(kernel), Limits(architecture=75)) is None


def test_float32_is_rounded_only_if_asked_to():
    case = product(64, 64, 64, "float32")
    program = lower(case.graph)
    exact, rounded = (cuda_sim.build(program, passes=passes) for passes in ((), ("tf32",)))
    assert "gc_mma" not in exact.source("cuda")
    assert "gc_mma_tf32" in rounded.source("cuda")
    case.check(*rounded.run(case.arrays))
    np.testing.assert_allclose(exact.run(case.arrays)[0], case.wanted, rtol=1e-4, atol=1e-5)


def test_a_copy_without_16_bytes_goes_through_registers(made: dict[str, Made]):
    assert "gc_copy16" not in made["ragged bfloat16 (0, 0, 1)"].units[0].text
    assert "gc_pack<u16, 4>" in made["rows of 8 bytes"].units[0].text


# Meaning ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("case", "tile"),
    [
        (product(40, 40, 24), SMALL),
        (product(33, 17, 21, "float16", (1, 1, 1)), SMALL),
        (product(16, 12, 16, "float32"), SMALL),
        (product(72, 80, 64), TALL),
    ],
    ids=["even", "ragged", "tf32", "warpgroups"],
)
def test_loops_mean_the_product(case: Case, tile: Tile):
    def scheduled(kernel: Kernel) -> tuple[Statement, ...]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensor_cores, "TILES", (tile,))
            return tuple(s for phase in schedule(normal(kernel), LIMITS) for s in phase)

    (found,) = looped(case.graph, case.arrays, scheduled)
    case.check(found)


def test_factors_may_be_computed_on_the_way():
    case = product(24, 20, 16)

    def scheduled(kernel: Kernel) -> tuple[Statement, ...]:
        first = next(kernel.loads).buffer

        def positive(e: Expr) -> Expr | None:
            return relu(e) if isinstance(e, Load) and e.buffer is first else None

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensor_cores, "TILES", (SMALL,))
            phases = schedule(map_kernel(normal(kernel), positive), LIMITS)
        assert any(isinstance(s, Multiply) for s in statements(phases[0]))
        return phases[0]

    first, second = (x.astype(float) for x in case.arrays)
    wanted = replace(case, wanted=np.maximum(first, 0) @ second)
    wanted.check(*looped(case.graph, case.arrays, scheduled))


def test_a_schedule_can_be_read():
    (kernel,) = lower(product(64, 64, 64).graph).kernels
    ((loops,),) = schedule(normal(kernel), LIMITS)
    text = loops_text((loops,))
    assert "in pipeline(0, 2, 4):" in text
    assert "copy 8 to" in text
    assert re.search(r"r0\[l\*32 : 32\] \+= r1\[.*\] @ r2\[.*\]", text) or "+= r1[" in text
    kinds = {type(s) for s in statements((loops,))}
    assert {Pipeline, Multiply} <= kinds


# Mutants ------------------------------------------------------------------------------------------
WAITS = re.compile(
    r"^ *(if \(gc_thread\(\) % 128 == 0\) )?"
    r"gc_(copy_wait|copy_commit|sync|barrier_(wait|expect|arrive)|wgmma_(wait|fence|commit))"
    r"\b.*;\n",
    re.MULTILINE,
)


def mutants(text: str) -> Iterator[str]:
    """The text without one of its waits or barriers."""
    for found in WAITS.finditer(text):
        yield text[: found.start()] + text[found.end() :]


@pytest.mark.parametrize(
    ("tile", "count"), [(Tile(64, 64, 64, (2, 2), 3), 3), (PAIR, 8)], ids=["warps", "warpgroups"]
)
def test_every_wait_and_barrier_is_needed(tile: Tile, count: int):
    made = Made(product(64, 512, 256), tile, replace(LIMITS, multiprocessors=1))
    texts = [*mutants(made.units[0].text)]
    assert len(texts) == count
    name = made.units[0].name
    Simulator(LIMITS).load([Unit(name, text) for text in texts])
    for text in texts:
        assert any(_fails(made, seed, text) for seed in ORDERS), text


def _fails(made: Made, seed: int, text: str) -> bool:
    try:
        made.case.check(made.run(seed, text))
    except (AssertionError, CompilerBug, UserError):
        return True
    return False


# Compilers ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "tile", "copies"), [("sm_80", TILES[2], 4), ("sm_90", TILES[0], 6)]
)
def test_machine_code_of_warps(nvrtc: object, target: str, tile: Tile, copies: int):
    found = instructions(Made(product(4096, 4096, 4096, turns=(0, 1, 0)), tile), target)
    assert found["HMMA"] == tile.rows * tile.columns * 2 // (16 * 8 * math.prod(tile.teams))
    assert found["LDGSTS"] == copies
    assert found["LDSM"] > 0
    assert found["STG.E.128"] == tile.held // 8


def test_machine_code_of_warpgroups(nvrtc: object):
    tile = Tile(128, 256, 128, (2, 1), 4, 4)
    assert tile in TILES
    found = instructions(Made(product(4096, 4096, 4096, turns=(1, 0, 0)), tile), "sm_90a")
    assert found["HGMMA"] == 4
    assert found["UTMALDG"] > 0
    assert found["USETMAXREG"] == 2
    assert (found["HMMA"], found["LDGSTS"]) == (0, 0)
    assert found["STG.E.128"] == tile.held // 8


def instructions(made: Made, target: str) -> dict[str, int]:
    """How often some occur in the machine code of a kernel that spills nothing, and of which the
    assembler remarks nothing.
    """
    code = listing.machine_code(made.units[0], target)
    assert (code.usage.spilled, code.stack, code.remarks) == (0, 0, ())
    text = sass(code.cubin)
    names = ("HMMA", "LDSM", "LDGSTS", "HGMMA", "UTMALDG", "USETMAXREG", "STG.E.128", "STL", "LDL")
    found = {name: len(re.findall(rf"\b{re.escape(name)}\b", text)) for name in names}
    assert (found["STL"], found["LDL"]) == (0, 0)
    return found
