"""What a user of JAX writes once, or has from Flax and Optax: layers of images, and losses.

Comes in: the module ``jax`` and arrays. Goes out: arrays. A separate file because every family of
models needs these, and the formulas of a workload should be readable beside PyTorch's.
"""

from __future__ import annotations

from typing import Any

IMAGES = ("NCHW", "OIHW", "NCHW")
CHANNELS_LAST = ("NHWC", "OIHW", "NHWC")


def cross_entropy(jax: Any, scores: Any, labels: Any) -> Any:
    """The mean of -log(softmax(scores)) at the labels: ``[..., classes]`` and ``[...]``."""
    right = jax.numpy.take_along_axis(jax.nn.log_softmax(scores), labels[..., None], -1)
    return -right.mean()


def conv(jax: Any, x: Any, weight: Any, stride: int, pad: int, layout: Any = IMAGES) -> Any:
    """Convolution of a square stride, zeros on all sides."""
    around = [(pad, pad)] * 2
    convolve = jax.lax.conv_general_dilated
    return convolve(x, weight, (stride, stride), around, dimension_numbers=layout)


def max_pool(jax: Any, x: Any, size: int, stride: int, pad: int) -> Any:
    """The largest element of each window of ``[n, c, h, w]``."""
    window, strides = (1, 1, size, size), (1, 1, stride, stride)
    around = [(0, 0), (0, 0), (pad, pad), (pad, pad)]
    return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, window, strides, around)


def halved(x: Any) -> Any:
    """The largest element of each 2 by 2 window of ``[n, h, w, c]``: faster than `max_pool`."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def normalised(jax: Any, x: Any, axes: Any) -> Any:
    """(x - mean) / sqrt(variance + 1e-5) over ``axes``."""
    distance = x - x.mean(axes, keepdims=True)
    return distance * jax.lax.rsqrt((distance * distance).mean(axes, keepdims=True) + 1e-5)
