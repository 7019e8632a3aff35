"""Kernels written by hand on the simulated GPU: right results in every order of threads, and a
report that names the line for every rule that is broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from cuda_units import (
    DEPTH,
    PIPELINE,
    RING,
    SOFTMAX,
    TILED,
    Warpgroup,
    fragments,
)
from graphc.backends.cuda.device import Launch, Limits, Tensor, Unit
from graphc.backends.cuda.sim.compiler import Units, compiler
from graphc.backends.cuda.sim.device import Simulator
from graphc.errors import CompilerBug, UserError
from graphc.graph import Array

ORDERS = pytest.mark.parametrize("seed", [0, 1, 2])
RNG = np.random.default_rng(0)
TYPES = {"f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True)
class Boxes:
    """An array whose boxes are copied, the contiguous axis of a box first."""

    array: Array
    box: tuple[int, ...]
    swizzle: int = 0

    def tensor(self, address: int) -> Tensor:
        x = self.array
        return Tensor(address, x.itemsize, x.shape[::-1], x.strides[-2::-1], self.box, self.swizzle)


def run(
    unit: Unit,
    grid: tuple[int, ...],
    threads: int,
    shared_bytes: int,
    *arguments: Array | Boxes,
    seed: int = 0,
) -> list[Array]:
    """Launch once on copies of these arrays, which go out as the kernel left them."""
    device = Simulator(seed=seed)
    (function,) = device.load([unit])
    arrays = [np.ascontiguousarray(x.array if isinstance(x, Boxes) else x) for x in arguments]
    memory = [device.allocate(x.nbytes) for x in arrays]
    for place, x in zip(memory, arrays, strict=True):
        device.write(place.address, x)
    values = tuple(
        x.tensor(place.address) if isinstance(x, Boxes) else place.address
        for x, place in zip(arguments, memory, strict=True)
    )
    device.run([Launch(function, (*grid, 1, 1)[:3], threads, shared_bytes, values)])
    after = [np.empty_like(x) for x in arrays]
    for place, x in zip(memory, after, strict=True):
        device.read(place.address, x)
    return after


def changed(unit: Unit, *changes: tuple[str, str]) -> Unit:
    """The unit with some of its text replaced."""
    text = unit.text
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return Unit(unit.name, text)


def normal(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def wide(x: Array) -> Array:
    return x.astype(np.float64)


# Right results ------------------------------------------------------------------------------------
@ORDERS
def test_softmax_by_shuffles(seed: int):
    x = normal(9, 64)
    _, y = run(SOFTMAX, (9,), 64, 8, x, np.empty_like(x), seed=seed)
    np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(1, keepdims=True), rtol=1e-6)


@ORDERS
def test_product_by_tiles(seed: int):
    a, b, c = normal(64, 48), normal(48, 64), normal(64, 64)
    *_, c = run(TILED, (2, 2), 64, 4 * 16 * 65, a, b, c, seed=seed)
    np.testing.assert_allclose(c, wide(a) @ wide(b), rtol=1e-5, atol=1e-5)


@ORDERS
def test_product_of_matrices_that_arrive_asynchronously(seed: int):
    a, b = (normal(n, 96, dtype=TYPES["bf16"]) for n in (40, 64))
    *_, c = run(PIPELINE, (1,), 128, 3 * 8192, a, b, normal(40, 64), seed=seed)
    np.testing.assert_allclose(c, wide(a) @ wide(b).T, rtol=1e-5, atol=1e-5)


@ORDERS
@pytest.mark.parametrize("kind", ["f16", "bf16", "tf32"])
def test_matrices_of_a_warp(kind: str, seed: int):
    dtype, depth = (np.dtype(np.float32), 8) if kind == "tf32" else (TYPES[kind], 16)
    x, y = normal(16, depth, dtype=dtype), normal(depth, 8, dtype=dtype)
    *_, z = run(fragments(kind), (1,), 32, 1024, x, y, normal(16, 8), seed=seed)
    tolerance = 4e-3 if kind == "tf32" else 1e-5  # 11 bits of a product's factors
    np.testing.assert_allclose(z, wide(x) @ wide(y), rtol=tolerance, atol=tolerance)


WARPGROUPS = [
    *(Warpgroup("bf16", 64, (a, b), span) for a in (False, True) for b in (False, True)
      for span in (0, 32, 64, 128)),
    Warpgroup("bf16", 8, (True, False), 64),
    Warpgroup("f16", 256, (False, True), 128),
]  # fmt: skip


def product(case: Warpgroup, seed: int) -> tuple[Array, Array]:
    """What the kernel finds, and the true product."""
    a, b = (
        normal(64, DEPTH, dtype=TYPES[case.kind]),
        normal(DEPTH, case.width, dtype=TYPES[case.kind]),
    )
    boxes = (
        Boxes(np.ascontiguousarray(x if straight else x.T), case.box(side), case.span)
        for side, (x, straight) in enumerate(((a, not case.turned[0]), (b, case.turned[1])))
    )
    *_, c = run(case.unit, (1,), 128, case.shared_bytes, *boxes, normal(64, case.width), seed=seed)
    return c, wide(a) @ wide(b)


def test_matrices_of_a_warpgroup():
    Simulator().load([case.unit for case in WARPGROUPS])  # together
    for seed, case in enumerate(WARPGROUPS):
        found, true = product(case, seed % 3)
        np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-4, err_msg=str(case))


@ORDERS
def test_a_ring_of_boxes(seed: int):
    x = normal(5, 30, 60)  # boxes reach behind the end of each axis
    _, y = run(RING, (1,), 96, 2 * 8192 + 32, Boxes(x, (64, 32, 1)), normal(64), seed=seed)
    np.testing.assert_allclose(y[:60], x.sum((0, 1)), rtol=1e-4, atol=1e-4)
    assert not y[60:].any()


NARROW = Unit(
    "narrow",
    """KERNEL(narrow, 32, 1)(const double* __restrict__ x, const u16* __restrict__ h,
                      u16* __restrict__ y, float* __restrict__ w) {
  for (i32 n = gc_thread(); n < 65536; n += 32) {
    y[n] = gc_to_f16(x[n]);
    y[65536 + n] = gc_to_bf16((float)x[n]);
    w[n] = gc_from_f16(h[n]);
    w[65536 + n] = gc_from_bf16(h[n]);
  }
}
EXPORT(narrow)
""",
)


def test_narrow_floats():
    bits = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(all="ignore"):
        x = wide(bits.view(np.float16)) * (1 + 2.0 ** -RNG.integers(10, 40, bits.size))
    _, _, y, w = run(
        NARROW, (1,), 32, 0, x, bits, np.zeros((2, 1 << 16), np.uint16), normal(2, 1 << 16)
    )
    with np.errstate(all="ignore"):
        wanted = [x.astype(np.float16), x.astype(np.float32).astype(TYPES["bf16"])]
    for found, true in zip(y, wanted, strict=True):
        np.testing.assert_array_equal(
            found.view(true.dtype).astype(np.float32), true.astype(np.float32)
        )
    for found, kind in zip(w, ("f16", "bf16"), strict=True):
        np.testing.assert_array_equal(found, bits.view(TYPES[kind]).astype(np.float32))


# Broken rules -------------------------------------------------------------------------------------
def softmax(unit: Unit, seed: int = 0, threads: int = 64, shared_bytes: int = 8) -> Array:
    x = normal(9, 64)
    return run(unit, (9,), threads, shared_bytes, x, np.empty_like(x), seed=seed)[1]


@ORDERS
def test_a_missing_barrier_gives_nan(seed: int):
    assert np.isnan(softmax(changed(SOFTMAX, ("  gc_sync();\n", "")), seed)).any()


@ORDERS
@pytest.mark.parametrize("kept", [0, 1])
def test_each_barrier_of_a_product_is_needed(kept: int, seed: int):
    parts = TILED.text.split("    gc_sync();\n")
    text = f"{parts[0]}{parts[1]}    gc_sync();\n{parts[2]}"
    if kept == 0:
        text = f"{parts[0]}    gc_sync();\n{parts[1]}{parts[2]}"
    a, b = normal(64, 48), normal(48, 64)
    *_, c = run(Unit("tiled", text), (2, 2), 64, 4 * 16 * 65, a, b, normal(64, 64), seed=seed)
    assert not np.allclose(c, a @ b, rtol=1e-3, atol=1e-3)


@ORDERS
@pytest.mark.parametrize(
    "change",
    [
        ("gc_copy_wait<1>();", ""),
        ("gc_copy_wait<1>();", "gc_copy_wait<2>();"),
        ("    gc_sync();\n", ""),
    ],
)
def test_each_wait_of_a_pipeline_is_needed(change: tuple[str, str], seed: int):
    a, b = (normal(n, 96, dtype=TYPES["bf16"]) for n in (40, 64))
    *_, c = run(changed(PIPELINE, change), (1,), 128, 3 * 8192, a, b, normal(40, 64), seed=seed)
    assert np.isnan(c).any()


def reported(unit: Unit, *words: str, **launch: int) -> None:
    """The softmax kernel, so changed, is refused with all these words."""
    with pytest.raises(CompilerBug) as error:
        softmax(unit, **launch)
    for word in words:
        assert word in str(error.value)


def test_a_barrier_that_some_threads_miss():
    reported(
        changed(SOFTMAX, ("gc_sync()", "if (t < 40) gc_sync()")),
        "deadlock",
        "gc_sync, line 9: 0-39",
        "ended: 40-63",
        "   9 |   if (t < 40) gc_sync();",
    )


def test_a_shuffle_that_some_lanes_miss():
    some = ("sum += gc_shuffle_xor(sum, n)", "if (t % 32 < 31) gc_shuffle(sum, n)")
    reported(changed(SOFTMAX, some), "deadlock", "line 7: 0-30 32-62", "gc_sync, line 9: 31 63")


def test_a_line_of_the_prelude_is_said_to_be_one():
    fold = "gc_reduce_block(v, 0.0f, 2, shared, [](float a, float b) { return a + b; })"
    some = changed(SOFTMAX, ("gc_sync();", f"if (t < 32) {fold};"))
    reported(some, "gc_sync, line ", " of meaning.h: 0-31")


def test_lanes_that_meet_in_two_places():
    text = "if (t % 2) gc_sync_warp(); else gc_shuffle(1, 0);\n  gc_sync();"
    reported(
        changed(SOFTMAX, ("gc_sync();", text)), "gc_sync_warp: other threads wait in gc_shuffle"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("sums[t / 32] = sum", "sums[t / 32 + 2] = sum"), "written 0 bytes behind the 8 bytes"),
        (("sums[t / 32] = sum", "sums[t / 32 + 256] = sum"), "offset 1024 of the block's 8 bytes"),
        (("gc_sync();", "gc_sync();\n  *(float*)(u64)(t - 63) = v;"), "after gc_sync in line 9"),
        (("gc_sync();", "volatile float big[70000];\n  big[t] = v;"), "variables"),
        (("gc_sync();", "gc_copy16(sums, x, true);"), "gc_copy16: 16 bytes at offset 0"),
        (("gc_sync();", "gc_sync_some(3, 20);"), "gc_sync_some: 20 threads are no whole warps"),
        (("gc_sync();", "gc_barrier_wait((u64*)sums, 0);"), "there is no barrier at offset 0"),
    ],
)  # fmt: skip
def test_what_is_reported(change: tuple[str, str], words: str):
    reported(changed(SOFTMAX, change), words, "thread" if "written" not in words else "block")


def test_waits_that_were_forgotten():
    copies = changed(SOFTMAX, ("gc_sync();", "gc_copy16(shared + 16 * t, x, true);\n  gc_sync();"))
    reported(copies, "gc_copy16: the thread ends", "line 9", shared_bytes=1024)
    case = Warpgroup("bf16", 64, (False, False), 128)
    for change, words in (
        (("  gc_wgmma_wait<0>();\n", ""), "never waited for this product"),
        (("  gc_barrier_wait(full, 0);\n", ""), "nobody waited for this copy"),
        (("  gc_wgmma_fence();\n", ""), "gc_wgmma_fence comes before"),
        ((f"full, {case.shared_bytes - 8}", "full, 4096"), "8192 bytes arrive, 4096 more than"),
    ):
        with pytest.raises(CompilerBug, match=words):
            product_of(changed(case.unit, change), case)


def product_of(unit: Unit, case: Warpgroup) -> list[Array]:
    a = normal(64, DEPTH, dtype=TYPES[case.kind])
    boxes = Boxes(a, case.box(0), case.span)
    return run(unit, (1,), 128, case.shared_bytes, boxes, boxes, normal(64, 64))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("gc_barrier_wait(empty + slot, phase ^ 1);", ""), "more than 1 arrivals in one phase"),
        (("gc_barrier_init(empty + n, 2)", "gc_barrier_init(empty + n, 3)"), "deadlock"),
        (("phase ^= 1", "phase ^= 0"), "deadlock|arrivals"),
        (("full + slot, 8192", "full + slot, 8192 + 16"), "deadlock"),
        (("float sum = 0;", "float sum = 0; *full = 1;"), "written over this barrier"),
    ],
)
def test_broken_rings(change: tuple[str, str], words: str):
    x = Boxes(normal(6, 32, 64), (64, 32, 1))
    with pytest.raises(CompilerBug, match=words):
        run(changed(RING, change), (1,), 96, 2 * 8192 + 32, x, normal(64))


def test_the_process_goes_on_after_a_fault():
    for _ in range(3):
        reported(changed(SOFTMAX, ("gc_sync();", "*(float*)8 = v;")), "address 0x8")
        assert np.isfinite(softmax(SOFTMAX)).all()


# The device ---------------------------------------------------------------------------------------
def test_what_does_not_compile_is_shown():
    with pytest.raises(CompilerBug, match=r"softmax.*:10.*nonsense"):
        softmax(changed(SOFTMAX, ("y[gc_block_x", "nonsense[gc_block_x")))


def test_limits_of_a_launch():
    for launch in ({"threads": 48}, {"threads": 2048}, {"shared_bytes": 1 << 20}):
        with pytest.raises(CompilerBug, match="a block"):
            softmax(SOFTMAX, **launch)
    with pytest.raises(CompilerBug, match="no tensor map"):
        run(RING, (1,), 96, 2 * 8192 + 32, Boxes(normal(5, 30, 61), (64, 32, 1)), normal(64))
    assert Simulator(Limits(80)).limits.target == "sm_80a"


def test_units_are_found_again(monkeypatch: pytest.MonkeyPatch):
    first = Units()
    units = [SOFTMAX, TILED]
    first.compiled(units)
    monkeypatch.setattr(Units, "_compile", lambda self, units: pytest.fail("compiled again"))
    again = Units()
    assert again.compiled([TILED]) != first.compiled([TILED])
    assert first.compiled([SOFTMAX, SOFTMAX])[0] == first.compiled(units)[0]


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiler.cache_clear()
    try:
        with pytest.raises(UserError, match="GC0403") as error:
            compiler()
        assert "apt install g++" in str(error.value)
    finally:
        compiler.cache_clear()
