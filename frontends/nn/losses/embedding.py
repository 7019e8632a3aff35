"""Losses of embeddings: what belongs together shall lie close, what does not, far apart.

Comes in: vectors along the last axis, or distances, and which of them belong together. Goes out: a
scalar, or one number per pair or triple with ``reduction="none"``. All raise `UserError` GC0101
(shapes), GC0104 (options). Formulas and defaults are PyTorch's.
"""

from __future__ import annotations

import math

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import abs, minimum, power, relu, rsqrt, sqrt, square, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.losses.reduction import Reduction, beside, reduced, same_shape
from graphc.site import scope


@at_user_line
@scope("triplet_margin")
def triplet_margin(
    anchors: Value,
    positives: Value,
    negatives: Value,
    reduction: Reduction = "mean",
    *,
    margin: float = 1.0,
    p: float = 2.0,
    epsilon: float = 1e-6,
    swap: bool = False,
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) (Schroff et al. 2015).

    All ``[..., features]``; d is the p-norm of the difference plus ``epsilon``, which keeps the
    slope finite. With ``swap`` the negative's distance from the positive counts where it is smaller
    (Balntas et al. 2016).
    """
    near = _distance(anchors, positives, p, epsilon)
    far = _distance(anchors, negatives, p, epsilon)
    far = minimum(far, _distance(positives, negatives, p, epsilon)) if swap else far
    return reduced(relu(near - far + margin), reduction)


@at_user_line
@scope("contrastive")
def contrastive(
    left: Value,
    right: Value,
    same: Value,
    reduction: Reduction = "mean",
    *,
    margin: float = 1.0,
    epsilon: float = 1e-6,
) -> Tensor:
    """d*d/2 where ``same`` is 1, max(0, margin - d)**2 / 2 where it is 0 (Hadsell et al. 2006).

    Vectors ``[..., features]``, their Euclidean distances d ``[...]``, and ``same`` ``[...]``:
    bools, or numbers from 0 to 1. (The paper's Y is 1 - same.)
    """
    d = _distance(left, right, 2.0, epsilon)
    together = beside(same, d)
    loss = together * square(d) + (1 - together) * square(relu(margin - d))
    return reduced(0.5 * same_shape(d, loss), reduction)


@at_user_line
@scope("cosine_embedding")
def cosine_embedding(
    left: Value, right: Value, targets: Value, reduction: Reduction = "mean", *, margin: float = 0.0
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    Vectors ``[..., features]``, targets ``[...]``; cos is the cosine of the angle between them.
    """
    a, b = tensor(left), tensor(right)
    dots = same_shape(a, a * b).sum(-1)
    cosine = dots * rsqrt((square(a).sum(-1) + 1e-12) * (square(b).sum(-1) + 1e-12))
    loss = where(tensor(targets) == 1, 1 - cosine, relu(cosine - margin))
    return reduced(same_shape(cosine, loss), reduction)


@at_user_line
@scope("hinge_embedding")
def hinge_embedding(
    distances: Value, targets: Value, reduction: Reduction = "mean", *, margin: float = 1.0
) -> Tensor:
    """The distance where the target is 1, max(0, margin - distance) where it is -1."""
    d = tensor(distances)
    loss = where(tensor(targets) == 1, d, relu(margin - d))
    return reduced(same_shape(d, loss), reduction)


@at_user_line
@scope("margin_ranking")
def margin_ranking(
    first: Value,
    second: Value,
    targets: Value,
    reduction: Reduction = "mean",
    *,
    margin: float = 0.0,
) -> Tensor:
    """max(0, -t*(first - second) + margin): t is 1 where first shall be larger, else -1."""
    a = tensor(first)
    loss = margin - beside(targets, a) * (a - second)
    return reduced(relu(same_shape(a, loss)), reduction)


def _distance(left: Value, right: Value, p: float, epsilon: float) -> Tensor:
    """The p-norm of ``left - right + epsilon`` over the last axis."""
    if not p >= 1:
        raise UserError("GC0104", f"p={p} makes no norm", fix="use a number from 1 to math.inf")
    difference = same_shape(left, tensor(left) - right) + epsilon
    if p == 2:
        return sqrt(square(difference).sum(-1))
    if p == 1:
        return abs(difference).sum(-1)
    if math.isinf(p):
        return abs(difference).max(-1)
    return power(power(abs(difference), p).sum(-1), 1 / p)
