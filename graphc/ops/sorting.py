"""Orders: where the elements of an axis would go, and where a value belongs in a sorted axis.

Comes in: nodes. Goes out: int64 positions. Sorted values are taken at these positions
(`TakeAlongAxis`), so sorting has the gradient of taking, and ties and nan are decided once: equal
elements keep their order, nan counts as larger than every number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from graphc.errors import UserError
from graphc.graph import Array, Node
from graphc.ops.library import LibraryCall
from graphc.types import INT64, TensorType


@dataclass(frozen=True, kw_only=True)
class ArgSort(LibraryCall):
    """The positions along ``axis`` of its elements in ascending or ``descending`` order."""

    axis: int
    descending: bool = False

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        if not 0 <= self.axis < x.rank:
            raise UserError("GC0104", f"{self.name}: axis {self.axis} of {x}")
        return (x.with_dtype(INT64),)

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        if not self.descending:
            return (np.argsort(x, self.axis, kind="stable"),)
        backwards = np.argsort(np.flip(x, self.axis), self.axis, kind="stable")
        return (np.flip(x.shape[self.axis] - 1 - backwards, self.axis),)

    def joint_batch(self, x: Node) -> tuple[Node, ...]:  # type: ignore[override]
        return replace(self, axis=self.axis + 1).each(x)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (None,)


@dataclass(frozen=True, kw_only=True)
class SearchSorted(LibraryCall):
    """For each of ``values`` [..., k] the position in the ascending ``x`` [..., n] before which it
    would be inserted: before equal elements, or after them if ``right``.
    """

    stackable: ClassVar[bool] = True
    right: bool = False

    @property
    def name(self) -> str:
        return "searchsorted"

    def results(self, x: TensorType, values: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        fits = x.rank > 0 and x.rank == values.rank and x.shape[:-1] == values.shape[:-1]
        if not fits or x.dtype != values.dtype:
            raise UserError(
                "GC0101", f"searchsorted: {x} and values {values} do not fit",
                why="x is [..., n] and the values are [..., k], of one dtype",
            )  # fmt: skip
        return (values.with_dtype(INT64),)

    def call(self, x: Array, values: Array) -> tuple[Array, ...]:  # type: ignore[override]
        found = np.empty(values.shape, np.int64)
        for place in np.ndindex(x.shape[:-1]):
            row = x[place]
            found[place] = row.searchsorted(values[place], "right" if self.right else "left")
        return (found,)

    def grad(self, g: Node, y: Node, x: Node, values: Node) -> tuple[Node | None, ...]:
        return None, None
