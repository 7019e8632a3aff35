"""The programs whose waits are left out one at a time: one for each way in which threads of a
generated kernel wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import graphc as gc
from graphc import nn
from graphc.backends.cuda import attention_tiles, tensor_cores
from graphc.backends.cuda.attention_tiles import Tile as Steps
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.tensor_cores import Tile
from mutation import Generated, Program, Written
from networks import trained
from scheduled import drawn, graph

ONE = Limits(multiprocessors=1)
"""A GPU that large tiles fill."""

FOLDS = Unit(
    "folds",
    """// y[n] = the sum of x[n, 128]: one sum after another is folded in the same shared memory
KERNEL(folds, 128, 1)(const float* __restrict__ x, float* __restrict__ y) {
  SHARED_MEMORY(shared);
  for (i32 n = 0; n < 4; ++n) {
    const float all = gc_reduce_block(x[n * 128 + gc_thread()], 0.0f, 4, shared,
                                      [](float a, float b) { return a + b; });
    if (gc_thread() == 0) y[n] = all;
  }
}
EXPORT(folds)
""",
)


def of(inputs: Sequence[gc.Tensor], *outputs: gc.Tensor, limits: Limits | None = None) -> Generated:
    return Generated(graph(inputs, outputs), drawn(inputs), limits or Limits())


def layer_norm() -> Program:
    """A block for a row, there and back; sums over rows for the weights."""
    x, layer = gc.input("x", (5, 300)), nn.LayerNorm(300)
    y = layer(x)
    return of([x], y, *gc.grad((y * y).sum(), [x, *layer.parameters()]))


def batch_norm() -> Program:
    """Convolutions, and a warp for a channel, which changes parameters that the others read."""
    nn.seed(0)
    x, relu = gc.input("x", (4, 3, 6, 16)), nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), relu, nn.Conv2d(16, 4, 3))
    network = trained(model, [x], (model(x) ** 2).sum(), *drawn([x]))
    return Generated(network.graph, network.arrays)


def variance() -> Program:
    """Columns that are read twice."""
    x = gc.input("x", (300, 70))
    return of([x], x.var(0), x.mean(0))


def transposed() -> Program:
    x = gc.input("x", (70, 50))
    return of([x], x.T * 2)


def total() -> Program:
    x = gc.input("x", (40, 2000))
    return of([x], x.sum())


def product(m: int, k: int, n: int, kind: str = "float32", tile: Tile | None = None) -> Program:
    a, b = gc.input("a", (m, k), kind), gc.input("b", (k, n), kind)
    with pytest.MonkeyPatch.context() as patch:
        if tile is not None:
            patch.setattr(tensor_cores, "TILES", (tile,))
        return of([a, b], a @ b, limits=ONE if tile else None)


def attention(kind: str, tile: Steps, width: int = 16) -> Program:
    """There and back, by two warps, in an odd number of steps; one way where values are wide."""
    sizes = zip("qkv", (64, 5 * tile.places, 5 * tile.places), (16, 16, width), strict=True)
    q, k, v = (gc.input(name, (1, 1, *size), kind) for name, *size in sizes)
    o = nn.scaled_dot_product_attention(q, k, v)
    back = gc.grad((o * o).sum(), [q, k, v]) if width == 16 else []
    with pytest.MonkeyPatch.context() as patch:
        for tiles in ("TILES", "PLAIN"):
            patch.setattr(attention_tiles, tiles, (tile,))
        return of([q, k, v], o, *back)


PROGRAMS: dict[str, Program] = {
    "layer norm": layer_norm(),
    "batch norm": batch_norm(),
    "variance": variance(),
    "transpose": transposed(),
    "total": total(),
    "product": product(64, 300, 64),
    "product in parts": product(16, 2000, 16),
    "product by one warp": product(64, 512, 64, "bfloat16"),
    "product by warps": product(64, 512, 256, "bfloat16", Tile(64, 64, 64, (2, 2), 3)),
    "product by warpgroups": product(64, 512, 256, "bfloat16", Tile(64, 128, 128, (1, 2), 3, 4)),
    "attention": attention("float32", Steps(2, 16, 32, 1)),
    "attention by matrix instructions": attention("bfloat16", Steps(2, 16, 32, 2)),
    "attention in two walks": attention("bfloat16", Steps(2, 16, 64, 2), 256),
    "folds": Written(FOLDS, 1, 128, 32, (512, 4)),
}
