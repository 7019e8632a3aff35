"""Narrow floats in arrays: float16 and bfloat16 are stored, float32 is computed.

Comes in: a node and the arrays of its operands. Goes out: its value. A separate step so that no
operation knows of narrow floats: `Op.eval` is given float32 in their place, and what it returns is
rounded once, to the nearest, ties to even.

In kernels the same rule stands in `expr.Load` and in stores (`loops.ir.Put`), so they round less
often: for every operation fused with the next one they may differ from the numpy backend by half a
unit in the last place, 2**-11 of the value in float16 and 2**-8 in bfloat16. Where a rounding is
wanted, there is `Cast`, which always rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.graph import Array, Node
from graphc.types import DType, dtype


def widened(x: Array) -> Array:
    """The array in the dtype in which it is computed."""
    known = dtype(x.dtype)
    return x.astype(known.computing.numpy) if known.is_narrow else x


def rounded(x: Array, to: DType) -> Array:
    """What computing gave, as it is stored."""
    array = np.asarray(x)
    if array.dtype == to.numpy:
        return array
    with np.errstate(all="ignore"):
        return array.astype(to.numpy)


def evaluate(node: Node, arrays: Sequence[Array]) -> Array:
    """The value of ``node`` by `Op.eval`: computed in float32 where it is stored in 16 bits."""
    given = arrays if node.op.reads_bits else [widened(x) for x in arrays]
    return rounded(node.op.eval(*given), node.dtype)
