"""Rules that are functions: each fires on its samples, and both sides have one value.

Also the equations that mention axes, which cannot be tried element by element.
"""

import numpy as np
import pytest

from graphc.graph import Node, toposort
from graphc.ops.contraction import Contract, matmul
from graphc.ops.convolution import Convolve
from graphc.ops.copy import OwnGradient, StopGradient
from graphc.ops.elementwise import Bitcast, Cast, full_like
from graphc.ops.leaves import Iota, Table, constant
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.ops.reduction import Broadcast, fold, sum_over
from graphc.ops.selection import Concatenate, Flip, Interleave, Pad, Slice
from graphc.passes.equations.stability import STABILITY
from graphc.passes.fold import FOLDING
from graphc.passes.narrow import NARROW
from graphc.passes.residues import RESIDUES
from graphc.passes.simplify import ALGEBRA
from graphc.passes.split import SPLITTING
from graphc.passes.winograd import WINOGRAD
from graphc.scalars import equal, exp, floor, less, log, maximum, reciprocal, round_, sqrt, where
from graphc.types import DTYPES, FLOAT16, FLOAT32, FLOAT64, INT64
from passes.judge import fire, has_axes, near
from rewrite.values import evaluate, leaf, same, specials

F32, I32, I8 = (DTYPES[n] for n in ("float32", "int32", "int8"))


def widened(*shape, kind="float16", name="x") -> Node:
    return Cast(FLOAT32)(x(*shape, kind=kind, name=name))


def number(value, *shape, kind=FLOAT32):
    return broadcast_to(constant(value, kind), shape)


def x(*shape, kind="float32", name="x") -> Node:
    return leaf(name, shape, kind)


def along(y: Node, *shape) -> Node:
    """``y`` repeated along the last axis of ``shape``."""
    return Broadcast(shape, tuple(range(len(shape) - 1)))(y)


def softmax(z: Node) -> Node:
    return exp(z) / along(sum_over(exp(z), (1,)), *z.shape)


def one_hot(classes: int, *, swapped: bool = False) -> Node:
    labels = along(x(6, kind="int64", name="labels"), 6, classes)
    counter = Iota((6, classes), 1)()
    return equal(counter, labels) if swapped else equal(labels, counter)


def hot(labels: Node, classes: int, kind=FLOAT32, *, counter=None) -> Node:
    """The one-hot tensor of labels along a new last axis."""
    axis, shape = labels.type.rank, (*labels.shape, classes)
    counter = counter or Iota(shape, axis, labels.dtype)()
    return Cast(kind)(equal(along(labels, *shape), counter))


def counted(classes: int, kind: str) -> Node:
    """A table that counts, as the counter of labels [1,6]; converted when it is not of int64."""
    numbers = Table.of(np.arange(classes)[None], INT64)()
    numbers = numbers if kind == "int64" else Cast(DTYPES[kind])(numbers)
    return Broadcast((1, 6, classes), (0, 2))(numbers)


def table(*shape, kind=FLOAT32) -> Node:
    return Table.of(np.arange(np.prod(shape)).reshape(shape), kind)()


def spread_convolution(extent, size, *, stride, border, dilation=1, value=0.0) -> Node:
    """A convolution over ``stride - 1`` zeros between elements, and a plain axis."""
    amounts = (0, 0, 0, border, 1), (0, 0, 0, border + 1, 0), (0, 0, 0, stride - 1, 0)
    spread = Pad(*amounts, value=value)(x(2, 1, 3, extent, 4))
    return Convolve((1, 2), (dilation, 1))(spread, x(1, 2, 3, size, 3, name="w"))


