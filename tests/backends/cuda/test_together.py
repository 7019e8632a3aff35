"""Kernels that share a launch: the same numbers as one by one, in any order of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc import optim
from graphc.backends.cuda import code, parts
from graphc.backends.cuda.code import Shared, forms
from graphc.backends.cuda.device import Launch, Limits
from graphc.backends.cuda.parts import Parts, in_parts
from graphc.backends.cuda.schedule import normal
from graphc.backends.cuda.together import Group, Touched, groups, pattern_of, shares
from graphc.errors import UserError
from graphc.frontends.dsl.function import graph_of
from graphc.graph import Array
from graphc.kernels.flat import View
from graphc.kernels.kernel import Program
from graphc.loops.interpret import interpret
from graphc.stages import Stages
from simulated import BACKEND, device

pytestmark = pytest.mark.sweep

SHAPES = [(5, 7), (7,), (64, 33), (1,), (0,), (3, 0), (2, 3, 5), (1025,), (4099,), (3,), (16,)]
ORDERS = (0, 1, 7)
LIMITS = Limits()
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-6, "float64": 1e-12}
RARE = ("float16", "float64")
OPTIMISERS: dict[str, Callable[[], optim.Optimiser]] = {
    "sgd": lambda: optim.SGD(0.1),
    "momentum": lambda: optim.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda: optim.Adam(0.1, epsilon=1e-3),
    "adamw": lambda: optim.AdamW(0.1, epsilon=1e-3, weight_decay=0.1),
}
Step = tuple[Sequence[gc.Tensor], Any, dict[gc.Tensor, gc.Tensor]]
"""Inputs, outputs and updates."""
Make = Callable[[], Step]


# Runs ---------------------------------------------------------------------------------------------
def drawn(inputs: Iterable[gc.Tensor], seed: int) -> list[Array]:
    """Numbers whose squares are no small change in any type."""
    rng = np.random.default_rng(seed)
    return [
        (rng.uniform(0.5, 2, x.shape) * rng.choice([-1, 1], x.shape)).astype(x.dtype.numpy)
        for x in inputs
    ]


def trained(make: Make, backend: str, steps: int = 2) -> list[Array]:
    """All results of some steps, and the parameters in the end."""
    inputs, outputs, updates = make()
    step = gc.compile(inputs, outputs, updates, backend=backend)
    found = [y for k in range(steps) for y in step(*drawn(inputs, k))]
    return [*found, *(gc.value(p) for p in updates)]


def check(make: Make, tolerance: float = 2e-6) -> None:
    """The same as NumPy in every order of threads, and to the bit what kernels find alone."""
    wanted = trained(make, "numpy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "groups", lambda program, kernels: [])
        alone = trained(make, BACKEND)
    for seed in ORDERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device(), "seed", seed, raising=False)
            for ours, same, theirs in zip(trained(make, BACKEND), alone, wanted, strict=True):
                assert ours.dtype == theirs.dtype
                assert ours.tobytes() == same.tobytes()
                np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


def program_of(make: Make) -> Program:
    return Stages(graph_of(*make()), {}, "program").program


def members(make: Make) -> list[int]:
    """How many kernels share each launch."""
    program = program_of(make)
    return [len(g.members) for g in groups(program, [*map(normal, program.kernels)])]


def launches(make: Make, monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What one call asks the device for."""
    asked: list[Launch] = []
    recorded = type(device()).recorded

    def noted(self: Any, steps: Sequence[Launch]) -> Any:
        asked.extend(steps)
        return recorded(self, steps)

    monkeypatch.setattr(type(device()), "recorded", noted)
    trained(make, BACKEND, 1)
    return asked


def update(name: str, *kinds: str) -> Make:
    """An optimiser's step on parameters of all shapes in each of some types."""

    def make() -> Step:
        rng = np.random.default_rng(0)
        sizes = [(shape, kind) for kind in kinds for shape in SHAPES]
        ps = [gc.param(rng.normal(size=s), name=f"p{n}", dtype=k) for n, (s, k) in enumerate(sizes)]
        gs = [gc.input(f"g{n}", s, k) for n, (s, k) in enumerate(sizes)]
        return gs, [], OPTIMISERS[name]().step(ps, gs)

    return make


