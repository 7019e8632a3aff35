"""Attention whose scores stay in registers: its walks, its results in several orders of threads,
and what compilers make of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest

import graphc as gc
from attention_kernels import Attention, Sizes
from execute import Shifted, garbage, touched
from graphc import nn
from graphc.backends.cuda import attention_tiles
from graphc.backends.cuda.attention import Scores, find_scores
from graphc.backends.cuda.attention_masks import hiding
from graphc.backends.cuda.attention_tiles import Tile
from graphc.backends.cuda.device import Launch, Limits
from graphc.backends.cuda.emit import Phase, emit
from graphc.backends.cuda.nvidia import compiler, listing
from graphc.backends.cuda.nvidia.disassembler import sass
from graphc.backends.cuda.schedule import normal, plan
from graphc.backends.cuda.sim.device import Simulator
from graphc.errors import UserError
from graphc.expr import Buffer
from graphc.graph import Array
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.interpret import interpret
from graphc.loops.text import loops_text
from scheduled import case, graph
from simulated import failures

pytestmark = pytest.mark.sweep

ORDERS = (0, 1, 7)
HOPPER, AMPERE = Limits(), Limits(80, "", 108, 166_912)
ROUNDED = replace(HOPPER, tf32=True)
ERROR = {"float32": 3e-6, "float64": 3e-14, "bfloat16": 2e-2, "float16": 2e-3, "tf32": 4e-3}
"""Of a result, as a part of the largest one: factors and results are rounded."""
STEPS = (("forward", "mlo"), ("by_queries", ("d", "dq")), ("by_keys", ("dk", "dv")))


# Cases --------------------------------------------------------------------------------------------
@dataclass
class Case:
    """Attention there and back, on a GPU with some limits; ``tile`` is the only one if it is
    given.
    """

    name: str
    sizes: Sizes
    limits: Limits = HOPPER
    tile: Tile | None = None

    @cached_property
    def attention(self) -> Attention:
        return Attention(self.sizes)

    @cached_property
    def steps(self) -> dict[str, list[Phase]]:
        """The phases of each kernel."""
        with pytest.MonkeyPatch.context() as patch:
            if self.tile is not None:
                for tiles in ("TILES", "PLAIN", "WIDE"):
                    patch.setattr(attention_tiles, tiles, (self.tile,))
            return {step: self._phases(step) for step, _ in STEPS}

    def _phases(self, step: str) -> list[Phase]:
        planned = plan(normal(self.kernel(step)), self.limits)
        name = re.sub(r"\W", "_", f"{self.name}_{step}")
        return [emit(f"{name}_{n}", p.phase) for n, p in enumerate(planned)]

    def kernel(self, step: str) -> Kernel:
        found: Kernel = getattr(self.attention, step)()
        return found

    @property
    def error(self) -> float:
        return ERROR["tf32" if self.limits.tf32 else self.sizes.kind]

    def check(self, found: Mapping[Buffer, Array]) -> None:
        buffers, wanted = self.attention.buffers, self.attention.wanted(self.attention.given())
        for name in (name for _, names in STEPS for name in names):
            scale = np.abs(wanted[name]).max()
            ours = found[buffers[name]].astype(float)
            np.testing.assert_allclose(ours, wanted[name], 0, self.error * scale, err_msg=name)

    def arrays(self) -> dict[Buffer, Array]:
        given = self.attention.given()
        return {
            b: given[name].copy() if name in given else garbage(b)
            for name, b in self.attention.buffers.items()
        }


def run(case_: Case, seed: int) -> dict[Buffer, Array]:
    """All results in an order of threads."""
    device, arrays = Simulator(case_.limits, seed), case_.arrays()
    fault = device.allocate(8)
    device.write(fault.address, np.zeros(1, np.int64))
    memory = {b: device.allocate(array.nbytes) for b, array in arrays.items()}
    for buffer, array in arrays.items():
        device.write(memory[buffer].address, array)
    for phase in (p for phases in case_.steps.values() for p in phases):
        (function,) = device.load([phase.unit])
        for buffer in phase.buffers:
            if buffer.scope == "scratch" and buffer not in memory:
                memory[buffer] = device.allocate(buffer.type.bytes)
        places = [memory[b].address for b in phase.buffers]
        arguments = (*places, fault.address)
        device.run([Launch(function, phase.grid, phase.threads, phase.shared_bytes, arguments)])
    for buffer, array in arrays.items():
        device.read(memory[buffer].address, array)
    return arrays


def cases() -> Iterator[Case]:
    for kind in ("float32", "float64", "bfloat16", "float16"):
        yield Case(f"even {kind}", Sizes(32, 64, 32, 32, kind=kind))
        yield Case(f"odd {kind}", Sizes(17, 37, 13, 11, kind=kind, causal=True))
    odd = Sizes(70, 70, 40, 72, heads=2, causal=True)
    yield Case("tf32", odd, ROUNDED)
    yield Case("lines of 16 bytes", replace(odd, kind="bfloat16", depth=48, width=96))
    yield Case("one key", Sizes(5, 1, 8, 8))
    yield Case("one query", Sizes(1, 70, 8, 24, kind="bfloat16"))
    yield Case("wide", Sizes(20, 70, 24, 200, kind="bfloat16"))
    yield Case("wide float64", Sizes(9, 20, 24, 136, kind="float64"))
    for kind, tile in (
        ("bfloat16", Tile(4, 16, 32, 2)),
        ("bfloat16", Tile(2, 32, 32, 3)),
        ("float32", Tile(4, 32, 32, 1)),
        ("float32", Tile(2, 16, 64, 2)),
        ("float64", Tile(8, 8, 16, 1)),
    ):
        yield Case(f"{kind} {tile}", replace(odd, kind=kind, width=56), HOPPER, tile)


CASES = {c.name: c for c in cases()}


@pytest.fixture(scope="module")
def made() -> dict[str, Case]:
    """All cases, compiled together."""
    phases = [p for c in CASES.values() for each in c.steps.values() for p in each]
    Simulator(HOPPER).load([p.unit for p in phases])
    return CASES


@pytest.mark.parametrize("name", CASES)
def test_results_in_every_order_of_threads(made: dict[str, Case], name: str):
    assert [len(phases) for phases in made[name].steps.values()] == [1, 1, 1]
    for seed in ORDERS:
        made[name].check(run(made[name], seed))


# Walks --------------------------------------------------------------------------------------------
def scores(kernel: Kernel) -> Scores:
    found = find_scores(normal(kernel))
    assert found is not None
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_walks(kind: str, causal: bool):
    """There in one walk, with a running maximum; back by queries in two, as each score's cotangent
    needs a mean over all keys; back by keys in one.
    """
    attention = Attention(Sizes(20, 30, 16, 24, kind=kind, causal=causal))
    there, queries, keys = (scores(getattr(attention, step)()) for step, _ in STEPS)
    assert [(len(w.folds), len(w.mixes)) for w in there.walks] == [(2, 1)]
    assert there.walks[0].running is not None
    assert [(len(w.folds), len(w.mixes)) for w in queries.walks] == [(1, 0), (0, 1)]
    assert [(len(w.folds), len(w.mixes)) for w in keys.walks] == [(0, 2)]
    assert [len(x.inner) for x in (there, queries, keys)] == [1, 2, 2]
    assert keys.walks[0].running is None


def test_steps_in_which_nothing_is_seen_are_left_out():
    for causal in (False, True):
        attention = Attention(Sizes(20, 30, 16, 24, causal=causal))
        for step, _ in STEPS:
            found = scores(getattr(attention, step)())
            assert [hiding(w, found) is not None for w in found.walks] == [causal] * len(
                found.walks
            )


def test_hidden_places_that_count_are_not_left_out():
    """Scores that a mask makes small, but not so small that nothing is left of them."""
    attention = Attention(Sizes(20, 30, 16, 24, causal=True), hidden=-50.0)
    found = scores(attention.forward())
    assert [hiding(w, found) for w in found.walks] == [None]


def test_what_comes_near_once():
    """Keys and values are read in one place by both of their products."""
    attention = Attention(Sizes(128, 128, 32, 32, kind="bfloat16"))
    (planned,) = plan(normal(attention.by_keys()), HOPPER)
    assert loops_text(planned.phase).count("copy 8 to") == 2


def test_other_kernels_are_left_to_other_schedules():
    x, w = gc.input("x", (64, 64)), gc.input("w", (64, 64))
    for outputs in ([x @ w], [gc.softmax(x)], [gc.softmax(x @ w)], [x.sum(1)], [x * 2]):
        for kernel in lower(graph([x, w], outputs)).kernels:
            assert find_scores(normal(kernel)) is None


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float64"])
def test_what_fits_no_tile_has_scores_in_memory(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention_tiles, "choose", lambda *_: None)
    found = Case(f"apart {kind}", Sizes(20, 30, 12, 10, kind=kind, causal=True, heads=2))
    hows = [p.how for p in plan(normal(found.kernel("by_keys")), HOPPER)]
    assert len(hows) == 5
    assert not any("scores" in how for how in hows)
    assert ("tensor cores" in hows) == (kind == "bfloat16")
    found.check(run(found, 7))


def test_tiles_that_fit():
    """Heads of all usual sizes fit, on small GPUs too; beyond all limits nothing does."""
    small = Limits(89, "", 128, 101_376)
    for kind, size in (("bfloat16", 256), ("float32", 128), ("float64", 64)):
        attention = Attention(Sizes(512, 512, size, size, kind=kind))
        for limits in (HOPPER, AMPERE, small):
            for step, _ in STEPS:
                assert attention_tiles.choose(scores(getattr(attention, step)()), limits)
    huge = scores(Attention(Sizes(512, 512, 2048, 2048)).forward())
    assert attention_tiles.choose(huge, HOPPER) is None


# Meaning ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "tile", "steps"),
    [
        ("bfloat16", Tile(1, 16, 16, 2), STEPS),
        ("float32", Tile(1, 16, 32, 1), STEPS[:1]),
        pytest.param("float64", Tile(1, 8, 16, 1), STEPS[1:], marks=pytest.mark.slow),
    ],
)
def test_loops_mean_attention(
    kind: str, tile: Tile, steps: tuple[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
):
    """One iteration after another."""
    for tiles in ("TILES", "PLAIN", "WIDE"):
        monkeypatch.setattr(attention_tiles, tiles, (tile,))
    found = Case("meaning", Sizes(3, 17, 5, 6, batch=1, kind=kind, causal=True))
    memory = found.arrays()
    wanted = found.attention.wanted(found.attention.given())
    buffers = found.attention.buffers
    for name in "mld":
        memory[buffers[name]][...] = wanted[name]
    for step, names in steps:
        for planned in plan(normal(found.kernel(step)), HOPPER):
            views = {b for b in touched(planned.phase) if getattr(b, "base", None) is not None}
            seen = {**memory, **{b: Shifted(memory[b.base], b) for b in views}}
            with np.errstate(all="ignore"):
                interpret(planned.phase, seen)
        for name in names:
            ours, scale = memory[buffers[name]].astype(float), np.abs(wanted[name]).max()
            np.testing.assert_allclose(ours, wanted[name], 0, found.error * scale, err_msg=name)


# Graphs -------------------------------------------------------------------------------------------
def attended(kind: str, **more: object) -> tuple[list[gc.Tensor], list[gc.Tensor]]:
    """Attention and its gradients."""
    q, k, v = (gc.input(n, (2, 2, size, 24), kind) for n, size in (("q", 65), ("k", 70), ("v", 70)))
    inputs = [q, k, v]
    if "attn_mask" in more:
        inputs.append(gc.input("mask", (65, 70), kind))
        more["attn_mask"] = inputs[-1]
    o = nn.scaled_dot_product_attention(q, k, v, **more)  # type: ignore[arg-type]
    return inputs, [o, *gc.grad((o * o).sum(), [q, k, v])]


def test_graphs_with_scores_that_are_not_stored():
    made = [
        case("plain", *attended("float32"), 1e-4),
        case("causal", *attended("float32", is_causal=True), 1e-4),
        case("masked", *attended("float32", attn_mask=True), 1e-4),
        case("float64", *attended("float64", is_causal=True), 1e-10),
        case("bfloat16", *attended("bfloat16", is_causal=True), 0.15),
        case("float16", *attended("float16"), 2e-2),
    ]
    for each in made:
        kernels = each.compiled()[0].kernels
        assert sum(find_scores(normal(k)) is not None for k in kernels) == 3, each.name
    assert not failures(made)


def test_queries_that_see_nothing_get_zeros():
    """The first ones; the others see a few places before theirs."""
    x = gc.input("x", (2, 100, 16))
    places = gc.arange(100)
    seen = places[:, None] > places + 20
    o = nn.scaled_dot_product_attention(x, x, x, seen)
    made = case("few", [x], [o, *gc.grad((o * o).sum(), [x])], 1e-4)
    (first, *_) = [k for k in made.compiled()[0].kernels if find_scores(normal(k))]
    found = scores(first)
    assert all(hiding(w, found) for w in found.walks)
    assert not failures([made])


def test_masks_of_minus_infinity():
    """A query whose first keys are hidden has no maximum for a while; one that sees nothing gets
    what softmax gives it.
    """
    x, mask = gc.input("x", (1, 1, 70, 16)), gc.input("mask", (70, 70))
    scores_ = x @ x.mT + mask
    rng = np.random.default_rng(0)
    given = [rng.normal(size=s).astype(np.float32) for s in ((1, 1, 70, 16), (70, 70))]
    given[1][:, :40] = -np.inf
    given[1][3] = -np.inf
    found = gc.compile([x, mask], gc.softmax(scores_) @ x, backend="cuda-sim")(*given)
    score = given[0] @ given[0].swapaxes(-1, -2) + given[1]
    with np.errstate(all="ignore"):
        grown = np.exp(score - score.max(-1, keepdims=True))
        wanted = grown / grown.sum(-1, keepdims=True) @ given[0]
    assert np.isnan(found[0, 0, 3]).all()
    np.testing.assert_allclose(found, wanted, 1e-4, 1e-5)


# Compilers ----------------------------------------------------------------------------------------
@pytest.fixture
def nvrtc() -> None:
    """Skips where there is no compiler."""
    try:
        compiler.version()
    except UserError as error:
        pytest.skip(f"NVRTC cannot be used: {error.what}")


@pytest.mark.parametrize("limits", [AMPERE, HOPPER], ids=lambda limits: limits.target)
@pytest.mark.parametrize("size", [64, pytest.param(128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_machine_code(nvrtc: None, kind: str, size: int, limits: Limits):
    """Nothing is spilled, and all products are the right instructions."""
    sizes = Sizes(2048, 2048, size, size, batch=4, heads=8, kind=kind, causal=True)
    found = Case(f"code of {kind} {size}", sizes, limits)
    for step, phases in found.steps.items():
        code = listing.machine_code(phases[0].unit, limits.target)
        assert (code.usage.spilled, code.stack, code.remarks) == (0, 0, ()), step
        text = sass(code.cubin)
        assert not re.findall(r"\b(?:LDL|STL)\b", text)
        (planned,) = plan(normal(found.kernel(step)), limits)
        assert ("tensor cores" in planned.how) == (kind == "bfloat16")
        assert bool(re.search(r"\bHMMA\b", text)) == (kind == "bfloat16")
        assert bool(re.search(r"\bLDGSTS\b", text)) == (kind == "bfloat16")


def test_products_of_the_machine_code(nvrtc: None):
    """A step of 64 keys: as many instructions as its products are, for 16 rows of a warp."""
    sizes = Sizes(2048, 2048, 128, 64, batch=4, heads=8, kind="bfloat16")
    found = Case("products", sizes, HOPPER, Tile(8, 16, 64, 2))
    code = listing.machine_code(found.steps["forward"][0].unit, HOPPER.target)
    products = 16 * 64 * (128 + 64)
    assert len(re.findall(r"\bHMMA\b", sass(code.cubin))) == products // (16 * 8 * 16)
