"""Fast convolution: filters by way of tiles, with a quarter of the multiplications.

Comes in: a graph with static sizes. Goes out: a graph in which large convolutions are products of
matrices between two transforms (`graphc.ops.winograd`); gradients of filters are convolutions too,
with large filters and few results. A separate pass, called before lowering by backends that
generate code, because it changes the order of sums: results differ by some 1e-6 of their scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphc.graph import Graph, Node
from graphc.ops.contraction import Contract
from graphc.ops.convolution import Convolve
from graphc.ops.movement import reshape, transpose
from graphc.ops.selection import crop, pad
from graphc.ops.winograd import FromTiles, Scheme, ToTiles
from graphc.passes.fold import computed, is_constant
from graphc.passes.narrow import narrow_dtype
from graphc.rewrite import Ledger, Rule, by_hand, rewrite
from graphc.types import FLOAT32

NEAR, FAR = 0.5**0.5, 2.0**0.5
SCHEMES = (
    Scheme(4, 3, (0, NEAR, -NEAR, FAR, -FAR)),
    Scheme(3, 4, (0, NEAR, -NEAR, FAR, -FAR)),
    Scheme(3, 3, (0.5, -0.5, 1.5, -1.5)),
    Scheme(4, 4, (1 / 3, -1 / 3, 0.9, -0.9, 1.75, -1.75)),
)
"""The second is for gradients of 3x3 filters, which are convolutions with few results and many
taps. The last two are for larger filters, cut into blocks of as many taps as a tile has results.
With 1 and 2 for the points of the first its largest error was 5 times as large."""

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
    if not _is_dense(node) or all(narrow_dtype(x) for x in node.inputs):
        return None  # instructions multiply narrow floats faster than tiles save products
    x, w = _without_group(node)
    extents = node.type.static_shape[3:]
    layouts = [found for s in SCHEMES if (found := _layout(s, w.type.static_shape[2:], extents))]
    tiling = min(layouts, key=lambda t: _cost(t, x, w), default=None)
    direct = node.op.cost(node.type, *(operand.type for operand in node.inputs))
    if tiling is None or direct <= WORTH * _cost(tiling, x, w):
        return None
    scheme, step = tiling.scheme, tiling.step
    reach = [step * (n - 1) + scheme.size for n in tiling.windows]
    images = ToTiles(scheme.input, step)(_padded(x, reach))
    factors = ToTiles(scheme.filter, scheme.taps)(
        _padded(w, [scheme.taps * n for n in tiling.blocks])
    )
    shape = (x.shape[0], w.shape[0], *(n * scheme.results for n in tiling.tiles))
    if is_constant(w):
        factors = _computed(factors)
    whole = reshape(FromTiles(scheme.output)(_products(tiling, images, factors)), shape)
    return reshape(crop(whole, (0,) * 4, (*shape[:2], *extents)), node.shape)


@dataclass(frozen=True)
class Tiling:
    """Along both axes: ``tiles`` of results, and filters cut into ``blocks`` of taps.

    The products of a tile and a block are those of the part of the image that begins at
    ``tile * results + block * taps``. With one block, one tile, or as many results as taps these
    parts stand ``step`` apart, and ``windows`` of them are all there are.
    """

    scheme: Scheme
    tiles: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def step(self) -> int:
        return self.scheme.results if max(self.blocks) == 1 else self.scheme.taps

    @property
    def windows(self) -> tuple[int, ...]:
        return tuple(t + b - 1 for t, b in zip(self.tiles, self.blocks, strict=True))


def _layout(scheme: Scheme, taps: Sequence[int], extents: Sequence[int]) -> Tiling | None:
    """How tiles and blocks cover a convolution; None where their parts of the image are nowhere
    regular.
    """
    tiles = tuple(-(-extent // scheme.results) for extent in extents)
    blocks = tuple(-(-extent // scheme.taps) for extent in taps)
    regular = scheme.results == scheme.taps or 1 in (max(tiles), max(blocks))
    return Tiling(scheme, tiles, blocks) if regular else None


def _products(tiling: Tiling, images: Node, factors: Node) -> Node:
    """Images [C,U,V,N,...] with factors [C,U,V,O,...], summed over channels and blocks:
    [O,U,V,N,...]. In tiles too this is a convolution, with a filter of blocks.
    """
    c, u, v, n, o, i, j = range(7)
    if max(tiling.blocks) == 1:
        filters = reshape(factors, factors.shape[:4])
        return Contract((c, u, v, o), (c, u, v, n, i, j), (o, u, v, n, i, j))(filters, images)
    if max(tiling.tiles) == 1:
        found = Contract((c, u, v, o, i, j), (c, u, v, n, i, j), (o, u, v, n))(factors, images)
        return reshape(found, (*found.shape, 1, 1))
    groups = tiling.scheme.size**2
    channels, _, _, batch, *windows = images.shape
    filters = reshape(factors, (channels, groups, *factors.shape[3:]))
    grouped = reshape(images, (channels, groups, batch, *windows))
    found = Convolve((1, 1), (1, 1))(
        transpose(grouped, (2, 1, 0, 3, 4)), transpose(filters, (1, 2, 0, 3, 4))
    )
    size = (tiling.scheme.size,) * 2
    return reshape(
        transpose(found, (2, 1, 0, 3, 4)), (factors.shape[3], *size, batch, *tiling.tiles)
    )


def _computed(factors: Node) -> Node:
    """Constant factors [C,U,V,O,...], in memory by groups and filters, as products read them."""
    blocks = range(4, len(factors.shape))
    return transpose(computed(transpose(factors, (1, 2, 3, 0, *blocks))), (3, 0, 1, 2, *blocks))


def _is_dense(node: Node) -> bool:
    """Whether a convolution of images has neither strides, dilation nor groups."""
    op: Any = node.op
    plain = op.strides == op.dilations == (1, 1)
    return plain and node.dtype == FLOAT32 and node.inputs[0].shape[1] == 1


def _cost(tiling: Tiling, x: Node, w: Node) -> int:
    """Operations of the products, and of moving what the transforms write once and read once.
    Constant filters are transformed while the graph is compiled.
    """
    (batch, channels), filters = x.type.static_shape[:2], w.type.static_shape[0]
    tiles, blocks, windows = map(math.prod, (tiling.tiles, tiling.blocks, tiling.windows))
    images, factors, results = (
        batch * channels * windows, filters * channels * blocks, batch * filters * tiles
    )  # fmt: skip
    products = batch * filters * channels * tiles * blocks
    moved = FLOAT32.bytes * (2 * images + (1 if is_constant(w) else 2) * factors + 2 * results)
    return tiling.scheme.size**2 * (2 * products + BYTE * moved)


def _without_group(node: Node) -> tuple[Node, Node]:
    """The operands of a convolution without their group axes, which have one element."""
    x, w = node.inputs
    return reshape(x, (x.shape[0], *x.shape[2:])), reshape(w, w.shape[1:])


def _padded(x: Node, extents: list[int]) -> Node:
    """Images with zeros below and on the right up to ``extents``."""
    height, width = x.type.static_shape[2:]
    more = (0, 0, extents[0] - height, extents[1] - width)
    return pad(x, (0, 0, 0, 0), more) if any(more) else x


WINOGRAD: list[Rule] = [_correlated]


def fast_convolutions(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with convolutions by tiles where they are faster; last bits of sums may change."""
    return rewrite(graph, WINOGRAD, ledger, "winograd")
