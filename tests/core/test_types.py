"""Named sizes, dtypes and tensor types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.dims import Dim, Size, evaluate, product, size
from graphc.errors import CODES, UserError
from graphc.types import DTYPES, FLOAT32, INT64, TensorType, dtype, promote, weak_dtype

N, M = Dim.named("n"), Dim.named("m")
SIZES = st.fixed_dictionaries({"n": st.integers(0, 20), "m": st.integers(0, 20)})
each = pytest.mark.parametrize


def step(inner: st.SearchStrategy[Size]) -> st.SearchStrategy[Size]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] - p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
        st.tuples(inner, st.integers(1, 5)).map(lambda p: p[0] // p[1]),
    )


TERMS = st.recursive(st.one_of(st.sampled_from([N, M]), st.integers(-5, 5)), step, max_leaves=6)


@given(TERMS, TERMS, st.integers(1, 5), SIZES)
def test_sizes_are_integers_once_their_names_are_known(
    a: Size, b: Size, k: int, sizes: dict[str, int]
):
    x, y = evaluate(a, sizes), evaluate(b, sizes)
    assert evaluate(a + b, sizes) == x + y
    assert evaluate(a - b, sizes) == x - y
    assert evaluate(a * b, sizes) == x * y
    assert evaluate(a // k, sizes) == x // k


@given(TERMS, TERMS)
def test_equal_sizes_are_equal_values(a: Size, b: Size):
    assert a + b == b + a
    assert (a + b) * (a - b) == a * a - b * b
    assert a - a == 0
    assert hash(a + b) == hash(b + a)


def test_sizes_are_written_as_people_write_them():
    assert str(2 * N + 1) == "2*n+1"
    assert str(N * M - M) == "m*n-m"
    assert str((N + 1) // 2) == "(n+1)//2"
    assert str(TensorType(FLOAT32, (N, 784))) == "f32[n,784]"
    assert (N * 6) // 3 == 2 * N


@each(("a", "b", "wanted"), [(N * 6, N * 2, 3), (N * M * 4, M, 4 * N), (N + 1, N, None)])
def test_exact_division(a: Dim, b: Size, wanted: Size | None):
    assert a.divide_exact(b) == wanted


def test_names_are_found_inside_quotients():
    assert ((N + M) // 2 * N).names == {"n", "m"}
    assert product([N, 3, M]) == 3 * N * M
    assert product([]) == 1


@each("wrong", [-1, 1.5, "2n", None])
def test_what_is_no_size_is_refused(wrong: object):
    with pytest.raises(UserError) as caught:
        size(wrong)  # type: ignore[arg-type]
    assert caught.value.code == "GC0104"


def test_a_size_without_a_number_is_reported():
    with pytest.raises(UserError, match="n") as caught:
        evaluate(N + 1, {"m": 3})
    assert caught.value.code == "GC0305"


@each("name", DTYPES)
def test_dtypes_are_numpys(name: str):
    found = dtype(name)
    assert dtype(found.numpy) is found
    assert dtype(found) is found
    assert found.numpy.itemsize == found.bytes


@each("wrong", ["float33", "complex64", object()])
def test_unknown_dtypes_are_refused(wrong: object):
    with pytest.raises(UserError) as caught:
        dtype(wrong)  # type: ignore[call-overload]
    assert caught.value.code == "GC0105"


NUMPYS = [d for d in DTYPES.values() if d.name != "bfloat16"]


@each("a", NUMPYS, ids=str)
@each("b", NUMPYS, ids=str)
def test_promotion_is_numpys_within_a_kind_and_an_error_across(a, b):
    same_kind = (a.is_float and b.is_float) or (a.is_integer and b.is_integer) or a == b
    wanted = np.promote_types(a.numpy, b.numpy).name
    if same_kind and not (wanted == "float64" and a.is_integer):
        assert promote(a, b).name == wanted
    else:
        with pytest.raises(UserError) as caught:
            promote(a, b)
        assert caught.value.code == "GC0102"


def test_halves_that_do_not_hold_each_other_meet_in_float32():
    assert promote(DTYPES["float16"], DTYPES["bfloat16"]) == FLOAT32


@each(("value", "kind"), [(1, "int64"), (1, "float32"), (1.5, "float32"), (True, "bool")])
def test_python_numbers_take_the_dtype_beside_them(value: float, kind: str):
    assert weak_dtype(value, dtype(kind)) == dtype(kind)


@each(("value", "kind"), [(1.5, "int64"), (1, "bool"), (1.5, "bool")])
def test_python_numbers_that_do_not_fit_are_refused(value: float, kind: str):
    with pytest.raises(UserError) as caught:
        weak_dtype(value, dtype(kind))
    assert caught.value.code == "GC0102"


def test_parts_of_a_type():
    t = TensorType(INT64, (N, 3, 4))
    assert t.drop((0,)) == TensorType(INT64, (3, 4))
    assert t.keep((2, 1)).shape == (4, 3)
    assert t.substitute({"n": 2}).static_shape == (2, 3, 4)
    assert t.substitute({"n": 2}).bytes == 192
    assert t.size == 12 * N


def test_every_code_is_a_number_and_has_a_title():
    assert all(len(code) == 6 and code.startswith("GC") for code in CODES)
    assert len(set(CODES.values())) == len(CODES)


def test_a_dtype_equals_its_name_and_numpys_dtype():
    f32 = dtype("float32")
    assert f32 == "float32"
    assert f32 == np.float32
    assert f32 == np.dtype("float32")
    assert f32 != "float64"
    assert f32 != np.int32
    assert f32 != 3
    assert {f32: 1}[dtype(np.float32)] == 1
