"""Normalisation layers: over the batch, over groups of channels, over the last axes, of weights.

Comes in: tensors whose scale drifts. Goes out: tensors with mean 0 and variance 1, scaled and
shifted by parameters. A separate file because batch normalisation has a memory and a mode. Names
of parameters are those of PyTorch's layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import rsqrt, sqrt
from graphc.frontends.dsl.leaves import parameter, value
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.tensor import Tensor, Value, spread, tensor
from graphc.frontends.nn import functional
from graphc.frontends.nn.functional import channelwise, normalise
from graphc.frontends.nn.module import Module, is_parameter
from graphc.site import scope

AnyModule = TypeVar("AnyModule", bound=Module)


def _filled(number: float, shape: int | Sequence[int], name: str) -> Tensor:
    return parameter(np.full(shape, number, np.float32), name)


# With running statistics --------------------------------------------------------------------------
class ChannelNorm(Module):
    """What batch and instance normalisation share; they differ in what the statistics cover.

    With ``track_running_stats`` a training call puts the next running mean and (unbiased) variance
    of each channel into `Module.updates`, ``running = (1 - momentum) * running + momentum * new``,
    with the number of calls in place of 1/momentum for None; in `eval` mode they are used. With
    ``affine`` ``weight`` and ``bias`` scale and shift each channel.
    """

    ranks: ClassVar[tuple[int, ...]]
    over_batch: ClassVar[bool]

    def __init__(
        self,
        features: int,
        epsilon: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.features, self.epsilon, self.momentum = features, epsilon, momentum
        self.weight = _filled(1, features, "weight") if affine else None
        self.bias = _filled(0, features, "bias") if affine else None
        self.track_running_stats = track_running_stats
        if track_running_stats:
            zeros, ones = np.zeros(features, np.float32), np.ones(features, np.float32)
            self.running_mean = parameter(zeros, "running_mean", trainable=False)
            self.running_var = parameter(ones, "running_var", trainable=False)
            zero = np.zeros((), np.int64)
            self.num_batches_tracked = parameter(zero, "num_batches_tracked", trainable=False)

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0101 (channels), GC0103 (another number of axes)."""
        given = tensor(x)
        if given.ndim not in self.ranks:
            raise UserError(
                "GC0103",
                f"{type(self).__name__} of {given.node.type}",
                fix=f"it takes {' or '.join(map(str, self.ranks))} axes: [n, features, ...]",
            )
        _check_channels(self, given, self.features)
        mean, var, axes = self._statistics(given)
        scale = rsqrt(var + self.epsilon)
        scale = scale if self.weight is None else scale * self.weight
        y = (given - spread(mean, given, axes)) * spread(scale, given, axes)
        return y if self.bias is None else y + channelwise(self.bias, y)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Mean and variance, and the axes they cover: those of ``x``, or the running ones."""
        places = tuple(range(2, x.ndim))
        if self.track_running_stats and not self.training:
            return self.running_mean, self.running_var, (0, *places)
        axes = (0, *places) if self.over_batch else places
        mean = x.mean(axes)
        if self.track_running_stats:
            self._track(mean, x.var(axes, correction=1))
        return mean, x.var(axes), axes

    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        count = self.num_batches_tracked + 1
        rate = self.momentum
        step: Value = 1 / count.astype(mean.dtype) if rate is None else rate

        def moved(running: Tensor, new: Tensor) -> Tensor:
            each = new if self.over_batch else new.mean(0)
            following: Tensor = (1 - step) * running + step * each
            return following

        self.record(
            {
                self.running_mean: moved(self.running_mean, mean),
                self.running_var: moved(self.running_var, unbiased),
                self.num_batches_tracked: count,
            }
        )


class BatchNorm(ChannelNorm):
    """Normalises each channel of ``[n, features, ...]`` over all others (Ioffe and Szegedy 2015).

    In training the batch's own mean and variance are used, in `eval` mode the running ones.
    """

    over_batch = True


class BatchNorm1d(BatchNorm):
    """Batch normalisation of ``[n, features]`` or ``[n, features, width]``."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch normalisation of ``[n, features, height, width]``."""

    ranks = (4,)


class BatchNorm3d(BatchNorm):
    """Batch normalisation of ``[n, features, depth, height, width]``."""

    ranks = (5,)