SAMPLES = {
    "moved number": lambda: [
        Reshape((6, 1))(number(2.5, 2, 3)),
        Transpose((1, 0))(number(-0.0, 2, 3)),
        Slice((0, 1), (2, 3), (1, 2))(number(np.nan, 2, 3)),
        Flip((1,))(number(7, 2, 0, kind=INT64)),
    ],
    "stop no gradient": lambda: [
        StopGradient()(x(2, 3)),
        OwnGradient("checkpoint", lambda g, y, value: ())(x(2, 3)),
    ],
    "reshape to its own shape": lambda: [Reshape((2, 3))(x(2, 3)), Reshape(())(x())],
    "reshape twice": lambda: [Reshape((6,))(Reshape((3, 2))(x(2, 3)))],
    "transpose nothing": lambda: [
        Transpose((0, 1))(x(2, 3)),
        Transpose((1, 0, 2))(x(1, 4, 3)),
        Transpose((2, 0, 1))(x(3, 4, 1)),
    ],
    "transpose twice": lambda: [Transpose((2, 0, 1))(Transpose((1, 0, 2))(x(2, 3, 4)))],
    "broadcast by ones": lambda: [
        Broadcast((2, 1, 3), (0, 2))(x(2, 3)),
        Broadcast((1,), ())(x()),
        Broadcast((2, 3), (0, 1))(x(2, 3)),
    ],
    "broadcast twice": lambda: [
        Broadcast((4, 2, 5, 3), (1, 2, 3))(Broadcast((2, 5, 3), (2,))(x(3)))
    ],
    "reshape of broadcast": lambda: [
        Reshape((2, 1, 3, 1))(Broadcast((2, 3), (1,))(x(3))),
        Reshape((4, 3))(Broadcast((1, 4, 3), (0, 2))(x(1, 3))),
        Reshape((0, 1))(Broadcast((1, 0), (0,))(x(1))),
    ],
    "broadcast of reshape": lambda: [
        Broadcast((5, 3, 1, 2), (1, 2, 3))(Reshape((3, 1, 2))(x(3, 2)))
    ],
    "transpose of broadcast": lambda: [
        Transpose((2, 0, 1))(Broadcast((2, 3, 4), (0, 2))(x(2, 4))),
        Transpose((1, 0))(Broadcast((2, 3), ())(x())),
    ],
    "slice of broadcast": lambda: [
        Slice((1, 0, 1), (4, 3, 2), (2, 1, 1))(Broadcast((4, 3, 2), (0, 1))(x(4, 3))),
    ],
    "flip of broadcast": lambda: [
        Flip((0, 1))(Broadcast((4, 3), (1,))(x(3))),
        Flip((0,))(Broadcast((4, 3), (1,))(x(3))),
    ],
    "slice of everything": lambda: [Slice((0, 0), (2, 3), (1, 1))(x(2, 3))],
    "slice twice": lambda: [
        Slice((1,), (5,), (2,))(Slice((2,), (17,), (3,))(x(20))),
        Slice((0, 1), (1, 2), (4, 1))(Slice((1, 0), (3, 2), (1, 1))(x(3, 3))),
    ],
    "slice of reshape": lambda: [
        Slice((0, 0, 1, 1), (2, 3, 4, 6), (1, 1, 1, 2))(Reshape((2, 3, 4, 7))(x(6, 4, 7))),
        Slice((0, 2), (1, 5), (1, 1))(Reshape((1, 5))(x(5))),
        Slice((0, 1), (6, 3), (1, 1))(Reshape((6, 4))(x(1, 2, 3, 4))),
    ],
    "flip twice": lambda: [Flip((0, 1))(Flip((1, 2))(x(2, 3, 4))), Flip((0,))(Flip((0,))(x(5)))],
    "compute before moving": lambda: [
        exp(along(x(4), 4, 3)),
        along(x(4), 4, 3) + along(x(4, name="y"), 4, 3),
        along(x(4), 4, 3) * 2.0,
        maximum(Reshape((6,))(x(2, 3)), Reshape((6,))(x(2, 3, name="y"))),
        less(Transpose((1, 0))(x(2, 3)), number(1.0, 3, 2)),
        Cast(I32)(Reshape((4, 0))(x(0, 4))),
        Bitcast(I32)(Transpose((1, 0))(x(1, 4))),
    ],
    "compute both branches": lambda: [
        exp(where(x(5, kind="bool"), number(2.0, 5), number(-1.0, 5))),
        3.0 - where(x(5, kind="bool"), number(2.0, 5), number(np.inf, 5)),
        Cast(FLOAT16)(where(x(5, kind="bool"), number(2.0, 5), number(0.0, 5))),
    ],
    "round the rounded": lambda: [floor(round_(x(9))), round_(floor(x(9)))],
    "cast to its own dtype": lambda: [Cast(FLOAT32)(x(3)), Cast(INT64)(x(3, kind="int64"))],
    "cast twice": lambda: [
        Cast(FLOAT32)(Cast(FLOAT64)(x(9))),
        Cast(FLOAT64)(Cast(FLOAT32)(x(9, kind="float16"))),
        Cast(I8)(Cast(INT64)(x(9, kind="int32"))),
        Cast(FLOAT32)(Cast(I32)(x(9, kind="int8"))),
        Cast(I32)(Cast(FLOAT64)(x(9, kind="uint8"))),
        Cast(DTYPES["bool"])(Cast(FLOAT64)(x(9))),
        Cast(I8)(Cast(FLOAT32)(x(9, kind="bool"))),
    ],
    "fold one element": lambda: [
        fold("add", x(4, 1, 3), (1,)),
        fold("maximum", x(1, 4, 1), (0, 1, 2)),
        fold("logical_and", x(1, kind="bool"), (0,)),
        fold("multiply", x(1, 0), (0,)),
    ],
    "fold twice": lambda: [
        fold("add", fold("add", x(2, 3, 4), (1,)), (0,)),
        fold("minimum", fold("minimum", x(2, 3, 4), (0,)), (0, 1)),
        fold("add", fold("add", x(2, 0, 4), (1,)), (0,)),
        fold("add", fold("add", x(2, 3, kind="int8"), (0,)), (0,)),
    ],
    "fold of transpose": lambda: [
        fold("add", Transpose((2, 0, 1))(x(2, 3, 4)), (1,)),
        fold("maximum", Transpose((3, 2, 0, 1))(x(2, 3, 4, 5)), (0, 2)),
        fold("add", Transpose((1, 0))(x(2, 3)), (0, 1)),
    ],
    "fold all of reshape": lambda: [
        fold("add", Reshape((6,))(x(2, 3)), (0,)),
        fold("maximum", Reshape((3, 1, 2))(x(2, 3)), (0, 1, 2)),
    ],
    "fold of copies": lambda: [
        fold("add", Broadcast((2, 3, 4), (1,))(x(3)), (0, 1)),
        fold("add", Broadcast((2, 3, 4), (1,))(x(3)), (0,)),
        fold("maximum", Broadcast((2, 3, 4), (1,))(x(3)), (1, 2)),
        fold("add", number(0.5, 4, 5), (0, 1)),
        fold("add", Broadcast((100, 3), (1,))(x(3, kind="int8")), (0,)),
        fold("logical_or", Broadcast((2, 3), (1,))(x(3, kind="bool")), (0,)),
    ],
    "sum of one-hot": lambda: [
        sum_over(where(one_hot(4), number(-0.5, 6, 4), number(0.0, 6, 4)), (1,)),
        sum_over(where(one_hot(3, swapped=True), number(2.0, 6, 3), number(0.0, 6, 3)), (1,)),
    ],
    "sum of negative": lambda: [sum_over(-x(3, 4), (0,)), sum_over(-x(0, 4), (0,))],
    "contract of transpose": lambda: [
        matmul(Transpose((1, 0))(x(3, 2)), x(3, 4, name="y")),
        matmul(x(2, 3), Transpose((1, 0))(x(4, 3, name="y"))),
        matmul(Transpose((1, 2, 0))(x(3, 5, 2)), x(5, 3, 4, name="y")),
    ],
    "contract of copies": lambda: [
        matmul(x(5, 2, 3), Broadcast((5, 3, 4), (1, 2))(x(3, 4, name="y"))),
        matmul(Broadcast((2, 3), (1,))(x(3)), x(3, 4, name="y")),
        Contract((0, 1), (0, 1), (1, 0))(x(2, 3), Broadcast((2, 3), (1,))(x(3, name="y"))),
    ],
    "contract of one-hot": lambda: [
        matmul(hot(x(6, kind="int64", name="i"), 4), x(4, 7)),
        matmul(hot(x(9, kind="int32", name="i"), 1), x(1, 4)),
        matmul(hot(x(9, kind="uint8", name="i"), 256), x(256, 2)),
        matmul(hot(x(9, kind="int8", name="i"), 3, I32), x(3, 5, kind="int32")),
        matmul(hot(x(9, kind="int64", name="i"), 6, FLOAT16), x(6, 5, kind="float16")),
        Contract((0, 1, 2), (2, 3), (0, 1, 3))(hot(x(2, 3, kind="int32", name="i"), 4), x(4, 5)),
        Contract((0, 1, 2), (3, 2, 4), (3, 1, 4, 0))(
            hot(x(2, 3, kind="int32", name="i"), 4), x(2, 4, 5)),
        Contract((0, 1), (2, 1), (2, 0))(x(5, 4), hot(x(6, kind="int64", name="i"), 4)),
        Contract((0,), (0, 1), (1,))(hot(x(kind="int64", name="i"), 4), x(4, 5)),
        Contract((0, 1), (1,), (0,))(hot(x(6, kind="int64", name="i"), 20), x(20)),
        matmul(Reshape((6, 4))(hot(x(3, 2, kind="int64", name="i"), 4)), x(4, 5)),
        matmul(where(one_hot(4, swapped=True), number(1.0, 6, 4), number(0.0, 6, 4)), x(4, 5)),
        *(Contract((0, 1, 2), (2, 3), (0, 1, 3))(
            hot(x(1, 6, kind=kind, name="i"), 5, counter=counted(5, kind)), x(5, 4))
          for kind in ("int64", "int32")),
        matmul(hot(x(0, kind="int64", name="i"), 4), x(4, 7)),
    ],
    "contract with a number": lambda: [
        matmul(x(2, 3), number(0.5, 3, 4)),
        matmul(number(2.0, 5, 2, 3), x(5, 3, 4)),
        Contract((0, 1, 2), (2, 3, 0), (3, 0, 1))(number(3.0, 2, 1, 4), x(4, 5, 2)),
        matmul(x(2, 0), number(0.5, 0, 4)),
    ],
    "part of convolution": lambda: [
        Slice((0, 0, 0, 1, 2), (2, 1, 4, 5, 6), (1, 1, 1, 1, 1))(
            Convolve((1, 1), (1, 1))(x(2, 1, 3, 8, 9), x(1, 4, 3, 3, 2, name="w"))),
        Slice((0, 0, 0, 1, 0), (2, 1, 4, 4, 2), (1, 1, 1, 2, 1))(
            Convolve((2, 3), (2, 1))(x(2, 1, 3, 14, 9), x(1, 4, 3, 3, 2, name="w"))),
        Slice((0, 0, 0, 1), (1, 2, 2, 6), (1, 1, 1, 1))(Convolve((1,), (1,))(
            Pad((0, 0, 0, 2), (0, 0, 0, 1), (0, 0, 0, 1))(x(1, 2, 3, 3)), x(2, 2, 3, 3, name="w"))),
        Slice((0, 0, 0, 1), (1, 1, 2, 4), (1, 1, 1, 1))(Convolve((1,), (1,))(
            Pad((0, 0, 0, 1), (0, 0, 0, 1), (0, 0, 0, 0))(x(1, 1, 3, 5)), x(1, 2, 3, 3, name="w"))),
    ],
    "convolution of remainders": lambda: [
        spread_convolution(5, 3, stride=2, border=2),
        spread_convolution(4, 1, stride=3, border=0),
        spread_convolution(3, 7, stride=2, border=5, dilation=2),
        spread_convolution(4, 2, stride=3, border=4, dilation=3),
    ],
    "split convolution": lambda: [
        Convolve((1, 1), (1, 2))(x(2, 1, 6, 66, 97), x(1, 3, 6, 64, 48, name="w")),
        Convolve((1,), (1,))(x(1, 2, 5, 4002), x(2, 1, 5, 4000, name="w")),
    ],
    "split contraction": lambda: [
        Contract((0, 1), (0, 2), (1, 2))(x(8194, 3), x(8194, 2, name="w")),
        Contract((3, 0, 1), (2, 3, 1), (2, 0))(x(90, 3, 100), x(2, 90, 100, name="w")),
        Contract((0,), (0,), ())(x(9000, kind="float64"), x(9000, kind="float64", name="w")),
    ],
    "number in its dtype": lambda: [constant(2, FLOAT32), constant(0, FLOAT64)],
    "compute with numbers": lambda: [
        number(2.0, 3) * number(np.inf, 3),
        exp(number(1.0, 2, kind=FLOAT16)),
        Cast(I8)(number(3.7, 2)),
        number(-3, 2, kind=INT64) // number(2, 2, kind=INT64),
        where(number(True, 2, kind=DTYPES["bool"]), number(-0.0, 2), number(1.0, 2)),
        sqrt(number(-1.0)),
    ],
    "compute with tables": lambda: [
        table(2, 3) * number(2.0, 2, 3),
        number(2.0, 2, 3) - table(2, 3),
        Transpose((1, 0))(table(2, 3)),
        sum_over(table(2, 3), (1,)),
        matmul(table(2, 3), table(3, 2)),
    ],
    "divide by repeated root": lambda: [x(4, 3) / along(sqrt(abs(x(4, name="y"))), 4, 3)],
    "softmax": lambda: [softmax(x(4, 3)), softmax(x(2, 1)), softmax(x(3, 0))],
    "softmax by reciprocal": lambda: [
        exp(x(4, 3)) * along(reciprocal(sum_over(exp(x(4, 3)), (1,))), 4, 3)
    ],
    "log of sum of exp": lambda: [
        log(sum_over(exp(x(4, 3)), (1,))),
        log(sum_over(exp(x(4, 3)), (0, 1))),
        log(sum_over(exp(x(4, 0)), (1,))),
    ],
    "gradient of shares": lambda: [_slope_of_shares(4, 3), _slope_of_shares(2, 1)],
    "split fold": lambda: [
        fold("add", x(256, 300), (0, 1)),
        fold("maximum", x(70000), (0,)),
        fold("add", x(3, 65536, 2), (1,)),
        fold("add", x(70000, kind="float16"), (0,)),
        fold("minimum", x(2, 32, 1024, 3, kind="int32"), (1, 2, 3)),
    ],
    "fast convolution": lambda: [
        Convolve((1, 1), (1, 1))(x(4, 1, 48, 17, 18), x(1, 40, 48, 3, 3, name="w")),
        Convolve((1, 1), (1, 1))(x(6, 1, 64, 14, 14), x(1, 64, 64, 3, 3, name="w")),
        Convolve((1, 1), (1, 1))(x(48, 1, 4, 19, 18), x(1, 56, 4, 17, 16, name="w")),
        Convolve((1, 1), (1, 1))(x(2, 1, 64, 20, 21), x(1, 64, 64, 9, 7, name="w")),
    ],
    "move, then widen": lambda: [
        Pad((1, 0), (0, 2), (0, 1))(widened(4, 3)),
        Pad((1, 0), (2, 1), (0, 0), "reflect")(Transpose((1, 0))(widened(3, 4))),
        Pad((1,), (1,), (0,))(Reshape((6,))(Pad((1, 0), (0, 1), (0, 0))(widened(1, 2)))),
        Concatenate(1)(widened(4, 3), Slice((0, 1), (4, 2), (1, 1))(widened(4, 3, name="y"))),
        Interleave((2,))(widened(4, 3, kind="bfloat16"), widened(4, 3, kind="bfloat16", name="y")),
    ],
}  # fmt: skip
ALL = [*ALGEBRA, *STABILITY, *FOLDING, *SPLITTING, *RESIDUES, *WINOGRAD, *NARROW]
RULES = {r.name: r for r in ALL}
HERE = [r for r in RULES.values() if r.left is None or has_axes(r.left)]


