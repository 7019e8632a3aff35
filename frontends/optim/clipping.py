"""Limits for gradients, between `gc.grad` and an optimiser's `step`.

Comes in: gradients. Goes out: as many, not too large. A separate step because which measure must
not be exceeded (an element, a tensor, all of them together) is the user's choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.frontends.dsl.elementwise import clip, minimum, sqrt
from graphc.frontends.dsl.tensor import Tensor, Value


def clip_by_value(gradients: Sequence[Tensor], limit: Value) -> list[Tensor]:
    """Every element kept between ``-limit`` and ``limit``; the direction may change."""
    return [clip(g, -limit, limit) for g in gradients]


def clip_by_norm(gradients: Sequence[Tensor], limit: Value) -> list[Tensor]:
    """Each gradient scaled down for itself so that its own 2-norm is at most ``limit``."""
    return [clip_by_global_norm([g], limit)[0] for g in gradients]


def clip_by_global_norm(gradients: Sequence[Tensor], limit: Value) -> list[Tensor]:
    """All gradients scaled down together so that their common 2-norm is at most ``limit``.

    Pascanu, Mikolov and Bengio 2013. The small number in the divisor keeps 0 gradients at 0.
    """
    scale = minimum(limit / (global_norm(gradients) + 1e-6), 1)
    return [g * scale for g in gradients]


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The 2-norm of all gradients as one vector: a number to look at, and to clip by."""
    squares = [(g * g).sum() for g in gradients]
    return sqrt(sum(squares[1:], start=squares[0]))
