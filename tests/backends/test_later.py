"""Calls that do not wait, and arrays of other libraries: the same on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.dlpack import CUDA
from graphc.errors import UserError
from graphc.types import DTYPES
from lending import Owner

BACKENDS = ("numpy", "llvm", "cuda-sim")


def training(backend: str):
    """A step whose loss is the sum of a counter and its input; results are nested."""
    x, count = gc.input("x", ("n",)), gc.param(np.zeros(()), name="count")
    outputs = {"loss": (x + count).sum(), "rows": (x * 2, x + count)}
    return gc.compile([x], outputs, {count: count + 1}, backend=backend), count


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_of_many_calls_are_kept(backend):
    step, count = training(backend)
    x = np.arange(3, dtype=np.float32)
    asked = [step.later(x) if k % 2 else step.later(x=x) for k in range(5)]
    x[:] = -1  # it was read when the call returned
    for k in (3, 0, 4, 1, 2):
        assert float(asked[k]["loss"]) == 3 + 3 * k
        twice, more = asked[k]["rows"]
        np.testing.assert_array_equal(twice, [0, 2, 4])
        np.testing.assert_array_equal(more.numpy(), [k, k + 1, k + 2])
        assert (more.shape, more.dtype) == ((3,), "float32")
    assert gc.value(count) == 5
    assert isinstance(asked[0]["loss"], gc.Result)


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_and_sizes_mix(backend):
    step, _ = training(backend)
    first = step.later(np.ones(2, np.float32))
    assert step(np.ones(4, np.float32))["loss"] == 8
    assert step.later([1, 1, 1])["loss"].numpy() == 9
    assert float(first["loss"]) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_arguments_are_told_at_once(backend):
    step, _ = training(backend)
    for arguments, code in (((), "GC0302"), ((np.ones((2, 2)),), "GC03")):
        with pytest.raises(UserError, match=code):
            step.later(*arguments)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fault_is_told_to_whoever_looks(backend):
    x, i = gc.input("x", (4,)), gc.input("i", (2,), "int64")
    picked = x[i]
    run = gc.compile([x, i], [picked, x * 2], backend=backend)
    array, good, bad = np.arange(4, dtype=np.float32), np.array([0, 3]), np.array([0, 4])
    with pytest.raises(UserError, match=r"GC0306(.|\n)*picked = "):
        run.later(array, bad)[1].numpy()
    np.testing.assert_array_equal(run.later(array, good)[0], [0, 3])
    np.testing.assert_array_equal(run(array, good)[0], [0, 3])


@pytest.mark.parametrize("backend", BACKENDS)
def test_jitted_functions(backend):
    @gc.jit(backend=backend)
    def double(x, k=2):
        return x * k

    np.testing.assert_array_equal(double.later(np.ones(3, np.float32)), [2, 2, 2])
    np.testing.assert_array_equal(double.later(np.ones(3, np.float32), k=3), [3, 3, 3])
    assert isinstance(double.later(gc.input("x", (3,))), gc.Tensor)


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_are_arguments(backend):
    x = gc.input("x", (5,))
    double = gc.compile([x], x * 2, backend=backend)
    array = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(double(double.later(double.later(array))), array * 8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "bool", "int64"])
def test_arrays_of_other_libraries_on_the_host(backend, kind):
    x = gc.input("x", (2, 3), kind)
    same = gc.compile([x], gc.where(x == x, x, x), backend=backend)
    array = np.array([[0, 1, 0], [1, 1, 0]]).astype(DTYPES[kind].numpy)
    np.testing.assert_array_equal(same(Owner(array)), array)
    np.testing.assert_array_equal(same.later(Owner(array)), array)


def test_they_are_not_copied_on_the_way_to_native_code():
    x = gc.input("x", (4,))
    run = gc.compile([x], x + 1)
    array = np.ones(4, np.float32)
    (seen,) = run.arguments.dense([Owner(array)])
    assert np.shares_memory(seen, array)


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_that_do_not_fit(backend):
    x = gc.input("x", (3,))
    run = gc.compile([x], x + 1, backend=backend)
    for given, code, word in (
        (Owner(np.ones(3, np.float32), (CUDA, 1)), "GC0107", "CUDA device 1"),
        (Owner(np.ones(3, np.float32), (10, 0)), "GC0107", "kind 10"),
        (Owner(np.ones(3)), "GC0304", "float64"),
        (Owner(np.ones(4, np.float32)), "GC0303", r"\(4,\)"),
    ):
        with pytest.raises(UserError, match=rf"{code}(.|\n)*{word}"):
            run(given)
    assert run(Owner(np.ones(3, np.int8))).tolist() == [2, 2, 2]


def test_a_tensor_that_is_not_lent_says_why():
    class Refusing(Owner):
        def __dlpack__(self, **options):
            raise BufferError("it requires a gradient")

    x = gc.input("x", (3,))
    with pytest.raises(UserError, match="requires a gradient"):
        gc.compile([x], x + 1)(Refusing(np.ones(3, np.float32)))
