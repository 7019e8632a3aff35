"""Fast convolution: 3x3 filters by way of tiles, with a quarter of the multiplications.

Comes in: a graph with static sizes. Goes out: a graph in which large convolutions with 3x3 filters,
and the gradients of such filters, are a product of matrices between two transforms
(`graphc.ops.winograd`). A separate pass, called before lowering by backends that generate code,
because it changes the order of sums: results differ by some 1e-6 of their scale.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.graph import Graph, Node
from graphc.ops.contraction import Contract
from graphc.ops.convolution import Convolve
from graphc.ops.movement import reshape
from graphc.ops.selection import crop, pad
from graphc.ops.winograd import FILTER, INPUT, OUTPUT, FromTiles, ToTiles, transposed
from graphc.rewrite import Ledger, Rule, by_hand, rewrite
from graphc.types import FLOAT32

TILE = len(OUTPUT)
"""Results along each side of a tile."""
FACTORS = len(INPUT) ** 2
"""Products per tile, channel and filter; directly they would be 9 times ``TILE`` squared."""

WORTH = 1.25
"""The direct convolution must cost this many times as much before tiles are worth it."""
BYTE = 8
"""Floating-point operations in the time that a byte takes to or from memory: some 4 per core."""


@by_hand(
    "fast convolution", Convolve,
    why="a tile of 4x4 results of a 3x3 filter takes 36 products per channel instead of 144",
    unsafe="rounding",
)  # fmt: skip
def _correlated(node: Node) -> Node | None:
    if not _is_dense(node) or node.inputs[1].type.static_shape[3:] != (3, 3):
        return None
    x, w = _without_group(node)
    batch, channels, *_ = x.type.static_shape
    filters = w.shape[0]
    *_, height, width = node.type.static_shape
    tiles = _worthwhile_tiles(node, batch, channels, filters, (height, width))
    if tiles is None:
        return None
    images = ToTiles(INPUT, TILE)(_padded(x, [n * TILE + 2 for n in tiles]))
    factors = ToTiles(FILTER, 1)(w)
    factors = reshape(factors, factors.shape[:4])
    u, v, c, o, n, i, j = range(7)
    products = Contract((c, u, v, o), (c, u, v, n, i, j), (o, u, v, n, i, j))(factors, images)
    whole = reshape(FromTiles(OUTPUT)(products), (batch, filters, *(n * TILE for n in tiles)))
    return reshape(crop(whole, (0,) * 4, (batch, filters, height, width)), node.shape)


@by_hand(
    "fast filter gradient", Convolve,
    why="the gradient of a 3x3 filter takes as few products as the convolution",
    unsafe="rounding",
)  # fmt: skip
def _gradient(node: Node) -> Node | None:
    *_, height, width = node.inputs[1].type.static_shape
    if not _is_dense(node) or node.shape[3:] != (3, 3) or min(height, width) < TILE:
        return None
    x, g = _without_group(node)
    channels, batch, *_ = x.type.static_shape
    filters = g.shape[0]
    tiles = _worthwhile_tiles(node, batch, channels, filters, (height, width))
    if tiles is None:
        return None
    images = ToTiles(INPUT, TILE)(_padded(x, [n * TILE + 2 for n in tiles]))
    slopes = ToTiles(transposed(OUTPUT), TILE)(_padded(g, [n * TILE for n in tiles]))
    u, v, n, c, o, i, j = range(7)
    products = Contract((n, u, v, o, i, j), (n, u, v, c, i, j), (o, u, v, c))(slopes, images)
    tiled = reshape(products, (*products.shape, 1, 1))
    return reshape(FromTiles(transposed(FILTER))(tiled), node.shape)


def _is_dense(node: Node) -> bool:
    """Whether a convolution of images has neither strides, dilation nor groups."""
    op: Any = node.op
    plain = op.strides == op.dilations == (1, 1)
    return plain and node.dtype == FLOAT32 and node.inputs[0].shape[1] == 1


def _worthwhile_tiles(
    node: Node, batch: int, channels: int, filters: int, extents: tuple[int, int]
) -> tuple[int, ...] | None:
    """How many tiles cover ``extents``; None when fewer products do not pay for the transforms,
    which are written once and read once.
    """
    counts = tuple(-(-extent // TILE) for extent in extents)
    tiles = batch * math.prod(counts)
    direct = node.op.cost(node.type, *(x.type for x in node.inputs))
    products = 2 * FACTORS * tiles * channels * filters
    moved = 2 * 4 * FACTORS * (tiles * (channels + filters) + channels * filters)
    return counts if direct > WORTH * (products + BYTE * moved) else None


def _without_group(node: Node) -> tuple[Node, Node]:
    """The operands of a convolution without their group axes, which have one element."""
    x, w = node.inputs
    return reshape(x, (x.shape[0], *x.shape[2:])), reshape(w, w.shape[1:])


def _padded(x: Node, extents: list[int]) -> Node:
    """Images with zeros below and on the right up to ``extents``."""
    height, width = x.type.static_shape[2:]
    more = (0, 0, extents[0] - height, extents[1] - width)
    return pad(x, (0, 0, 0, 0), more) if any(more) else x


WINOGRAD: list[Rule] = [_correlated, _gradient]


def fast_convolutions(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with convolutions by tiles where they are faster; last bits of sums may change."""
    return rewrite(graph, WINOGRAD, ledger, "winograd")
