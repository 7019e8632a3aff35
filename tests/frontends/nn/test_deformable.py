"""`deform_conv` and `sample_at` against one place after another, by their definitions."""

import math

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import UserError
from running import assert_close, run

X, W, GROUPS, OFFSET_GROUPS = (2, 4, 5, 6), (4, 2, 3, 2), 2, 2
STRIDE, PADDING, DILATION = (2, 1), ((1, 0), (0, 2)), (1, 2)
POINTS = (2, 6)
OPTIONS = {
    "stride": STRIDE, "padding": PADDING, "dilation": DILATION,
    "groups": GROUPS, "offset_groups": OFFSET_GROUPS,
}  # fmt: skip


def seen(image, place):
    """Linear interpolation of ``image`` at ``place``, zeros outside."""
    corner = [math.floor(c) for c in place]
    total = 0.0
    for step in np.ndindex(2, 2):
        index = [c + s for c, s in zip(corner, step, strict=True)]
        if all(0 <= i < n for i, n in zip(index, image.shape, strict=True)):
            share = [1 - abs(c - i) for c, i in zip(place, index, strict=True)]
            total += math.prod(share) * image[tuple(index)]
    return total


def deformed(x, w, offset, mask):
    """Every product of a filter's element with what it sees."""
    kernel = w.shape[2:]
    offset = offset.reshape(X[0], OFFSET_GROUPS, *kernel, 2, *POINTS)
    mask = mask.reshape(X[0], OFFSET_GROUPS, *kernel, *POINTS)
    y = np.zeros((X[0], W[0], *POINTS))
    for n, o, *p in np.ndindex(y.shape):
        for c, *k in np.ndindex(w.shape[1:]):
            channel = o // (W[0] // GROUPS) * W[1] + c
            g = channel // (X[1] // OFFSET_GROUPS)
            regular = [
                i * s + j * d - low
                for i, s, j, d, (low, _) in zip(p, STRIDE, k, DILATION, PADDING, strict=True)
            ]
            place = regular + offset[(n, g, *k, slice(None), *p)]
            y[(n, o, *p)] += w[(o, c, *k)] * mask[(n, g, *k, *p)] * seen(x[n, channel], place)
    return y


def arguments(rng):
    taps = OFFSET_GROUPS * math.prod(W[2:])
    shapes = {
        "x": X,
        "w": W,
        "offset": (2, 2 * taps, *POINTS),
        "bias": (4,),
        "mask": (2, taps, *POINTS),
    }
    return {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}


def test_every_place(rng):
    given = arguments(rng)
    ours = run(lambda *xs: nn.deform_conv(*xs, **OPTIONS), **given)
    wanted = deformed(*(given[name] for name in ("x", "w", "offset", "mask")))
    wanted = wanted + given["bias"][:, None, None]
    assert_close(ours, wanted.astype("f"), rtol=1e-4, atol=1e-4)


def test_without_offsets_it_is_a_convolution(rng):
    x, w = rng.normal(size=(1, 2, 7)).astype("f"), rng.normal(size=(3, 2, 2)).astype("f")
    offset = np.zeros((1, 2, 6), np.float32)
    ours = run(lambda *xs: nn.deform_conv(*xs), x=x, w=w, offset=offset)
    assert_close(ours, run(nn.functional.conv, x=x, w=w), rtol=1e-4)


def test_gradients_along_directions(rng):
    given = arguments(rng)
    steps = [gc.input(name) for name in given]
    moved = [
        a + t * rng.normal(size=a.shape).astype("f")
        for t, a in zip(steps, given.values(), strict=True)
    ]
    y = nn.deform_conv(*moved, **OPTIONS)
    loss = (y * rng.normal(size=y.shape)).sum()
    report = gc.check_grad(loss, steps, dict.fromkeys(steps, 0.0))
    assert report, report


@pytest.mark.parametrize(
    ("offset", "groups"), [((1, 2, 5), 1), ((1, 4, 6), 1), ((1, 2, 6), 2)], ids=str
)
def test_offsets_that_do_not_fit(offset, groups):
    with pytest.raises(UserError, match="GC0101"):
        nn.deform_conv(np.zeros((1, 3, 7)), np.zeros((1, 3, 2)), np.zeros(offset), groups=groups)


def test_samples_between_elements(rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("f")
    rows, columns = rng.uniform(-1, 5, size=(2, 2, 7)).astype("f")
    ours = run(lambda x, r, c: nn.sample_at(x, [r, c]), x=x, r=rows, c=columns)
    wanted = np.zeros((2, 3, 7), np.float32)
    for n, c, p in np.ndindex(wanted.shape):
        wanted[n, c, p] = seen(x[n, c], (rows[n, p], columns[n, p]))
    assert_close(ours, wanted)


def test_samples_need_a_place_along_every_axis():
    with pytest.raises(UserError, match="GC0103"):
        nn.sample_at(np.zeros((1, 1, 2, 2)), [np.zeros((1, 3))])