# Optimisers ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "kind", ["float32", "bfloat16", *(pytest.param(k, marks=pytest.mark.slow) for k in RARE)]
)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_of_optimisers(name: str, kind: str):
    check(update(name, kind), TOLERANCE[kind])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_one_launch_updates_all_parameters_of_a_type(name: str, monkeypatch: pytest.MonkeyPatch):
    arrays = [s for s in SHAPES if 0 not in s and s != (1,)]
    scalars = 1 + ("adam" in name)  # parameters with one element, the count of steps
    for kinds in (["float32"], ["float32", "float16", "float64"]):
        with monkeypatch.context() as patch:
            asked = launches(update(name, *kinds), patch)
        assert members(update(name, *kinds)) == [len(arrays)] * len(kinds)
        assert len(asked) <= len(kinds) * (1 + scalars)


def test_clipped_gradients_wait_for_their_norm():
    """As in a transformer: gradients are temporaries, all of them needed for the norm."""

    def make() -> Step:
        rng = np.random.default_rng(0)
        x, sizes = gc.input("x", (6, 10)), [10, 12, 9, 4, 5]
        ps = [gc.param(rng.normal(size=s) / 3) for s in pairwise(sizes)]
        h = x
        for p in ps:
            h = gc.tanh(h @ p)
        loss = (h * h).sum()
        gradients = optim.clip_by_global_norm(gc.grad(loss, ps), 0.5)
        return [x], [loss], optim.AdamW(0.1, epsilon=1e-3).step(ps, gradients)

    check(make, 2e-5)
    assert members(make)[-1] == 3


def test_parts_of_one_flat_gradient():
    """Those that begin at a multiple of 16 bytes are accessed in vectors, the others are not."""

    def make() -> Step:
        places = [(0, 40), (40, 9), (49, 16), (65, 24), (89, 39), (128, 72)]
        flat = gc.input("flat", (200,))
        ps = [gc.param(np.arange(n) / n) for _, n in places]
        return (
            [flat],
            [],
            {p: p - 0.1 * flat[a : a + n] for p, (a, n) in zip(ps, places, strict=True)},
        )

    check(make)
    program = program_of(make)
    texts = {f.shared: f.phases[0].unit.text for f in forms(program, LIMITS) if f.shared}
    vectors = {text.count("= *(const gc_pack<float, 4>*)"): s for s, text in texts.items()}
    assert {n: len(s.group.members) for n, s in vectors.items()} == {1: 3, 2: 3}


def test_results_of_any_type():
    """Bools are bytes in memory; a number of each kernel's own is in the table too."""

    def make() -> Step:
        xs = [gc.input(f"x{n}", (n,)) for n in (40, 50, 67)]
        ys = [gc.input(f"y{n}", (n, 2)) for n in (5, 6, 7)]
        pairs = [*zip(xs, ys, strict=True)]
        found = [x > y[3, 1] for x, y in pairs] + [(x * 4).astype("int8") for x in xs]
        return [*xs, *ys], found, {}

    check(make)
    assert members(make) == [3, 3]


# Order --------------------------------------------------------------------------------------------
MIX = gc.constant(np.eye(8) + np.diag(np.full(7, 0.5), 1), "float32")


def between() -> Step:
    """What a library makes of each new value is needed for the next one."""
    x, ps = gc.input("x", (8, 3)), [gc.param(np.full((8, 3), 1 / n)) for n in (1, 2, 3)]
    found, carried = {}, x
    for p in ps:
        found[p] = p * 0.9 + carried
        carried = gc.linalg.solve(MIX, found[p])
    return [x], [carried], found


def reused() -> Step:
    """What a library leaves is in the same place each time."""
    inputs = [gc.input(f"x{n}", (8, 3)) for n in range(4)]
    ps = [gc.param(np.full((8, 3), 1 / n)) for n in (1, 2, 3, 4)]
    pairs = zip(ps, inputs, strict=True)
    return inputs, [], {p: p * 0.9 + gc.linalg.solve(MIX, x) for p, x in pairs}


def independent() -> Step:
    """As `reused`, but all that a library leaves is needed to the end."""
    inputs, _, found = reused()
    return inputs, [gc.linalg.solve(MIX, x) for x in inputs], found


@pytest.mark.parametrize("make", [between, reused])
def test_kernels_stay_in_order_where_it_matters(make: Make, monkeypatch: pytest.MonkeyPatch):
    check(make)
    assert members(make) == []
    monkeypatch.setattr(Touched, "meets", lambda self, other: False)
    assert members(make) == [3 if make is between else 4]
    with pytest.raises(AssertionError):
        check(make)


