"""The device for NVIDIA's GPUs on a driver of ours: what it calls, in which order, what it says."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import re
import threading

import numpy as np
import pytest

from fake_driver import FakeDriver
from graphc.backends.cuda.device import Launch, Limits, Tensor, Unit
from graphc.backends.cuda.layout import Layout
from graphc.backends.cuda.nvidia.about import gpus
from graphc.backends.cuda.nvidia.arguments import Arguments
from graphc.backends.cuda.nvidia.compiler import Compiled
from graphc.backends.cuda.nvidia.device import Gpu
from graphc.backends.cuda.nvidia.driver import Driver
from graphc.backends.cuda.nvidia.memory import Staging
from graphc.errors import CompilerBug, UserError
from graphc.types import FLOAT32, TensorType

LOG = "ptxas info    : Used 40 registers, used 1 barriers, 96 bytes smem"


def build(unit: Unit, target: str) -> Compiled:
    """No compiler: code that says what it would be made of."""
    return Compiled(f"{unit.name} for {target}".encode(), LOG)


def twice(source: int, target: int) -> None:
    """The kernel of these tests: two floats are doubled."""
    x, y = ((ctypes.c_float * 2).from_address(place) for place in (source, target))
    y[:] = [2 * value for value in x]


@pytest.fixture
def api():
    made = FakeDriver()
    made.kernels = {"twice": twice}
    return made


@pytest.fixture
def gpu(api):
    return Gpu(api, build)


@pytest.fixture
def launch(gpu):
    """A launch of `twice` from one piece of memory to another; both are kept by the launch."""
    (function,) = gpu.load([Unit("twice", "...")])
    memory = [gpu.allocate(8), gpu.allocate(8)]

    class Kept(Launch):
        held = memory

    return Kept(function, (3, 2, 1), 128, 0, tuple(m.address for m in memory))


def values(gpu, memory) -> list[float]:
    found = np.zeros(2, np.float32)
    gpu.read(memory.address, found)
    return found.tolist()


# Opening ------------------------------------------------------------------------------------------
def test_limits_are_the_devices(gpu):
    assert gpu.limits == Limits(90, "a", 132, 232_448, 65_536)
    assert gpu.limits.target == "sm_90a"
    assert gpu.name == "Fake H200"


@pytest.mark.parametrize(("major", "minor", "target"), [(7, 5, "sm_75"), (8, 6, "sm_86")])
def test_only_hopper_has_instructions_of_its_own(api, major, minor, target):
    api.attributes["CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR"] = major
    api.attributes["CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR"] = minor
    assert Gpu(api, build).limits.target == target


def refusal(api) -> str:
    with pytest.raises(UserError) as caught:
        Gpu(api, build)
    assert caught.value.code == "GC0403"
    message = str(caught.value)
    assert "cuda-sim" in message
    assert "graphc doctor" in message
    return message


def test_a_gpu_that_is_too_old_is_refused(api):
    api.attributes["CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR"] = 7
    assert "it is an sm_70" in refusal(api)


def test_a_driver_that_is_too_old_is_refused(api):
    api.version = 12080
    message = refusal(api)
    assert "it knows CUDA 12.8" in message
    assert "driver 580 or newer" in message
    assert "cuInit" not in api.names()


def test_no_gpu_is_said(api):
    api.fail["cuInit"] = "CUDA_ERROR_NO_DEVICE"
    assert "the driver finds no GPU" in refusal(api)


def test_no_driver_is_said():
    class NoDriver:
        def cuDriverGetVersion(self):
            raise RuntimeError("libcuda.so was not found")

    message = refusal(NoDriver())
    assert "there is no NVIDIA driver" in message
    assert "libcuda.so" in message


# Memory -------------------------------------------------------------------------------------------
def test_arrays_arrive_and_may_change_at_once(gpu, api):
    memory = gpu.allocate(8)
    array = np.array([1, 2], np.float32)
    gpu.write(memory.address, array)
    array[:] = 7
    assert api.queue, "the copy is still to come"
    assert values(gpu, memory) == [1, 2]


def test_arrays_larger_than_the_pinned_memory_arrive_in_pieces(api):
    staging = Staging(Driver(api), stream=1, size=1024)
    array = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    target = np.zeros_like(array)
    staging.send(target.ctypes.data, array)
    api.finish()
    np.testing.assert_array_equal(target, array)


def test_pinned_memory_is_used_again_only_when_its_arrays_have_left(api):
    staging = Staging(Driver(api), stream=1, size=1024)
    arrays = [np.full(200, n, np.uint8) for n in range(20)]
    targets = [np.zeros(200, np.uint8) for _ in arrays]
    for array, target in zip(arrays, targets, strict=True):
        staging.send(target.ctypes.data, array)
    api.finish()
    np.testing.assert_array_equal(targets, arrays)
    waits = api.names().count("cuEventSynchronize")
    assert waits == 4, "four arrays of 256 bytes fit each half"


def test_empty_and_0d_arrays(gpu, api):
    memory = gpu.allocate(0)
    gpu.write(memory.address, np.zeros((0, 3), np.float32))
    gpu.read(memory.address, np.zeros((0, 3), np.float32))
    gpu.copy(memory.address, memory.address, 0)
    assert not {"cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemcpyDtoDAsync"} & {*api.names()}
    one, found = gpu.allocate(8), np.zeros((), np.float64)
    gpu.write(one.address, np.array(2.5))
    gpu.read(one.address, found)
    assert found == 2.5


def test_memory_is_copied_on_the_device(gpu):
    a, b = gpu.allocate(8), gpu.allocate(8)
    gpu.write(a.address, np.array([1, 2], np.float32))
    gpu.copy(b.address, a.address, 8)
    assert values(gpu, b) == [1, 2]


def test_memory_is_given_back_when_nobody_holds_it(gpu, api):
    memory = gpu.allocate(64)
    address = memory.address
    del memory
    assert address in api.blocks, "perhaps something is being recorded now"
    gpu.synchronise()
    assert address not in api.blocks


def test_too_little_memory_is_said_with_numbers(gpu, api):
    kept = gpu.allocate(1 << 19)
    with pytest.raises(UserError) as caught:
        gpu.allocate(3 << 30)
    assert caught.value.code == "GC0405"
    assert "3.00 GiB are wanted" in str(caught.value)
    assert "nvidia-smi" in str(caught.value)
    assert kept.address in api.blocks
    assert gpu.allocate(16).size == 16, "the process survives"


def test_garbage_makes_room(gpu):
    class Holder:
        pass

    holder = Holder()
    holder.itself, holder.memory = holder, gpu.allocate(1 << 19)
    gc.disable()
    try:
        del holder
        assert gpu.allocate(3 << 18).size == 3 << 18
    finally:
        gc.enable()


# Kernels ------------------------------------------------------------------------------------------
def test_units_are_loaded_once(gpu, api):
    a, b = Unit("twice", "one"), Unit("twice", "two")
    first = gpu.load([a, b, a])
    assert first[0] is first[2]
    assert first[0] is not first[1]
    assert gpu.load([b])[0] is first[1]
    assert api.alive["module"] == 2
    assert gpu.load([]) == []
    assert first[0].compiled.cubin == b"twice for sm_90a"
    assert gpu.usage(first[0]).registers == 40


def test_forgotten_kernels_are_unloaded(gpu, api):
    gpu.load([Unit("twice", "one")])
    gpu.synchronise()
    assert api.alive["module"] == 0


def test_a_launch_has_its_sizes_and_arguments(gpu, api, launch):
    gpu.write(launch.held[0].address, np.array([1, 2], np.float32))
    gpu.run([launch])
    assert values(gpu, launch.held[1]) == [2, 4]
    name, _, *sizes, stream, _, extra = next(c for c in api.calls if c[0] == "cuLaunchKernel")
    assert (name, sizes, extra) == ("cuLaunchKernel", [3, 2, 1, 128, 1, 1, 0], 0)
    assert stream == gpu.stream


def test_much_shared_memory_is_asked_for_once(gpu, api, launch):
    large = Launch(launch.function, (1, 1, 1), 32, 100_000, launch.arguments)
    gpu.run([launch, large, large])
    asked = [call for call in api.calls if call[0] == "cuFuncSetAttribute"]
    assert [call[3] for call in asked] == [100_000]


def test_a_recording_runs_again_and_again(gpu, api, launch):
    other = Launch(launch.function, (1, 1, 1), 32, 0, launch.arguments[::-1])
    replay = gpu.recorded([launch, other])
    a, b = launch.held
    gpu.write(a.address, np.array([1, 2], np.float32))
    assert values(gpu, b) != [2, 4], "recording runs nothing"
    for power in (4, 16, 64):
        replay()
        assert values(gpu, a) == [power, 2 * power]
    assert api.names().count("cuLaunchKernel") == 2
    assert api.alive["graph"] == 0
    order = [n for n in api.names() if "Graph" in n or "Capture" in n]
    made = ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphDestroy"]
    assert order == [*made, "cuGraphUpload", *["cuGraphLaunch"] * 3]
    del replay
    gpu.synchronise()
    assert api.alive["executable graph"] == 0


def test_nothing_recorded_is_nothing_done(gpu, api):
    gpu.recorded([])()
    assert "cuGraphLaunch" not in api.names()


def test_a_recording_that_fails_is_ended(gpu, api, launch):
    api.fail["cuLaunchKernel"] = "CUDA_ERROR_INVALID_VALUE"
    with pytest.raises(CompilerBug, match="cuLaunchKernel failed: CUDA_ERROR_INVALID_VALUE"):
        gpu.recorded([launch])
    assert api.recording is None
    gpu.recorded([launch])()


def test_seconds_are_the_devices(gpu, api, launch):
    events = api.alive["event"]
    assert gpu.seconds(lambda: gpu.run([launch])) == 1.5e-3
    assert api.alive["event"] == events


def test_every_thread_enters_the_context(gpu, api):
    def work():
        for _ in range(2):
            gpu.allocate(1)

    thread = threading.Thread(target=work)
    before = api.names().count("cuCtxSetCurrent")
    thread.start()
    thread.join()
    assert api.names().count("cuCtxSetCurrent") == before + 1


def test_texts(gpu):
    assert gpu.text(Unit("k", "text"), "cuda") == "text"
    with pytest.raises(UserError, match="GC0104"):
        gpu.text(Unit("k", "text"), "asm")


# Faults -------------------------------------------------------------------------------------------
def test_a_fault_names_the_kernels_that_may_have_caused_it(gpu, api, launch):
    gpu.recorded([launch, launch])()
    api.sticky = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(UserError) as caught:
        gpu.synchronise()
    message = str(caught.value)
    assert caught.value.code == "GC0406"
    assert "in the kernel twice: illegal address" in message
    assert "start the process again" in message
    with pytest.raises(UserError, match="GC0406"):
        gpu.read(launch.held[0].address, np.zeros(2, np.float32))


def test_kernels_that_are_done_are_not_blamed(gpu, api, launch):
    gpu.run([launch])
    gpu.synchronise()
    api.sticky = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(UserError) as caught:
        gpu.synchronise()
    assert "twice" not in str(caught.value)


def test_one_by_one_each_kernel_is_waited_for(api, monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    gpu = Gpu(api, build)
    (function,) = gpu.load([Unit("twice", "...")])
    memory = [gpu.allocate(8), gpu.allocate(8)]
    places = tuple(m.address for m in memory)
    gpu.recorded([Launch(function, (1, 1, 1), 32, 0, places)] * 2)()
    assert api.names().count("cuStreamSynchronize") == 2
    assert "cuStreamBeginCapture" not in api.names()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_the_child_of_a_fork_is_told(gpu):
    forked = multiprocessing.get_context("fork")
    receive, send = forked.Pipe(duplex=False)

    def child():
        try:
            gpu.allocate(16)
        except UserError as error:
            send.send((error.code, str(error)))

    process = forked.Process(target=child)
    process.start()
    code, message = receive.recv() if receive.poll(30) else ("", "no answer")
    process.join()
    assert code == "GC0403"
    assert "fork" in message
    assert gpu.allocate(16).size == 16


# Tensor maps --------------------------------------------------------------------------------------
TENSOR = Tensor(4096, 2, (100, 60), (256,), (64, 32))


def test_a_tensor_map_is_encoded_and_passed_by_address(api):
    arguments = Arguments(Driver(api), (77, TENSOR, 99))
    name, kind, rank, address, *sizes, interleave, swizzle, _, fill = api.calls[-1]
    assert (name, rank, address) == ("cuTensorMapEncodeTiled", 2, 4096)
    assert sizes == [[100, 60], [256], [64, 32], [1, 1]]
    assert (kind, swizzle) == ("CU_TENSOR_MAP_DATA_TYPE_UINT16", "CU_TENSOR_MAP_SWIZZLE_128B")
    assert interleave.endswith("NONE")
    assert fill.endswith("NONE")
    pointers = (ctypes.c_void_p * 3).from_address(arguments.address)
    assert [ctypes.c_uint64.from_address(p).value for p in pointers] == [77, 4096, 99]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"address": 4100}, "address"),
        ({"strides": (250,)}, "strides are multiples"),
        ({"strides": ()}, "have a stride"),
        ({"box": (64,)}, "as many axes"),
        ({"box": (64, 257)}, "1 to 256"),
        ({"box": (12, 8)}, "multiple of 16 bytes"),
        ({"box": (128, 8)}, "no longer than the swizzle"),
    ],
)
def test_what_the_accelerator_cannot_read_is_refused(api, change, rule):
    tensor = Tensor(**{**TENSOR.__dict__, **change})
    with pytest.raises(CompilerBug, match=rule):
        Arguments(Driver(api), (tensor,))


# What doctor says ---------------------------------------------------------------------------------
def test_doctor_lists_gpus(api):
    api.memory = 141 << 30
    said = {"NVIDIA driver": "for CUDA 13.0", "GPU 0": "Fake H200, sm_90, 141 GiB"}
    assert gpus(api) == said


# NVIDIA's own module ------------------------------------------------------------------------------
def test_nvidias_module_has_these_functions_and_constants(gpu, api, launch):
    """Nothing runs here, so every name and number of arguments is compared with its docstrings."""
    real = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    gpu.write(launch.held[0].address, np.zeros(2, np.float32))
    gpu.recorded([launch])()
    gpu.run([Launch(launch.function, (1, 1, 1), 32, 100_000, launch.arguments)])
    gpu.copy(launch.held[0].address, launch.held[1].address, 8)
    gpu.seconds(lambda: None)
    layout, mark = Layout.of([TensorType(FLOAT32, (2,))]), gpu.mark()
    mail = gpu.allocate(layout.size)
    gpu.inbox(mail.address, layout)([np.zeros(2, np.float32)])
    outbox = gpu.outbox(mail.address, layout)
    outbox()
    mark.put()
    mark.hold(None)
    gpu.read(mail.address, np.zeros(2, np.float32), mark)
    del mark, outbox
    gpu.synchronise()
    Arguments(gpu.driver, (TENSOR, Tensor(4096, 4, (8, 8, 8), (32, 256), (8, 8, 8), 0)))
    gpus(api)
    del launch
    with pytest.raises(UserError):
        gpu.allocate(1 << 40)
    for name, *arguments in api.calls:
        written = getattr(real, name).__doc__.strip().splitlines()[0]
        parameters = re.fullmatch(rf"{name}\((.*)\)", written)[1]
        count = len([part for part in re.sub(r"\[.*?\]", "", parameters).split(",") if part])
        assert len(arguments) == count, written
    for enumeration, member in api.constants:
        assert hasattr(getattr(real, enumeration), member), f"{enumeration}.{member}"
    assert len({name for name, *_ in api.calls}) > 25
