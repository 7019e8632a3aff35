"""Operators on borders and resolution: padding, cropping, blocks of pixels.

Comes in: tensors, and widths and sizes that are known while the graph is built. Goes out:
tensors of other sizes. A separate file because here sizes must be numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.manners import axes_of
from graphc.frontends.dsl.padding import Mode
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Known, KnownList, operator
from graphc.frontends.onnx.values import integers

_MODES: dict[str, Mode] = {m: m for m in ("constant", "reflect", "edge", "wrap")}


@operator("Pad")
def pad(
    x: Tensor,
    pads: KnownList,
    constant_value: Known | None = None,
    axes: Known | None = None,
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> Tensor:
    """``x`` with elements around ``axes``: ``pads`` are all widths before, then all after; negative
    ones take elements away.
    """
    if mode not in _MODES:
        raise UserError("GC0505", f"Pad in mode {mode!r}", fix=f"ONNX has {', '.join(_MODES)}")
    places = range(x.ndim) if axes is None else axes_of(integers(axes), x.ndim)
    widths, count = integers(pads), len(places)
    before = dict(zip(places, widths[:count], strict=True))
    after = dict(zip(places, widths[count:], strict=True))
    pairs = [(before.get(a, 0), after.get(a, 0)) for a in range(x.ndim)]
    kept = x[tuple(slice(max(-low, 0), min(high, 0) or None) for low, high in pairs)]
    around = [(max(low, 0), max(high, 0)) for low, high in pairs]
    element = np.asarray(value if constant_value is None else constant_value)
    return gc.pad(kept, around, _MODES[mode], element.astype(x.dtype.numpy).item())


@operator("CenterCropPad")
def center_crop_pad(x: Tensor, shape: Known, *, axes: Sequence[int] | None = None) -> Tensor:
    """The middle of ``x`` in the sizes ``shape`` along ``axes``, with zeros around if it is too
    small; what is odd goes to the end.
    """
    places = axes_of(axes, x.ndim)
    for axis, wanted in zip(places, integers(shape), strict=True):
        missing = wanted - x.node.type.static_shape[axis]
        front = missing // 2 if missing > 0 else -(-missing // 2)
        x = pad(x, [front, missing - front], axes=np.array([axis]))
    return x


# Blocks of pixels ---------------------------------------------------------------------------------
@operator("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels as blocks of pixels: [n, c * b * b, h, w] as [n, c, h * b, w * b].

    The channels come first in ``mode`` CRD, and last in DCR.
    """
    n, channels, height, width = x.shape
    depth, b = channels // blocksize**2, blocksize
    if mode == "DCR":
        blocks = x.reshape(n, b, b, depth, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, depth, b, b, height, width).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, depth, height * b, width * b)


@operator("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Blocks of pixels as channels: the inverse of `depth_to_space`."""
    n, depth, height, width = x.shape
    b = blocksize
    blocks = x.reshape(n, depth, height // b, b, width // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return blocks.transpose(*order).reshape(n, depth * b * b, height // b, width // b)
