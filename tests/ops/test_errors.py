"""Every rule that an op can break, with the code of the error; and faults that data causes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.errors import UserError
from graphc.grad import gradients
from graphc.graph import Node
from graphc.ops import random
from graphc.ops.contraction import Contract, matmul
from graphc.ops.convolution import Convolve, convolution
from graphc.ops.einsum import einsum
from graphc.ops.elementwise import ELEMENTWISE, Bitcast
from graphc.ops.indexing import ScatterAdd, Take, TakeAlongAxis
from graphc.ops.leaves import Input, Storage
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.ops.reduction import ArgExtreme, Broadcast, Fold
from graphc.ops.selection import Concatenate, Flip, Pad, Slice
from graphc.ops.window import Window, WindowArg, WindowPick, Windows, WindowSpread
from graphc.scalars import SCALARS
from graphc.types import FLOAT64, TensorType, dtype


def node(*shape: int, kind: str = "float32") -> Node:
    return Input("x", TensorType(dtype(kind), shape))()


X, Y, V, S = node(3, 4), node(4, 3), node(5), node()
INT, BOOL, WIDE = (node(3, 4, kind=k) for k in ("int64", "bool", "float64"))
INDEX, STATE = node(2, kind="int64"), node(4, kind="uint32")
OVER = Windows((2, 2), (1, 1), (1, 1), (0, 0), (0, 0))
LEFT_OUT = Windows((2, 2), (1, 1), (1, 1), (-1, 0), (0, 0))
IMAGE, FILTER = node(1, 1, 2, 5), node(1, 1, 2, 3)
add, maximum = SCALARS["add"], SCALARS["maximum"]

WRONG: dict[str, tuple[str, Callable[[], object]]] = {
    "elementwise-shapes": ("GC0101", lambda: X + Y),
    "elementwise-dtypes": ("GC0102", lambda: X + WIDE),
    "elementwise-domain": ("GC0102", lambda: ELEMENTWISE["exp"](INT)),
    "elementwise-width": ("GC0102", lambda: ELEMENTWISE["multiply_high"](INT, INT)),
    "elementwise-count": ("GC0302", lambda: ELEMENTWISE["add"](X)),
    "where-condition": ("GC0102", lambda: ELEMENTWISE["where"](X, X, X)),
    "number-beside-integers": ("GC0102", lambda: INT + 1.5),
    "bitcast-width": ("GC0102", lambda: Bitcast(FLOAT64)(X)),
    "transpose": ("GC0104", lambda: Transpose((0, 0))(X)),
    "reshape": ("GC0101", lambda: Reshape((5,))(X)),
    "broadcast": ("GC0101", lambda: Broadcast((3, 5), (0, 1))(X)),
    "broadcast_to": ("GC0101", lambda: broadcast_to(X, (3, 5))),
    "fold-axis": ("GC0104", lambda: Fold(add, (2,))(X)),
    "fold-bool": ("GC0102", lambda: Fold(add, (0,))(BOOL)),
    "fold-number": ("GC0102", lambda: Fold(SCALARS["logical_or"], (0,))(X)),
    "fold-nothing": ("GC0104", lambda: Fold(maximum, (0,))(node(0, kind="int32"))),
    "argmax-nothing": ("GC0104", lambda: ArgExtreme(True, 0)(node(0))),
    "matmul-sizes": ("GC0101", lambda: matmul(X, X)),
    "matmul-dtypes": ("GC0102", lambda: matmul(WIDE, Y)),
    "contract-rank": ("GC0103", lambda: Contract((0,), (0,), ())(X, V)),
    "slice-rank": ("GC0103", lambda: Slice((0,), (1,), (1,))(X)),
    "slice-end": ("GC0104", lambda: Slice((0, 0), (4, 4), (1, 1))(X)),
    "slice-backwards": ("GC0104", lambda: Slice((2, 0), (1, 4), (1, 1))(X)),
    "slice-step": ("GC0104", lambda: Slice((0, 0), (3, 4), (0, 1))(X)),
    "flip": ("GC0104", lambda: Flip((2,))(X)),
    "pad-rank": ("GC0103", lambda: Pad((1,), (1,), (0,))(X)),
    "pad-negative": ("GC0104", lambda: Pad((-1, 0), (0, 0), (0, 0))(X)),
    "pad-mode": ("GC0104", lambda: Pad((1, 0), (0, 0), (0, 0), "wrap")(X)),
    "pad-reflect": ("GC0104", lambda: Pad((3, 0), (0, 0), (0, 0), "reflect")(X)),
    "pad-interior": ("GC0104", lambda: Pad((0, 0), (0, 0), (1, 0), "edge")(X)),
    "pad-value": ("GC0102", lambda: Pad((1, 0), (0, 0), (0, 0), value=0.5)(INT)),
    "concatenate-none": ("GC0302", lambda: Concatenate(0)()),
    "concatenate-axis": ("GC0104", lambda: Concatenate(2)(X, X)),
    "concatenate-dtypes": ("GC0102", lambda: Concatenate(0)(X, WIDE)),
    "concatenate-shapes": ("GC0101", lambda: Concatenate(0)(X, Y)),
    "convolve-rank": ("GC0103", lambda: Convolve((1,), (1,))(X, Y)),
    "convolve-channels": ("GC0101", lambda: Convolve((1,), (1,))(IMAGE, node(1, 1, 3, 3))),
    "convolve-size": ("GC0101", lambda: Convolve((1,), (3,))(IMAGE, FILTER)),
    "convolve-stride": ("GC0104", lambda: Convolve((0,), (1,))(IMAGE, FILTER)),
    "convolve-dtypes": (
        "GC0102",
        lambda: Convolve((1,), (1,))(IMAGE, node(1, 1, 2, 3, kind="float64")),
    ),
    "convolution-groups": (
        "GC0101",
        lambda: convolution(node(1, 3, 5), node(2, 1, 3), (1,), ((0, 0),), (1,), 2),
    ),
    "window-rank": ("GC0103", lambda: Window(add, OVER)(V)),
    "window-size": ("GC0101", lambda: Window(add, OVER)(node(1, 1))),
    "window-padding": ("GC0104", lambda: Window(add, LEFT_OUT)(X)),
    "window-bool": ("GC0102", lambda: Window(add, OVER)(BOOL)),
    "window-arg": ("GC0101", lambda: WindowArg(OVER)(X, X)),
    "window-pick": ("GC0101", lambda: WindowPick(OVER)(X, INT)),
    "window-spread": ("GC0101", lambda: WindowSpread(OVER, (3, 4))(X)),
    "take-axis": ("GC0104", lambda: Take(2)(X, INDEX)),
    "take-dtype": ("GC0102", lambda: Take(0)(X, V)),
    "take-along-shapes": ("GC0101", lambda: TakeAlongAxis(0)(X, INDEX)),
    "scatter-updates": ("GC0101", lambda: ScatterAdd(0)(X, INDEX, X)),
    "storage": ("GC0303", lambda: Storage(np.zeros(3), FLOAT64).assign(np.zeros(4))),
    "random-state": ("GC0101", lambda: random.RandomBits((3,), 0, 0)(V)),
    "random-word": ("GC0104", lambda: random.RandomBits((3,), 0, 4)(STATE)),
    "random-dtype": ("GC0102", lambda: random.uniform(STATE, (3,), 0, dtype("int32"))),
    "einsum-count": ("GC0302", lambda: einsum("ij,jk->ik", X)),
    "einsum-equation": ("GC0104", lambda: einsum("i1,1k->ik", X, Y)),
    "einsum-diagonal": ("GC0104", lambda: einsum("ij->jj", X)),
    "einsum-unknown": ("GC0104", lambda: einsum("ij->ik", X)),
    "einsum-rank": ("GC0103", lambda: einsum("i->i", X)),
    "einsum-sizes": ("GC0101", lambda: einsum("ij,ij->ij", X, Y)),
    "gradient-of-integers": ("GC0201", lambda: gradients(ELEMENTWISE["add"](INT, INT), [INT])),
    "gradient-without-rule": ("GC0201", lambda: gradients(Bitcast(dtype("float32"))(S), [S])),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_broken_rule_is_reported_with_its_code(name: str):
    code, program = WRONG[name]
    with pytest.raises(UserError) as caught:
        program()
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{code}: ")


@pytest.mark.parametrize("wrong", [3, -4, 2**40])
@pytest.mark.parametrize("op", [Take(0), TakeAlongAxis(0), ScatterAdd(0)], ids=lambda op: op.name)
def test_an_index_out_of_bounds_names_itself(op: Take | TakeAlongAxis | ScatterAdd, wrong: int):
    x, places = np.zeros(3), np.array([0, wrong, 1])
    extra = [np.zeros(3)] if isinstance(op, ScatterAdd) else []
    with pytest.raises(UserError, match=rf"index {wrong} in an axis of 3") as caught:
        op.eval(x, places, *extra)
    assert caught.value.code == "GC0306"
