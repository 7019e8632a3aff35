"""Convolutions: plain, transposed, deformable, causal, and the adjoint of cutting patches.

Comes in: ``[batch, channels, *sizes]``. Goes out: the same with other channels and sizes. A
separate file because all of them place windows by the same attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import functional
from graphc.frontends.nn.deformable import deform_conv
from graphc.frontends.nn.patches import fold
from graphc.frontends.onnx.registry import Known, operator
from graphc.frontends.onnx.windows import Ints, Pairs, halves, pairs_of, window_options


@operator("Conv")
def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """Cross-correlation of x ``[n, in, *sizes]`` with w ``[out, in/group, *kernel]``."""
    kernel = w.node.type.static_shape[2:]
    options = window_options(x, kernel, auto_pad, dilations, pads, strides)
    return functional.conv(x, w, b, groups=group, **options)


@operator("ConvTranspose")
def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    output_padding: Ints = None,
    output_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The adjoint of `conv`: x ``[n, in, *sizes]``, w ``[in, out/group, *kernel]``."""
    kernel = w.node.type.static_shape[2:]
    rank = len(kernel)
    steps, near = list(strides or [1] * rank), list(dilations or [1] * rank)
    extra = list(output_padding or [0] * rank)
    around = pairs_of(pads if auto_pad == "NOTSET" else None, rank)
    if output_shape or auto_pad.startswith("SAME"):
        spans = [d * (k - 1) + 1 for k, d in zip(kernel, near, strict=True)]
        axes = zip(x.shape[2:], spans, steps, extra, strict=True)
        whole = [(n - 1) * step + span + more for n, span, step, more in axes]
        same = [n * step for n, step in zip(x.shape[2:], steps, strict=True)]
        around = _surplus(whole, list(output_shape or same)[-rank:], auto_pad)
    return functional.conv_transposed(
        x, w, b, stride=steps, padding=around, output_padding=extra, dilation=near, groups=group
    )


def _surplus(whole: Sequence[Any], wanted: Sequence[Any], auto_pad: str) -> Pairs:
    """What to cut off ``whole`` sizes to have those ``wanted``; what is missing, at the end."""
    totals = [n - m for n, m in zip(whole, wanted, strict=True)]
    if not all(isinstance(total, int) for total in totals):
        raise UserError(
            "GC0305", f"ConvTranspose to {wanted} of a named size", fix="give it a number"
        )
    side = auto_pad if auto_pad.startswith("SAME") else "SAME_LOWER"
    return [halves(total, side) if total > 0 else (0, total) for total in totals]


@operator("DeformConv")
def deformable(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    b: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    offset_group: int = 1,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """`conv` whose filters look at places moved by ``offset``, each weighed by ``mask``."""
    kernel = w.node.type.static_shape[2:]
    options = window_options(x, kernel, "NOTSET", dilations, pads, strides)
    return deform_conv(x, w, offset, b, mask, groups=group, offset_groups=offset_group, **options)


@operator("Col2Im")
def col2im(
    x: Tensor,
    image_shape: Known,
    block_shape: Known,
    *,
    dilations: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The images that are the sums of the patches in the columns of x."""
    kernel = [int(k) for k in block_shape]
    options = window_options(x, kernel, "NOTSET", dilations, pads, strides)
    return fold(x, [int(n) for n in image_shape], kernel, **options)


@operator("CausalConvWithState")
def causal_conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    past: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """Each channel of x ``[n, channels, length]`` with its own filter over itself and what came
    before, and what comes before the next call.
    """
    if activation not in ("none", "silu", "swish"):
        raise UserError("GC0505", f"activation {activation!r}", fix="use none, silu or swish")
    count = w.shape[-1] - 1
    past = gc.zeros((*x.shape[:2], count), x.dtype) if past is None else past
    sequence = gc.concatenate([past, x], -1)
    y = functional.conv(sequence, w, b, groups=x.node.type.keep((1,)).static_shape[0])
    return (y if activation == "none" else gc.silu(y)), sequence[:, :, x.shape[-1] :]
