"""The native entry: what it takes, what it leaves alone, and that it loses no references."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from graphc.backends import llvm
from graphc.backends.llvm import entry
from graphc.backends.llvm.about import about
from graphc.backends.llvm.threads import FIELDS
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node
from graphc.kernels.lower import lower
from graphc.ops.indexing import Take
from graphc.ops.leaves import Input, Parameter, Storage
from graphc.ops.movement import broadcast_to
from graphc.ops.reduction import sum_over
from graphc.scalars import tanh
from graphc.types import FLOAT32, TensorType, dtype


def leaf(name: str, *shape: int, kind: str = "float32") -> Node:
    return Input(name, TensorType(dtype(kind), shape))()


@pytest.fixture
def counted() -> tuple[llvm.Executable, Array]:
    """``x + y`` and ``y * 2``, and a parameter that counts the calls."""
    x, y = leaf("x", 3, 4), leaf("y", 4)
    calls = Storage(np.zeros(1), FLOAT32)
    count = Parameter("count", TensorType(FLOAT32, (1,)), calls)()
    graph = Graph((x, y), (x + broadcast_to(y, (3, 4)), y * 2.0), ((count, count + 1.0),))
    runner = llvm.build(lower(graph))
    runner.pool.ready()
    return runner, calls.array


X, Y = np.arange(12, dtype=np.float32).reshape(3, 4), np.ones(4, np.float32)
WRONG = {
    "too few": (X,),
    "too many": (X, Y, Y),
    "none": (),
    "a list": (X, [1.0, 1.0, 1.0, 1.0]),
    "a number": (1.0, Y),
    "a NumPy number": (X, np.float32(1)),
    "another dtype of equal size": (X, Y.view(np.int32)),
    "another dtype": (X.astype(np.float64), Y),
    "another byte order": (X.astype(">f4"), Y),
    "another shape": (X[:2], Y),
    "another rank": (X.reshape(1, 3, 4), Y),
    "the shape turned": (X.T, Y),
    "strided": (np.zeros((3, 8), np.float32)[:, ::2], Y),
    "turned in memory": (np.asfortranarray(X), Y),
    "repeated": (np.broadcast_to(X[:1], (3, 4)), Y),
    "a subclass": (X, np.ma.MaskedArray(Y)),
}


def test_it_is_used_here():
    assert entry.obstacle() == ""
    assert about()["calls"] == "direct"


def test_arrays_as_declared(counted: tuple[llvm.Executable, Array]):
    runner, calls = counted
    for number in range(1, 5):
        total, double = runner.attempt(X * number, Y)
        np.testing.assert_array_equal(total, X * number + Y)
        np.testing.assert_array_equal(double, Y * 2)
        assert calls[0] == number
    total[...] = 0  # results are the caller's own
    np.testing.assert_array_equal(runner.attempt(X, Y)[0], X + Y)


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_left_alone(counted: tuple[llvm.Executable, Array], name: str):
    runner, calls = counted
    references = [sys.getrefcount(a) for a in WRONG[name]]
    assert runner.attempt(*WRONG[name]) is None
    assert calls[0] == 0
    assert references == [sys.getrefcount(a) for a in WRONG[name]]
    with pytest.raises(TypeError):
        runner.attempt(X, y=Y)


def test_before_the_workers_run_nothing_is_attempted():
    x = leaf("x", 4)
    runner = llvm.build(lower(Graph((x,), (x + 1.0,))))
    runner.pool.ready()
    ready = ctypes.c_int32.from_address(runner.pool.state + FIELDS["ready"])
    assert ready.value == 1
    ready.value = 0  # as in the child of a fork
    try:
        assert runner.attempt(Y) is None
        np.testing.assert_array_equal(runner.run([Y])[0], Y + 1)
    finally:
        ready.value = 1
    np.testing.assert_array_equal(runner.attempt(Y)[0], Y + 1)


def test_the_same_array_twice_none_at_all_and_empty_ones():
    x, y, s, e = leaf("x", 4), leaf("y", 4), leaf("s"), leaf("e", 0, 3)
    both = Executable(Graph((x, y), (x * y, x, y)))
    for found, wanted in zip(both.attempt(Y + 1, Y + 1), (Y * 4, Y * 2, Y * 2), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert Executable(Graph((s,), (s + 1.0,))).attempt(np.float32([2]).reshape(()))[0] == 3
    assert Executable(Graph((e,), (e + 1.0,))).attempt(np.zeros((0, 3), np.float32))[0].size == 0
    w = Parameter("w", TensorType(FLOAT32, (4,)), Storage(Y, FLOAT32))()
    (found,) = Executable(Graph((), (w + 1.0,))).attempt()
    np.testing.assert_array_equal(found, Y + 1)


def test_no_reference_is_lost_or_left(counted: tuple[llvm.Executable, Array]):
    runner, _ = counted
    objects = (X, Y, None, True, np.empty, runner.lock, runner.attempt)
    runner.attempt(X, Y)
    before = [sys.getrefcount(each) for each in objects]
    for _ in range(2000):
        runner.attempt(X, Y)
        runner.attempt(X)
    after = [sys.getrefcount(each) for each in objects]
    assert all(abs(a - b) < 100 for a, b in zip(before, after, strict=True))
    results, plain = runner.attempt(X, Y), [np.empty(4), np.empty(4)]
    assert sys.getrefcount(results) == sys.getrefcount(plain)
    assert [*map(sys.getrefcount, results)] == [*map(sys.getrefcount, plain)]


def test_a_dtype_object_that_only_equals_numpys_own(counted: tuple[llvm.Executable, Array]):
    runner, calls = counted
    other = Y.view(np.dtype("float32", copy=True))
    assert other.dtype is not Y.dtype
    assert runner.attempt(X, other) is None
    np.testing.assert_array_equal(runner.run([X, other])[1], Y * 2)
    assert calls[0] == 1


def lookup() -> llvm.Executable:
    x, i = leaf("x", 5), leaf("i", 3, kind="int64")
    runner = llvm.build(lower(Graph((x, i), (tanh(x), sum_over(Take(0)(x, i), (0,))))))
    runner.pool.ready()
    return runner


@pytest.mark.parametrize("wrong", [5, -6, 1 << 40])
def test_faults(wrong: int):
    runner = lookup()
    x, right = np.arange(5, dtype=np.float32), np.array([0, -1, 2])
    references = sys.getrefcount(x)
    for _ in range(50):
        with pytest.raises(UserError, match="GC0306"):
            runner.attempt(x, np.array([0, wrong, 1]))
        assert not runner.lock.locked()
        assert runner.attempt(x, right)[1] == 6
    assert sys.getrefcount(x) == references


def test_no_memory_for_the_results():
    s = leaf("s")
    runner = llvm.build(lower(Graph((s,), (s + 1.0, broadcast_to(s, (1 << 57,))))))
    runner.pool.ready()
    for _ in range(3):
        with pytest.raises((MemoryError, ValueError)):
            runner.attempt(np.zeros((), np.float32))
        assert not runner.lock.locked()


def test_it_outlives_its_executable():
    x = leaf("x", 4)
    attempt = Executable(Graph((x,), (tanh(x) + 1.0,))).attempt
    gc.collect()
    rubbish = [np.full(4096, 7, np.uint8) for _ in range(100)]
    np.testing.assert_allclose(attempt(Y)[0], np.tanh(Y) + 1, rtol=1e-6)
    assert len(rubbish) == 100


def test_the_interpreters_lock_is_released_for_long_programs_only():
    x, y = leaf("x", 4), leaf("y", 1000, 1000)
    small, large = (llvm.build(lower(Graph((v,), (tanh(v),)))) for v in (x, y))
    assert not small._call().is_long
    assert large._call().is_long


@pytest.mark.parametrize("size", [4, 300_000])
def test_threads_take_turns(size: int):
    x = leaf("x", size)
    shared = Executable(Graph((x,), (tanh(x) * 2.0, sum_over(x, (0,)))))
    wrong: list[str] = []

    def work(number: int) -> None:
        array = np.full(size, number, np.float32)
        for _ in range(200 if size < 1000 else 10):
            double, total = shared(array)
            if total != number * size or not (double == double[0]).all():
                wrong.append(f"{number}: {total}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A NumPy whose arrays keep their rank in another place."""
    monkeypatch.setitem(entry.LAYOUT, "rank", 48)
    entry.obstacle.cache_clear()
    yield
    entry.obstacle.cache_clear()


@pytest.mark.usefixtures("elsewhere")
def test_another_layout_is_noticed_and_calls_go_the_ordinary_way():
    assert "layout" in entry.obstacle()
    assert about()["calls"].startswith("through ctypes: NumPy's arrays")
    runner = lookup()
    x = np.arange(5, dtype=np.float32)
    assert runner.attempt(x, np.array([1, 1, 1])) is None
    assert runner.run([x, np.array([1, 1, 1])])[1] == 3
    with pytest.raises(UserError, match="GC0306"):
        runner.run([x, np.array([1, 9, 1])])
    assert runner.run([x, np.array([4, 1, 1])])[1] == 6
