"""`grid_sample` against one place after another, by its definition."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc import nn
from running import assert_close, run

MODES = ["nearest", "linear", "cubic"]
PADDINGS = ["zeros", "border", "reflection"]


def kept(place, extent, padding, align):
    """A place beyond an axis moved to where its value is."""
    if padding == "zeros":
        return place
    if padding == "reflection":
        low, high = (0, extent - 1) if align else (-0.5, extent - 0.5)
        while high > low and not low <= place <= high:
            place = 2 * low - place if place < low else 2 * high - place
        if high == low:
            place = low
    return min(max(place, 0), extent - 1)


def neighbours(c, extent, mode, padding, align):
    """(index, weight) of everything that a coordinate sees along one axis."""
    place = (c + 1) / 2 * (extent - 1) if align else ((c + 1) * extent - 1) / 2
    if mode == "nearest":
        return [(int(np.rint(kept(place, extent, padding, align))), 1.0)]
    if mode == "linear":
        place = kept(place, extent, padding, align)
        first = math.floor(place)
        return [(first, 1 - (place - first)), (first + 1, place - first)]
    first, found = math.floor(place), []
    for k in range(first - 1, first + 3):
        d = abs(place - k)
        near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
        found.append((kept(k, extent, padding, align), near if d <= 1 else far))
    return found


def sampled(x, grid, mode, padding, align):
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for n, *place in np.ndindex(grid.shape[:-1]):
        lines = [
            neighbours(c, extent, mode, padding, align)
            for c, extent in zip(grid[(n, *place)][::-1], x.shape[2:], strict=True)
        ]
        for choice in product(*lines):
            index, weights = zip(*choice, strict=True)
            if all(0 <= i < m for i, m in zip(index, x.shape[2:], strict=True)):
                index = tuple(int(i) for i in index)
                y[(n, slice(None), *place)] += math.prod(weights) * x[(n, slice(None), *index)]
    return y


@pytest.mark.sweep
@given(st.data(), st.sampled_from(MODES), st.sampled_from(PADDINGS), st.booleans())
@settings(max_examples=120, deadline=None)
def test_grid_sample(data, mode, padding, align):
    rank = data.draw(st.integers(1, 3))
    sizes = tuple(data.draw(st.integers(1, 5)) for _ in range(rank))
    places = tuple(data.draw(st.integers(0, 3)) for _ in range(rank))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.normal(size=(2, 3, *sizes))
    grid = rng.uniform(-2.2, 2.2, (2, *places, rank))
    options = dict(mode=mode, padding=padding, align_corners=align)
    ours = run(lambda t, g: nn.grid_sample(t, g, **options), x=x, g=grid)
    assert_close(ours, sampled(x, grid, mode, padding, align), atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [False, True])
def test_gradients_of_grid_sample(mode, padding, align, rng):
    x, g = gc.input("x", (1, 2, 3, 4)), gc.input("g", (1, 2, 3, 2))
    y = nn.grid_sample(x, g, mode=mode, padding=padding, align_corners=align)
    values = {x: rng.normal(size=x.shape), g: rng.uniform(-1.4, 1.4, g.shape)}
    wrt = [x] if mode == "nearest" else [x, g]
    report = gc.check_grad((y * rng.normal(size=y.shape)).sum(), wrt, values)
    assert report, report


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_places_far_away_or_nowhere(backend):
    x, g = gc.input("x", (1, 1, 2, 2)), gc.input("g", (1, 1, 4, 2))
    image = np.float32([[[[1, 2], [3, 4]]]])
    far = np.float32([[[[1e30, 0], [np.inf, np.inf], [-1e30, -1e30], [np.nan, 0]]]])
    zeros, border = (nn.grid_sample(x, g, padding=p) for p in ("zeros", "border"))
    program = gc.compile([x, g], [zeros, border], backend=backend)
    nothing, edge = program(image, far)
    assert_close(nothing[0, 0, 0], np.zeros(4, np.float32))
    assert_close(edge[0, 0, 0], np.float32([3, 4, 1, 0]))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_the_identity_map_gives_the_image(backend, rng):
    for sizes in ((3, 4), (2, 3, 4)):
        rank = len(sizes)
        x = gc.input("x", (2, 3, *sizes))
        image = rng.normal(size=x.shape).astype(np.float32)
        same = np.tile(np.eye(rank, rank + 1, dtype=np.float32), (2, 1, 1))
        outputs = [
            nn.grid_sample(x, nn.affine_grid(same, sizes, align_corners=align), align_corners=align)
            for align in (False, True)
        ]
        for ours in gc.compile([x], outputs, backend=backend)(image):
            assert_close(ours, image, atol=1e-4)


def test_affine_grid(rng):
    theta = rng.normal(size=(2, 2, 3)).astype(np.float32)
    for align in (False, True):
        expected = np.zeros((2, 4, 3, 2), np.float32)
        for n, i, j in np.ndindex(2, 4, 3):
            y, x = (
                (-1 + 2 * i / 3, j - 1) if align else (-1 + (2 * i + 1) / 4, -1 + (2 * j + 1) / 3)
            )
            expected[n, i, j] = theta[n] @ [x, y, 1]
        ours = run(lambda t, a=align: nn.affine_grid(t, (4, 3), align_corners=a), x=theta)
        assert_close(ours, expected, atol=1e-5)
    single = run(lambda t: nn.affine_grid(t, (1, 1), align_corners=True), x=theta)
    assert_close(single[:, 0, 0], theta[:, :, 2])


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x, g: nn.grid_sample(x, g, mode="bilinear"), "GC0104"),
        (lambda x, g: nn.grid_sample(x, g, padding="wrap"), "GC0104"),
        (lambda x, g: nn.grid_sample(x[0], g), "GC0103"),
        (lambda x, g: nn.grid_sample(x, g[..., :1]), "GC0103"),
        (lambda x, g: nn.grid_sample(x, g[:1]), "GC0101"),
        (lambda x, g: nn.grid_sample(x.astype("int32"), g), "GC0102"),
        (lambda x, g: nn.grid_sample(x[..., :0], g), "GC0104"),
        (lambda x, g: nn.affine_grid(g, (2, 2)), "GC0103"),
    ],
)
def test_wrong_calls_are_reported_at_the_users_line(program, code):
    with pytest.raises(gc.UserError, match=code) as caught:
        program(gc.input("x", (2, 1, 3, 4)), gc.input("g", (2, 5, 5, 2)))
    assert "test_sampling.py" in caught.value.where
