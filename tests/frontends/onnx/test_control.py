"""If, Loop and Scan: which form a loop takes, what bodies see, gradients, what cannot be static."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from graphc.frontends.onnx.operators import control
from graphc.graph import toposort
from onnx_text import model
from onnx_text import run_everywhere as run


def kinds(one, *shapes):
    """The operations in the translation of a model, with tensors of these shapes."""
    inputs = [gc.input(f"x{k}", shape) for k, shape in enumerate(shapes)]
    found = one(*inputs)
    outputs = found if isinstance(found, tuple) else (found,)
    return {type(node.op).__name__ for node in toposort([y.node for y in outputs])}


def loop(body, *, count="4", condition="true", states="x", results="y"):
    """A Loop over ``states``, with a constant trip count and condition ("" for none)."""
    lines = [f"n = Constant<value = int64 {{{count}}}>()" if count else ""]
    lines += ["go = Constant<value = bool {1}>()" if condition else ""]
    given = ("n" if count else '""', "go" if condition else '""', states)
    return f"{' '.join(lines)} {results} = Loop({', '.join(given)}) <body = {body}>"


# If -----------------------------------------------------------------------------------------------
CHOICE = """
  zero = Constant<value = float {0}>()
  total = ReduceSum<keepdims = 0>(x)
  positive = Greater(total, zero)
  hidden = Exp(x)
  y = If(positive) <
    then_branch = a() => (float[2] p) { p = Mul(hidden, w) },
    else_branch = b() => (float[2] q) { q = Sub(x, w) }>
"""
PAIR = "float[2] x, float[2] w"


@pytest.mark.parametrize("sign", [1, -1])
def test_data_chooses_a_branch(sign):
    x, w = sign * np.array([0.5, 2], np.float32), np.array([3, 4], np.float32)
    (y,) = run(PAIR, CHOICE, x, w)
    np.testing.assert_allclose(y, np.exp(x) * w if sign > 0 else x - w, rtol=1e-6)


def test_a_branch_that_is_not_taken_is_not_computed():
    x, w = gc.input("x", (2,)), gc.input("w", (2,))
    y = model(PAIR, CHOICE)(x, w)
    (call,) = [node for node in toposort([y.node]) if type(node.op).__name__ == "Cond"]
    for body, taken in zip(call.op.bodies, ("multiply", "subtract"), strict=True):
        assert taken in {node.op.name for node in body}


def test_the_gradient_of_a_branch_is_that_of_the_one_taken():
    x, w = gc.input("x", (2,)), gc.input("w", (2,))
    y = model(PAIR, CHOICE)(x, w)
    dx, dw = gc.grad(y.sum(), [x, w])
    function = gc.compile([x, w], [dx, dw])
    a, b = np.array([0.5, 2], np.float32), np.array([3, 4], np.float32)
    np.testing.assert_allclose(function(a, b), [np.exp(a) * b, np.exp(a)], rtol=1e-6)
    np.testing.assert_allclose(function(-a, b), [[1, 1], [-1, -1]])


UNLIKE = """
  y = If(c) <then_branch = a() => (float[?] p) { p = Identity(x) },
             else_branch = b() => (float[?] q) { q = Concat<axis = 0>(x, x) }>
