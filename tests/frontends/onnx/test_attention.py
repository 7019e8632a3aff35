"""Attention: shared heads, caches, masks; rotary positions; against the definition."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from onnx_text import model, run, run_everywhere

QUERY = "float[2,4,3,8] q, float[2,2,5,8] k, float[2,2,5,6] v"


def attended(q, k, v, seen, added=0.0, cap=0.0):
    """Attention by its definition; one head of keys for several of queries; zeros for nothing."""
    k, v = (x.repeat(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores = cap * np.tanh(scores / cap) if cap else scores
    powers = np.where(seen, np.exp(scores + added), 0)
    total = powers.sum(-1, keepdims=True)
    return powers / np.where(total == 0, 1, total) @ v


def heads(rng, queries=3, keys=5):
    shapes = (2, 4, queries, 8), (2, 2, keys, 8), (2, 2, keys, 6)
    return [rng.normal(size=s).astype("f") for s in shapes]


def test_heads_of_queries_share_keys_and_may_be_capped(rng):
    q, k, v = heads(rng)
    (y,) = run_everywhere(QUERY, "y = Attention<softcap=0.5>(q, k, v)", q, k, v, version=23)
    np.testing.assert_allclose(y, attended(q, k, v, True, cap=0.5), rtol=1e-4, atol=1e-5)


def test_heads_side_by_side(rng):
    q, k, v = heads(rng)
    flat = [x.swapaxes(1, 2).reshape(2, x.shape[2], -1) for x in (q, k, v)]
    body = "y = Attention<q_num_heads=4, kv_num_heads=2>(q, k, v)"
    (y,) = run("float[2,3,32] q, float[2,5,16] k, float[2,5,12] v", body, *flat, version=23)
    wanted = attended(q, k, v, True).swapaxes(1, 2).reshape(2, 3, -1)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("past", [0, 3])
def test_a_causal_cache_counts_places_from_its_beginning(past, rng):
    q, k, v = heads(rng)
    pk, pv = (rng.normal(size=(2, 2, past, n)).astype("f") for n in (8, 6))
    typed = f"{QUERY}, float[2,2,{past},8] pk, float[2,2,{past},6] pv"
    body = "y, key, value = Attention<is_causal=1>(q, k, v, , pk, pv)"
    found = run_everywhere(typed, body, q, k, v, pk, pv, version=23, outputs="y key value")
    k, v = np.concatenate([pk, k], 2), np.concatenate([pv, v], 2)
    seen = np.arange(5 + past) <= np.arange(3)[:, None] + past
    for one, other in zip(found, (attended(q, k, v, seen), k, v), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_cache_filled_outside_and_windows(rng):
    q, k, v = heads(rng)
    filled = np.array([5, 2])
    body = "y = Attention<left_window_size=1, right_window_size=0>(q, k, v, , , , n)"
    (y,) = run_everywhere(f"{QUERY}, int64[2] n", body, q, k, v, filled, version=25)
    place = (np.arange(3) + filled[:, None] - 3)[:, None, :, None]
    key = np.arange(5)
    seen = (key <= place) & (key >= place - 1) & (key < filled[:, None, None, None])
    np.testing.assert_allclose(y, attended(q, k, v, seen), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_may_end_early(kind, rng):
    q, k, v = heads(rng)
    mask = rng.normal(size=(3, 4)).astype("f")
    given = mask > 0 if kind == "bool" else mask
    (y,) = run_everywhere(
        f"{QUERY}, {kind}[3,4] m", "y = Attention(q, k, v, m)", q, k, v, given, version=23
    )
    seen = np.pad(given > 0 if kind == "bool" else np.ones((3, 4), bool), [(0, 0), (0, 1)])
    added = 0.0 if kind == "bool" else np.pad(mask, [(0, 0), (0, 1)])
    np.testing.assert_allclose(y, attended(q, k, v, seen, added), rtol=1e-4, atol=1e-5)


def test_what_sees_nothing_is_zero_with_a_finite_gradient():
    attention = model(f"{QUERY}, bool[3,5] m", "y = Attention(q, k, v, m)", version=23)
    shapes = {"q": (2, 4, 3, 8), "k": (2, 2, 5, 8), "v": (2, 2, 5, 6)}
    q, k, v = (gc.input(name, shape) for name, shape in shapes.items())
    y = attention(q, k, v, gc.constant(np.arange(15).reshape(3, 5) >= 5))
    ones = [np.ones(x.shape, np.float32) for x in (q, k, v)]
    function = gc.compile([q, k, v], [y, *gc.grad(y.sum(), [q, k, v])], backend="numpy")
    found, *slopes = function(*ones)
    assert not found[:, :, 0].any()
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_heads_need_a_number():
    attention = model("float[2,3,8] q", "y = Attention(q, q, q)", version=23)
    with pytest.raises(UserError, match="GC0104"):
        attention(*attention.symbolic_inputs({}))


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
def test_turning_back_gives_the_same(interleaved, turned, rng):
    x = rng.normal(size=(2, 3, 16)).astype("f")
    angles = rng.normal(size=(7, (turned or 8) // 2))
    ids = np.array([[0, 3, 6], [1, 1, 2]])
    options = f"num_heads=2, interleaved={interleaved}, rotary_embedding_dim={turned}"
    body = (
        f"z = RotaryEmbedding<{options}>(x, c, s, i) n = Neg(s)"
        f"y = RotaryEmbedding<{options}>(z, c, n, i)"
    )
    size = angles.shape[1]
    typed = f"float[2,3,16] x, float[7,{size}] c, float[7,{size}] s, int64[2,3] i"
    tables = [f(angles).astype("f") for f in (np.cos, np.sin)]
    z, y = run_everywhere(typed, body, x, *tables, ids, version=23, outputs="z y")
    np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5)
    assert not np.allclose(z[..., : turned or 8], x[..., : turned or 8])


def test_gradients(rng):
    shapes = {"q": (1, 2, 2, 4), "k": (1, 1, 3, 4), "v": (1, 1, 3, 2), "m": (2, 3)}
    typed = ", ".join(f"float[{','.join(map(str, s))}] {n}" for n, s in shapes.items())
    xs = [gc.input(n, s) for n, s in shapes.items()]
    y = model(typed, "y = Attention<softcap=2.0>(q, k, v, m)", version=23)(*xs)
    report = gc.check_grad(
        (y * rng.normal(size=y.shape)).sum(), xs, {x: rng.normal(size=x.shape) for x in xs}
    )
    assert report, report
