"""Pooling against windows cut out by NumPy."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def starts(extent, window, stride, padding, dilation, ceil_mode):
    """Where windows begin along an axis with its padding counted from 0."""
    span = dilation * (window - 1) + 1
    last = extent + 2 * padding - span
    found = list(range(0, last + 1, stride))
    if ceil_mode and found[-1] + stride < extent + padding and found[-1] < last:
        found.append(found[-1] + stride)
    return found


def pooled(x, window, stride, padding, dilation, ceil_mode, mean=None):
    """The largest element, or with ``mean`` the mean: with padding ("pad") or without ("real")."""
    rank = x.ndim - 2
    axes = [starts(n, window, stride, padding, dilation, ceil_mode) for n in x.shape[2:]]
    y = np.zeros((*x.shape[:2], *map(len, axes)), x.dtype)
    for place in np.ndindex(*map(len, axes)):
        real, counted = [], 1
        for axis in range(rank):
            first = axes[axis][place[axis]] - padding
            taps = [first + k * dilation for k in range(window)]
            real.append([t for t in taps if 0 <= t < x.shape[2 + axis]])
            counted *= sum(t < x.shape[2 + axis] + padding for t in taps)
        part = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *real)]
        inner = tuple(range(2, x.ndim))
        if mean is None:
            y[(..., *place)] = part.max(inner)
        else:
            divisor = counted if mean == "pad" else np.prod([len(r) for r in real])
            y[(..., *place)] = part.sum(inner) / divisor
    return y


SIZES = {1: (9,), 2: (6, 7), 3: (4, 5, 6)}
WINDOWS = [(2, 2, 0), (3, 2, 1), (2, 1, 0), (3, 4, 1), (2, 3, 1)]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("window", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_windows(rank, window, stride, padding, ceil_mode, rng):
    x = rng.normal(size=(2, 3, *SIZES[rank])).astype(np.float32)
    largest, mean = getattr(nn, f"MaxPool{rank}d"), getattr(nn, f"AvgPool{rank}d")
    for dilation in (1, 2):
        layer = largest(window, stride, padding, dilation, ceil_mode)
        assert_close(run(layer, x=x), pooled(x, window, stride, padding, dilation, ceil_mode))
    for kind in ("pad", "real"):
        layer = mean(window, stride, padding, ceil_mode, count_include_pad=kind == "pad")
        assert_close(
            run(layer, x=x), pooled(x, window, stride, padding, 1, ceil_mode, kind), atol=1e-6
        )


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_gradients(ceil_mode, rng):
    x = rng.normal(size=(1, 2, 4, 5))
    check_gradients(nn.MaxPool2d(3, 2, 1, ceil_mode=ceil_mode), rng, x)
    check_gradients(nn.AvgPool2d(3, 2, 1, ceil_mode), rng, x)
    check_gradients(nn.AvgPool2d(3, 2, 1, ceil_mode, count_include_pad=False), rng, x)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_adaptive_windows(rank, size, rng):
    x = rng.normal(size=(2, 3, *SIZES[rank]))
    for name, fold in {"Max": np.max, "Avg": np.mean}.items():
        y = x
        for axis in range(2, x.ndim):
            n = x.shape[axis]
            bounds = [(k * n // size, -(-(k + 1) * n // size)) for k in range(size)]
            parts = [fold(np.take(y, range(a, b), axis), axis, keepdims=True) for a, b in bounds]
            y = np.concatenate(parts, axis)
        layer = getattr(nn, f"Adaptive{name}Pool{rank}d")(size)
        assert_close(run(layer, x=x), y)
    check_gradients(getattr(nn, f"AdaptiveAvgPool{rank}d")(size), rng, x[:1, :1])
    check_gradients(getattr(nn, f"AdaptiveMaxPool{rank}d")(size), rng, x[:1, :1])


def test_adaptive_sizes_by_axis_and_named():
    x = gc.input("x", ("n", 3, "h", 8))
    assert nn.AdaptiveAvgPool2d((None, 2))(x).shape[2:] == (gc.dim("h"), 2)
    assert nn.AdaptiveMaxPool2d(1)(x).shape[2:] == (1, 1)
    double = gc.input("x", ("n", 3, 2 * gc.dim("h"), 8))
    assert nn.AdaptiveAvgPool2d(2)(double).shape[2:] == (2, 2)
    mean = gc.compile([x], nn.AdaptiveAvgPool2d(1)(x), backend="numpy")
    assert mean(np.ones((2, 3, 5, 8), np.float32)).shape == (2, 3, 1, 1)


def test_global_pooling(rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    assert_close(run(nn.GlobalAvgPool(), x=x), x.mean((2, 3)))
    assert_close(run(nn.GlobalMaxPool(), x=x), x.max((2, 3)))
    assert_close(run(nn.GlobalAvgPool(), x=x[..., 0, 0]), x[..., 0, 0])


def test_named_sizes_pool_without_ceil_mode(rng):
    x = gc.input("x", ("n", 2, "w"))
    array = rng.normal(size=(3, 2, 7)).astype(np.float32)
    layer = nn.AvgPool1d(3, 2, 1, count_include_pad=False)
    f = gc.compile([x], layer(x), backend="numpy")
    assert_close(f(array), pooled(array, 3, 2, 1, 1, False, "real"))
    with pytest.raises(gc.UserError, match="GC0104"):
        nn.MaxPool1d(2, ceil_mode=True)(x)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.MaxPool2d(2)(gc.zeros((2, 3, 4))), "GC0103"),
        (lambda: nn.AvgPool1d(2)(gc.zeros((2, 3, 4, 4))), "GC0103"),
        (lambda: nn.MaxPool1d(5)(gc.zeros((2, 3, 4))), "GC0101"),
        (lambda: nn.MaxPool2d((2, 2, 2))(gc.zeros((2, 3, 4, 4))), "GC0103"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3))(gc.zeros((2, 3, 4, 4))), "GC0103"),
        (lambda: nn.AdaptiveAvgPool1d(0)(gc.zeros((2, 3, 4))), "GC0104"),
        (lambda: nn.AdaptiveAvgPool1d(2)(gc.zeros((2, 3, 0))), "GC0104"),
        (lambda: nn.AdaptiveAvgPool1d(2)(gc.input("x", (2, 3, "w"))), "GC0104"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()
