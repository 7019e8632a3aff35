"""Cuts arrays into mini-batches, and into parts for training and for validation.

Comes in: arrays with one example per row, and a random generator. Goes out: tuples of arrays with
`batch_size` rows each. A separate step because the order of the examples is the caller's choice
alone: the generator is passed in and nothing here has a state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from graphc.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]


class Rows(Protocol):
    """What batches are cut from: a NumPy array, one on disk, or images that are read when used."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Array, /) -> Array: ...


def batches(
    arrays: Sequence[Rows],
    batch_size: int,
    rng: np.random.Generator | None = None,
    drop_last: bool = True,
    first: int = 0,
) -> Iterator[tuple[Array, ...]]:
    """Yields tuples with `batch_size` rows of every array, each row once: one epoch.

    Args:
        arrays: arrays of any dtype and shape `[n, ...]` with the same n; row i belongs to row i.
            Anything else with a shape that gives the rows of an array of indices will do.
        batch_size: rows per batch, at least 1.
        rng: shuffles the rows; None keeps them in order.
        drop_last: leaves out the last batch where it would be smaller, so that compiled code is
            specialised for one size only; False yields it.
        first: the number of batches to leave out at the start, to go on with an epoch.

    Raises:
        UserError: at the call, GC0303 where the numbers of rows differ, GC0104 where `batch_size`
            is below 1, or above n with `drop_last`, which would yield nothing.
    """
    number = batch_count(arrays, batch_size, drop_last)
    count = _row_count(arrays)
    order = np.arange(count) if rng is None else rng.permutation(count)
    starts = (k * batch_size for k in range(first, number))
    rows = (order[start : start + batch_size] for start in starts)
    return (tuple(array[chosen] for array in arrays) for chosen in rows)


def batch_count(arrays: Sequence[Rows], batch_size: int, drop_last: bool = True) -> int:
    """How many batches `batches` yields. Raises what it raises."""
    count = _row_count(arrays)
    if batch_size < 1 or (drop_last and batch_size > count > 0):
        raise UserError(
            "GC0104",
            f"batch_size={batch_size} does not fit {count} examples",
            why="a batch has at least one example; drop_last leaves out a batch that is not full",
            fix=f"use a batch_size from 1 to {max(count, 1)}, or drop_last=False",
        )
    return count // batch_size if drop_last else -(-count // batch_size)


def split(
    arrays: Sequence[Array], fraction: float, rng: np.random.Generator | None = None
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The first `fraction` of the rows of every array, rounded to the nearest, and the others.

    `rng` shuffles the rows before. Raises `UserError` GC0104 for a fraction that is not from 0 to
    1, GC0303 where the numbers of rows differ.
    """
    if not 0 <= fraction <= 1:
        raise UserError("GC0104", f"a fraction of {fraction}", fix="use one from 0 to 1")
    count = _row_count(arrays)
    order = np.arange(count) if rng is None else rng.permutation(count)
    parts = np.split(order, [round(count * fraction)])
    front, back = (tuple(array[rows] for array in arrays) for rows in parts)
    return front, back


def _row_count(arrays: Sequence[Rows]) -> int:
    shapes = [np.shape(array) for array in arrays]
    if not shapes or not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise UserError(
            "GC0303",
            f"arrays of shapes {', '.join(map(str, shapes)) or '(none)'} share no first axis",
            why="row i of every array belongs to the same example",
            fix="pass at least one array, all with the same first size",
        )
    return int(shapes[0][0])
