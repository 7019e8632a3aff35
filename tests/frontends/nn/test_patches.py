"""Patches: against loops over windows, against values that PyTorch gave, and as adjoints."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run

each = pytest.mark.parametrize
OPTIONS = [
    ((4, 5), 2, {}),
    ((4, 5), (2, 3), {"stride": (2, 1)}),
    ((5, 6), (3, 2), {"padding": (1, 2), "dilation": (2, 1)}),
    ((6, 6), 3, {"stride": 3}),
    ((7,), 3, {"stride": 2, "padding": 1}),
    ((3, 4, 3), 2, {"padding": 1, "stride": 2}),
    ((5, 4), (3, 2), {"padding": ((0, 1), (2, 0)), "stride": (2, 1)}),
    ((1, 1), 1, {}),
]


def columns(x, kernel, stride=1, padding=0, dilation=1):
    """im2col, one window after another."""
    rank = x.ndim - 2
    kernel, stride, padding, dilation = (
        (o,) * rank if isinstance(o, int) else o for o in (kernel, stride, padding, dilation)
    )
    x = np.pad(x, [(0, 0), (0, 0), *(p if isinstance(p, tuple) else (p, p) for p in padding)])
    axes = list(zip(x.shape[2:], kernel, stride, dilation, strict=True))
    points = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes]
    found = []
    for point in np.ndindex(*points):
        cuts = tuple(
            slice(p * s, p * s + (k - 1) * d + 1, d)
            for p, (_, k, s, d) in zip(point, axes, strict=True)
        )
        found.append(x[(slice(None), slice(None), *cuts)].reshape(len(x), -1))
    return np.stack(found, -1)


@each(("sizes", "kernel", "options"), OPTIONS)
def test_patches_are_windows(rng, sizes, kernel, options):
    x = rng.normal(size=(2, 3, *sizes)).astype("f")
    wanted = columns(x, kernel, **options)
    assert_close(run(lambda t: nn.unfold(t, kernel, **options), x=x), wanted)


@each(("sizes", "kernel", "options"), OPTIONS)
@each("backend", ["numpy", "llvm"])
def test_folding_is_the_adjoint(rng, sizes, kernel, options, backend):
    x = rng.integers(-4, 5, (2, 3, *sizes)).astype("f")
    c = rng.integers(-4, 5, columns(x, kernel, **options).shape).astype("f")
    image, patches = gc.input("image", x.shape), gc.input("patches", c.shape)
    unfolded = nn.unfold(image, kernel, **options)
    folded = nn.fold(patches, sizes, kernel, **options)
    slope = gc.grad((unfolded * patches).sum(), [image])[0]
    there, back, found = gc.compile([image, patches], [unfolded, folded, slope], backend=backend)(
        x, c
    )
    assert back.shape == x.shape
    assert np.vdot(there, c) == np.vdot(x, back)
    assert_close(found, back)


def test_folding_counts_how_often_a_pixel_is_seen():
    x = np.ones((1, 1, 3, 3), "f")
    seen = run(lambda t: nn.fold(nn.unfold(t, 2), (3, 3), 2), x=x)
    assert_close(seen, np.float32([[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]))


def test_slopes(rng):
    t = gc.input("t", (1, 4, 6))
    x = rng.normal(size=(1, 4, 6))
    assert gc.check_grad(gc.sin(nn.fold(t, (3, 4), 2)).sum(), t, {t: x})


def test_blocks_of_pixels():
    """Values that PyTorch gave."""
    x = np.arange(16, dtype="f").reshape(1, 8, 1, 2)
    first = [[0, 2, 1, 3], [4, 6, 5, 7]]
    shuffled = np.float32([[first, np.add(first, 8)]])
    assert_close(run(lambda t: nn.pixel_shuffle(t, 2), x=x), shuffled)
    assert_close(run(lambda t: nn.pixel_unshuffle(t, 2), x=shuffled), x)
    assert_close(run(lambda t: nn.pixel_shuffle(t[0], 2), x=x), shuffled[0])
    assert_close(run(lambda t: nn.pixel_shuffle(t, 1), x=x), x)
    groups = run(lambda t: nn.channel_shuffle(t, 2), x=x)
    assert_close(groups, x[:, [0, 4, 1, 5, 2, 6, 3, 7]])


def test_a_batch_of_named_size(rng):
    t = gc.input("t", ("n", 4, 2, 4))
    outputs = [nn.unfold(t, 2), nn.pixel_shuffle(t, 2), nn.pixel_unshuffle(t, 2)]
    x = rng.normal(size=(3, 4, 2, 4)).astype("f")
    patches, large, small = gc.compile([t], outputs, backend="numpy")(x)
    assert_close(patches, columns(x, 2))
    assert large.shape == (3, 1, 4, 8)
    assert small.shape == (3, 16, 1, 2)


@each(
    ("build", "code"),
    [
        (lambda: nn.unfold(gc.zeros((3, 4)), 2), "GC0103"),
        (lambda: nn.unfold(gc.zeros((1, 2, 3, 3)), 4), "GC0101"),
        (lambda: nn.unfold(gc.zeros((1, 2, 3, 3)), (1, 2, 3)), "GC0103"),
        (lambda: nn.unfold(gc.zeros((1, 2, 3, 3)), 2, stride=0), "GC0104"),
        (lambda: nn.fold(gc.zeros((1, 8, 3)), (3, 3), 2), "GC0101"),
        (lambda: nn.fold(gc.zeros((1, 7, 4)), (3, 3), 2), "GC0101"),
        (lambda: nn.fold(gc.zeros((8, 4)), (3, 3), 2), "GC0101"),
        (lambda: nn.pixel_shuffle(gc.zeros((3, 2, 2)), 2), "GC0101"),
        (lambda: nn.pixel_shuffle(gc.zeros((4, 2)), 2), "GC0103"),
        (lambda: nn.pixel_unshuffle(gc.zeros((1, 3, 2)), 2), "GC0101"),
        (lambda: nn.channel_shuffle(gc.zeros((1, 3, 2)), 2), "GC0101"),
    ],
)
def test_wrong_operands(build, code):
    with pytest.raises(gc.UserError, match=code):
        build()