def _slope_of_shares(rows: int, columns: int) -> Node:
    """What the gradient of e / sum(e), e = exp(x), gives for x; the sum is any positive number."""
    g, e = x(rows, columns, name="g"), exp(x(rows, columns))
    s = along(exp(x(rows, name="s")), rows, columns)
    total = along(-sum_over(g * (e / s) / s, (1,)), rows, columns)
    return (g / s + total) * e


def merged(root: Node) -> Node:
    """The root with inputs of one name made one, so that patterns see a variable twice."""
    known: dict[tuple, Node] = {}
    new: dict[Node, Node] = {}
    for node in toposort([root]):
        key = (node.op, tuple(new[i] for i in node.inputs))
        new[node] = known.setdefault(key, Node(*key, node.type, node.site))
    return new[root]


def awkward(node: Node, rng, infinite: bool):
    """Values for a leaf: special ones first, then random ones, in any shape."""
    special = specials(node.dtype, extreme=infinite, infinite=infinite)
    rng.shuffle(special)
    size = int(np.prod(node.shape))
    more = rng.normal(size=size) * 3 if node.dtype.is_float else rng.integers(0, 2, size)
    return np.resize(np.concatenate([special, more.astype(special.dtype)])[:size], node.shape)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_both_sides_agree(name, rng):
    rule = RULES[name]
    for sample in SAMPLES[name]():
        left = merged(sample)
        right = fire(rule, left)
        assert right is not None, f"{name} does not fire on {left.op}"
        assert right.type == left.type
        for special in (False, True) if rule.unsafe in ("", "sign of zero") else (False,):
            leaves = [n for n in toposort([left]) if n.op.label]
            feed = {n: awkward(n, rng, special) for n in leaves}
            if name.startswith("split"):  # sums of whole numbers are exact in any order
                feed = {n: np.rint(value).astype(value.dtype) for n, value in feed.items()}
            wanted, found = evaluate([left, right], feed)
            if rule.unsafe in ("", "sign of zero") or not left.dtype.is_float:
                assert same(wanted, found, signed_zero=not rule.unsafe), (wanted, found)
            elif name.startswith("fast"):  # sums of products may cancel
                assert np.abs(found - wanted).max() < 5e-6 * np.abs(wanted).max()
            else:
                assert near(found, wanted), (wanted, found)