def test_temporaries_may_share_bytes(monkeypatch: pytest.MonkeyPatch):
    """Different buffers in the arena can be one place."""
    program = program_of(reused)
    apart = replace(program.plan, offsets={b: 128 * n for n, b in enumerate(program.plan.offsets)})
    kernels = [*map(normal, program.kernels)]
    assert groups(program, kernels) == []
    (group,) = groups(replace(program, plan=apart), kernels)
    assert len(group.members) == 4


def test_kernels_with_others_in_between():
    check(independent)
    assert members(independent) == [4]


def test_a_group_ends_where_one_of_it_is_needed():
    """The first three share a launch, then a sum of what they wrote, then the next three."""

    def make() -> Step:
        x, first, second = (
            gc.input("x", ()),
            *([gc.param(np.ones(n)) for n in (40, 50, 60)] for _ in "ab"),
        )
        found = {p: p * 0.9 + x for p in first}
        total = gc.linalg.solve(MIX, sum(v[:8, None] for v in found.values()))[0, 0]
        return [x], [], found | {p: p * 0.9 + total for p in second}

    check(make)
    assert members(make) == [3, 3]


SOURCES = ("own", "number", "old", "new", "mean")
FORMULAS: tuple[Callable[[gc.Tensor, gc.Tensor], gc.Tensor], ...] = (
    lambda p, s: p * 0.9 + s,
    lambda p, s: p - 0.1 * s * s,
    lambda p, s: gc.where(s > 0, gc.tanh(p), s),
)


def random_step(steps: Sequence[tuple[int, int, str, int]]) -> Make:
    """Parameters of random sizes, updated by random formulas from inputs and from each other."""

    def make() -> Step:
        number, inputs = gc.input("number", ()), []
        ps = [gc.param(np.linspace(-1, 1, size)) for size, *_ in steps]
        found: dict[gc.Tensor, gc.Tensor] = {}
        for p, (size, formula, source, other) in zip(ps, steps, strict=True):
            before = ps[other % max(len(found), 1)]
            own = gc.input(f"x{len(inputs)}", (size,))
            inputs.append(own)
            s = {"own": own, "number": number, "old": before[-1], "new": found.get(before, p)[0],
                 "mean": found.get(before, p).mean()}[source]  # fmt: skip
            found[p] = FORMULAS[formula](p, s)
        return [number, *inputs], [], found

    return make


STEPS = st.tuples(
    st.integers(1, 70), st.integers(0, 2), st.sampled_from(SOURCES), st.integers(0, 9)
)


@settings(max_examples=15, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=8))
def test_random_groups(steps: list[tuple[int, int, str, int]]):
    check(random_step(steps), 2e-5)


# Loops --------------------------------------------------------------------------------------------
def shared(make: Make, limits: Limits = LIMITS) -> Shared:
    (found,) = {f.shared for f in forms(program_of(make), limits)} - {None}
    return found


def scaled(*sizes: int, kind: str = "float32") -> Make:
    """Parameters that are multiplied by a number."""

    def make() -> Step:
        x = gc.input("x", ())
        ps = [gc.param(np.arange(n) % 7, dtype=kind) for n in sizes]
        return [x], [], {p: (p.astype("float32") * x).astype(kind) for p in ps}

    return make


@pytest.mark.parametrize("turns", [1, 3])
def test_meaning_of_the_loops(turns: int):
    """Each block has its row of the table; here addresses are arrays."""
    sizes = (5, 257, 1, 96)
    made = shared(scaled(40, 50)).parts
    made = replace(made, sizes=sizes, spread=replace(made.spread, turns=turns, threads=32))
    arrays = [{b: np.arange(size, dtype=np.float32) for b in made.arrays} for size in sizes]
    table, row = {}, 0
    for size, each in zip(sizes, arrays, strict=True):
        for start in range(0, size, made.length):
            end = min(start + made.length, size)
            for column, b in enumerate(made.arrays):
                moves = isinstance(b, View)
                table[row, column] = each[b][start:end] if moves else np.float32([3])
            table[row, len(made.arrays)] = end - start
            row += 1
    assert row == made.table.shape[0]
    interpret(in_parts(made), {made.table: table})
    for size, each in zip(sizes, arrays, strict=True):
        found = [a for b, a in each.items() if isinstance(b, View)]
        np.testing.assert_array_equal(found, [np.arange(size) * 3] * len(found))