class InstanceNorm(ChannelNorm):
    """Normalises each channel of each example over its places (Ulyanov et al. 2016).

    As PyTorch's it has neither parameters nor running statistics unless asked for.
    """

    over_batch = False

    def __init__(
        self,
        features: int,
        epsilon: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(features, epsilon, momentum, affine, track_running_stats)


class InstanceNorm1d(InstanceNorm):
    """Instance normalisation of ``[n, features, width]``."""

    ranks = (3,)


class InstanceNorm2d(InstanceNorm):
    """Instance normalisation of ``[n, features, height, width]``."""

    ranks = (4,)


class InstanceNorm3d(InstanceNorm):
    """Instance normalisation of ``[n, features, depth, height, width]``."""

    ranks = (5,)


# Without memory -----------------------------------------------------------------------------------
class GroupNorm(Module):
    """Normalises each example over ``groups`` of neighbouring channels (Wu and He 2018).

    ``[n, channels, ...]``; with ``affine`` each channel is scaled and shifted. Raises `UserError`
    GC0104 when the groups do not divide the channels.
    """

    def __init__(
        self, groups: int, channels: int, epsilon: float = 1e-5, affine: bool = True
    ) -> None:
        if groups < 1 or channels % groups:
            raise UserError(
                "GC0104", f"{channels} channels in {groups} groups", fix="use a divisor of them"
            )
        self.groups, self.channels, self.epsilon = groups, channels, epsilon
        self.weight = _filled(1, channels, "weight") if affine else None
        self.bias = _filled(0, channels, "bias") if affine else None

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0101 for another number of channels."""
        given = tensor(x)
        _check_channels(self, given, self.channels)
        split = (given.shape[0], self.groups, self.channels // self.groups, *given.shape[2:])
        grouped = normalise(given.reshape(split), range(2, len(split)), self.epsilon)
        y = grouped.reshape(given.shape)
        y = y if self.weight is None else y * channelwise(self.weight, y)
        return y if self.bias is None else y + channelwise(self.bias, y)


class LastAxesNorm(Module):
    """What layer and RMS normalisation share: the last axes, which have ``shape``, and a weight."""

    def __init__(self, shape: int | Sequence[int], affine: bool) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.axes = tuple(range(-len(self.shape), 0))
        self.weight = _filled(1, self.shape, "weight") if affine else None

    def _checked(self, x: Value) -> Tensor:
        """``x`` as a tensor. Raises `UserError` GC0101 when its last axes have other sizes."""
        given = tensor(x)
        if given.shape[max(given.ndim - len(self.shape), 0) :] != self.shape:
            raise UserError(
                "GC0101",
                f"{type(self).__name__}({list(self.shape)}) of {given.node.type}",
                why="the layer is made for the sizes of the last axes",
                fix="make it with those sizes, or reshape the tensor",
            )
        return given


class LayerNorm(LastAxesNorm):
    """Normalises the last axes, which have ``shape`` (Ba, Kiros and Hinton 2016)."""

    def __init__(
        self,
        shape: int | Sequence[int],
        epsilon: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(shape, affine)
        self.epsilon = epsilon
        self.bias = _filled(0, self.shape, "bias") if affine and bias else None

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0101."""
        y = normalise(self._checked(x), self.axes, self.epsilon)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias


class RMSNorm(LastAxesNorm):
    """Divides the last axes by their root mean square (Zhang and Sennrich 2019).

    ``x / sqrt(mean(x**2) + epsilon) * weight``; ``epsilon`` is the machine epsilon of the dtype of
    ``x`` unless given.
    """

    def __init__(
        self, shape: int | Sequence[int], epsilon: float | None = None, affine: bool = True
    ) -> None:
        super().__init__(shape, affine)
        self.epsilon = epsilon

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0101."""
        given = self._checked(x)
        epsilon = float(given.dtype.limits.eps) if self.epsilon is None else self.epsilon
        y = functional.rms_normalise(given, self.axes, float(epsilon))
        return y if self.weight is None else y * self.weight


class LocalResponseNorm(Module):
    """`functional.local_response_normalise` of ``[n, channels, ...]``, as AlexNet has it."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return functional.local_response_normalise(x, self.size, self.alpha, self.beta, self.k)


# Of weights ---------------------------------------------------------------------------------------
@at_user_line
@scope("weight_norm")
def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """``module`` with its parameter ``name`` replaced by ``g * v / norm(v)``, in place.

    The size ``g`` and the direction ``v`` are learned as ``weight_g`` and ``weight_v`` (Salimans
    and Kingma 2016). The norm is taken over all axes but ``dim``, over all for None; the value of
    the weight stays what it was. Raises `UserError` GC0104, GC0107 when ``name`` is no
    parameter.
    """
    old = getattr(module, name, None)
    if not isinstance(old, Tensor) or not is_parameter(old):
        raise UserError(
            "GC0107",
            f"{name} of {type(module).__name__} is no parameter",
            fix="name an attribute that is one, e.g. 'weight'",
        )
    kept = () if dim is None else (axis_of(dim, old.ndim),)
    axes = tuple(a for a in range(old.ndim) if a not in kept)
    start, keepdims = value(old), dim is not None
    sizes = np.sqrt((start * start).sum(axes, keepdims=keepdims))
    g, v = (parameter(x, f"{name}_{k}", dtype=old.dtype) for k, x in (("g", sizes), ("v", start)))
    setattr(module, f"{name}_g", g)
    setattr(module, f"{name}_v", v)
    setattr(module, name, v * (g / sqrt((v * v).sum(axes, keepdims=keepdims))))
    return module


def _check_channels(layer: Module, x: Tensor, channels: int) -> None:
    if x.ndim < 2 or x.shape[1] != channels:
        raise UserError(
            "GC0101",
            f"{type(layer).__name__} for {channels} channels of {x.node.type}",
            why="axis 1 holds the channels",
            fix="make the layer with that number of channels, or move the axis",
        )
