"""The emitter and the compiler behind it: control flow, memory, masks, aliasing, linking."""

import ctypes
import threading

import numpy as np
import pytest

from graphc.backends.llvm import jit
from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.machine import host, named
from graphc.errors import CompilerBug

POINTER, NUMBER = ctypes.c_void_p, ctypes.c_int64


def compiled(module, name, result, *arguments, pipeline="short"):
    address = jit.compile_module(module.text(), [name], pipeline=pipeline)[name]
    return ctypes.CFUNCTYPE(result, *arguments)(address)


@pytest.mark.parametrize("pipeline", ["none", "short", "full"])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 100])
def test_masked_loop_over_any_size(pipeline, n, rng):
    module = Module()
    f = module.function("run", [("ptr", "x"), ("ptr", "y"), ("i64", "n")])
    x, y, count = f.parameters
    with f.loop(0, count, 16) as loop:
        mask = f.lanes_below(loop.index, count, 16)
        a = f.load(x.element(loop.index, "float"), "float", 16, mask=mask)
        f.store(a.fma(2.0, 1.0), y.element(loop.index, "float"), mask=mask)
    f.ret()
    run = compiled(module, "run", None, POINTER, POINTER, NUMBER, pipeline=pipeline)
    x, y = rng.normal(size=n + 16).astype(np.float32), np.zeros(n + 16, np.float32)
    run(x.ctypes.data, y.ctypes.data, n)
    np.testing.assert_allclose(y[:n], 2 * x[:n] + 1, rtol=1e-6)
    assert (y[n:] == 0).all()


@pytest.mark.parametrize(("wide", "narrow"), [("i32", "i16"), ("i32", "i8"), ("i64", "i32")])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_neighbours_of_narrowed_numbers_stay(wide, narrow, lanes):
    """LLVM knows the mask, and may not write one number as wide as it was."""
    kinds = [np.dtype(f"{base.replace('i', 'int')}") for base in (wide, narrow)]
    for left in range(1, lanes + 1):
        module = Module()
        f = module.function("run", [("ptr", "x"), ("ptr", "y")])
        x, y = f.parameters
        mask = f.lanes_below(f.constant(0, "i64"), left, lanes)
        f.store(f.load(x, wide, lanes).convert("trunc", narrow), y, mask=mask)
        f.ret()
        run = compiled(module, "run", None, POINTER, POINTER)
        source, found = np.full(lanes, -7, kinds[0]), np.zeros(lanes, kinds[1])
        run(source.ctypes.data, found.ctypes.data)
        assert found.tolist() == [-7] * left + [0] * (lanes - left)


def test_loops_carry_values_and_nest():
    module = Module()
    f = module.function("run", [("i64", "n")], "i64")
    (n,) = f.parameters
    with f.loop(0, n, carry=[f.constant(0, "i64")]) as outer:
        with f.loop(outer.index, n, 2, carry=[outer.carried[0]]) as inner:
            inner.carry(inner.carried[0] + inner.index)
        with f.loop(0, 3, carry=[inner.results[0]]) as fixed:
            fixed.carry(fixed.carried[0] + 1)
        outer.carry(fixed.results[0])
    f.ret(outer.results[0])
    run = compiled(module, "run", NUMBER, NUMBER)
    for n in (0, 1, 7):
        assert run(n) == sum(sum(range(i, n, 2)) + 3 for i in range(n))


def test_a_loop_must_carry_what_it_began_with():
    f = Module().function("run", [])
    with pytest.raises(CompilerBug, match="carries 1"), f.loop(0, 3, carry=[f.constant(0, "i64")]):
        pass
    with (
        pytest.raises(CompilerBug, match="then"),
        f.loop(0, 3, carry=[f.constant(0, "i64")]) as loop,
    ):
        loop.carry(f.constant(0, "i32"))


def test_branches_are_not_both_taken():
    module = Module()
    f = module.function("run", [("ptr", "x"), ("i64", "present")], "double")
    x, present = f.parameters
    here = present.compare("ne", 0)
    value = f.either(here, lambda: f.load(x, "double"), lambda: f.constant(-1.0, "double"))
    with f.when(here):
        f.store(value * 2.0, x)
    f.ret(value)
    run = compiled(module, "run", ctypes.c_double, POINTER, NUMBER)
    cell = ctypes.c_double(4.0)
    assert run(ctypes.addressof(cell), 1) == 4.0
    assert cell.value == 8.0
    assert run(None, 0) == -1.0  # a null pointer that nobody reads


@pytest.mark.parametrize("lanes", [0, 2, 8, 16])
def test_reduction_tables_and_lanes(lanes):
    module = Module()
    f = module.function("run", [("ptr", "x")], "double")
    table = f.table([float(k * k) for k in range(16)], "double")
    value = f.load(table, "double", lanes)
    total = value.reduce(lambda a, b: a + b)
    again = f.table([float(k * k) for k in range(16)], "double")
    f.ret(total + f.load(again.element(3, "double"), "double"))
    assert module.text().count("constant [16 x double]") == 1
    run = compiled(module, "run", ctypes.c_double, POINTER)
    assert run(None) == sum(k * k for k in range(max(lanes, 1))) + 9


