"""`graphc.linalg` against NumPy, and its identities."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError

BACKENDS = ("numpy", "llvm")


def call(backend: str, function, *arrays):
    inputs = [gc.input(f"x{k}", a.shape, str(a.dtype)) for k, a in enumerate(arrays)]
    found = function(*inputs)
    outputs = list(found) if isinstance(found, tuple) else [found]
    return gc.compile(inputs, outputs, backend=backend)(*arrays)


def matrices(rng, *shape):
    return rng.standard_normal(shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lead", [(), (2,), (0,), (2, 3)])
def test_against_numpy(backend, lead, rng):
    a, b = matrices(rng, *lead, 4, 4) + 5 * np.eye(4), matrices(rng, *lead, 4, 2)
    tall = matrices(rng, *lead, 5, 3)
    for ours, wanted in (
        (call(backend, gc.linalg.inv, a), [np.linalg.inv(a)]),
        (call(backend, gc.linalg.solve, a, b), [np.linalg.solve(a, b)]),
        (call(backend, gc.linalg.det, a), [np.linalg.det(a)]),
        (call(backend, gc.linalg.slogdet, a), np.linalg.slogdet(a)),
        (call(backend, gc.linalg.svdvals, tall), [np.linalg.svd(tall, compute_uv=False)]),
        (call(backend, gc.linalg.pinv, tall), [np.linalg.pinv(tall)]),
        (call(backend, gc.linalg.trace, a), [np.trace(a, axis1=-2, axis2=-1)]),
        (
            call(backend, lambda x: gc.linalg.diagonal(x, offset=-1), tall),
            [np.diagonal(tall, -1, -2, -1)],
        ),
        (
            call(backend, lambda x: gc.linalg.matrix_power(x, -3), a),
            [np.linalg.matrix_power(a, -3)],
        ),
    ):
        for found, value in zip(ours, wanted, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_decompositions_multiply_to_what_they_decompose(backend, rng):
    x = matrices(rng, 2, 5, 3)
    q, r = call(backend, gc.linalg.qr, x)
    np.testing.assert_allclose(q @ r, x, atol=1e-12)
    np.testing.assert_array_equal(r, np.triu(r))
    u, s, vh = call(backend, gc.linalg.svd, x)
    np.testing.assert_allclose((u * s[..., None, :]) @ vh, x, atol=1e-12)
    square = x.swapaxes(-1, -2) @ x
    values, vectors = call(backend, gc.linalg.eigh, square)
    np.testing.assert_allclose(
        (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2), square, atol=1e-12
    )
    factor, upper = call(
        backend, lambda a: (gc.linalg.cholesky(a), gc.linalg.cholesky(a, upper=True)), square
    )
    np.testing.assert_allclose(factor @ upper, square, atol=1e-12)


@pytest.mark.parametrize("ord", [0, 1, 2, 3.5, np.inf, -np.inf])
def test_vector_norms(ord, rng):
    x = matrices(rng, 3, 4)
    (found,) = call("llvm", lambda a: gc.linalg.vector_norm(a, 1, ord=ord), x)
    np.testing.assert_allclose(found, np.linalg.norm(x, ord, 1))


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norms(ord, rng):
    x = matrices(rng, 3, 4)
    (found,) = call("llvm", lambda a: gc.linalg.matrix_norm(a, ord=ord, keepdims=True), x)
    np.testing.assert_allclose(found, np.linalg.norm(x, ord, keepdims=True))


def test_leading_axes_broadcast_and_vectors_are_columns(rng):
    a, b, v = matrices(rng, 3, 3), matrices(rng, 2, 3, 4), matrices(rng, 3)
    (found,) = call("llvm", gc.linalg.solve, a, b)
    np.testing.assert_allclose(found, np.linalg.solve(a, b), rtol=1e-9)
    (found,) = call("llvm", gc.linalg.solve, a, v)
    np.testing.assert_allclose(found, np.linalg.solve(a, v), rtol=1e-9)
    (found,) = call("llvm", lambda x, y: gc.linalg.solve_triangular(x, y, lower=False), a, v)
    np.testing.assert_allclose(found, np.linalg.solve(np.triu(a), v), rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_singular_matrix_is_an_error_at_the_users_line(backend):
    x = gc.input("x", (2, 2))
    f = gc.compile([x], gc.linalg.inv(x), backend=backend)
    with pytest.raises(UserError, match=r"GC0308.*inverse") as caught:
        f(np.ones((2, 2), np.float32))
    assert "test_linalg" in str(caught.value)
    found = f(2 * np.eye(2, dtype=np.float32))  # and the next call works
    np.testing.assert_allclose(found, np.eye(2) / 2)


def test_what_is_no_square_matrix_is_refused():
    with pytest.raises(UserError, match=r"(?s)GC0103.*square"):
        gc.linalg.inv(gc.input("x", (2, 3)))
    with pytest.raises(UserError, match=r"GC0103"):
        gc.linalg.svd(gc.input("x", (3,)))
    with pytest.raises(UserError, match=r"GC0103"):
        gc.linalg.cholesky(gc.input("x", (3, 3), "int32"))


def test_results_of_one_call_are_computed_together():
    x = gc.input("x", (4, 4))
    f = gc.compile([x], list(gc.linalg.svd(x)))
    assert sum(kernel.call is not None for kernel in f.kernels) == 1
    f(np.eye(4, dtype=np.float32))
    assert "svd" in f.source("kernels")
    assert "a library computes it" in f.source("loops")