def test_blocks_of_large_arrays_take_several_turns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "RESIDENT", 32)
    few = replace(device().limits, multiprocessors=2)
    monkeypatch.setattr(device(), "limits", few)
    make = scaled(5000, 3, 1024, 2049)
    assert shared(make, few).parts.spread.turns == parts.TURNS
    check(make)


@pytest.mark.parametrize(
    ("kind", "lanes"), [("float64", 2), ("float32", 4), ("float16", 8), ("int8", 16)]
)
def test_accesses_are_16_bytes_wide(kind: str, lanes: int):
    made = shared(scaled(100, 200, kind=kind))
    assert made.parts.spread.lanes == lanes
    check(scaled(100, 203, 3, kind=kind), 4e-3)


def test_small_arrays_have_small_blocks():
    """So that more multiprocessors take part."""
    few, many = shared(scaled(1000, 2000)), shared(scaled(1 << 20, 1 << 21))
    assert (few.parts.spread.threads, many.parts.spread.threads) == (32, 256)


def test_long_arrays_have_64_bit_addresses():
    """Rows count in bytes from where an array starts; indices are those of a part."""
    made = shared(scaled(100, 200)).parts
    long = Parts(made.kernel, made.arrays, (1 << 33, 5), replace(made.spread, threads=1024))
    moving = [isinstance(b, View) for b in made.arrays]
    rows = long.rows([[1 << 40] * len(moving), [7] * len(moving)])
    assert rows.shape == (1 + (1 << 33) // long.length, 1 + len(moving))
    last = [(1 << 40) + moves * 4 * ((1 << 33) - long.length) for moves in moving]
    assert rows[-2].tolist() == [*last, long.length]
    assert rows[-1].tolist() == [*[7] * len(moving), 5]


# Looking ------------------------------------------------------------------------------------------
def test_texts_say_how_many_share_a_launch():
    inputs, outputs, updates = scaled(40, 50, 60)()
    run = gc.compile(inputs, outputs, updates, backend=BACKEND)
    for level, mark in (("loops", "#"), ("cuda", "//")):
        text = run.source(level)
        assert text.startswith(f"{mark} 3 kernels in one launch, 1 x 4 neighbours for a thread")
        assert all(run.source(level, k) == text for k in range(3))
    assert "b1: f32 at b0[i, 0]" in run.source("loops")
    assert run.source("cuda").count("KERNEL(") == 1


def test_a_launch_is_compiled_once_for_any_sizes():
    units = [
        forms(program_of(scaled(*sizes)), LIMITS)[0].phases[0].unit
        for sizes in ((40, 50), (9, 8, 7))
    ]
    assert units[0] == units[1]


def test_seconds_are_shared_by_elements():
    inputs, outputs, updates = scaled(40, 80)()
    run = gc.compile(inputs, outputs, updates, backend=BACKEND)
    times = [seconds for _, seconds in run.profile(np.float32(2), repeats=3)]
    assert times[1] == pytest.approx(2 * times[0])
    assert times[0] > 0
    np.testing.assert_array_equal([gc.value(p)[1] for p in updates], [8, 8])


def test_shares():
    group = Group(
        [1, 3], [p for p in map(pattern_of, map(normal, program_of(scaled(10, 30)).kernels)) if p]
    )
    assert shares([5.0, 0.0, 7.0, 8.0], [group]) == [5.0, 2.0, 7.0, 6.0]


def test_an_index_that_misses_is_still_found():
    x, places = gc.input("x", ()), gc.input("places", (3,), "int64")
    ps = [gc.param(np.ones(n)) for n in (40, 50)]
    table = gc.param(np.arange(5))
    updates = {p: p * x for p in ps}
    run = gc.compile([x, places], gc.take(table, places, 0), updates, backend=BACKEND)
    assert run(np.float32(2), [0, 4, 2]).tolist() == [0, 4, 2]
    with pytest.raises(UserError, match="GC0306"):
        run(np.float32(2), [0, 5, 2])
    assert run(np.float32(2), [1, 1, 1]).tolist() == [1, 1, 1]
    assert [gc.value(p)[0] for p in ps] == [8, 8]


def test_tables_are_not_temporaries():
    inputs, outputs, updates = scaled(40, 50)()
    run = gc.compile(inputs, outputs, updates, backend=BACKEND, memory=0)
    run(np.float32(2))
    assert run.program.plan.arena_bytes == 0
