"""The memory plan: no two buffers that live at once share a byte, and little is wasted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.expr import Buffer, Expr, Iter, Lit, Load
from graphc.graph import Graph
from graphc.kernels import memory
from graphc.kernels.kernel import Kernel, Plan, Stage, Store
from graphc.kernels.lower import lower
from graphc.kernels.memory import ALIGNMENT, plan
from graphc.ops.contraction import matmul
from graphc.ops.movement import transpose
from graphc.scalars import tanh
from graphc.show.program import program_text
from graphc.types import FLOAT32, INT64, TensorType
from kernels.models import leaf
from random_graphs import Drawn, graphs


def check(made: Plan, kernels: list[Kernel] | tuple[Kernel, ...]) -> None:
    """Every pair of temporaries is apart in time or in the arena."""
    lives = {b: _life(b, kernels) for b in made.offsets}
    places = {b: (at, at + b.type.bytes) for b, at in made.offsets.items()}
    for k, a in enumerate(lives):
        assert made.offsets[a] % ALIGNMENT == 0
        assert places[a][1] <= made.arena_bytes
        for b in list(lives)[:k]:
            assert _apart(lives[a], lives[b]) or _apart(places[a], places[b])
    sizes = {b: -(-b.type.bytes // ALIGNMENT) * ALIGNMENT for b in lives}
    needed = [
        sum(sizes[b] for b, (first, end) in lives.items() if first <= time < end)
        for time in range(len(kernels))
    ]
    assert made.peak_bytes == max(needed, default=0)
    assert made.total_bytes == sum(sizes.values())
    assert made.peak_bytes <= made.arena_bytes <= made.total_bytes


def _life(buffer: Buffer, kernels: list[Kernel] | tuple[Kernel, ...]) -> tuple[int, int]:
    """The first kernel that touches a buffer, and the first one after which nobody does."""
    used = [n for n, k in enumerate(kernels) if buffer in (*k.read, *k.written)]
    assert buffer in kernels[used[0]].written
    return used[0], used[-1] + 1


def _apart(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[1] <= b[0] or b[1] <= a[0] or a[0] == a[1] or b[0] == b[1]


def kernel(target: Buffer, sources: list[Buffer]) -> Kernel:
    i = Iter(target.shape[0])
    value: Expr = Lit(1.0, FLOAT32)
    for source in sources:
        value = value + Load(source, (Lit(0, INT64),))
    return Kernel((i,), (Stage((), (Store(target, (i,), value),)),))


@st.composite
def schedules(draw) -> list[Kernel]:
    """Kernels that each write one buffer, of any size, and read some of those before."""
    there: list[Buffer] = []
    made: list[Kernel] = []
    for _ in range(draw(st.integers(1, 40))):
        size = draw(st.sampled_from([0, 1, 15, 16, 17, 100, 1000, 5000]))
        buffer = Buffer(TensorType(FLOAT32, (size,)))
        far = draw(st.booleans())
        sources = (
            draw(st.lists(st.sampled_from(there if far else there[-3:]), max_size=3))
            if there
            else []
        )
        made.append(kernel(buffer, sources))
        there.append(buffer)
    return made


@given(schedules(), st.sampled_from([0, 1, 5, memory.MANY]))
def test_live_buffers_are_apart(kernels: list[Kernel], many: int):
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(memory, "MANY", many)
        check(plan(kernels, set()), kernels)


@given(schedules(), st.data())
def test_what_lives_outside_gets_no_place(kernels: list[Kernel], data):
    written = [k.written[0] for k in kernels]
    outside = set(data.draw(st.lists(st.sampled_from(written))))
    made = plan(kernels, outside)
    assert set(made.offsets) == set(written) - outside
    check(made, kernels)


@given(graphs(steps=25))
def test_random_graphs(drawn: Drawn):
    made = lower(drawn.graph)
    check(made.plan, made.kernels)
    outside = {*made.inputs, *made.outputs, *(b for _, b in made.leaves)}
    assert outside.isdisjoint(made.plan.offsets)
    used = {b for k in made.kernels for b in (*k.read, *k.written)}
    assert used <= outside | set(made.plan.offsets)


def test_a_chain_needs_two_places():
    """Layer after layer: each reads the one before, so two tensors live at once."""
    w = [leaf(f"w{k}", 16, 16) for k in range(12)]
    h = leaf("x", 16, 16)
    inputs = (h, *w)
    for weight in w:
        h = tanh(matmul(h, weight))
    made = lower(Graph(inputs, (h,)))
    one = 16 * 16 * 4
    assert made.plan.total_bytes == 11 * one
    assert made.plan.arena_bytes == made.plan.peak_bytes == 2 * one


def test_places_are_joined_again(monkeypatch: pytest.MonkeyPatch):
    """Two neighbours that are free hold one of twice their size, in order of birth too."""
    small = [Buffer(TensorType(FLOAT32, (16,))) for _ in range(2)]
    last, large = (Buffer(TensorType(FLOAT32, (n,))) for n in (16, 32))
    kernels = [kernel(small[0], []), kernel(small[1], [small[0]]), kernel(last, [small[1]])]
    kernels += [kernel(large, [last])]
    assert plan(kernels, set()).offsets == {large: 0, small[0]: 0, small[1]: 64, last: 128}
    monkeypatch.setattr(memory, "MANY", 0)
    assert plan(kernels, set()).offsets == {small[0]: 0, small[1]: 64, last: 0, large: 64}
    assert plan(kernels, set()).arena_bytes == 192


def test_large_buffers_are_placed_before_the_small_ones_around_them():
    """In order of birth the large one would not fit into what the small ones leave."""
    a, b, c, d = (Buffer(TensorType(FLOAT32, (n,))) for n in (16, 16, 16, 32))
    kernels = [kernel(a, []), kernel(b, [a]), kernel(c, [a, b]), kernel(d, [b])]
    made = plan(kernels, set())
    assert made.offsets == {d: 0, a: 0, b: 128, c: 64}
    assert (made.arena_bytes, made.peak_bytes, made.total_bytes) == (192, 192, 320)


def test_the_figures_as_they_are_printed():
    x, w = leaf("x", 4, 8), leaf("w", 8, 20)
    hidden = tanh(matmul(x, w))  # 4 x 20 floats: 320 bytes
    back = matmul(hidden, transpose(w, (1, 0)))  # 4 x 8: 128 bytes
    out = matmul(back, w)
    text = program_text(lower(Graph((x, w), (out,))))
    assert text.endswith(
        "memory: 2 temporaries of 448 bytes in an arena of 448 (at most 448 live at once)"
    )
    again = matmul(out, transpose(w, (1, 0)))  # 128 bytes, where the first of them was
    text = program_text(lower(Graph((x, w), (matmul(again, w),))))
    assert text.endswith(
        "memory: 4 temporaries of 896 bytes in an arena of 448 (at most 448 live at once)"
    )
