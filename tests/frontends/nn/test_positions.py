"""Positional encodings against their formulas."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def sinusoids(length, features, base=10000.0):
    table = np.zeros((length, features))
    for p, k in np.ndindex(length, features):
        angle = p * base ** (-(k - k % 2) / features)
        table[p, k] = np.cos(angle) if k % 2 else np.sin(angle)
    return table


@pytest.mark.parametrize(("length", "features"), [(5, 8), (4, 3), (0, 4), (3, 1)])
def test_sinusoids(length, features):
    table = run(nn.sinusoidal_positions(length, features))
    assert_close(table, sinusoids(length, features).astype("f"))
    wide = run(nn.sinusoidal_positions(length, features, 100.0, "float64"))
    assert_close(wide, sinusoids(length, features, 100.0), rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -3])
def test_sinusoidal_positions_are_added_along_an_axis(axis, rng):
    x = rng.normal(size=(2, 3, 6)).astype(np.float32)
    table = sinusoids(x.shape[axis], 6).astype("f")
    expected = x + (table[:, None] if axis % 3 == 0 else table)
    layer = nn.SinusoidalPositions(axis)
    assert_close(run(layer, x=x), expected)
    assert not layer.named_state()
    named = gc.input("x", ("n", "time", 6))
    f = gc.compile([named], layer(named), backend="numpy")
    assert_close(f(x), expected)


def test_learned_positions(rng):
    layer = nn.LearnedPositions(5, 4, rng=0)
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    assert_close(run(layer, x=x), x + gc.value(layer.weight)[:3])
    check_gradients(layer, rng, x)
    time_first = nn.LearnedPositions(5, 4, axis=0, rng=0)
    assert_close(
        run(time_first, x=x.swapaxes(0, 1)), (x + gc.value(layer.weight)[:3]).swapaxes(0, 1)
    )
    named = gc.input("x", ("time", 4))
    f = gc.compile([named], layer(named), backend="numpy")
    assert_close(f(x[0]), x[0] + gc.value(layer.weight)[:3])


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("start", [0, 3])
def test_rotary_positions_turn_pairs(start, interleaved, rng):
    x = rng.normal(size=(2, 5, 6))
    pairs = [(2 * k, 2 * k + 1) if interleaved else (k, k + 3) for k in range(3)]
    expected = np.zeros_like(x)
    for p in range(5):
        for k, (a, b) in enumerate(pairs):
            angle = (start + p) * 100.0 ** (-2 * k / 6)
            turned = (x[:, p, a] + 1j * x[:, p, b]) * np.exp(1j * angle)
            expected[:, p, a], expected[:, p, b] = turned.real, turned.imag
    layer = nn.RotaryPositions(base=100.0, interleaved=interleaved)
    assert_close(run(lambda x: layer(x, start), x=x), expected)
    moved = run(lambda x: nn.rotary(x, 0, base=100.0, interleaved=interleaved), x=x.swapaxes(0, 1))
    assert_close(moved, run(layer, x=x).swapaxes(0, 1))
    check_gradients(layer, rng, x)


def test_rotated_products_depend_on_the_distance_alone(rng):
    q, k = rng.normal(size=(2, 1, 8))
    products = [
        run(lambda q, k, s=s: (nn.rotary(q, start=s) * nn.rotary(k, start=s + 4)).sum(), q=q, k=k)
        for s in (0, 7)
    ]
    assert products[0] == pytest.approx(products[1])


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.rotary(gc.zeros((2, 3))), "GC0101"),
        (lambda: nn.rotary(gc.zeros((2, 4)), -1), "GC0104"),
        (lambda: nn.SinusoidalPositions(2)(gc.zeros((2, 4))), "GC0104"),
        (lambda: nn.LearnedPositions(3, 4)(gc.zeros((5, 4))), "GC0104"),
        (lambda: nn.LearnedPositions(3, 4)(gc.zeros((3, 5))), "GC0101"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()
