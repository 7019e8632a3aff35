"""The worker pool: every index exactly once, whoever calls, and after a fork."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from graphc.backends.llvm import jit, threads
from graphc.backends.llvm.emit import SHARE_ABOVE, grain
from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.roofline import core_to_core
from graphc.errors import UserError


@pytest.fixture(scope="module")
def kernels():
    """`mark` adds one to each byte; `nested` calls `mark` in parallel for each row of 1000."""
    module = Module()
    f = module.function("mark", [("ptr", "bytes"), ("i64", "low"), ("i64", "high")])
    data, low, high = f.parameters
    with f.loop(low, high) as loop:
        place = data.element(loop.index, "i8")
        f.store(f.load(place, "i8") + 1, place)
    f.ret()
    f = module.function("nested", [("ptr", "context"), ("i64", "low"), ("i64", "high")])
    context, low, high = f.parameters
    data, state, run, mark = (f.load(context.element(k, "ptr"), "ptr") for k in range(4))
    with f.loop(low, high) as loop:
        row = data.element(loop.index * 1000, "i8")
        count = f.constant(1000, "i64")
        f.call(run, [state, mark, row, count, f.constant(7, "i64")])
    f.ret()
    return jit.compile_module(module.text(), ["mark", "nested"])


@pytest.fixture(scope="module")
def pool():
    made = threads.Pool(3)
    yield made
    made.stop()


@pytest.mark.parametrize("count", [0, 1, 2, 63, 1000, 12345])
@pytest.mark.parametrize("chunk", [1, 7, 64, 100000])
def test_every_index_exactly_once(pool, kernels, count, chunk):
    seen = np.zeros(count + 8, np.uint8)
    pool.run(kernels["mark"], seen.ctypes.data, count, chunk)
    assert (seen[:count] == 1).all()
    assert (seen[count:] == 0).all()


def test_many_loops_of_random_sizes(pool, kernels, rng):
    seen, expected = np.zeros(600, np.uint8), np.zeros(600, np.uint8)
    for _ in range(3000):
        count, chunk = int(rng.integers(1, 600)), int(rng.integers(1, 80))
        pool.run(kernels["mark"], seen.ctypes.data, count, chunk)
        expected[:count] += 1
    np.testing.assert_array_equal(seen, expected)


def test_nested_loops(pool, kernels):
    seen = np.zeros(64 * 1000, np.uint8)
    addresses = (seen.ctypes.data, pool.state, pool.parallel_for, kernels["mark"])
    context = (ctypes.c_void_p * 4)(*addresses)
    for _ in range(20):
        pool.run(kernels["nested"], ctypes.addressof(context), 64, 1)
    assert (seen == 20).all()


def test_two_callers_at_once(pool, kernels):
    seen = np.zeros((2, 500), np.uint8)

    def call(row):
        for _ in range(1000):
            pool.run(kernels["mark"], row.ctypes.data, 500, 20)

    callers = [threading.Thread(target=call, args=(row,)) for row in seen]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (seen == 1000 % 256).all()


def test_workers_start_once_and_stop(kernels):
    pool = threads.Pool(4)
    assert pool._workers is None
    pool.ready()
    pool.ready()
    workers = pool._workers
    assert len(workers) == 3
    pool.stop()
    assert not any(worker.is_alive() for worker in workers)
    seen = np.zeros(100, np.uint8)
    pool.run(kernels["mark"], seen.ctypes.data, 100, 3)
    assert (seen == 1).all()


@pytest.mark.sweep  # uncounted: coverage has a lock that a child gets as another thread holds it
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parent_and_child_work_after_a_fork(pool, kernels):
    def correct():
        seen = np.zeros(1000, np.uint8)
        for _ in range(50):
            pool.run(kernels["mark"], seen.ctypes.data, 1000, 10)
        return (seen == 50).all()

    assert correct()
    stopped = threading.Event()

    def busy():
        row = np.zeros(500, np.uint8)
        while not stopped.is_set():
            pool.run(kernels["mark"], row.ctypes.data, 500, 20)

    other = threading.Thread(target=busy)
    other.start()
    try:
        for _ in range(3):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a deadlock ends the child, not the test run
                os._exit(7 if correct() else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        stopped.set()
        other.join()
    assert correct()


class Chunks:
    """A kernel in Python: the caller's chunk waits until a worker has one, which takes as long as
    it is told.
    """

    def __init__(self, caller_seconds: float, worker_seconds: float) -> None:
        self.seconds = (caller_seconds, worker_seconds)
        self.caller = threading.get_ident()
        self.entered = threading.Event()
        self.done: list[tuple[int, int]] = []
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self.kept = kind(self.run)
        self.address = ctypes.cast(self.kept, ctypes.c_void_p).value

    def run(self, context: int, low: int, high: int) -> None:
        mine = threading.get_ident() == self.caller
        if mine and high - low == 1:
            self.entered.wait()
        elif not mine:
            self.entered.set()
        time.sleep(self.seconds[0 if mine else 1])
        self.done.append((low, high))


@pytest.fixture
def pair():
    made = threads.Pool(2)
    yield made
    made.stop()


def alone_until(pool: threads.Pool) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(pool.state + threads.FIELDS["alone_until"])


def test_a_worker_that_keeps_the_caller_waiting_is_left_alone_for_a_while(pair):
    held = Chunks(0.0, 0.05)
    pair.run(held.address, 0, 2, 1)
    assert sorted(held.done) == [(0, 1), (1, 2)]
    until = alone_until(pair).value
    assert until > time.monotonic_ns()
    alone = Chunks(0.0, 0.0)
    alone_until(pair).value = until + 10**12  # however slow this machine is
    pair.run(alone.address, 0, 2, 1)
    assert alone.done == [(0, 2)]
    alone_until(pair).value = time.monotonic_ns() - 1
    again = Chunks(0.02, 0.02)
    pair.run(again.address, 0, 2, 1)
    assert sorted(again.done) == [(0, 1), (1, 2)]


def test_waiting_no_longer_than_working_is_no_reason_to_work_alone(pair):
    equal = Chunks(0.2, 0.1)
    pair.run(equal.address, 0, 2, 1)
    assert sorted(equal.done) == [(0, 1), (1, 2)]
    assert alone_until(pair).value == 0


SCRIPT = """
import numpy as np, threading
from graphc.backends.llvm import jit, threads
from graphc.backends.llvm.emitter import Module
module = Module()
f = module.function("idle", [("ptr", "context"), ("i64", "low"), ("i64", "high")])
f.ret()
idle = jit.compile_module(module.text(), ["idle"])["idle"]
pool = threads.pool()
def forever():
    while True:
        pool.run(idle, 0, 100, 1)
