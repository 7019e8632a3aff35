"""Attention: every place of one sequence looks at the places of another.

Comes in: queries, keys and values, and masks that say what may be seen. Goes out: for each query a
mean of values, and its weights. A separate file because masks have rules of their own, and all
transformers are built on the two things here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.creation import arange
from graphc.frontends.dsl.elementwise import add, logical_and, logical_not, logical_or, where
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.reductions import softmax
from graphc.frontends.dsl.repetition import repeat
from graphc.frontends.dsl.shaping import split, swapaxes
from graphc.frontends.dsl.tensor import Tensor, Value, matmul, tensor
from graphc.frontends.nn import init
from graphc.frontends.nn.dropout import optional_dropout
from graphc.frontends.nn.functional import linear
from graphc.frontends.nn.init import Rng
from graphc.frontends.nn.layers import Linear
from graphc.frontends.nn.module import Module
from graphc.types import BOOL

NEVER = float("-inf")


@at_user_line
def scaled_dot_product_attention(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    dropout: Callable[[Tensor], Tensor] | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key.mT * scale) @ value`` (Vaswani et al. 2017, section 3.2.1).

    query ``[..., L, d]``, key ``[..., S, d]``, value ``[..., S, e]``; result ``[..., L, e]``.
    ``attn_mask`` broadcasts to ``[..., L, S]``: bools that say what may be seen, or floats that are
    added to the scores, -inf for what may not. With ``is_causal`` place i sees no place after i. A
    query that sees nothing gets zeros. ``scale`` is 1/sqrt(d) unless given; ``dropout``, e.g. a
    `Dropout` layer, acts on the weights. With ``enable_gqa`` the axis before places is one of
    heads, and each head of keys and values serves several of query (Ainslie et al. 2023, GQA).
    Raises `UserError` GC0101, GC0102, GC0103, and GC0104 when heads cannot be shared.
    """
    q, k, v = tensor(query), tensor(key), tensor(value)
    if enable_gqa:
        k, v = _shared(k, q), _shared(v, q)
    weights = _weights(q, k, attn_mask, is_causal, scale)
    return matmul(weights if dropout is None else dropout(weights), v)


