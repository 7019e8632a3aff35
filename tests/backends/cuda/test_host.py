"""The host's side of a call on NVIDIA's device: what it asks of the driver, and when it waits.

The driver is a fake one, which does its work as late as it may; the simulator runs the kernels.
"""

from __future__ import annotations

import ctypes
import shutil
import sys

import numpy as np
import pytest

import graphc as gc
from fake_driver import FakeDriver
from graphc import dlpack
from graphc.backends.cuda import nvidia, sim
from graphc.backends.cuda.device import Launch
from graphc.backends.cuda.nvidia.compiler import Compiled
from graphc.backends.cuda.nvidia.device import Gpu
from graphc.dlpack import CUDA
from graphc.errors import UserError
from lending import Owner, lent

fit = sys.modules["graphc.frontends.training.fit"]

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler is here"
)


class SimulatedDriver(FakeDriver):
    """Its kernels are the real ones."""

    def __init__(self):
        super().__init__(memory=1 << 26)
        self.units = {}

    def build(self, unit, target):
        self.units[unit.name] = unit
        return Compiled(b"cubin", "ptxas info    : Used 40 registers")

    def do_cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, arguments, extra):
        unit = self.units[self.functions[function]]
        (code,) = sim.device().load([unit])
        count = unit.text.split("{")[0].count(",") - 1  # two commas stand in KERNEL(...)
        pointers = (ctypes.c_void_p * count).from_address(arguments)
        values = tuple(ctypes.c_uint64.from_address(pointer).value for pointer in pointers)
        launch = Launch(code, (gx, gy, gz), bx, shared, values)
        return self._later(lambda: sim.device().run([launch]), stream)


@pytest.fixture
def api(monkeypatch):
    made = SimulatedDriver()
    gpu = Gpu(made, made.build)
    monkeypatch.setattr(nvidia, "device", lambda: gpu)
    return made


def training():
    """A step with two inputs; its loss tells which call it is of."""
    x, y, count = gc.input("x", (4,)), gc.input("y", (4,)), gc.param(np.zeros(()), name="count")
    outputs = [(x * y).sum() + count, x + y]
    return gc.compile([x, y], outputs, {count: count + 1}, backend="cuda"), count


X, Y = np.arange(4, dtype=np.float32), np.full(4, 2, np.float32)
RUN = ["cuMemcpyHtoDAsync", "cuGraphLaunch"]
WAIT = ["cuMemcpyDtoHAsync", "cuStreamSynchronize"]
LEAVE = ["cuMemcpyDtoDAsync", "cuEventRecord"]


# What the driver is asked for ---------------------------------------------------------------------
def test_a_usual_call_asks_the_driver_four_times(api):
    step, count = training()
    for number in range(3):
        api.calls.clear()
        loss, total = step(X, Y)
        assert number == 0 or api.names() == [*RUN, *WAIT]
        assert loss == 12 + number
        np.testing.assert_array_equal(total, X + 2)
    assert gc.value(count) == 3


def test_a_call_that_does_not_wait_asks_four_times_too(api):
    step, _ = training()
    kept = [step.later(X, Y)]
    new = {"cuMemAlloc", "cuEventCreate"}
    for _ in range(3):
        api.calls.clear()
        kept.append(step.later(X, Y))
        assert [name for name in api.names() if name not in new] == [*RUN, *LEAVE]
        assert api.queue, "nothing is waited for"
        del kept[:-1]
    api.calls.clear()
    assert float(kept[0][0]) == 15
    assert api.names() == ["cuEventSynchronize", *WAIT]


def test_the_short_way_is_for_what_needs_no_conversion(api):
    step, _ = training()
    attempt = step.compiled.runner.attempt
    assert attempt(X, Y)[0] == 12
    assert attempt(X[::-1], np.broadcast_to(Y[0], 4))[0] == 13  # copied in order
    for wrong in [(X,), (X, Y, Y), (X, [1, 2, 3, 4]), (X, Y[:3]), (X, Y.astype(np.float64))]:
        assert attempt(*wrong) is None
    assert step([0, 1, 2, 3], Y)[0] == 14


# Results that are looked at late ------------------------------------------------------------------
def test_arguments_may_change_and_results_are_kept(api):
    step, _ = training()
    x = X.copy()
    asked = []
    for number in range(6):
        x[:] = number
        asked.append(step.later(x, Y))
    x[:] = -1
    for number in (4, 0, 5, 2, 1, 3):
        loss, total = asked[number]
        np.testing.assert_array_equal(total, [number + 2] * 4)
        assert float(loss) == 9 * number


