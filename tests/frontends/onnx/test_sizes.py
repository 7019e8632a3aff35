"""Sizes with a name keep it through the nodes that compute with shapes."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import model

NUMBERS = (
    "zero = Constant<value_int=0>() one = Constant<value_int=1>() two = Constant<value_ints=[2]>()"
    "zeros = Constant<value_ints=[0]>() ones = Constant<value_ints=[1]>()"
    "rest = Constant<value_ints=[-1]>()"
)
CASES = {
    "reshape": (
        "s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, zeros) t = Concat<axis=0>(u, rest)"
        "y = Reshape(x, t)",
        "f32[N,3*L]",
        lambda x: x.reshape(len(x), -1),
    ),
    "product": (
        "s = Shape<start=0, end=2>(x) p = ReduceProd(s) t = Concat<axis=0>(p, rest)"
        "y = Reshape(x, t)",
        "f32[L*N,3]",
        lambda x: x.reshape(-1, 3),
    ),
    "expand": (
        "s = Shape<end=1>(x) t = Concat<axis=0>(s, rest, rest) n = Shape(t) o = ConstantOfShape<"
        "value = int64[1] {1}>(n) m = Constant<value_int=-1>() e = Equal(t, m) w = Where(e, o, t)"
        "first = Gather(x, zeros) y = Expand(first, w)",
        "f32[N,L,3]",
        lambda x: np.broadcast_to(x[:1], x.shape),
    ),
    "half": (
        "l = Shape<start=1, end=2>(x) h = Div(l, two) y = Slice(x, zeros, h, ones)",
        "f32[N,(L)//2,3]",
        lambda x: x[:, : x.shape[1] // 2],
    ),
    "from the end": (
        "l = Shape<start=1, end=2>(x) m = Neg(l) e = Add(m, l) y = Slice(x, m, l, ones)",
        "f32[N,L,3]",
        lambda x: x,
    ),
    "doubled": (
        "l = Shape<start=1, end=2>(x) f = Cast<to=1>(l) z = Constant<value_float=2.0>()"
        "d = Mul(f, z) g = Floor(d) i = Cast<to=7>(g) r = ReduceSum<keepdims=0>(i)"
        "y = Range(zero, r, one)",
        "i64[2*L]",
        lambda x: np.arange(2 * x.shape[1]),
    ),
    "zeros": ("s = Shape(x) y = ConstantOfShape(s)", "f32[N,L,3]", np.zeros_like),
    "count": (
        "n = Size(x) f = Cast<to=1>(n) y = Div(x, f)",
        "f32[N,L,3]",
        lambda x: x / x.size,
    ),
    "tile": (
        "s = Shape<end=1>(x) t = Concat<axis=0>(s, ones, ones) f = Gather(x, zeros) y = Tile(f, t)",
        "f32[N,L,3]",
        lambda x: np.tile(x[:1], (len(x), 1, 1)),
    ),
    "one-hot": (
        "l = Shape<start=1, end=2>(x) v = Constant<value_floats=[0.0, 1.0]>()y = OneHot(two, l, v)",
        "f32[1,L]",
        lambda x: np.eye(x.shape[1], dtype=np.float32)[2:3],
    ),
    "last": (
        "s = Shape(x) l = Gather(s, one) k = Sub(l, one) y = Gather<axis=1>(x, k)",
        "f32[N,3]",
        lambda x: x[:, -1],
    ),
    "far": (
        "e = Constant<value_ints=[9223372036854775807]>() a = Constant<value_ints=[-2]>()"
        "y = Slice(x, a, e, ones)",
        "f32[N,2,3]",
        lambda x: x[:, -2:],
    ),
    "backward": (
        "e = Constant<value_ints=[-9223372036854775808]>() y = Slice(x, rest, e, ones, rest)",
        "f32[N,L,3]",
        lambda x: x[:, ::-1],
    ),
    "flatten": ("y = Flatten<axis=2>(x)", "f32[L*N,3]", lambda x: x.reshape(-1, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_program_for_all_sizes(name, rng):
    body, wanted, formula = CASES[name]
    net = model("float[N,L,3] x", NUMBERS + body)
    assert str(net(*net.symbolic_inputs({})).node.type) == wanted
    compiled = net.compile(backend="numpy")
    for shape in ((2, 5, 3), (1, 4, 3)):
        x = rng.normal(size=shape).astype(np.float32)
        (found,) = compiled(x)
        np.testing.assert_allclose(found, formula(x), rtol=1e-6)


def test_what_needs_the_number_says_so():
    body = "l = Shape<start=1, end=2>(x) m = Max(l, two) y = Slice(x, zeros, m, ones)"
    net = model("float[N,L,3] x", NUMBERS + body)
    with pytest.raises(UserError, match="GC0305"):
        net.compile()
    (found,) = net.compile(sizes={"L": 4}, backend="numpy")(np.zeros((2, 4, 3), np.float32))
    assert found.shape == (2, 4, 3)
