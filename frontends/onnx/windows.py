"""Where windows lie: the attributes that convolution and pooling share.

Comes in: a tensor ``[n, channels, *sizes]`` and ONNX's attributes. Goes out: stride, padding and
dilation as `graphc.frontends.nn` takes them. A separate step because ONNX can leave paddings to be
computed (``auto_pad``) and lists all beginnings before all ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor

Ints = Sequence[int] | None
Pairs = list[tuple[int, int]]


def window_options(
    x: Tensor, kernel: Sequence[int], auto_pad: str, dilations: Ints, pads: Ints, strides: Ints
) -> dict[str, Any]:
    """``stride``, ``padding`` and ``dilation`` of windows of ``kernel`` over the axes of ``x``.

    Raises `UserError` GC0104 for an unknown ``auto_pad``, GC0305 where it needs a named size.
    """
    rank = len(kernel)
    steps, near = list(strides or [1] * rank), list(dilations or [1] * rank)
    if auto_pad in ("NOTSET", "VALID", ""):
        around = pairs_of(pads if auto_pad != "VALID" else None, rank)
    else:
        axes = zip(x.shape[2:], kernel, steps, near, strict=True)
        around = [halves(_missing(*axis), auto_pad) for axis in axes]
    return {"stride": steps, "padding": around, "dilation": near}


def pairs_of(pads: Ints, rank: int) -> Pairs:
    """(before, after) for each axis, from all that is before and then all that is after."""
    given = list(pads or [0] * (2 * rank))
    return list(zip(given[:rank], given[rank:], strict=True))


def halves(total: int, auto_pad: str) -> tuple[int, int]:
    """``total`` before and after an axis; an odd one is larger at the side that is named."""
    if auto_pad == "SAME_UPPER":
        return total // 2, total - total // 2
    if auto_pad == "SAME_LOWER":
        return total - total // 2, total // 2
    raise UserError("GC0104", f"auto_pad {auto_pad!r}", fix="it is NOTSET, VALID or SAME_...")


def _missing(extent: Size, size: int, stride: int, dilation: int) -> int:
    """What must be added to an axis to have ``extent / stride`` windows, rounded up."""
    span = dilation * (size - 1) + 1
    if stride == 1:
        return span - 1
    if not isinstance(extent, int):
        raise UserError(
            "GC0305",
            f"SAME padding of the named size {extent} at stride {stride}",
            why="how much is added depends on the number",
            fix="give the size a number, e.g. model.compile(sizes={...})",
        )
    return max((-(-extent // stride) - 1) * stride + span - extent, 0)