def test_memory_of_results_is_used_again(api):
    step, _ = training()
    for _ in range(3):
        step.later(X, Y)
    before = api.names().count("cuMemAlloc")
    for number in range(3, 9):
        assert float(step.later(X, Y)[0]) == 12 + number
    assert api.names().count("cuMemAlloc") == before


def test_one_result_keeps_memory_for_all_of_its_call(api):
    step, _ = training()
    total = step.later(X, Y)[1]
    for _ in range(3):
        step.later(Y, Y)
    np.testing.assert_array_equal(total, X + 2)


def test_large_results_and_inputs_come_one_by_one(api, monkeypatch):
    monkeypatch.setattr(sys.modules[Gpu.__module__], "SMALL", 256)
    step, _ = training()
    monkeypatch.setattr(nvidia.device()._staging, "size", 300)
    api.calls.clear()
    assert step(X, Y)[0] == 12
    assert api.names().count("cuMemcpyDtoHAsync") == 2
    assert api.names().count("cuMemcpyHtoDAsync") >= 2
    assert api.names().count("cuStreamSynchronize") == 1
    assert float(step.later(Y, Y)[0]) == 17


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_fault_is_told_by_the_first_result_looked_at(api, wanted):
    x, i = gc.input("x", (4,)), gc.input("i", (2,), "int64")
    picked = x[i]
    run = gc.compile([x, i], [picked, x + x], backend="cuda")
    good, bad = np.array([0, 3]), np.array([0, 4])
    asked = [run.later(X, i) for i in (good, bad, good)]
    np.testing.assert_array_equal(asked[0][0], [0, 3])
    for late in (1, 2):  # of that call or a later one
        with pytest.raises(UserError, match=r"GC0306(.|\n)*picked = "):
            asked[late][wanted].numpy()
    np.testing.assert_array_equal(run.later(X, good)[0], [0, 3])
    run.later(X, bad)
    with pytest.raises(UserError, match="GC0306"):
        run(X, good)
    np.testing.assert_array_equal(run(X, good)[0], [0, 3])


def test_a_fault_of_the_device_is_told_when_somebody_looks(api):
    step, _ = training()
    asked = step.later(X, Y)
    api.fail["cuEventSynchronize"] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(UserError, match="GC0406"):
        float(asked[0])


def test_fit_waits_now_and_then(api, rng, monkeypatch):
    monkeypatch.setattr(fit, "PAUSE", np.inf)
    x, w = gc.input("x", ("n", 4)), gc.param(np.ones(4), name="w")
    loss = ((x @ w) ** 2).mean()
    (slope,) = gc.grad(loss, [w])
    step = gc.compile([x], loss, {w: w - 0.01 * slope}, backend="cuda")
    batches = [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(50)]
    step(batches[0])
    gc.assign(w, np.ones(4))
    api.calls.clear()
    history = gc.fit(step, batches, quiet=True)
    assert api.names().count("cuGraphLaunch") == len(batches)
    first_wait = api.names().index("cuEventSynchronize")
    assert api.names()[:first_wait].count("cuGraphLaunch") > fit.AHEAD
    gc.assign(w, np.ones(4))
    expected = np.mean([step(batch) for batch in batches])
    assert history.last["loss"] == pytest.approx(expected, rel=1e-5)


# Other libraries ----------------------------------------------------------------------------------
def test_arrays_on_the_device_are_copied_there(api):
    step, _ = training()
    step(X, Y)
    before, given = lent(), Owner(Y + 1, (CUDA, 0))
    api.calls.clear()
    assert step(X, given)[0] == 19
    assert "cuMemcpyDtoDAsync" in api.names()
    assert given.streams == [int(nvidia.device().stream)]
    assert lent() == before


def test_they_are_held_until_they_are_read(api):
    step, _ = training()
    step(X, Y)
    before = lent()
    results = step.later(X, Owner(Y + 1, (CUDA, 0)))
    assert lent() == before + 1
    del results
    assert lent() == before + 1, "the device has not read it yet"
    assert float(step.later(X, Y)[0]) == 14
    assert lent() == before


