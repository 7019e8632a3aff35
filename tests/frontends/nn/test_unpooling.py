"""Pooling with positions and back, norms of windows, borders of two widths: window by window."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc import nn
from graphc.frontends.nn.pooling import avg_pool, lp_pool
from running import assert_close, run


def windows(extents, window, stride, around, dilation, ceil_mode):
    """For each window the indices inside that it sees, and how many places lie in the border."""
    axes = []
    for n, size, step, (low, high), d in zip(
        extents, window, stride, around, dilation, strict=True
    ):
        span = d * (size - 1) + 1
        found, start = [], -low
        while start + span <= n + high or (
            ceil_mode and start < n and start - step + span < n + high
        ):
            found.append([start + k * d for k in range(size)])
            start += step
        axes.append(found)
    for place in np.ndindex(*map(len, axes)):
        places = [axes[a][p] for a, p in enumerate(place)]
        inside = [[i for i in line if 0 <= i < n] for line, n in zip(places, extents, strict=True)]
        counted = [
            sum(-low <= i < n + high for i in line)
            for line, n, (low, high) in zip(places, extents, around, strict=True)
        ]
        yield place, np.ix_(*inside), math.prod(counted)


@st.composite
def geometries(draw):
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    window, dilation = each(1, 3), each(1, 2)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    around = tuple((draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in window)
    extents = tuple(draw(st.integers(span, span + 4)) for span in spans)
    return extents, window, each(1, 3), around, dilation, draw(st.booleans())


@given(geometries(), st.sampled_from([1, 2, 3, 2.5]), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_windows_of_every_kind(geometry, p, seed):
    extents, window, stride, around, dilation, ceil_mode = geometry
    x = np.random.default_rng(seed).normal(size=(2, 3, *extents))
    seen = [*windows(*geometry)]
    shape = (2, 3, *(1 + max(place[a] for place, _, _ in seen) for a in range(len(extents))))
    largest, norm, mean = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    positions = np.zeros(shape, np.int64)
    numbers = np.arange(math.prod(extents)).reshape(extents)
    for place, inside, counted in seen:
        for n, c in np.ndindex(2, 3):
            part = x[n, c][inside].ravel()
            at = (n, c, *place)
            largest[at], norm[at] = part.max(), (np.abs(part) ** p).sum() ** (1 / p)
            positions[at] = numbers[inside].ravel()[part.argmax()]
            mean[at] = part.sum() / counted
    options = dict(stride=stride, padding=around, dilation=dilation, ceil_mode=ceil_mode)
    ours = run(lambda t: nn.max_pool_with_indices(t, window, **options), x=x)
    assert_close(ours[0], largest)
    assert_close(ours[1], positions)
    assert_close(run(lambda t: lp_pool(t, window, p, **options), x=x), norm)
    assert_close(run(lambda t: avg_pool(t, window, **options), x=x), mean)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_unpooling_puts_the_largest_back(backend, rng):
    x = gc.input("x", (2, 3, 4, 6))
    largest, positions = nn.max_pool_with_indices(x, 2)
    back = nn.max_unpool(largest, positions, 2)
    image = rng.permutation(144).reshape(x.shape).astype(np.float32)
    wins = image == image.reshape(2, 3, 2, 2, 3, 2).max((3, 5)).repeat(2, 2).repeat(2, 3)
    expected = np.where(wins, image, 0)
    assert_close(gc.compile([x], back, backend=backend)(image), expected)


def test_sizes_of_unpooling():
    x, i = np.ones((1, 1, 2), np.float32), np.array([[[4, 4]]])
    options = dict(x=x, i=i)
    assert run(lambda t, i: nn.max_unpool(t, i, 3, 2, 0), **options).shape == (1, 1, 5)
    assert run(lambda t, i: nn.max_unpool(t, i, 3, 3, [(0, 1)]), **options).shape == (1, 1, 5)
    ours = run(lambda t, i: nn.max_unpool(t * 2, i, 3, sizes=[7]), **options)
    assert_close(ours, np.float32([[[0, 0, 0, 0, 2, 0, 0]]]))
    with pytest.raises(gc.UserError, match="GC0306"):
        run(lambda t, i: nn.max_unpool(t, i, 2), **options)


def test_gradients(rng):
    x = gc.input("x", (1, 2, 5, 4))
    largest, positions = nn.max_pool_with_indices(x, 2, 1)
    back = nn.max_unpool(largest * largest, positions, 2, 1)
    for y in (largest, back, lp_pool(x, 2, 3), lp_pool(x, 2, 1), lp_pool(x, (3, 2), 2, 1, 1)):
        loss = (y * rng.normal(size=y.shape)).sum()
        report = gc.check_grad(loss, x, {x: rng.permutation(40).reshape(x.shape) - 20.5})
        assert report, report


def test_the_norm_of_nothing_has_no_slope():
    x = gc.input("x", (1, 1, 4))
    (slopes,) = gc.grad(lp_pool(x, 2).sum(), [x])
    slope = gc.compile([x], slopes, backend="numpy")
    assert_close(slope(np.float32([[[0, 0, 3, 4]]])), np.float32([[[0, 0, 0.6, 0.8]]]))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x: lp_pool(x, 2, 0.5), "GC0104"),
        (lambda x: nn.max_pool_with_indices(x[0, 0], 2), "GC0103"),
        (lambda x: nn.max_pool_with_indices(x, 2, padding=[(1, 1)]), "GC0103"),
        (lambda x: nn.max_unpool(x, np.zeros((2, 3), int), 2), "GC0101"),
        (lambda x: nn.max_unpool(x, gc.zeros(x.shape), 2), "GC0102"),
    ],
)
def test_wrong_calls_are_reported_at_the_users_line(program, code):
    with pytest.raises(gc.UserError, match=code) as caught:
        program(gc.input("x", (2, 3, 4, 4)))
    assert "test_unpooling.py" in caught.value.where