def test_every_rule_has_a_sample():
    assert {r.name for r in HERE} == set(SAMPLES)


def test_names_are_unique_and_reasons_given():
    assert len({r.name for r in ALL}) == len(ALL)
    assert all(len(r.why.split()) > 1 for r in ALL)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("fold of copies", lambda: fold("add", Broadcast((0, 3), (1,))(x(3)), (0,))),
        ("fold of copies", lambda: sum_over(Broadcast((999, 3), (1,))(x(3, kind="float16")), (0,))),
        ("fold twice", lambda: fold("add", fold("maximum", x(2, 3), (0,)), (0,))),
        ("fold twice", lambda: fold("add", fold("add", x(2, 3), (1,)), (0,))),
        ("fold twice", lambda: sum_over(sum_over(x(2, 3, kind="float16"), (0,)), (0,))),
        ("cast twice", lambda: Cast(FLOAT32)(Cast(I32)(x(3)))),
        ("cast twice", lambda: Cast(I8)(Cast(FLOAT64)(x(3, kind="int32")))),
        ("contract of copies", lambda: matmul(x(2, 3), Broadcast((3, 4), (1,))(x(4, name="y")))),
        ("compute before moving", lambda: along(x(4), 4, 4) + Transpose((1, 0))(along(x(4), 4, 4))),
        ("compute with tables", lambda: Broadcast((9, 3), (1,))(table(3))),
        ("slice twice", lambda: Slice((1,), (1,), (1,))(Slice((0,), (2,), (1,))(x(4)))),
        ("softmax", lambda: softmax(x(4, 3) - along(fold("maximum", x(4, 3), (1,)), 4, 3))),
        ("split fold", lambda: fold("add", x(65537), (0,))),
        ("move, then widen", lambda: Pad((1,), (1,), (0,))(x(4))),
        ("move, then widen", lambda: Pad((1,), (1,), (0,), value=0.1)(widened(4))),
        ("move, then widen", lambda: Concatenate(0)(widened(4), x(4, name="y"))),
        ("move, then widen", lambda: Concatenate(0)(
            widened(4), widened(4, kind="bfloat16", name="y"))),
        ("fast convolution", lambda: Convolve((1, 1), (1, 1))(
            Pad((0, 0, 0, 1, 1), (0, 0, 0, 1, 1), (0,) * 5)(widened(6, 1, 64, 14, 14)),
            widened(1, 64, 64, 3, 3, name="w"))),
        ("split fold", lambda: fold("add", x(1000, 1000), (0,))),
        ("sum of one-hot", lambda: sum_over(
            where(one_hot(4), x(6, 4), number(0.0, 6, 4)), (1,))),
        ("sum of one-hot", lambda: sum_over(where(
            equal(along(x(6, kind="uint8"), 6, 300), Iota((6, 300), 1, DTYPES["uint8"])()),
            number(1.0, 6, 300), number(0.0, 6, 300)), (1,))),
        ("contract of one-hot", lambda: matmul(hot(x(6, kind="uint8"), 300), x(300, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(
            hot(x(6), 4, counter=Iota((6, 4), 1, FLOAT32)()), x(4, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(
            hot(x(6, kind="int64"), 4, counter=Iota((6, 4), 0)()), x(4, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(
            hot(x(6, kind="int64"), 4, counter=Broadcast((6, 4), (1,))(
                table(4, kind=INT64) + number(1, 4, kind=INT64))), x(4, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(Cast(FLOAT32)(equal(
            x(6, 4, kind="int64"), Iota((6, 4), 1)())), x(4, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(Cast(FLOAT32)(less(
            along(x(6, kind="int64"), 6, 4), Iota((6, 4), 1)())), x(4, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(where(
            one_hot(4), number(2.0, 6, 4), number(0.0, 6, 4)), x(4, 2, name="w"))),
        ("contract of one-hot", lambda: Contract((0, 1), (0, 2), (1, 2))(
            hot(x(6, kind="int64"), 4), x(6, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(
            hot(x(2, 6, kind="int64"), 4), x(2, 4, 3, name="w"))),
        ("contract of one-hot", lambda: matmul(
            Reshape((4, 6))(hot(x(6, kind="int64"), 4)), x(6, 2, name="w"))),
        ("contract of one-hot", lambda: matmul(hot(x(6, kind="int64"), 0), x(0, 2, name="w"))),
        ("fast convolution", lambda: Convolve((1, 1), (1, 1))(
            x(4, 1, 8, 17, 18), x(1, 8, 8, 3, 3, name="w"))),
        ("fast convolution", lambda: Convolve((2, 2), (1, 1))(
            x(4, 1, 64, 33, 33), x(1, 64, 64, 3, 3, name="w"))),
        ("fast convolution", lambda: Convolve((1, 1), (1, 1))(
            x(4, 2, 64, 17, 17), x(2, 64, 64, 3, 3, name="w"))),
        ("fast convolution", lambda: Convolve((1, 1), (1, 1))(
            x(4, 1, 64, 17, 17, kind="float64"), x(1, 64, 64, 3, 3, name="w", kind="float64"))),
        ("convolution of remainders", lambda: spread_convolution(5, 3, stride=1, border=1)),
        ("convolution of remainders", lambda: spread_convolution(5, 3, stride=17, border=1)),
        ("convolution of remainders", lambda: spread_convolution(
            5, 3, stride=2, border=1, value=1.0)),
        ("split convolution", lambda: Convolve((1,), (1,))(
            x(1, 1, 8, 2050), x(1, 2, 8, 2048, name="w"))),
        ("split convolution", lambda: Convolve((1,), (1,))(
            x(1, 1, 1, 20002), x(1, 2, 1, 20000, name="w"))),
        ("split contraction", lambda: matmul(x(2, 8192), x(8192, 3, name="w"))),
        ("split contraction", lambda: matmul(x(2, 8209), x(8209, 3, name="w"))),
        ("split contraction", lambda: matmul(x(0, 8194), x(8194, 3, name="w"))),
        ("part of convolution", lambda: Slice((1, 0, 0, 0), (2, 1, 2, 3), (1, 1, 1, 1))(
            Convolve((1,), (1,))(x(2, 1, 3, 5), x(1, 2, 3, 3, name="w")))),
        ("slice of reshape", lambda: Slice((1, 0), (2, 3), (1, 1))(Reshape((2, 3))(x(6)))),
        ("fast convolution", lambda: Convolve((1, 1), (1, 1))(
            x(4, 1, 64, 17, 17), x(1, 64, 64, 1, 1, name="w"))),
        ("fast convolution", lambda: Convolve((1, 1), (1, 1))(
            x(4, 1, 64, 17, 17), x(1, 64, 64, 1, 7, name="w"))),
        ("number in its dtype", lambda: constant(2.0, full_like(0, x(2)).dtype)),
    ],
)  # fmt: skip
def test_where_it_would_be_wrong_or_useless_it_does_not_fire(name, node):
    assert fire(RULES[name], merged(node())) is None
