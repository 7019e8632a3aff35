"""DLPack: what NumPy lends is seen as it is, what is lent arrives at NumPy, all of it once."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

from graphc import dlpack
from graphc.dlpack import CPU, CUDA, borrow
from graphc.results import Arrived, Result, arrived
from graphc.types import DTYPES
from lending import Owner, lent

KINDS = [name for name in DTYPES if name != "bfloat16"]


@pytest.fixture(autouse=True)
def everything_comes_back():
    before = lent()
    yield
    assert lent() == before


# Borrowing ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_numpys_arrays_are_seen_where_they_lie(kind):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    found = borrow(array)
    assert (found.device, found.address, found.dtype) == ((CPU, 0), array.ctypes.data, kind)
    assert np.shares_memory(found.numpy(), array)
    np.testing.assert_array_equal(found.numpy(), array)


@pytest.mark.parametrize(
    ("view", "is_dense"),
    [
        (lambda a: a, True),
        (lambda a: a.T, False),
        (lambda a: a[:, ::2], False),
        (lambda a: a[::-1], False),
        (lambda a: a[:1, 1:2], True),
        (lambda a: a[1, 2], True),
        (lambda a: a[:0], True),
        (lambda a: np.broadcast_to(a[0], (5, 4)), False),
    ],
)
def test_strides(view, is_dense):
    array = view(np.arange(12, dtype=np.float32).reshape(3, 4))
    found = borrow(np.asarray(array))
    assert found.is_dense == is_dense
    np.testing.assert_array_equal(found.numpy(), array)


def test_a_frozen_array_stays_frozen():
    array = np.arange(3)
    array.flags.writeable = False
    found = borrow(array)
    assert found.is_read_only
    assert not found.numpy().flags.writeable


def test_memory_goes_back_with_the_last_view():
    owner = Owner(np.arange(4.0))
    view = borrow(owner).numpy()[1:]
    before = lent()
    assert view.tolist() == [1, 2, 3]
    del view
    assert lent() == before - 1


def test_libraries_from_before_versions():
    assert borrow(Owner(np.arange(3), is_old=True)).numpy().tolist() == [0, 1, 2]


def test_streams_are_passed_on():
    owner = Owner(np.arange(3.0), (CUDA, 0))
    found = borrow(owner, stream=77)
    assert owner.streams == [77]
    assert found.device == (CUDA, 0)


def test_bfloat16_which_numpy_does_not_know():
    array = np.array([[1, 2.5, -3]], DTYPES["bfloat16"].numpy)
    found = borrow(Owner(array)).numpy()
    assert found.dtype == array.dtype
    assert np.shares_memory(found, array)
    np.testing.assert_array_equal(found, array)


def test_what_nobody_knows_is_refused():
    with pytest.raises(BufferError, match="type 5 of 64 bits"):
        borrow(np.zeros(3, np.complex64))

    class Strange:
        def __dlpack__(self, **options):
            return "no capsule"

    with pytest.raises(BufferError, match="no fresh capsule"):
        borrow(Strange())


def test_a_capsule_is_taken_once():
    class Again(Owner):
        def __dlpack__(self, **options):
            if not hasattr(self, "capsule"):
                self.capsule = super().__dlpack__(**options)
            return self.capsule

    owner = Again(np.arange(3))
    found = borrow(owner)
    with pytest.raises(BufferError, match="no fresh capsule"):
        borrow(owner)
    assert found.numpy().tolist() == [0, 1, 2]


def test_an_unknown_version_is_given_back():
    class Newer(Owner):
        def __dlpack__(self, **options):
            made = super().__dlpack__(**options)
            pointer = dlpack._pointer(id(made), dlpack.VERSIONED)
            ctypes.c_uint32.from_address(pointer).value = 2
            return made

    before = lent()
    with pytest.raises(BufferError, match="version 2"):
        borrow(Newer(np.arange(3)))
    assert lent() == before


# Lending ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0, 3)])
def test_numpy_takes_results_where_they_lie(kind, shape):
    array = np.ones(shape, kind)
    found = np.from_dlpack(arrived([array])[0])
    np.testing.assert_array_equal(found, array, strict=True)
    assert array.size == 0 or np.shares_memory(found, array)


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (2, 0)])
def test_capsules_that_nobody_takes(version):
    (result,) = arrived([np.arange(3)])
    before = lent()
    capsule = result.__dlpack__(max_version=version)
    assert ("versioned" in repr(capsule)) == (version is not None and version >= (1, 0))
    assert len(dlpack._LENT) == before + 1
    assert lent() == before + 1
    del capsule
    assert lent() == before


def test_a_borrower_that_refuses_tells_why():
    """NumPy drops the capsule while its error is on the way."""
    (result,) = arrived([np.ones(3, DTYPES["bfloat16"].numpy)])
    for _ in range(3):
        with pytest.raises((RuntimeError, BufferError), match="dtype"):
            np.from_dlpack(result)


def test_memory_goes_back_while_an_error_is_on_its_way():
    """The list that is being made goes, and the array in it, while the error is set."""
    (result,) = arrived([np.ones(3)])
    before = lent()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            [np.from_dlpack(result), 1 // 0]
    assert lent() == before


def test_memory_outlives_its_result():
    found = np.from_dlpack(arrived([np.arange(1000)])[0])
    gc.collect()
    assert found.sum() == 499500


def test_copies():
    (result,) = arrived([np.arange(3.0)])
    assert np.shares_memory(np.from_dlpack(result, copy=False), result.numpy())
    assert not np.shares_memory(np.from_dlpack(result, copy=True), result.numpy())


def test_a_result_of_a_device_comes_to_the_host_when_asked():
    class Far(Arrived):
        pass

    array = np.arange(3.0)
    result = Result((3,), DTYPES["float64"], Far([array], (CUDA, 0)))
    assert result.__dlpack_device__() == (CUDA, 0)
    assert np.from_dlpack(result, device="cpu").tolist() == [0, 1, 2]
    for options in ({"dl_device": (CUDA, 1)}, {"copy": True}, {"dl_device": (1, 0), "copy": False}):
        with pytest.raises(BufferError):
            result.__dlpack__(**options)


# Results ------------------------------------------------------------------------------------------
def test_results_are_read_as_arrays_and_numbers():
    one, many = arrived([np.array(2.5, np.float32), np.arange(4)])
    assert float(one) == 2.5
    assert (one.shape, one.dtype, many.shape, many.dtype) == ((), "float32", (4,), "int64")
    np.testing.assert_array_equal(np.asarray(many, np.float32), [0, 1, 2, 3])
    assert np.array(many, copy=True) is not many.numpy()
    assert many.numpy() is many.numpy()
    assert repr(one).startswith("<result f32[]: array(2.5")
    assert repr(arrived([np.zeros(2)])[0]) == "<result f64[2]: not looked at yet>"
