"""compile and jit: nests of outputs, updates, forgotten inputs, tracing and its cache."""

from typing import NamedTuple

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run


class Pair(NamedTuple):
    first: object
    second: object


def test_outputs_come_back_in_their_nest():
    x = gc.input("x", (2,))
    outputs = {"a": x, "b": [x + 1, (x + 2,)], "c": Pair(x, {"d": x * 2}), "e": 5, "f": ()}
    result = gc.compile([x], outputs, backend="numpy")(np.float32([1, 2]))
    assert_close(result["a"], np.float32([1, 2]))
    assert_close(result["b"][1][0], np.float32([3, 4]))
    assert isinstance(result["c"], Pair)
    assert_close(result["c"].second["d"], np.float32([2, 4]))
    assert result["e"] == 5
    assert result["f"] == ()


def test_arguments_by_place_and_by_name():
    x, y = gc.input("x", ()), gc.input("y", ())
    f = gc.compile([x, y], x - y, backend="numpy", name="difference")
    assert f(5, 3) == f(5, y=3) == f(y=3, x=5) == 2
    assert f.name == "difference"
    for wrong in [(1,), (1, 2, 3)]:
        with pytest.raises(gc.UserError, match="GC0302"):
            f(*wrong)


def test_updates_happen_after_the_outputs():
    count = gc.param(np.int64(0))
    twice = gc.param(np.zeros(2))
    step = gc.compile(
        [],
        [count, twice],
        {count: count + 1, twice: count.astype("float32") + twice},
        backend="numpy",
    )
    assert [int(step()[0]) for _ in range(3)] == [0, 1, 2]
    assert_close(gc.value(twice), np.float32([3, 3]))
    gc.assign(count, 10)
    assert step()[0] == 10


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x, w: gc.compile([], x, backend="numpy"), "GC0301"),
        (lambda x, w: gc.compile([], w, {w: w + x}, backend="numpy"), "GC0301"),
        (lambda x, w: gc.compile([w], x, backend="numpy"), "GC0302"),
        (lambda x, w: gc.compile([x + 1], x, backend="numpy"), "GC0302"),
        (lambda x, w: gc.compile([x, gc.input("x", ())], x, backend="numpy"), "GC0302"),
        (lambda x, w: gc.compile([x], x, {x: x}, backend="numpy"), "GC0302"),
        (lambda x, w: gc.compile([x], x, {w: x[0]}, backend="numpy"), "GC0101"),
        (lambda x, w: gc.compile([x], x, {w: w.astype("float64")}, backend="numpy"), "GC0102"),
        (lambda x, w: gc.compile([x], x, backend="abacus"), "GC0402"),
    ],
)
def test_wrong_programs(program, code):
    x, w = gc.input("x", (2,)), gc.param(np.zeros(2), name="w")
    with pytest.raises(gc.UserError, match=code) as caught:
        program(x, w)
    assert "test_function.py" in str(caught.value)


def test_a_forgotten_input_is_named_with_the_list_to_write():
    x, y = gc.input("x", (2,)), gc.input("y", (2,))
    with pytest.raises(gc.UserError) as caught:
        gc.compile([x], x + y, backend="numpy")
    assert "'y'" in caught.value.what
    assert caught.value.fix == "compile with inputs [x, y]"


def test_parameters_take_their_name_from_the_variable():
    weights = gc.param([1.0, 2.0])
    assert weights.name == "weights"
    assert gc.param([1.0], name="bias").name == "bias"
    assert [gc.param([1.0])][0].name == "p"
    assert weights.dtype.name == "float32"
    assert gc.param(np.zeros(2), dtype="float64").dtype.name == "float64"
    with pytest.raises(gc.UserError, match="GC0107"):
        gc.param(weights + 1)
    with pytest.raises(gc.UserError, match="GC0107"):
        gc.value(weights + 1)


def test_jit_traces_once_per_signature():
    traces = []

    @gc.jit(backend="numpy")
    def f(x, scale=2, *, shift=0.0):
        traces.append(x.shape)
        return x * scale + shift

    a, b = np.ones(3, np.float32), np.ones((2, 3))
    assert_close(f(a), np.float32([2, 2, 2]))
    assert_close(f(a + 1), np.float32([4, 4, 4]))
    assert traces == [(3,)]
    assert_close(f(a, 3, shift=1.0), np.float32([4, 4, 4]))
    assert_close(f(b), 2 * b)
    assert_close(f(a, scale=2), np.float32([2, 2, 2]))
    assert traces == [(3,), (3,), (2, 3)]
    assert len(f.versions) == 3
    assert f.__name__ == "f"


def test_jit_takes_and_returns_nests():
    @gc.jit(backend="numpy")
    def f(weights, x):
        return {"y": [x @ w for w in weights["layers"]], "n": len(weights["layers"])}

    x, w = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    result = f({"layers": [w, 2 * w]}, x)
    assert_close(result["y"][1], np.full((2, 4), 6, np.float32))
    assert result["n"] == 2