@pytest.mark.parametrize("base", ["i32", "i64"])
def test_gather_and_scatter(base, rng):
    module = Module()
    f = module.function("run", [("ptr", "x"), ("ptr", "k"), ("ptr", "y")])
    x, k, y = f.parameters
    mask = f.iota("i32", 8).compare("ne", 3)
    index = f.load(k, base, 8, mask=mask)
    f.scatter(f.gather(x, index, "float", mask), y, index + 1, mask)
    one = f.load(k, base)
    f.scatter(f.gather(x, one, "float") * 2.0, y, one.constant(9))
    f.ret()
    run = compiled(module, "run", None, POINTER, POINTER, POINTER)
    x, y = rng.normal(size=8).astype(np.float32), np.zeros(10, np.float32)
    k = rng.permutation(8).astype({"i32": np.int32, "i64": np.int64}[base])
    wild = k.copy()
    wild[3] = 1 << 30  # masked out: never touched
    run(x.ctypes.data, wild.ctypes.data, y.ctypes.data)
    expected = np.zeros(10, np.float32)
    expected[1:9] = x
    expected[k[3] + 1] = 0
    expected[9] = 2 * x[k[0]]
    np.testing.assert_array_equal(y, expected)


def test_bools_are_bytes_in_memory():
    module = Module()
    f = module.function("run", [("ptr", "x"), ("ptr", "y")])
    x, y = f.parameters
    f.store(~f.load(x, "i1", 8), y)
    f.store(f.gather(x, f.iota("i32", 8), "i1"), y.element(8, "i1"))
    f.ret()
    run = compiled(module, "run", None, POINTER, POINTER)
    x, y = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool), np.zeros(16, bool)
    run(x.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y, np.concatenate([~x, x]))


def test_local_memory_and_streaming_stores(rng):
    module = Module()
    f = module.function("run", [("ptr", "x"), ("ptr", "y")])
    x, y = f.parameters
    local = f.alloca("float", 64)
    f.store(f.load(x, "float", 16), local, align=64)
    f.store(f.load(local, "float", 16) + 1.0, y, align=64, stream=True)
    f.ret()
    assert "!nontemporal" in module.text()
    run = compiled(module, "run", None, POINTER, POINTER)
    memory = np.zeros(64, np.float32)
    start = -memory.ctypes.data % 64 // 4
    x, y = rng.normal(size=16).astype(np.float32), memory[start : start + 16]
    run(x.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y, x + np.float32(1))


def test_scoped_pointers_let_llvm_drop_a_load():
    def loads(scoped):
        module = Module()
        f = module.function("run", [("ptr", "context")], "i64")
        (context,) = f.parameters
        pair = [f.load(context.element(k, "ptr"), "ptr") for k in (0, 1)]
        x, y = f.scoped(pair) if scoped else pair
        first = f.load(x, "i64")
        f.store(f.constant(5, "i64"), y)
        f.ret(first + f.load(x, "i64"))
        return jit.optimised(module.text()).count("load i64")

    assert (loads(scoped=True), loads(scoped=False)) == (1, 2)


def test_scalars_spread_and_numbers_fold():
    f = Module().function("run", [("i64", "n"), ("float", "x")])
    n, x = f.parameters
    assert (f.constant(3, "i64") * 4 + 5).number == 17
    assert (n + 0) is n
    before = len(f.lines)
    assert (x.spread(4) + 1.0).lanes == 4
    assert len(f.lines) == before + 3
    with pytest.raises(CompilerBug, match="lanes"):
        x.spread(4).spread(8)
    with pytest.raises(CompilerBug, match="fadd"):
        _ = x + f.constant(1, "double")


def test_objects_see_each_other_and_given_symbols():
    first, second = Module(), Module()
    f = first.function("seven", [], "i64")
    f.ret(f.constant(7, "i64"))
    g = second.function("sum", [], "i64")
    g.ret(g.call("seven", [], "i64") + g.call("given", [], "i64"))
    callback = ctypes.CFUNCTYPE(NUMBER)(lambda: 35)
    address = ctypes.cast(callback, POINTER).value
    codes = [jit.object_code(module.text()) for module in (first, second)]
    linked = jit.link(codes, ["sum"], {"given": address})
    assert ctypes.CFUNCTYPE(NUMBER)(linked["sum"])() == 42


def test_threads_compile_and_link_at_once():
    found = {}

    def work(number):
        for k in range(5):
            module = Module()
            f = module.function("answer", [], "i64")
            f.ret(f.constant(10 * number + k, "i64"))
            found[number, k] = compiled(module, "answer", NUMBER)()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == {(number, k): 10 * number + k for number in range(4) for k in range(5)}


def test_failures_are_compiler_bugs():
    with pytest.raises(CompilerBug, match="refuses"):
        jit.object_code("define void @f() { oops }")
    module = Module()
    f = module.function("lonely", [])
    f.call("no_such_function_anywhere", [])
    f.ret()
    with pytest.raises(CompilerBug, match="does not link"):
        jit.compile_module(module.text(), ["lonely"])
    with pytest.raises(CompilerBug, match="pipeline"):
        jit.object_code(module.text(), "fastest")


def test_assembly_is_for_the_machine_asked_for():
    wide, narrow = named("skylake-avx512"), named("x86-64")
    if wide.architecture != "x86_64":
        pytest.skip("the CPU names are those of x86-64")
    assert (wide.vector_bytes, wide.registers, wide.has_fma) == (64, 32, True)
    assert (narrow.vector_bytes, narrow.registers, narrow.has_fma) == (16, 16, False)

    def text(machine):
        module = Module(machine)
        f = module.function("run", [("ptr", "x")])
        value = f.load(f.parameters[0], "float", 16)
        f.store(value.fma(value, 1.0), f.parameters[0])
        f.ret()
        return jit.assembly(module.text(), machine=machine)

    assert "zmm" in text(wide)
    assert "vfmadd" in text(wide)
    assert "ymm" not in text(narrow)
    assert "fmaf" not in text(narrow)


def test_the_environment_names_the_processor(monkeypatch):
    monkeypatch.setenv("GRAPHC_CPU", "haswell")
    assert host().cpu == "haswell"
    monkeypatch.delenv("GRAPHC_CPU")
    assert host().cpu != ""
    assert host().fingerprint != named("haswell").fingerprint
