"""Layers against straightforward NumPy, and their gradients against differences."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run


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


def pooled(x, window, stride, padding, function, outside):
    around = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    x = np.pad(x, around, constant_values=outside)
    sizes = [(n - window) // stride + 1 for n in x.shape[2:]]
    y = np.zeros((*x.shape[:2], *sizes), np.float32)
    for i, j in np.ndindex(*sizes):
        part = x[:, :, i * stride : i * stride + window, j * stride : j * stride + window]
        y[:, :, i, j] = function(part, axis=(2, 3))
    return y


def apply(layer, x):
    return run(layer, x=x)


def check_gradients(layer, shape, rng, dtype="float32"):
    """The gradients by the input and every parameter agree with differences."""
    x = gc.input("x", shape, dtype)
    y = layer(x)
    loss = (y * rng.normal(size=y.shape)).sum()
    report = gc.check_grad(loss, [x, *layer.parameters()], {x: rng.normal(size=shape)})
    assert report, report


def test_linear(rng):
    layer = nn.Linear(4, 3, rng=0)
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    w, b = gc.value(layer.weight), gc.value(layer.bias)
    assert w.shape == (3, 4)
    assert np.abs(w).max() <= 0.5
    assert_close(apply(layer, x), x @ w.T + b)
    assert_close(apply(nn.Linear(4, 3, bias=False, rng=0), x), x @ w.T)
    check_gradients(layer, (2, 4), rng)


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
    check_gradients(nn.Conv2d(2, 2, 2, stride=2, padding=1, groups=2, rng=0), (1, 2, 4, 3), rng)


def test_same_padding_keeps_the_size(rng):
    x = rng.normal(size=(1, 2, 5, 6)).astype(np.float32)
    assert apply(nn.Conv2d(2, 3, (2, 3), padding="same", rng=0), x).shape == (1, 3, 5, 6)
    assert apply(nn.Conv2d(2, 3, 3, padding="valid", rng=0), x).shape == (1, 3, 3, 4)
    with pytest.raises(gc.UserError, match="GC0104"):
        apply(nn.Conv2d(2, 3, 3, padding="some", rng=0), x)


def test_transposed_convolution_is_the_adjoint(rng):
    x = rng.normal(size=(2, 3, 7, 6)).astype(np.float32)
    w = rng.normal(size=(4, 3, 3, 2)).astype(np.float32)
    options = dict(stride=2, padding=1)
    y = run(lambda x, w: nn.conv(x, w, **options), x=x, w=w)
    g = rng.normal(size=y.shape).astype(np.float32)
    # 6 = (4-1)*2 - 2*1 + 2, and 7 = (4-1)*2 - 2*1 + 3
    back = run(lambda g, w: nn.conv_transposed(g, w, **options), g=g, w=w)
    assert back.shape == x.shape
    assert (y * g).sum() == pytest.approx((x * back).sum(), rel=1e-3)


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, None, 0), (3, 2, 1), (2, 1, 0)])
def test_pooling(window, stride, padding, rng):
    x = rng.normal(size=(2, 3, 6, 7)).astype(np.float32)
    step = stride or window
    largest = pooled(x, window, step, padding, np.max, -np.inf)
    assert_close(apply(nn.MaxPool2d(window, stride, padding), x), largest)
    assert_close(
        apply(nn.AvgPool2d(window, stride, padding), x),
        pooled(x, window, step, padding, np.mean, 0),
    )
    check_gradients(nn.MaxPool2d(window, stride, padding), (1, 2, 4, 5), rng)
    check_gradients(nn.AvgPool2d(window, stride, padding), (1, 2, 4, 5), rng)


def test_flatten_and_embedding(rng):
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    assert_close(apply(nn.Flatten(), x), x.reshape(2, 12))
    table = nn.Embedding(5, 3, rng=0)
    rows = np.array([[4, 0], [1, 4]])
    assert_close(apply(table, rows), gc.value(table.weight)[rows])
    i = gc.input("i", (3,), "int64")
    loss = (table(i) ** 2).sum()
    assert gc.check_grad(loss, table.weight, {i: np.array([1, 1, 4])})


def test_activations_are_the_functions_of_their_name(rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    for kind, function in {
        nn.ReLU: gc.relu,
        nn.Tanh: gc.tanh,
        nn.Sigmoid: gc.sigmoid,
        nn.SiLU: gc.silu,
        nn.GELU: gc.gelu,
        nn.LeakyReLU: gc.leaky_relu,
        nn.Softmax: gc.softmax,
    }.items():
        assert_close(apply(kind(), x), run(function, x=x))


def test_layer_norm(rng):
    layer = nn.LayerNorm((3, 4))
    x = rng.normal(2, 3, size=(2, 3, 4)).astype(np.float32)
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    assert_close(apply(layer, x), (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    check_gradients(layer, (2, 3, 4), rng)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.BatchNorm1d(3), (5, 3)), (nn.BatchNorm2d(3), (4, 3, 2, 5))]
)
def test_batch_norm_and_its_running_statistics(layer, shape, rng):
    axes = (0, *range(2, len(shape)))
    x = gc.input("x", shape)
    step = gc.compile([x], layer(x), layer.updates(), backend="numpy")
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        a = rng.normal(1, 2, shape).astype(np.float32)
        m, v = a.mean(axes, keepdims=True), a.var(axes, keepdims=True)
        assert_close(step(a), (a - m) / np.sqrt(v + 1e-5), atol=1e-5)
        mean = 0.9 * mean + 0.1 * m.ravel()
        var = 0.9 * var + 0.1 * a.var(axes, ddof=1)
    assert_close(gc.value(layer.running_mean), mean.astype("f"))
    assert_close(gc.value(layer.running_var), var.astype("f"))
    recorded = layer.updates()
    layer.eval()
    column = (3, *[1] * (len(shape) - 2))
    expected = (a - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-5)
    assert_close(apply(layer, a), expected.astype("f"), atol=1e-5)
    assert layer.updates() == recorded
    layer.train()
    check_gradients(layer, shape, rng)


def test_batch_norm_wants_its_axes():
    with pytest.raises(gc.UserError, match="GC0103"):
        nn.BatchNorm2d(3)(gc.zeros((2, 3)))


def test_dropout_is_new_at_every_call_and_off_in_eval(rng):
    layer = nn.Dropout(0.25, seed=3)
    x = gc.input("x", (40, 50))
    f = gc.compile([x], layer(x), backend="numpy")
    a = np.ones((40, 50), np.float32)
    first, second = f(a), f(a)
    assert (first != second).any()
    assert set(np.unique(first)) == {np.float32(0), np.float32(4 / 3)}
    # three standard errors of a mean of 2000 coins
    assert abs((first == 0).mean() - 0.25) < 3 * (0.25 * 0.75 / 2000) ** 0.5
    assert_close(apply(layer.eval(), a), a)
    with pytest.raises(gc.UserError, match="GC0104"):
        nn.Dropout(1.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, cell, h, c):
    w, u, bi, bh = (gc.value(p) for p in cell.parameters())
    outputs = []
    for step in x:
        i, f, g, o = np.split(step @ w.T + bi + h @ u.T + bh, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def test_lstm(rng):
    layer = nn.LSTM(3, 4, layers=2, rng=0)
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    zeros = np.zeros((2, 4), np.float32)
    first, h0, c0 = lstm(x, layer.cells[0], zeros, zeros)
    second, h1, c1 = lstm(first, layer.cells[1], zeros, zeros)
    outputs, state = apply(layer, x)
    assert_close(outputs, second, atol=1e-5)
    for ours, numpys in zip([v for pair in state for v in pair], [h0, c0, h1, c1], strict=True):
        assert_close(ours, numpys, atol=1e-5)
    # the second half from the state of the first gives the same as both at once
    later = run(lambda a, b: layer(b, layer(a)[1])[0], a=x[:2], b=x[2:])
    assert_close(later, second[2:], atol=1e-5)
    with pytest.raises(gc.UserError, match="GC0104"):
        layer(gc.input("x", ("time", 2, 3)))


def test_gradients_of_lstm(rng):
    cell = nn.LSTMCell(2, 2, rng=0)
    x = gc.input("x", (1, 2))
    h, c = cell(x, cell(x, (gc.zeros((1, 2)), gc.zeros((1, 2)))))
    assert gc.check_grad((h * c).sum(), [x, *cell.parameters()], {x: rng.normal(size=(1, 2))})


def test_initialisers_have_their_variance():
    rng = np.random.default_rng(0)
    shape = (200, 50, 3, 3)
    fan_in, fan_out = 450, 1800
    for make, variance in {
        nn.init.fan_in_uniform: 1 / (3 * fan_in),
        nn.init.glorot_uniform: 2 / (fan_in + fan_out),
        nn.init.glorot_normal: 2 / (fan_in + fan_out),
        nn.init.he_uniform: 2 / fan_in,
        nn.init.he_normal: 2 / fan_in,
        nn.init.uniform(0.3): 0.03,
        nn.init.normal(0.3): 0.09,
        nn.init.constant(2): 0,
    }.items():
        weights = make(rng, shape)
        assert weights.dtype == np.float32
        assert weights.var() == pytest.approx(variance, rel=0.03)


def test_the_default_generator_repeats_after_seed():
    def weights():
        nn.seed(5)
        return [gc.value(nn.Linear(3, 3).weight) for _ in range(2)]

    first, second = weights(), weights()
    assert (first[0] == second[0]).all()
    assert (first[0] != first[1]).any()


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
