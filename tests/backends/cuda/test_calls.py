"""Calls of programs on the simulated GPU: faults, threads, memory, texts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import graphc as gc
from graphc.backends.cuda.device import Launch, Unit
from graphc.backends.cuda.nvidia import bindings
from graphc.backends.cuda.sim.device import Simulator
from graphc.errors import CompilerBug, UserError

SIM = "cuda-sim"


# Faults -------------------------------------------------------------------------------------------
def test_an_index_that_misses_is_reported_at_its_line():
    x, i, j = gc.input("x", (3, 40)), gc.input("i", (2,), "int64"), gc.input("j", (2,), "int64")
    rows = x.sum(1)[i]
    missing = x[:, 0][j]
    run = gc.compile([x, i, j], [rows, missing, x * 2], backend=SIM)
    array, good, bad = np.ones((3, 40), np.float32), np.array([0, 2]), np.array([2, 3])
    np.testing.assert_array_equal(run(array, good, good)[0], [40, 40])
    for first, second, line in ((bad, good, "rows = "), (good, bad, "missing = ")):
        for _ in range(2):
            with pytest.raises(UserError) as caught:
                run(array, first, second)
            assert caught.value.code == "GC0306"
            assert line in str(caught.value)
            assert "test_calls.py" in str(caught.value)
    np.testing.assert_array_equal(run(array, good, good)[2], array * 2)


def test_a_library_that_fails_names_the_line():
    a = gc.input("a", (2, 2))
    factor = gc.linalg.cholesky(a)
    run = gc.compile([a], factor + 1, backend=SIM)
    with pytest.raises(UserError, match="factor = gc"):
        run(-np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(run(np.eye(2, dtype=np.float32)), np.eye(2) + 1)


def test_after_a_kernel_that_broke_a_rule_others_run():
    def launch(threads: int, some: int) -> None:
        body = f"{{ if (gc_thread() < {some}) gc_sync(); }}"
        text = f"KERNEL(meet, {threads}, 1)() {body}\nEXPORT(meet)\n"
        device = Simulator()
        (function,) = device.load([Unit("meet", text)])
        device.run([Launch(function, (1, 1, 1), threads, 0, ())])

    for _ in range(2):
        with pytest.raises(CompilerBug, match="deadlock"):
            launch(1024, 1000)
        launch(32, 32)
        launch(1024, 1024)


# Threads ------------------------------------------------------------------------------------------
def test_calls_from_several_threads_take_turns(rng):
    total = gc.param(np.zeros(5), name="total")
    x = gc.input("x", (7, 5))
    run = gc.compile([x], gc.softmax(x), {total: total + x.sum(0)}, backend=SIM)
    plain = gc.compile([x], gc.softmax(x), backend="numpy")
    arrays = [rng.integers(-3, 3, (7, 5)).astype(np.float32) for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, arrays))
    for ours, array in zip(found, arrays, strict=True):
        np.testing.assert_allclose(ours, plain(array), rtol=1e-6)
    np.testing.assert_array_equal(gc.value(total), np.sum(arrays, (0, 1)))


def test_programs_run_at_once_in_several_threads(rng):
    x = gc.input("x", (6, 40))
    programs = [gc.compile([x], (x * k).sum(1), backend=SIM) for k in range(4)]
    array = rng.integers(-3, 3, (6, 40)).astype(np.float32)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda run: run(array), programs * 3))
    for k, ours in enumerate(found):
        np.testing.assert_array_equal(ours, (array * (k % 4)).sum(1))


# Memory -------------------------------------------------------------------------------------------
def test_temporaries_within_a_limit(rng):
    x, w = gc.input("x", (64, 64)), gc.param(rng.normal(size=(64, 64)) / 8, name="w")
    y = x
    for _ in range(8):
        y = gc.tanh(y @ w)
    results = [y.sum(), *gc.grad(y.sum(), [w])]
    plain = gc.compile([x], results, backend=SIM)
    limit = plain.program.plan.arena_bytes * 3 // 4
    tight = gc.compile([x], results, backend=SIM, memory=limit)
    assert tight.program.plan.arena_bytes <= limit
    array = rng.normal(size=(64, 64)).astype(np.float32)
    for ours, wanted in zip(tight(array), plain(array), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="GC0104"):
        gc.compile([x], results, backend=SIM, memory=100)


# Looking ------------------------------------------------------------------------------------------
def test_texts_of_chosen_kernels():
    x = gc.input("x", (33, 65))
    run = gc.compile([x], [gc.softmax(x), x.sum(0)], backend=SIM)
    texts = [run.source("cuda", k) for k in range(len(run.kernels))]
    assert run.source("cuda") == "\n\n".join(texts)
    assert all(text.startswith("KERNEL(") for text in texts)


@pytest.mark.parametrize("level", ["llvm", "asm", "poetry", ""])
def test_a_level_that_the_device_does_not_have(level: str):
    x = gc.input("x", (3,))
    with pytest.raises(UserError, match=r"GC0104(.|\n)*'?cuda") as caught:
        gc.compile([x], x + 1, backend=SIM).source(level)
    assert repr(level) in str(caught.value)


def test_no_optional_passes():
    x = gc.input("x", (3,))
    with pytest.raises(UserError, match="GC0104"):
        gc.compile([x], x + 1, backend=SIM, passes="autotune")


def test_seconds_of_each_kernel(rng):
    x = gc.input("x", (5, 5))
    count = gc.param(np.zeros(()), name="count")
    factor = gc.linalg.cholesky(x @ x.T + gc.eye(5))
    run = gc.compile([x], gc.exp(factor), {count: count + 1}, backend=SIM)
    times = run.profile(rng.normal(size=(5, 5)).astype(np.float32), repeats=3)
    assert len(times) == len(run.kernels)
    assert all(seconds > 0 for _, seconds in times)
    assert gc.value(count) == 3


def test_without_a_driver_the_gpu_is_refused_in_one_sentence(monkeypatch):
    def missing():
        raise UserError("GC0403", "no driver here", fix="use backend='cuda-sim'")

    monkeypatch.setattr(bindings, "driver", missing)
    x = gc.input("x", (3,))
    with pytest.raises(UserError, match="cuda-sim"):
        gc.compile([x], x + 1, backend="cuda")(np.ones(3, np.float32))
