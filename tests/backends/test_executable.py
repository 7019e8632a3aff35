"""`Executable`: arguments, named sizes, updates, and what can be seen of the compilation."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from execute import interpreted
from graphc.compile import Executable
from graphc.dims import Dim
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node
from graphc.kernels.kernel import Program
from graphc.ops.contraction import matmul
from graphc.ops.leaves import Input, Parameter, Storage
from graphc.ops.movement import broadcast_to, transpose
from graphc.ops.random import normal, uniform
from graphc.ops.reduction import sum_over
from graphc.scalars import tanh
from graphc.types import FLOAT32, UINT32, TensorType, dtype
from kernels.models import GRAPHS, draw, parameter

BACKENDS = ("numpy", "llvm", "cuda-sim")
COMPILING = ("llvm", "cuda-sim")


def leaf(name: str, *shape: int | str, kind: str = "float32") -> Node:
    sizes = tuple(Dim.named(s) if isinstance(s, str) else s for s in shape)
    return Input(name, TensorType(dtype(kind), sizes))()


def simple(backend: str = "llvm", kind: str = "float32") -> Executable:
    x, y = leaf("x", 2, 3, kind=kind), leaf("y", 2, 3, kind=kind)
    return Executable(Graph((x, y), (x * 2 + y,)), backend)


def code(caught: pytest.ExceptionInfo[UserError]) -> str:
    return caught.value.code


# Arguments ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
def test_by_place_and_by_name(backend: str):
    run = simple(backend)
    x, y = np.ones((2, 3), np.float32), np.full((2, 3), 3, np.float32)
    for found in (run(x, y), run(x, y=y), run(y=y, x=x)):
        np.testing.assert_array_equal(found[0], 2 * x + y)


@pytest.mark.parametrize(
    ("places", "names"), [(0, ""), (1, ""), (3, ""), (1, "x"), (2, "y"), (1, "yz"), (0, "xz")]
)
def test_missing_and_superfluous_arguments(places: int, names: str):
    array = np.ones((2, 3), np.float32)
    with pytest.raises(UserError) as caught:
        simple()(*[array] * places, **dict.fromkeys(names, array))
    assert code(caught) == "GC0302"


def test_an_input_that_is_not_listed_is_refused_at_its_line():
    x, forgotten = leaf("x", 3), leaf("forgotten", 3)
    with pytest.raises(UserError) as caught:
        Executable(Graph((x,), (x + forgotten,)))
    assert code(caught) == "GC0301"
    assert "forgotten = leaf" in str(caught.value) or "forgotten" in caught.value.what


@pytest.mark.parametrize("given", ["int8", "int16", "uint16", "bool", "float16", ">f4", "float32"])
def test_dtypes_that_fit_are_converted(given: str):
    x = np.array([[1, 0, 1], [0, 1, 1]]).astype(given)
    (found,) = simple()(x, x)
    np.testing.assert_array_equal(found, 3 * x.astype(np.float32))


@pytest.mark.parametrize("given", ["float64", "int32", "int64", "complex64", "uint32"])
def test_dtypes_that_lose_values_are_refused(given: str):
    x = np.ones((2, 3), given)
    with pytest.raises(UserError) as caught:
        simple()(x, x)
    assert code(caught) == "GC0304" if given != "complex64" else code(caught).startswith("GC0")
    assert "astype('float32')" in str(caught.value)


def test_python_numbers_and_lists():
    x, s = leaf("x", 2, 2), leaf("s")
    run = Executable(Graph((x, s), (x * broadcast_to(s, (2, 2)),)))
    np.testing.assert_array_equal(run([[1, 2], [3, 4]], 0.5)[0], [[0.5, 1], [1.5, 2]])


def layouts(array: Array) -> dict[str, Array]:
    """The same values in memory that is not dense, not aligned, not writable, not plain."""
    wide = np.zeros((array.shape[0] * 2, array.shape[1] * 3), array.dtype)
    wide[::2, ::3] = array
    bytes_ = np.zeros(array.nbytes + 1, np.uint8)
    crooked = bytes_[1:].view(array.dtype).reshape(array.shape)
    crooked[...] = array
    frozen = array.copy()
    frozen.flags.writeable = False
    return {
        "strided": wide[::2, ::3],
        "turned": np.asfortranarray(array),
        "backwards": array[::-1, ::-1].copy()[::-1, ::-1],
        "misaligned": crooked,
        "read-only": frozen,
        "repeated": np.broadcast_to(array[:1], array.shape),
        "subclass": np.ma.MaskedArray(array),
        "other byte order": array.astype(array.dtype.newbyteorder()),
    }


@pytest.mark.parametrize(
    ("backend", "kind"),
    [("llvm", "float32"), ("llvm", "float64"), ("llvm", "int16"), ("cuda-sim", "float32")],
)
@pytest.mark.parametrize("name", layouts(np.zeros((1, 1))))
def test_every_layout_of_memory(name: str, backend: str, kind: str):
    rng = np.random.default_rng(0)
    array = layouts(rng.integers(-9, 9, (19, 37)).astype(kind))[name]
    x = leaf("x", 19, 37, kind=kind)
    graph = Graph((x,), (x + x, transpose(x, (1, 0)), matmul(x, transpose(x, (1, 0)))))
    dense = np.array(array, kind, order="C")
    before = dense.copy()
    run = Executable(graph, backend)
    for found, wanted in zip(run(array), interpreted(graph, [dense]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("backend", COMPILING)
def test_outputs_are_fresh_and_the_caller_may_write_into_them(backend: str):
    x = leaf("x", 4)
    w = parameter("w", 4)
    run = Executable(Graph((x,), (x, w, x + w, x)), backend)
    array = np.arange(4, dtype=np.float32)
    kept = w.op.storage.array.copy()
    first = run(array)
    for k, output in enumerate(first):
        output[...] = k + 100
    second = run(array)
    np.testing.assert_array_equal(second[0], np.arange(4))
    np.testing.assert_array_equal(second[1], kept)
    np.testing.assert_array_equal(first[3], [103] * 4)


# Named sizes --------------------------------------------------------------------------------------
def sized(backend: str = "llvm") -> Executable:
    x, w = leaf("x", "batch", "width"), leaf("w", "width", 3)
    return Executable(Graph((x, w), (tanh(matmul(x, w)), sum_over(x, (0,)))), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_set_of_sizes_is_compiled_once(backend: str):
    seen: list[str] = []
    x = leaf("x", "batch", 2)
    graph = Graph((x,), (x * x,))
    run = Executable(graph, backend, watch=lambda name, _: seen.append(name))
    assert not seen
    for batch in (3, 5, 3, 5, 1, 0):
        array = np.full((batch, 2), 3, np.float32)
        np.testing.assert_array_equal(run(array)[0], array * 3)
    assert seen.count("executable") == 4
    assert set(run.specialisations) == {(3,), (5,), (1,), (0,)}
    assert run.compiled.sizes == {"batch": 0}


def test_sizes_may_be_given_ahead():
    run = sized()
    made = run.specialise({"batch": 4, "width": 5})
    rng = np.random.default_rng(0)
    run(rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32))
    assert run.compiled is made
    with pytest.raises(UserError) as caught:
        run.specialise({"batch": 4})
    assert code(caught) == "GC0305"


def test_nothing_to_see_before_the_sizes_are_known():
    with pytest.raises(UserError) as caught:
        sized().source("kernels")
    assert code(caught) == "GC0305"


@pytest.mark.parametrize(
    ("x", "w"),
    [((4, 5), (6, 3)), ((4, 5), (5, 4)), ((4,), (5, 3)), ((4, 5, 1), (5, 3)), ((4, 5), (5,))],
)
def test_sizes_that_contradict_are_refused(x: tuple[int, ...], w: tuple[int, ...]):
    run = sized()
    with pytest.raises(UserError) as caught:
        run(np.zeros(x, np.float32), np.zeros(w, np.float32))
    assert code(caught) == "GC0303"
    run(np.zeros((4, 5), np.float32), np.zeros((5, 3), np.float32))
    with pytest.raises(UserError) as caught:  # also when the right sizes are compiled already
        run(np.zeros(x, np.float32), np.zeros(w, np.float32))
    assert code(caught) == "GC0303"


def test_a_shape_of_numbers_is_checked_too():
    with pytest.raises(UserError) as caught:
        simple()(np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float32))
    assert code(caught) == "GC0303"


# Updates ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
def test_updates_come_after_the_outputs_once_per_call(backend: str):
    x = leaf("x", 3)
    w = Parameter("w", TensorType(FLOAT32, (3,)), Storage(np.zeros(3), FLOAT32))()
    run = Executable(Graph((x,), (w * 1.0, w + x), ((w, w + x),)), backend)
    one = np.ones(3, np.float32)
    for count in range(4):
        old, new = run(one)
        np.testing.assert_array_equal(old, [count] * 3)
        np.testing.assert_array_equal(new, [count + 1] * 3)
        np.testing.assert_array_equal(w.op.storage.array, [count + 1] * 3)


@pytest.mark.parametrize("backend", COMPILING)
def test_executables_share_their_parameters(backend: str):
    x = leaf("x", 3)
    w = Parameter("w", TensorType(FLOAT32, (3,)), Storage(np.zeros(3), FLOAT32))()
    step = Executable(Graph((x,), (), ((w, w + x),)), backend)
    show = Executable(Graph((), (w * 2.0,)), backend)
    for _ in range(3):
        assert step(np.ones(3, np.float32)) == []
    np.testing.assert_array_equal(show()[0], [6] * 3)
    w.op.storage.assign(np.full(3, 10))
    np.testing.assert_array_equal(show()[0], [20] * 3)


def state(*numbers: int) -> Node:
    kind = TensorType(UINT32, (4,))
    return Parameter("state", kind, Storage(np.array(numbers), UINT32), False, True)()


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_states_count_the_calls(backend: str):
    seed = state(1, 2, 0, 0)
    run = Executable(Graph((), (uniform(seed, (50,), 0, FLOAT32),)), backend)
    draws = [run()[0] for _ in range(3)]
    assert not np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[1], draws[2])
    np.testing.assert_array_equal(seed.op.storage.array, [1, 2, 3, 0])
    seed.op.storage.assign([1, 2, 0, 0])
    np.testing.assert_array_equal(run()[0], draws[0])


def test_random_numbers_are_equal_on_every_backend():
    drawn = []
    for backend in BACKENDS:
        seed = state(7, 8, 9, 0)
        graph = Graph((), (uniform(seed, (33,), 0, FLOAT32), normal(seed, (33,), 1, FLOAT32)))
        drawn.append(Executable(graph, backend)())
    for even, bell in drawn[1:]:
        np.testing.assert_array_equal(even, drawn[0][0])
        np.testing.assert_allclose(bell, drawn[0][1], rtol=2e-6, atol=2e-7)


def test_a_state_with_an_update_of_its_own_does_not_advance():
    seed = state(1, 2, 0, 0)
    draw_ = uniform(seed, (5,), 0, FLOAT32)
    run = Executable(Graph((), (draw_,), ((seed, seed + 0),)))
    np.testing.assert_array_equal(run()[0], run()[0])


# Looking inside -----------------------------------------------------------------------------------
def test_the_stages_are_seen_in_order():
    seen: list[tuple[str, object]] = []
    run = Executable(GRAPHS["sgd"](), watch=lambda name, made: seen.append((name, made)))
    names = [name for name, _ in seen]
    assert names[0] == "graph"
    main = [n for n in names if n in ("graph", "optimised", "prepared", "kernels", "executable")]
    assert main == ["graph", "optimised", "prepared", "kernels", "executable"]
    passes = names[1 : names.index("optimised")]
    assert passes[:2] == ["cse", "fold"]
    assert passes[-1] == "dce"
    assert isinstance(dict(seen)["kernels"], Program)
    assert run.stages["kernels"] is dict(seen)["kernels"]
    assert list(run.compiled.seconds) == main


def test_the_numpy_backend_stops_before_kernels():
    seen: list[str] = []
    Executable(GRAPHS["softmax"](), "numpy", watch=lambda name, _: seen.append(name))
    assert seen[-2:] == ["optimised", "executable"]


LEVELS = [("llvm", ("loops", "llvm", "asm"), "define"), ("cuda-sim", ("loops", "cuda"), "KERNEL(")]


@pytest.mark.parametrize(("backend", "levels", "word"), LEVELS)
def test_texts_and_times(backend: str, levels: tuple[str, ...], word: str):
    graph = GRAPHS["softmax"]()
    run = Executable(graph, backend)
    for level in ("graph", "optimised", "kernels", "fusion", *levels):
        assert isinstance(run.source(level), str)
    assert word in run.source(levels[1], 0)
    for level, kernel in (("poetry", None), (levels[1], 1)):
        with pytest.raises(UserError) as caught:
            run.source(level, kernel)
        assert code(caught) == "GC0104"
    times = run.profile(*draw(graph), repeats=3)
    assert [name for name, _ in times] == ["max, exp, sum, divide"]
    assert all(seconds > 0 for _, seconds in times)
    with pytest.raises(UserError, match="0 runs have no median"):
        run.profile(*draw(graph), repeats=0)


def test_unknown_backends():
    x = leaf("x", 3)
    with pytest.raises(UserError) as caught:
        Executable(Graph((x,), (x,)), "abacus")
    assert code(caught) == "GC0402"


@pytest.mark.parametrize("backend", COMPILING)
def test_the_first_call_may_come_from_several_threads(backend: str):
    run = sized(backend)
    x, w = np.ones((4, 5), np.float32), np.ones((5, 3), np.float32)
    found: list[list[Array]] = []
    threads = [threading.Thread(target=lambda: found.append(run(x, w))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for outputs in found:
        np.testing.assert_allclose(outputs[0], np.tanh(np.full((4, 3), 5)), rtol=1e-6)
