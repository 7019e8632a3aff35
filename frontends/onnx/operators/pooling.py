"""Pooling: the largest element, the mean or the norm of windows and of channels, and its inverse.

Comes in: ``[batch, channels, *sizes]``. Goes out: the same with fewer places. A separate file
because ONNX numbers the places of its largest elements through the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import graphc.frontends.dsl as gc
from graphc.dims import Size, product
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import pooling, unpooling
from graphc.frontends.onnx.registry import Known, Node, operator
from graphc.frontends.onnx.windows import Ints, pairs_of, window_options


@operator("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The mean of each window, of which the border may be a part."""
    options = window_options(x, kernel_shape, auto_pad, dilations, pads, strides)
    counted = bool(count_include_pad)
    return pooling.avg_pool(
        x, kernel_shape, ceil_mode=bool(ceil_mode), count_include_pad=counted, **options
    )


@operator("LpPool")
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = None,
    p: float = 2,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """``sum(abs(x)**p)**(1/p)`` of each window."""
    options = window_options(x, kernel_shape, auto_pad, dilations, pads, strides)
    return pooling.lp_pool(x, kernel_shape, p, ceil_mode=bool(ceil_mode), **options)


@operator("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = None,
    pads: Ints = None,
    storage_order: int = 0,
    strides: Ints = None,
    node: Node,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest element of each window, and its place in the whole of x if wanted."""
    options = window_options(x, kernel_shape, auto_pad, dilations, pads, strides)
    if len(node.outputs) < 2 or not node.outputs[1]:
        return pooling.max_pool(x, kernel_shape, ceil_mode=bool(ceil_mode), **options)
    largest, places = unpooling.max_pool_with_indices(
        x, kernel_shape, ceil_mode=bool(ceil_mode), **options
    )
    sizes = x.shape[2:]
    places = _columns_first(places, sizes) if storage_order else places
    images = gc.arange(x.shape[0] * x.shape[1]) * product(sizes)
    return largest, places + images.reshape((*x.shape[:2], *[1] * len(sizes)))


def _columns_first(places: Tensor, sizes: Sequence[Size]) -> Tensor:
    """Row-major numbers of places as column-major ones."""
    rest, found = places, places * 0
    for axis in reversed(range(len(sizes))):
        found = found + rest % sizes[axis] * product(sizes[:axis])
        rest = rest // sizes[axis]
    return found


@operator("MaxUnpool")
def max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Known | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """x at the places that `max_pool` has given, zeros elsewhere, also behind up to
    ``output_shape``.
    """
    steps = list(strides or [1] * len(kernel_shape))
    around = pairs_of(pads, len(kernel_shape))
    axes = zip(x.shape[2:], kernel_shape, steps, around, strict=True)
    sizes = [(n - 1) * step - sum(border) + k for n, k, step, border in axes]
    places = indices % product(sizes)
    y = unpooling.max_unpool(x, places, kernel_shape, steps, around, sizes)
    if output_shape is None:
        return y
    extents = y.node.type.keep(range(2, y.ndim)).static_shape
    wanted = zip(extents, output_shape[2:], strict=True)
    return gc.pad(y, [(0, 0), (0, 0), *((0, int(m) - n) for n, m in wanted)])


@operator("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    """The mean of each channel."""
    return x.mean(range(2, x.ndim), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """The largest element of each channel."""
    return x.max(range(2, x.ndim), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(x: Tensor, *, p: float = 2) -> Tensor:
    """The norm of each channel."""
    return gc.linalg.vector_norm(x, tuple(range(2, x.ndim)), keepdims=True, ord=p)
