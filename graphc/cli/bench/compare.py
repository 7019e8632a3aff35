"""Whether two systems computed the same.

Comes in: named arrays of a system, and those of graphc's numpy backend. Goes out: what differs, in
one line, or "". A separate step because a time counts only after it.

Two arrays agree when no element differs by more than a tolerance times the scale of the array: the
largest magnitude that was expected. Small elements of a large sum carry its rounding errors, so
each by itself would be too strict; the norm of all would hide a single wrong one. Of large arrays
elements at equal distances are compared (`sampled`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.graph import Array

TOLERANCE = 1e-4
MOST = 1 << 23
"""Elements of an array that are compared."""


def sampled(array: Array) -> Array:
    """An array, or `MOST` of its elements; floats of 16 bits as float32, which files can hold."""
    step = -(-array.size // MOST)
    if step > 1:
        array = array.reshape(-1)[:: step | 1]  # an odd step meets all columns of even ones
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def mismatch(
    found: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float = TOLERANCE
) -> str:
    """The first array that differs, with how much; "" when none does."""
    if set(found) != set(expected):
        return f"computes {', '.join(found)} instead of {', '.join(expected)}"
    for name, wanted in expected.items():
        if found[name].shape != wanted.shape:
            return f"{name} has shape {found[name].shape}, expected {wanted.shape}"
        error = distance(found[name], wanted)
        if not error <= tolerance:
            return f"{name} differs by {error:.1e} of its scale"
    return ""


def distance(found: Array, wanted: Array) -> float:
    """The largest difference as a share of the largest magnitude expected."""
    if wanted.size == 0:
        return 0.0
    exact = wanted.astype(np.float64)
    scale = float(np.abs(exact).max()) or 1.0
    return float(np.abs(found.astype(np.float64) - exact).max()) / scale