def test_jit_refuses_decisions_by_value_and_odd_arguments():
    @gc.jit(backend="numpy")
    def sign(x):
        return 1 if x.sum() > 0 else -x

    with pytest.raises(gc.UserError, match="GC0106") as caught:
        sign(np.ones(2))
    assert "1 if x.sum() > 0 else -x" in str(caught.value)
    with pytest.raises(gc.UserError, match="GC0107"):
        gc.jit(lambda x, y: x, backend="numpy")(np.ones(2), {1, 2})


def test_random_draws_change_with_every_call_and_repeat_with_the_seed():
    def draws(seed):
        source = gc.random.Generator(seed)
        outputs = [source.uniform((1000,)), source.uniform((1000,), 2, 4), source.normal((1000,))]
        return gc.compile([], [*outputs, source.bernoulli(0.25, (1000,))], backend="numpy")

    first, again, other = draws(7), draws(7), draws(8)
    a, b, c, d = first(), first(), again(), other()
    assert all((x == y).all() for x, y in zip(a, c, strict=True))
    for changed in (b, d):
        assert all((x != y).any() for x, y in zip(a, changed, strict=True))
    uniform, wide, normal, coin = a
    assert 0 <= uniform.min() < uniform.max() < 1
    assert 2 <= wide.min() < wide.max() < 4
    assert abs(np.corrcoef(uniform, wide)[0, 1]) < 0.1
    # three standard errors of the mean of 1000 draws
    assert abs(uniform.mean() - 0.5) < 3 * (1 / 12 / 1000) ** 0.5
    assert abs(normal.mean()) < 3 / 1000**0.5
    assert abs(coin.mean() - 0.25) < 3 * (0.25 * 0.75 / 1000) ** 0.5
    with pytest.raises(gc.UserError, match="GC0104"):
        gc.random.Generator(-1)


def test_scopes_are_recorded():
    with gc.scope("outer"), gc.scope("inner"):
        x = gc.zeros(2) + 1
    assert x.node.site.scope == ("outer", "inner")


def test_constants_are_float32_unless_asked():
    assert gc.constant(np.zeros(2)).dtype.name == "float32"
    assert_close(run(gc.constant([1, 2])), np.array([1, 2]))
    assert_close(run(gc.constant(1.5, "float64")), np.float64(1.5))


def test_functions_print_their_signature():
    x = gc.input("x", ("n", 3))
    assert repr(gc.compile([x], x, backend="numpy")) == "<function(x: f32[n,3]) on numpy>"

    @gc.jit(backend="numpy")
    def double(a, scale=2):
        return a * scale

    assert repr(double) == "<jit double(a, scale=2) on numpy, 0 versions>"


def test_a_method_can_be_jitted():
    class Scaler:
        def __init__(self, scale):
            self.scale = scale

        @gc.jit(backend="numpy")
        def apply(self, a):
            return a * self.scale

    one = np.ones(2, np.float32)
    assert Scaler(3).apply(one).tolist() == [3, 3]
    assert Scaler(5).apply(one).tolist() == [5, 5]


def test_a_kernel_that_is_not_there():
    x = gc.input("x", (2,))
    f = gc.compile([x], x + 1)
    for number in (1, -1):
        with pytest.raises(gc.UserError, match="GC0104: there is no kernel"):
            f.source("loops", kernel=number)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize(("name", "digits"), [("float16", 11), ("bfloat16", 8)])
def test_a_cast_rounds_also_between_two_casts(backend, name, digits):
    x = gc.input("x", (2,))
    f = gc.compile([x], x.astype(name).astype("float32"), backend=backend)
    tie, above = 1 + 2.0**-digits, 1 + 2.0 ** (1 - digits)
    np.testing.assert_array_equal(f(np.array([tie, tie + 1e-7], np.float32)), [1, above])


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_sizes_made_of_names_are_learned_from_arrays(backend):
    n = gc.dim("n")
    a, b = gc.input("a", (2 * n + 1, 3)), gc.input("b", (n, 3))
    f = gc.compile([a, b], gc.concat([a, b], 0), backend=backend)
    five, two, three = (np.ones((k, 3), np.float32) for k in (5, 2, 3))
    assert f(five, two).shape == (7, 3)
    assert f(b=two, a=five).shape == (7, 3)
    with pytest.raises(gc.UserError, match=r"GC0303: b has shape \(3, 3\), .* with n=2"):
        f(five, three)
    with pytest.raises(gc.UserError, match="GC0303: a has shape"):
        f(np.ones((4, 3), np.float32), two)


