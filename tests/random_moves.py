"""Random moves: the same elements at other places, for `random_ops`.

Each takes the builder, whose random choices and pool it uses, a node and its shape.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.graph import Node
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.ops.selection import Flip, Pad, Slice
from graphc.types import BOOL


def stretches(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether NumPy would broadcast one shape to the other."""
    lead = len(large) - len(small)
    return lead >= 0 and all(s in (1, t) for s, t in zip(small, large[lead:], strict=True))


def _transposed(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    return Transpose(tuple(b.random.sample(range(len(shape)), len(shape))))(x)


def _reshaped(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    size = math.prod(shape)
    parts = [n for n in (2, 3, 4, 5, 8, 11, 16) if size and size % n == 0]
    target = [size] if not parts or b.upto(1) else [parts[0], size // parts[0]]
    target.insert(b.upto(len(target)), 1) if b.upto(2) == 0 else None
    return Reshape(tuple(target))(x)


def _refolded(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    """Under the shape of another value of the pool."""
    sizes = [v.shape for v in b.pool if math.prod(v.shape) == math.prod(shape)]
    return Reshape(b.one_of(sizes or [shape]))(x)


def _sliced(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    starts = tuple(b.upto(min(n, 2)) for n in shape)
    stops = tuple(b.one_of((n, max(s, n - 1))) for s, n in zip(starts, shape, strict=True))
    return Slice(starts, stops, tuple(1 + b.upto(1) for _ in shape))(x)


def _flipped(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    return Flip(b.some_of(range(len(shape))))(x)


def _padded(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    if x.dtype == BOOL:
        return None
    low, high, gaps = (tuple(b.upto(2) for _ in shape) for _ in range(3))
    if b.upto(1) and all(n > 2 for n in shape):
        return Pad(low, high, (0,) * len(shape), b.one_of(("edge", "reflect")))(x)
    return Pad(low, high, gaps, value=b.one_of((0, 1)))(x)


def _repeated(b: Any, x: Node, shape: tuple[int, ...]) -> Node | None:
    targets = [v.shape for v in b.pool if stretches(shape, v.shape)]
    return broadcast_to(x, b.one_of([*targets, (b.one_of((2, 3, 17)), *shape)]))


MOVES = (_transposed, _transposed, _reshaped, _refolded, _sliced, _flipped, _padded, _repeated)
