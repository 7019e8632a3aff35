"""NVRTC: machine code, what the compiler says of it, errors that can be read. No GPU is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphc.backends.cuda.device import Limits, Unit, Usage
from graphc.backends.cuda.nvidia import compiler, disassembler, listing
from graphc.backends.cuda.nvidia.compiler import Compiled
from graphc.backends.cuda.nvidia.occupancy import blocks_at_a_time, occupancy
from graphc.errors import CompilerBug, UserError

KERNEL = (
    '#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name\n'
)
ADD = Unit("add", "KERNEL(add, 128)(float* x) {\n  x[threadIdx.x] += 1;\n}\n")
SPILLING = """KERNEL(spilling, 1024)(float* x) {
  float a[48];
  for (int i = 0; i < 48; i++) a[i] = x[threadIdx.x + 1024 * i];
  __syncthreads();
  for (int j = 0; j < 4; j++)
    for (int i = 0; i < 48; i++) a[i] = __fmaf_rn(a[i], a[(7 * i + j) % 48], x[i]);
  for (int i = 0; i < 48; i++) x[threadIdx.x + 1024 * i] = a[i];
}
"""
REGISTERS = """extern "C" __global__ void unbounded(int* x) {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
  x[threadIdx.x] = 1;
}
"""


def machine_code(unit: Unit, target: str = "sm_90a") -> Compiled:
    return compiler.compiled(KERNEL, unit, target)


# Compiling ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", ["sm_75", "sm_90a"])
def test_machine_code_of_a_kernel(nvrtc, target):
    made = machine_code(ADD, target)
    assert made.cubin.startswith(b"\x7fELF")
    assert 0 < made.usage.registers <= 32
    assert (made.usage.spilled, made.usage.shared, made.stack, made.remarks) == (0, 0, 0, ())
    assert f".target {target}" in compiler.ptx(KERNEL, ADD, target)


def test_spills_are_seen(nvrtc):
    made = machine_code(Unit("spilling", SPILLING))
    assert made.usage.registers <= 64
    assert made.usage.spilled > 100
    assert made.stack > 100


def test_static_shared_memory_is_counted(nvrtc):
    text = ADD.text.replace("{\n", "{\n  __shared__ float s[128];\n", 1)
    text = text.replace("+= 1", "= s[127 - threadIdx.x]").replace(
        "  x[", "  s[threadIdx.x] = x[threadIdx.x]; __syncthreads();\n  x["
    )
    assert machine_code(Unit("add", text)).usage.shared == 512


def test_products_are_fused_only_where_the_text_says_so(nvrtc):
    text = ADD.text.replace("+= 1", "= x[0] * x[1] + x[2]")
    assert "fma." not in compiler.ptx(KERNEL, Unit("add", text), "sm_80")
    fused = ADD.text.replace("+= 1", "= __fmaf_rn(x[0], x[1], x[2])")
    assert "fma.rn.f32" in compiler.ptx(KERNEL, Unit("add", fused), "sm_80")


def test_the_assembler_remarks_on_registers_that_are_not_given(nvrtc):
    (remark,) = machine_code(Unit("unbounded", REGISTERS)).remarks
    assert remark.startswith("C7508: ")
    assert "setmaxnreg" in remark


def test_an_error_shows_the_line(nvrtc):
    with pytest.raises(CompilerBug) as caught:
        machine_code(replace(ADD, text=ADD.text.replace("x[t", "y[t")))
    message = str(caught.value)
    assert message.startswith("the kernel add does not compile for sm_90a:\nadd(2): error:")
    assert ">    2 |   y[threadIdx.x] += 1;" in message
    assert "     3 | }" in message


def test_an_error_of_the_assembler_is_shown(nvrtc):
    text = ADD.text.replace("x[threadIdx.x] += 1", 'asm volatile("no_such_instruction;")')
    with pytest.raises(CompilerBug, match="no_such_instruction"):
        machine_code(replace(ADD, text=text))


def test_an_unknown_target_is_refused(nvrtc):
    with pytest.raises(CompilerBug, match=r"does not compile for sm_70:\n.*gpu-architecture"):
        machine_code(ADD, "sm_70")


# Keeping ------------------------------------------------------------------------------------------
def test_machine_code_is_kept_on_disk(nvrtc, tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    unit = Unit("add", "KERNEL(add, 128, 1)(float* x) {\n  x[gc_thread()] += 1;\n}\n")
    made = listing.machine_code(unit, "sm_80")
    monkeypatch.setattr(compiler, "compiled", None)
    assert listing.machine_code(unit, "sm_80") == made
    with pytest.raises(TypeError, match="not callable"):
        listing.machine_code(unit, "sm_86")


def test_everything_that_matters_is_in_the_key(nvrtc):
    others = [
        compiler.key("a", ADD, "sm_80"),
        compiler.key("b", ADD, "sm_80"),
        compiler.key("a", ADD, "sm_90"),
        compiler.key("a", replace(ADD, name="sub"), "sm_80"),
        compiler.key("a", replace(ADD, text="..."), "sm_80"),
    ]
    assert len({*others}) == len(others)


def test_entries_are_checked():
    made = Compiled(b"code\nwith lines", "two\nlines")
    assert Compiled.unpacked(made.packed()) == made
    for entry in (b"", b"no json\ncode", b'"log"\n', b"[1]\ncode", b'"log"'):
        with pytest.raises(ValueError, match=r"no machine code|Expecting"):
            Compiled.unpacked(entry)


# Looking ------------------------------------------------------------------------------------------
def test_the_levels_of_a_unit(nvrtc):
    unit = Unit("add", "KERNEL(add, 128, 1)(float* x) {\n  x[gc_thread()] += 1;\n}\nEXPORT(add)\n")
    assert listing.text(unit, "cuda", "sm_80") == unit.text
    assert ".entry add(" in listing.text(unit, "ptx", "sm_80")
    try:
        disassembler.program()
    except UserError as error:
        pytest.skip(f"nvdisasm cannot be used: {error.what}")
    assert "STG.E" in listing.text(unit, "sass", "sm_80")


def test_what_is_no_machine_code_is_refused():
    try:
        disassembler.program()
    except UserError as error:
        pytest.skip(f"nvdisasm cannot be used: {error.what}")
    with pytest.raises(CompilerBug, match="nvdisasm"):
        disassembler.sass(b"no cubin")


def test_a_missing_disassembler_is_said(monkeypatch):
    monkeypatch.setattr(disassembler, "PACKAGE", "no-such-package")
    with pytest.raises(UserError, match="pip install no-such-package") as caught:
        disassembler.sass(b"")
    assert caught.value.code == "GC0403"


# Occupancy: the numbers are those of NVIDIA's own calculator --------------------------------------
@pytest.mark.parametrize(
    ("limits", "usage", "threads", "dynamic", "blocks"),
    [
        (Limits(), Usage(32, 0, 0), 1024, 0, 2),
        (Limits(), Usage(33, 0, 0), 1024, 0, 1),
        (Limits(), Usage(64, 0, 0), 128, 0, 8),
        (Limits(), Usage(200, 0, 0), 64, 0, 4),
        (Limits(), Usage(168, 0, 0), 64, 0, 6),
        (Limits(), Usage(255, 0, 0), 1024, 0, 0),
        (Limits(), Usage(32, 0, 0), 32, 0, 32),
        (Limits(), Usage(168, 0, 0), 384, 200_000, 1),
        (Limits(), Usage(32, 0, 0), 128, 232_448, 1),
        (Limits(), Usage(32, 0, 0), 128, 232_449, 0),
        (Limits(), Usage(32, 0, 1024), 128, 112 << 10, 2),
        (Limits(89, "", 66, 101_376), Usage(80, 0, 0), 256, 0, 3),
        (Limits(89, "", 66, 101_376), Usage(64, 0, 0), 256, 0, 4),
        (Limits(89, "", 66, 101_376), Usage(32, 0, 0), 32, 0, 24),
        (Limits(75, "", 68, 65_536), Usage(32, 0, 0), 128, 0, 8),
        (Limits(75, "", 68, 65_536), Usage(32, 0, 0), 32, 10_000, 6),
    ],
)
def test_blocks_at_a_time(limits, usage, threads, dynamic, blocks):
    assert blocks_at_a_time(limits, usage, threads, dynamic) == blocks


def test_occupancy_is_a_part_of_the_warps():
    assert occupancy(Limits(), Usage(32, 0, 0), 1024) == 1
    assert occupancy(Limits(), Usage(168, 0, 0), 384, 200_000) == 12 / 64
