"""Augmentation: images that are moved, turned, flipped, cut and made noisy, anew at every call.

Comes in: images ``[n, channels, height, width]``. Goes out: other images that mean the same. A
separate file because these layers, unlike those of models, are for training data alone: in `eval`
mode they hand images on as they are. They are part of the compiled step, so that every call draws
new numbers from their generators, for each image its own.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.errors import UserError
from graphc.frontends.dsl.creation import arange
from graphc.frontends.dsl.elementwise import cos, floor, logical_and, sin, where
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.padding import pad
from graphc.frontends.dsl.shaping import broadcast_to, flip, take_along_axis
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.functional import Sizes, several
from graphc.frontends.nn.init import Rng, tensor_generator
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.sampling import Mode, Outside, sample_at
from graphc.types import INT64, DType

HEIGHT, WIDTH = 2, 3
"""The axes of images."""


@at_user_line
def warp(
    x: Value,
    degrees: Value = 0.0,
    shift: tuple[Value, Value] = (0.0, 0.0),
    scale: Value = 1.0,
    *,
    mode: Mode = "linear",
    padding: Outside = "zeros",
) -> Tensor:
    """Images ``[n, c, h, w]`` turned counterclockwise around their middle, enlarged by ``scale``,
    and moved down and right by ``shift`` elements, in this order.

    Each option is a number, or a tensor ``[n]`` with one for each image. ``mode`` and ``padding``
    are those of `grid_sample`; gradients flow to all. Raises `UserError` GC0102, GC0103.
    """
    image = _images("warp", x)
    if not image.dtype.is_float:
        raise UserError("GC0102", f"warp of {image.node.type}", fix="convert images to a float")
    height, width = _size(image)
    angle, zoom, down, right = (
        _each(option, image, image.dtype) for option in (degrees, scale, *shift)
    )
    sine, cosine = sin(angle * (math.pi / 180)), cos(angle * (math.pi / 180))
    middle = (height - 1) / 2, (width - 1) / 2
    # From each element of the result back to where it comes from, measured from the middle.
    below = (arange(height, dtype=image.dtype)[:, None] - middle[0] - down) / zoom
    beside = (arange(width, dtype=image.dtype) - middle[1] - right) / zoom
    rows = beside * sine + below * cosine + middle[0]
    columns = beside * cosine - below * sine + middle[1]
    return sample_at(image, (rows, columns), mode=mode, padding=padding)


@at_user_line
def crop(x: Value, top: Value, left: Value, size: Sizes) -> Tensor:
    """Pieces ``[n, c, *size]`` of images ``[n, c, h, w]``, each from its own place: ``top`` and
    ``left`` are indices ``[n]`` or numbers. Raises `UserError` GC0103, GC0104.
    """
    image = _images("crop", x)
    for start, extent, axis in zip((top, left), several(size, 2), (HEIGHT, WIDTH), strict=True):
        if not 0 < extent <= _size(image)[axis - HEIGHT]:
            raise UserError("GC0104", f"pieces of size {size} of {image.node.type}")
        along = [1, 1]
        along[axis - HEIGHT] = extent
        places = _each(start, image, INT64)[:, None] + arange(extent).reshape(along)
        shape = (*image.shape[:axis], extent, *image.shape[axis + 1 :])
        image = take_along_axis(image, broadcast_to(places, shape), axis)
    return image


class Augmentation(Module):
    """What these layers share: images in, a generator that repeats with ``seed``, a mode.

    ``seed`` is a number, a NumPy generator that draws it, or None for the default generator.
    """

    def __init__(self, seed: Rng = None) -> None:
        self.random = tensor_generator(seed)

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Other images in training, the same in `eval` mode. Raises `UserError` GC0103."""
        image = _images(type(self).__name__, x)
        return self.augmented(image) if self.training else self.unchanged(image)

    def augmented(self, x: Tensor) -> Tensor:
        """What happens in training."""
        raise NotImplementedError

    def unchanged(self, x: Tensor) -> Tensor:
        """What happens in `eval` mode."""
        return x

    def _between(self, low: float, high: float, x: Tensor) -> Tensor:
        """A number for each image, ``low <= number < high``."""
        return self.random.uniform((x.shape[0],), low, high, x.dtype)

    def _index(self, stop: int, x: Tensor) -> Tensor:
        """An index for each image, from 0 to ``stop - 1``, all equally likely."""
        return floor(self.random.uniform((x.shape[0],)) * stop).astype(INT64)


