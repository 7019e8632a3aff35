"""Attention over heads, with caches, and rotary positions.

Comes in: queries, keys and values, ``[n, heads, places, features]`` or with the heads side by side
``[n, places, heads * features]``. Goes out: the same, caches that have grown, scores. A separate
file because ONNX counts places from the beginning of a cache and can show every step in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import graphc.frontends.dsl as gc
from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.attention import NEVER, allowed, softmax_of_seen
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.registry import operator
from graphc.types import BOOL


@dataclass(frozen=True)
class Sight:
    """What a query may see: its place is its number plus that of the ``past`` keys, and it sees up
    to ``left`` keys before that and ``right`` after it (-1 for all), none after it where attention
    is ``causal``. Of a cache that is ``filled`` with so many keys ``[n]``, the last of which belong
    to the queries, it sees these.
    """

    past: Size
    causal: bool
    left: int
    right: int
    filled: Tensor | None

    def masks(self, queries: Size, keys: Size) -> list[Tensor]:
        """Bools that broadcast to ``[n, heads, queries, keys]``; all of them must hold."""
        key, number = gc.arange(keys), gc.arange(queries)[:, None]
        found = []
        if self.filled is None:
            place = number + self.past
        else:
            count = self.filled.astype("int64")[:, None, None, None]
            place = number + (count - queries)
            found.append(key < count)
        if self.causal:
            found.append(key <= place)
        if self.left >= 0:
            found.append(key >= place - self.left)
        if self.right >= 0:
            found.append(key <= place + self.right)
        return found


@operator("Attention")
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> tuple[Tensor, ...]:
    """``softmax(cap(q @ k.mT * scale) + mask) @ v`` (Vaswani et al. 2017), where several heads of
    queries may share one of keys and values (Ainslie et al. 2023); the keys and values with those
    of the past before them; and the scores, at the step that ``qk_matmul_output_mode`` names.
    """
    query, key, value = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    past: Size = 0
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        key, value = (gc.concatenate(pair, 2) for pair in ((past_key, key), (past_value, value)))
    sight = Sight(past, bool(is_causal), left_window_size, right_window_size, nonpad_kv_seqlen)
    raw = _scores(query, key, scale)
    capped = gc.tanh(raw / softcap) * softcap if softcap > 0 else raw
    hidden, weights = _weights(capped, attn_mask, sight, softmax_precision)
    y = _like(_grouped(weights, value), q)
    return y, key, value, (raw, capped, hidden, weights)[qk_matmul_output_mode]


def _heads(x: Tensor, count: int | None) -> Tensor:
    """``[n, places, heads * features]`` as ``[n, heads, places, features]``, which may be given."""
    if x.ndim == 4:
        return x
    if not count:
        raise UserError("GC0104", f"heads of {x.node.type} without their number")
    return gc.swapaxes(x.reshape((*x.shape[:2], count, x.shape[2] // count)), 1, 2)


def _like(x: Tensor, given: Tensor) -> Tensor:
    """The inverse of `_heads` where ``given`` has the heads side by side."""
    if given.ndim == 4:
        return x
    return gc.swapaxes(x, 1, 2).reshape((*given.shape[:2], x.shape[1] * x.shape[3]))


def _scores(query: Tensor, key: Tensor, scale: float | None) -> Tensor:
    """``query @ key.mT * scale``; in 16 bits each gets half of it first, as sums may overflow."""
    if scale is None:
        scale = query.node.type.keep((3,)).static_shape[0] ** -0.5
    if query.dtype.bits < 32:
        return _grouped(query * scale**0.5, key.mT * scale**0.5)
    return _grouped(query, key.mT) * scale


def _grouped(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` where neighbouring heads of ``a`` share one of ``b``, as its rows."""
    heads, shared = a.shape[1], b.node.type.keep((1,)).static_shape[0]
    if heads == shared:
        return gc.matmul(a, b)
    rows = a.reshape((a.shape[0], shared, heads // max(shared, 1) * a.shape[2], a.shape[3]))
    return gc.matmul(rows, b).reshape((*a.shape[:3], b.shape[3]))


def _weights(
    scores: Tensor, mask: Tensor | None, sight: Sight, precision: int | None
) -> tuple[Tensor, Tensor]:
    """The scores with all masks, and their softmax, in which who sees nothing has zeros."""
    queries, keys = scores.shape[2:]
    masks = sight.masks(queries, keys)
    if mask is not None:
        whole = _widened(mask, keys)
        masks.append(allowed(whole))
        if whole.dtype != BOOL:
            scores = scores + gc.where(masks[-1], whole.astype(scores.dtype), 0)
    wide = scores if precision is None else scores.astype(dtype_of(precision))
    if not masks:
        return scores, gc.softmax(wide).astype(scores.dtype)
    seen = reduce(gc.logical_and, masks)
    return gc.where(seen, scores, NEVER), softmax_of_seen(wide, seen).astype(scores.dtype)


def _widened(mask: Tensor, keys: Size) -> Tensor:
    """``mask`` for all ``keys``; those behind its end are not seen."""
    missing = keys - mask.shape[-1]
    if not isinstance(missing, int):
        raise UserError("GC0305", f"a mask of {mask.shape[-1]} for {keys} keys")
    if missing <= 0:
        return mask
    value = False if mask.dtype == BOOL else NEVER
    return gc.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, missing)], value=value)


@operator("RotaryEmbedding")
def rotary_embedding(
    x: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """x with pairs of features turned by the angles of its places (Su et al. 2021): features k and
    k + half, or neighbours if ``interleaved``; only the first ``rotary_embedding_dim`` if given.
    """
    heads = _heads(x, num_heads)
    size = rotary_embedding_dim or heads.node.type.keep((3,)).static_shape[0]
    cos, sin = (
        (cache if position_ids is None else gc.take(cache, position_ids, 0))[:, None]
        for cache in (cos_cache, sin_cache)
    )
    turned = heads[..., :size]
    if interleaved:
        first, second = turned[..., ::2], turned[..., 1::2]
    else:
        first, second = turned[..., : size // 2], turned[..., size // 2 :]
    pair = [first * cos - second * sin, first * sin + second * cos]
    y = gc.stack(pair, -1).reshape(turned.shape) if interleaved else gc.concatenate(pair, -1)
    y = gc.concatenate([y, heads[..., size:]], -1) if rotary_embedding_dim else y
    return _like(y, x)
