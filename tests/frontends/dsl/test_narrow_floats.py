"""float16 and bfloat16 as a user meets them: arrays in, arrays out, sums that do not overflow."""

import ml_dtypes
import numpy as np
import pytest

import graphc as gc
from graphc.types import DTYPES

BACKENDS = pytest.mark.parametrize("backend", ["numpy", "llvm"])
KINDS = pytest.mark.parametrize("kind", ["float16", "bfloat16"])


def narrow(values, kind):
    return np.asarray(values).astype(DTYPES[kind].numpy)


@BACKENDS
def test_arrays_of_ml_dtypes_come_in_and_go_out(backend):
    x = gc.input("x", (2,), "bfloat16")
    assert x.dtype == ml_dtypes.bfloat16
    beside = np.ones(2, ml_dtypes.bfloat16)
    f = gc.compile([x], [x + beside, gc.constant(beside), x.astype("float32")], backend=backend)
    found = f(np.array([1, 2], ml_dtypes.bfloat16))
    assert [y.dtype.name for y in found] == ["bfloat16", "bfloat16", "float32"]
    np.testing.assert_array_equal(found[0], [2, 3])
    np.testing.assert_array_equal(f([1, 2.001])[2], [1, 2])


@BACKENDS
@KINDS
def test_parameters_are_kept_in_16_bits(backend, kind):
    p = gc.param([1, 2, 3], dtype=kind)
    assert p.node.op.storage.array.nbytes == 6
    step = gc.compile([], p.sum(), {p: p * 1.5 + 0.25}, backend=backend)
    assert step() == 6
    np.testing.assert_array_equal(gc.value(p), [1.75, 3.25, 4.75])
    gc.assign(p, [4, 5, 6.0001])
    np.testing.assert_array_equal(gc.value(p), [4, 5, 6])


@BACKENDS
def test_other_dtypes_are_refused(backend):
    x = gc.input("x", (2,), "bfloat16")
    f = gc.compile([x], x * 2, backend=backend)
    for other in (np.float32, np.float16, np.int16):
        with pytest.raises(gc.UserError, match="GC0304"):
            f(np.ones(2, other))


def test_what_numpy_cannot_read_is_no_array():
    class Foreign:
        def __array__(self, *args, **options):
            raise TypeError("unsupported ScalarType BFloat16")

    f = gc.compile([x := gc.input("x", (2,), "bfloat16")], x * 2)
    with pytest.raises(gc.UserError, match="GC0107"):
        f(Foreign())
    with pytest.raises(gc.UserError, match="GC0107"):
        gc.constant(Foreign())


@BACKENDS
@KINDS
def test_what_is_added_up_is_rounded_once(backend, kind):
    """In 16 bits a sum of ones would end at 256 or 2048, and the mean of large numbers at inf."""
    count = 5000
    x, i = gc.input("x", (count,), kind), gc.input("i", (count,), "int64")
    table = gc.zeros((3,), kind)
    outputs = [x.sum(), gc.index_add(table, i, x), x @ x, x.mean(), (x * 1000).std()]
    f = gc.compile([x, i], outputs, backend=backend)
    total, added, product, mean, spread = f(narrow(np.ones(count), kind), np.ones(count, np.int64))
    near = narrow(5000, kind)
    assert total == near
    assert product == near
    assert added[1] == near
    assert mean == 1
    assert spread == 0


@KINDS
def test_fused_operations_are_close_to_single_ones(kind, rng):
    """Within a few roundings: kernels keep float32 between operations, the oracle rounds each."""
    x = gc.input("x", (40, 33), kind)
    w = gc.input("w", (33, 9), kind)
    hidden = gc.gelu(x @ w) + 0.5
    y = gc.softmax(hidden - hidden.mean(-1, keepdims=True))
    loss = (y * y).sum()
    outputs = [y, loss, *gc.grad(loss, [x, w])]
    arrays = [narrow(rng.normal(size=shape) / 3, kind) for shape in ((40, 33), (33, 9))]
    epsilon = float(DTYPES[kind].limits.eps)
    oracle = gc.compile([x, w], outputs, backend="numpy")(*arrays)
    for ours, wanted in zip(gc.compile([x, w], outputs)(*arrays), oracle, strict=True):
        assert ours.dtype == wanted.dtype
        scale = np.abs(wanted.astype(float)).max()
        assert np.abs(ours.astype(float) - wanted.astype(float)).max() <= 8 * epsilon * scale


@BACKENDS
@KINDS
def test_a_nan_is_found_and_limits_are_its_own(backend, kind):
    x = gc.input("x", (3,), kind)
    f = gc.compile([x], [gc.nan_to_num(x), gc.log(x)], backend=backend)
    array = narrow([1, np.inf, np.nan], kind)
    assert f(array)[0][1] == DTYPES[kind].limits.max
    with pytest.raises(gc.UserError, match="GC0307"):
        gc.compile([x], gc.log(x), backend=backend).find_nan(narrow([1, -1, 0], kind))


@BACKENDS
@KINDS
def test_libraries_compute_in_float32(backend, kind, rng):
    a = gc.input("a", (4, 4), kind)
    array = narrow(rng.normal(size=(4, 4)) + 6 * np.eye(4), kind)
    found = gc.compile([a], gc.linalg.inv(a), backend=backend)(array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, narrow(np.linalg.inv(array.astype(np.float32)), kind))


# Integers of 8 bits -------------------------------------------------------------------------------
@BACKENDS
@pytest.mark.parametrize("kinds", [("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")])
def test_products_of_bytes_are_exact_in_int32(backend, kinds, rng):
    shapes = ((2, 7, 130), (130, 21))
    limits = [np.iinfo(k) for k in kinds]
    arrays = [
        rng.integers(i.min, i.max, shape, k, endpoint=True)
        for i, k, shape in zip(limits, kinds, shapes, strict=True)
    ]
    a, b = (gc.input(f"x{n}", x.shape, x.dtype) for n, x in enumerate(arrays))
    centred = (a.astype("int32") - 3) @ (b.astype("int32") + 5)
    f = gc.compile([a, b], [gc.matmul(a, b, dtype="int32"), centred], backend=backend)
    found, shifted = f(*arrays)
    left, right = (x.astype(np.int64) for x in arrays)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, left @ right)
    np.testing.assert_array_equal(shifted, (left - 3) @ (right + 5))
