"""Special values of every dtype, for every scalar function; and how near is near enough."""

import math

import numpy as np

from graphc.scalars import SCALARS
from graphc.types import DTYPES

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float32", "float64"]
NARROW = ["float16", "bfloat16"]
ALL = ["bool", *INTEGERS, *NARROW, *FLOATS]
DOMAINS = {
    "any": [*INTEGERS, *FLOATS, "bool"],
    "number": [*INTEGERS, *FLOATS],
    "float": FLOATS,
    "integer": INTEGERS,
    "bits": [*INTEGERS, "bool"],
    "bool": ["bool"],
    "uint32": ["uint32"],
}
ROUNDED = """power exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan arctan2
sinh cosh tanh arcsinh arccosh arctanh sigmoid softplus erf"""
"""Functions that are no single IEEE operation, so that libraries differ in the last place."""

CASES = [(name, dtype) for name, row in SCALARS.items() for dtype in DOMAINS[row.domain]]


def values(dtype, rng):
    """Special values of a dtype, then random ones."""
    if dtype == "bool":
        return np.array([False, True])
    if DTYPES[dtype].is_float:
        limits = DTYPES[dtype].limits
        special = [0.0, 1.0, math.inf, math.nan, 0.5, 1.5, 2.5, 3.0, 1e-3, 7.25, 100.0]
        special += [limits.max, limits.tiny, limits.smallest_subnormal, limits.eps]
        drawn = np.array([*special, *(-x for x in special), *rng.normal(size=9) * 4], np.float64)
        return drawn.astype(DTYPES[dtype].numpy)
    limits = np.iinfo(dtype)
    special = [0, 1, 2, 3, 5, 7, 8, 15, 31, 63, 64, limits.max, limits.max - 1, limits.min]
    special += [-1, -2, -3, -7, -64, limits.min + 1] if limits.min else []
    more = rng.integers(limits.min, limits.max, 9, dtype=dtype, endpoint=True)
    return np.concatenate([np.array([min(x, limits.max) for x in special], dtype), more])


def operands(name, dtype, rng):
    """Every pair of values (all of one operand), and a condition where there must be one."""
    base = values(dtype, rng)
    arity = SCALARS[name].arity
    if arity == 1:
        return [base]
    a, b = (grid.ravel() for grid in np.meshgrid(base, base))
    if name == "power" and dtype in INTEGERS:
        b = np.abs(b)  # NumPy refuses negative exponents
        b = np.where(b < 0, 0, b)
    return [a, b] if arity == 2 else [np.arange(a.size) % 3 == 0, a, b]


def distance(got, expected):
    """Units in the last place between floats; infinite where one is special, the other not."""
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    wide = np.longdouble if got.dtype == np.float64 else np.float64
    with np.errstate(all="ignore"):
        unit = np.spacing(np.abs(expected)).astype(wide)
        gap = np.abs(got.astype(wide) - expected.astype(wide)) / unit
    return np.where(same, 0.0, np.where(np.isfinite(gap), gap, math.inf))


def bits(array):
    """The bits of an array, with one NaN for all."""
    if not DTYPES[array.dtype.name].is_float:
        return array
    known = np.where(np.isnan(array), array.dtype.type(math.nan), array)
    return known.view(f"u{array.itemsize}")


def fits(array, target):
    """Where NumPy's cast to an integer is defined: finite, and in range once cut."""
    limits = np.iinfo(target)
    wide = np.trunc(array.astype(np.longdouble))
    return np.isfinite(wide) & (wide >= limits.min) & (wide <= limits.max)


def check_function(name, dtype, arrays, got):
    """A scalar function's results are NumPy's, but for the last places where libraries differ: both
    err by at most 4 units.
    """
    with np.errstate(all="ignore"):
        expected = np.asarray(SCALARS[name].numpy(*arrays))
    assert expected.dtype == got.dtype
    if name in ROUNDED.split() and dtype in FLOATS:
        assert distance(got, expected).max() <= 8
        return
    np.testing.assert_array_equal(got, expected)
    if name not in ("minimum", "maximum", "relu"):  # of two zeros NumPy returns either
        number = ~np.isnan(got) if dtype in FLOATS else ...
        np.testing.assert_array_equal(np.signbit(got[number] * 1), np.signbit(expected[number] * 1))


def check_cast(source, target, array, got):
    """A cast's results are NumPy's where these are defined; floats saturate, and NaN is 0."""
    if DTYPES[source].is_float and target in INTEGERS:
        defined, limits = fits(array, target), np.iinfo(target)
        assert (got[np.isnan(array)] == 0).all()
        assert (got[~defined & (array > 0)] == limits.max).all()
        assert (got[~defined & (array < 0)] == limits.min).all()
        np.testing.assert_array_equal(got[defined], array[defined].astype(target))
        return
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(bits(got), bits(array.astype(DTYPES[target].numpy)))