"""
FLAG = "bool c, float[2] x"


def test_branches_of_other_shapes_fix_the_condition():
    x = np.array([1, 2], np.float32)
    for flag in (True, False, True):
        assert run(FLAG, UNLIKE, np.array(flag), x)[0].shape == ((2,) if flag else (4,))
    with pytest.raises(UserError, match=r"GC0106(.|\n)*'c'"):
        model(FLAG, UNLIKE)(gc.input("c", (), "bool"), gc.input("x", (2,)))


def test_a_branch_that_does_not_fit_the_inputs_fixes_the_condition():
    graph = """y = If(c) <
      then_branch = a() => (float[2] p) { p = Add(x, x) },
      else_branch = b() => (float[2] q) { q = Add(x, k) }>
    """
    graph = "k = Constant<value = float[3] {1, 2, 3}>() " + graph
    one, x = model("bool c, float[N] x", graph), np.ones(2, np.float32)
    assert one.run(np.array(True), x)[0].tolist() == [2, 2]
    with pytest.raises(UserError, match="GC0101"):
        one.run(np.array(False), x)
    assert one.run(np.array(False), np.ones(3, np.float32))[0].tolist() == [2, 3, 4]


def test_a_branch_may_give_nothing():
    graph = """y = If(c) <
      then_branch = a() => (optional(float[2]) p) { p = Optional<type: type_proto = float[2]>() },
      else_branch = b() => (optional(float[2]) q) { q = Optional(x) }>
    """
    one, x = model("bool c, float[2] x", graph), np.ones(2, np.float32)
    assert one.run(np.array(True), x) == [None]
    assert one.run(np.array(False), x)[0].tolist() == [1, 1]


def test_programs_are_kept_where_values_fix_unlike_inputs():
    graph = """y = If(c) <
      then_branch = a() => (float[?] p) { p = Identity(x) },
      else_branch = b() => (float[?] q) { q = Reshape(x, s) }>
    """
    one, x = model("bool c, float[2,2] x, int64[1] s", graph), np.ones((2, 2), np.float32)
    for flag in (True, False, True, False):
        one.run(np.array(flag), x, np.array([4]))
    before = dict(one._versions)
    for flag in (True, False, True, False):
        assert one.run(np.array(flag), x, np.array([4]))[0].ndim == 1 + flag
    assert one._versions == before


def test_a_known_condition_translates_one_branch_only():
    graph = """
      c = Constant<value = bool {1}>()
      k = Constant<value = int64[1] {7}>()
      y = If(c) <then_branch = a() => (float[2] p) { p = Neg(x) },
                 else_branch = b() => (float[2] q) { q = Reshape(x, k) }>
    """
    np.testing.assert_array_equal(
        run("float[2] x", graph, np.array([1, 2], np.float32))[0], [-1, -2]
    )


def test_a_branch_that_needs_the_value_of_an_input_fixes_it():
    graph = """
      y = If(c) <then_branch = a() => (float[?,?] p) { p = Reshape(x, s) },
                 else_branch = b() => (float[?,?] q) { h = Reshape(x, s) q = Neg(h) }>
    """
    x, size = np.arange(4, dtype=np.float32), np.array([2, 2])
    inputs = "bool c, float[4] x, int64[2] s"
    assert run(inputs, graph, np.array(False), x, size)[0].shape == (2, 2)


# Loop ---------------------------------------------------------------------------------------------
POWERS = """b(int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] o) {
  d = Identity(c)  f = Cast<to = 1>(i)  t = Mul(s, w)  o = Add(s, f)
}"""
COUNTED = loop(POWERS, results="y, z")


def test_a_known_number_of_steps_is_a_scan():
    x, w = np.array([1, 2], np.float32), np.array([3, 0.5], np.float32)
    y, z = run(PAIR, COUNTED, x, w, outputs="y z")
    np.testing.assert_allclose(y, x * w**4)
    steps = np.arange(4)[:, None]
    np.testing.assert_allclose(z, x * w**steps + steps)
    assert "Scan" in kinds(model(PAIR, COUNTED, "y z"), (2,), (2,))


def test_the_gradient_of_a_counted_loop():
    x, w = gc.input("x", (2,), "float32"), gc.input("w", (2,), "float32")
    y, _ = model(PAIR, COUNTED, "y z")(x, w)
    dx, dw = gc.compile([x, w], gc.grad(y.sum(), [x, w]))(
        np.array([1, 2], np.float32), np.array([3, 0.5], np.float32)
    )
    np.testing.assert_allclose(dx, [81, 0.0625])
    np.testing.assert_allclose(dw, [4 * 27, 2 * 4 * 0.125])


def test_no_steps_give_the_start_and_an_empty_stack():
    body = loop(POWERS, count="-3", results="y, z")
    y, z = run(PAIR, body, *np.ones((2, 2), np.float32), outputs="y z")
    assert y.tolist() == [1, 1]
    assert z.shape == (0, 2)


UNTIL = """b(int64 i, bool c, float[2] s) => (bool d, float[2] t) {
  t = Mul(s, s)  m = ReduceMax<keepdims = 0>(t)  e = Constant<value = float {100}>()
  d = Less(m, e)
}"""


@pytest.mark.parametrize(("count", "power"), [("", 32), ("3", 8)])
def test_data_ends_a_loop(count, power):
    graph = loop(UNTIL, count=count)
    x = np.array([1.1, 1.2], np.float32)
    np.testing.assert_allclose(run("float[2] x", graph, x)[0], x**power, rtol=1e-5)
    assert "While" in kinds(model("float[2] x", graph), (2,))


def test_a_trip_count_that_is_an_input_needs_no_value():
    body = "b(int64 i, bool c, float s) => (bool d, float t) { d = Identity(c) t = Add(s, s) }"
    found = model("int64 n, float x", f'y = Loop(n, "", x) <body = {body}>')
    n, x = gc.input("n", (), "int64"), gc.input("x")
    function = gc.compile([n, x], found(n, x))
    assert [float(function(np.array(k), np.float32(3))) for k in (0, 1, 5)] == [3, 6, 96]


STACKED = """b(int64 i, bool c, float s) => (bool d, float t, float o) {
  t = Mul(s, s)  o = Identity(t)  e = Constant<value = float {100}>()  d = Less(t, e)
}"""


def test_data_that_decides_what_is_stacked_is_fixed():
    graph = loop(STACKED, count="9", results="y, z")
    for start, steps in ((2, 3), (1.5, 4), (20, 1)):
        y, z = run("float x", graph, np.array(start, np.float32), outputs="y z")
        np.testing.assert_allclose(z, [np.float32(start) ** 2 ** (k + 1) for k in range(steps)])
        assert y == z[-1]
    with pytest.raises(UserError, match="GC0106"):
        model("float x", graph, "y z")(gc.input("x"))


def test_states_that_grow_are_written_out():
    body = """b(int64 i, bool c, float[?] s) => (bool d, float[?] t) {
      d = Identity(c)  t = Concat<axis = 0>(s, s) }"""
    (y,) = run("float[1] x", loop(body, count="3"), np.ones(1, np.float32))
    assert y.shape == (8,)


def test_an_inner_loop_as_long_as_the_outer_has_come():
    inner = """e(int64 j, bool h, float u) => (bool k, float v) {
      k = Identity(h)  v = Add(u, x) }"""
    body = f"""b(int64 i, bool c, float s) => (bool d, float t) {{
      d = Identity(c)  t = Loop(i, c, s) <body = {inner}> }}"""
    (y,) = run("float x", loop(body, count="5"), np.array(2, np.float32))
    assert y == 2 + 2 * (0 + 1 + 2 + 3 + 4)


def test_a_loop_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr(control, "LARGEST_UNROLLED", 20)
    body = """b(int64 i, bool c, float[?] s) => (bool d, float[?] t) {
      d = Identity(c)  t = Concat<axis = 0>(s, x) }"""
    with pytest.raises(UserError, match="GC0505"):
        model("float[1] x", loop(body, count="")).run(np.ones(1, np.float32))


# Scan ---------------------------------------------------------------------------------------------
def test_scan_along_other_axes_and_backward():
    graph = """
      y, z, v = Scan<num_scan_inputs = 2, scan_input_axes = [-1, 0],
        scan_input_directions = [1, 0], scan_output_axes = [1, 0],
        scan_output_directions = [1, 0],
        body = b(float[2] a, float[2] e, float[3] f) => (float[2] c, float[2] o, float[3] p) {
          c = Add(a, e)  o = Identity(c)  m = ReduceSum<keepdims = 0>(c)  p = Mul(f, m) }
      >(s, x, w)
    """
    rng = np.random.default_rng(0)
    s, x, w = (rng.normal(size=n).astype(np.float32) for n in ((2,), (2, 5), (5, 3)))
    sums = s[:, None] + np.cumsum(x[:, ::-1], 1)
    inputs = "float[2] s, float[2,5] x, float[5,3] w"
    y, z, v = run(inputs, graph, s, x, w, outputs="y z v")
    np.testing.assert_allclose(y, sums[:, -1], rtol=1e-5)
    np.testing.assert_allclose(z, sums[:, ::-1], rtol=1e-5)
    np.testing.assert_allclose(v, w * sums.sum(0)[:, None], rtol=1e-4)


def test_a_scan_whose_values_decide_shapes_is_written_out():
    graph = """y = Scan<num_scan_inputs = 1,
      body = b(int64 n) => (float[?] o) {
        s = Reshape(n, one)  f = Expand(x, s)  o = ReduceSum<keepdims = 0>(f) }>(l)"""
    graph = "one = Constant<value = int64[1] {1}>() " + graph
    (y,) = run("float x, int64[3] l", graph, np.array(2, np.float32), np.array([1, 4, 2]))
    assert y.tolist() == [2, 8, 4]


BATCHES = """
  y, z = Scan<num_scan_inputs = 1, directions = [1],
    body = b(float a, float e) => (float c, float o) { c = Add(a, e)  o = Mul(a, e) }
  >(LENGTHS, s, x)
"""


def test_scan_of_operator_set_8_goes_by_batches():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    s = np.array([1, 2, 3], np.float32)
    graph = BATCHES.replace("LENGTHS", '""')
    y, z = run("float[3] s, float[3,4] x", graph, s, x, version=8, outputs="y z")
    before = s[:, None] + np.cumsum(x[:, ::-1], 1) - x[:, ::-1]
    np.testing.assert_allclose(y, s + x.sum(1))
    np.testing.assert_allclose(z, before * x[:, ::-1])


def test_scan_with_lengths_is_refused():
    one = model(
        "int64[3] l, float[3] s, float[3,4] x", BATCHES.replace("LENGTHS", "l"), "y z", version=8
    )
    arrays = np.ones(3, np.int64), np.ones(3, np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(UserError, match="GC0505"):
        one.run(*arrays)
