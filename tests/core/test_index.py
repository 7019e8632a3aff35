"""The index algebra against plain integer arithmetic, and what expressions promise each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphc.expr import (
    Affine,
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Reduce,
    Select,
    apply,
    cast,
    depends_on,
    lift,
    substitute,
    walk,
)
from graphc.index import affine, bounds, flat_index, is_index, stride
from graphc.types import BOOL, FLOAT32, FLOAT64, INT64, TensorType

ROW, COLUMN, PLANE = Iter(5), Iter(7), Iter(3)
VALUES = st.fixed_dictionaries({i: st.integers(0, i.extent - 1) for i in (ROW, COLUMN, PLANE)})
NUMBERS = st.integers(-9, 9).map(lambda n: Lit(n, INT64))
LEAVES = st.one_of(st.sampled_from([ROW, COLUMN, PLANE]), NUMBERS)


def step(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    number = st.integers(1, 9)
    return st.one_of(
        st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] - p[1]),
        st.tuples(inner, st.integers(-4, 4)).map(lambda p: p[0] * p[1]),
        st.tuples(inner, number).map(lambda p: p[0] // p[1]),
        st.tuples(inner, number).map(lambda p: p[0] % p[1]),
        inner.map(lambda e: -e),
    )


INDICES = st.recursive(LEAVES, step, max_leaves=8)


def evaluate(expr: Expr, values: dict[Iter, int]) -> int:
    match expr:
        case Iter():
            return values[expr]
        case Lit(value, _):
            return int(value)
        case Affine(terms, constant):
            return constant + sum(c * evaluate(a, values) for a, c in terms)
        case Apply("floor_divide", (a, b), _):
            return evaluate(a, values) // evaluate(b, values)
        case Apply("remainder", (a, b), _):
            return evaluate(a, values) % evaluate(b, values)
    raise AssertionError(f"{expr} left the algebra")


@given(INDICES, INDICES, st.integers(1, 9), VALUES)
def test_the_algebra_is_integer_arithmetic(a: Expr, b: Expr, n: int, values: dict[Iter, int]):
    x, y = evaluate(a, values), evaluate(b, values)
    assert evaluate(a + b, values) == x + y
    assert evaluate(a - b, values) == x - y
    assert evaluate(n - a, values) == n - x
    assert evaluate(a * n, values) == x * n
    assert evaluate(a // n, values) == x // n
    assert evaluate(a % n, values) == x % n
    assert is_index(a)


@given(INDICES, VALUES)
def test_bounds_hold(a: Expr, values: dict[Iter, int]):
    reach = bounds(a)
    assert reach is not None
    assert reach[0] <= evaluate(a, values) <= reach[1]


@given(INDICES, st.sampled_from([ROW, COLUMN, PLANE]), VALUES)
def test_strides_are_differences(a: Expr, iterator: Iter, values: dict[Iter, int]):
    found = stride(a, iterator)
    assume(found is not None and values[iterator] + 1 < iterator.extent)
    moved = {**values, iterator: values[iterator] + 1}
    assert evaluate(a, moved) - evaluate(a, values) == found


@given(INDICES)
def test_equal_sums_are_equal_in_any_order(a: Expr):
    assert (a + ROW) + COLUMN == COLUMN + (ROW + a)
    assert hash((a + ROW) + COLUMN) == hash(COLUMN + (ROW + a))
    assert a - a == Lit(0, INT64)
    assert affine(a) == affine(a + 0)


@given(st.lists(st.integers(2, 6), min_size=1, max_size=3))
def test_a_flat_index_comes_apart_again(shape: list[int]):
    """Row-major offsets divide back into their axes: what a reshape of a reshape needs."""
    iters = [Iter(n) for n in shape]
    offset: Expr = Lit(0, INT64)
    for i, n in zip(iters, shape, strict=True):
        offset = offset * n + i
    for i, n in reversed(list(zip(iters, shape, strict=True))):
        assert offset % n == i
        offset = offset // n


@given(INDICES, INDICES, VALUES)
def test_substitution_is_evaluation(a: Expr, b: Expr, values: dict[Iter, int]):
    replaced = substitute(a, lambda e: b if e is ROW else None)
    assert evaluate(replaced, values) == evaluate(a, {**values, ROW: evaluate(b, values)})


def test_data_keeps_its_order_of_evaluation():
    """Only indices are reordered: a sum of loads stays as it was written."""
    buffer = Buffer(TensorType(FLOAT32, (5,)))
    x, y = Load(buffer, (ROW,)), Load(buffer, (Lit(0, INT64),))
    assert x + y == Apply("add", (x, y), FLOAT32)
    assert x + y != y + x
    assert x * 2.0 == Apply("multiply", (x, Lit(2.0, FLOAT32)), FLOAT32)
    assert (x < y).dtype == BOOL


def test_numbers_are_equal_when_they_are_written_alike():
    assert Lit(0.0, FLOAT32) != Lit(-0.0, FLOAT32)
    assert Lit(np.nan, FLOAT32) == Lit(np.nan, FLOAT32)
    assert Lit(1.0, FLOAT32) != Lit(1.0, FLOAT64)
    assert len({Lit(0.0, FLOAT32), Lit(-0.0, FLOAT32), Lit(0.0, FLOAT32)}) == 2


def test_flat_index_of_a_buffer():
    buffer = Buffer(TensorType(FLOAT32, (3, 5, 7)))
    assert buffer.strides == (35, 7, 1)
    assert flat_index(buffer, (PLANE, ROW, COLUMN)) == PLANE * 35 + ROW * 7 + COLUMN


def test_bounds_of_data_are_unknown_until_they_are_checked():
    buffer = Buffer(TensorType(INT64, (5,)))
    read = Load(buffer, (ROW,))
    assert bounds(read) is None
    assert bounds(Bounded(read, 9, None) * 2 + 1) == (1, 17)
    assert stride(read + COLUMN, ROW) is None
    assert stride(read + COLUMN, COLUMN) == 1 or not is_index(read)


def test_walks_meet_shared_parts_once_and_operands_first():
    buffer = Buffer(TensorType(FLOAT32, (5,)))
    x = Load(buffer, (ROW,))
    y = x * x
    order = list(walk(Reduce("add", (ROW,), Select(y > 0.0, y, y + x))))
    assert order.index(x) < order.index(y)
    assert len({id(e) for e in order}) == len(order)
    assert depends_on(y, ROW)
    assert not depends_on(y, COLUMN)


def test_substitution_keeps_sharing():
    """Squaring forty times is forty nodes, not 2 ** 40."""
    x: Expr = Load(Buffer(TensorType(FLOAT32, (5,))), (ROW,))
    for _ in range(40):
        x = Apply("multiply", (x, x), FLOAT32)
    moved = substitute(x, lambda e: COLUMN if e is ROW else None)
    assert sum(1 for _ in walk(moved)) == 42


def test_numbers_take_the_dtype_beside_them():
    x = Load(Buffer(TensorType(FLOAT64, (5,))), (ROW,))
    assert apply("maximum", x, 0) == Apply("maximum", (x, Lit(0, FLOAT64)), FLOAT64)
    assert cast(x, FLOAT64) is x
    assert cast(x, FLOAT32).dtype == FLOAT32
    assert lift(3, INT64) == Lit(3, INT64)


@pytest.mark.parametrize("divisor", [0, -2])
def test_strange_divisors_stay_as_they_are(divisor: int):
    assert ROW // divisor == Apply("floor_divide", (ROW, Lit(divisor, INT64)), INT64)