threading.Thread(target=forever, daemon=True).start()
for _ in range(100):
    pool.run(idle, 0, 100, 1)
print(pool.threads)
"""


def test_a_process_ends_while_threads_are_in_loops():
    environment = {**os.environ, "GRAPHC_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "3", "")


def test_the_number_of_threads_is_checked(monkeypatch):
    monkeypatch.setenv("GRAPHC_THREADS", "5")
    assert threads.thread_count() == 5
    for wrong in ("0", "-1", "many"):
        monkeypatch.setenv("GRAPHC_THREADS", wrong)
        with pytest.raises(UserError, match="GRAPHC_THREADS"):
            threads.thread_count()
    monkeypatch.delenv("GRAPHC_THREADS")
    assert threads.thread_count() >= 1


# Chunks -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("threads", [1, 2, 9, 64])
@pytest.mark.parametrize(("extent", "unit"), [(1, 1), (7, 1), (1000, 1), (100_001, 64)])
def test_a_large_loop_has_chunks_for_all_threads(threads, extent, unit):
    chunk = grain(extent, unit, 1e12, threads)
    assert chunk % unit == 0
    count = -(-extent // chunk)
    assert count <= max(16, 8 * threads)
    assert count >= min(extent // unit, 4 * threads), "each thread has work, and some is left over"


def test_two_threads_share_sixteen_chunks():
    assert grain(1600, 1, 1e12, 2) == grain(1600, 1, 1e12, 1) == 100


def test_a_small_loop_is_not_shared():
    assert grain(1000, 1, SHARE_ABOVE - 1, 64) == 1000
    assert grain(0, 1, 1e12, 64) == 1


# How near cores are -------------------------------------------------------------------------------
def test_the_rate_from_core_to_core_leaves_the_thread_where_it_was():
    if not hasattr(os, "sched_setaffinity"):
        assert core_to_core() == 0
        return
    before = os.sched_getaffinity(0)
    try:
        rate = core_to_core()
        assert os.sched_getaffinity(0) == before
        assert (rate > 1e6) == (len(before) > 1)
        os.sched_setaffinity(0, [min(before)])
        assert core_to_core() == 0
    finally:
        os.sched_setaffinity(0, before)