def _shared(x: Tensor, query: Tensor) -> Tensor:
    """Keys or values ``[..., heads, S, d]`` with each head as often as queries have it."""
    if min(x.ndim, query.ndim) < 3:
        raise UserError("GC0103", f"no heads in {x.node.type}", fix="pass [..., heads, places, d]")
    heads, wanted = (t.node.type.with_shape(t.shape[-3:-2]).static_shape[0] for t in (x, query))
    if not heads or wanted % heads:
        raise UserError(
            "GC0104", f"{wanted} heads of queries share {heads}", fix="use a divisor of them"
        )
    return repeat(x, wanted // heads, -3)


def _weights(
    query: Tensor, key: Tensor, mask: Value | None, causal: bool, scale: float | None
) -> Tensor:
    if query.ndim < 2 or key.ndim < 2:
        raise UserError(
            "GC0103",
            f"attention of {query.node.type} to {key.node.type}",
            fix="pass [..., places, features]",
        )
    if scale is None:
        scale = _root(query)
    scores = matmul(query * scale, key.mT)
    seen = []
    if mask is not None:
        given = tensor(mask)
        seen.append(allowed(given))
        if given.dtype != BOOL:
            scores = scores + where(seen[0], given.astype(scores.dtype), 0)
    if causal:
        seen.append(arange(scores.shape[-2])[:, None] >= arange(scores.shape[-1]))
    return softmax_of_seen(scores, reduce(logical_and, seen)) if seen else softmax(scores)


def _root(query: Tensor) -> float:
    """1/sqrt(features), which keeps the variance of a score at that of a product."""
    features = query.shape[-1]
    if not isinstance(features, int):
        raise UserError(
            "GC0104", f"attention over the named size {features}", fix="pass scale=, a number"
        )
    return float(max(features, 1) ** -0.5)


def allowed(mask: Tensor) -> Tensor:
    """What a mask of bools or of floats lets be seen."""
    if mask.dtype == BOOL:
        return mask
    if not mask.dtype.is_float:
        raise UserError(
            "GC0102",
            f"a mask of {mask.dtype.name}",
            why="a mask holds bools, or floats that are added to the scores",
            fix="compare it, e.g. mask != 0",
        )
    return mask > NEVER


def softmax_of_seen(scores: Tensor, seen: Tensor) -> Tensor:
    """Softmax over what is seen; zeros, and no nan in the gradient, where that is nothing."""
    lowest = float(scores.dtype.limits.min)
    return where(seen, softmax(where(seen, scores, lowest)), 0)


class MultiHeadAttention(Module):
    """Attention by ``heads`` that look at projections of their own (Vaswani et al. 2017, 3.2.2).

    ``in_proj_weight [3*features, features]`` and ``in_proj_bias`` project queries, keys and values,
    ``out_proj`` the joined heads. When keys or values have other numbers of features, the first is
    three: ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight``. Weights start as Glorot's,
    biases as zeros. In training ``dropout`` acts on the attention weights. Raises `UserError`
    GC0104 when the heads do not divide the features.
    """

    in_proj_weight: Tensor

    def __init__(
        self,
        features: int,
        heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        key_features: int | None = None,
        value_features: int | None = None,
        batch_first: bool = False,
        rng: Rng = None,
    ) -> None:
        if heads < 1 or features % heads:
            raise UserError(
                "GC0104", f"{features} features in {heads} heads", fix="use a divisor of them"
            )
        source = init.generator(rng)
        self.features, self.heads, self.batch_first = features, heads, batch_first
        sizes = [size or features for size in (None, key_features, value_features)]
        self.together = sizes == [features] * 3
        if self.together:
            shapes = {"in_proj_weight": (3 * features, features)}
        else:
            names = (f"{part}_proj_weight" for part in "qkv")
            shapes = {name: (features, size) for name, size in zip(names, sizes, strict=True)}
        for name, shape in shapes.items():
            setattr(self, name, parameter(init.glorot_uniform(source, shape), name))
        self.in_proj_bias = _zeros(3 * features, "in_proj_bias") if bias else None
        self.out_proj = Linear(features, features, bias=False, rng=source)
        self.out_proj.bias = _zeros(features, "bias") if bias else None
        self.dropout = optional_dropout(dropout, source)

    @at_user_line
    def forward(
        self,
        query: Value,
        key: Value,
        value: Value,
        key_padding_mask: Value | None = None,
        attn_mask: Value | None = None,
        *,
        is_causal: bool = False,
        average_attn_weights: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Query ``[L, n, features]``, key ``[S, n, ...]`` and value give a tensor like query, and
        the attention weights ``[n, L, S]``, unless averaged of each head ``[n, heads, L, S]``.

        Sequences are ``[n, L, features]`` with ``batch_first``; the axis n may be missing. As in
        PyTorch a true element of a mask *hides* (in `scaled_dot_product_attention` it shows), and a
        float one is added to the scores: ``key_padding_mask [n, S]`` hides keys, ``attn_mask
        [L, S]`` or ``[n*heads, L, S]`` pairs. Weights that nobody uses cost nothing.
        """
        projected = self._projected(query, key, value)
        q, k, v = (self._split(self._batch_first(x)) for x in projected)
        mask = self._mask(key_padding_mask, attn_mask)
        weights = _weights(q, k, mask, is_causal, None)
        mixed = swapaxes(matmul(self.dropout(weights), v), -2, -3)
        joined = mixed.reshape((*mixed.shape[:-2], self.features))
        y: Tensor = self.out_proj(joined)
        return self._batch_first(y), weights.mean(-3) if average_attn_weights else weights

    def _projected(self, query: Value, key: Value, value: Value) -> tuple[Tensor, ...]:
        """Queries, keys and values; by one product when all are made of one tensor."""
        if self.together and query is key and key is value:
            return split(linear(query, self.in_proj_weight, self.in_proj_bias), 3, axis=-1)
        bias = self.in_proj_bias
        biases = (None,) * 3 if bias is None else split(bias, 3)
        weights: Sequence[Tensor] = (
            split(self.in_proj_weight, 3)
            if self.together
            else [getattr(self, f"{part}_proj_weight") for part in "qkv"]
        )
        return tuple(map(linear, (query, key, value), weights, biases))

    def _batch_first(self, x: Tensor) -> Tensor:
        """Batch and places in the order of the computation, and back."""
        return swapaxes(x, 0, 1) if x.ndim == 3 and not self.batch_first else x

    def _split(self, x: Tensor) -> Tensor:
        """``[..., L, features]`` to ``[..., heads, L, features/heads]``."""
        width = self.features // self.heads
        return swapaxes(x.reshape((*x.shape[:-1], self.heads, width)), -2, -3)

    def _mask(self, padding: Value | None, pairs: Value | None) -> Tensor | None:
        """Both masks as one that shows, for all heads."""
        masks = []
        if padding is not None:
            masks.append(tensor(padding)[..., None, None, :])
        if pairs is not None:
            mask = tensor(pairs)
            by_head = (-1, self.heads, *mask.shape[-2:])
            masks.append(mask.reshape(by_head) if mask.ndim == 3 else mask)
        if all(mask.dtype == BOOL for mask in masks):
            return logical_not(reduce(logical_or, masks)) if masks else None
        return reduce(add, (where(m, NEVER, 0.0) if m.dtype == BOOL else m for m in masks))


MultiheadAttention = MultiHeadAttention  # PyTorch's spelling


def _zeros(size: int, name: str) -> Tensor:
    return parameter(np.zeros(size, np.float32), name)
