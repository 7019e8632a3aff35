"""Numbers of 2 to 8 bits: every value of every format, against the package ml_dtypes."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from graphc.frontends.onnx.narrow import FORMATS, cast_to, kept, kind_of, limits, shown
from onnx_text import model, run, run_everywhere

BY_NAME = {form.name: form for form in FORMATS.values()}
FLOATS = [name for name in BY_NAME if "float" in name and "e8m0" not in name]
INTEGERS = [name for name in BY_NAME if "float" not in name]


def casted(array, form, backend="llvm", **options):
    """``array`` in ``form``, by graphc."""
    x = gc.input("x", array.shape, array.dtype)
    return gc.compile([x], cast_to(x, form, **options), backend=backend)(array)


def interesting(form):
    """All values of a format of floats, what lies between them, and what lies beyond."""
    bits = int(form.name[5])
    codes = np.arange(2**bits, dtype=np.uint8).view(form.numpy).astype(np.float32)
    values = np.unique(codes[np.isfinite(codes)])
    between = (values[1:] + values[:-1]) / 2
    near = [np.nextafter(between, side, dtype=np.float32) for side in (np.inf, -np.inf)]
    return np.concatenate([values, between, *near, values[[-1]] * [1.01, 3, 1e6], [np.inf]])


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_rounded_to_the_nearest(name, backend):
    form = BY_NAME[name]
    x = np.concatenate([interesting(form), -interesting(form)]).astype(np.float32)
    wanted = np.clip(x, *limits(form)).astype(form.numpy).astype(np.float32)
    found = casted(x, form, backend)
    np.testing.assert_array_equal(found.astype(np.float32), wanted)


@pytest.mark.parametrize("name", [name for name in FLOATS if name[5] == "8"])
def test_what_is_too_large_is_infinite_or_no_number_if_asked(name):
    form = BY_NAME[name]
    x = np.array([1e6, -1e6, np.inf, -np.inf, np.nan, 1, 0], np.float32)
    found = casted(x, form, saturate=False).astype(np.float32)
    np.testing.assert_array_equal(found, x.astype(form.numpy).astype(np.float32))
    assert np.isnan(casted(np.array([np.nan], np.float32), form)).all()


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "float32"])
def test_integers_lose_their_higher_bits(name, dtype):
    form = BY_NAME[name]
    x = np.arange(0 if dtype[0] == "u" else -40, 40).astype(dtype)
    wanted = x.astype(np.int8).astype(form.numpy).astype(np.int8)
    np.testing.assert_array_equal(casted(x, form).astype(np.int8), wanted)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("up", [0.5, 1, 2, 4, 4]), ("down", [0.5, 1, 1, 2, 2]), ("nearest", [0.5, 1, 1, 4, 4])],
)
def test_powers_of_two(mode, wanted):
    x = np.array([0.5, 1, 1.25, 3, 3.9], np.float32)
    assert casted(x, BY_NAME["float8_e8m0fnu"], round_mode=mode).tolist() == wanted


def test_the_ends_of_the_powers_of_two():
    x = np.array([0, 3e38, np.inf, np.nan], np.float32)
    form = BY_NAME["float8_e8m0fnu"]
    saturated = [2.0**-127, 2.0**127, 2.0**127, np.nan]
    np.testing.assert_array_equal(casted(x, form), np.float32(saturated))
    np.testing.assert_array_equal(casted(x, form, saturate=False)[1:], [np.nan] * 3)


def test_arrays_go_in_and_come_out_as_they_are_stored():
    form = BY_NAME["int4"]
    x = np.arange(-8, 8).astype(form.numpy).reshape(4, 4)
    proto = model("int4[4,4] x", "y = Transpose(x) z = Cast<to=6>(y)", "y z").proto
    proto.graph.output[0].type.tensor_type.elem_type = 22
    y, z = type(model("float x", "y = Abs(x)"))(proto).run(x)
    assert y.dtype == form.numpy
    np.testing.assert_array_equal(y, x.T)
    np.testing.assert_array_equal(z, x.T.astype(np.int32))
    np.testing.assert_array_equal(shown(kept(x), form), x)


def test_the_format_is_handed_on_by_what_only_moves_values():
    body = """a = Cast<to=17>(x) b = Reshape(a, s) c = Transpose(b)
      w = Constant<value_float=1.0625>() d = CastLike(w, c) y = Cast<to=1>(d)"""
    inputs = "float[4] x, int64[2] s"
    (y,) = run_everywhere(inputs, body, np.ones(4, np.float32), np.array([2, 2]))
    assert y == 1


def test_the_format_of_constants_is_kept():
    body = """k = Constant<value_float=3.>() c = Cast<to=23>(k) d = CastLike(x, c)
      y = Cast<to=1>(d)"""
    assert run("float x", body, np.float32(2.4)) == [2]


def test_four_bits_for_weights_in_blocks():
    weights = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    scale = (np.abs(weights).reshape(2, 3, 4).max(1) / 7).astype(np.float32)
    body = """q = QuantizeLinear<axis=0, block_size=3, output_dtype=22>(w, s)
      y = DequantizeLinear<axis=0, block_size=3>(q, s)"""
    (y,) = run_everywhere("float[6,4] w, float[2,4] s", body, weights, scale, version=21)
    assert np.abs(y - weights).max() <= scale.max() / 2 + 1e-6


def test_types_that_nobody_has_are_refused():
    assert kind_of(1) == "float32"
    with pytest.raises(UserError, match="GC0505"):
        run("float[1] x", "y = Cast<to=8>(x)", np.ones(1, np.float32))