def test_a_product_of_names_waits_for_one_of_them():
    flat, column = gc.input("flat", (gc.dim("h") * gc.dim("w"),)), gc.input("column", ("h",))
    f = gc.compile([flat, column], [flat, column], backend="numpy")
    assert f(np.ones(12, np.float32), np.ones(4, np.float32))[0].shape == (12,)
    with pytest.raises(gc.UserError, match="GC0303"):
        f(np.ones(13, np.float32), np.ones(4, np.float32))
    with pytest.raises(gc.UserError, match="GC0305"):
        gc.compile([flat], flat, backend="numpy")(np.ones(12, np.float32))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize(
    "formula",
    [
        lambda x, n: x / n,
        lambda x, n: n / x,
        lambda x, n: n * x - (n + 1),
        lambda x, n: x.sum() / n,
    ],
)
def test_named_sizes_are_numbers_beside_tensors(formula, backend):
    x = gc.input("x", ("n",))
    array = np.float32([1, 2, 4])
    result = gc.compile([x], formula(x, x.shape[0]), backend=backend)(array)
    assert_close(result, formula(array, np.float32(3)))


def test_a_jitted_function_inside_another_is_part_of_its_graph():
    @gc.jit(backend="numpy")
    def twice(a, by=2):
        return a * by

    @gc.jit(backend="numpy")
    def outer(a):
        return twice(a, by=3) + np.float32([1, 2])

    assert outer(np.float32([1, 2])).tolist() == [4, 8]
    assert not twice.versions


# The short way of `jit` ---------------------------------------------------------------------------
A, B = np.arange(3, dtype=np.float32), np.ones(3, np.float32)


def test_the_short_way_takes_only_what_means_the_same():
    @gc.jit
    def f(x, y=None, *, scale=2.0):
        first, second = x if isinstance(x, list) else (x, y)
        return first * scale if second is None else first - second

    for _ in range(2):
        np.testing.assert_array_equal(f(A, B), A - B)
        np.testing.assert_array_equal(f([B, A]), B - A)
        np.testing.assert_array_equal(f(B, A), B - A)
        np.testing.assert_array_equal(f(A), A * 2)
        np.testing.assert_array_equal(f(A, scale=3.0), A * 3)
        np.testing.assert_array_equal(f(A, None), A * 2)
        np.testing.assert_array_equal(f(y=A, x=B), B - A)
    assert len(f.versions) == 4


def test_defaults_that_are_arrays_are_no_arguments_by_place():
    @gc.jit
    def f(x, *, shift=A):
        return x + shift

    for _ in range(2):
        np.testing.assert_array_equal(f(B), A + B)
        with pytest.raises(TypeError):
            f(B, B)
    np.testing.assert_array_equal(f(B, shift=B), B + B)


def test_constants_by_place_must_be_the_same_objects():
    calls = []

    @gc.jit
    def power(x, n, y):
        calls.append(n)
        return x**n + y

    for n in (2, 2, 3, 2, 3, 3):
        np.testing.assert_array_equal(power(A, n, B), A**n + B)
    assert calls == [2, 3]
    with pytest.raises(TypeError):
        power(A, 2)
    with pytest.raises(TypeError):
        power(A, 2, B, B)


def test_a_jitted_method_of_two_objects():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @gc.jit
        def __call__(self, x):
            return x * self.factor

    two, three = Scale(2.0), Scale(3.0)
    for _ in range(3):
        np.testing.assert_array_equal(two(A), A * 2)
        np.testing.assert_array_equal(two(A), A * 2)
        np.testing.assert_array_equal(three(A), A * 3)


def test_shapes_and_dtypes_that_alternate():
    f = gc.jit(lambda x: x * 2)
    for x in (A, A[:2], A, A.astype(np.float64), A[::2], A.astype(np.int64), A):
        found = f(x)
        np.testing.assert_array_equal(found, x * 2)
        assert found.dtype == x.dtype
    assert len(f.versions) == 4


def test_a_fault_on_the_short_way_names_the_line_and_the_inputs():
    f = gc.jit(lambda x, i: x[i])
    right, wrong = np.array([0, 2]), np.array([0, 3])
    np.testing.assert_array_equal(f(A, right), A[right])
    for call in (f, gc.compile([x := gc.input("x", 3), i := gc.input("i", 2, "int64")], x[i])):
        with pytest.raises(gc.UserError, match="GC0306") as caught:
            call(A, wrong)
        assert "x" in str(caught.value)
        np.testing.assert_array_equal(call(A, right), A[right])


def test_results_keep_their_nesting_on_the_short_way():
    f = gc.jit(lambda x: {"a": x + 1, "b": (x, [x * 2])})
    for _ in range(3):
        found = f(A)
        np.testing.assert_array_equal(found["a"], A + 1)
        np.testing.assert_array_equal(found["b"][1][0], A * 2)
    assert gc.compile([], ())() == ()