class RandomAffine(Augmentation):
    """Turns images by up to ``degrees`` both ways, scales them between two factors, and shifts them
    by up to a share of their height and width: `warp`.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        shift: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        *,
        mode: Mode = "linear",
        padding: Outside = "zeros",
        seed: Rng = None,
    ) -> None:
        """Raises `UserError` GC0104."""
        if degrees < 0 or not 0 <= shift <= 1 or not 0 < scale[0] <= scale[1]:
            raise UserError(
                "GC0104",
                f"degrees={degrees}, shift={shift}, scale={scale}",
                fix="use degrees of 0 or more, a shift from 0 to 1, and two factors in order",
            )
        super().__init__(seed)
        self.degrees, self.shift, self.scale = degrees, shift, scale
        self.mode, self.padding = mode, padding

    def augmented(self, x: Tensor) -> Tensor:
        """Each image turned, scaled and shifted by its own amounts."""
        far = [self.shift * extent for extent in _size(x)]
        options: Any = {"mode": self.mode, "padding": self.padding}
        return warp(
            x,
            self._between(-self.degrees, self.degrees, x),
            (self._between(-far[0], far[0], x), self._between(-far[1], far[1], x)),
            self._between(*self.scale, x),
            **options,
        )


class RandomFlip(Augmentation):
    """Turns the order of an axis around, in each image with ``probability``; -1 is the width."""

    def __init__(self, axis: int = -1, probability: float = 0.5, *, seed: Rng = None) -> None:
        """Raises `UserError` GC0104."""
        if not 0 <= probability <= 1:
            raise UserError("GC0104", f"a probability of {probability}", fix="use 0 to 1")
        super().__init__(seed)
        self.axis, self.probability = axis_of(axis, 4), probability

    def augmented(self, x: Tensor) -> Tensor:
        """Some images flipped."""
        chosen = self.random.bernoulli(self.probability, (x.shape[0], 1, 1, 1))
        return where(chosen, flip(x, self.axis), x)


class RandomCrop(Augmentation):
    """Pieces of ``size`` from random places, of images with ``padding`` zeros on all sides.

    In `eval` mode the middle is cut out, so that the result has the same shape.
    """

    def __init__(self, size: Sizes, padding: Sizes = 0, *, seed: Rng = None) -> None:
        super().__init__(seed)
        self.size, self.padding = several(size, 2), several(padding, 2)

    def augmented(self, x: Tensor) -> Tensor:
        """A piece of each image. Raises `UserError` GC0104 where it is too small."""
        padded = self._padded(x)
        rest = self._rest(padded)
        top, left = (self._index(extent + 1, x) for extent in rest)
        return crop(padded, top, left, self.size)

    def unchanged(self, x: Tensor) -> Tensor:
        """The middle of each image."""
        padded = self._padded(x)
        top, left = (extent // 2 for extent in self._rest(padded))
        height, width = self.size
        return padded[:, :, top : top + height, left : left + width]

    def _padded(self, x: Tensor) -> Tensor:
        return pad(x, [(0, 0), (0, 0), *((edge, edge) for edge in self.padding)])

    def _rest(self, x: Tensor) -> list[int]:
        """How much larger the images are than the pieces."""
        rest = [extent - size for extent, size in zip(_size(x), self.size, strict=True)]
        if min(rest) < 0 or min(self.size) < 1:
            raise UserError("GC0104", f"pieces of size {self.size} of {x.node.type}")
        return rest


class Cutout(Augmentation):
    """Sets a square of ``size`` elements to 0, around a random element of each image; it may reach
    beyond the border (DeVries and Taylor 2017, section 3.1).
    """

    def __init__(self, size: Sizes, *, seed: Rng = None) -> None:
        super().__init__(seed)
        self.size = several(size, 2)

    def augmented(self, x: Tensor) -> Tensor:
        """Each image with a hole."""
        inside = []
        for extent, size in zip(_size(x), self.size, strict=True):
            start = self._index(extent, x)[:, None] - size // 2
            place = arange(extent)
            inside.append(logical_and(place >= start, place < start + size))
        rows, columns = inside
        return where(logical_and(rows[:, None, :, None], columns[:, None, None, :]), 0, x)


class GaussianNoise(Augmentation):
    """Adds normally distributed numbers of mean 0 to each element; `std` is their deviation."""

    def __init__(self, std: float, *, seed: Rng = None) -> None:
        """Raises `UserError` GC0104."""
        if std < 0:
            raise UserError("GC0104", f"noise of std={std}", fix="use 0 or more")
        super().__init__(seed)
        self.std = std

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """The same shape, which may be any."""
        value = tensor(x)
        if not self.training or self.std == 0:
            return value
        return value + self.random.normal(value.shape, 0.0, self.std, value.dtype)


def _images(name: str, x: Value) -> Tensor:
    """``x`` as a tensor. Raises `UserError` GC0103."""
    value = tensor(x)
    if value.ndim != 4:
        raise UserError(
            "GC0103", f"{name} of {value.node.type}", fix="pass images [n, channels, h, w]"
        )
    return value


def _size(x: Tensor) -> tuple[int, int]:
    """Height and width as numbers. Raises `UserError` GC0305 for names."""
    height, width = x.node.type.with_shape(x.shape[HEIGHT:]).static_shape
    return height, width


def _each(option: Value, x: Tensor, dtype: DType) -> Tensor:
    """A number for all images, or one for each, as ``[n, 1, 1]``."""
    value = tensor(option).astype(dtype)
    if value.ndim > 1:
        raise UserError("GC0103", f"an option of {value.node.type}", fix="pass a number or [n]")
    return broadcast_to(value.reshape((-1, 1, 1)), (x.shape[0], 1, 1))
