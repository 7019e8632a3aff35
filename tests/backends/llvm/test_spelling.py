"""Every scalar function in every dtype against NumPy; scalar and vector code give the same bits."""

import math

import numpy as np
import pytest

from graphc.backends.llvm import spelling
from graphc.backends.llvm.machine import host, named
from graphc.scalars import SCALARS
from graphc.types import DTYPES
from special import (
    ALL,
    CASES,
    NARROW,
    bits,
    check_cast,
    check_function,
    distance,
    operands,
    values,
)


def run(tools, name, dtype, arrays, lanes):
    sources = [array.dtype.name for array in arrays]
    kind = DTYPES[dtype]
    result = "bool" if SCALARS[name].result == "bool" else dtype
    write = lambda f, *values: spelling.SPELLING[name](f, kind, *values)  # noqa: E731
    return tools.build(write, sources, result, lanes=lanes)(*arrays)


def test_the_table_is_complete():
    assert set(SCALARS) == set(spelling.SPELLING)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_function_is_numpys(tools, name, dtype, rng):
    arrays = operands(name, dtype, rng)
    got = run(tools, name, dtype, arrays, lanes=16)
    check_function(name, dtype, arrays, got)
    np.testing.assert_array_equal(bits(run(tools, name, dtype, arrays, lanes=0)), bits(got))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_negative_integer_powers_are_cut(tools, dtype):
    base = np.array([0, 1, -1, -1, 2, -2, 5], dtype)
    exponent = np.array([-1, -3, -3, -4, -1, -2, -1], dtype)
    got = run(tools, "power", dtype, [base, exponent], lanes=16)
    np.testing.assert_array_equal(got, [0, 1, -1, 1, 0, 0, 0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_division_of_random_integers(tools, dtype, rng):
    limits = np.iinfo(dtype)
    a, b = rng.integers(limits.min, limits.max, (2, 4096), dtype=dtype, endpoint=True)
    b[::2] >>= limits.bits // 2
    with np.errstate(all="ignore"):
        quotient, rest = np.floor_divide(a, b), np.remainder(a, b)
    np.testing.assert_array_equal(run(tools, "floor_divide", dtype, [a, b], 16), quotient)
    np.testing.assert_array_equal(run(tools, "remainder", dtype, [a, b], 16), rest)


def convert(tools, source, target, array, lanes=16, function=spelling.cast, machine=None):
    write = lambda f, x: function(f, DTYPES[source], DTYPES[target], x)  # noqa: E731
    return tools.build(write, [source], target, lanes=lanes, machine=machine)(array)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("source", ALL)
def test_casts_are_numpys(tools, source, target, rng):
    array = values(source, rng)
    got = convert(tools, source, target, array)
    check_cast(source, target, array, got)
    np.testing.assert_array_equal(bits(convert(tools, source, target, array, lanes=0)), bits(got))


def test_float64_to_float16_rounds_once(tools, rng):
    middle = 1.0 + 2.0**-11  # a tie between two float16; the tail is lost in float32
    array = np.array(
        [middle, middle + 2.0**-40, middle - 2.0**-40, 65519.999999999, 65520.0, 1e-8, 2.0**-25]
    )
    array = np.concatenate(
        [array, -array, rng.normal(size=4096) * 2.0 ** rng.integers(-30, 20, 4096)]
    )
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)
    got = convert(tools, "float64", "float16", array)
    np.testing.assert_array_equal(got.view(np.uint16), expected.view(np.uint16))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("cpu", ["x86-64", "haswell", ""])
@pytest.mark.parametrize("name", NARROW)
def test_every_narrow_float_is_converted_exactly_there_and_back(tools, name, cpu):
    """With float16's instructions and without, all 65,536 of them."""
    machine, kind = (named(cpu) if cpu else host()), DTYPES[name]
    everything = np.arange(1 << 16, dtype=np.uint16).view(kind.numpy)
    wide = convert(tools, name, "float32", everything, machine=machine)
    np.testing.assert_array_equal(bits(wide), bits(everything.astype(np.float32)))
    back = convert(tools, "float32", name, wide, machine=machine)
    np.testing.assert_array_equal(bits(back), bits(everything))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("cpu", ["x86-64", ""])
@pytest.mark.parametrize("name", NARROW)
def test_float32_is_rounded_to_the_nearest_ties_to_even(tools, name, cpu, rng):
    """Between every two neighbours: the tie, and what is just above and below it."""
    machine, kind = (named(cpu) if cpu else host()), DTYPES[name]
    low = np.arange(kind.numpy.type(math.inf).view(np.uint16), dtype=np.uint16)
    a, b = (x.view(kind.numpy).astype(np.float64) for x in (low, low + np.uint16(1)))
    b = np.where(np.isinf(b), 2 * a - (low - np.uint16(1)).view(kind.numpy).astype(float), b)
    tie = ((a + b) / 2).astype(np.float32)
    x = np.concatenate([tie, np.nextafter(tie, np.float32(0)), np.nextafter(tie, np.float32(9e9))])
    x = np.concatenate([x, -x, rng.integers(0, 1 << 32, 9999, np.uint32).view(np.float32)])
    got = convert(tools, "float32", name, x, machine=machine)
    np.testing.assert_array_equal(bits(got), bits(x.astype(kind.numpy)))


@pytest.mark.parametrize(
    ("source", "target"),
    [("float32", "uint32"), ("int32", "float32"), ("float64", "int64"), ("int8", "uint8")],
)
def test_bitcasts_keep_the_bits(tools, source, target, rng):
    array = values(source, rng)
    got = convert(tools, source, target, array, function=spelling.bitcast)
    np.testing.assert_array_equal(bits(got), bits(array.view(target)))


@pytest.mark.parametrize("cpu", ["x86-64", "haswell"])
@pytest.mark.parametrize("name", ["floor", "round", "multiply", "exp", "sin", "maximum"])
def test_code_for_lesser_processors_gives_the_same(tools, cpu, name, rng):
    if "x86_64" not in named(cpu).triple:
        pytest.skip("the CPU names are those of x86-64")
    arrays = operands(name, "float32", rng)
    with np.errstate(all="ignore"):
        expected = SCALARS[name].numpy(*arrays)
    got = tools.scalar(name, "float32", len(arrays), "float32", machine=named(cpu))(*arrays)
    assert distance(got, expected).max() <= 4
