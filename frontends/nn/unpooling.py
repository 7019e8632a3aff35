"""Where the largest element of a window stood, and the way back: `max_unpool`.

Comes in: ``[n, channels, *sizes]``. Goes out: values with their positions, or values at positions.
A separate file because only here is a position a result; the gradient of `max_pool` needs none.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.dims import Size, product
from graphc.dims import size as as_size
from graphc.errors import UserError
from graphc.frontends.dsl.creation import zeros
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.scatter import scatter
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.functional import Padding, Sizes, pairs, several
from graphc.frontends.nn.pooling import images, windows
from graphc.ops.leaves import Iota
from graphc.ops.window import Window, WindowArg, Windows
from graphc.scalars import SCALARS
from graphc.types import INT64


@at_user_line
def max_pool_with_indices(
    x: Value,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and the int64 row-major position in ``sizes`` of the first largest element of
    each window; a nan is the largest.
    """
    over, _ = windows(x, window, stride, padding, dilation, ceil_mode)
    node = tensor(x).node
    largest = Window(SCALARS["maximum"], over)(node)
    places = Tensor(WindowArg(over)(node, largest)).astype(INT64)
    return Tensor(largest), _positions(places, over, node.shape[2:])


def _positions(places: Tensor, over: Windows, sizes: tuple[Size, ...]) -> Tensor:
    """Row-major numbers in ``sizes`` of places in windows, from the last axis to the first."""
    rest, position = places, places * 0
    step: Size = 1
    for axis in reversed(range(over.rank)):
        counter = Tensor(Iota(places.shape, axis + 2, INT64)())
        tap = rest % over.sizes[axis] * over.dilations[axis]
        rest = rest // over.sizes[axis]
        position = position + (counter * over.strides[axis] - over.low[axis] + tap) * step
        step = step * sizes[axis]
    return position


@at_user_line
def max_unpool(
    x: Value,
    indices: Value,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    sizes: Sequence[Size] | None = None,
) -> Tensor:
    """``[n, c, *sizes]``: x ``[n, c, *places]`` at the ``indices`` of `max_pool_with_indices`,
    zeros elsewhere; of several values for one element the last one.

    ``sizes`` are ``(places-1)*stride - padding + window`` unless given. Raises `UserError` GC0101,
    GC0103; at run time GC0306.
    """
    value, positions = images(x), tensor(indices)
    if positions.shape != value.shape:
        raise UserError("GC0101", f"{value.node.type} at positions {positions.node.type}")
    rank = value.ndim - 2
    if sizes is None:
        spans = several(window, rank)
        steps = spans if stride is None else several(stride, rank)
        around = pairs(padding, spans, (1,) * rank)
        axes = zip(value.shape[2:], spans, steps, around, strict=True)
        sizes = [(n - 1) * step - sum(border) + span for n, span, step, border in axes]
    wanted = (*value.shape[:2], *map(as_size, sizes))
    flat = zeros((*value.shape[:2], product(wanted[2:])), value.dtype)
    rows = (*value.shape[:2], product(value.shape[2:]))
    return scatter(flat, positions.reshape(rows), value.reshape(rows), 2).reshape(wanted)
