"""NVIDIA's own Python module on a driver library of ours: every argument arrives as it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numpy as np
from graphc.backends.cuda.device import Launch, Tensor, Unit
from graphc.backends.cuda.layout import Layout
from graphc.backends.cuda.nvidia.compiler import Compiled
from graphc.backends.cuda.nvidia.device import Gpu
from graphc.types import INT64, TensorType

gpu = Gpu(None, lambda unit, target: Compiled(b"cubin", ""))
print(gpu.name, gpu.limits.target, gpu.limits.shared_bytes, gpu.limits.registers)
(function,) = gpu.load([Unit("add", "")])
memory, found = gpu.allocate(64), np.zeros(8, np.int64)
gpu.write(memory.address, np.arange(8))
gpu.copy(memory.address + 16, memory.address, 16)
gpu.read(memory.address, found)
print(*found)
layout = Layout.of([TensorType(INT64, (2,)), TensorType(INT64, ())])
mail, mark = gpu.allocate(layout.size), gpu.mark()
gpu.inbox(mail.address, layout)([np.array([5, 6]), np.array(7)])
outbox = gpu.outbox(mail.address, layout)
print(*outbox())
mark.put()
mark.hold(None)
mark.hold(2)
mark.hold(-1)
gpu.read(mail.address, found[:1], mark)
print(found[0])
start = Tensor(4096, 2, (100, 60), (256,), (64, 32))
launch = Launch(function, (5, 2, 1), 128, 100_000, (start, 12, memory.address))
gpu.run([launch])
gpu.read(memory.address, found)
print(found[0])
replay = gpu.recorded([launch])
replay()
print(gpu.seconds(replay))
gpu.read(memory.address, found)
print(found[0])
try:
    gpu.allocate(2 << 30)
except ValueError as error:
    print(error.what)
del launch, replay, memory, function, mail, mark, outbox
gpu.synchronise()
"""
SAID = """\
Stub sm_90a 232448 65536
0 1 0 1 4 5 6 7
[5 6] 7
5
4108
0.0025
4110
the device has not enough memory: 2.00 GiB are wanted, 5.00 GiB of 8.00 GiB are free
"""
LAUNCH = "map 1 2: 100 60, 256, 64 32, 1 1; 0 3 2 0\nlaunch 0x33 5 2 1 128 100000 1 0"
CALLED = f"""\
context 0x11
stream 1
stream 1
stream 1
module cubi
function add of 0x22
stream 1 waits for 0x66 0
stream 2 waits for 0x66 0
set 8 of 0x33 to 100000
{LAUNCH}
capture 1
{LAUNCH}
instantiate 0x44 0
destroy 0x44
upload 0x55
replay 0x55
replay 0x55
"""


@pytest.mark.skipif(sys.platform != "linux", reason="libraries have other names here")
def test_arguments_arrive(tmp_path: Path):
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is here")
    source, library = Path(__file__).with_name("libcuda.cpp"), tmp_path / "libcuda.so.1"
    named = ["-o", library, f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler, "-shared", "-fPIC", "-w", source, *named, "-ldl"], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == SAID, done.stderr
    assert done.stderr.startswith(CALLED)
    freed = done.stderr.removeprefix(CALLED).splitlines()
    assert sorted(freed) == ["destroy 0x55", "free", "free", "free host", "unload 0x22"]
