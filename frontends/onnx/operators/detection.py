"""Detection of objects: which boxes to keep, and what an image shows inside of boxes.

Comes in: boxes, scores, feature maps. Goes out: indices of boxes, or a small feature map for each
box. A separate file because boxes are coordinates in an image, which no other family has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import evaluate
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Known, Node, operator
from graphc.frontends.onnx.translate import literal
from graphc.frontends.onnx.values import known
from graphc.graph import Array
from graphc.types import INT64


# Which boxes --------------------------------------------------------------------------------------
@operator("NonMaxSuppression")
def non_max_suppression(
    boxes: Known,
    scores: Known,
    limit: Known | None = None,
    overlap: Known | None = None,
    threshold: Known | None = None,
    *,
    center_point_box: int = 0,
) -> Tensor:
    """(batch, class, box) of the boxes that are kept: by falling score, at most ``limit`` of each
    class, those that overlap with none kept before by more than ``overlap`` of their union.

    How many there are depends on the values, so boxes and scores must be known.
    """
    most = 0 if limit is None else int(limit.item())
    allowed = np.zeros((), np.float32) if overlap is None else overlap.reshape(())
    found = []
    for batch, of_class in np.ndindex(scores.shape[:2]):
        corners, points = _corners(boxes[batch], center_point_box), scores[batch, of_class]
        order = np.argsort(-points, kind="stable")
        eligible = [k for k in order if threshold is None or points[k] > threshold.item()]
        kept = _kept(corners, eligible, most, allowed)
        found += [(batch, of_class, k) for k in kept]
    return literal(np.array(found, np.int64).reshape(-1, 3))


def _kept(corners: Array, order: Sequence[int], most: int, allowed: Array) -> list[int]:
    kept: list[int] = []
    for k in order:
        if len(kept) >= most:
            break
        if not np.any(_overlaps(corners[k], corners[kept]) > allowed):
            kept.append(k)
    return kept


def _corners(boxes: Array, center_point_box: int) -> Array:
    """The lower and the upper corner ``[n, 2, 2]`` of boxes given by two opposite corners, or by
    the middle and both sizes.
    """
    first, second = boxes[:, :2], boxes[:, 2:]
    if center_point_box:
        first, second = first - second / 2, first + second / 2
    return np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _overlaps(box: Array, others: Array) -> Array:
    """The intersection with each of ``others``, by the union; 0 for boxes without area."""
    low, high = np.maximum(box[0], others[:, 0]), np.minimum(box[1], others[:, 1])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(others[:, 1] - others[:, 0], axis=-1)
    union = np.prod(box[1] - box[0]) + areas - shared
    found: Array = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return found


# What is in them ----------------------------------------------------------------------------------
@operator("RoiAlign")
def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str | None = None,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
    node: Node,
) -> Tensor:
    """Boxes ``[n, (x1, y1, x2, y2)]`` of ``x`` as ``[n, channels, output_height, output_width]``:
    each bin is the mean of samples between pixels (He et al., Mask R-CNN, 2017).

    ``mode`` "max" takes the largest of the weighted pixels around the samples, as ONNX defines it.
    Without ``sampling_ratio``, the number of samples depends on the boxes, which must be known.
    """
    usual = "half_pixel" if node.version >= 16 else "output_half_pixel"
    half = (coordinate_transformation_mode or usual) == "half_pixel"
    corners = rois * spatial_scale - (0.5 if half else 0.0)
    across, down = (
        _taps(_sides(corners, k, half), bins, evaluate(x.shape[3 - k], {}), sampling_ratio, mode)
        for k, bins in enumerate((output_width, output_height))
    )
    values = _picked(x, batch_indices, down[0], across[0])  # [channels, n, h, w, taps, taps]
    weighed = values * down[1][:, :, None, :, None] * across[1][:, None, :, None, :]
    pooled = gc.max(weighed, axis=(-2, -1)) if mode == "max" else gc.sum(weighed, axis=(-2, -1))
    return gc.moveaxis(pooled, 0, 1)


def _sides(corners: Tensor, k: int, half: bool) -> tuple[Tensor, Tensor]:
    """Where boxes begin on an axis, and how far they reach; in old models at least 1."""
    size = corners[:, k + 2] - corners[:, k]
    return corners[:, k], size if half else gc.maximum(size, 1.0)


def _taps(
    sides: tuple[Tensor, Tensor], bins: int, extent: int, ratio: int, mode: str
) -> tuple[Tensor, Tensor]:
    """Pixels on an axis and their weights, ``[boxes, bins, taps]``: two for each sample."""
    start, width = sides[0], sides[1] / bins
    counts = np.ceil(known(width)) if not ratio else np.full(1, ratio)
    counts = counts.astype(np.int64)[:, None, None]  # a box without area has none
    sample = np.arange(counts.max(initial=1))
    divisor = np.maximum(counts, 1)
    step = np.arange(bins)[:, None] + (sample + 0.5) / divisor  # [boxes or 1, bins, samples]
    place = start[:, None, None] + width[:, None, None] * step.astype(start.dtype.name)
    inside = (place >= -1) & (place <= extent) & literal(sample < counts)
    share = (1 / divisor if mode == "avg" else np.ones_like(divisor)).astype(start.dtype.name)
    kept = gc.clip(place, 0, extent - 1)
    low = gc.floor(kept)
    weights = gc.stack([1 - (kept - low), kept - low], -1) * gc.where(inside, share, 0.0)[..., None]
    places = gc.stack([low, gc.minimum(low + 1, extent - 1)], -1).astype(INT64)
    shape = (start.shape[0], bins, 2 * len(sample))
    return places.reshape(shape), weights.reshape(shape)


def _picked(x: Tensor, batch: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``x[batch, :, rows, columns]`` with the channels first."""
    images, channels, height, width = x.shape
    flat = gc.moveaxis(x, 1, 0).reshape(channels, images * height * width)
    line = batch.astype(INT64)[:, None, None] * height + rows
    return gc.take(flat, line[:, :, None, :, None] * width + columns[:, None, :, None, :], axis=1)