def test_arrays_on_the_device_must_fit(api):
    step, _ = training()
    before = lent()
    for given, code, word in (
        (Owner(Y, (CUDA, 1)), "GC0107", "CUDA device 1"),
        (Owner(Y.astype(np.float64), (CUDA, 0)), "GC0304", "nothing is converted"),
        (Owner(Y[:3], (CUDA, 0)), "GC0303", r"\(3,\)"),
    ):
        with pytest.raises(UserError, match=rf"{code}(.|\n)*{word}"):
            step(X, given)
    with pytest.raises(UserError, match="needed on the host"):
        step.find_nan(X, Owner(Y, (CUDA, 0)))
    assert lent() == before


def test_results_go_to_the_next_function_on_the_device(api):
    step, _ = training()
    x = gc.input("x", (4,))
    triple = gc.compile([x], x * 3, backend="cuda")
    total = step.later(X, Y)[1]
    step.later(Y, Y)
    api.calls.clear()
    answer = triple.later(total)
    assert not {"cuMemcpyHtoDAsync", "cuEventSynchronize", "cuStreamSynchronize"} & {*api.names()}
    np.testing.assert_array_equal(answer, (X + 2) * 3)


ORDERS = {
    "reversed": np.arange(12, dtype=np.float32).reshape(3, 4)[::-1],
    "transposed": np.arange(12, dtype=np.float32).reshape(4, 3).T,
    "broadcast": np.broadcast_to(np.arange(4, dtype=np.float32), (3, 4)),
    "every other": np.arange(48, dtype=np.float32).reshape(6, 8)[::2, ::2],
}
"""Arrays of 3 x 4 that do not lie row by row in memory."""


@pytest.mark.parametrize("order", ORDERS)
def test_an_array_in_any_order_stands_beside_one_on_the_device(api, order):
    step, _ = training()
    x, y = gc.input("x", (3, 4)), gc.input("y", (4,))
    f = gc.compile([x, y], x * 2 + y, backend="cuda")
    total = step.later(X, Y)[1]
    given = ORDERS[order]
    for _ in range(2):
        np.testing.assert_array_equal(f(given, total), given * 2 + X + 2)
        np.testing.assert_array_equal(f.later(given, total), given * 2 + X + 2)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("backend", ["cuda", "cuda-sim"])
def test_devices_write_arrays_row_by_row(api, backend, order):
    device = {"cuda": nvidia, "cuda-sim": sim}[backend].device()
    memory, found = device.allocate(48), np.empty((3, 4), np.float32)
    device.write(memory.address, ORDERS[order])
    device.read(memory.address, found)
    np.testing.assert_array_equal(found, ORDERS[order])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("backend", ["cuda", "cuda-sim"])
def test_constants_and_parameters_may_be_made_of_arrays_in_any_order(api, backend, order):
    array = ORDERS[order]
    x, w = gc.input("x", (3, 4)), gc.param(array, name="w")
    f = gc.compile([x], [x + gc.constant(array), x * w], backend=backend)
    ones = np.ones((3, 4), np.float32)
    for _ in range(2):
        added, multiplied = f(ones)
        np.testing.assert_array_equal(added, array + 1)
        np.testing.assert_array_equal(multiplied, gc.value(w))
        w.node.op.storage.assign(array[::-1])


@pytest.mark.parametrize(("given", "waiting"), [(None, 1), (2, 2), (99, 99), (-1, None)])
def test_who_takes_a_result_waits_on_its_stream(api, given, waiting):
    step, _ = training()
    loss, total = step.later(X, Y)
    assert total.__dlpack_device__() == (CUDA, 0)
    api.calls.clear()
    taken = dlpack.borrow(total, given)
    waits = [stream for name, stream, *_ in api.calls if name == "cuStreamWaitEvent"]
    assert waits == ([] if waiting is None else [waiting])
    assert (taken.device, taken.shape, taken.dtype) == ((CUDA, 0), (4,), "float32")
    del loss, total
    for _ in range(3):
        step.later(Y, Y)
    api.finish()
    found = (ctypes.c_float * 4).from_address(taken.address)
    assert list(found) == [2, 3, 4, 5], "memory that was lent is not used again"


def test_lent_memory_is_given_back(api):
    step, _ = training()
    for _ in range(5):
        dlpack.borrow(step.later(X, Y)[1], 1)
    step(X, Y)
    before = len(api.blocks)
    for _ in range(5):
        dlpack.borrow(step.later(X, Y)[1], 1)
    step(X, Y)
    assert len(api.blocks) <= before + 1


def test_a_result_comes_to_the_host_for_numpy(api):
    step, _ = training()
    total = step.later(X, Y)[1]
    np.testing.assert_array_equal(np.from_dlpack(total, device="cpu"), X + 2)
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(total)
