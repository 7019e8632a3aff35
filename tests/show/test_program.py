"""Kernels as text and as hulls in a drawing."""

import numpy as np
import pytest

import graphc as gc
from graphc import UserError


def step():
    x = gc.input("x", ("n", 6))
    w = gc.param(np.ones((6, 4)), name="w")
    h = gc.tanh(x @ w)
    loss = gc.sum(h * h)
    return gc.compile([x], loss, {w: w - 0.1 * gc.grad(loss, [w])[0]}, sizes={"n": 3})


def test_kernels_speak_the_users_names_and_name_shared_values_once():
    text = step().source("kernels")
    assert "for i < 3, j < 4:" in text
    assert "tanh(sum(x[i, k] * w[k, j] for k < 6))" in text
    assert text.count("x[i, k] * w[k, j]") == 1
    assert "w[i, j] = w[i, j] - " in text
    assert "memory: " in text


def test_signs_of_offsets_are_written_as_signs():
    x = gc.input("x", (5,))
    f = gc.compile([x], gc.pad(x, [(2, 0)]) + x.sum())
    assert "x[i - 2]" in f.source("kernels")
    assert "+ -" not in f.source("kernels")


def test_the_drawing_of_a_compiled_function_has_its_kernels_as_hulls():
    made = step()
    drawn = made.draw()
    for number in range(len(made.kernels)):
        assert f"kernel {number}" in drawn.svg
    assert "kernel 0" not in made.draw(kernels=False).svg


def test_nothing_is_drawn_before_sizes_are_known():
    x = gc.input("x", ("n",))
    with pytest.raises(UserError, match="GC0305"):
        gc.compile([x], x + 1).draw()


def test_the_numpy_backend_draws_without_kernels():
    x = gc.input("x", (2,))
    made = gc.compile([x], x + 1, backend="numpy")
    assert "kernel 0" not in made.draw().svg


def test_every_edge_that_was_not_fused_says_why():
    made = step()
    text = made.source("fusion")
    assert len(text.splitlines()) == len(made.program.refusals) > 0
    assert "-> " in text
    assert ": " in text


def test_an_unknown_text_names_the_known_ones():
    with pytest.raises(UserError, match="fusion, loops, llvm, asm"):
        step().source("ptx")
