"""Attention against NumPy: masks of both meanings, heads, gradients."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run

HIDDEN = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
SCORES = np.linspace(-1, 1, 15).reshape(3, 5).astype(np.float32)
PADDING = np.array([[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]], bool)
CAUSAL = np.triu(np.ones((3, 5), bool), 1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attended(q, k, v, added=0, scale=None):
    scores = q @ np.swapaxes(k, -1, -2) * (scale or q.shape[-1] ** -0.5) + added
    weights = softmax(scores)
    return weights @ v, weights


def qkv(rng, *lead, dtype="float32"):
    sizes = [(3, 4), (5, 4), (5, 6)]
    return [rng.normal(size=(*lead, *size)).astype(dtype) for size in sizes]


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({}, 0),
        ({"attn_mask": ~HIDDEN}, np.where(HIDDEN, -np.inf, 0)),
        ({"attn_mask": SCORES}, SCORES),
        ({"attn_mask": np.where(HIDDEN, -np.inf, SCORES)}, np.where(HIDDEN, -np.inf, SCORES)),
        ({"is_causal": True}, np.where(CAUSAL, -np.inf, 0)),
        (
            {"is_causal": True, "attn_mask": ~HIDDEN},
            np.where(CAUSAL | HIDDEN, -np.inf, 0),
        ),
    ],
)
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_scaled_dot_products(options, added, lead, rng):
    arrays = dict(zip("qkv", qkv(rng, *lead), strict=True))

    def ours(q, k, v):
        return nn.scaled_dot_product_attention(q, k, v, **options)

    assert_close(run(ours, **arrays), attended(*arrays.values(), added)[0].astype("f"), atol=1e-5)
    inputs = [gc.input(name, a.shape) for name, a in arrays.items()]
    values = dict(zip(inputs, arrays.values(), strict=True))
    assert gc.check_grad((ours(*inputs) ** 2).sum(), inputs, values)


def test_float64_scale_and_dropout(rng):
    q, k, v = qkv(rng, 2, dtype="float64")

    def ours(q, k, v):
        halved = lambda weights: weights * 0.5  # noqa: E731
        return nn.scaled_dot_product_attention(q, k, v, scale=2.0, dropout=halved)

    assert_close(run(ours, q=q, k=k, v=v), attended(q, k, v, scale=2.0)[0] / 2)


@pytest.mark.parametrize("bools", [True, False])
def test_a_query_that_sees_nothing_gets_zeros_and_no_nan(bools, rng):
    q, k, v = qkv(rng)
    shown = np.ones((3, 5), bool)
    shown[1] = False
    mask = shown if bools else np.where(shown, 0, -np.inf).astype(np.float32)
    inputs = [gc.input(name, a.shape) for name, a in zip("qkv", (q, k, v), strict=True)]
    y = nn.scaled_dot_product_attention(*inputs, mask)
    slopes = gc.grad((y * y).sum(), inputs)
    found, *gradients = gc.compile(inputs, (y, *slopes), backend="numpy")(q, k, v)
    assert_close(found[[0, 2]], attended(q, k, v)[0][[0, 2]], atol=1e-5)
    assert not found[1].any()
    assert all(np.isfinite(g).all() for g in gradients)
    assert not gradients[0][1].any()


def heads(x, count):
    return x.reshape(*x.shape[:-1], count, -1).swapaxes(-2, -3)


def multi_head(layer, q, k, v, added=0):
    """``[n, L, features]`` in, output and weights of every head out."""
    features = q.shape[-1]
    if layer.together:
        weights = np.split(gc.value(layer.in_proj_weight), 3)
    else:
        weights = [gc.value(getattr(layer, f"{part}_proj_weight")) for part in "qkv"]
    biases = np.split(gc.value(layer.in_proj_bias), 3)
    parts = [
        heads(x @ w.T + b, layer.heads) for x, w, b in zip((q, k, v), weights, biases, strict=True)
    ]
    mixed, weights = attended(*parts, added)
    joined = mixed.swapaxes(-2, -3).reshape(*q.shape[:-1], features)
    out = layer.out_proj
    return joined @ gc.value(out.weight).T + gc.value(out.bias), weights


def disturbed(layer, rng):
    for p in layer.parameters():
        gc.assign(p, rng.normal(size=p.shape) * 0.5)
    return layer


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("sizes", [(8, 8), (3, 5)])
def test_multi_head_attention(sizes, batch_first, rng):
    options = {"key_features": sizes[0], "value_features": sizes[1], "batch_first": batch_first}
    layer = disturbed(nn.MultiHeadAttention(8, 4, **options), rng)
    shapes = [(2, 3, 8), (2, 5, sizes[0]), (2, 5, sizes[1])]
    q, k, v = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    added = np.where(HIDDEN | PADDING[:, None, None], -np.inf, 0)
    expected, weights = multi_head(layer, q, k, v, added)

    def ours(q, k, v):
        each = (q, k, v) if batch_first else (gc.swapaxes(x, 0, 1) for x in (q, k, v))
        y, seen = layer(*each, PADDING, HIDDEN)
        return y if batch_first else gc.swapaxes(y, 0, 1), seen

    found, seen = run(ours, q=q, k=k, v=v)
    assert_close(found, expected.astype("f"), atol=1e-5)
    assert_close(seen, weights.mean(1).astype("f"), atol=1e-5)


def test_masks_of_floats_of_heads_and_of_one_sequence(rng):
    layer = disturbed(nn.MultiHeadAttention(8, 2, batch_first=True), rng)
    q, k = (rng.normal(size=(2, n, 8)).astype(np.float32) for n in (3, 5))
    mixed = SCORES + np.where(PADDING[:, None, None], -np.inf, 0)
    by_head = np.stack([HIDDEN, CAUSAL, HIDDEN[:, ::-1], HIDDEN | CAUSAL])
    for padding, mask, added in [
        (PADDING, SCORES, mixed),
        (None, by_head, np.where(by_head.reshape(2, 2, 3, 5), -np.inf, 0)),
    ]:
        expected, weights = multi_head(layer, q, k, k, added)
        found, seen = run(
            lambda q, k, p=padding, m=mask: layer(q, k, k, p, m, average_attn_weights=False),
            q=q,
            k=k,
        )
        assert_close(found, expected.astype("f"), atol=1e-5)
        assert_close(seen, weights.astype("f"), atol=1e-5)
    one = run(lambda q, k: layer(q, k, k, PADDING[0])[0], q=q[0], k=k[0])
    added = np.where(PADDING[0], -np.inf, 0)
    assert_close(one, multi_head(layer, q[0], k[0], k[0], added)[0].astype("f"), atol=1e-5)


def test_attention_of_a_sequence_to_itself_is_one_product(rng):
    layer = disturbed(nn.MultiHeadAttention(8, 4, rng=0), rng)
    x = rng.normal(size=(3, 2, 8)).astype(np.float32)
    together = run(lambda x: layer(x, x, x, is_causal=True)[0], x=x)
    apart = run(lambda x, y: layer(x, y, y, is_causal=True)[0], x=x, y=x)
    assert_close(together, apart, atol=1e-5)
    check_gradients(_Itself(layer), rng, x)


class _Itself(nn.Module):
    def __init__(self, attention):
        self.attention = attention

    def forward(self, x):
        return self.attention(x, x, x, is_causal=True)[0]


def test_names_and_start_values():
    layer = nn.MultiHeadAttention(8, 2, rng=0)
    shapes = {name: p.shape for name, p in layer.named_state().items()}
    assert shapes == {
        "in_proj_weight": (24, 8),
        "in_proj_bias": (24,),
        "out_proj.weight": (8, 8),
        "out_proj.bias": (8,),
    }
    assert np.abs(gc.value(layer.in_proj_weight)).max() <= (6 / 32) ** 0.5
    assert not gc.value(layer.in_proj_bias).any()
    assert not gc.value(layer.out_proj.bias).any()
    plain = nn.MultiHeadAttention(8, 2, bias=False, key_features=3)
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    assert list(plain.named_state()) == names
    assert nn.MultiheadAttention is nn.MultiHeadAttention


def test_dropout_of_weights(rng):
    layer = nn.MultiHeadAttention(8, 2, 0.5, rng=0)
    x = gc.input("x", (6, 1, 8))
    step = gc.compile([x], layer(x, x, x)[0], backend="numpy")
    array = rng.normal(size=(6, 1, 8)).astype(np.float32)
    assert (step(array) != step(array)).any()
    layer.load_state_dict({k: a for k, a in layer.state_dict().items() if "random" not in k})


def test_named_sizes(rng):
    x = gc.input("x", ("n", "time", 8))
    layer = nn.MultiHeadAttention(8, 2, batch_first=True, rng=0)
    f = gc.compile([x], layer(x, x, x, is_causal=True)[0], backend="numpy")
    array = rng.normal(size=(2, 3, 8)).astype(np.float32)
    expected, _ = multi_head(layer, array, array, array, np.where(CAUSAL[:, :3], -np.inf, 0))
    assert_close(f(array), expected.astype("f"), atol=1e-5)
    assert f(array[:, :0]).shape == (2, 0, 8)


def _attention(*sizes, mask=None):
    return nn.scaled_dot_product_attention(*(gc.zeros(size) for size in sizes), mask)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.MultiHeadAttention(8, 3), "GC0104"),
        (lambda: _attention(4, (5, 4), (5, 4)), "GC0103"),
        (lambda: _attention((3, 4), (5, 3), (5, 4)), "GC0101"),
        (lambda: _attention((3, 4), (5, 4), (5, 4), mask=np.ones((3, 5), int)), "GC0102"),
        (lambda: _attention((3, 4), (5, 4), (5, 4), mask=np.ones((3, 4), bool)), "GC0101"),
        (lambda: _attention((3, "d"), (5, "d"), (5, "d")), "GC0104"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_heads_of_keys_that_several_queries_share(heads, masked, rng):
    query = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    key = rng.normal(size=(2, heads, 5, 3)).astype(np.float32)
    value = rng.normal(size=(2, heads, 5, 2)).astype(np.float32)
    mask = rng.random((6, 4, 5)) < 0.7 if masked else None

    def attention(shared):
        return lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, mask, enable_gqa=shared)

    copies = [np.repeat(x, 6 // heads, 1) for x in (key, value)]
    found = run(attention(True), q=query, k=key, v=value)
    assert_close(found, run(attention(False), q=query, k=copies[0], v=copies[1]))
    assert found.shape == (2, 6, 4, 2)


@pytest.mark.parametrize(("shape", "code"), [((4, 5, 3), "GC0104"), ((5, 3), "GC0103")])
def test_heads_that_cannot_be_shared(shape, code):
    with pytest.raises(gc.UserError, match=code):
        nn.scaled_dot_product_attention(
            gc.zeros((6, 5, 3)), gc.zeros(shape), gc.zeros(shape), enable_gqa=True
        )
