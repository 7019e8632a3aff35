"""Slices, pads, convolutions, windows and takes of random geometry, against plain definitions."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluate import at_every_index
from graphc.backends.interpreter import Interpreter
from graphc.dims import Dim
from graphc.expr import Buffer, Iter, Load, walk
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node, specialise
from graphc.index import stride
from graphc.kernels.trace import Tracer
from graphc.ops.convolution import Convolve, convolution, convolution_transposed
from graphc.ops.indexing import ScatterAdd, Take
from graphc.ops.leaves import Input
from graphc.ops.reduction import sum_over
from graphc.ops.selection import Concatenate, Pad, Slice, concatenate, slice_axis
from graphc.ops.window import Window, Windows
from graphc.scalars import SCALARS
from graphc.types import FLOAT64, INT64, TensorType

small = st.integers(0, 3)
positive = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)


def whole(seed: int, *shape: int) -> Array:
    """Whole numbers, so that sums are exact in any order."""
    return np.asarray(np.random.default_rng(seed).integers(-5, 6, shape), np.float64)


def node(array: Array, label: str = "x") -> Node:
    return Input(label, TensorType(FLOAT64, array.shape))()


def run(y: Node, *pairs: tuple[Node, Array]) -> Array:
    graph = Graph(tuple(x for x, _ in pairs), (y,))
    return Interpreter(graph).run([a for _, a in pairs])[0]


def check_adjoint(y: Node, x: Node, *pairs: tuple[Node, Array]) -> None:
    """<y(x), g> = <x, gradient>, exactly."""
    g = whole(7, *y.shape)
    seed = node(g, "g")
    (pulled,) = gradients(y, [x], seed)
    assert pulled is not None
    back = run(pulled, *pairs, (seed, g))
    assert np.vdot(run(y, *pairs), g) == np.vdot(dict(pairs)[x], back)


@given(st.lists(st.tuples(small, small, small, positive), min_size=1, max_size=3), seeds)
def test_slice(axes: list[tuple[int, int, int, int]], seed: int):
    shape = [start + kept + rest for start, kept, rest, _ in axes]
    array = whole(seed, *shape)
    starts, stops = [a[0] for a in axes], [a[0] + a[1] for a in axes]
    steps = [a[3] for a in axes]
    x = node(array)
    y = Slice(tuple(starts), tuple(stops), tuple(steps))(x)
    wanted = array[tuple(map(slice, starts, stops, steps))]
    np.testing.assert_array_equal(run(y, (x, array)), wanted)
    np.testing.assert_array_equal(at_every_index(y, {x: array}), wanted)
    check_adjoint(y, x, (x, array))


@given(st.lists(st.tuples(small, small, small, small), min_size=1, max_size=3), seeds)
def test_pad_with_interior(axes: list[tuple[int, int, int, int]], seed: int):
    extents, low, high, gaps = zip(*axes, strict=True)
    array = whole(seed, *extents)
    x = node(array)
    y = Pad(low, high, gaps, value=9)(x)
    wanted = np.full(y.shape, 9.0)
    for place in np.ndindex(*extents):
        target = (a + i * (gap + 1) for a, i, gap in zip(low, place, gaps, strict=True))
        wanted[tuple(target)] = array[place]
    np.testing.assert_array_equal(run(y, (x, array)), wanted)
    np.testing.assert_array_equal(at_every_index(y, {x: array}), wanted)
    check_adjoint(Pad(low, high, gaps)(x), x, (x, array))


@given(st.sampled_from(["reflect", "edge"]), st.integers(1, 4), small, small, seeds)
def test_pad_by_own_elements(mode: str, extent: int, low: int, high: int, seed: int):
    if mode == "reflect":
        low, high = min(low, extent - 1), min(high, extent - 1)
    array = whole(seed, extent, 2)
    x = node(array)
    y = Pad((low, 0), (high, 0), (0, 0), mode)(x)
    wanted = np.pad(array, [(low, high), (0, 0)], mode=mode)
    np.testing.assert_array_equal(at_every_index(y, {x: array}), wanted)
    check_adjoint(y, x, (x, array))


@given(st.lists(small, min_size=1, max_size=6), st.integers(0, 1), seeds)
def test_concatenate_and_slice_back(extents: list[int], axis: int, seed: int):
    arrays = [whole(seed + k, *((n, 2) if axis == 0 else (2, n))) for k, n in enumerate(extents)]
    inputs = [node(a, f"x{k}") for k, a in enumerate(arrays)]
    pairs = list(zip(inputs, arrays, strict=True))
    y = concatenate(inputs, axis)
    if len(inputs) > 1:
        np.testing.assert_array_equal(at_every_index(y, dict(pairs)), np.concatenate(arrays, axis))
    end = 0
    for x, array in pairs:
        end += array.shape[axis]
        part = slice_axis(y, axis, end - array.shape[axis], end)
        np.testing.assert_array_equal(run(part, *pairs), array)
        check_adjoint(part, x, *pairs)


def plain_convolve(op: Convolve, x: Array, w: Array, shape: tuple[int, ...]) -> Array:
    """The definition, one output point after another."""
    y = np.zeros(shape)
    for n, g, o, *p in np.ndindex(*shape):
        for k in np.ndindex(*w.shape[3:]):
            steps = zip(p, op.strides, k, op.dilations, strict=True)
            place = tuple(i * s + j * d for i, s, j, d in steps)
            y[(n, g, o, *p)] += x[(n, g, slice(None), *place)] @ w[(g, o, slice(None), *k)]
    return y


@given(
    st.lists(st.tuples(positive, positive, positive, small), min_size=1, max_size=2),
    st.tuples(small, st.integers(1, 2), small, positive),
    seeds,
)
def test_convolve(axes: list[tuple[int, int, int, int]], counts: tuple[int, ...], seed: int):
    sizes, strides, dilations, _ = zip(*axes, strict=True)
    batch, groups, channels, outs = counts
    extents = [(k - 1) * d + 1 + m for k, _, d, m in axes]
    images = whole(seed, batch, groups, channels, *extents)
    filters = whole(seed + 1, groups, outs, channels, *sizes)
    x, w = node(images), node(filters, "w")
    y = Convolve(strides, dilations)(x, w)
    pairs = ((x, images), (w, filters))
    wanted = plain_convolve(y.op, images, filters, y.shape)
    np.testing.assert_array_equal(run(y, *pairs), wanted)
    np.testing.assert_array_equal(at_every_index(y, dict(pairs)), wanted)
    check_adjoint(y, x, *pairs)
    check_adjoint(y, w, *pairs)


@given(positive, positive, positive, small, small, small, st.integers(1, 2), seeds)
def test_transposed_convolution_is_the_adjoint(
    size: int, step: int, dilation: int, low: int, high: int, more: int, groups: int, seed: int
):
    extent = (size - 1) * dilation + 1 + more
    images, filters = whole(seed, 2, 2 * groups, extent), whole(seed + 1, groups, 2, size)
    x, w = node(images), node(filters, "w")
    y = convolution(x, w, (step,), ((low, high),), (dilation,), groups)
    rest = (extent + low + high - (size - 1) * dilation - 1) % step
    g = whole(seed + 2, *y.shape)
    seed_node = node(g, "g")
    back = convolution_transposed(
        seed_node, w, (step,), ((low, high),), (dilation,), groups, (rest,)
    )
    (pulled,) = gradients(y, [x], seed_node)
    assert back.shape == x.shape
    pairs = ((x, images), (w, filters), (seed_node, g))
    np.testing.assert_array_equal(run(back, *pairs), run(pulled, *pairs))


geometry = st.tuples(positive, positive, positive, small, small)


@given(st.lists(geometry, min_size=1, max_size=2), st.sampled_from(["add", "maximum"]), seeds)
def test_windows(axes: list[tuple[int, ...]], function: str, seed: int):
    sizes, strides, dilations, low, high = zip(*axes, strict=True)
    extents = [(k - 1) * d + 1 for k, _, d, _, _ in axes]
    over = Windows(sizes, strides, dilations, low, high)
    array = whole(seed, 2, *extents)
    x = node(array)
    y = Window(SCALARS[function], over)(x)
    nothing = 0 if function == "add" else -np.inf
    padded = np.pad(array, [(0, 0), *zip(low, high, strict=True)], constant_values=nothing)
    wanted = np.empty(y.shape)
    for n, *p in np.ndindex(*y.shape):
        spans = (
            slice(i * s, i * s + (k - 1) * d + 1, d)
            for i, s, k, d in zip(p, strides, sizes, dilations, strict=True)
        )
        window = padded[(n, *spans)]
        wanted[(n, *p)] = window.sum() if function == "add" else window.max()
    np.testing.assert_array_equal(run(y, (x, array)), wanted)
    np.testing.assert_array_equal(at_every_index(y, {x: array}), wanted)
    (pulled,) = gradients(sum_over(y, tuple(range(y.type.rank))), [x])
    seen = np.isfinite(wanted).sum() if function == "maximum" else None
    if seen is not None:  # every window that sees an element gives its cotangent to one
        assert run(pulled, (x, array)).sum() == seen
    else:
        check_adjoint(y, x, (x, array))


def test_the_cotangent_of_a_maximum_goes_to_its_first_place():
    array = np.array([[1.0, 3.0, 3.0], [3.0, 0.0, 3.0]])
    x = node(array)
    y = Window(SCALARS["maximum"], Windows((2, 2), (1, 1), (1, 1), (0, 0), (0, 0)))(x)
    (pulled,) = gradients(sum_over(y, (0, 1)), [x])
    np.testing.assert_array_equal(run(pulled, (x, array)), [[0, 2, 0], [0, 0, 0]])


def test_a_nan_is_the_maximum_of_its_windows():
    array = np.array([1.0, np.nan, 2.0, 4.0])
    x = node(array)
    y = Window(SCALARS["maximum"], Windows((2,), (1,), (1,), (0,), (0,)))(x)
    (pulled,) = gradients(sum_over(y, (0,)), [x])
    np.testing.assert_array_equal(run(y, (x, array)), [np.nan, np.nan, 4.0])
    np.testing.assert_array_equal(run(pulled, (x, array)), [0, 2, 0, 1])


@given(st.integers(1, 4), st.integers(0, 2), st.lists(small, max_size=2), seeds)
def test_take_and_scatter(extent: int, axis: int, shape: list[int], seed: int):
    sizes = [2, 3, 2]
    sizes[axis] = extent
    array = whole(seed, *sizes)
    rng = np.random.default_rng(seed)
    places = np.asarray(rng.integers(-extent, extent, shape), np.int64)
    x, i = node(array), Input("i", TensorType(INT64, tuple(shape)))()
    y = Take(axis)(x, i)
    pairs = ((x, array), (i, places))
    np.testing.assert_array_equal(run(y, *pairs), np.take(array, places, axis))
    check_adjoint(y, x, *pairs)
    updates = whole(seed + 1, *y.shape)
    u = node(updates, "u")
    wanted = array.copy()
    for k in np.ndindex(*shape):
        target = [slice(None)] * 3
        target[axis] = places[k]
        wanted[tuple(target)] += updates[(slice(None),) * axis + k]
    z = ScatterAdd(axis)(x, i, u)
    found = at_every_index(z, {x: array, i: places, u: updates})
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(run(z, *pairs, (u, updates)), wanted)


def test_unpadded_convolutions_read_at_constant_strides():
    """The contraction schedule needs every index to be a sum of iterators, without guards."""
    x, w = node(np.zeros((2, 1, 3, 9, 9))), node(np.zeros((1, 4, 3, 3, 2)), "w")
    y = Convolve((2, 1), (1, 2))(x, w)
    iters = tuple(Iter(n) for n in y.shape)
    value = Tracer({x: Buffer(x.type), w: Buffer(w.type)}).definition(y, iters)
    inner = [e for e in walk(value) if isinstance(e, Iter)]
    loads = [e for e in walk(value) if isinstance(e, Load)]
    assert len(loads) == 2
    for load, i, iterator in product(loads, range(5), inner):
        assert stride(load.index[i], iterator) is not None


def test_a_slice_of_a_pad_needs_no_guards():
    x = node(np.zeros((4, 5)))
    y = Slice((2, 1), (6, 6), (1, 1))(Pad((2, 1), (3, 0), (0, 0))(x))
    iters = (Iter(4), Iter(5))
    value = Tracer({x: Buffer(x.type)}).definition(y, iters)
    assert isinstance(value, Load)
    assert value.index == iters


def test_named_sizes_flow_through_slices_pads_convolutions_and_windows():
    n = Dim.named("n")
    x = Input("x", TensorType(FLOAT64, (2, 1, 1, n)))()
    w = Input("w", TensorType(FLOAT64, (1, 1, 1, 3)))()
    padded = Pad((0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 0, 0))(x)
    y = Convolve((2,), (1,))(padded, w)
    z = Window(SCALARS["maximum"], Windows((2,), (2,), (1,), (0,), (0,)))(y)
    joined = Concatenate(3)(z, slice_axis(z, 3, 1, z.shape[3]))
    loss = sum_over(joined * joined, (0, 1, 2, 3))
    gx, gw = gradients(loss, [x, w])
    graph = specialise(Graph((x, w), (loss, gx, gw)), {"n": 11})
    arrays = [whole(1, 2, 1, 1, 11), whole(2, 1, 1, 1, 3)]
    value, dx, _ = Interpreter(graph).run(arrays)
    assert dx.shape == (2, 1, 1, 11)
    # the loss is homogeneous of degree 2 in x
    assert np.vdot(dx, arrays[0]) == 2 * value