@operator("MaxRoiPool")
def max_roi_pool(
    x: Tensor, rois: Tensor, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """The largest pixels of the bins of boxes ``[n, (batch, x1, y1, x2, y2)]``, whose corners are
    rounded to pixels and are part of them (Girshick, Fast R-CNN, 2015); 0 in a bin without any.
    """
    corners = gc.floor(rois[:, 1:] * spatial_scale + 0.5)
    images = gc.take(x, rois[:, 0].astype(INT64), axis=0)
    for axis, bins in ((2, pooled_shape[0]), (3, pooled_shape[1])):
        k = 3 - axis
        size = gc.maximum(corners[:, k + 2] - corners[:, k] + 1, 1.0)[:, None] / bins
        first = gc.floor(gc.arange(bins).astype(x.dtype) * size) + corners[:, k, None]
        end = gc.ceil((gc.arange(bins) + 1).astype(x.dtype) * size) + corners[:, k, None]
        images = _bin_maxima(images, axis, first, end)
    return gc.where(gc.isneginf(images), 0.0, images)


def _bin_maxima(x: Tensor, axis: int, first: Tensor, end: Tensor) -> Tensor:
    """The largest of ``x`` along ``axis`` from ``first`` to before ``end``, ``[boxes, bins]``."""
    place = gc.arange(x.shape[axis]).astype(x.dtype)
    inside = (place >= first[..., None]) & (place < end[..., None])  # [boxes, bins, places]
    last = gc.moveaxis(x, axis, -1)[..., None, :]  # [boxes, channels, other, 1, places]
    return gc.moveaxis(gc.where(inside[:, None, None], last, -np.inf).max(-1), -1, axis)
