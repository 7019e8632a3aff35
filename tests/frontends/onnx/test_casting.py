"""Casts: to and from bools, bits, and types that graphc lacks."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import run

FLOAT, UINT8, INT32, INT64, BOOL, COMPLEX64 = 1, 2, 6, 7, 9, 14


def test_everything_but_zero_is_true():
    x = np.float32([0, -0.0, 0.5, np.nan])
    np.testing.assert_array_equal(run("float[4] x", f"y = Cast<to={BOOL}>(x)", x), [[0, 0, 1, 1]])


def test_floats_lose_their_fraction():
    x = np.float32([-1.7, 1.7, 300.5])
    np.testing.assert_array_equal(run("float[3] x", f"y = Cast<to={INT64}>(x)", x), [[-1, 1, 300]])


def test_bits():
    x = np.float32([1, -0.0])
    (y,) = run("float[2] x", f"y = BitCast<to={INT32}>(x)", x, version=26)
    np.testing.assert_array_equal(y, x.view(np.int32))
    x = np.array([True, False])
    (y,) = run("bool[2] x", f"b = BitCast<to={UINT8}>(x) y = BitCast<to={BOOL}>(b)", x, version=26)
    np.testing.assert_array_equal(y, x)
    with pytest.raises(UserError, match="widths"):
        run("int64[1] x", f"y = BitCast<to={BOOL}>(x)", np.int64([1]), version=26)


def test_a_type_that_graphc_lacks_is_named():
    with pytest.raises(UserError, match=r"GC0505.*complex64"):
        run("float[1] x", f"y = Cast<to={COMPLEX64}>(x)", np.float32([1]))
