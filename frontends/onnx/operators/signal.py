"""Signals: discrete Fourier transforms, spectrograms, filters by pitch.

Comes in: real tensors; complex numbers are pairs on a last axis of size 2. Goes out: the same. A
separate step because graphc has no complex numbers: a transform is products with tables of cosines
and sines, so it has gradients and needs no operation of its own. Windows (Hann, Hamming, Blackman)
are expanded into ONNX's own definitions.

A transform of n = a * b values is one of length a, a multiplication by roots of unity, and one of
length b (Cooley and Tukey, An algorithm for the machine calculation of complex Fourier series,
1965); what cannot be divided, or is short, is a product with a table of n by n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import evaluate
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.registry import Known, Node, operator
from graphc.frontends.onnx.translate import literal
from graphc.graph import Array

SHORT = 64
"""Lengths up to this are one product: longer ones gain by being divided."""


# Complex numbers ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Complex:
    """Real and imaginary parts of one shape; no ``imaginary`` part where all are 0."""

    real: Tensor
    imaginary: Tensor | None = None

    @staticmethod
    def of(x: Tensor) -> Complex:
        """From a last axis of size 1 (real) or 2."""
        return Complex(x[..., 0], x[..., 1] if x.shape[-1] == 2 else None)

    @property
    def pairs(self) -> Tensor:
        """With the parts on a new last axis of size 2."""
        other = gc.zeros_like(self.real) if self.imaginary is None else self.imaginary
        return gc.stack([self.real, other], axis=-1)

    def reshape(self, *shape: int) -> Complex:
        """Both parts with their last axis cut into ``shape``."""
        return self._each(lambda x: x.reshape(*x.shape[:-1], *shape))

    def swapped(self) -> Complex:
        """The last two axes exchanged."""
        return self._each(lambda x: gc.swapaxes(x, -1, -2))

    def joined(self) -> Complex:
        """The last two axes as one."""
        return self._each(lambda x: x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Complex:
        other = self.imaginary
        return Complex(change(self.real), None if other is None else change(other))

    def combined(self, angles: Array, product: Callable[[Tensor, Tensor], Tensor]) -> Complex:
        """The product with exp(i * angles), by what multiplies real tensors."""
        cosines, sines = (
            literal(table(angles).astype(self.real.dtype.computing.name)).astype(self.real.dtype)
            for table in (np.cos, np.sin)
        )
        real, other = product(self.real, cosines), product(self.real, sines)
        if self.imaginary is None:
            return Complex(real, other)
        turned = product(self.imaginary, sines), product(self.imaginary, cosines)
        return Complex(real - turned[0], other + turned[1])


def transform(x: Complex, sign: int, wanted: int | None = None) -> Complex:
    """``sum over t of x[..., t] * exp(sign * 2 pi i * t * k / n)`` for the first ``wanted`` k."""
    length = evaluate(x.real.shape[-1], {})
    count = length if wanted is None else wanted
    first = 1 if length <= SHORT else _divisor(length)
    if first == 1:
        return x.combined(_angles(length, count, sign, length), gc.matmul)
    second = length // first
    columns = transform(x.reshape(first, second).swapped(), sign)  # [..., second, first]
    turned = columns.combined(_angles(second, first, sign, length), gc.multiply)
    found = transform(turned.swapped(), sign).swapped().joined()
    return found._each(lambda part: part[..., :count])


def _divisor(length: int) -> int:
    """The largest divisor that is not larger than the root."""
    return next(k for k in range(math.isqrt(length), 0, -1) if length % k == 0)


def _angles(rows: int, columns: int, sign: int, period: int) -> Array:
    """``sign * 2 pi * row * column / period``, from remainders, which are exact."""
    steps = np.outer(np.arange(rows), np.arange(columns)) % period
    found: Array = steps * (sign * 2 * math.pi / period)
    return found


# Operators ----------------------------------------------------------------------------------------
@operator("DFT")
def dft(
    x: Tensor,
    dft_length: Known | None = None,
    axis: Known | int | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
    node: Node,
) -> Tensor:
    """The transform along ``axis`` of ``[..., 1 or 2]``, cut or filled up to ``dft_length``.

    ``onesided`` gives the first half of the frequencies of a real signal, which determines the
    rest, and with ``inverse`` takes such a half to a real signal ``[..., 1]``.
    """
    usual = -2 if node.version >= 20 else 1
    place = int(np.asarray(usual if axis is None else axis).item()) % x.ndim
    moved = gc.moveaxis(x, place, -2)
    extent = evaluate(moved.shape[-2], {})
    whole = 2 * (extent - 1) if inverse and onesided else extent
    length = whole if dft_length is None else int(dft_length.item())
    change = _half_inverse if inverse and onesided else _inverse if inverse else _forward
    return gc.moveaxis(change(moved, length, length // 2 + 1 if onesided else length), -2, place)


def _forward(x: Tensor, length: int, count: int) -> Tensor:
    return transform(Complex.of(_fitted(x, length)), -1, count).pairs


def _inverse(x: Tensor, length: int, count: int) -> Tensor:
    return transform(Complex.of(_fitted(x, length)), 1, count).pairs / length


def _half_inverse(x: Tensor, length: int, count: int) -> Tensor:
    """A real signal: the frequencies that are left out are the conjugates of the others."""
    half = _fitted(x, count)
    if x.shape[-1] == 1:
        half = gc.concat([half, gc.zeros_like(half)], axis=-1)
    mirrored = gc.flip(half[..., 1 : length - count + 1, :], axis=-2)
    rest = gc.stack([mirrored[..., 0], -mirrored[..., 1]], axis=-1)
    found = transform(Complex.of(gc.concat([half, rest], axis=-2)), 1)
    return found.real[..., None] / length


def _fitted(x: Tensor, length: int) -> Tensor:
    """``x`` cut or filled with zeros to ``length`` on its axis before the last."""
    missing = length - evaluate(x.shape[-2], {})
    if missing <= 0:
        return x[..., :length, :]
    return gc.concat([x, gc.zeros((*x.shape[:-2], missing, x.shape[-1]), x.dtype)], axis=-2)


@operator("STFT")
def stft(
    signal: Tensor,
    frame_step: Known,
    window: Tensor | None = None,
    frame_length: Known | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """The transforms ``[batch, frames, frequencies, 2]`` of windows of ``signal`` ``[batch, length,
    1 or 2]``, each ``frame_step`` after the one before.
    """
    extent, step = evaluate(signal.shape[1], {}), int(frame_step.item())
    given = extent if window is None else evaluate(window.shape[0], {})
    size = given if frame_length is None else int(frame_length.item())
    starts = np.arange(0, extent - size + 1, step)
    frames = gc.take(signal, literal(starts[:, None] + np.arange(size)), axis=1)
    weighed = frames if window is None else frames * window[:, None]
    return _forward(weighed, size, size // 2 + 1 if onesided else size)


@operator("MelWeightMatrix")
def mel_weight_matrix(
    num_mel_bins: Known,
    dft_length: Known,
    sample_rate: Known,
    lower_edge_hertz: Known,
    upper_edge_hertz: Known,
    *,
    output_datatype: int = 1,
) -> Tensor:
    """Triangles ``[frequencies, bins]`` that weigh a spectrum by pitch: each rises from the middle
    of the one before to its own, and falls to that of the next.

    Pitch is 2595 log10(1 + hertz / 700) (O'Shaughnessy, Speech communication, 1987).
    """
    bins, size = int(num_mel_bins.item()), int(dft_length.item())
    edges = (lower_edge_hertz, upper_edge_hertz)
    low, high = (2595 * math.log10(1 + hertz.item() / 700) for hertz in edges)
    pitches = low + np.arange(bins + 2) * (high - low) / (bins + 2)
    hertz = 700 * (10 ** (pitches / 2595) - 1)
    corners = ((size + 1) * hertz // sample_rate.item()).astype(np.int64)
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    place = np.arange(size // 2 + 1)[:, None]
    rising = np.where(left < middle, (place - left) / np.maximum(middle - left, 1), 1.0)
    falling = (right - place) / np.maximum(right - middle, 1)
    kept = np.where((left <= place) & (place <= middle), rising, 0.0)
    weights = np.where((middle <= place) & (place < right), falling, kept)
    return literal(weights.astype(dtype_of(output_datatype).numpy))
