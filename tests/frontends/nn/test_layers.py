"""Layers against straightforward NumPy, and their gradients against differences."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def convolved(x, w, b, stride, padding, dilation, groups):
    """Convolution by its definition, one output element at a time."""
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    kernel = w.shape[2:]
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *sizes))
    outs, ins = w.shape[0] // groups, w.shape[1]
    for o, *point in np.ndindex(w.shape[0], *sizes):
        channels = slice(o // outs * ins, o // outs * ins + ins)
        window = tuple(
            slice(p * s, p * s + d * (k - 1) + 1, d)
            for p, s, d, k in zip(point, stride, dilation, kernel, strict=True)
        )
        y[(slice(None), o, *point)] = (x[(slice(None), channels, *window)] * w[o]).sum(
            tuple(range(1, w.ndim))
        ) + b[o]
    return y.astype(np.float32)


def apply(layer, x):
    return run(layer, x=x)


def test_linear(rng):
    layer = nn.Linear(4, 3, rng=0)
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    w, b = gc.value(layer.weight), gc.value(layer.bias)
    assert w.shape == (3, 4)
    assert np.abs(w).max() <= 0.5
    assert_close(apply(layer, x), x @ w.T + b)
    assert_close(apply(nn.Linear(4, 3, bias=False, rng=0), x), x @ w.T)
    check_gradients(layer, rng, rng.normal(size=(2, 4)))


@pytest.mark.parametrize(
    ("kind", "size", "kernel", "stride", "padding", "dilation", "groups"),
    [
        (nn.Conv1d, (9,), 3, 1, 0, 1, 1),
        (nn.Conv1d, (9,), 2, 2, 1, 2, 2),
        (nn.Conv2d, (6, 7), 3, 1, 1, 1, 1),
        (nn.Conv2d, (6, 7), (3, 2), (2, 1), (0, 1), (1, 2), 2),
        (nn.Conv3d, (4, 3, 5), 2, (1, 1, 2), 1, 1, 1),
    ],
)
def test_convolution(kind, size, kernel, stride, padding, dilation, groups, rng):
    def several(v):
        return (v,) * len(size) if isinstance(v, int) else v

    layer = kind(4, 6, kernel, stride, padding, dilation, groups, rng=1)
    x = rng.normal(size=(2, 4, *size)).astype(np.float32)
    w, b = gc.value(layer.weight), gc.value(layer.bias)
    options = (several(stride), several(padding), several(dilation), groups)
    assert_close(apply(layer, x), convolved(x, w, b, *options), atol=1e-4)


def test_gradients_of_convolution(rng):
    layer = nn.Conv2d(2, 2, 2, stride=2, padding=1, groups=2, rng=0)
    check_gradients(layer, rng, rng.normal(size=(1, 2, 4, 3)))


def test_same_padding_keeps_the_size(rng):
    x = rng.normal(size=(1, 2, 5, 6)).astype(np.float32)
    assert apply(nn.Conv2d(2, 3, (2, 3), padding="same", rng=0), x).shape == (1, 3, 5, 6)
    assert apply(nn.Conv2d(2, 3, 3, padding="valid", rng=0), x).shape == (1, 3, 3, 4)
    with pytest.raises(gc.UserError, match="GC0104"):
        apply(nn.Conv2d(2, 3, 3, padding="some", rng=0), x)


@pytest.mark.parametrize("padding", [1, ((2, 0), (0, 2))])
def test_transposed_convolution_is_the_adjoint(padding, rng):
    x = rng.normal(size=(2, 3, 7, 6)).astype(np.float32)
    w = rng.normal(size=(4, 3, 3, 2)).astype(np.float32)
    options = dict(stride=2, padding=padding)
    y = run(lambda x, w: nn.conv(x, w, **options), x=x, w=w)
    g = rng.normal(size=y.shape).astype(np.float32)
    # 6 = (4-1)*2 - 2*1 + 2, and 7 = (4-1)*2 - 2*1 + 3
    back = run(lambda g, w: nn.conv_transposed(g, w, **options), g=g, w=w)
    assert back.shape == x.shape
    assert (y * g).sum() == pytest.approx((x * back).sum(), rel=1e-3)


def test_flatten_and_embedding(rng):
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    assert_close(apply(nn.Flatten(), x), x.reshape(2, 12))
    table = nn.Embedding(5, 3, rng=0)
    rows = np.array([[4, 0], [1, 4]])
    assert_close(apply(table, rows), gc.value(table.weight)[rows])
    i = gc.input("i", (3,), "int64")
    loss = (table(i) ** 2).sum()
    assert gc.check_grad(loss, table.weight, {i: np.array([1, 1, 4])})


def test_a_convolution_names_the_users_shapes():
    x = gc.input("x", ("n", 4, 8, 8))
    said = r"f32\[n,4,8,8\] has 4 channels, the weight f32\[6,3,3,3\] wants 3"
    with pytest.raises(gc.UserError, match=said) as caught:
        nn.Conv2d(3, 6, 3)(x)
    assert "x: f32[n,4,8,8]" in str(caught.value)
    with pytest.raises(gc.UserError, match=r"the weight .* wants 5"):
        nn.conv_transposed(x, np.zeros((5, 2, 3, 3)))
    with pytest.raises(gc.UserError, match="GC0102"):
        nn.Conv2d(4, 6, 3)(x.astype("float64"))


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        (nn.ConvTranspose1d, (5,), {"stride": 2, "padding": 1}),
        (nn.ConvTranspose2d, (3, 4), {"stride": (2, 1), "dilation": 2, "groups": 2}),
        (nn.ConvTranspose2d, (3, 4), {"stride": 3, "output_padding": (2, 1), "padding": 2}),
        (nn.ConvTranspose3d, (2, 3, 2), {"stride": 2, "bias": False}),
    ],
)
def test_transposed_convolution_spreads_what_it_reads(kind, size, options, rng):
    """By definition: every input adds its filters to the outputs that lie before it."""

    def several(name, default):
        value = options.get(name, default)
        return (value,) * len(size) if isinstance(value, int) else value

    layer = kind(4, 6, 3, rng=1, **options)
    x = rng.normal(size=(2, 4, *size)).astype(np.float32)
    w, groups = gc.value(layer.weight), options.get("groups", 1)
    stride, dilation, padding = several("stride", 1), several("dilation", 1), several("padding", 0)
    wide = [
        (n - 1) * s + d * 2 + 1 + extra
        for n, s, d, extra in zip(size, stride, dilation, several("output_padding", 0), strict=True)
    ]
    y = np.zeros((2, 6, *wide))
    for c, *place in np.ndindex(4, *size):
        outs = slice(c // (4 // groups) * (6 // groups), (c // (4 // groups) + 1) * (6 // groups))
        axes = zip(place, stride, dilation, strict=True)
        window = tuple(slice(p * s, p * s + 2 * d + 1, d) for p, s, d in axes)
        value = x[(slice(None), c, *place)].reshape(2, 1, *[1] * len(size))
        y[(slice(None), outs, *window)] += value * w[c]
    inside = tuple(slice(p, n - p) for p, n in zip(padding, wide, strict=True))
    y = y[(..., *inside)]
    if layer.bias is not None:
        y += gc.value(layer.bias).reshape(6, *[1] * len(size))
    assert_close(apply(layer, x), y.astype(np.float32), atol=1e-5)
    check_gradients(layer, rng, rng.normal(size=(1, 4, *size)))


def test_bilinear(rng):
    layer = nn.Bilinear(3, 4, 5, rng=0)
    a, b = (rng.normal(size=(2, 6, n)).astype(np.float32) for n in (3, 4))
    w, bias = gc.value(layer.weight), gc.value(layer.bias)
    assert w.shape == (5, 3, 4)
    expected = np.einsum("...i,kij,...j->...k", a, w, b) + bias
    assert_close(run(layer, a=a, b=b), expected, atol=1e-5)
    check_gradients(layer, rng, rng.normal(size=(2, 3)), rng.normal(size=(2, 4)))
    empty = run(layer, a=np.zeros((0, 3), "f"), b=np.zeros((0, 4), "f"))
    assert empty.shape == (0, 5)


def test_residual_adds_what_its_layers_make(rng):
    layer = nn.Residual(nn.Linear(3, 5, rng=0), nn.Identity(), nn.Linear(5, 3, rng=1))
    assert list(layer.named_state()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    x = rng.normal(size=(2, 3)).astype(np.float32)
    inner = nn.Sequential(*layer.layers)
    assert_close(apply(layer, x), x + apply(inner, x))
    with pytest.raises(gc.UserError, match="GC0101"):
        nn.Residual(nn.Linear(3, 4))(gc.zeros((2, 3)))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 2, (1, 2), ((2, 0), (0, 1)), "same"])
def test_what_stands_in_the_padding(mode, padding, rng):
    x = rng.normal(size=(2, 2, 5, 4)).astype(np.float32)
    layer = nn.Conv2d(2, 3, (3, 2), padding=padding, dilation=(1, 2), padding_mode=mode, rng=0)
    plain = nn.Conv2d(2, 3, (3, 2), dilation=(1, 2), rng=0)
    widths = {0: ((0, 0), (0, 0)), 2: ((2, 2), (2, 2)), (1, 2): ((1, 1), (2, 2))}
    around = {"same": ((1, 1), (1, 1))} | widths
    names = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    padded = np.pad(x, [(0, 0), (0, 0), *around.get(padding, padding)], names[mode])
    assert_close(run(layer, x=x), run(plain, x=padded), atol=1e-5)


def test_wrong_padding_modes():
    with pytest.raises(gc.UserError, match="GC0104"):
        nn.Conv1d(2, 3, 3, padding_mode="symmetric")
    with pytest.raises(gc.UserError, match="GC0103"):
        nn.Conv1d(2, 3, 3, padding=1, padding_mode="reflect")(gc.zeros((2, 4)))
