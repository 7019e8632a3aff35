"""Every op against the sample table: types, values at an index, gradients, adjoints."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

import graphc.ops
from evaluate import at_every_index
from graphc.backends.interpreter import Interpreter, evaluate
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node, Op, toposort
from graphc.ops.leaves import Table
from graphc.ops.library import LibraryCall
from graphc.ops.reduction import sum_over
from graphc.scalars import SCALARS
from graphc.types import FLOAT64, dtype
from samples import NARROW, SAMPLES, Sample

DIFFERENTIABLE = [s for s in SAMPLES if s.wrt]
LINEAR = [s for s in SAMPLES if s.linear]
each = pytest.mark.parametrize


def run(inputs: Sequence[Node], outputs: Sequence[Node], arrays: Sequence[Array]) -> list[Array]:
    return Interpreter(Graph(tuple(inputs), tuple(outputs))).run(arrays)


def values_of(sample: Sample) -> tuple[Node, dict[Node, Array]]:
    """The result of a sample and the value of every node on the way."""
    inputs, arrays = sample.inputs(), sample.draw()
    y = sample.build(*inputs)
    values = dict(zip(inputs, arrays, strict=True))
    for node in toposort([y]):
        if node not in values:
            values[node] = evaluate(node, [values[x] for x in node.inputs])
    return y, values


def op_classes() -> set[type[Op]]:
    for module in pkgutil.iter_modules(graphc.ops.__path__):
        importlib.import_module(f"graphc.ops.{module.name}")
    found, waiting = set(), [Op]
    while waiting:
        waiting += (subclasses := waiting.pop().__subclasses__())
        found.update(c for c in subclasses if c.__module__.startswith("graphc.ops."))
    return found - {LibraryCall}  # which has no meaning of its own


def used_ops() -> Iterator[Op]:
    for sample in SAMPLES:
        yield from (node.op for node in toposort([sample.build(*sample.inputs())]))


def test_every_op_and_every_scalar_function_has_a_sample():
    ops = list(used_ops())
    assert not op_classes() - {type(op) for op in ops}
    assert not set(SCALARS) - {op.name for op in ops}


def test_names_are_unique():
    names = [s.name for s in SAMPLES]
    assert len(set(names)) == len(names)


@each("sample", SAMPLES, ids=str)
def test_inferred_types_are_those_of_the_values(sample: Sample):
    _, values = values_of(sample)
    for node, value in values.items():
        assert value.shape == node.shape
        assert value.dtype == node.dtype.numpy


@each("sample", SAMPLES, ids=str)
def test_values_at_an_index_are_the_values(sample: Sample):
    _, values = values_of(sample)
    for node, value in values.items():
        if node.op.kind not in ("leaf", "call"):
            found = at_every_index(node, {x: values[x] for x in node.inputs})
            assert found.dtype == value.dtype
            check_same(found, value)


@each("sample", SAMPLES, ids=str)
def test_all_ops_substituted_into_each_other_give_the_values(sample: Sample):
    y, values = values_of(sample)
    if y.op.kind not in ("leaf", "call"):
        known = {x: v for x, v in values.items() if x.op.kind in ("leaf", "call")}
        found = at_every_index(y, known)
        check_same(found, values[y])


def check_same(found: Array, value: Array) -> None:
    """Equal but for the order of sums; exact where there is none."""
    kind = dtype(value.dtype)
    if not kind.is_float:
        np.testing.assert_array_equal(found, value)
    else:
        tolerance = {**NARROW, "float32": 1e-5, "float64": 1e-12}[kind.name]
        np.testing.assert_allclose(found, value, rtol=tolerance, atol=tolerance)


def weighted(y: Node, seed: int = 1) -> Node:
    """A random projection of ``y`` to one number."""
    weights = np.random.default_rng(seed).normal(size=y.shape)
    return sum_over(y * Table.of(weights, FLOAT64)(), tuple(range(y.type.rank)))


def directions(sample: Sample, arrays: Sequence[Array], seed: int) -> dict[int, Array]:
    rng = np.random.default_rng(seed)
    return {k: np.asarray(rng.normal(size=arrays[k].shape)) for k in sample.wrt}


def slope(f: Callable[[list[Array]], float], arrays: list[Array], along: dict[int, Array]) -> float:
    """The central difference of ``f`` in a direction."""
    step = 1e-5
    ends = []
    for sign in (1, -1):
        moved = [x + sign * step * along[k] if k in along else x for k, x in enumerate(arrays)]
        ends.append(f(moved))
    return (ends[0] - ends[1]) / (2 * step)


def projected_gradient(
    sample: Sample, inputs: list[Node], y: Node, along: dict[int, Array]
) -> Node | None:
    """The derivative of ``y`` in a direction, as a node; None when nothing flows."""
    found = gradients(y, [inputs[k] for k in sample.wrt])
    total: Node | None = None
    for g, k in zip(found, sample.wrt, strict=True):
        if g is not None:
            axes = tuple(range(g.type.rank))
            part = sum_over(g * Table.of(along[k], FLOAT64)(), axes)
            total = part if total is None else total + part
    return total


@each("sample", DIFFERENTIABLE, ids=str)
def test_gradients_and_their_gradients_are_slopes(sample: Sample):
    sample = sample.wide()
    inputs, arrays = sample.inputs(), sample.draw()
    y = weighted(sample.build(*inputs))
    along = directions(sample, arrays, 2)
    first = projected_gradient(sample, inputs, y, along)
    _check_slope(sample, inputs, y, first, arrays, along)
    if first is not None:
        across = directions(sample, arrays, 3)
        second = projected_gradient(sample, inputs, first, across)
        _check_slope(sample, inputs, first, second, arrays, across)


def _check_slope(
    sample: Sample,
    inputs: list[Node],
    y: Node,
    found: Node | None,
    arrays: list[Array],
    along: dict[int, Array],
) -> None:
    wanted = slope(lambda xs: float(run(inputs, [y], xs)[0]), arrays, along)
    got = 0.0 if found is None else float(run(inputs, [found], arrays)[0])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5, err_msg=sample.name)


@each("sample", LINEAR, ids=str)
def test_gradients_of_linear_ops_are_adjoint(sample: Sample):
    """<A x, g> = <x, A* g>, exactly, on whole numbers; other inputs of a sum are zero."""
    sample = sample.wide()
    inputs, arrays = sample.inputs(), sample.draw()
    rng = np.random.default_rng(5)
    additive = sample.name.startswith(("concatenate", "interleave", "scatter"))
    for k in sample.linear:
        xs = [a if not np.issubdtype(a.dtype, np.floating) else np.round(a * 2) for a in arrays]
        if additive:
            xs = [x if j == k or x.dtype.kind != "f" else x * 0 for j, x in enumerate(xs)]
        y = sample.build(*inputs)
        weights = np.asarray(rng.integers(-4, 5, y.shape), y.dtype.numpy)
        seed = Table.of(weights, y.dtype)()
        (pulled,) = gradients(y, [inputs[k]], seed)
        assert pulled is not None
        pushed, back = run(inputs, [y, pulled], xs)
        assert np.vdot(pushed, weights) == np.vdot(xs[k], back)
