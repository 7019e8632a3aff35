"""Images at other sizes and seen at other places: Resize, Upsample, GridSample, AffineGrid.

Comes in: images, and sizes, scales or places. Goes out: images. A separate file because ONNX gives
sizes in many ways, which end as the one of `graphc.resize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import sampling
from graphc.frontends.onnx.registry import Known, operator

_MODES = {"bilinear": "linear", "bicubic": "cubic", "trilinear": "linear"}
"""Older names of modes."""


@operator("Upsample")
@operator("Resize", since=10)
def upsample(x: Tensor, scales: Known, *, mode: str = "nearest") -> Tensor:
    """x with its sizes times ``scales``; element k looks at ``k / scale``, the nearest one at that
    rounded down where the axis grows, and up where it shrinks.
    """
    mode, y = _MODES.get(mode, mode), x
    for rounding, shrinks in (("floor", False), ("ceil", True)):
        axes = [a for a, s in enumerate(scales) if s != 1 and (s < 1) == shrinks]
        if axes:
            factors = [float(scales[a]) for a in axes]
            y = gc.resize(
                y,
                scales=factors,
                axes=axes,
                mode=mode,
                coordinates="asymmetric",
                rounding=rounding,
            )
    return y


@operator("Resize", since=11)
def resize(
    x: Tensor,
    roi: Known | None = None,
    scales: Known | None = None,
    sizes: Known | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """x with its sizes times ``scales``, or with ``sizes``, along ``axes``."""
    places = [a % x.ndim for a in (range(x.ndim) if axes is None else axes)]
    given = _targets(x, places, scales, sizes, keep_aspect_ratio_policy)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None:
            raise UserError("GC0302", "Resize by tf_crop_and_resize without roi")
        count = len(places)
        given["regions"] = [(float(roi[k]), float(roi[k + count])) for k in range(count)]
    else:
        places, given = _changed(x, places, given)
    return gc.resize(
        x,
        axes=places,
        mode=mode,
        coordinates=coordinate_transformation_mode,
        rounding=nearest_mode,
        cubic=cubic_coeff_a,
        exclude_outside=bool(exclude_outside),
        antialias=bool(antialias),
        outside=extrapolation_value,
        **given,
    )


def _targets(
    x: Tensor, axes: Sequence[int], scales: Known | None, sizes: Known | None, policy: str
) -> dict[str, Any]:
    """``sizes`` or ``scales``, both where one scale is to keep the aspect ratio."""
    if sizes is None or not len(sizes):
        if scales is None or not len(scales):
            raise UserError("GC0302", "Resize without scales and sizes")
        return {"scales": [float(scale) for scale in scales.reshape(-1)]}
    if policy == "stretch":
        return {"sizes": list(sizes)}
    extents = x.node.type.keep(tuple(axes)).static_shape
    ratios = [int(size) / extent for size, extent in zip(sizes, extents, strict=True)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    fitted = [int(ratio * extent + 0.5) for extent in extents]
    return {"sizes": fitted, "scales": [ratio] * len(fitted)}


def _changed(x: Tensor, axes: list[int], given: dict[str, Any]) -> tuple[list[int], dict[str, Any]]:
    """Without the axes that stay as they are, whose sizes may have names."""
    kept = {"scales": [1.0] * x.ndim, "sizes": x.shape}
    moving = [
        k
        for k, axis in enumerate(axes)
        if any(values[k] != kept[name][axis] for name, values in given.items())
    ]
    return [axes[k] for k in moving], {n: [v[k] for k in moving] for n, v in given.items()}


@operator("GridSample")
def grid_sample(
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """x ``[n, channels, *sizes]`` at the places of ``grid``, from -1 to 1."""
    chosen: Any = _MODES.get(mode, mode)
    padding: Any = padding_mode
    corners = bool(align_corners)
    return sampling.grid_sample(x, grid, mode=chosen, padding=padding, align_corners=corners)


@operator("AffineGrid")
def affine_grid(theta: Tensor, size: Known, *, align_corners: int = 0) -> Tensor:
    """Where affine maps send the places of images ``[n, channels, *sizes]``."""
    sizes = [int(n) for n in size[2:]]
    return sampling.affine_grid(theta, sizes, align_corners=bool(align_corners))
