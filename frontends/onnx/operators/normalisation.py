"""Normalisation: by running or own means and variances, over batches, channels, groups, last axes.

Comes in: tensors, scales and shifts. Goes out: tensors of the same shape, and the statistics that
were used. A separate file because ONNX fixes the precision of the statistics (``stash_type``).
"""

from __future__ import annotations

from collections.abc import Sequence

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import functional
from graphc.frontends.nn.functional import channelwise
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.registry import Measured, Node, operator
from graphc.types import DType, promote


# Over the batch -----------------------------------------------------------------------------------
@operator("BatchNormalization")
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Measured,
    var: Measured,
    *,
    epsilon: float = 1e-5,
    is_test: int = 0,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
    node: Node,
) -> Tensor | tuple[Tensor, ...]:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` for each channel of ``[n, channels,
    ...]``, or each element of an example (``spatial=0``), as one factor and one term for each.

    In training mean and variance are those of x, and the next running ones are results too: in
    operator sets 7 to 13 whenever they are wanted, before that unless ``is_test``.
    """
    training = any(node.outputs[1:]) if node.version >= 7 else not is_test
    if not (training_mode if node.version >= 14 else training):
        return _normalised(x, scale, bias, mean, var, epsilon, spatial)
    axes = (0, *range(2, x.ndim)) if spatial else (0,)
    wide = x.astype(promote(x.dtype, mean.dtype))
    now, spread = wide.mean(axes), wide.var(axes)
    y = _normalised(x, scale, bias, now, spread, epsilon, spatial)
    running = [
        (old * momentum + new * (1 - momentum)).astype(old.dtype)
        for old, new in ((mean, now), (var, spread))
    ]
    return y, *running, now.astype(mean.dtype), spread.astype(var.dtype)


def _normalised(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float,
    spatial: int,
) -> Tensor:
    factor = scale * gc.rsqrt(var + epsilon)
    term = bias - mean * factor
    if spatial:
        factor, term = channelwise(factor, x), channelwise(term, x)
    return (x * factor + term).astype(x.dtype)


# Over an example ----------------------------------------------------------------------------------
@operator("InstanceNormalization")
def instance_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    """Each channel of each example with mean 0 and variance 1, scaled and shifted."""
    y = functional.normalise(x, range(2, x.ndim), epsilon)
    return y * channelwise(scale, x) + channelwise(bias, x)


@operator("GroupNormalization", since=21)
def group_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    """Each of ``num_groups`` groups of neighbouring channels with mean 0 and variance 1, scaled and
    shifted by channel. (Before operator set 21 by group, which ONNX withdrew.)
    """
    channels = x.node.type.keep((1,)).static_shape[0]
    split = (x.shape[0], num_groups, channels // num_groups, *x.shape[2:])
    wide = x.reshape(split).astype(_stashed(x, stash_type))
    y = functional.normalise(wide, range(2, len(split)), epsilon).astype(x.dtype).reshape(x.shape)
    return y * channelwise(scale, x) + channelwise(bias, x)


# Over the last axes -------------------------------------------------------------------------------
@operator("LayerNormalization")
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """The axes from ``axis`` on with mean 0 and variance 1, scaled and shifted; their means and the
    inverses of their standard deviations.
    """
    axes = tuple(range(axis % max(x.ndim, 1), x.ndim))
    wide = x.astype(_stashed(x, stash_type))
    mean = wide.mean(axes, keepdims=True)
    distance = wide - mean
    inverse = gc.rsqrt((distance * distance).mean(axes, keepdims=True) + epsilon)
    y = (distance * inverse).astype(x.dtype) * scale
    stash = dtype_of(stash_type)
    return y if bias is None else y + bias, mean.astype(stash), inverse.astype(stash)


@operator("RMSNormalization")
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """The axes from ``axis`` on divided by their root mean square, scaled."""
    axes = tuple(range(axis % max(x.ndim, 1), x.ndim))
    wide = x.astype(_stashed(x, stash_type))
    return functional.rms_normalise(wide, axes, epsilon).astype(x.dtype) * scale


def _stashed(x: Tensor, stash_type: int) -> DType:
    """The dtype of statistics: as the model says, but no narrower than x."""
    return promote(x.dtype, dtype_of(stash_type))


# Others -------------------------------------------------------------------------------------------
@operator("LRN")
def lrn(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    """Local response normalisation over ``size`` channels; of an even number one more behind."""
    if size < 1:
        raise UserError("GC0104", f"LRN over {size} channels")
    if size % 2:
        return functional.local_response_normalise(x, size, alpha, beta, bias)
    return gc.flip(functional.local_response_normalise(gc.flip(x, 1), size, alpha, beta, bias), 1)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x: Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    """Mean 0 and standard deviation 1 over ``axes``; zeros where all is equal."""
    distance = x - x.mean(axes, keepdims=True)
    var = (distance * distance).mean(axes, keepdims=True)
    varies = var > 0
    return distance / (gc.where(varies, gc.sqrt(gc.where(varies, var, 1)), 0) + 1e-9)
