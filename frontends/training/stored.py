"""How numbers lie in files: dtypes by the names that formats give them, and bytes made arrays.

Comes in: bytes, and what a file claims about them. Goes out: an array in the order of this machine.
A separate step because all formats store the same numbers, and all claims are checked the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeGuard

import numpy as np

from graphc.types import DTYPES

Array = np.ndarray[Any, Any]
Order = Literal["<", ">"]

DEEPEST = 64
"""The largest number of axes that NumPy has."""
LIMIT = 2**32
"""How many bytes a compressed file may unpack to, unless its reader says otherwise."""


def is_sizes(value: Any) -> TypeGuard[Sequence[int]]:
    """Whether it is a list or tuple of whole numbers from 0 on, as shapes and places are."""
    if not isinstance(value, list | tuple):
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in value)


def numbers(raw: Array, dtype: str, shape: Sequence[int], order: Order = "<") -> Array:
    """The bytes ``raw`` as numbers of graphc's ``dtype``, without a copy where they lie right.

    Raises ValueError when the shape has another size, or a bool is neither 0 nor 1.
    """
    wanted = DTYPES[dtype].numpy
    if not is_sizes(shape) or len(shape) > DEEPEST:
        raise ValueError("it has no proper shape")
    if math.prod(shape) * wanted.itemsize != raw.nbytes:
        raise ValueError(f"{raw.nbytes} bytes are no {dtype}{list(shape)}")
    if dtype == "bool" and raw.size and raw.max() > 1:
        raise ValueError("it has bools that are neither 0 nor 1")
    words = np.require(raw, requirements="C").view(f"{order}u{wanted.itemsize}")
    native = words.astype(words.dtype.newbyteorder("="), copy=False)
    return np.require(native, requirements="A").view(wanted).reshape(tuple(shape))
